package history

import (
	"bytes"
	"fmt"
	"net"
)

// trace is a connection that remembers what went over it last.
type trace struct {
	net.Conn
	said []string
	bye  string // how the server took leave, as far as one Read gave it
}

const (
	// traced is how many reads and writes are remembered, and tracedBytes how much of each.
	traced      = 30
	tracedBytes = 300
)

func (c *trace) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if i := bytes.Index(p[:n], []byte("* BYE ")); i >= 0 {
		c.bye = string(p[i:n])
	}
	c.note("S", p[:n])
	return n, err
}

func (c *trace) Write(p []byte) (int, error) {
	c.note("C", p)
	return c.Conn.Write(p)
}

func (c *trace) note(who string, p []byte) {
	if len(p) == 0 {
		return
	}
	more := ""
	if len(p) > tracedBytes {
		more, p = fmt.Sprintf("… (%d bytes)", len(p)), p[:tracedBytes]
	}
	c.said = append(c.said, fmt.Sprintf("%s: %q%s", who, p, more))
	if len(c.said) > 2*traced {
		c.said = append(c.said[:0], c.said[traced:]...)
	}
}
