package hostile

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// injected is what an attacker in the middle puts into a connection in the clear: bytes in
// segments of their own.
type injected struct {
	place
	what     string
	segments []string
	// late: the command that begins TLS may have been answered before the rest came.
	late bool
}

// TestInjected is what an attacker in the middle does around the beginning of TLS.
func TestInjected(t *testing.T) {
	s := serve(t)
	s.SetLoginType("PlainTextLogin")
	t.Run("commands", func(t *testing.T) { injectedCommands(t, s) })
	t.Run("between", func(t *testing.T) { injectedBetween(t, s) })
	t.Run("pipelined", func(t *testing.T) { pipelinedBefore(t, s) })
	t.Run("behind compression", func(t *testing.T) { behindCompression(t, s) })
	t.Run("refused", func(t *testing.T) { tlsRefused(t, s) })
	t.Run("forgotten", func(t *testing.T) { tlsForgets(t, s) })
}

// linesOf gives what a protocol's command looks like on the wire, with arguments that it
// would take, so that it would be done.
func linesOf(p place, command string) string {
	arguments := map[string]string{
		"LOGIN": alice.Name + ` "` + alice.Password + `"`, "AUTHENTICATE": "PLAIN", "SELECT": "INBOX", "EXAMINE": "INBOX", "CREATE": "injected", "LIST": `"" *`, "LSUB": `"" *`,
		"ENABLE": "UTF8=ACCEPT", "ID": `("name" "injected")`, "COMPRESS": "DEFLATE", "LANGUAGE": "de", "APPEND": "INBOX {4+}\r\nevil", "STATUS": "INBOX (MESSAGES)",
		"FETCH": "1 FLAGS", "STORE": `1 FLAGS (\Deleted)`, "SEARCH": "ALL", "COPY": "1 INBOX", "MOVE": "1 INBOX",
		"USER": alice.Name, "PASS": alice.Password, "AUTH": "PLAIN", "APOP": alice.Name + " 00", "XCLIENT": "ADDR=192.0.2.1", "LANG": "de", "RETR": "1", "TOP": "1 1", "DELE": "1",
		"LHLO": "evil.example", "MAIL": "FROM:<evil@test.example>", "RCPT": "TO:<" + alice.Name + ">", "BDAT": "4 LAST\r\nevil", "VRFY": alice.Name,
	}[command]
	text := command
	if arguments != "" {
		text += " " + arguments
	}
	if p.service == "IMAP4" {
		text = "i1 " + text
	}
	return text + "\r\n"
}

// injectedCommands puts each command of each protocol behind the one that begins TLS,
// and the beginning of a handshake behind that, cut into TCP segments at every byte: none
// is ever answered, before the handshake or in it, and what came in the same segment ends
// the connection at once and is written to the log.
func injectedCommands(t *testing.T, s *server.Server) {
	hello := helloOf(t, anyone())
	tables := map[string]string{"IMAP4": "imap/commands.go", "POP3": "pop3/commands.go", "LMTP": "lmtp/commands.go"}
	var list []injected
	at := 0 // where the next one is cut, in the short form
	for _, p := range mailPlaces(t, s) {
		if !p.clear {
			continue
		}
		begin := p.begin + "\r\n"
		for _, command := range commandsOf(t, tables[p.service]) {
			for _, more := range []string{"", hello} {
				what := command
				if more != "" {
					what += " and a hello"
				}
				text := linesOf(p, command)
				all := begin + text + more
				list = append(list, injected{p, what, []string{all}, false})
				// The short form cuts each in three places, all of them together everywhere.
				for cut := 1; cut < min(len(begin)+len(text)+6, len(all)); cut++ {
					if at++; hours || at%12 == 0 {
						list = append(list, injected{p, fmt.Sprintf("%s, cut at %d", what, cut), []string{all[:cut], all[cut:]}, cut == len(begin)})
					}
				}
			}
		}
		for cut := 1; cut < len(hello); cut += sized(60, 1) {
			list = append(list, injected{p, fmt.Sprintf("the first %d bytes of a hello", cut), []string{begin + hello[:cut]}, false})
		}
		// Wherever the server's buffers end: behind commands of every length.
		for pad := 1; pad < 600; pad += sized(3, 1) {
			before := strings.Repeat("p", pad) + " NOOP\r\n"
			switch {
			case p.service != "IMAP4":
				before = "NOOP" + strings.Repeat(" ", pad) + "\r\n"
			case pad > 100:
				before = "p NOOP\r\n" + strings.Repeat("p", pad-100) + " NOOP\r\n"
			}
			list = append(list, injected{p, fmt.Sprintf("behind %d bytes", len(before)), []string{before + begin + linesOf(p, "NOOP")}, false})
		}
	}
	together(t, 24, list, injected.inject)
	t.Logf("prove: commands and handshakes put behind STARTTLS, none obeyed: %d", len(list))
	if !strings.Contains(s.Output(), "bytes were sent behind the command that begins TLS") {
		t.Error("the log does not tell of it")
	}
	unharmed(t, s)
}

