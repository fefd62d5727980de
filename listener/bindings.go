package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/postern-mail/postern/mail"
)

// Bindings are the addresses of a service. An IPv6 address never takes IPv4
// connections: [::]:110 and 0.0.0.0:110 stand beside each other. Port 0 lets the
// system choose.
type Bindings struct {
	Clear []netip.AddrPort // begin unencrypted; STLS or STARTTLS may follow
	SSL   []netip.AddrPort // TLS from the first byte
	Unix  []string         // paths of sockets
}

// row is one address that was asked for.
type row struct {
	addr     netip.AddrPort
	path     string // of a Unix socket, then addr is zero
	implicit bool
	nth      int // tells rows of port 0 with the same address apart
}

func (r row) String() string {
	if r.path != "" {
		return r.path
	}
	return r.addr.String()
}

// same tells whether an open door fits the row: an address that changes between
// clear and SSL stays open.
func (r row) same(o row) bool {
	if r.path != "" || r.addr.Port() != 0 {
		return r.path == o.path && r.addr == o.addr
	}
	return r == o
}

func (b Bindings) rows() []row {
	var rows []row
	add := func(r row) {
		for _, o := range rows {
			if o.same(r) {
				if r.path != "" || r.addr.Port() != 0 {
					return
				}
				r.nth++
			}
		}
		rows = append(rows, r)
	}
	for _, a := range b.Clear {
		add(row{addr: a})
	}
	for _, a := range b.SSL {
		add(row{addr: a, implicit: true})
	}
	for _, p := range b.Unix {
		add(row{path: p})
	}
	return rows
}

// door is an open address.
type door struct {
	row      row
	listener net.Listener
	implicit atomic.Bool
	closing  chan struct{}
	left     chan struct{} // closed when nobody accepts any more
	once     sync.Once
}

func (d *door) actual() netip.AddrPort { return addrPort(d.listener.Addr()) }

func closeDoors(doors []*door) {
	for _, d := range doors {
		d.once.Do(func() {
			close(d.closing)
			d.listener.Close()
		})
	}
}

// match finds which doors stay, with whether they are SSL now, and which are
// gone. The caller holds binding.
func (s *Service) match(rows []row) (keep map[*door]bool, gone []*door) {
	keep = map[*door]bool{}
next:
	for _, d := range s.doors {
		for _, r := range rows {
			if r.same(d.row) {
				keep[d] = r.implicit
				continue next
			}
		}
		gone = append(gone, d)
	}
	return keep, gone
}

// open opens every row that has no door yet, or none. gone are doors that are
// about to be closed and may be in the way. The caller holds binding.
func (s *Service) open(rows []row, gone []*door) ([]*door, error) {
	var opened []*door
next:
	for _, r := range rows {
		for _, d := range s.doors {
			if r.same(d.row) {
				continue next
			}
		}
		if r.implicit && s.Certificates == nil {
			closeDoors(opened)
			return nil, mail.Errorf(mail.KindCannot, "%s: the service %s has no certificate.", r, s.Name)
		}
		if s.Inherited.covers(r, rows) {
			continue
		}
		l, err := s.listen(r, gone)
		if err != nil {
			// A host without IPv6 must not need other settings than the default.
			if r.addr.Addr() == netip.IPv6Unspecified() && noIPv6(err) {
				s.logger().Warn("this host has no IPv6; the binding is left out", "address", r.String())
				continue
			}
			closeDoors(opened)
			return nil, refusal(r, err)
		}
		d := &door{row: r, listener: l, closing: make(chan struct{}), left: make(chan struct{})}
		d.implicit.Store(r.implicit)
		opened = append(opened, d)
	}
	return opened, nil
}

func (s *Service) listen(r row, gone []*door) (net.Listener, error) {
	if l, err := s.Inherited.listen(r); l != nil || err != nil {
		return l, err
	}
	if r.path != "" {
		mode := fs.FileMode(s.SocketMode)
		if mode == 0 {
			mode = 0o660
		}
		return ListenUnix(r.path, mode)
	}
	kind := "tcp4"
	if r.addr.Addr().Is6() && !r.addr.Addr().Is4In6() {
		kind = "tcp6"
	}
	config := keepAlive()
	l, err := config.Listen(context.Background(), kind, r.addr.String())
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	// A change from 0.0.0.0:110 to 127.0.0.1:110: our own door is in the way, and
	// it must not close before the new one is open.
	for _, d := range gone {
		if d.row.path == "" && d.actual().Port() == r.addr.Port() && shareAddress(d.listener) == nil {
			shared := net.ListenConfig{Control: sharedAddress}
			if l, again := shared.Listen(context.Background(), kind, r.addr.String()); again == nil {
				return l, nil
			}
		}
	}
	return nil, err
}

func noIPv6(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// refusal says why an address cannot be opened.
func refusal(r row, err error) error {
	kind, reason := mail.KindUnavailable, "it cannot be opened"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		kind, reason = mail.KindInUse, "it is in use by another program or service"
	case errors.Is(err, fs.ErrPermission):
		kind, reason = mail.KindNoPermission, "it is not permitted"
		if r.path == "" && r.addr.Port() < 1024 {
			reason = "it is not permitted; a port below 1024 needs the right CAP_NET_BIND_SERVICE"
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		kind, reason = mail.KindBadArgument, "it is not an address of this host"
	case errors.Is(err, syscall.EAFNOSUPPORT):
		kind, reason = mail.KindBadArgument, "this host does not have that kind of address"
	case errors.Is(err, fs.ErrNotExist):
		kind, reason = mail.KindBadArgument, "its folder does not exist"
	}
	return &mail.Error{Kind: kind, Text: fmt.Sprintf("%s: %s.", r, reason), Cause: err}
}
