package listener

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/postern-mail/postern/mail"
)

// Inherited are listening sockets that whoever started the process opened: systemd's
// socket activation. A Service takes the one that has the address of a binding
// instead of opening it. The socket itself stays open when the binding is closed, as
// it does in systemd: clients then wait until the binding is opened again. Its
// methods may be called from any goroutine; nil has no sockets.
type Inherited struct{ sockets []*inherited }

type inherited struct {
	name string // FileDescriptorName
	file *os.File
	addr netip.AddrPort // zero for a Unix socket
	path string
	dual bool // [::] that takes IPv4 too

	taken atomic.Bool
}

// Inherit takes listening sockets, each file named as systemd names it. A file that
// is none is KindBadArgument, and all are closed.
func Inherit(files []*os.File) (*Inherited, error) {
	i := &Inherited{}
	for _, f := range files {
		i.sockets = append(i.sockets, &inherited{name: f.Name(), file: f})
	}
	for _, s := range i.sockets {
		l, err := net.FileListener(s.file)
		if err != nil {
			i.Close()
			return nil, &mail.Error{Kind: mail.KindBadArgument, Text: "The inherited file " + s.name + " is not a listening socket.", Cause: err}
		}
		if u, ok := l.Addr().(*net.UnixAddr); ok {
			s.path = u.Name
		} else {
			s.addr = addrPort(l.Addr())
			s.dual = s.addr.Addr() == netip.IPv6Unspecified() && takesIPv4(l)
		}
		l.Close()
	}
	return i, nil
}

// takesIPv4 tells whether an IPv6 socket takes IPv4 connections too.
func takesIPv4(l net.Listener) bool {
	c, ok := l.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	only := 1
	err = raw.Control(func(fd uintptr) {
		if v, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY); err == nil {
			only = v
		}
	})
	return err == nil && only == 0
}

// listen gives a listener of the socket with the row's address, nil when there is
// none. One at a time has it, as if it had been opened: two services never share an
// address.
func (i *Inherited) listen(r row) (net.Listener, error) {
	if i == nil {
		return nil, nil
	}
	for _, s := range i.sockets {
		if !s.has(r) {
			continue
		}
		if !s.taken.CompareAndSwap(false, true) {
			return nil, syscall.EADDRINUSE
		}
		l, err := net.FileListener(s.file)
		if err != nil {
			s.taken.Store(false)
			return nil, err
		}
		return &taken{Listener: l, release: sync.OnceFunc(func() { s.taken.Store(false) })}, nil
	}
	return nil, nil
}

func (s *inherited) has(r row) bool {
	if r.path != "" {
		return s.path == r.path
	}
	return s.addr == r.addr
}

// taken is a listener that gives its socket back when it is closed.
type taken struct {
	net.Listener
	release func()
}

func (t *taken) Close() error {
	defer t.release()
	return t.Listener.Close()
}

// covers tells whether another row's socket takes the row's connections: [::]:110
// those of 0.0.0.0:110, when systemd opened it so.
func (i *Inherited) covers(r row, rows []row) bool {
	if i == nil || r.path != "" || r.addr.Addr() != netip.IPv4Unspecified() {
		return false
	}
	for _, s := range i.sockets {
		if !s.dual || s.addr.Port() != r.addr.Port() {
			continue
		}
		for _, other := range rows {
			if other.addr == s.addr && other.implicit == r.implicit {
				return true
			}
		}
	}
	return false
}

// Unused names those that no binding has: bindings are what is configured.
func (i *Inherited) Unused(bindings []Bindings) []string {
	if i == nil {
		return nil
	}
	used := func(s *inherited) bool {
		for _, b := range bindings {
			if slices.ContainsFunc(b.rows(), s.has) {
				return true
			}
		}
		return false
	}
	var names []string
	for _, s := range i.sockets {
		if !used(s) {
			where := s.path
			if where == "" {
				where = s.addr.String()
			}
			names = append(names, s.name+" ("+where+")")
		}
	}
	return names
}

// Close closes them, when the services have stopped.
func (i *Inherited) Close() {
	if i == nil {
		return
	}
	for _, s := range i.sockets {
		s.file.Close()
	}
}