// inject does it and judges the answer.
func (i injected) inject() error {
	c, err := i.greeted()
	if err != nil {
		return err
	}
	defer c.Close()
	for n, segment := range i.segments {
		if n > 0 {
			time.Sleep(time.Millisecond)
		}
		if _, err := io.WriteString(c, segment); err != nil {
			break // the server has closed, as it should
		}
	}
	c.(*net.TCPConn).CloseWrite()
	text, err := ended(c, 5*time.Second)
	if err != nil {
		return fmt.Errorf("%s: %w", i.what, err)
	}
	// In the answer: those to what was padding, the agreement where that may be, TLS.
	agreed := bytes.Contains(text, []byte(i.agreed+" ")) && (i.service != "POP3" || bytes.Contains(text, []byte("TLS negotiation")))
	if agreed && !i.late {
		return fmt.Errorf("%s: the server agrees to TLS: %.300q", i.what, text)
	}
	if bytes.Contains(text, []byte("i1 ")) {
		return fmt.Errorf("%s: it is answered: %.300q", i.what, text)
	}
	if _, rest, _ := bytes.Cut(text, []byte(i.agreed+" ")); agreed {
		if _, behind, _ := bytes.Cut(rest, []byte("\r\n")); len(behind) > 0 && behind[0] != 21 && behind[0] != 22 {
			return fmt.Errorf("%s: behind the agreement comes %.300q", i.what, behind)
		}
	}
	return nil
}

// injectedBetween puts commands between the agreement and the handshake, and into the
// connection when the handshake is over, where only records of TLS may be: the connection
// ends, and nothing is answered in the clear or within TLS.
func injectedBetween(t *testing.T, s *server.Server) {
	places := mailPlaces(t, s)
	tables := map[string]string{"IMAP4": "imap/commands.go", "POP3": "pop3/commands.go", "LMTP": "lmtp/commands.go"}
	type attempt struct {
		place
		text  string
		after bool
	}
	var list []attempt
	for _, p := range places {
		for _, command := range commandsOf(t, tables[p.service]) {
			list = append(list, attempt{p, linesOf(p, command), true})
			if p.clear {
				list = append(list, attempt{p, linesOf(p, command), false})
			}
		}
	}
	together(t, 8, list, func(a attempt) error {
		raw, err := a.dial()
		if err != nil {
			return err
		}
		defer raw.Close()
		if !a.after {
			io.WriteString(raw, a.text)
			if err := tls.Client(raw, anyone()).Handshake(); err == nil {
				return fmt.Errorf("TLS begins behind %q", a.text)
			}
			return nil
		}
		session := tls.Client(raw, anyone())
		if err := session.Handshake(); err != nil {
			return err
		}
		if !a.clear {
			if err := say(session, "", a.greets); err != nil {
				return err
			}
		}
		io.WriteString(raw, a.text) // past the session
		text, err := ended(session, 5*time.Second)
		if err != nil || len(text) > 0 {
			return fmt.Errorf("%q in the clear within TLS: %.80q, %w", a.text, text, err)
		}
		return nil
	})
	t.Logf("prove: commands put in between and into TLS, none obeyed: %d", len(list))
	unharmed(t, s)
}

