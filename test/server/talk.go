package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// talkTime bounds every wait for one line of a server on a slow machine.
const talkTime = 45 * time.Second

// Talk is a connection over which a test speaks a line protocol itself. What goes
// wrong fails the test.
type Talk struct {
	Conn net.Conn
	t    testing.TB
	in   *bufio.Reader
	tag  int
}

// Dial connects to an address, host:port or the path of a socket. The test closes
// it.
func Dial(t testing.TB, addr string) *Talk {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	c, err := net.DialTimeout(network, addr, talkTime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &Talk{Conn: c, t: t, in: bufio.NewReader(c)}
}

// DialTLS connects to an address that speaks TLS from the first byte.
func DialTLS(t testing.TB, addr string, config *tls.Config) *Talk {
	t.Helper()
	c := Dial(t, addr)
	c.StartTLS(config)
	return c
}

// StartTLS begins TLS, on a clear connection after the server has said that it may.
func (c *Talk) StartTLS(config *tls.Config) {
	c.t.Helper()
	if n := c.in.Buffered(); n > 0 {
		c.t.Fatalf("%d bytes came before the handshake", n)
	}
	s := tls.Client(c.Conn, config)
	s.SetDeadline(time.Now().Add(talkTime))
	if err := s.Handshake(); err != nil {
		c.t.Fatalf("TLS handshake: %v", err)
	}
	c.Conn, c.in = s, bufio.NewReader(s)
}

// Send writes lines, each with CRLF behind it.
func (c *Talk) Send(lines ...string) {
	c.t.Helper()
	c.Write(strings.Join(lines, "\r\n") + "\r\n")
}

// Write writes text as it is.
func (c *Talk) Write(text string) {
	c.t.Helper()
	c.Conn.SetWriteDeadline(time.Now().Add(talkTime))
	if _, err := c.Conn.Write([]byte(text)); err != nil {
		c.t.Fatalf("writing %.60q: %v", text, err)
	}
}

// ReadLine gives the next line without its CRLF, or why there is none.
func (c *Talk) ReadLine() (string, error) {
	c.Conn.SetReadDeadline(time.Now().Add(talkTime))
	line, err := c.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Line gives the next line.
func (c *Talk) Line() string {
	c.t.Helper()
	line, err := c.ReadLine()
	if err != nil {
		c.t.Fatalf("waiting for a line: %v (got %.200q)", err, line)
	}
	return line
}

// Want reads a line, which begins with prefix and has all the parts, and gives it.
func (c *Talk) Want(prefix string, parts ...string) string {
	c.t.Helper()
	line := c.Line()
	ok := strings.HasPrefix(line, prefix)
	for _, p := range parts {
		ok = ok && strings.Contains(line, p)
	}
	if !ok {
		c.t.Fatalf("got %.300q, want %q… with %q", line, prefix, parts)
	}
	return line
}

// Until reads lines up to one that begins with prefix and gives all.
func (c *Talk) Until(prefix string) []string {
	c.t.Helper()
	var lines []string
	for {
		line := c.Line()
		lines = append(lines, line)
		if strings.HasPrefix(line, prefix) {
			return lines
		}
	}
}

// Ended reads to the end of the connection and gives the lines before it. The test
// fails when the server does not end it in time; a reset is an end too.
func (c *Talk) Ended() []string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.ReadLine()
		if line != "" {
			lines = append(lines, line)
		}
		if err == nil {
			continue
		}
		if e, ok := err.(net.Error); ok && e.Timeout() {
			c.t.Fatalf("the server keeps the connection open; it said %q", lines)
		}
		return lines
	}
}

// IMAP sends an IMAP command with a tag and gives the untagged lines (of a literal
// all its lines) and the tagged answer without its tag.
func (c *Talk) IMAP(format string, args ...any) (untagged []string, answer string) {
	c.t.Helper()
	c.tag++
	tag := fmt.Sprintf("t%d ", c.tag)
	c.Send(tag + fmt.Sprintf(format, args...))
	lines := c.Until(tag)
	return lines[:len(lines)-1], strings.TrimPrefix(lines[len(lines)-1], tag)
}

// MustIMAP is IMAP for a command whose answer is OK; it gives the untagged lines.
func (c *Talk) MustIMAP(format string, args ...any) []string {
	c.t.Helper()
	untagged, answer := c.IMAP(format, args...)
	if !strings.HasPrefix(answer, "OK") {
		c.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), answer)
	}
	return untagged
}

// Append puts a message into a mailbox with APPEND; flags is "" or a list in
// parentheses.
func (c *Talk) Append(mailbox, flags, message string) {
	c.t.Helper()
	c.tag++
	tag := fmt.Sprintf("t%d ", c.tag)
	if flags != "" {
		flags += " "
	}
	c.Send(fmt.Sprintf("%sAPPEND %s %s{%d}", tag, mailbox, flags, len(message)))
	for {
		line := c.Line()
		if strings.HasPrefix(line, "+") {
			break
		}
		if strings.HasPrefix(line, tag) {
			c.t.Fatalf("APPEND: %s", line)
		}
	}
	c.Send(message)
	lines := c.Until(tag)
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, tag+"OK") {
		c.t.Fatalf("APPEND: %s", last)
	}
}

// Login opens IMAP over TLS as an account, past the greeting.
func (s *Server) Login(t testing.TB, a Account) *Talk {
	t.Helper()
	c := DialTLS(t, s.IMAPS, s.TLS())
	c.Want("* OK")
	c.MustIMAP("LOGIN %q %q", a.Name, a.Password)
	return c
}

// Deliver brings a message over LMTP to each recipient and gives the reply for
// each. The message has CRLF line ends.
func (s *Server) Deliver(t testing.TB, message string, to ...string) []string {
	t.Helper()
	c := Dial(t, s.LMTPSocket)
	defer c.Conn.Close()
	reply := func() string {
		for {
			line := c.Line()
			if len(line) < 4 || line[3] != '-' {
				return line
			}
		}
	}
	must := func(code string) {
		t.Helper()
		if line := reply(); !strings.HasPrefix(line, code) {
			t.Fatalf("LMTP: %s, want %s", line, code)
		}
	}
	must("220")
	c.Send("LHLO test")
	must("250")
	c.Send("MAIL FROM:<sender@test.example>")
	must("250")
	replies := make([]string, len(to))
	var accepted []int
	for i, r := range to {
		c.Send("RCPT TO:<" + r + ">")
		if replies[i] = reply(); strings.HasPrefix(replies[i], "250") {
			accepted = append(accepted, i)
		}
	}
	if len(accepted) == 0 {
		return replies
	}
	c.Send("DATA")
	must("354")
	text := strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:]
	if !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	c.Write(text + ".\r\n")
	for _, i := range accepted {
		replies[i] = reply()
	}
	c.Send("QUIT")
	return replies
}

// MustDeliver is Deliver for what every recipient accepts.
func (s *Server) MustDeliver(t testing.TB, message string, to ...string) {
	t.Helper()
	for i, r := range s.Deliver(t, message, to...) {
		if !strings.HasPrefix(r, "250") {
			t.Fatalf("LMTP delivery to %s: %s", to[i], r)
		}
	}
}
