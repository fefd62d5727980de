package hostile

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// TestLongLines: a line that is too long is answered and the session goes on; a
// stream without line ends is cut off.
func TestLongLines(t *testing.T) {
	s := serve(t)
	long := strings.Repeat("x", 60_000)
	bounded(t, s, 48, func() {
		for name, who := range map[string]*server.Account{"before login": nil, "after login": &alice} {
			c := imap(t, s, who)
			c.Send("l1 NOOP " + long)
			c.Want("l1 BAD")
			c.MustIMAP("NOOP")
			c.Send("l2 LIST \"\" \"" + long + "\"")
			c.Want("l2 BAD")
			c.MustIMAP("NOOP")

			p := pop(t, s, who)
			p.Send("NOOP " + long)
			p.Want("-ERR", "too long")
			p.Send("CAPA")
			p.Want("+OK")
			p.Until(".")
			p.Send("QUIT")
			p.Ended()

			endless := strings.Repeat("y", 1<<20)
			c = imap(t, s, who)
			flood(c, endless, 64<<20)
			if said := c.Ended(); len(said) != 1 && len(said) != 2 || !strings.HasPrefix(said[len(said)-1], "* BYE ") {
				t.Errorf("%s: IMAP says %.200q to an endless line", name, said)
			}
			p = pop(t, s, who)
			flood(p, endless, 64<<20)
			if said := p.Ended(); len(said) != 1 || !strings.HasPrefix(said[0], "-ERR ") {
				t.Errorf("%s: POP3 says %.200q to an endless line", name, said)
			}
		}
		c := lmtp(t, s)
		c.Send("MAIL FROM:<" + long + "@test.example>")
		c.Want("500")
		c.Send("NOOP")
		c.Want("250")
		c = lmtp(t, s)
		flood(c, long, 64<<20)
		c.Ended()
	})
	healthy(t, s)
}

// TestLiterals: a literal that is too large is refused before "+"; what a refused
// non-synchronizing literal carries is never taken for commands.
func TestLiterals(t *testing.T) {
	s := serve(t)
	bounded(t, s, 48, func() {
		c := imap(t, s, nil)
		s.SetLoginType("PlainTextLogin") // else the policy refuses first
		for _, command := range []string{"LOGIN {2000}", "LOGIN {4294967296}", "LOGIN {99999999999999999999999999}", "AUTHENTICATE {8192}", "ID ({1000000}"} {
			if _, answer := c.IMAP("%s", command); !strings.HasPrefix(answer, "NO [TOOBIG]") && !strings.HasPrefix(answer, "BAD") {
				t.Errorf("%s before login: %s", command, answer)
			}
		}
		c = imap(t, s, nil)
		for _, command := range []string{"SELECT {5}", "APPEND INBOX {5}", "XYZZY {5}"} {
			if _, answer := c.IMAP("%s", command); strings.HasPrefix(answer, "OK") {
				t.Errorf("%s before login: %s", command, answer)
			}
		}
		c = imap(t, s, nil)
		inside := strings.Repeat("evil NOOP\r\n", 500)
		c.Write("n1 LOGIN {5500+}\r\n" + inside[:5500] + "\r\nn2 NOOP\r\n")
		said := c.Until("n")
		if last := said[len(said)-1]; !strings.HasPrefix(last, "n1 NO") && !strings.HasPrefix(last, "n1 BAD") {
			t.Errorf("a large literal that waits for nothing: %q", said)
		}
		for {
			line, err := c.ReadLine()
			if strings.HasPrefix(line, "evil") {
				t.Fatalf("a literal was taken for commands: %s", line)
			}
			if err != nil || strings.HasPrefix(line, "n2 OK") {
				break
			}
		}

		c = imap(t, s, &alice)
		for _, command := range []string{"APPEND INBOX {70000000}", "APPEND INBOX {99999999999999999999}", "APPEND INBOX (\\Seen) {9223372036854775808}"} {
			if _, answer := c.IMAP("%s", command); !strings.HasPrefix(answer, "NO [TOOBIG]") && !strings.HasPrefix(answer, "BAD") {
				t.Errorf("%s: %s", command, answer)
			}
		}
		if _, answer := c.IMAP("CREATE {2000000}"); !strings.HasPrefix(answer, "NO [TOOBIG]") && !strings.HasPrefix(answer, "BAD") {
			t.Errorf("a name of 2 MB: %s", answer)
		}
		c.MustIMAP("NOOP")

		// The message comes without waiting: it is thrown away or the connection ends.
		c = imap(t, s, &alice)
		c.Write("b1 APPEND INBOX {90000000+}\r\n")
		flood(c, strings.Repeat("evil NOOP\r\n", 90_000), 90_000_000)
		c.Conn.SetWriteDeadline(time.Now().Add(patience))
		c.Conn.Write([]byte("\r\nb2 LOGOUT\r\n"))
		for _, line := range c.Ended() {
			if strings.HasPrefix(line, "evil") || strings.HasPrefix(line, "b1 OK") {
				t.Fatalf("a message that is too large: %s", line)
			}
		}

		l := lmtp(t, s)
		l.Send("MAIL FROM:<a@test.example> SIZE=99999999999")
		l.Want("5")
	})
	healthy(t, s)
}

// TestHugeChunk: a chunk that no message may have is refused, or the time that it
// takes is up; either way the client is told (RFC 5321, 3.8).
func TestHugeChunk(t *testing.T) {
	t.Parallel()
	s := serve(t)
	l := lmtp(t, s)
	l.Send("MAIL FROM:<a@test.example>", "RCPT TO:<"+alice.Name+">", "BDAT 99999999999 LAST")
	l.Want("250")
	l.Want("250")
	if said := l.Ended(); len(said) == 0 || !strings.HasPrefix(said[0], "552 ") && !strings.HasPrefix(said[0], "421 ") {
		t.Errorf("the connection ended with %q, want 552 or 421", said)
	}
	healthy(t, s)
}