// pipelinedBefore: what was asked before the command that begins TLS, in one segment
// with it, is answered before TLS begins: no answer that was asked for in the clear comes
// within, where the client would take it for an answer to what it asks there.
func pipelinedBefore(t *testing.T, s *server.Server) {
	for _, p := range mailPlaces(t, s) {
		if !p.clear {
			continue
		}
		for _, n := range []int{1, 2, 7, 50} {
			before, answer := "b1 NOOP\r\n", "b1 OK"
			switch p.service {
			case "POP3":
				before, answer = "USER "+alice.Name+"\r\n", "+OK"
				if n > 7 {
					continue // too many refused commands end a session
				}
			case "LMTP":
				before, answer = "NOOP\r\n", "250"
			}
			c, err := p.greeted()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, strings.Repeat(before, n)+p.begin+"\r\n")
			for range n {
				if err := say(c, "", answer); err != nil {
					t.Errorf("%v: %v", p, err)
				}
			}
			if err := say(c, "", p.agreed); err != nil {
				t.Errorf("%v: %v", p, err)
			}
			session := tls.Client(c, anyone())
			if err := session.Handshake(); err != nil {
				t.Errorf("%v: %v", p, err)
			} else if err := say(session, p.command, p.answer); err != nil {
				t.Errorf("%v, within TLS: %v", p, err)
			}
			c.Close()
		}
	}
	unharmed(t, s)
}

// tlsForgets: what was said in the clear, by whomever, is forgotten under TLS: USER, ID,
// LHLO and a begun message, UTF8, the language, a begun SASL exchange. That passwords were
// wrong is not.
func tlsForgets(t *testing.T, s *server.Server) {
	begin := func(c *server.Talk, command, agreed string) {
		t.Helper()
		c.Send(command)
		c.Want(agreed)
		c.StartTLS(s.TLS())
	}

	c := imap(t, s, nil)
	c.MustIMAP(`ID ("name" "before TLS")`)
	c.MustIMAP("LANGUAGE de")
	c.Send("x1 AUTHENTICATE PLAIN")
	c.Want("+")
	c.Send("*")
	c.Want("x1 ")
	begin(c, "s1 STARTTLS", "s1 OK")
	if out := s.MustShell("Get-Session"); strings.Contains(out, "before TLS") {
		t.Errorf("ID from before TLS is shown:\n%s", out)
	}
	if _, answer := c.IMAP("NOOP"); answer != "OK NOOP completed." {
		t.Errorf("the language from before TLS is spoken: %s", answer)
	}
	if _, answer := c.IMAP("AGFsaWNl"); !strings.HasPrefix(answer, "BAD") {
		t.Errorf("a SASL response from before TLS: %s", answer)
	}

	p := pop(t, s, nil)
	p.Send("UTF8")
	p.Want("+OK")
	p.Send("LANG de")
	p.Want("+OK")
	p.Send("USER " + alice.Name)
	p.Want("+OK")
	begin(p, "STLS", "+OK")
	p.Send("PASS " + alice.Password)
	p.Want("-ERR")
	p.Send("NOOP")
	p.Want("-ERR Log in first")

	l := lmtp(t, s)
	l.Send("MAIL FROM:<evil@test.example>", "RCPT TO:<"+alice.Name+">")
	l.Want("250")
	l.Want("250")
	begin(l, "STARTTLS", "220")
	l.Send("DATA")
	l.Want("503")
	l.Send("MAIL FROM:<evil@test.example>")
	l.Want("503")
	l.Send("LHLO test")
	l.Until("250 ")
	l.Send("RCPT TO:<" + alice.Name + ">")
	l.Want("503")

	// Nine logins failed, as many as may, less one: the tenth ends the session, though TLS
	// began in between.
	c = imap(t, s, nil)
	for n := range 9 {
		if n == 4 {
			begin(c, "s1 STARTTLS", "s1 OK")
		}
		if _, answer := c.IMAP("AUTHENTICATE PLAIN ="); strings.HasPrefix(answer, "OK") {
			t.Fatal(answer)
		}
	}
	c.Send("z1 AUTHENTICATE PLAIN =")
	if text := strings.Join(c.Ended(), "\n"); !strings.Contains(text, "* BYE") {
		t.Errorf("ten failed logins, TLS in between: %s", text)
	}
	unharmed(t, s)
}

