package isolation

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// client is a connection that keeps all it heard.
type client struct {
	conn  net.Conn
	in    *bufio.Reader
	heard bytes.Buffer
	tag   int
}

// dial connects to an address, host:port or the path of a socket, and reads the
// greeting.
func dial(addr string) (*client, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	c := &client{conn: conn}
	c.in = bufio.NewReader(io.TeeReader(conn, &c.heard))
	if _, err := c.line(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) line() (string, error) {
	line, err := c.in.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

// ask sends a line and gives the line that answers it, which begins with want.
func (c *client) ask(want, format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(c.conn, format+"\r\n", args...); err != nil {
		return "", err
	}
	line, err := c.line()
	for err == nil && strings.HasPrefix(line, "250-") { // LMTP
		line, err = c.line()
	}
	if err == nil && !strings.HasPrefix(line, want) {
		err = fmt.Errorf(format+": %q", append(args, line)...)
	}
	return line, err
}

// multi reads a multi-line response of POP3.
func (c *client) multi() (lines []string, err error) {
	for {
		line, err := c.line()
		if err != nil || line == "." {
			return lines, err
		}
		lines = append(lines, line)
	}
}

// imap sends a command and gives the untagged responses, literals included, and
// the tagged one without its tag. In the command "{}" stands for the literal.
func (c *client) imap(command string, literal ...string) (untagged []string, answer string, err error) {
	c.tag++
	tag := "t" + strconv.Itoa(c.tag) + " "
	for i, part := range strings.SplitAfter(tag+command, "{}") {
		if i > 0 {
			if untagged, answer, err = c.until(tag); err != nil || answer != "" {
				return untagged, answer, err
			}
			part = literal[i-1] + part
		}
		if head, more := strings.CutSuffix(part, "{}"); more {
			part = fmt.Sprintf("%s{%d}", head, len(literal[i]))
		}
		if _, err = io.WriteString(c.conn, part+"\r\n"); err != nil {
			return nil, "", err
		}
	}
	return c.until(tag)
}

// until reads responses up to the tagged one, or, with answer "", to a request to
// go on.
func (c *client) until(tag string) (untagged []string, answer string, err error) {
	for {
		var response strings.Builder
		for {
			line, err := c.line()
			if err != nil {
				return untagged, "", err
			}
			response.WriteString(line)
			size, more := literalSize(line)
			if !more {
				break
			}
			if _, err := io.CopyN(&response, c.in, size); err != nil {
				return untagged, "", err
			}
		}
		got := response.String()
		if strings.HasPrefix(got, "+") {
			return untagged, "", nil
		}
		if answer, ok := strings.CutPrefix(got, tag); ok {
			return untagged, answer, nil
		}
		untagged = append(untagged, got)
	}
}

func literalSize(line string) (int64, bool) {
	i := strings.LastIndexByte(line, '{')
	if i < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.ParseInt(line[i+1:len(line)-1], 10, 64)
	return n, err == nil
}

// must is imap for a command whose answer is OK.
func (c *client) must(command string, literal ...string) ([]string, error) {
	untagged, answer, err := c.imap(command, literal...)
	if err == nil && !strings.HasPrefix(answer, "OK") {
		err = fmt.Errorf("%s: %s", command, answer)
	}
	return untagged, err
}
