package hostile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// odd are messages that hurt those who recurse, or who take quadratic time.
func odd() map[string]string {
	const deep = 10_000
	var parts strings.Builder
	parts.WriteString("Subject: deep\r\nMIME-Version: 1.0\r\n")
	for i := range deep {
		fmt.Fprintf(&parts, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	parts.WriteString("Content-Type: text/plain\r\n\r\nthe bottom\r\n")
	var unclosed strings.Builder
	unclosed.WriteString("Subject: one boundary\r\nContent-Type: multipart/mixed; boundary=x\r\n")
	for range deep {
		unclosed.WriteString("\r\n--x\r\nContent-Type: multipart/mixed; boundary=x\r\n")
	}
	var comments strings.Builder
	comments.WriteString("Subject: comments\r\nFrom: " + strings.Repeat("(", deep) + " a@test.example\r\nContent-Type: text/plain" + strings.Repeat("(x", deep) + "\r\n\r\nbody\r\n")
	return map[string]string{
		"multipart 10,000 deep":         parts.String(),
		"message/rfc822 10,000 deep":    "Subject: forwarded\r\n" + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", deep) + "Subject: bottom\r\n\r\nbody\r\n",
		"one boundary 10,000 times":     unclosed.String(),
		"100,000 parts":                 "Subject: parts\r\nContent-Type: multipart/mixed; boundary=p\r\n\r\n" + strings.Repeat("--p\r\n\r\nx\r\n", 100_000) + "--p--\r\n",
		"comments 10,000 deep":          comments.String(),
		"a header line of 8 MB":         "Subject: " + strings.Repeat("long ", 8<<20/5) + "\r\n\r\nbody\r\n",
		"an encoded word of 2 MB":       "Subject: =?utf-8?q?" + strings.Repeat("=C3=A9", 2<<20/6) + "?=\r\n\r\nbody\r\n",
		"200,000 header lines":          strings.Repeat("X-A: b\r\n", 200_000) + "Subject: lines\r\n\r\nbody\r\n",
		"a header folded 200,000 times": "Subject: folded\r\n" + "To: a@test.example" + strings.Repeat(",\r\n b@test.example", 200_000) + "\r\n\r\nbody\r\n",
		"References of 2 MB":            "Subject: refs\r\nReferences: " + strings.Repeat("<a@b> ", 2<<20/6) + "\r\n\r\nbody\r\n",
		"100,000 parameters":            "Subject: parameters\r\nContent-Type: text/plain" + strings.Repeat("; a*0=b", 100_000) + "\r\n\r\nbody\r\n",
		"parentheses in an address":     "Subject: groups\r\nTo: " + strings.Repeat("a:", deep) + strings.Repeat("<", deep) + strings.Repeat("\"", deep+1) + "\r\n\r\nbody\r\n",
		"no line end at all":            strings.Repeat("x", 4<<20),
		"only line ends":                strings.Repeat("\r\n", 1<<20),
		"bare CR and LF":                "Subject: bare\r\n\r\n" + strings.Repeat("\r\r\n\n.\n", 100_000),
	}
}

// TestOddMIME brings each message in over LMTP and over APPEND and asks for all
// that a client lists. It is stored as it came, and everything is answered.
func TestOddMIME(t *testing.T) {
	s := serve(t)
	c := s.Login(t, alice)
	c.MustIMAP("SELECT INBOX")
	count := 1
	bounded(t, s, 384, func() {
		for name, text := range odd() {
			s.MustDeliver(t, text, alice.Name)
			c.Append("INBOX", "", text)
			size := sizeOf(t, c, count+2)
			if size != len(text) {
				t.Errorf("%s: APPEND of %d bytes, RFC822.SIZE %d", name, len(text), size)
			}
			for _, n := range []int{count + 1, count + 2} {
				for _, item := range []string{
					"ENVELOPE", "BODYSTRUCTURE", "BODY", "FLAGS", "PREVIEW", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[1.MIME]",
					"BODY.PEEK[" + strings.Repeat("1.", 40) + "1]", "BINARY.SIZE[1]", "BODY.PEEK[TEXT]<0.10>",
				} {
					got, answer := c.IMAP("FETCH %d (UID %s)", n, item)
					// A part that does not exist, or whose encoding is unknown, is refused.
					if !strings.HasPrefix(answer, "OK") && !strings.Contains(item, "1") {
						t.Errorf("%s: FETCH %s: %s", name, item, answer)
					}
					if strings.HasPrefix(answer, "OK") && !strings.HasPrefix(strings.Join(got, "\n"), "* ") {
						t.Errorf("%s: FETCH %s: %.100q", name, item, got)
					}
				}
			}
			if got, answer := c.IMAP("SEARCH %d:%d OR SUBJECT nothing BODY nowhere", count+1, count+2); !strings.HasPrefix(answer, "OK") {
				t.Errorf("%s: SEARCH: %s %q", name, answer, got)
			}
			count += 2
		}
	})
	p := pop(t, s, &alice)
	p.Send("STAT")
	p.Want(fmt.Sprintf("+OK %d ", count))
	for n := 1; n <= count; n++ {
		p.Send(fmt.Sprintf("TOP %d 1", n))
		p.Want("+OK")
		p.Until(".")
	}
	p.Send("QUIT")
	p.Want("+OK")
	healthy(t, s)
}

func sizeOf(t *testing.T, c *server.Talk, n int) int {
	t.Helper()
	for _, line := range c.MustIMAP("FETCH %d RFC822.SIZE", n) {
		var number, size int
		if k, _ := fmt.Sscanf(line, "* %d FETCH (RFC822.SIZE %d)", &number, &size); k == 2 && number == n {
			return size
		}
	}
	t.Fatalf("message %d has no size", n)
	return 0
}
