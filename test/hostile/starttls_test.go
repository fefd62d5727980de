package hostile

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestInjection sends bytes behind STARTTLS and STLS in the same segment: the
// connection ends, and nothing that came in the clear is done, before the
// handshake or after it.
func TestInjection(t *testing.T) {
	s := serve(t)
	s.SetLoginType("PlainTextLogin")
	hello := helloOf(t, anyone())
	imapWords := "i1 LOGIN " + alice.Name + " \"" + alice.Password + "\"\r\n"
	lmtpWords := "LHLO evil.example\r\nMAIL FROM:<>\r\n"
	popWords := "USER " + alice.Name + "\r\nPASS " + alice.Password + "\r\n"
	for name, behind := range map[string]string{
		"a command": "i1 NOOP\r\n", "a login": "", "the ClientHello": hello, "its first byte": hello[:1], "all but its last byte": hello[:len(hello)-1],
		"an empty line": "\r\n", "a space": " ", "a command and the ClientHello": "i1 NOOP\r\n" + hello,
	} {
		t.Run(name, func(t *testing.T) {
			words := func(login string) string {
				if behind == "" {
					return login
				}
				return behind
			}
			for _, c := range []struct {
				talk          *server.Talk
				command, text string
				ok            string
			}{
				{imap(t, s, nil), "s1 STARTTLS\r\n", words(imapWords), "s1 OK"},
				{pop(t, s, nil), "STLS\r\n", words(popWords), "+OK"},
				{lmtp(t, s), "STARTTLS\r\n", words(lmtpWords), "220"},
			} {
				c.talk.Write(c.command + c.text)
				// The refusal may be a BYE, a BAD or nothing; never a handshake and
				// never an answer to what was behind.
				for _, line := range c.talk.Ended() {
					if strings.HasPrefix(line, "i1") || strings.HasPrefix(line, "\x16\x03") || strings.Count(line, "+OK") > 1 || strings.HasPrefix(line, "250") {
						t.Errorf("%q with %.20q behind it: %.80q", c.command, c.text, line)
					}
				}
			}
		})
	}

	// The same where a buffer may end exactly behind the command.
	for _, boundary := range []int{128, 256, 512, 1024, 4096, 8192} {
		c := imap(t, s, nil)
		tail := "s1 STARTTLS\r\n"
		room := boundary - len(tail)
		var before strings.Builder
		for room-before.Len() > 200 {
			before.WriteString("p1 NOOP\r\n")
		}
		before.WriteString(strings.Repeat("p", room-before.Len()-len(" NOOP\r\n")) + " NOOP\r\n")
		c.Write(before.String() + tail + "i1 NOOP\r\n")
		for _, line := range c.Ended() {
			if strings.HasPrefix(line, "i1") {
				t.Errorf("STARTTLS at %d bytes, a command behind it: %.80q", boundary, line)
			}
		}
	}
	p := pop(t, s, nil)
	p.Write(strings.Repeat("UTF8\r\n", 19) + "LANG *\r\nSTLS\r\nCAPA\r\n")
	for _, line := range p.Ended() {
		if line == "." || strings.HasPrefix(line, "+OK Capability") {
			t.Errorf("STLS at 128 bytes, a command behind it: %q", line)
		}
	}

	// Only once, and not under TLS.
	c := imap(t, s, nil)
	c.Send("s1 STARTTLS")
	c.Want("s1 OK")
	c.StartTLS(s.TLS())
	if got := strings.Join(c.MustIMAP("CAPABILITY"), " "); strings.Contains(got, "STARTTLS") {
		t.Errorf("under TLS: %s", got)
	}
	if _, answer := c.IMAP("STARTTLS"); !strings.HasPrefix(answer, "BAD") {
		t.Errorf("STARTTLS twice: %s", answer)
	}
	// USER from before the handshake is forgotten.
	p = pop(t, s, nil)
	p.Send("USER " + alice.Name)
	p.Want("+OK")
	p.Send("STLS")
	p.Want("+OK")
	p.StartTLS(s.TLS())
	p.Send("PASS " + alice.Password)
	p.Want("-ERR")
	p.Send("STLS")
	p.Want("-ERR")
	healthy(t, s)
}
