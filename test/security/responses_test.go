package security

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// responses cuts what an IMAP server said into its responses, literals taken out.
func responses(t *testing.T, said string) []string {
	t.Helper()
	var all []string
	for said != "" {
		var response strings.Builder
		for {
			line, rest, ok := strings.Cut(said, "\r\n")
			if !ok {
				t.Fatalf("the last response does not end: %.200q", said)
			}
			said = rest
			response.WriteString(line)
			size := literal.FindStringSubmatch(line)
			if size == nil {
				break
			}
			n, err := strconv.Atoi(size[1])
			if err != nil || n > len(said) {
				t.Fatalf("a literal is cut: %.200q", line)
			}
			if strings.Contains(said[:n], "\x00") && !strings.HasSuffix(line, "~"+size[0]) {
				t.Errorf("a NUL in the literal of %.200q", response.String())
			}
			said = said[n:]
		}
		all = append(all, response.String())
	}
	return all
}

var (
	literal = regexp.MustCompile(`\{([0-9]+)\}$`)
	begins  = regexp.MustCompile(`^(\* [0-9A-Z]|\+ |q[0-9]+ (OK|NO|BAD) )`)
)

// TestNothingIsInjected: a string from outside never makes a line of its own in what
// the server says, wherever it comes from.
func TestNothingIsInjected(t *testing.T) {
	s := serve(t)
	const evil = "x\r\n* INJECTED\r\nq1 OK INJECTED\r\n+OK INJECTED\r\n250 INJECTED\r\n"
	coded := "=?utf-8?Q?x=0D=0A*_INJECTED=0D=0A+OK_INJECTED=00?="
	extended := "utf-8''x%0D%0A*%20INJECTED%0D%0A%2BOK%20INJECTED%00"
	lone := "x\r* INJECTED\n* INJECTED\x00\r"
	message := "From: " + coded + " <\"a\r\n * INJECTED\"@b>\r\n" +
		"To: \"" + lone + "\" <" + coded + "@" + lone + ">, " + evil[1:4] + " x: y;\r\n" +
		"Subject: " + coded + lone + "\r\nMessage-ID: <" + lone + ">\r\nIn-Reply-To: " + coded + "\r\nDate: " + lone + "\r\n" +
		"Content-Language: " + lone + ", " + coded + "\r\nContent-Location: " + lone + "\r\n" +
		"Content-Type: multipart/mixed; boundary=b; x*=" + extended + "; y=\"" + lone + "\"\r\n\r\n" +
		"--b\r\nContent-Type: text/plain; name*0*=" + extended + "; name*1=\"" + lone + "\"\r\nContent-Disposition: attachment; filename*=" + extended + "; f=\"\\\r\\\n* INJECTED\"\r\n" +
		"Content-ID: " + lone + "\r\nContent-Description: " + coded + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx=0D=0A* INJECTED=00=0D=0A.=0D=0A+OK INJECTED\r\n.\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: " + coded + "\r\n\r\n" + lone + "\r\n--b--\r\n"
	s.MustDeliver(t, message, alice.Name)

	c := server.DialTLS(t, s.IMAPS, s.TLS())
	n := 0
	send := func(command string) {
		n++
		c.Write(fmt.Sprintf("q%d %s\r\n", n, command))
	}
	text := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
	for _, command := range []string{
		"LOGIN " + text(evil) + " " + text(evil), "AUTHENTICATE PLAIN " + b64("\x00"+evil+"\x00"+evil), "ID (" + text("name") + " " + text(evil) + ")",
		`AUTHENTICATE "x` + "\r" + `* INJECTED"`, "x\r* INJECTED", "\x00",
		fmt.Sprintf("LOGIN %q %q", alice.Name, alice.Password),
		"CREATE " + text(evil), "CREATE " + text("a\rb"), "CREATE a&AA0ACg-* INJECTED", "SELECT " + text(evil), "STATUS " + text(evil) + " (MESSAGES)", "DELETE " + text(evil),
		"RENAME INBOX " + text(evil), "SUBSCRIBE " + text(evil), `LIST "" ` + text(evil), "LIST " + text(evil) + " *", "ENABLE X\r*", "APPEND " + text(evil) + " {1+}\r\nx",
		"SELECT INBOX", "STORE 1 FLAGS (x\r*)", "STORE 1 +FLAGS (\\x\r*)", "SEARCH TEXT " + text(evil), "SEARCH CHARSET " + text(evil) + " ALL", "SEARCH HEADER " + text(evil) + " x",
		"FETCH 1 (ENVELOPE BODY BODYSTRUCTURE PREVIEW)", "FETCH 1 ALL", "FETCH 1 (BODY.PEEK[] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2.HEADER] BODY.PEEK[HEADER] BODY.PEEK[TEXT]<3.50>)",
		"FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])",
		"FETCH 1 BODY.PEEK[HEADER.FIELDS (" + text(evil) + " " + text("Subject") + ")]", "FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (" + text(evil) + ")]",
		"COPY 1 " + text(evil), "UNSELECT", `LIST "" *`, `LSUB "" *`, "LOGOUT",
	} {
		send(command)
	}
	c.Conn.SetReadDeadline(time.Now().Add(time.Minute))
	raw, err := io.ReadAll(c.Conn)
	if err != nil {
		t.Fatal(err)
	}
	said := string(raw)
	all := responses(t, said)
	fetched := 0
	for _, r := range all {
		if !begins.MatchString(r) || strings.HasPrefix(r, "* INJECTED") || strings.HasPrefix(r, "q1 OK") || strings.ContainsAny(r, "\r\n\x00") {
			t.Errorf("a response: %.300q", r)
		}
		if strings.Contains(r, "FETCH (") {
			fetched++
		}
	}
	if fetched < 6 || !strings.Contains(said, fmt.Sprintf("\r\nq%d OK LOGOUT", n)) {
		t.Errorf("%d FETCH responses; the end is %.200q", fetched, said[max(0, len(said)-200):])
	}

	// POP3 and LMTP: each line of an answer is as it must be.
	p := server.DialTLS(t, s.POP3S, s.TLS())
	p.Want("+OK")
	for _, command := range []string{"USER x\r+OK INJECTED", "AUTH PLAIN " + b64("\x00"+evil+"\x00x"), "AUTH x\r+OK", "LANG x\r+OK", "NOOP x\r+OK"} {
		p.Send(command)
		p.Until("-ERR")
	}
	p.Send("USER "+alice.Name, "PASS "+alice.Password, "LIST 1\r+OK", "UIDL", "QUIT")
	for i, want := range []string{`\+OK Send the password`, `\+OK 1 [0-9]+`, `-ERR .*`, `\+OK.*`, `1 [!-~]{1,70}`, `\.`, `\+OK Goodbye`} {
		if line := p.Line(); !regexp.MustCompile("^" + want + "$").MatchString(line) {
			t.Errorf("POP3, line %d: %q", i, line)
		}
	}
	l := server.Dial(t, s.LMTPSocket)
	l.Want("220")
	l.Send("LHLO x\r250 INJECTED", "LHLO x", "MAIL FROM:<>", `RCPT TO:<"x\`+"\r"+`250 INJECTED"@y>`, `RCPT TO:<"x 250 INJECTED"@y>`, "RCPT TO:<\u202e@y>", "VRFY x\r250 INJECTED", "QUIT")
	for _, line := range l.Ended() {
		if !regexp.MustCompile(`^[2-5][0-9][0-9][ -]`).MatchString(line) || strings.HasPrefix(line, "250 INJECTED") || strings.Contains(line, "\r") {
			t.Errorf("LMTP says %q", line)
		}
	}
}
