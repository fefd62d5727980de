package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
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
		conn.SetDeadline(time.Now().Add(20 * time.Second))
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
