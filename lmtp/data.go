package lmtp

import (
	"context"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/listener"
)

// newBody begins the message with its trace.
func (x *session) newBody(ctx context.Context) *body {
	b := &body{store: x.Store, limit: x.limit()}
	trace := x.traceLines()
	b.room(ctx, 0, int(min(x.envelope.size+traceRoom, declaredBuffer)))
	b.trace = copy(b.buf, trace)
	b.used = b.trace
	x.envelope.body = b
	return b
}

// data = "DATA" (RFC 5321, 4.1.1.4), with one reply for each recipient that was
// accepted (RFC 2033, 4.2).
func (x *session) data(ctx context.Context, _ string) {
	e := x.envelope
	switch {
	case e.body != nil:
		x.fault(503, "5.5.1", "The message came with BDAT")
		return
	case len(e.recipients) == 0:
		x.fault(503, "5.5.1", "No recipient was accepted")
		return
	}
	b := x.newBody(ctx)
	x.reply(354, "", "Send the message, then a line with nothing but a dot")
	x.conn.Phase(listener.Literal)
	if !x.receive(ctx, b) {
		return
	}
	x.finish(ctx)
}

// receive reads a message to its end. false: the connection is gone. What is not
// kept is read all the same, because the end must be found.
func (x *session) receive(ctx context.Context, b *body) bool {
	u := unstuffer{done: b.used, raw: b.used, start: true}
	buf := b.buf
	var skipped []byte
	for {
		var tail [2]byte
		n := copy(tail[:], buf[u.done:u.raw])
		if b.err == nil && int64(u.done-b.trace) > b.limit {
			b.fail(tooBig())
		}
		b.room(ctx, u.raw, 0)
		if buf = b.buf; b.err != nil {
			if skipped == nil {
				skipped = make([]byte, skipBuffer)
			}
			buf = skipped
			u.done, u.raw = 0, copy(buf, tail[:n])
		}
		n, err := x.lines.Read(buf[u.raw:])
		if err != nil {
			x.leave(err)
			return false
		}
		u.raw += n
		rest, end := u.scan(buf)
		if !end {
			continue
		}
		x.lines.Unread(rest)
		if b.used = u.done; b.err == nil && int64(b.used-b.trace) > b.limit {
			b.fail(tooBig())
		}
		return true
	}
}

// bdat = "BDAT" SP chunk-size [ SP "LAST" ] (RFC 3030, 2). The last chunk is
// answered for each recipient, the others once.
func (x *session) bdat(ctx context.Context, args string) {
	number, word, _ := strings.Cut(args, " ")
	size, err := strconv.ParseUint(number, 10, 62)
	last := strings.EqualFold(word, "LAST")
	if err != nil || word != "" && !last {
		// Where the next command begins is not known.
		x.reply(501, "5.5.4", "The form is BDAT size [LAST]; the connection is closed")
		x.over = true
		return
	}
	e := x.envelope
	if e == nil || len(e.recipients) == 0 {
		if x.skip(size) {
			x.fault(503, "5.5.1", "No recipient was accepted")
		}
		return
	}
	b := e.body
	if b == nil {
		b = x.newBody(ctx)
	}
	if b.err == nil && size > uint64(b.limit)-uint64(b.used-b.trace) {
		b.fail(tooBig())
	}
	x.conn.Phase(listener.Literal)
	for b.err == nil && size > 0 {
		b.room(ctx, b.used, int(min(uint64(b.used)+size, declaredBuffer)))
		if b.err != nil {
			break
		}
		n, err := x.lines.Read(b.buf[b.used:min(uint64(len(b.buf)), uint64(b.used)+size)])
		if err != nil {
			x.leave(err)
			return
		}
		size -= uint64(n)
		b.used += n
	}
	switch {
	case !x.skip(size):
	case last:
		x.finish(ctx)
	case b.err != nil:
		// The client may stop here, or send the rest and hear it again.
		x.answer("", b.err)
	default:
		x.reply(250, "2.0.0", "OK")
	}
}

// skip reads n bytes that are not kept. false: the connection is gone, or ends
// because nobody should have to wait for so many.
func (x *session) skip(n uint64) bool {
	if n == 0 {
		return true
	}
	if n > 2*uint64(x.Store.MaxMessage()) {
		x.reply(552, "5.3.4", "That is far too big; the connection is closed")
		x.over = true
		return false
	}
	x.conn.Phase(listener.Literal)
	p := make([]byte, skipBuffer)
	for n > 0 {
		k, err := x.lines.Read(p[:min(n, skipBuffer)])
		if err != nil {
			x.leave(err)
			return false
		}
		n -= uint64(k)
	}
	return true
}
