package policy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
)

// clientHello is the first flight of a TLS client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go tls.Client(theirs, insecure()).Handshake()
	header := make([]byte, 5)
	if _, err := io.ReadFull(ours, header); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(ours, rest); err != nil {
		t.Fatal(err)
	}
	return append(header, rest...)
}

// injection is what somebody in the middle puts into a clear connection.
type injection struct {
	protocol string
	name     string
	segments [][]byte
	// late: the server may read the command alone; what comes behind it is then the
	// beginning of a handshake.
	late bool
}

// TestInjection puts commands, and the beginning of a handshake, behind STLS and
// STARTTLS, cut into TCP segments at every byte (CVE-2011-0411). The server hangs up
// without agreeing to TLS; where what was injected may have come later, it is the
// handshake's business. It is never run as a command and no name in it is looked up.
func TestInjection(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	name := address(anna, 0)
	hello := clientHello(t)
	var list []injection
	for _, protocol := range protocols {
		begin := map[string]string{"POP3": "STLS\r\n", "IMAP4": "x1 STARTTLS\r\n"}[protocol]
		commands := map[string]string{
			"POP3":  "USER " + name + "\r\nPASS " + password + "\r\nSTAT\r\n",
			"IMAP4": "x2 LOGIN " + name + " " + password + "\r\nx3 SELECT INBOX\r\n",
		}[protocol]
		padding := map[string]string{"POP3": "X%s\r\n", "IMAP4": "x0 X%s\r\n"}[protocol]
		for what, injected := range map[string][]byte{
			"commands": []byte(commands), "ClientHello": hello, "one byte": {'\n'},
			"commands and ClientHello": append([]byte(commands), hello...),
		} {
			all := append([]byte(begin), injected...)
			for cut := range min(len(all), len(begin)+100) {
				s := [][]byte{all[:cut], all[cut:]}
				if cut == 0 {
					s = s[1:]
				}
				list = append(list, injection{protocol, fmt.Sprintf("%s cut at %d", what, cut), s, cut == len(begin)})
			}
			var single [][]byte
			for _, b := range all[:min(len(all), len(begin)+40)] {
				single = append(single, []byte{b})
			}
			list = append(list, injection{protocol, what + " byte by byte", single, true})
			// Behind other bytes. Where the command ends with a buffer of the server's,
			// a power of two, the rest is still with the operating system.
			for pad := 1; pad < 300; pad++ {
				s := fmt.Appendf(nil, padding, strings.Repeat("X", pad))
				size := len(s) + len(begin)
				list = append(list, injection{protocol, fmt.Sprintf("%s behind %d bytes", what, len(s)), [][]byte{append(s, all...)}, size&(size-1) == 0})
			}
		}
	}
	work := make(chan injection)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				if err := r.inject(i); err != nil {
					t.Errorf("%s, %s: %v", i.protocol, i.name, err)
				}
			}
		})
	}
	for _, i := range list {
		work <- i
	}
	close(work)
	wg.Wait()
	if n := r.asked.sum(); n > 0 {
		t.Errorf("the directory was asked %d times", n)
	}
	t.Logf("%d injections", len(list))
}

func (r *running) inject(i injection) error {
	c, err := r.dial(i.protocol, way{"clear", 0})
	if err != nil {
		return err
	}
	defer c.close()
	for n, s := range i.segments {
		if n > 0 {
			time.Sleep(time.Millisecond)
		}
		if _, err := c.raw.Write(s); err != nil {
			break // closed already, as it should be
		}
	}
	// What the server might still wait for does not come.
	c.raw.(*net.TCPConn).CloseWrite()
	c.raw.SetReadDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(c.raw)
	if timeout(err) {
		return fmt.Errorf("the server does not hang up after %q", said)
	}
	agreed := bytes.Contains(said, []byte("+OK Begin TLS")) || bytes.Contains(said, []byte("x1 OK"))
	if agreed && !i.late {
		return fmt.Errorf("the server agrees to TLS: %.100q", said)
	}
	// Before TLS there is an answer to the padding, and to the command.
	lines := bytes.Count(said, []byte("\r\n"))
	if bytes.Contains(said, []byte("x2 ")) || bytes.Contains(said, []byte("x3 ")) || i.protocol == "POP3" && !agreed && lines > 1 {
		return fmt.Errorf("what was injected was answered: %.200q", said)
	}
	if _, rest, _ := bytes.Cut(said, []byte("Begin TLS")); i.protocol == "POP3" && (bytes.Contains(rest, []byte("+OK")) || bytes.Contains(rest, []byte("-ERR"))) {
		return fmt.Errorf("what was injected was answered: %.200q", said)
	}
	return nil
}

// What was injected before the handshake is not run behind it: the handshake is done by
// the victim while the attacker's bytes go first.
func TestInjectionThenHandshake(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	name := address(anna, 0)
	for _, protocol := range protocols {
		text := map[string]string{
			"POP3":  "STLS\r\nUSER " + name + "\r\nPASS " + password + "\r\n",
			"IMAP4": "x1 STARTTLS\r\nx2 LOGIN " + name + " " + password + "\r\n",
		}[protocol]
		for cut := range len(text) {
			c, err := r.dial(protocol, way{"clear", 0})
			if err != nil {
				t.Fatal(err)
			}
			c.raw.Write([]byte(text[:cut]))
			c.raw.Write([]byte(text[cut:]))
			if answer, err := c.line(); err == nil && strings.Contains(answer, "OK") {
				if err := c.handshake(insecure()); err == nil {
					t.Errorf("%s, cut at %d: TLS began behind injected bytes", protocol, cut)
				}
			}
			c.close()
		}
	}
	if n := r.asked.sum(); n > 0 {
		t.Errorf("the directory was asked %d times", n)
	}
}

