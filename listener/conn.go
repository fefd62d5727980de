package listener

import (
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
)

// Why Read or Write ended and Cause tells; each text may be said to the client.
// Compare with errors.Is.
var (
	// ErrTimeout: the phase's time is over, or the client does not take what is
	// written.
	ErrTimeout = mail.Errorf(mail.KindUnavailable, "The connection was idle or slow for too long.")
	// ErrDraining: the service stops.
	ErrDraining = mail.Errorf(mail.KindUnavailable, "The server is shutting down.")
	// ErrEvicted: the service is full and this client had not logged in.
	ErrEvicted = mail.Errorf(mail.KindLimit, "Too many connections; this one had not logged in.")
	// ErrEnded: an administrator ended the session.
	ErrEnded = mail.Errorf(mail.KindUnavailable, "The administrator ended this session.")
	// ErrExpired: the proof with which the user logged in holds no longer.
	ErrExpired = mail.Errorf(mail.KindAuthenticationFailed, "What you logged in with has expired; log in again.")
	// ErrInjected: bytes were sent in the clear behind STLS or STARTTLS.
	ErrInjected = mail.Errorf(mail.KindBadArgument, "Nothing may follow the command before TLS begins.")
)

// Conn is one client's connection. Reads come from one goroutine at a time and
// so do writes; the other methods may be called from any.
type Conn struct {
	service  *Service
	id       uint64
	raw      net.Conn
	implicit bool // TLS from the first byte
	local    netip.AddrPort
	peer     origin       // as it came: see proxy.go; origin leads there unless a proxy said more
	proxyTLS *proxyHeader // of a connection that TLS at the load balancer makes encrypted
	accepted time.Time
	origin   atomic.Pointer[origin]
	log      atomic.Pointer[slog.Logger] // made when it is first asked for

	cancel   context.CancelCauseFunc
	ctx      context.Context
	attended atomic.Pointer[context.CancelCauseFunc] // of what Attend gave, while it is watched
	stopping moment                                  // the service stops
	ended    moment                                  // the handler has returned

	in, out atomic.Int64
	eof     atomic.Bool // the client has closed
	client  atomic.Pointer[client]
	command atomic.Pointer[string] // under way
	status  status

	// Changed by the handler's goroutine in StartTLS, when nobody reads or writes.
	stream net.Conn
	parked func() // goes on with the session; nil unless it has gone by Park
	tls    atomic.Pointer[tls.ConnectionState]
	shown  atomic.Pointer[x509.Certificate]
	proved atomic.Pointer[x509.Certificate] // the client's

	// Guarded by service.mu; see admit.go.
	counted bool
	address netip.Addr    // as which it is counted; the zero value is none
	place   *list.Element // in a list of service.waiting; nil after login
	account mail.AccountID
	user    string

	parted    bool             // the handler's: see Part
	protocol  protolog.Session // the handler's
	expiry    *time.Timer      // of Expire, the handler's
	readErr   error            // the last of Read, for the protocol log
	writeErr  error            // of Write
	deadlines deadlines
	ahead     ahead
}

func (s *Service) newConn(nc net.Conn, implicit bool) *Conn {
	c := &Conn{
		service:  s,
		id:       s.lastID.Add(1),
		raw:      nc,
		stream:   nc,
		implicit: implicit,
		local:    addrPort(nc.LocalAddr()),
		accepted: time.Now(),
	}
	c.from(nc, s.limits())
	c.protocol = s.ProtocolLog.Session(c)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.deadlines.begin(s.limits(), c.accepted, s.NoLogin)
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// ID numbers the connection, ascending within the service since it was made.
func (c *Conn) ID() uint64 { return c.id }

// Service is what the connection belongs to.
func (c *Conn) Service() *Service { return c.service }

// Local is the server's address; the zero value for a Unix socket.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Remote is the client's address, IPv4 never in its IPv6 form; the zero value
// for a Unix socket. A proxy that is trusted may say it, see Forward.
func (c *Conn) Remote() netip.AddrPort { return c.origin.Load().remote }

// Accepted is when the connection came.
func (c *Conn) Accepted() time.Time { return c.accepted }

// Log is the service's log with the connection's id and address.
func (c *Conn) Log() *slog.Logger {
	if log := c.log.Load(); log != nil {
		return log
	}
	o := c.origin.Load()
	remote := "unix"
	if o.remote.IsValid() {
		remote = o.remote.String()
	}
	log := c.service.logger().With("session", c.id, "remote", remote)
	if o.proxy.IsValid() {
		log = log.With("proxy", o.proxy.String())
	}
	c.log.Store(log)
	return log
}

// Context is the handler's: it ends with the connection. Stopping does not end
// it at once: Draining is closed first, and the session has until Stop's context
// ends.
func (c *Conn) Context() context.Context { return c.ctx }

// Draining is closed when the service stops. The session should take leave at
// the next moment that suits; a Read in phase Idle returns ErrDraining by itself.
func (c *Conn) Draining() <-chan struct{} { return c.stopping.wait() }

// client is what a client says of itself.
type client struct{ name, version string }

// SetClient keeps what the client calls itself (ID, RFC 2971) and its version,
// whatever they may hold; "" forgets them.
func (c *Conn) SetClient(name, version string) { c.client.Store(&client{name, version}) }

// Client is what the client calls itself, "" when it did not say. It is the
// client's own text.
func (c *Conn) Client() string {
	if client := c.client.Load(); client != nil {
		return client.name
	}
	return ""
}

// ClientVersion is the version that the client gave itself, "" when it did not.
func (c *Conn) ClientVersion() string {
	if client := c.client.Load(); client != nil {
		return client.version
	}
	return ""
}

// Bytes tells how many bytes of protocol came in and went out, inside TLS.
func (c *Conn) Bytes() (in, out int64) { return c.in.Load(), c.out.Load() }

// Read reads what the client sends under the deadline of the current Phase.
// Errors are io.EOF, ErrTimeout, ErrDraining, ErrWoken, ErrPark (these three only in phase Idle), ErrEvicted,
// ErrEnded, or what the network says.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && err != ErrWoken && err != ErrPark {
		c.readErr = err
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n := c.ahead.take(p); n > 0 {
		return n, nil
	}
	for {
		if err := c.deadlines.armRead(c); err != nil {
			return 0, err
		}
		n, err := c.stream.Read(p)
		if n > 0 {
			c.in.Add(int64(n))
			c.deadlines.progress(n)
			return n, nil
		}
		if err == nil {
			continue
		}
		if !isTimeout(err) {
			if errors.Is(err, io.EOF) {
				c.eof.Store(true)
			}
			return 0, c.reason(err)
		}
		if err := c.deadlines.expired(c); err != nil {
			return 0, err
		}
	}
}

