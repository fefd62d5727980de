package listener

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// admit lets a connection in, or tells the client why not and gives nil. When
// the service is full the oldest connection that has not logged in must go;
// nobody who has logged in ever does, and who comes from where somebody logged in does
// last. The same when very many wait for their login at once.
func (s *Service) admit(nc net.Conn, implicit bool) *Conn {
	c := s.newConn(nc, implicit)
	l := s.limits()
	address := s.counts(c.Remote(), l)

	s.mu.Lock()
	var evicted *Conn
	var full error
	why := event.TooManyConnections
	switch {
	case address.IsValid() && s.perAddress[address] >= l.perAddress:
		full, why = mail.Errorf(mail.KindLimit, "Too many connections from your address."), event.TooManyOfAddress
	case s.count >= l.connections:
		if evicted = s.oldestWaiting(); evicted == nil {
			full = mail.Errorf(mail.KindLimit, "Too many connections.")
		}
	case s.waiting.len() >= cmp.Or(s.MaxWaiting, maxWaiting):
		evicted = s.oldestWaiting()
	}
	if s.conns == nil {
		s.conns = map[*Conn]struct{}{}
		s.perAddress = map[netip.Addr]int{}
		s.perUser = map[mail.AccountID]int{}
	}
	if full == nil {
		s.conns[c] = struct{}{}
		s.countIn(c, address)
	}
	s.mu.Unlock()

	evicted.evict()
	if full != nil {
		s.turnAway(c, why, full)
		return nil
	}
	go s.serve(c)
	return c
}

// oldestWaiting takes the connection that waits longest for its login out of the
// counts, nil when there is none. The caller holds mu, and evicts it then.
func (s *Service) oldestWaiting() *Conn {
	c := s.waiting.next()
	if c != nil {
		s.uncount(c)
	}
	return c
}

// evict ends a connection to make room. c may be nil.
func (c *Conn) evict() {
	if c != nil {
		c.Log().Info("connection ended: the service is full and it had not logged in", "age", time.Since(c.accepted))
		c.End(ErrEvicted)
	}
}

// evictOldest ends the connection that waits longest for its login.
func (s *Service) evictOldest() {
	s.mu.Lock()
	c := s.oldestWaiting()
	s.mu.Unlock()
	c.evict()
}

// countIn counts c. The caller holds mu.
func (s *Service) countIn(c *Conn, address netip.Addr) {
	c.counted, c.address = true, address
	s.count++
	if address.IsValid() {
		s.perAddress[address]++
	}
	if !s.NoLogin {
		s.waiting.push(c, address, s.perAddress[address])
	}
}

// uncount takes c out of every count, once. The caller holds mu.
func (s *Service) uncount(c *Conn) {
	if !c.counted {
		return
	}
	c.counted = false
	s.count--
	if c.address.IsValid() {
		drop(s.perAddress, c.address)
	}
	s.waiting.remove(c)
	s.unuser(c)
}

func (s *Service) unuser(c *Conn) {
	if c.account != 0 {
		drop(s.perUser, c.account)
		c.account, c.user = 0, ""
	}
}

func drop[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// release takes an ended connection out of the counts.
func (s *Service) release(c *Conn) {
	s.mu.Lock()
	s.uncount(c)
	s.mu.Unlock()
}

// leave forgets an ended connection.
func (s *Service) leave(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	in, out := c.Bytes()
	s.in, s.out = s.in+in, s.out+out
	s.mu.Unlock()
}

// counts gives as which address a connection is counted; none for a proxy that will say
// for whom it speaks, whose clients are counted then.
func (s *Service) counts(a netip.AddrPort, l *limits) netip.Addr {
	if settings.Within(l.xclients, a.Addr()) {
		return netip.Addr{}
	}
	return network(a)
}

// network is what counts as one address: an IPv4 address or an IPv6 /64, which
// is what one customer has. Invalid for a Unix socket.
func network(a netip.AddrPort) netip.Addr {
	ip := a.Addr().WithZone("")
	if ip.Is6() {
		p, err := ip.Prefix(64)
		if err != nil {
			return netip.Addr{}
		}
		return p.Addr()
	}
	return ip
}

// SetUser says who has logged in, name for people who look at the sessions. It
// ends the time before login and counts the account's connections: KindLimit,
// with nothing changed, when there are MaxConnectionsPerUser already. The count
// goes with the connection. It is for the handler's goroutine, as ClearUser is.
func (c *Conn) SetUser(account mail.AccountID, name string) error {
	s := c.service
	most := s.limits().perUser
	s.mu.Lock()
	if !c.counted {
		s.mu.Unlock()
		return ErrEvicted
	}
	if c.account != account {
		if s.perUser[account] >= most {
			s.mu.Unlock()
			event.TooManyOfUser.Log(context.Background(), c.Log(), "user", name, "most", most)
			return mail.Errorf(mail.KindLimit, "Too many connections of this user.")
		}
		s.unuser(c)
		s.perUser[account]++
	}
	c.account, c.user = account, name
	s.waiting.remove(c)
	s.waiting.loggedIn(network(c.Remote()))
	s.mu.Unlock()
	c.protocol.User(name)
	c.deadlines.loggedIn()
	return nil
}

// Known says that whoever uses the connection has proved who it is: it makes room for
// nobody any more. It is for a protocol that proves it with each request (HTTP), so
// that the connection has no user, and may be called from any goroutine.
func (c *Conn) Known() {
	s := c.service
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.remove(c)
}

// ClearUser says that the user has logged out and the connection stays
// (RFC 8437): the time before login begins anew.
func (c *Conn) ClearUser() {
	s := c.service
	s.mu.Lock()
	s.unuser(c)
	if c.counted && c.place == nil && !s.NoLogin {
		address := network(c.Remote())
		s.waiting.push(c, address, s.perAddress[address])
	}
	s.mu.Unlock()
	c.protocol.User("")
	c.SetMechanism("", "")
	c.SetActedBy("")
	c.Expire(time.Time{})
	c.deadlines.loggedOut(s.limits())
}

// User tells who has logged in; 0 and "" when nobody has.
func (c *Conn) User() (mail.AccountID, string) {
	c.service.mu.Lock()
	defer c.service.mu.Unlock()
	return c.account, c.user
}

// Conns lists the live connections, oldest first.
func (s *Service) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	slices.SortFunc(conns, func(a, b *Conn) int { return int(int64(a.id) - int64(b.id)) })
	return conns
}

// turnAway says the protocol's word to a client that is not let in and closes.
// Not more than maxRefusals wait for their clients at once.
func (s *Service) turnAway(c *Conn, what *event.Event, why error) {
	s.refused.Add(1)
	what.Log(context.Background(), c.Log())
	c.protocol.Event("RefuseSession", protolog.Outcome{Detail: "Reason=" + mail.TextOf(why)}, 0, 0, 0)
	if s.telling.Add(1) > maxRefusals || s.Refuse == nil {
		s.telling.Add(-1)
		c.abort(why)
		return
	}
	s.mu.Lock()
	s.conns[c] = struct{}{} // Stop waits for it
	s.mu.Unlock()
	go func() {
		defer c.ended.come()
		defer s.leave(c)
		defer s.telling.Add(-1)
		defer c.abort(why)
		defer s.survive(c)
		stop := time.AfterFunc(refuseTimeout, func() { c.raw.Close() })
		defer stop.Stop()
		if c.implicit && c.handshake(c.ctx) != nil {
			return
		}
		if _, err := c.Write([]byte(s.Refuse(why))); err == nil {
			c.linger()
		}
	}()
}
