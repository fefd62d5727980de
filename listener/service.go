package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// Service is one protocol service: where it listens and what speaks there. Set
// the exported fields before the first use and leave them. Each Service has its
// own TLS configuration and ticket keys, so a TLS session of one service cannot
// be resumed at another. Stop it when it is no longer needed.
type Service struct {
	// Name is what the log calls it: "POP3", "IMAP4", "LMTP".
	Name string
	// Handle speaks the protocol until the session is over; the connection is
	// closed when it returns. ctx is c.Context().
	Handle func(ctx context.Context, c *Conn)
	// Refuse gives the protocol's own line, with CRLF, for a client that is
	// turned away at once because of err; nil or "" closes without a word.
	Refuse func(err error) string
	// Settings gives the current values; nil, or nil values, are the defaults.
	Settings func() *settings.Values
	// Certificates is nil for a service without TLS.
	Certificates *Certificates
	// ALPN is the protocol's name in TLS (RFC 7301): a client that offers only
	// other names is refused, one that offers none is accepted. "" for none.
	ALPN string
	// ClientAuthorities are those whose client certificates are trusted, as they are
	// now: TLS asks for one while there are any. nil, or giving nil, is nobody. A
	// service that has a Challenge does not ask.
	ClientAuthorities func() *x509.CertPool
	// Revoked tells why a client's certificate does not count although a trusted
	// authority issued it, from the chain that begins with it and ends with the
	// authority's; nil, or giving nil, is that it does.
	Revoked func(chain []*x509.Certificate) error
	// Challenge answers TLS-ALPN-01 (RFC 8737): the certificate of a challenge for the
	// name that a client asks for, else nil. A client that offers "acme-tls/1" alone
	// is shown it, and nothing is spoken behind the handshake. nil, as it is for the
	// mail protocols: such a client is refused.
	Challenge func(name string) *tls.Certificate
	// NoLogin: the protocol has no login (LMTP), so connections count as logged
	// in from the start.
	NoLogin bool
	// MaxWaiting bounds the connections that have not logged in, where MaxConnections
	// does not: with more the oldest of them goes. 4096 when 0.
	MaxWaiting int
	// ParkAfter is how long a Read in phase Idle waits before ErrPark, and after each
	// ErrWoken again. 4 s when 0.
	ParkAfter time.Duration
	// Inherited are sockets that are open already; nil is none.
	Inherited *Inherited
	// SocketMode is the mode of Unix sockets, 0660 when 0.
	SocketMode uint32
	// Observer is told of connections and commands; nil is nobody.
	Observer Observer
	// ProtocolLog is where sessions are logged; nil is nowhere.
	ProtocolLog *protolog.Log
	// Log is slog.Default when nil.
	Log *slog.Logger

	lastID  atomic.Uint64
	panics  atomic.Int64
	refused atomic.Int64
	read    atomic.Pointer[limits]
	config  tlsConfig
	telling atomic.Int32 // refusals being told
	buffers sync.Pool    // *[lineBuffer]byte, of Lines
	outs    sync.Pool    // *[outBuffer]byte

	arriving arrivals

	binding sync.Mutex // held through a change of bindings
	// Guarded by binding.
	doors []*door

	mu sync.Mutex
	// Guarded by mu.
	running    bool
	conns      map[*Conn]struct{} // all that have not ended
	count      int                // of those that are counted
	perAddress map[netip.Addr]int
	perUser    map[mail.AccountID]int
	waiting    waiting // not logged in
	in, out    int64   // bytes over connections that are not in conns any more
}

func (s *Service) logger() *slog.Logger {
	log := s.Log
	if log == nil {
		log = slog.Default()
	}
	return log.With("service", s.Name)
}

// Start opens the bindings and accepts. All are open when it returns, or none:
// errors as of Apply. KindConflict when the service runs already.
func (s *Service) Start(b Bindings) error {
	s.binding.Lock()
	defer s.binding.Unlock()
	if s.Running() {
		return mail.Errorf(mail.KindConflict, "The service %s is running already.", s.Name)
	}
	opened, err := s.open(b.rows(), nil)
	if err != nil {
		return err
	}
	s.arriving.begin()
	s.setRunning(true)
	s.enter(opened)
	return nil
}

// Running tells whether the service was started and not stopped.
func (s *Service) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

func (s *Service) setRunning(running bool) {
	s.mu.Lock()
	s.running = running
	s.mu.Unlock()
}

// Apply changes the bindings: what is new is opened first, then what is gone is
// closed. Live sessions go on. When an address cannot be opened nothing changes,
// and the error names the address and the reason: KindInUse, KindNoPermission,
// KindBadArgument (not an address of this host) or KindUnavailable. While the
// service is stopped the addresses are only tried.
func (s *Service) Apply(b Bindings) error {
	commit, _, err := s.Prepare(b)
	if err == nil {
		commit()
	}
	return err
}

// Prepare is the first half of Apply: the new addresses are open but not served.
// One of commit and cancel must be called, once, before anything else is done
// with the bindings. Errors as of Apply.
func (s *Service) Prepare(b Bindings) (commit, cancel func(), err error) {
	s.binding.Lock()
	rows := b.rows()
	keep, gone := s.match(rows)
	opened, err := s.open(rows, gone)
	if err != nil {
		s.binding.Unlock()
		return nil, nil, err
	}
	cancel = func() {
		closeDoors(opened)
		s.binding.Unlock()
	}
	if !s.Running() {
		return cancel, cancel, nil
	}
	commit = func() {
		for d, implicit := range keep {
			d.implicit.Store(implicit)
		}
		s.enter(opened)
		closeDoors(gone)
		s.doors = slices.DeleteFunc(s.doors, func(d *door) bool { return slices.Contains(gone, d) })
		s.binding.Unlock()
	}
	return commit, cancel, nil
}

