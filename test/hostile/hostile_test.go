// Package hostile sends the running server what no honest client sends, and takes
// away what it needs: each time it answers clearly, stays small and loses nothing.
package hostile

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
	"github.com/postern-mail/postern/test/stopwatch"
)

func TestMain(m *testing.M) { server.Main(m) }

var alice = server.Account{Name: "alice@test.example", Password: "correct horse 7"}

const patience = 40 * time.Second

func long(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
}

// serve starts a server where alice has one message.
func serve(t *testing.T) *server.Server {
	t.Helper()
	long(t)
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice}})
	s.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", alice.Name)
	return s
}

// healthy proves that the server serves, within a time that a person would call at
// once, and still has the message.
func healthy(t *testing.T, s *server.Server) {
	t.Helper()
	stopwatch.Within(t, 10*time.Second, "a login and a FETCH", func() {
		c := s.Login(t, alice)
		c.MustIMAP("EXAMINE INBOX")
		if got := strings.Join(c.MustIMAP("FETCH 1 (BODY.PEEK[])"), "\n"); !strings.Contains(got, "Subject: kept") {
			t.Errorf("the first message is now\n%s", got)
		}
		c.MustIMAP("LOGOUT")
	})
}

// peak gives the most memory that the process ever had, in MiB.
func peak(t *testing.T, s *server.Server) int {
	t.Helper()
	return int(s.Memory("VmHWM") >> 20)
}

// bounded runs work and proves that the server's memory never grew by more than
// limit MiB over what it had at its most before.
func bounded(t *testing.T, s *server.Server, limit int, work func()) {
	t.Helper()
	before := peak(t, s)
	work()
	after := peak(t, s)
	t.Logf("the server's memory: %d MiB before, at most %d", before, after)
	if after > before+limit {
		t.Errorf("the server's memory grew from %d to %d MiB, more than by %d", before, after, limit)
	}
}

// imap connects and reads the greeting; over TLS and logged in if who is not nil.
func imap(t *testing.T, s *server.Server, who *server.Account) *server.Talk {
	t.Helper()
	if who != nil {
		return s.Login(t, *who)
	}
	c := server.Dial(t, s.IMAP)
	c.Want("* OK")
	return c
}

// pop connects and reads the greeting; over TLS and logged in if who is not nil.
func pop(t *testing.T, s *server.Server, who *server.Account) *server.Talk {
	t.Helper()
	if who == nil {
		c := server.Dial(t, s.POP3)
		c.Want("+OK")
		return c
	}
	c := server.DialTLS(t, s.POP3S, s.TLS())
	c.Want("+OK")
	c.Send("USER "+who.Name, "PASS "+who.Password)
	c.Want("+OK")
	c.Want("+OK")
	return c
}

// lmtp connects and says hello.
func lmtp(t *testing.T, s *server.Server) *server.Talk {
	t.Helper()
	c := server.Dial(t, s.LMTP)
	c.Want("220")
	c.Send("LHLO test")
	c.Until("250 ")
	return c
}

// flood writes text again and again until the server ends the connection or as
// many bytes are written.
func flood(c *server.Talk, text string, bytes int) {
	for sent := 0; sent < bytes; sent += len(text) {
		c.Conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.Conn.Write([]byte(text)); err != nil {
			return
		}
	}
}
