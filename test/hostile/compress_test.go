package hostile

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// deflated compresses text and flushes it, without an end of the stream.
func deflated(text string) []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression) // the level is right
	io.WriteString(w, text)
	w.Flush()
	return out.Bytes()
}

// compressed logs in and begins to compress.
func compressed(p place) (*sitter, error) {
	c, err := sit(p, alice, false)
	if err != nil {
		return nil, err
	}
	return c, c.ask("a5 COMPRESS DEFLATE", "a5 OK")
}

// TestCompressionBombs sends little that stands for much: the limits of commands hold for
// what it stands for, the connection ends when it is out of all proportion, and memory does
// not grow with it.
func TestCompressionBombs(t *testing.T) {
	s := serve(t)
	s.MustShell("Set-ImapSettings", "-LoginType", "PlainTextLogin", "-MaxConnectionsPerUser", "20000")
	at := placeOf(t, s, "IMAP4 STARTTLS")
	large := sized(32, 256) << 20
	repeated := func(text string) string { return strings.Repeat(text, large/len(text)) }
	bombs := []bomb{
		{"a line without an end", repeated("x"), ""},
		{"refused commands", repeated("b1 NOOP" + strings.Repeat(" ", 500) + "\r\n"), ""},
		{"a literal that nobody wants", "b1 XYZZY {250000000+}\r\n" + repeated("x"), ""},
		{"a message of 60 MiB without any content", "b1 APPEND INBOX {62914560+}\r\n" + repeated("\r\n"), ""},
		{"empty blocks", "", strings.Repeat("\x00\x00\x00\xff\xff", 8<<20/5)},
		{"empty blocks of the fixed code", "", strings.Repeat("\x02\x08\x20\x80\x00", 8<<20/5)}, // 3 bits of head, 7 of end
		{"a block of an unknown kind", "", "\x07"},
		{"a length whose complement is wrong", "", "\x00\x10\x00\x10\x00"},
	}
	if hours { // ten million commands
		bombs = append(bombs, bomb{"commands", repeated("b1 NOOP\r\n"), ""}, bomb{"line ends", repeated("\r\n"), ""})
	}
	for i := range bombs {
		if bombs[i].raw == "" {
			bombs[i].raw = string(deflated(bombs[i].text))
			bombs[i].text = ""
		}
	}
	bounded(t, s, 128, func() {
		together(t, 4, bombs, func(b bomb) error {
			c, err := compressed(at)
			if err != nil {
				return err
			}
			defer c.Close()
			go func() {
				c.SetWriteDeadline(time.Now().Add(patience))
				io.WriteString(c, b.raw)
				c.Conn.(*net.TCPConn).CloseWrite()
			}()
			text, err := ended(c, patience)
			if err != nil {
				return err
			}
			// What came back stands for answers: less than the bomb by far.
			if len(text) > 16<<20 {
				return fmt.Errorf("%d bytes of answers", len(text))
			}
			return nil
		})
	})
	t.Logf("prove: compression bombs: %d", len(bombs))

	// The limits are those of what is said, not of what is sent.
	c, err := packing(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []struct{ command, answer string }{
		{"c1 NOOP " + strings.Repeat("x", 70_000), "c1 BAD"},
		{"c2 NOOP", "c2 OK"},
		{"c3 APPEND INBOX {200000000}", "c3 NO [TOOBIG]"},
		{"c4 CREATE {2000000}", "c4 NO [TOOBIG]"},
		{"c5 SEARCH " + strings.Repeat("(", 60) + "ALL" + strings.Repeat(")", 60), "c5 BAD"},
		{"c6 COMPRESS DEFLATE", "c6 BAD [COMPRESSIONACTIVE]"},
		{"c7 STARTTLS", "c7 BAD"},
		{"c8 NOOP", "c8 OK"},
	} {
		if got, err := c.ask(step.command); err != nil || !strings.HasPrefix(got, step.answer) {
			t.Errorf("%.40q: %.80q, %v, want %s", step.command, got, err, step.answer)
		}
	}
	unharmed(t, s)
}

// bomb is what stands for much.
type bomb struct {
	what, text string // of what is sent, before it is compressed
	raw        string // or as it is sent
}

func (b bomb) String() string { return b.what }

// packer speaks compressed.
type packer struct {
	*sitter
	out *flate.Writer
	in  *bufio.Reader
}

func packing(p place) (*packer, error) {
	c, err := compressed(p)
	if err != nil {
		return nil, err
	}
	out, err := flate.NewWriter(c.Conn, flate.BestSpeed)
	return &packer{c, out, bufio.NewReader(flate.NewReader(c.in))}, err
}

// ask sends a command and gives the line that has its tag.
func (c *packer) ask(command string) (string, error) {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.out, command+"\r\n"); err != nil {
		return "", err
	}
	if err := c.out.Flush(); err != nil {
		return "", err
	}
	tag, _, _ := strings.Cut(command, " ")
	for {
		l, err := c.in.ReadString('\n')
		if err != nil || strings.HasPrefix(l, tag+" ") {
			return strings.TrimRight(l, "\r\n"), err
		}
	}
}