// TestNULs: a NUL is refused in commands of every protocol.
func TestNULs(t *testing.T) {
	s := serve(t)
	s.SetLoginType("PlainTextLogin") // else the policy refuses first
	for _, who := range []*server.Account{nil, &alice} {
		c := imap(t, s, who)
		for _, command := range []string{"NO\x00OP", "LOGIN al\x00ice pass", "LOGIN \"al\x00ice\" \"pass\"", "SELECT \"IN\x00BOX\"", "SEARCH SUBJECT \"\x00\"", "LIST \"\" \"\x00\""} {
			if _, answer := c.IMAP("%s", command); !strings.HasPrefix(answer, "BAD") {
				t.Errorf("%q: %s", command, answer)
			}
		}
		p := pop(t, s, who)
		for _, command := range []string{"USER al\x00ice", "NOOP\x00", "\x00", "TOP 1\x00 1"} {
			p.Send(command)
			p.Want("-ERR")
		}
	}
	l := lmtp(t, s)
	l.Send("MAIL FROM:<a\x00b@test.example>")
	l.Want("501")
	l.Send("RCPT TO:<al\x00ice@test.example>")
	l.Want("50")

	// A literal of the old kind has no NUL (RFC 9051, 4.3.1); mail that has one is
	// kept as it came.
	c := imap(t, s, &alice)
	c.Write("n1 APPEND INBOX {8+}\r\nA: b\x00\r\n\r\n")
	if said := c.Until("n1 "); strings.HasPrefix(said[len(said)-1], "n1 OK") {
		t.Errorf("APPEND of a NUL: %q", said)
	}
	s.MustDeliver(t, "Subject: a\x00b\r\n\r\nc\x00d\r\n", alice.Name)
	c.MustIMAP("SELECT INBOX")
	if got := c.MustIMAP("FETCH * (ENVELOPE BODYSTRUCTURE)"); len(got) == 0 || strings.Contains(strings.Join(got, ""), "\x00") {
		t.Errorf("a message with NULs: %q", got)
	}
	healthy(t, s)
}

// TestParentheses: nesting 10,000 deep is refused where it stands.
func TestParentheses(t *testing.T) {
	s := serve(t)
	bounded(t, s, 48, func() {
		deep := strings.Repeat("(", 10_000)
		c := imap(t, s, nil)
		for _, command := range []string{"ID " + deep[:7000], deep[:7000]} {
			if _, answer := c.IMAP("%s", command); !strings.HasPrefix(answer, "BAD") {
				t.Errorf("%.20s… before login: %s", command, answer)
			}
		}
		c = imap(t, s, &alice)
		c.MustIMAP("SELECT INBOX")
		for _, command := range []string{
			"SEARCH " + deep + "ALL" + strings.Repeat(")", 10_000), "SEARCH " + strings.Repeat("NOT ", 10_000) + "ALL", "SEARCH " + strings.Repeat("OR ", 10_000) + "ALL",
			"FETCH 1 " + deep, "STORE 1 FLAGS " + deep, "LIST " + deep + " *", "STATUS INBOX " + deep, "ID " + deep, "FETCH 1 BODY[" + strings.Repeat("1.", 10_000) + "1]",
			"ENABLE " + deep, "APPEND INBOX " + deep,
		} {
			_, answer := c.IMAP("%s", command)
			if !strings.HasPrefix(answer, "BAD") && !strings.HasPrefix(answer, "NO") {
				t.Errorf("%.20s…: %s", command, answer)
			}
		}
		c.MustIMAP("NOOP")
	})
	healthy(t, s)
}

// TestHalfClosed: who closes its half gets the answers to what it asked; what was
// begun and not ended did not happen.
func TestHalfClosed(t *testing.T) {
	s := serve(t)
	half := func(c *server.Talk) *server.Talk {
		t.Helper()
		if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return c
	}

	c := imap(t, s, nil)
	c.Send("h1 CAPABILITY", "h2 NOOP")
	if said := half(c).Ended(); len(said) < 3 || !strings.HasPrefix(said[1], "h1 OK") || !strings.HasPrefix(said[2], "h2 OK") {
		t.Errorf("IMAP: %q", said)
	}
	p := pop(t, s, nil)
	p.Send("CAPA")
	if said := half(p).Ended(); len(said) < 2 || said[len(said)-1] != "." {
		t.Errorf("POP3: %q", said)
	}
	p = pop(t, s, &alice)
	p.Send("DELE 1")
	p.Want("+OK")
	half(p).Ended() // no QUIT: nothing is deleted
	healthy(t, s)

	c = imap(t, s, &alice)
	c.Write("h3 APPEND INBOX {1000}\r\n")
	c.Want("+")
	c.Write("Subject: half\r\n")
	for _, line := range half(c).Ended() {
		if strings.HasPrefix(line, "h3 OK") {
			t.Errorf("half a message: %s", line)
		}
	}
	l := lmtp(t, s)
	l.Send("MAIL FROM:<a@test.example>", "RCPT TO:<"+alice.Name+">", "DATA")
	l.Want("250")
	l.Want("250")
	l.Want("354")
	l.Write("Subject: half\r\n\r\nhalf\r\n.")
	for _, line := range half(l).Ended() {
		if strings.HasPrefix(line, "2") {
			t.Errorf("half a message: %s", line)
		}
	}
	c = imap(t, s, &alice)
	if got := c.MustIMAP("STATUS INBOX (MESSAGES)"); !strings.HasSuffix(got[0], "(MESSAGES 1)") {
		t.Errorf("half a message arrived: %q", got)
	}
}
