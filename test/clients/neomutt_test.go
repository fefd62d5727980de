package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// neomutt runs NeoMutt on a terminal where keys are pressed once the mailbox is
// open, and gives its log, which has all that it says, with its exit code.
func neomutt(t *testing.T, s *server.Server, connection, authenticators, keys string) (string, int) {
	t.Helper()
	home := t.TempDir()
	scheme, options := "imap", "set ssl_starttls=no\nset ssl_force_tls=no\n"
	switch connection {
	case startTLS:
		options = "set ssl_starttls=yes\nset ssl_force_tls=yes\n"
	case implicit:
		scheme, options = "imaps", "set ssl_force_tls=yes\n"
	}
	rc := write(t, filepath.Join(home, "rc"), fmt.Sprintf(`set folder="%s://localhost:%s/"
set spoolfile="+INBOX"
set imap_user="%s"
set imap_pass="%s"
set imap_authenticators="%s"
set certificate_file="%s"
set header_cache=""
set record=""
set delete=yes
set confirm_append=no
set confirm_create=no
set wait_key=no
set quit=yes
set sleep_time=0
set mail_check=60
set mark_old=no
set pager=builtin
set prompt_after=no
set move=no
set sort=mailbox-order
%s
push '%s'
`, scheme, server.Port(addressOf(s, "imap", connection)), alice.Name, alice.Password, authenticators, s.Certificate, options, keys))
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(home, "log")
	out, code := server.Run(t, limit, dir, []string{"HOME=" + home, "TERM=xterm", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}, "",
		server.Program(t, "python3", "python3"), "terminal.py", "20", server.Program(t, "neomutt", "neomutt"), "-n", "-F", rc, "-d", "2", "-l", log)
	said, err := os.ReadFile(log + "0")
	if err != nil {
		t.Fatalf("NeoMutt wrote no log: %v; it showed\n%q", err, out)
	}
	return string(said), code
}

// TestNeomutt uses NeoMutt's "login", "plain" and, with none named, what it
// thinks best: SCRAM. It reads a message, flags one, deletes one and saves one to another
// folder, under each LoginType and kind of connection; IMAP tells what became of it.
func TestNeomutt(t *testing.T) {
	for _, how := range []struct{ loginType, connection, authenticators string }{
		{"PlainTextLogin", clear, "login"},
		{"PlainTextLogin", clear, "plain"},
		{"PlainTextAuthentication", clear, ""},
		{"PlainTextAuthentication", startTLS, "plain"},
		{"SecureLogin", startTLS, ""},
		{"SecureLogin", implicit, "login"},
	} {
		t.Run(how.loginType+"/"+how.connection+"/"+how.authenticators, func(t *testing.T) {
			s := serve(t, 5)
			s.SetLoginType(how.loginType)
			c := s.Login(t, alice)
			c.MustIMAP("CREATE Saved")
			keys := "<first-entry><display-message><exit>" +
				"<first-entry><next-entry><flag-message>" +
				"<first-entry><next-entry><next-entry><delete-message>" +
				"<last-entry><save-message><kill-line>=Saved<enter>" +
				"<sync-mailbox><quit>"
			if out, code := neomutt(t, s, how.connection, how.authenticators, keys); code != 0 {
				t.Fatalf("exit code %d; it said\n%s", code, out)
			}
			if got, want := subjects(t, c, "INBOX"), []string{subject(0), subject(1), subject(3)}; strings.Join(got, ",") != strings.Join(want, ",") {
				t.Errorf("INBOX has %q, want %q", got, want)
			}
			wantSearch(t, c, "SEEN", "1")
			wantSearch(t, c, "FLAGGED", "2")
			if got := subjects(t, c, "Saved"); len(got) != 1 || got[0] != subject(4) {
				t.Errorf("Saved has %q", got)
			}
		})
	}
}

// TestNeomuttRefused tries what the policy forbids: NeoMutt says so and nothing is
// marked as read.
func TestNeomuttRefused(t *testing.T) {
	s := serve(t, 1)
	c := s.Login(t, alice)
	for _, how := range []struct{ loginType, authenticators, reason string }{
		{"PlainTextAuthentication", "login", "LOGIN disabled on this server"},
		{"PlainTextAuthentication", "plain", "authenticat"},
		{"SecureLogin", "login", "LOGIN disabled on this server"},
		{"SecureLogin", "", "LOGIN disabled on this server"},
	} {
		t.Run(how.loginType+"/"+how.authenticators, func(t *testing.T) {
			s.SetLoginType(how.loginType)
			out, _ := neomutt(t, s, clear, how.authenticators, "<quit>")
			if !strings.Contains(out, how.reason) {
				t.Errorf("it said\n%s\nwithout %q", out, how.reason)
			}
			c.MustIMAP("EXAMINE INBOX")
			wantSearch(t, c, "SEEN", "")
		})
	}
}
