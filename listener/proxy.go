package listener

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// What stands in front of a service must not hide who connects. Two ways say it, each
// from the networks of its own setting alone: the PROXY header before the first byte
// (arrive), and what a mail proxy says within the protocol before the login (Forward).

// Bounds on connections whose PROXY header is awaited.
const (
	proxyTimeout = 5 * time.Second
	proxyWaiting = 1024
	// proxyFaults is how often a load balancer without headers is an event.
	proxyFaults = time.Minute
)

// arrivals are connections whose PROXY header is awaited.
type arrivals struct {
	mu    sync.Mutex
	open  map[net.Conn]chan struct{} // closed when it was admitted or given up
	ended bool                       // the service is stopped
	told  time.Time                  // of the last event
}

// arrive admits a connection, one of a load balancer after its PROXY header.
func (s *Service) arrive(nc net.Conn, implicit bool) {
	if !settings.Within(s.limits().proxies, addrPort(nc.RemoteAddr()).Addr()) {
		s.admit(nc, implicit)
		return
	}
	done := make(chan struct{})
	if !s.arriving.add(nc, done) {
		nc.Close()
		return
	}
	go func() {
		defer close(done)
		defer s.arriving.remove(nc)
		nc.SetReadDeadline(time.Now().Add(proxyTimeout))
		header, err := readProxyHeader(nc)
		if err != nil {
			nc.Close()
			s.withoutHeader(nc, err)
			return
		}
		nc.SetReadDeadline(time.Time{})
		s.admit(&forwarded{nc, header}, implicit)
	}()
}

func (a *arrivals) add(nc net.Conn, done chan struct{}) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended || len(a.open) >= proxyWaiting {
		return false
	}
	if a.open == nil {
		a.open = map[net.Conn]chan struct{}{}
	}
	a.open[nc] = done
	return true
}

func (a *arrivals) remove(nc net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, nc)
}

// begin lets connections arrive.
func (a *arrivals) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = false
}

// end closes those that wait, and waits for them: then none is admitted any more.
func (a *arrivals) end() {
	a.mu.Lock()
	a.ended = true
	var all []chan struct{}
	for nc, done := range a.open {
		nc.Close()
		all = append(all, done)
	}
	a.mu.Unlock()
	for _, done := range all {
		<-done
	}
}

// withoutHeader tells of a load balancer that does not say for whom it speaks, at most
// once in proxyFaults as an event. One that only looked whether the port is open is none.
func (s *Service) withoutHeader(nc net.Conn, err error) {
	s.refused.Add(1)
	s.arriving.mu.Lock()
	tell := err != io.EOF && !s.arriving.ended && time.Since(s.arriving.told) >= proxyFaults
	if tell {
		s.arriving.told = time.Now()
	}
	s.arriving.mu.Unlock()
	remote := addrPort(nc.RemoteAddr()).String()
	if tell {
		event.NoProxyHeader.Log(context.Background(), s.logger(), "remote", remote, "reason", err.Error())
		return
	}
	s.logger().Debug("a connection began without a PROXY header", "remote", remote, "error", err)
}

// origin is where a connection comes from.
type origin struct {
	remote netip.AddrPort // the client
	proxy  netip.AddrPort // who speaks for it; the zero value is nobody
	// said is what a proxy called the session, printable; "" when it did not.
	said string
}

// from fills in where a new connection comes from, and whether it is encrypted already.
func (c *Conn) from(nc net.Conn, l *limits) {
	o := &c.peer
	o.remote = addrPort(nc.RemoteAddr())
	if f, ok := nc.(*forwarded); ok && f.header.client.IsValid() {
		o.proxy = addrPort(f.Conn.RemoteAddr())
		if f.header.tls && l.proxyTLS && !c.implicit {
			// Without a version nothing is exported of it, so nothing binds to it.
			c.proxyTLS = &f.header
			c.tls.Store(&tls.ConnectionState{HandshakeComplete: true})
		}
	}
	c.origin.Store(o)
}

// Proxy is the address of the load balancer or proxy that speaks for the client; the zero
// value when the client speaks itself.
func (c *Conn) Proxy() netip.AddrPort { return c.origin.Load().proxy }

// MayForward tells whether Forward counts: the connection comes from XClientNetworks, and
// neither was it said already nor has anybody logged in.
func (c *Conn) MayForward() bool {
	account, _ := c.User()
	return account == 0 && *c.origin.Load() == c.peer && settings.Within(c.service.limits().xclients, c.peer.remote.Addr())
}

// Forward takes the word of a proxy for whom it speaks and what it calls the session, if
// MayForward. From then on that is the connection's address: for limits, policies and
// logs. It is for the handler's goroutine. KindLimit, for a connection that is to be
// ended, when that client has too many connections.
func (c *Conn) Forward(client netip.AddrPort, session string) error {
	if !c.MayForward() {
		return mail.Errorf(mail.KindCannot, "Nobody is taken at their word for whom they speak from here.")
	}
	if a := client.Addr(); !a.IsValid() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return mail.Errorf(mail.KindBadArgument, "That is not the address of a client.")
	}
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	return c.move(origin{remote: client, proxy: c.peer.remote, said: protolog.Printable(session, 64)})
}

// forget takes back what was said before TLS, by whomever.
func (c *Conn) forget() {
	if *c.origin.Load() != c.peer {
		c.move(c.peer)
	}
}

// move counts the connection where it comes from now.
func (c *Conn) move(to origin) error {
	s := c.service
	l := s.limits()
	address := network(to.remote)
	if to == c.peer {
		address = s.counts(to.remote, l)
	}
	s.mu.Lock()
	full := to != c.peer && c.counted && c.address != address && address.IsValid() && s.perAddress[address] >= l.perAddress
	if c.counted && !full {
		if c.address.IsValid() {
			drop(s.perAddress, c.address)
		}
		if c.address = address; address.IsValid() {
			s.perAddress[address]++
		}
		if c.place != nil {
			s.waiting.remove(c)
			s.waiting.push(c, address, s.perAddress[address])
		}
	}
	if !full {
		c.origin.Store(&to)
		c.log.Store(nil)
	}
	s.mu.Unlock()
	if full {
		event.TooManyOfAddress.Log(context.Background(), c.Log(), "client", to.remote.String())
		return mail.Errorf(mail.KindLimit, "Too many connections from your address.")
	}
	return nil
}

// ProxyDetail says for the protocol log who speaks for the client, "" when it does itself.
func (c *Conn) ProxyDetail() string {
	o := c.origin.Load()
	if !o.proxy.IsValid() {
		return ""
	}
	detail := "Proxy=" + o.proxy.String()
	if o.said != "" {
		detail += ";ProxySession=" + o.said
	}
	return detail
}

// TLSNames gives the version and the cipher suite in words, "" without TLS.
func (c *Conn) TLSNames() (version, cipher string) {
	state := c.TLS()
	switch {
	case state == nil:
		return "", ""
	case state.Version == 0 && c.proxyTLS != nil:
		version = "TLS"
		if c.proxyTLS.version != "" {
			version = protolog.Printable(c.proxyTLS.version, 32)
		}
		return version + " at the proxy", protolog.Printable(c.proxyTLS.cipher, 64)
	}
	return tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
}
