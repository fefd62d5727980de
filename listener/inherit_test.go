package listener

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// socket opens a listening socket as systemd would and gives its file.
func socket(t *testing.T, kind, address string) (*os.File, net.Addr) {
	t.Helper()
	l, err := net.Listen(kind, address)
	if err != nil {
		t.Skip(err) // a host without IPv6
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return f, l.Addr()
}

// TestInherited: a binding whose address somebody opened already is served on that
// socket, also after a stop, and one that nobody opened is opened.
func TestInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	tcp, addr := socket(t, "tcp4", "127.0.0.1:0")
	unix, _ := socket(t, "unix", path)
	other, otherAddr := socket(t, "tcp4", "127.0.0.1:0")
	i, err := Inherit([]*os.File{tcp, unix, other})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	s := &Service{Name: "TEST", Inherited: i, Handle: func(_ context.Context, c *Conn) { io.WriteString(c, "hello") }}
	here := addr.(*net.TCPAddr).AddrPort()
	b := Bindings{Clear: []netip.AddrPort{here, netip.MustParseAddrPort("127.0.0.1:0")}, Unix: []string{path}}
	hears := func(network, address string) {
		t.Helper()
		c, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if text, err := io.ReadAll(c); err != nil || string(text) != "hello" {
			t.Errorf("%q, %v", text, err)
		}
	}
	for range 2 {
		if err := s.Start(b); err != nil {
			t.Fatal(err)
		}
		hears("tcp", here.String())
		hears("unix", path)
		if a := s.Addrs(); len(a.Clear) != 2 || a.Clear[0] != here || a.Unix[0] != path {
			t.Error(a)
		}
		hears("tcp", s.Addrs().Clear[1].String())
		other := &Service{Name: "OTHER", Inherited: i, Handle: s.Handle}
		if err := other.Start(Bindings{Clear: b.Clear[:1]}); mail.KindOf(err) != mail.KindInUse {
			t.Error("two services at one address:", err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever comes meanwhile is served when the service starts again.
	early, err := net.Dial("tcp", here.String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if err := s.Start(b); err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(early); string(text) != "hello" {
		t.Errorf("%q", text)
	}
	if err := s.Apply(Bindings{Clear: b.Clear[:1]}); err != nil {
		t.Fatal(err)
	}
	hears("tcp", here.String())
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the socket's file belongs to who made it:", err)
	}
	if left := i.Unused([]Bindings{b}); !slices.Equal(left, []string{other.Name() + " (" + otherAddr.String() + ")"}) {
		t.Error(left)
	}
}

// TestInheritedDual: systemd's [::] may take IPv4 as well; then 0.0.0.0 needs no
// socket of its own.
func TestInheritedDual(t *testing.T) {
	f, a := socket(t, "tcp", "[::]:0") // dual where the system has both
	i, err := Inherit([]*os.File{f})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if !i.sockets[0].dual {
		t.Skip("this host makes no such sockets")
	}
	s := &Service{Name: "TEST", Inherited: i, Handle: func(_ context.Context, c *Conn) { io.WriteString(c, c.Remote().Addr().String()) }}
	port := uint16(a.(*net.TCPAddr).Port)
	six, four := netip.AddrPortFrom(netip.IPv6Unspecified(), port), netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	if err := s.Start(Bindings{Clear: []netip.AddrPort{four, six}}); err != nil {
		t.Fatal(err)
	}
	defer s.Stop(context.Background())
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if text, _ := io.ReadAll(c); string(text) != "127.0.0.1" {
		t.Errorf("%q", text)
	}
}

func TestInheritNoSocket(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "f")
	if err != nil {
		t.Fatal(err)
	}
	good, _ := socket(t, "tcp4", "127.0.0.1:0")
	if _, err := Inherit([]*os.File{good, f}); mail.KindOf(err) != mail.KindBadArgument {
		t.Error(err)
	}
	if _, err := good.Stat(); err == nil {
		t.Error("a file is left open")
	}
	var none *Inherited
	none.Close()
	if none.Unused(nil) != nil {
		t.Error("something of nothing")
	}
}
