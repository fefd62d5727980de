package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/deflate"
	"github.com/postern-mail/postern/store/memory"
)

// packed speaks through compress/flate, each command flushed.
type packed struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func (p *packed) Read(b []byte) (int, error) { return p.r.Read(b) }

func (p *packed) Write(b []byte) (int, error) {
	if _, err := p.w.Write(b); err != nil {
		return 0, err
	}
	return len(b), p.w.Flush()
}

// compress has the client say COMPRESS.
func (c *testClient) compress() {
	if a := c.do("COMPRESS DEFLATE"); !strings.HasPrefix(a, "OK") {
		c.t.Fatal(a)
	}
	w, _ := flate.NewWriter(c.conn, flate.DefaultCompression)
	c.below = c.r
	c.conn = &packed{c.conn, flate.NewReader(c.r), w}
	c.r = bufio.NewReader(c.conn)
}

func TestCompress(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	for _, mode := range []string{"", "ssl"} {
		conn, err := ts.dial(mode)
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn)
		if a := c.do("COMPRESS DEFLATE"); !strings.HasPrefix(a, "BAD") {
			t.Error("before login:", a)
		}
		c.do("LOGIN alice secret")
		for _, bad := range []string{"COMPRESS", "COMPRESS GZIP", "COMPRESS DEFLATE X"} {
			if a := c.do(bad); !strings.HasPrefix(a, "BAD") {
				t.Error(bad, a)
			}
		}
		c.do("CAPABILITY")
		if !strings.Contains(c.lines[0], " COMPRESS=DEFLATE") {
			t.Error(c.lines)
		}
		c.compress()
		if a := c.do("COMPRESS DEFLATE"); !strings.HasPrefix(a, "BAD [COMPRESSIONACTIVE]") {
			t.Error("twice:", a)
		}
		c.do("CAPABILITY")
		if strings.Contains(c.lines[0], "COMPRESS") {
			t.Error(c.lines)
		}
		body := "Subject: x\r\n\r\n" + strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\r\n", 5000) + strings.Repeat("Hello, you. ", 2000)
		for range 3 {
			if a := c.do("APPEND INBOX {" + formatUint(uint64(len(body))) + "+}\r\n" + body); !strings.HasPrefix(a, "OK") {
				t.Fatal(a)
			}
		}
		c.do("SELECT INBOX")
		got := c.literal("FETCH 2 BODY.PEEK[]")
		if got != body {
			t.Errorf("%d bytes came back of %d", len(got), len(body))
		}
		for range 50 {
			if a := c.do("NOOP"); !strings.HasPrefix(a, "OK") {
				t.Fatal(a)
			}
		}
		// IDLE: what another session does comes at once.
		io.WriteString(c.conn, "i IDLE\r\n")
		if l := c.line(); l != "+ idling" {
			t.Fatal(l)
		}
		other, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		o := newClient(t, other)
		o.do("LOGIN alice secret")
		o.do("APPEND INBOX {17+}\r\nSubject: y\r\n\r\nHi\r")
		if l := c.line(); !strings.HasSuffix(l, "EXISTS") {
			t.Error(l)
		}
		if l := c.line(); !strings.HasSuffix(l, "RECENT") {
			t.Error(l)
		}
		io.WriteString(c.conn, "DONE\r\n")
		if l := c.line(); !strings.HasPrefix(l, "i OK") {
			t.Error(l)
		}
		other.Close()
		c.do("LOGOUT")
		conn.Close()
	}
}

// literal gives the literal of the only response to a FETCH.
func (c *testClient) literal(command string) string {
	io.WriteString(c.conn, "lit "+command+"\r\n")
	_, size, _ := strings.Cut(c.line(), "{")
	n := 0
	for _, d := range strings.TrimSuffix(size, "}") {
		n = 10*n + int(d-'0')
	}
	b := make([]byte, n)
	io.ReadFull(c.r, b)
	c.line()
	if l := c.line(); !strings.HasPrefix(l, "lit OK") {
		c.t.Error(l)
	}
	return string(b)
}

// TestCompressDamage: what is no DEFLATE, and what stands for too much, ends the
// connection with a word.
func TestCompressDamage(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, 9)
	io.WriteString(w, "b APPEND INBOX {60000000+}\r\n")
	for range 60 {
		w.Write(bytes.Repeat([]byte("a"), 1_000_000))
	}
	w.Flush()
	for name, bytes := range map[string][]byte{
		deflate.ErrCorrupt.Text: []byte("\x07 what is this"),
		deflate.ErrBomb.Text:    bomb.Bytes(),
	} {
		conn, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn)
		c.do("LOGIN alice secret")
		c.compress()
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write(bytes)
		if l := c.line(); !strings.HasPrefix(l, "* BYE ") || !strings.HasSuffix(l, name) {
			t.Errorf("%s: %q", name, l)
		}
		conn.Close()
	}
}

