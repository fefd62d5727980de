package clients

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// Exit codes of curl: CURLE_URL_MALFORMAT, CURLE_LOGIN_DENIED.
const (
	curlMalformed = 3
	curlDenied    = 67
)

type curl struct {
	t *testing.T
	s *server.Server
}

// run gives curl's output and exit code.
func (c curl) run(scheme string, path string, args ...string) (string, int) {
	c.t.Helper()
	address := map[string]string{"pop3": c.s.POP3, "pop3s": c.s.POP3S, "imap": c.s.IMAP, "imaps": c.s.IMAPS}[scheme]
	url := fmt.Sprintf("%s://localhost:%s/%s", scheme, server.Port(address), path)
	args = append([]string{"-q", "-sS", "--max-time", "40", "--cacert", c.s.Certificate, "-u", alice.Name + ":" + alice.Password, url}, args...)
	return server.Run(c.t, limit, c.s.Folder, nil, "", server.Program(c.t, "curl", "curl"), args...)
}

// must gives the output of what succeeds.
func (c curl) must(scheme string, path string, args ...string) string {
	c.t.Helper()
	out, code := c.run(scheme, path, args...)
	if code != 0 {
		c.t.Fatalf("curl %s /%s %s: exit code %d\n%s", scheme, path, strings.Join(args, " "), code, out)
	}
	return out
}

// TestCurl reads a message under every LoginType, over every connection, with the
// mechanisms that this build of curl has.
func TestCurl(t *testing.T) {
	s := serve(t, 1)
	version, _ := server.Run(t, limit, "", nil, "", server.Program(t, "curl", "curl"), "--version")
	options := []string{"", "AUTH=PLAIN", "AUTH=LOGIN"}
	if strings.Contains(version, "gsasl") {
		options = append(options, "AUTH=SCRAM-SHA-256")
	}
	// The command LOGIN instead of a mechanism: curl from 8.0 on; an earlier one
	// says that the URL is malformed, before it connects.
	_, code := curl{t, s}.run("imaps", "", "--login-options", "AUTH=+LOGIN")
	knowsLogin := code != curlMalformed
	for _, loginType := range loginTypes {
		s.SetLoginType(loginType)
		for _, try := range []struct {
			scheme, connection string
			args               []string
		}{
			{"pop3", clear, nil}, {"pop3", startTLS, []string{"--ssl-reqd"}}, {"pop3", startTLS, []string{"--ssl"}}, {"pop3s", implicit, nil},
			{"imap", clear, nil}, {"imap", startTLS, []string{"--ssl-reqd"}}, {"imap", startTLS, []string{"--ssl"}}, {"imaps", implicit, nil},
		} {
			options := options
			if strings.HasPrefix(try.scheme, "imap") && knowsLogin {
				options = append(options[:len(options):len(options)], "AUTH=+LOGIN")
			}
			for _, option := range options {
				name := fmt.Sprint(loginType, "/", try.scheme, try.args, option)
				t.Run(name, func(t *testing.T) {
					path, args := "1", try.args
					if strings.HasPrefix(try.scheme, "imap") {
						path = "INBOX;MAILINDEX=1"
					}
					if option != "" {
						args = append([]string{"--login-options", option}, args...)
					}
					out, code := curl{t, s}.run(try.scheme, path, args...)
					if permitted(loginType, try.connection, strings.Contains(option, "SCRAM")) {
						if code != 0 || !strings.HasSuffix(out, message(0)) {
							t.Errorf("exit code %d:\n%s", code, out)
						}
					} else if code != curlDenied {
						t.Errorf("exit code %d, want %d:\n%s", code, curlDenied, out)
					}
				})
			}
		}
	}
	out, code := curl{t, s}.run("imaps", "", "-u", alice.Name+":wrong")
	if code != curlDenied {
		t.Errorf("a wrong password over IMAP: exit code %d\n%s", code, out)
	}
	if out, code = (curl{t, s}).run("pop3s", "", "-u", alice.Name+":wrong"); code != curlDenied {
		t.Errorf("a wrong password over POP3: exit code %d\n%s", code, out)
	}
}

// TestCurlWork stores, searches, flags and deletes.
func TestCurlWork(t *testing.T) {
	s := serve(t, 4)
	c := curl{t, s}
	list := c.must("pop3s", "")
	if n := strings.Count(list, "\n"); n != 4 {
		t.Errorf("LIST over POP3 has %d lines:\n%s", n, list)
	}
	uids := c.must("pop3", "", "--ssl-reqd", "-X", "UIDL")
	c.must("pop3s", "1", "-I", "-X", "DELE")
	if now := c.must("pop3s", "", "-X", "UIDL"); strings.Count(now, "\n") != 3 || !sameTail(uids, now) {
		t.Errorf("UIDL before and after DELE:\n%s\n%s", uids, now)
	}

	file := write(t, s.Folder+"/up.eml", message(9))
	c.must("imap", "INBOX", "--ssl-reqd", "-T", file)
	if got := c.must("imaps", "INBOX;MAILINDEX=4"); got != message(9) {
		t.Errorf("APPEND and FETCH: got\n%s", got)
	}
	if out := c.must("imaps", "INBOX?SUBJECT%20%22number%209%22"); strings.TrimSpace(out) != "* SEARCH 4" {
		t.Errorf("SEARCH: %q", out)
	}
	if out := c.must("imaps", ""); !strings.Contains(out, `"/" INBOX`) {
		t.Errorf("LIST: %q", out)
	}
	if out := c.must("imaps", "INBOX;MAILINDEX=2;SECTION=HEADER.FIELDS%20(SUBJECT)"); strings.TrimSpace(out) != "Subject: "+subject(2) {
		t.Errorf("a section: %q", out)
	}
	if out := c.must("imaps", "INBOX", "-X", `STORE 4 +FLAGS (\Flagged \Deleted)`); !strings.Contains(out, `\Deleted`) {
		t.Errorf("STORE: %q", out)
	}
	if out := c.must("imaps", "INBOX", "-X", "EXPUNGE"); !strings.Contains(out, "* 4 EXPUNGE") {
		t.Errorf("EXPUNGE: %q", out)
	}
}

// sameTail tells whether the unique-ids of before, without the first, are those
// of after.
func sameTail(before, after string) bool {
	ids := func(text string) (list []string) {
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			if f := strings.Fields(line); len(f) == 2 {
				list = append(list, f[1])
			}
		}
		return list
	}
	b, a := ids(before), ids(after)
	return len(b) > 0 && strings.Join(b[1:], " ") == strings.Join(a, " ")
}
