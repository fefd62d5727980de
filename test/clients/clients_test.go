// Package clients proves with real mail clients that Postern serves them under
// each LoginType that permits it and refuses them, with a reason, where it does not.
package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// limit bounds one run of a client.
const limit = 120 * time.Second

// loginTypes are all there are, weakest first.
var loginTypes = []string{"PlainTextLogin", "PlainTextAuthentication", "SecureLogin"}

// The states of a connection, as the scripts call them.
const (
	clear    = "clear"
	startTLS = "starttls"
	implicit = "tls"
)

var connections = []string{clear, startTLS, implicit}

// permitted is the policy in the words of README's table.
func permitted(loginType, connection string, scram bool) bool {
	switch {
	case connection != clear, loginType == "PlainTextLogin":
		return true
	case loginType == "PlainTextAuthentication":
		return scram
	}
	return false
}

var alice = server.Account{Name: "alice@test.example", Password: "correct horse 7"}

func long(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server and real clients")
	}
}

// serve starts a server where alice has n messages.
func serve(t *testing.T, n int) *server.Server {
	t.Helper()
	long(t)
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice}})
	for i := range n {
		s.MustDeliver(t, message(i), alice.Name)
	}
	return s
}

// subject and message make the i-th message of a test: text with dots at the start
// of lines, every third in two parts.
func subject(i int) string { return fmt.Sprintf("message number %d", i) }

func message(i int) string {
	head := fmt.Sprintf("From: \"Bob Test\" <bob@test.example>\r\nTo: %s\r\nSubject: %s\r\nDate: Mon, %d Jun 2026 10:%02d:00 +0200\r\nMessage-ID: <m%d@test.example>\r\n",
		alice.Name, subject(i), 1+i%28, i%60, i)
	text := fmt.Sprintf("Text of %d.\r\n.\r\n..two dots\r\n%s\r\n", i, strings.Repeat("long line ", i%50))
	if i%3 != 2 {
		return head + "\r\n" + text
	}
	return head + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + text +
		"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF\r\n--b--\r\n"
}

// fill makes a mailbox of an account with n messages.
func fill(t *testing.T, s *server.Server, who server.Account, mailbox string, n int) {
	t.Helper()
	c := s.Login(t, who)
	defer c.Conn.Close()
	c.MustIMAP("CREATE %s", mailbox)
	// Some at once (RFC 3502).
	for i := 0; i < n; {
		var command strings.Builder
		fmt.Fprintf(&command, "APPEND %s", mailbox)
		for end := min(n, i+100); i < end; i++ {
			fmt.Fprintf(&command, " {%d+}\r\n%s", len(message(i)), message(i))
		}
		c.MustIMAP("%s", command.String())
	}
}

// script runs a Python script of testdata with arguments and gives its output and code.
func script(t *testing.T, name string, arguments map[string]any) (string, int) {
	t.Helper()
	return scriptOf(t, "python3", "python3", name, arguments)
}

// scriptOf is script for another interpreter, which is in a Debian package.
func scriptOf(t *testing.T, interpreter, debian, name string, arguments map[string]any) (string, int) {
	t.Helper()
	text, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return server.Run(t, limit, dir, []string{"PYTHONDONTWRITEBYTECODE=1"}, "", server.Program(t, interpreter, debian), name, string(text))
}

// subjects gives the subjects of a mailbox in order, read over IMAP.
func subjects(t *testing.T, c *server.Talk, mailbox string) []string {
	t.Helper()
	c.MustIMAP("EXAMINE %q", mailbox)
	var list []string
	for _, line := range c.MustIMAP("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])") {
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			list = append(list, s)
		}
	}
	return list
}

// wantSearch compares the UIDs that a search finds in the selected mailbox.
func wantSearch(t *testing.T, c *server.Talk, search, want string) {
	t.Helper()
	for _, line := range c.MustIMAP("UID SEARCH %s", search) {
		if found, ok := strings.CutPrefix(line, "* SEARCH"); ok {
			if found = strings.TrimSpace(found); found != want {
				t.Errorf("SEARCH %s finds %q, want %q", search, found, want)
			}
			return
		}
	}
	t.Errorf("SEARCH %s: no answer", search)
}

// write makes a file that only its owner reads.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// addressOf gives where a protocol is served for a state of the connection.
func addressOf(s *server.Server, protocol, connection string) string {
	switch {
	case protocol == "pop3" && connection == implicit:
		return s.POP3S
	case protocol == "pop3":
		return s.POP3
	case connection == implicit:
		return s.IMAPS
	}
	return s.IMAP
}
