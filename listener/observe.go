package listener

import "time"

// Observer is told what happens at a service, for metrics and traces. Its methods
// are called from the connections' goroutines, often, and must not wait.
type Observer interface {
	// Opened tells of a connection that was let in.
	Opened(c *Conn)
	// Command tells of a command that was answered. name is from the protocol's
	// table, "" for one that is not in it; ok is false when the answer was that it
	// failed.
	Command(c *Conn, name string, began time.Time, ok bool)
	// Closed tells that a connection of Opened has ended.
	Closed(c *Conn)
}

// Command tells the service's Observer that a command was answered. The protocol
// calls it once a command, from the connection's goroutine.
func (c *Conn) Command(name string, began time.Time, ok bool) {
	if o := c.service.Observer; o != nil {
		o.Command(c, name, began, ok)
	}
}

// Panics counts the sessions that ended by a fault of ours.
func (s *Service) Panics() int64 { return s.panics.Load() }

// Refused counts the clients that were turned away because of a limit.
func (s *Service) Refused() int64 { return s.refused.Load() }

// Accepted counts the connections that came, those turned away included.
func (s *Service) Accepted() int64 { return int64(s.lastID.Load()) }

// Open counts the connections that are open now, without those being turned away,
// and those of them that have logged in; with NoLogin that is all.
func (s *Service) Open() (all, loggedIn int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.count - s.waiting.len()
}

// Bytes counts the bytes of protocol that came in and went out over all
// connections so far, inside TLS.
func (s *Service) Bytes() (in, out int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out = s.in, s.out
	for c := range s.conns {
		i, o := c.Bytes()
		in, out = in+i, out+o
	}
	return in, out
}
