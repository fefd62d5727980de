package listener

import (
	"container/list"
	"net/netip"
)

// waiting are the connections that have not logged in, in the order in which they make
// room: strangers first. Those of an address from which somebody logged in lately
// come last, so that a storm of strangers does not push people out between their connection
// and their login. Its owner locks it.
type waiting struct {
	strangers, familiar list.List // *Conn, the oldest first

	logins list.List // netip.Addr, the one with the latest login in front
	known  map[netip.Addr]*list.Element
}

// Bounds of waiting.
const (
	// maxFamiliar is how many addresses are remembered.
	maxFamiliar = 1 << 14
	// familiarAtOnce is how many connections of one such address count as familiar: who
	// has an account does not keep everybody else out.
	familiarAtOnce = 16
)

// len is how many wait.
func (w *waiting) len() int { return w.strangers.Len() + w.familiar.Len() }

// push adds a connection of an address that has so many connections.
func (w *waiting) push(c *Conn, address netip.Addr, connections int) {
	if w.known[address] != nil && connections <= familiarAtOnce {
		c.place = w.familiar.PushBack(c)
	} else {
		c.place = w.strangers.PushBack(c)
	}
}

// remove takes a connection out, if it is in.
func (w *waiting) remove(c *Conn) {
	if c.place != nil {
		w.strangers.Remove(c.place) // does nothing when it is of the other list
		w.familiar.Remove(c.place)
		c.place = nil
	}
}

// next is the one that makes room next, nil when nobody waits.
func (w *waiting) next() *Conn {
	for _, l := range []*list.List{&w.strangers, &w.familiar} {
		if e := l.Front(); e != nil {
			return e.Value.(*Conn)
		}
	}
	return nil
}

// loggedIn notes that somebody did from an address.
func (w *waiting) loggedIn(address netip.Addr) {
	if !address.IsValid() {
		return
	}
	if e := w.known[address]; e != nil {
		w.logins.MoveToFront(e)
		return
	}
	if w.known == nil {
		w.known = map[netip.Addr]*list.Element{}
	}
	if len(w.known) >= maxFamiliar {
		delete(w.known, w.logins.Remove(w.logins.Back()).(netip.Addr))
	}
	w.known[address] = w.logins.PushFront(address)
}