// TestUnauthenticateEndsCompression: RFC 8437, 4.1, also with the next login sent behind
// the command at once.
func TestUnauthenticateEndsCompression(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	for _, finish := range []bool{false, true} {
		conn, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn)
		c.do("LOGIN alice secret")
		c.compress()
		c.must("NOOP")
		var b bytes.Buffer
		w := c.conn.(*packed).w
		w.Reset(&b)
		io.WriteString(w, "u UNAUTHENTICATE\r\n")
		if finish {
			w.Close()
		} else {
			w.Flush()
		}
		b.WriteString("v LOGIN bob secret\r\n")
		conn.Write(b.Bytes())
		if l := c.line(); !strings.HasPrefix(l, "u OK") {
			t.Error(l)
		}
		// From here on the server speaks plainly.
		got := make([]byte, 5)
		plain := c.conn.(*packed).r.(io.Closer)
		plain.Close()
		rest := c.below
		io.ReadFull(rest, got)
		if string(got) != "v OK " {
			t.Errorf("%q", got)
		}
		conn.Close()
	}
}

// TestCompressBehindItself: what stands behind COMPRESS, before its answer, belongs to the
// compressed stream (RFC 4978, 3), over each kind of connection: commands in the clear are
// never done, compressed ones are, however the bytes are cut.
func TestCompressBehindItself(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	open := func(mode string) (*testClient, net.Conn) {
		t.Helper()
		dialled := mode
		if mode == "starttls" {
			dialled = ""
		}
		conn, err := ts.dial(dialled)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		c := newClient(t, conn)
		if mode == "starttls" {
			c.must("STARTTLS")
			secured := tls.Client(conn, clientTLS)
			c.conn, c.r, conn = secured, bufio.NewReader(secured), secured
		}
		c.must("LOGIN alice secret")
		return c, conn
	}
	pack := func(text string) []byte {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, flate.DefaultCompression)
		io.WriteString(w, text)
		w.Flush()
		return b.Bytes()
	}
	for _, mode := range []string{"", "starttls", "ssl"} {
		// Injected: nothing of it is done, and the stream is damaged.
		for name, behind := range map[string]string{
			"a command": "x CREATE Injected\r\n", "many": strings.Repeat("x CREATE Injected\r\n", 1000),
			"a literal": "x CREATE {8+}\r\nInjected\r\n", "empty lines": strings.Repeat("\r\nx CREATE Injected\r\n", 100),
			"COMPRESS again": "x COMPRESS DEFLATE\r\nx CREATE Injected\r\n",
		} {
			c, conn := open(mode)
			go io.WriteString(conn, "z COMPRESS DEFLATE\r\n"+behind)
			if l := c.line(); !strings.HasPrefix(l, "z OK") {
				t.Fatalf("%s, %s: %q", mode, name, l)
			}
			answer, _ := io.ReadAll(flate.NewReader(c.r))
			if text := string(answer); strings.Contains(text, "x OK") || !strings.Contains(text, "* BYE ") {
				t.Errorf("%s, %s behind COMPRESS: %q", mode, name, text)
			}
			look, _ := open("")
			look.do(`LIST "" Injected`)
			if len(look.lines) > 0 {
				t.Fatalf("%s, %s behind COMPRESS was done: %q", mode, name, look.lines)
			}
		}
		// Compressed, in the same segment, or cut behind each byte of it.
		for _, whole := range []bool{true, false} {
			c, conn := open(mode)
			text := "p1 NOOP\r\np2 STATUS INBOX (MESSAGES)\r\np3 CREATE {6+}\r\nPacked\r\np4 DELETE Packed\r\n"
			all := append([]byte("z COMPRESS DEFLATE\r\n"), pack(text)...)
			go func() {
				if whole {
					conn.Write(all)
					return
				}
				for i := range all {
					conn.Write(all[i : i+1])
				}
			}()
			if l := c.line(); !strings.HasPrefix(l, "z OK") {
				t.Fatal(l)
			}
			c.r = bufio.NewReader(flate.NewReader(c.r))
			for _, want := range []string{"p1 OK", "* STATUS", "p2 OK", "p3 OK", "p4 OK"} {
				if l := c.line(); !strings.HasPrefix(l, want) {
					t.Errorf("%q: %q, want %s", mode, l, want)
				}
			}
		}
		// TLS does not begin within it, nor does it begin before the login, where an attacker
		// could have said it.
		c, conn := open(mode)
		c.compress()
		if a := c.do("STARTTLS"); !strings.HasPrefix(a, "BAD") {
			t.Errorf("%q: STARTTLS under COMPRESS: %s", mode, a)
		}
		conn.Close()
	}
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	c := newClient(t, conn)
	io.WriteString(conn, "y COMPRESS DEFLATE\r\nz STARTTLS\r\n")
	for _, want := range []string{"y BAD", "z OK"} {
		if l := c.line(); !strings.HasPrefix(l, want) {
			t.Errorf("%q, want %s", l, want)
		}
	}
	secured := tls.Client(conn, clientTLS)
	c.conn, c.r = secured, bufio.NewReader(secured)
	c.must("LOGIN alice secret")
	c.compress()
	c.must("NOOP")
	io.WriteString(secured, "x bytes in the clear")
	if l := c.line(); !strings.HasPrefix(l, "* BYE ") {
		t.Errorf("bytes outside the stream: %q", l)
	}
}
