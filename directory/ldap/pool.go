package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/mail"
)

// encryption says how a connection is encrypted.
type encryption int

const (
	unencrypted encryption = iota
	startTLS
	implicit
)

// server is one of the directory's servers.
type server struct {
	url     string
	network string
	address string
	tls     encryption
	trust   *tls.Config
	failed  atomic.Int64 // when it failed last, in nanoseconds since 1970; 0 not at all
}

// rest is how long a server that failed is asked only after the others.
const rest = 15 * time.Second

// longestIdle is how long a connection waits for work; servers and firewalls cut
// longer silences without a word.
const longestIdle = 45 * time.Second

// answerBudget bounds what a server may send to answer one question, in bytes.
const answerBudget = 1 << 20

// wire is a connection that reads no more than its budget and never past a deadline.
type wire struct {
	net.Conn
	budget atomic.Int64
}

var errTooMuch = errors.New("the server sends more than any answer has")

func (w *wire) Read(p []byte) (int, error) {
	left := w.budget.Load()
	if left <= 0 {
		return 0, errTooMuch
	}
	n, err := w.Conn.Read(p[:min(int64(len(p)), left)])
	w.budget.Add(-int64(n))
	return n, err
}

// conn is a connection of a pool.
type conn struct {
	*ldap.Conn
	wire   *wire
	server *server
	since  time.Time // idle since
}

func (c *conn) close() {
	c.wire.Close() // first: nothing waits for the other side
	c.Conn.Close()
}

// pool holds connections of one kind: those that are signed in to search, or those on
// which people's passwords are tried.
type pool struct {
	servers []*server
	prepare func(*conn) error // after dialling; nil for nothing
	timeout time.Duration
	turns   chan struct{}

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(s *settled, prepare func(*conn) error) *pool {
	return &pool{servers: s.servers, prepare: prepare, timeout: s.timeout, turns: make(chan struct{}, s.Connections)}
}

// close closes idle connections; those at work are closed when they are done.
func (p *pool) close() {
	p.mu.Lock()
	idle, closed := p.idle, p.closed
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	if closed {
		return
	}
	for _, c := range idle {
		c.close()
	}
	// Wait for those at work: each ends within its time.
	for range cap(p.turns) {
		p.turns <- struct{}{}
	}
}

// do runs work on a connection: an idle one, or a new one to the first server that
// answers. Work that failed because its connection broke, or because the server
// cannot work now, is tried again on the next. What work gives for another reason
// comes back as it is; every other error is KindUnavailable.
func (p *pool) do(ctx context.Context, work func(*conn) error) error {
	return p.doWithin(ctx, p.timeout, answerBudget, work)
}

// doWithin is do with a time and a number of bytes of its own.
func (p *pool) doWithin(ctx context.Context, longest time.Duration, budget int64, work func(*conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if ctx.Err() != nil {
		return unavailable(ctx.Err())
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return unavailable(fmt.Errorf("all %d connections are busy: %w", cap(p.turns), ctx.Err()))
	}
	if c := p.take(); c != nil {
		done, err := p.run(ctx, c, budget, work)
		if done {
			return err
		}
	}
	var last error
	for _, s := range p.order() {
		if ctx.Err() != nil {
			break
		}
		c, err := p.dial(ctx, s)
		if err == nil {
			var done bool
			if done, err = p.run(ctx, c, budget, work); done {
				s.failed.Store(0)
				return err
			}
		}
		s.failed.Store(time.Now().UnixNano())
		last = fmt.Errorf("%s: %w", s.url, err)
	}
	if last == nil {
		last = ctx.Err()
	}
	return unavailable(last)
}

func unavailable(cause error) error { return &mail.Error{Kind: mail.KindUnavailable, Cause: cause} }

// order gives the servers: those that failed lately at the end.
func (p *pool) order() []*server {
	var well, ill []*server
	for _, s := range p.servers {
		if at := s.failed.Load(); at != 0 && time.Since(time.Unix(0, at)) < rest {
			ill = append(ill, s)
		} else {
			well = append(well, s)
		}
	}
	return append(well, ill...)
}

// take gives an idle connection, the latest used, or nil.
func (p *pool) take() *conn {
	for {
		p.mu.Lock()
		if len(p.idle) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		p.mu.Unlock()
		if !c.IsClosing() && time.Since(c.since) < longestIdle {
			return c
		}
		c.close()
	}
}

// run does work on a connection, which goes back to the pool if it is well
// afterwards. done is false when another connection may succeed.
func (p *pool) run(ctx context.Context, c *conn, budget int64, work func(*conn) error) (done bool, err error) {
	c.wire.budget.Store(budget)
	deadline, _ := ctx.Deadline()
	c.wire.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.wire.SetDeadline(time.Unix(1, 0)) })
	err = work(c)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil && broken(err) || c.IsClosing() || ctx.Err() != nil {
		c.close()
		if err == nil {
			return true, nil // the answer came before the end
		}
		return false, err
	}
	c.wire.SetDeadline(time.Time{})
	c.wire.budget.Store(answerBudget) // a server may say why it hangs up
	c.since = time.Now()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.close()
		return true, err
	}
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	return true, err
}

// broken tells whether an error says something of the connection or the server, and
// not of what was asked.
func broken(err error) bool {
	var e *ldap.Error
	if !errors.As(err, &e) {
		var ours *mail.Error
		return !errors.As(err, &ours)
	}
	switch e.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultOther, ldap.LDAPResultOperationsError, ldap.LDAPResultProtocolError,
		ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded:
		return true
	}
	return e.ResultCode >= ldap.ErrorNetwork // the library's own codes
}

// dial connects to a server, encrypted as its URL says, and prepares the connection.
func (p *pool) dial(ctx context.Context, s *server) (c *conn, err error) {
	// One that does not answer leaves time for the next.
	ctx, cancel := context.WithTimeout(ctx, max(p.timeout/time.Duration(min(len(p.servers)+1, 4)), time.Second/2))
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, s.network, s.address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw}
	w.budget.Store(answerBudget)
	deadline, _ := ctx.Deadline()
	raw.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	under := net.Conn(w)
	if s.tls == implicit {
		t := tls.Client(w, s.trust)
		if err := t.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		under = t
	}
	c = &conn{Conn: ldap.NewConn(under, s.tls == implicit), wire: w, server: s}
	c.SetTimeout(p.timeout)
	c.Start()
	if s.tls == startTLS {
		if err := c.StartTLS(s.trust); err != nil {
			c.close()
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
		if _, ok := c.TLSConnectionState(); !ok {
			c.close()
			return nil, errors.New("StartTLS: the connection is not encrypted")
		}
	}
	if p.prepare != nil {
		if err := p.prepare(c); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}
