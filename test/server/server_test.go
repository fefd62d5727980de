package server_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// greeting reads the first line that a server says.
func greeting(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestDemo proves the ready file, the four doors and LMTP's, and a clean end.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	s := server.Demo(t)
	if len(s.Accounts) != 2 {
		t.Fatalf("accounts: %v", s.Accounts)
	}
	for _, a := range s.Accounts {
		if a.Name == "" || a.Password == "" {
			t.Errorf("account %q, password %q", a.Name, a.Password)
		}
	}
	for _, want := range []struct{ network, addr, hello string }{
		{"tcp", s.POP3, "+OK The Postern POP3 service is ready."},
		{"tcp", s.IMAP, "* OK [CAPABILITY "},
		{"tcp", s.LMTP, "220 "},
		{"unix", s.LMTPSocket, "220 "},
	} {
		c, err := net.Dial(want.network, want.addr)
		if err != nil {
			t.Fatal(err)
		}
		if hello := greeting(t, c); !strings.HasPrefix(hello, want.hello) {
			t.Errorf("%s says %q, want %q", want.addr, hello, want.hello)
		}
		c.Close()
	}
	for _, want := range []struct{ addr, hello string }{{s.POP3S, "+OK "}, {s.IMAPS, "* OK "}} {
		c, err := tls.Dial("tcp", want.addr, s.TLS())
		if err != nil {
			t.Fatal(err)
		}
		if hello := greeting(t, c); !strings.HasPrefix(hello, want.hello) {
			t.Errorf("%s says %q, want %q", want.addr, hello, want.hello)
		}
		c.Close()
	}
	out, code := s.Shell("Get-ImapSettings")
	if code != 0 || !strings.Contains(out, "SecureLogin") {
		t.Errorf("Get-ImapSettings: exit code %d\n%s", code, out)
	}
	out, code = s.Shell("Set-ImapSettings", "-LoginType", "Nonsense")
	if code == 0 || !strings.Contains(out, "Nonsense") {
		t.Errorf("a wrong value: exit code %d\n%s", code, out)
	}
	s.Stop()
}

// TestServe proves that settings and accounts stay over a clean end and a kill.
func TestServe(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	s := server.Serve(t, server.Options{Accounts: []server.Account{{Name: "alice@test.example", Password: "correct horse"}}})
	before := s.Ready
	s.MustShell("Set-PopSettings", "-LoginType", "PlainTextLogin")
	s.MustShell("New-Mailbox", "bob@test.example", "-Password", "battery staple")
	for _, end := range []func(){s.Stop, s.Kill} {
		end()
		s.Restart()
		if s.POP3 != before.POP3 || s.IMAPS != before.IMAPS || s.LMTP != before.LMTP {
			t.Errorf("after the restart %+v, before %+v", s.Ready, before)
		}
		if out := s.MustShell("Get-PopSettings"); !strings.Contains(out, "PlainTextLogin") {
			t.Errorf("LoginType is forgotten:\n%s", out)
		}
		if out := s.MustShell("Get-Mailbox"); !strings.Contains(out, "alice@test.example") || !strings.Contains(out, "bob@test.example") {
			t.Errorf("an account is forgotten:\n%s", out)
		}
		if len(s.Accounts) != 1 {
			t.Errorf("accounts: %v", s.Accounts)
		}
	}
}
