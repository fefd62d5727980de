package conformance

import (
	"bufio"
	"compress/flate"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Account is who a runner logs in as.
type Account struct{ Name, Password string }

// Server is a server to be tried.
type Server struct {
	Address  string      // host:port
	TLS      *tls.Config // for the handshake, at once or when a script asks for it
	Implicit bool        // TLS from the first byte
	Upgrade  bool        // TLS after STARTTLS or STLS, before the login
	Timeout  time.Duration
	Accounts []Account // the first is the script's, others are those it shares with
}

// Trace keeps what the connections of one script said last, for the report.
type Trace struct{ lines []string }

// traced is how many lines a Trace keeps, shown how much of a line.
const (
	traced = 30
	shown  = 300
)

// Add notes what was said: who is "C1", "S2" and so on.
func (t *Trace) Add(who string, b []byte) {
	text := strings.TrimSuffix(string(b), "\r\n")
	if len(text) > shown {
		text = text[:shown] + "…"
	}
	t.lines = append(t.lines, who+": "+strings.ReplaceAll(text, "\r\n", "\n      "))
	if len(t.lines) > traced {
		t.lines = t.lines[len(t.lines)-traced:]
	}
}

// Lines gives what was said, oldest first.
func (t *Trace) Lines() []string { return t.lines }

// Conn is a connection to the server, of one goroutine.
type Conn struct {
	R *bufio.Reader

	index  int
	server *Server
	conn   net.Conn
	out    io.Writer
	flush  func() error
	trace  *Trace
}

// Dial opens the connection called index of a script.
func (s *Server) Dial(index int, trace *Trace) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", s.Address, s.Timeout)
	if err != nil {
		return nil, err
	}
	c := &Conn{index: index, server: s, conn: conn, trace: trace}
	c.plain(conn)
	if s.Implicit {
		if err := c.StartTLS(); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *Conn) plain(conn net.Conn) {
	c.conn, c.R, c.out, c.flush = conn, bufio.NewReader(conn), conn, func() error { return nil }
}

// StartTLS begins TLS. What the server said before it does not count after it.
func (c *Conn) StartTLS() error {
	if c.R.Buffered() > 0 {
		return fmt.Errorf("the server said something between its answer and the TLS handshake")
	}
	if c.server.TLS == nil {
		return fmt.Errorf("no TLS here")
	}
	conn := tls.Client(c.conn, c.server.TLS)
	conn.SetDeadline(time.Now().Add(c.server.Timeout))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.plain(conn)
	return nil
}

// Compress begins DEFLATE in both directions (RFC 4978).
func (c *Conn) Compress() error {
	w, err := flate.NewWriter(c.conn, flate.DefaultCompression)
	if err != nil {
		return err
	}
	c.R = bufio.NewReader(flate.NewReader(c.R))
	c.out, c.flush = w, w.Flush
	return nil
}

// Write sends bytes as they are.
func (c *Conn) Write(b []byte) error {
	c.trace.Add(fmt.Sprintf("C%d", c.index), b)
	c.conn.SetWriteDeadline(time.Now().Add(c.server.Timeout))
	if _, err := c.out.Write(b); err != nil {
		return err
	}
	return c.flush()
}

// Wait bounds the reading that follows by d, or by the server's time-out when d is 0.
func (c *Conn) Wait(d time.Duration) {
	if d == 0 {
		d = c.server.Timeout
	}
	c.conn.SetReadDeadline(time.Now().Add(d))
}

// Heard notes what the server said.
func (c *Conn) Heard(b []byte) { c.trace.Add(fmt.Sprintf("S%d", c.index), b) }

// Close ends the connection without a word.
func (c *Conn) Close() { c.conn.Close() }

// TimedOut tells whether reading ended because the server said nothing in time.
func TimedOut(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
