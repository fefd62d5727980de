package listener

import (
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Phase says what the server waits for; the deadline of a Read follows from it.
// Whatever the phase, a client that has not logged in is gone after
// PreAuthenticatedConnectionTimeout in total.
type Phase uint8

const (
	// Idle: the next command. AuthenticatedConnectionTimeout. When bytes come
	// the connection is in Command by itself.
	Idle Phase = iota
	// Command: the rest of a begun command line. CommandTimeout in total.
	Command
	// SASL: one answer of a SASL exchange. CommandTimeout in total; say it again
	// for every step.
	SASL
	// Literal: a literal or a message: CommandTimeout to begin with and then at
	// least LiteralRate bytes a second on the average, and never silent for more
	// than 5 minutes (RFC 5321, 4.5.3.2.7).
	Literal
)

// deadlines keeps a connection's deadlines. Setting one on the network
// connection costs more than a read needs to, so a deadline that is too early is
// left as it is, and moved only when it strikes.
type deadlines struct {
	mu        sync.Mutex
	phase     Phase
	fresh     bool      // the phase has not begun to wait
	since     time.Time // when it began to
	wanted    time.Time // when the phase ends
	total     time.Time // when the time before login ends; zero after login
	armedRead time.Time // what the network connection has
	armedOut  time.Time
	draining  bool
	woken     bool          // a Read in phase Idle is to end with ErrWoken
	parkAt    time.Time     // when a Read ends with ErrPark; zero: not
	parkAfter time.Duration // 0: never; see Conn.Parks
	state     parkState
	unwatched bool  // the watch of Attend is over
	why       error // not nil: the connection is to end
}

var past = time.Unix(1, 0)

func (d *deadlines) begin(l *limits, now time.Time, loggedIn bool) {
	d.fresh = true
	if !loggedIn {
		d.total = now.Add(l.preAuthenticated)
	}
}

// Phase says what is read next. It is cheap: call it before every command, every
// SASL step and every literal.
func (c *Conn) Phase(p Phase) {
	d := &c.deadlines
	d.mu.Lock()
	d.phase, d.fresh, d.woken = p, true, false
	d.mu.Unlock()
}

// loggedIn ends the time before login.
func (d *deadlines) loggedIn() {
	d.mu.Lock()
	d.total, d.fresh = time.Time{}, true
	d.mu.Unlock()
}

// loggedOut begins the time before login anew.
func (d *deadlines) loggedOut(l *limits) {
	d.mu.Lock()
	d.total, d.fresh = time.Now().Add(l.preAuthenticated), true
	d.mu.Unlock()
}

// start computes when the phase ends. The caller holds mu.
func (d *deadlines) start(c *Conn) {
	if !d.fresh {
		return
	}
	d.fresh = false
	d.since, d.parkAt = time.Now(), time.Time{}
	if d.phase == Idle {
		d.mayPark(d.since)
		d.wanted = d.since.Add(c.service.limits().authenticated)
	} else {
		d.wanted = d.since.Add(CommandTimeout)
	}
}

// mayPark begins the time until ErrPark. The caller holds mu.
func (d *deadlines) mayPark(now time.Time) {
	if d.parkAfter > 0 {
		d.parkAt = now.Add(d.parkAfter)
	}
}

// next is when a Read must look at the time again. The caller holds mu.
func (d *deadlines) next() time.Time {
	end := d.end()
	if !d.parkAt.IsZero() && d.parkAt.Before(end) {
		return d.parkAt
	}
	return end
}

// end is when a Read must give up. The caller holds mu.
func (d *deadlines) end() time.Time {
	if !d.total.IsZero() && d.total.Before(d.wanted) {
		return d.total
	}
	return d.wanted
}

// armRead prepares the network connection for a Read.
func (d *deadlines) armRead(c *Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stopped(); err != nil {
		return err
	}
	d.start(c)
	if next := d.next(); d.armedRead.IsZero() || d.armedRead.After(next) {
		d.armedRead = next
		return c.raw.SetReadDeadline(next)
	}
	return nil
}

// stopped says why no Read may wait. The caller holds mu.
func (d *deadlines) stopped() error {
	if d.why != nil {
		return d.why
	}
	if d.draining && d.phase == Idle {
		return ErrDraining
	}
	if d.woken && d.phase == Idle {
		d.woken, d.armedRead = false, time.Time{}
		d.mayPark(time.Now())
		return ErrWoken
	}
	return nil
}

// expired is asked after a Read timed out: nil, with the deadline moved, when
// the phase has time left.
func (d *deadlines) expired(c *Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stopped(); err != nil {
		return err
	}
	d.start(c)
	now := time.Now()
	if !now.Before(d.end()) {
		return ErrTimeout
	}
	if !d.parkAt.IsZero() && !now.Before(d.parkAt) {
		d.parkAt, d.armedRead = time.Time{}, time.Time{}
		return ErrPark
	}
	d.armedRead = d.next()
	return c.raw.SetReadDeadline(d.armedRead)
}

// progress notes that n bytes came.
func (d *deadlines) progress(n int) {
	d.mu.Lock()
	switch d.phase {
	case Idle:
		d.phase, d.fresh = Command, true
	case Literal:
		d.wanted = d.wanted.Add(time.Duration(n) * time.Second / LiteralRate)
		// Who was fast may not be silent for hours.
		if most := time.Now().Add(maxSilence); d.wanted.After(most) {
			d.wanted = most
		}
	}
	d.mu.Unlock()
}

// armWrite gives the next chunk its time. The deadline is moved at most every
// few seconds.
func (d *deadlines) armWrite(c *Conn) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why == nil && d.armedOut.Sub(now) < WriteTimeout-5*time.Second {
		d.armedOut = now.Add(WriteTimeout)
		c.raw.SetWriteDeadline(d.armedOut)
	}
}

// cut makes every Read return why and gives writes 2 s more. It tells whether
// this was the first call.
func (d *deadlines) cut(c *Conn, why error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why != nil {
		return false
	}
	if why == nil {
		why = mail.Errorf(mail.KindUnavailable, "The connection is closed.")
	}
	d.why = why
	d.armedRead = past
	c.raw.SetReadDeadline(past)
	c.raw.SetWriteDeadline(time.Now().Add(2 * time.Second))
	return true
}

// cutBy tells why the connection was ended, nil when it was not.
func (d *deadlines) cutBy() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

// drain wakes a Read that waits for a command; others have their time.
func (d *deadlines) drain(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
	if d.why == nil && d.phase == Idle {
		d.armedRead = past
		c.raw.SetReadDeadline(past)
	}
}
