package policy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// client is one connection. Its methods give an error when the server does not keep
// to the protocol, or keeps silent for patience.
type client struct {
	protocol string
	raw      net.Conn
	conn     net.Conn // raw, or TLS on it
	in       *bufio.Reader
	tls      *tls.ConnectionState // nil without
	greeting string
	heard    []string // every line
	tags     int
	journal  *journal
}

const patience = time.Minute

// errClosed: the server has closed the connection.
var errClosed = errors.New("the connection is closed")

func (c *client) pop() bool { return c.protocol == "POP3" }

// dial connects in one way.
func (r *running) dial(protocol string, w way) (*client, error) {
	return r.dialTLS(protocol, w, &tls.Config{InsecureSkipVerify: true, MinVersion: w.version, MaxVersion: w.version})
}

// dialTLS is dial with a configuration of TLS; it is not used on a clear connection.
func (r *running) dialTLS(protocol string, w way, config *tls.Config) (*client, error) {
	return r.dialFrom(nil, protocol, w, config)
}

// dialFrom is dialTLS from an address of this machine; nil is any.
func (r *running) dialFrom(source net.IP, protocol string, w way, config *tls.Config) (*client, error) {
	door := " clear"
	if w.name == "ssl" {
		door = " ssl"
	}
	dialer := net.Dialer{Timeout: patience}
	if source != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: source}
	}
	raw, err := dialer.Dial("tcp", r.addr[protocol+door])
	for err == nil && !r.journal.claim(protocol, raw) {
		again, x := dialer.Dial("tcp", r.addr[protocol+door])
		raw.Close() // only now, or it would be the same port again
		raw, err = again, x
	}
	if err != nil {
		return nil, err
	}
	c := &client{protocol: protocol, raw: raw, conn: raw, in: bufio.NewReader(raw), journal: r.journal}
	if w.name == "ssl" {
		err = c.handshake(config)
	}
	if err == nil {
		c.greeting, err = c.line()
	}
	if err == nil && w.name == "starttls" {
		err = c.startTLS(config)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return c, nil
}

// startTLS says STLS or STARTTLS and does the handshake.
func (c *client) startTLS(config *tls.Config) error {
	answer, err := c.command(map[bool]string{true: "STLS", false: "STARTTLS"}[c.pop()])
	if err != nil {
		return err
	}
	if !good(answer) {
		return fmt.Errorf("TLS is refused: %s", answer)
	}
	return c.handshake(config)
}

func (c *client) handshake(config *tls.Config) error {
	if n := c.in.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes in the clear before TLS", n)
	}
	c.raw.SetDeadline(time.Now().Add(patience))
	s := tls.Client(c.raw, config)
	if err := s.Handshake(); err != nil {
		return err
	}
	state := s.ConnectionState()
	c.conn, c.in, c.tls = s, bufio.NewReader(s), &state
	return nil
}

func (c *client) close() {
	c.journal.release(c.protocol, c.raw)
	c.raw.Close()
}

// send sends in one write.
func (c *client) send(text string) error {
	c.raw.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.conn, text); err != nil {
		return errClosed
	}
	return nil
}

// line reads a line without CRLF.
func (c *client) line() (string, error) {
	c.raw.SetDeadline(time.Now().Add(patience))
	line, err := c.in.ReadString('\n')
	if err != nil {
		var alert *net.OpError
		if line == "" && (err == io.EOF || errors.Is(err, syscall.ECONNRESET) || errors.As(err, &alert) && !alert.Timeout()) {
			return "", errClosed
		}
		return "", fmt.Errorf("after %q: %w", c.heard, err)
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("%q does not end in CRLF", line)
	}
	c.heard = append(c.heard, text)
	return text, nil
}

// tag gives a new tag; none in POP3.
func (c *client) tag() string {
	c.tags++
	return fmt.Sprintf("a%d", c.tags)
}

// command sends a command and gives its status line, in IMAP without the tag.
func (c *client) command(text string) (string, error) {
	if c.pop() {
		if err := c.send(text + "\r\n"); err != nil {
			return "", err
		}
		return c.line()
	}
	tag := c.tag()
	if err := c.send(tag + " " + text + "\r\n"); err != nil {
		return "", err
	}
	return c.until(tag)
}

// until reads up to the tagged answer.
func (c *client) until(tag string) (string, error) {
	for {
		line, err := c.line()
		if err != nil {
			return "", err
		}
		if answer, ok := strings.CutPrefix(line, tag+" "); ok {
			return answer, nil
		}
	}
}

// good tells whether a status line is +OK or OK.
func good(answer string) bool {
	return strings.HasPrefix(answer, "+OK") || strings.HasPrefix(answer, "OK ")
}

// authenticated asks for something that only who has logged in gets.
func (c *client) authenticated() (bool, error) {
	answer, err := c.command(c.probe())
	return good(answer), err
}

// probe is what only who has logged in gets.
func (c *client) probe() string {
	if c.pop() {
		return "STAT"
	}
	return "SELECT INBOX"
}

// quit ends a session that has logged in and waits until it is over, so that the
// maildrop is free again.
func (c *client) quit() error {
	defer c.close()
	answer, err := c.command(map[bool]string{true: "QUIT", false: "LOGOUT"}[c.pop()])
	if err != nil || !good(answer) {
		return fmt.Errorf("QUIT: %q, %w", answer, err)
	}
	if line, err := c.line(); err != errClosed {
		return fmt.Errorf("after QUIT: %q, %w", line, err)
	}
	return nil
}

// capabilities are the names that CAPA or CAPABILITY gives, and the mechanisms.
func (c *client) capabilities() (names map[string]bool, mechanisms []string, err error) {
	names = map[string]bool{}
	if c.pop() {
		answer, err := c.command("CAPA")
		if err != nil || !good(answer) {
			return nil, nil, fmt.Errorf("CAPA: %q, %w", answer, err)
		}
		for {
			line, err := c.line()
			if err != nil || line == "." {
				return names, mechanisms, err
			}
			words := strings.Fields(line)
			names[words[0]] = true
			if words[0] == "SASL" {
				mechanisms = words[1:]
			}
		}
	}
	before := len(c.heard)
	answer, err := c.command("CAPABILITY")
	if err != nil || !good(answer) {
		return nil, nil, fmt.Errorf("CAPABILITY: %q, %w", answer, err)
	}
	for _, line := range c.heard[before:] {
		list, ok := strings.CutPrefix(line, "* CAPABILITY ")
		if !ok {
			continue
		}
		names, mechanisms = imapCapabilities(list)
	}
	return names, mechanisms, nil
}

func imapCapabilities(list string) (names map[string]bool, mechanisms []string) {
	names = map[string]bool{}
	for _, word := range strings.Fields(list) {
		if m, ok := strings.CutPrefix(word, "AUTH="); ok {
			mechanisms = append(mechanisms, m)
		} else {
			names[word] = true
		}
	}
	return names, mechanisms
}
