package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// boxOf gives the messages of a Maildir, sorted by subject, and forgets them.
func boxOf(t *testing.T, maildir string) (texts []string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(maildir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(path)
		texts = append(texts, string(text))
	}
	slices.SortFunc(texts, func(a, b string) int { return strings.Compare(subjectOf(a), subjectOf(b)) })
	return texts
}

func newMaildir(t *testing.T, path string) string {
	t.Helper()
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// same tells whether a client stored the i-th message as it was sent, apart from the fields
// that it, and LMTP, put into its header.
func same(stored string, i int) bool {
	stored = strings.Replace(stored, "X-getmail-retrieved-from-mailbox: INBOX\n", "", 1)
	return strings.HasSuffix(strings.ReplaceAll(stored, "\r\n", "\n"), strings.ReplaceAll(message(i), "\r\n", "\n"))
}

// fetched checks what a client said that should have stored the messages want, and what it
// stored.
func fetched(t *testing.T, out string, code int, got []string, want []int) {
	t.Helper()
	if code != 0 || len(got) != len(want) {
		t.Fatalf("exit code %d, %d messages, want %d:\n%s", code, len(got), len(want), out)
	}
	for n, i := range want {
		if !same(got[n], i) {
			t.Errorf("message %d came as\n%s", i, got[n])
		}
	}
}

// TestGetmail fetches with getmail: by POP3 and by IMAP over TLS, keeps what it fetched on the
// server, fetches only what is new, and deletes in the end.
func TestGetmail(t *testing.T) {
	s := serve(t, 0)
	for _, retriever := range []string{"SimplePOP3SSLRetriever", "SimpleIMAPSSLRetriever"} {
		t.Run(retriever, func(t *testing.T) {
			dir := t.TempDir()
			box := newMaildir(t, filepath.Join(dir, "mail"))
			fetch := func(remove bool, want ...int) {
				t.Helper()
				address, more := s.POP3S, ""
				if strings.Contains(retriever, "IMAP") {
					address, more = s.IMAPS, "mailboxes = (\"INBOX\",)\n"
				}
				rc := write(t, filepath.Join(dir, "getmailrc"), fmt.Sprintf("[retriever]\ntype = %s\nserver = localhost\nport = %s\nusername = %s\npassword = %s\nca_certs = %s\n%s\n"+
					"[destination]\ntype = MDA_external\npath = /bin/sh\narguments = (\"-c\", \"cat > $(mktemp %s/new/XXXXXXXX)\")\nallow_root_commands = true\n\n[options]\nread_all = false\ndelete = %v\nverbose = 2\n",
					retriever, server.Port(address), alice.Name, alice.Password, s.Certificate, more, box, remove))
				out, code := server.Run(t, limit, dir, []string{"HOME=" + dir}, "", server.Program(t, "getmail", "getmail6"), "--getmaildir", dir, "--rcfile", rc)
				got := boxOf(t, box)
				fetched(t, out, code, got, want)
			}
			s.MustDeliver(t, message(0), alice.Name)
			s.MustDeliver(t, message(2), alice.Name)
			fetch(false, 0, 2)
			fetch(false)
			s.MustDeliver(t, message(3), alice.Name)
			fetch(false, 3)
			s.MustDeliver(t, message(4), alice.Name)
			fetch(true, 4)
			if left := subjects(t, s.Login(t, alice), "INBOX"); len(left) != 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
}

// TestMpop fetches with mpop over every kind of connection, with each mechanism that it has,
// and 1,000 messages with pipelining; what is kept is not fetched again.
func TestMpop(t *testing.T) {
	s := serve(t, 0)
	s.SetLoginType("PlainTextLogin")
	fetch := func(dir, connection, auth, options string) (string, int, []string) {
		t.Helper()
		box := newMaildir(t, filepath.Join(dir, "mail"))
		tls := map[string]string{clear: "tls off", startTLS: "tls on\ntls_starttls on", implicit: "tls on\ntls_starttls off"}[connection]
		rc := write(t, filepath.Join(dir, "mpoprc"), fmt.Sprintf("defaults\n%s\ntls_trust_file %s\nuidls_file %s/uidls\naccount default\nhost localhost\nport %s\nuser %s\npassword %s\nauth %s\ndelivery maildir %s\n%s\n",
			tls, s.Certificate, dir, server.Port(addressOf(s, "pop3", connection)), alice.Name, alice.Password, auth, box, options))
		if connection == clear {
			text, err := os.ReadFile(rc)
			if err != nil {
				t.Fatal(err)
			}
			write(t, rc, strings.Replace(string(text), "tls_trust_file "+s.Certificate+"\n", "", 1))
		}
		out, code := server.Run(t, limit, dir, []string{"HOME=" + dir}, "", server.Program(t, "mpop", "mpop"), "-C", rc)
		return out, code, boxOf(t, box)
	}
	for _, connection := range connections {
		for _, auth := range []string{"user", "plain", "scram-sha-256"} {
			t.Run(connection+"/"+auth, func(t *testing.T) {
				dir := t.TempDir()
				want := func(options string, want ...int) {
					t.Helper()
					out, code, got := fetch(dir, connection, auth, options)
					fetched(t, out, code, got, want)
				}
				s.MustDeliver(t, message(0), alice.Name)
				s.MustDeliver(t, message(2), alice.Name)
				want("keep on", 0, 2)
				want("keep on")
				s.MustDeliver(t, message(3), alice.Name)
				want("keep off", 3)
				if left := subjects(t, s.Login(t, alice), "INBOX"); len(left) != 0 {
					t.Errorf("%q are left", left)
				}
			})
		}
	}
	t.Run("many", func(t *testing.T) {
		fill(t, s, alice, "Many", 1000)
		c := s.Login(t, alice)
		c.MustIMAP("SELECT Many")
		c.MustIMAP("MOVE 1:* INBOX")
		out, code, got := fetch(t.TempDir(), implicit, "user", "keep off\npipelining on")
		if code != 0 || len(got) != 1000 {
			t.Errorf("exit code %d, %d messages\n%.2000s", code, len(got), out)
		}
		if left := subjects(t, c, "INBOX"); len(left) != 0 {
			t.Errorf("%d are left", len(left))
		}
	})
	s.SetLoginType("SecureLogin")
	out, code, got := fetch(t.TempDir(), clear, "user", "keep on")
	if code == 0 || len(got) != 0 || !strings.Contains(out, "TLS") {
		t.Errorf("in the clear under SecureLogin: exit code %d, %d messages\n%s", code, len(got), out)
	}
}