// Addrs tells where the service listens, with the ports that the system chose
// where 0 was asked for; empty when it is stopped.
func (s *Service) Addrs() Bindings {
	s.binding.Lock()
	defer s.binding.Unlock()
	var b Bindings
	for _, d := range s.doors {
		switch {
		case d.row.path != "":
			b.Unix = append(b.Unix, d.row.path)
		case d.implicit.Load():
			b.SSL = append(b.SSL, d.actual())
		default:
			b.Clear = append(b.Clear, d.actual())
		}
	}
	return b
}

// enter begins to accept at doors. The caller holds binding.
func (s *Service) enter(doors []*door) {
	for _, d := range doors {
		s.doors = append(s.doors, d)
		go s.accept(d)
	}
}

// accept takes connections until the door is closed. Errors such as "too many
// open files" pass; it waits 5 ms to 1 s and goes on. Who has not logged in makes
// room for files, the oldest first.
func (s *Service) accept(d *door) {
	defer close(d.left)
	var pause time.Duration
	for {
		nc, err := d.listener.Accept()
		if err == nil {
			pause = 0
			s.arrive(nc, d.implicit.Load())
			continue
		}
		select {
		case <-d.closing:
			return
		default:
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			s.evictOldest()
		}
		s.logger().Error("accept failed", "address", d.row.String(), "error", err, "pause", pause)
		select {
		case <-d.closing:
			return
		case <-time.After(pause):
		}
	}
}

// ServeConn serves a connection that came by another way than a binding, and
// returns when it has ended. Limits apply.
func (s *Service) ServeConn(nc net.Conn, implicitTLS bool) {
	if c := s.admit(nc, implicitTLS); c != nil {
		<-c.ended.wait()
	}
}

// deepStack is how deep a login goes: a new goroutine's stack would be doubled and copied
// twice on the way.
const deepStack = 6 << 10

// deepen grows the stack at once, while there is next to nothing on it to be copied. What
// is not used of it the garbage collector takes back.
//
//go:noinline
func deepen() {
	var b [deepStack]byte
	touch(&b)
}

//go:noinline
func touch(b *[deepStack]byte) { b[0] = 1 }

// serve runs a connection from its handshake.
func (s *Service) serve(c *Conn) {
	deepen()
	s.run(c, func() {
		if s.Observer != nil {
			s.Observer.Opened(c)
		}
		if c.implicit {
			if err := c.handshake(c.ctx); err != nil {
				c.Log().Info("TLS handshake failed", "error", err)
				c.logBegin(err)
				return
			}
		}
		c.logBegin(nil)
		if state := c.TLS(); state != nil && state.NegotiatedProtocol == challengeALPN {
			return
		}
		s.Handle(c.ctx, c)
	})
}

// run does a part of the session and ends the connection after it, unless it was parked.
func (s *Service) run(c *Conn, part func()) {
	whole := false // part has returned
	defer func() {
		if resume := c.parked; resume != nil && whole {
			c.parked = nil
			s.await(c, resume)
			return
		}
		s.end(c)
	}()
	defer s.survive(c)
	part()
	whole = true
}

// end ends a connection.
func (s *Service) end(c *Conn) {
	defer c.ended.come()
	defer s.leave(c)
	defer func() {
		c.Expire(time.Time{})
		s.release(c)
		c.linger()
		c.over(net.ErrClosed)
	}()
	defer s.survive(c)
	if s.Observer != nil {
		defer s.Observer.Closed(c)
	}
	c.logEnd()
}

// survive is deferred: a panic ends the session in which it happens and no other.
func (s *Service) survive(c *Conn) {
	if p := recover(); p != nil {
		s.panics.Add(1)
		event.Panicked.Log(context.Background(), c.Log(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// Stop ends the service: no new connections; live sessions are told (Draining)
// and have until ctx ends, then they are closed. It returns when all have ended;
// KindUnavailable when some handler did not return 10 s after its connection was
// closed. Stopping a service that is stopped does nothing. It can be started
// again.
func (s *Service) Stop(ctx context.Context) error {
	s.binding.Lock()
	defer s.binding.Unlock()
	s.setRunning(false)
	closeDoors(s.doors)
	for _, d := range s.doors {
		<-d.left // it may be letting somebody in
	}
	s.doors = nil
	s.arriving.end()
	live := s.Conns()
	for _, c := range live {
		c.startDrain()
	}
	if allEnded(ctx, live) == 0 {
		return nil
	}
	for _, c := range live {
		c.deadlines.cut(c, ErrDraining)
		c.abort(ErrDraining)
	}
	bound, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if n := allEnded(bound, live); n > 0 {
		return mail.Errorf(mail.KindUnavailable, "%d sessions of the service %s did not end.", n, s.Name)
	}
	return nil
}

// allEnded waits until conns have ended and gives how many have not when ctx ends.
func allEnded(ctx context.Context, conns []*Conn) int {
	for i, c := range conns {
		select {
		case <-c.ended.wait():
		case <-ctx.Done():
			return len(conns) - i
		}
	}
	return 0
}
