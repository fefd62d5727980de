package listener

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// ahead holds what Attend read before the handler asked for it.
type ahead struct {
	mu   sync.Mutex
	buf  [1]byte
	full bool
}

// take hands out the byte that was read ahead.
func (a *ahead) take(p []byte) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.full {
		return 0
	}
	a.full = false
	return copy(p, a.buf[:])
}

// Attend watches the client while the handler works for long and does not read:
// the context that it gives ends when the client goes away. done ends the watch
// and must be called, by the goroutine that reads, before the next Read or
// StartTLS. A byte that comes meanwhile is kept for the next Read, and the watch
// is over then.
func (c *Conn) Attend(ctx context.Context) (watched context.Context, done func()) {
	c.ahead.mu.Lock()
	full := c.ahead.full
	c.ahead.mu.Unlock()
	if full || c.deadlines.cutBy() != nil {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	c.deadlines.attend(c, time.Time{})
	go func() {
		defer close(ended)
		var b [1]byte
		n, err := c.stream.Read(b[:])
		if n > 0 {
			c.in.Add(1)
			c.ahead.mu.Lock()
			c.ahead.buf, c.ahead.full = b, true
			c.ahead.mu.Unlock()
			return
		}
		if !isTimeout(err) {
			c.eof.Store(errors.Is(err, io.EOF))
			cancel(err)
		}
	}()
	return watched, func() {
		c.deadlines.attend(c, past)
		<-ended
		cancel(nil)
	}
}

// attend sets the read deadline for Attend, unless the connection is to end.
func (d *deadlines) attend(c *Conn, t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why == nil {
		d.armedRead = t
		c.raw.SetReadDeadline(t)
	}
}
