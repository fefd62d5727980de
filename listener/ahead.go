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

// attendAfter is how long work may take before its client is watched: most of it is
// over by then, and a goroutine that reads costs more than a login whose password is
// remembered.
const attendAfter = 5 * time.Millisecond

// Attend watches the client while the handler works for long and does not read:
// the context that it gives ends when the client goes away. ctx is the handler's. done ends the watch
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
	// A child of the connection's own context would leave room for children there for as long
	// as the connection lasts.
	watched, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c.attended.Store(&cancel)
	if ctx.Err() != nil {
		cancel(context.Cause(ctx))
	}
	ended := make(chan struct{})
	c.deadlines.attend()
	timer := time.AfterFunc(attendAfter, func() {
		defer close(ended)
		if err := c.watch(); err != nil {
			cancel(err)
		}
	})
	return watched, func() {
		if !timer.Stop() {
			c.deadlines.unwatch(c)
			<-ended
		}
		c.attended.Store(nil)
		cancel(nil)
	}
}

// watch reads until the client sends or goes away, or until deadlines.unwatch; the
// error says why it is gone.
func (c *Conn) watch() error {
	if !c.deadlines.watch(c) {
		return nil
	}
	var b [1]byte
	n, err := c.stream.Read(b[:])
	if n > 0 {
		c.in.Add(1)
		c.ahead.mu.Lock()
		c.ahead.buf, c.ahead.full = b, true
		c.ahead.mu.Unlock()
		return nil
	}
	if isTimeout(err) {
		return nil
	}
	c.eof.Store(errors.Is(err, io.EOF))
	return err
}

// attend prepares for a watch, which may begin later.
func (d *deadlines) attend() {
	d.mu.Lock()
	d.unwatched = false
	d.mu.Unlock()
}

// watch lets the watch's Read wait; false when it is not to begin any more.
func (d *deadlines) watch(c *Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why != nil || d.unwatched {
		return false
	}
	c.raw.SetReadDeadline(time.Time{})
	return true
}

// unwatch ends the watch's Read, also before it has begun. The next Read sets a
// deadline of its own.
func (d *deadlines) unwatch(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unwatched = true
	if d.why == nil {
		d.armedRead = time.Time{}
		c.raw.SetReadDeadline(past)
	}
}