// tlsRefused asks for TLS where there is none to be had: with an argument, twice, under
// TLS from the first byte, within a SASL exchange, when somebody has logged in, within a
// message, behind COMPRESS. It is answered, and what is there goes on.
func tlsRefused(t *testing.T, s *server.Server) {
	login := fmt.Sprintf("LOGIN %q %q", alice.Name, alice.Password)

	c := imap(t, s, nil)
	imapRefused := func(c *server.Talk, when string) {
		t.Helper()
		if _, answer := c.IMAP("STARTTLS"); !strings.HasPrefix(answer, "BAD") {
			t.Errorf("IMAP4, %s: %s", when, answer)
		}
		c.MustIMAP("NOOP")
	}
	if _, answer := c.IMAP("STARTTLS now"); !strings.HasPrefix(answer, "BAD") {
		t.Error(answer)
	}
	c.Send("x1 AUTHENTICATE PLAIN")
	c.Want("+")
	c.Send("x2 STARTTLS")
	if got := c.Want("x1 "); strings.HasPrefix(got, "x1 OK") {
		t.Error(got)
	}
	c.MustIMAP("%s", login)
	imapRefused(c, "logged in, in the clear")
	c.MustIMAP("SELECT INBOX")
	imapRefused(c, "with a mailbox")
	c.Send("y1 IDLE")
	c.Want("+")
	c.Send("y2 STARTTLS")
	if got := c.Until("y1 "); !strings.HasPrefix(got[len(got)-1], "y1 BAD") {
		t.Errorf("IMAP4, within IDLE: %q", got)
	}
	imapRefused(imap(t, s, &alice), "under TLS, logged in")
	d := server.DialTLS(t, s.IMAPS, s.TLS())
	d.Want("* OK")
	imapRefused(d, "under TLS")
	d = imap(t, s, nil)
	d.Send("s1 STARTTLS")
	d.Want("s1 OK")
	d.StartTLS(s.TLS())
	imapRefused(d, "twice")

	popRefused := func(c *server.Talk, when string) {
		t.Helper()
		c.Send("STLS")
		c.Want("-ERR")
		c.Send("CAPA")
		c.Want("+OK")
		if got := c.Until("."); strings.Contains(strings.Join(got, " "), "STLS") {
			t.Errorf("POP3, %s: STLS is offered: %q", when, got)
		}
	}
	p := pop(t, s, nil)
	p.Send("STLS now")
	p.Want("-ERR")
	p.Send("AUTH PLAIN")
	p.Want("+")
	p.Send("STLS")
	p.Want("-ERR")
	p.Send("USER " + alice.Name)
	p.Want("+OK")
	p.Send("PASS " + alice.Password)
	p.Want("+OK")
	popRefused(p, "logged in, in the clear")
	p.Send("QUIT") // the maildrop is one session's
	p.Ended()
	popRefused(pop(t, s, &alice), "under TLS, logged in")
	p = server.DialTLS(t, s.POP3S, s.TLS())
	p.Want("+OK")
	popRefused(p, "under TLS")
	p = pop(t, s, nil)
	p.Send("STLS")
	p.Want("+OK")
	p.StartTLS(s.TLS())
	popRefused(p, "twice")

	l := lmtp(t, s)
	l.Send("STARTTLS now")
	l.Want("501")
	l.Send("STARTTLS")
	l.Want("220")
	l.StartTLS(s.TLS())
	l.Send("LHLO test")
	if got := l.Until("250 "); strings.Contains(strings.Join(got, " "), "STARTTLS") {
		t.Errorf("LMTP, under TLS: %q", got)
	}
	l.Send("STARTTLS")
	l.Want("502")
	unharmed(t, s)
}