// What was said before TLS is forgotten: USER, a SASL exchange that was begun. The count
// of failed logins is not.
func TestSTARTTLSForgets(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	name := address(anna, 0)
	say := func(c *client, text, want string) {
		t.Helper()
		answer, err := c.command(text)
		if err != nil || !strings.HasPrefix(answer, want) {
			t.Errorf("%s: %s: %q, %v; want %q", c.protocol, text, answer, err, want)
		}
	}
	out := func(c *client) {
		t.Helper()
		if in, err := c.authenticated(); in || err != nil {
			t.Errorf("%s: logged in %v, %v", c.protocol, in, err)
		}
		c.close()
	}
	dial := func(protocol string) *client {
		t.Helper()
		c, err := r.dial(protocol, way{"clear", 0})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tlsOn := func(c *client) {
		t.Helper()
		if err := c.startTLS(insecure()); err != nil {
			t.Fatalf("%s: %v", c.protocol, err)
		}
	}

	c := dial("POP3")
	say(c, "USER "+name, "+OK")
	tlsOn(c)
	say(c, "PASS "+password, "-ERR")
	out(c)

	// Inside an exchange the command is a response like another and ends it; its
	// rest means nothing before TLS and nothing behind it.
	for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"} {
		c := dial("POP3")
		say(c, "AUTH "+mechanism, "+ ")
		say(c, "STLS", "-ERR")
		say(c, encode(name), "-ERR")
		say(c, "AUTH "+mechanism, "+ ")
		say(c, "*", "-ERR")
		tlsOn(c)
		say(c, encode("\x00"+name+"\x00"+password), "-ERR")
		out(c)

		c = dial("IMAP4")
		for _, inside := range []string{"x9 STARTTLS", "*"} {
			tag := c.tag()
			if err := c.send(tag + " AUTHENTICATE " + mechanism + "\r\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := c.line(); !strings.HasPrefix(line, "+") {
				t.Errorf("IMAP4 %s: %q, %v", mechanism, line, err)
			}
			if err := c.send(inside + "\r\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := c.line(); !strings.HasPrefix(line, tag+" BAD") && !strings.HasPrefix(line, tag+" NO") {
				t.Errorf("IMAP4 %s, then %q: %q, %v", mechanism, inside, line, err)
			}
		}
		say(c, `ID ("name" "x")`, "OK")
		tlsOn(c)
		say(c, encode("\x00"+name+"\x00"+password), "BAD")
		say(c, `ID ("name" "y")`, "OK")
		out(c)
	}
	if n := r.asked.sum(); n > 0 {
		t.Errorf("the directory was asked %d times", n)
	}

	// POP3 ends a session after some failed logins, whether TLS began among them or not.
	fail := func(c *client) (closed bool) {
		t.Helper()
		say(c, "AUTH PLAIN "+encode("\x00"+name+"\x00wrong"), "-ERR [AUTH]")
		_, err := c.command("CAPA")
		for err == nil {
			line := ""
			if line, err = c.line(); line == "." {
				return false
			}
		}
		return err == errClosed
	}
	most := 1
	for c = dial("POP3"); !fail(c); most++ {
		if most > 50 {
			t.Fatal("POP3 lets guess for ever")
		}
	}
	c = dial("POP3")
	for range most - 1 {
		if fail(c) {
			t.Fatal("POP3 closed too early")
		}
	}
	tlsOn(c)
	if !fail(c) {
		t.Errorf("TLS made %d failed logins undone", most-1)
	}
}

// STARTTLS works once, before login, and without arguments.
func TestSTARTTLSRefused(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	name := address(anna, 0)
	for _, protocol := range protocols {
		verb := map[string]string{"POP3": "STLS", "IMAP4": "STARTTLS"}[protocol]
		want := map[string]string{"POP3": "-ERR", "IMAP4": "BAD"}[protocol]
		refused := func(c *client, when, text string) {
			t.Helper()
			answer, err := c.command(text)
			if err != nil || !strings.HasPrefix(answer, want) {
				t.Errorf("%s %s: %q, %v", text, when, answer, err)
			}
			if names, _, err := c.capabilities(); err != nil || names[verb] != (when == "with an argument") {
				t.Errorf("%s: %s is offered: %v, %v", when, verb, names[verb], err)
			}
		}
		for _, w := range ways {
			c, err := r.dial(protocol, w)
			if err != nil {
				t.Fatal(err)
			}
			if w.version == 0 {
				refused(c, "with an argument", verb+" now")
			} else {
				refused(c, "under TLS", verb)
			}
			o, err := c.attempt(commandDialogue(cell{protocol: protocol, spelling: "upper", method: method{form: "quoted"}}, name, password), false)
			if err != nil || !o.in {
				t.Fatalf("%s %s: %q, %v", protocol, w, o.status, err)
			}
			refused(c, "after login", verb)
			if in, err := c.authenticated(); !in || err != nil {
				t.Errorf("%s %s: logged in %v, %v", protocol, w, in, err)
			}
			if err := c.quit(); err != nil {
				t.Error(err)
			}
		}
	}
}