// behindCompression: UNAUTHENTICATE ends the compression, and TLS may begin then; what
// came in one segment with the command that begins it ends the connection, wherever the
// compressed stream ended and however much came behind it.
func behindCompression(t *testing.T, s *server.Server) {
	at := placeOf(t, s, "IMAP4 STARTTLS")
	leave := func(behind string) (*sitter, error) {
		c, err := compressed(at)
		if err == nil {
			_, err = io.WriteString(c, string(deflated("u1 UNAUTHENTICATE\r\n"))+behind)
		}
		return c, err
	}
	var pads []int
	for pad := 0; pad < 400; pad += sized(3, 1) {
		pads = append(pads, pad)
	}
	together(t, 8, pads, func(pad int) error {
		c, err := leave("p" + strings.Repeat("p", pad%90) + " NOOP\r\n" + strings.Repeat("p NOOP\r\n", pad/90) + "s1 STARTTLS\r\ni1 CAPABILITY\r\n")
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		text, err := io.ReadAll(c.in)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return fmt.Errorf("%w: the connection stays: %q", errLate, text)
		}
		if bytes.Contains(text, []byte("s1 ")) || bytes.Contains(text, []byte("i1 ")) {
			return fmt.Errorf("it is answered: %q", text)
		}
		return nil
	})
	c, err := leave("")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	unpacked := bufio.NewReader(flate.NewReader(c.in))
	if l, err := unpacked.ReadString('\n'); err != nil || !strings.HasPrefix(l, "u1 OK") {
		t.Fatalf("%q, %v", l, err)
	}
	// The end of the flush that closes the server's stream is read by now or comes with it.
	if err := at.begun(c); err != nil {
		t.Error(err)
	}
	unharmed(t, s)
}

// begun begins TLS on a connection that is open, and has a command answered.
func (p place) begun(c *sitter) error {
	if err := c.ask(p.begin, p.agreed); err != nil {
		return err
	}
	if n := c.in.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes come before the handshake", n)
	}
	session := tls.Client(c.Conn, anyone())
	if err := session.Handshake(); err != nil {
		return err
	}
	return say(session, p.command, p.answer)
}

// TestCompressedMemory: a session that is compressed and waits holds 64 KiB at most for each
// direction, whatever was sent.
func TestCompressedMemory(t *testing.T) {
	long(t)
	t.Parallel()
	n := sized(100, 1000)
	s := serve(t)
	s.MustShell("Set-ImapSettings", "-LoginType", "PlainTextLogin", "-MaxConnectionsPerUser", "20000")
	at := placeOf(t, s, "IMAP4 STARTTLS")
	var numbers []int
	for i := range n {
		numbers = append(numbers, i)
	}
	sessions := make([]*packer, n)
	defer func() {
		for _, c := range sessions {
			if c != nil {
				c.Close()
			}
		}
	}()
	before := settled(t, s)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	noise := make([]byte, 60_000)
	for i := range noise {
		noise[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)]
	}
	together(t, 4, numbers, func(i int) (err error) {
		if sessions[i], err = packing(at); err != nil {
			return err
		}
		for range 2 {
			if got, err := sessions[i].ask("c1 SEARCH SUBJECT " + string(noise)); err != nil || !strings.HasPrefix(got, "c1 ") {
				return fmt.Errorf("%q, %w", got, err)
			}
		}
		// In the middle of a block with codes of its own.
		half := deflated("c2 SEARCH SUBJECT " + string(noise[:30_000]))
		_, err = sessions[i].Write(half[:len(half)/2])
		return err
	})
	each := (settled(t, s) - before) >> 10 / int64(n)
	t.Logf("prove: KiB of a compressed session that waits within a block (goal 128): %d", each)
	if each > 128*3/2 {
		t.Errorf("a compressed session holds %d KiB", each)
	}
	unharmed(t, s)
}
