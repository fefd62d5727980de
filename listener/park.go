package listener

import (
	"cmp"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A session that waits for its client for long goes without a goroutine of its own: the
// stack on which its commands ran has 8 KiB, more than all else that it holds. Another
// goroutine waits in its place, on the least stack that there is.

// How a Read in phase Idle may end although the connection is well, and reading goes on.
// They wrap os.ErrDeadlineExceeded; compare with errors.Is.
var (
	// ErrWoken: Wake was called.
	ErrWoken = fmt.Errorf("listener: woken: %w", os.ErrDeadlineExceeded)
	// ErrPark: the client has sent nothing for a while, and the handler should return by
	// Park. Only a handler that has said Parks gets it.
	ErrPark = fmt.Errorf("listener: idle for long: %w", os.ErrDeadlineExceeded)
)

// parkAfter is Service.ParkAfter when that is 0.
const parkAfter = 4 * time.Second

// Wake makes the Read in phase Idle that waits now, else the next one, end with ErrWoken,
// unless Phase is called before. It never waits and may be called by any goroutine.
func (c *Conn) Wake() {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.woken {
		return
	}
	d.woken = true
	if d.why == nil && d.phase == Idle {
		d.armedRead = past
		c.raw.SetReadDeadline(past)
	}
}

// Still says, in phase Idle, that what has come since is no part of a command: of a
// compressed stream, from which nothing could be made yet.
func (c *Conn) Still() {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase != Idle {
		d.phase, d.fresh = Idle, true
	}
}

// Parks says that the handler knows Park. What is not a socket is never parked.
func (c *Conn) Parks() {
	if _, ok := c.raw.(syscall.Conn); ok {
		c.deadlines.parkAfter = cmp.Or(c.service.ParkAfter, parkAfter)
	}
}

// Park, after ErrPark, has resume go on with the session when the next Read would not
// wait: for bytes, for an error, for ErrWoken. The handler returns after it and does
// nothing more; it is resume, in another goroutine, that ends the session by returning,
// or parks again.
func (c *Conn) Park(resume func()) { c.parked = resume }

// await goes on with a parked session when its next Read would not wait. That the stream
// was read until nothing was left, TLS and compression included, is why the socket tells.
func (s *Service) await(c *Conn, resume func()) {
	socket, err := c.raw.(syscall.Conn).SyscallConn()
	if err != nil || !c.deadlines.park(c) {
		go s.run(c, resume)
		return
	}
	go s.wait(c, socket, resume)
}

// wait waits at the socket, and goes on with the session. What is called in it before the
// wait is over must fit into 2 KiB: a stack that has grown does not become so small again
// (TestParkedMemory).
func (s *Service) wait(c *Conn, socket syscall.RawConn, resume func()) {
	socket.Read(readable) // an error is the next Read's too
	if c.deadlines.again(c) {
		go s.wait(c, socket, resume)
		return
	}
	s.run(c, resume)
}

// parkState says how a session is parked.
type parkState uint8

const (
	notParked parkState = iota
	parked              // on a stack of the size that Go found best when it was
	renewing            // another goroutine is to wait in its place
	renewed             // on one that came after Renew
)

// Renew has the sessions that were parked since the last time wait on new stacks, and gives
// how many they are. Go begins a goroutine on as much as its goroutines had on average at the last
// garbage collection: after many sign-ins twice what a parked session needs, until most
// goroutines wait. It is to be called after a collection, and another one frees the old stacks.
func (s *Service) Renew() (n int) {
	for _, c := range s.Conns() {
		if c.deadlines.renew(c) {
			n++
		}
	}
	return n
}

// renew ends the wait of a parked session so that it is begun again.
func (d *deadlines) renew(c *Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != parked || d.why != nil || d.draining || d.woken {
		return false
	}
	d.state = renewing
	return c.raw.SetReadDeadline(past) == nil
}

// again is asked when the wait of a parked session has ended: true when it is to be begun
// again, for Renew.
func (d *deadlines) again(c *Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.state
	d.state = notParked
	if was != renewing || d.why != nil || d.draining || d.woken {
		return false
	}
	d.state, d.armedRead = renewed, d.end()
	return c.raw.SetReadDeadline(d.armedRead) == nil
}

// readable tells whether a read from a socket would not wait.
func readable(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err != syscall.EAGAIN
}

// park sets the deadline of the phase alone; false when a Read would not wait.
func (d *deadlines) park(c *Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why != nil || d.draining || d.woken {
		return false
	}
	d.state, d.armedRead = parked, d.end()
	return c.raw.SetReadDeadline(d.armedRead) == nil
}
