package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// Exit codes of fetchmail: there was no new mail; the login was refused.
const (
	fetchmailNoMail = 1
	fetchmailDenied = 3
)

// fetchmail runs fetchmail once; what it fetches is written to files in box.
type fetchmail struct {
	t   *testing.T
	s   *server.Server
	box string
}

func (f fetchmail) run(protocol, connection, options string) (string, int) {
	f.t.Helper()
	// Without sslproto '' fetchmail would use STARTTLS on its own.
	security := map[string]string{
		clear: "sslproto ''", startTLS: "sslproto 'TLS1.2+'", implicit: "ssl",
	}[connection]
	if connection != clear {
		security += fmt.Sprintf(" sslcertck sslcertfile %q", f.s.Certificate)
	}
	rc := write(f.t, filepath.Join(f.box, "fetchmailrc"), fmt.Sprintf(`set no bouncemail
poll localhost protocol %s port %s timeout 40 uidl
	user %q password %q %s %s
	mda "cat > %s/$(mktemp -u XXXXXXXXXX).eml"
`, protocol, server.Port(addressOf(f.s, strings.ToLower(strings.Replace(protocol, "APOP", "POP3", 1)), connection)), alice.Name, alice.Password, security, options, f.box))
	if protocol == "IMAP" {
		text, err := os.ReadFile(rc)
		if err != nil {
			f.t.Fatal(err)
		}
		write(f.t, rc, strings.Replace(string(text), " uidl\n", "\n", 1))
	}
	return server.Run(f.t, limit, f.box, []string{"HOME=" + f.box, "FETCHMAILHOME=" + f.box, "LC_ALL=C"}, "",
		server.Program(f.t, "fetchmail", "fetchmail"), "-f", rc, "--pidfile", filepath.Join(f.box, "pid"), "--idfile", filepath.Join(f.box, "ids"), "--nosyslog", "--nodetach", "-v")
}

// got gives the messages that were written, and forgets them.
func (f fetchmail) got() []string {
	f.t.Helper()
	list, err := filepath.Glob(filepath.Join(f.box, "*.eml"))
	if err != nil {
		f.t.Fatal(err)
	}
	var texts []string
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			f.t.Fatal(err)
		}
		os.Remove(path)
		texts = append(texts, string(text))
	}
	return texts
}

func (f fetchmail) fetch(protocol, connection, options string, want int, wantCode int) {
	f.t.Helper()
	out, code := f.run(protocol, connection, options)
	got := f.got()
	if code != wantCode || len(got) != want {
		f.t.Fatalf("%s over %s, %s: exit code %d and %d messages, want %d and %d:\n%s", protocol, connection, options, code, len(got), wantCode, want, out)
	}
	for _, text := range got {
		if !strings.Contains(text, "Subject: message number ") || !strings.Contains(text, "\n.\n..two dots\n") {
			f.t.Errorf("a message came as\n%s", text)
		}
	}
}

// TestFetchmail keeps, then deletes, over POP3 and IMAP, under each LoginType, over
// each kind of connection; where the policy forbids it nothing is fetched and
// fetchmail shows the server's reason.
func TestFetchmail(t *testing.T) {
	s := serve(t, 0)
	for _, loginType := range loginTypes {
		s.SetLoginType(loginType)
		for _, protocol := range []string{"POP3", "IMAP"} {
			for _, connection := range connections {
				t.Run(loginType+"/"+protocol+"/"+connection, func(t *testing.T) {
					f := fetchmail{t, s, t.TempDir()}
					s.MustDeliver(t, message(0), alice.Name)
					s.MustDeliver(t, message(1), alice.Name)
					c := s.Login(t, alice)
					if !permitted(loginType, connection, false) {
						out, code := f.run(protocol, connection, "keep")
						// Where LOGINDISABLED is shown fetchmail does not try.
						reason := map[string]string{"POP3": "-ERR [AUTH]", "IMAP": "LOGINDISABLED"}[protocol]
						if code != fetchmailDenied || len(f.got()) != 0 || !strings.Contains(out, reason) {
							t.Errorf("exit code %d, want %d with %q:\n%s", code, fetchmailDenied, reason, out)
						}
						f.fetch(protocol, implicit, "nokeep fetchall", 2, 0)
						return
					}
					f.fetch(protocol, connection, "keep", 2, 0)
					if left := subjects(t, c, "INBOX"); len(left) != 2 {
						t.Errorf("after keep %q are left", left)
					}
					// What was fetched once is not new.
					f.fetch(protocol, connection, "keep", 0, fetchmailNoMail)
					s.MustDeliver(t, message(2), alice.Name)
					f.fetch(protocol, connection, "keep", 1, 0)
					f.fetch(protocol, connection, "nokeep fetchall", 3, 0)
					if left := subjects(t, c, "INBOX"); len(left) != 0 {
						t.Errorf("after nokeep %q are left", left)
					}
				})
			}
		}
	}
}