// Write writes p. A client that does not take 64 KiB within WriteTimeout ends
// with ErrTimeout. No answer should be written after an error.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for {
		chunk := p[done:min(len(p), done+writeChunk)]
		c.deadlines.armWrite(c)
		n, err := c.stream.Write(chunk)
		done += n
		c.out.Add(int64(n))
		if err != nil {
			if isTimeout(err) {
				err = ErrTimeout
			}
			c.writeErr = c.reason(err)
			return done, c.writeErr
		}
		if done == len(p) {
			return done, nil
		}
	}
}

// Raw gives the connection without the deadlines of phases, for a handler that
// keeps its own (net/http). What goes over it is counted; the service's limits and
// End hold as for every connection.
func (c *Conn) Raw() net.Conn { return rawConn{c.stream, c} }

type rawConn struct {
	net.Conn
	c *Conn
}

func (r rawConn) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.c.in.Add(int64(n))
	return n, err
}

func (r rawConn) Write(p []byte) (int, error) {
	n, err := r.Conn.Write(p)
	r.c.out.Add(int64(n))
	return n, err
}

// reason prefers why the connection was ended over what the network said then.
func (c *Conn) reason(err error) error {
	if cut := c.deadlines.cutBy(); cut != nil {
		return cut
	}
	return err
}

func isTimeout(err error) bool {
	if t, ok := err.(net.Error); ok { // as the network says it; errors.As is dear
		return t.Timeout()
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// End ends the connection from another goroutine: a Read returns why at once, so
// that the handler can take leave, and what still blocks is closed 2 s later.
// why is an *mail.Error whose text the client may read.
func (c *Conn) End(why error) {
	if c.deadlines.cut(c, why) {
		time.AfterFunc(2*time.Second, func() { c.abort(why) })
	}
}

// Expire ends the connection with ErrExpired at a time; the zero time is never. It is
// for the handler, after SetUser.
func (c *Conn) Expire(at time.Time) {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if !at.IsZero() {
		c.expiry = time.AfterFunc(time.Until(at), func() { c.End(ErrExpired) })
	}
}

// abort ends context and network connection without a word.
func (c *Conn) abort(why error) {
	c.over(why)
	c.raw.Close()
}

// Close closes the connection. The Service does so when the handler returns.
func (c *Conn) Close() error {
	c.over(net.ErrClosed)
	return c.stream.Close()
}

// over ends the context, and the one that Attend gave.
func (c *Conn) over(why error) {
	c.cancel(why)
	if cancel := c.attended.Load(); cancel != nil {
		(*cancel)(why)
	}
}

// moment is something that happens once. Whoever waits for it has a channel; most
// connections have nobody who does, and an idle one holds as little as can be.
type moment struct {
	mu   sync.Mutex
	past bool
	told chan struct{} // nil until somebody waits
}

// come says that it has happened. It may be called again.
func (m *moment) come() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.past && m.told != nil {
		close(m.told)
	}
	m.past = true
}

// wait gives what is closed then.
func (m *moment) wait() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.told == nil {
		m.told = make(chan struct{})
		if m.past {
			close(m.told)
		}
	}
	return m.told
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline implements net.Conn and does nothing: deadlines follow from Phase.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn and does nothing: see SetDeadline.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn and does nothing: see SetDeadline.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// startDrain tells the session that the service stops.
func (c *Conn) startDrain() {
	c.stopping.come()
	c.deadlines.drain(c)
}

// Part says that the client has asked for the end (QUIT, LOGOUT) and that the handler
// has read all that came: nothing more is waited for when it returns. It is the
// handler's. buffered is what was read behind the command: with any it does nothing.
func (c *Conn) Part(buffered int) { c.parted = buffered == 0 }

// linger takes leave: it ends our side and takes a little of what the client
// still sends, because closing with unread bytes resets the connection and the
// client may lose our last answer. Who has parted sends nothing more.
func (c *Conn) linger() {
	defer c.raw.Close()
	if t, ok := c.stream.(*tls.Conn); ok {
		c.raw.SetWriteDeadline(time.Now().Add(lingerTimeout))
		t.CloseWrite()
	}
	if c.parted {
		return
	}
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || c.eof.Load() || half.CloseWrite() != nil {
		return
	}
	c.raw.SetReadDeadline(time.Now().Add(lingerTimeout))
	io.CopyN(io.Discard, c.raw, lingerBytes)
}
