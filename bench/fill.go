package main

import (
	"bytes"
	"fmt"
	"net"
)

// fill puts n messages into an INBOX, once for each peer.
func fill(account, n, size int) func(*bench, *peer) {
	return func(b *bench, p *peer) {
		b.once(p, account, func() { put(p, account, 0, b.count(n), size) })
	}
}

// once runs f unless the peer's account was filled before.
func (b *bench) once(p *peer, account int, f func()) {
	if key := fmt.Sprint(p.name, account); !b.filled[key] {
		b.filled[key] = true
		f()
	}
}

// put adds the messages from..to to an INBOX the quickest way that the server has:
// MULTIAPPEND (RFC 3502), or LMTP.
func put(p *peer, account, from, to, size int) {
	c := login(p, account)
	defer c.Close()
	if !c.able("MULTIAPPEND") {
		deliver(p, account, from, to, size)
		return
	}
	at := 1 << 20 / size // messages of a command: a megabyte, or one
	for at = max(1, min(at, 200)); from < to; {
		var bodies [][]byte
		for ; len(bodies) < at && from < to; from++ {
			bodies = append(bodies, message(from, size))
		}
		c.appendAll("INBOX", bodies)
	}
}

// deliver adds the messages from..to by LMTP, sixteen at once.
func deliver(p *peer, account, from, to, size int) {
	parallel(16, func(worker int) {
		if from+worker >= to {
			return
		}
		c := lmtp(p)
		defer c.Close()
		for i := from + worker; i < to; i += 16 {
			c.deliver(account, message(i, size))
		}
	})
}

// able tells whether the server has a capability.
func (c *conn) able(name string) (yes bool) {
	c.start("CAPABILITY")
	for {
		l := c.line()
		if bytes.HasPrefix(l, c.want) {
			return yes
		}
		for _, word := range bytes.Fields(l) {
			yes = yes || string(word) == name
		}
	}
}

// appendAll puts messages into a mailbox with one command and LITERAL+ (RFC 7888).
func (c *conn) appendAll(mailbox string, bodies [][]byte) {
	c.tag++
	lines := net.Buffers{fmt.Appendf(nil, "t%d APPEND %s", c.tag, mailbox)}
	for _, body := range bodies {
		lines = append(lines, fmt.Appendf(nil, " {%d+}\r\n", len(body)), body)
	}
	lines = append(lines, []byte("\r\n"))
	_, err := lines.WriteTo(c.Conn)
	check(err)
	c.want = fmt.Appendf(c.want[:0], "t%d ", c.tag)
	c.finish()
}
