package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/stopwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// echo greets, answers every line, and logs in who says so.
func echo(ctx context.Context, c *Conn) {
	r := bufio.NewReader(c)
	say := func(s string) { io.WriteString(c, s+"\r\n") }
	say("hello")
	for {
		c.Phase(Idle)
		line, err := r.ReadString('\n')
		if err != nil {
			var e *mail.Error
			if errors.As(err, &e) {
				say("bye " + e.Text)
			}
			return
		}
		switch line = strings.TrimSpace(line); line {
		case "login":
			if err := c.SetUser(1, "alice"); err != nil {
				say("no " + mail.TextOf(err))
				continue
			}
		case "panic":
			panic("on demand")
		case "quit":
			say("bye")
			return
		case "starttls":
			if c.StartTLS(ctx, "begin\r\n", r.Buffered()) != nil {
				return
			}
			r = bufio.NewReader(c)
			continue
		}
		say(line)
	}
}

func values(t *testing.T) *settings.Values {
	t.Helper()
	return settings.Defaults(settings.POP3, "test")
}

type options struct {
	values *settings.Values
	alpn   string
	certs  *Certificates
	log    io.Writer
}

func newService(t *testing.T, o options) *Service {
	t.Helper()
	if o.log == nil {
		o.log = io.Discard
	}
	s := &Service{
		Name: "ECHO", Handle: echo, ALPN: o.alpn, Certificates: o.certs,
		Refuse:   func(err error) string { return "go away: " + mail.TextOf(err) + "\r\n" },
		Settings: func() *settings.Values { return o.values },
		Log:      slog.New(slog.NewTextHandler(o.log, nil)),
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t *testing.T, o options) (*Service, netip.AddrPort) {
	t.Helper()
	s := newService(t, o)
	return s, open(t, s)
}

// open starts a service on a clear port of loopback.
func open(t *testing.T, s *Service) netip.AddrPort {
	t.Helper()
	if err := s.Start(Bindings{Clear: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	return s.Addrs().Clear[0]
}

type peer struct {
	net.Conn
	*bufio.Reader
	t *testing.T
}

func (p *peer) Read(b []byte) (int, error) { return p.Reader.Read(b) }

func dial(t *testing.T, a netip.AddrPort) *peer {
	t.Helper()
	c, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &peer{c, bufio.NewReader(c), t}
}

func (p *peer) want(line string) {
	p.t.Helper()
	got, err := p.ReadString('\n')
	if strings.TrimSpace(got) != line {
		p.t.Fatalf("want %q, got %q (%v)", line, got, err)
	}
}

func (p *peer) ask(line, answer string) {
	p.t.Helper()
	io.WriteString(p.Conn, line+"\r\n")
	p.want(answer)
}

func (p *peer) wantEnd() {
	p.t.Helper()
	if b, err := p.ReadByte(); err == nil || isTimeout(err) {
		p.t.Fatalf("want the end, got %q, %v", b, err)
	}
}

// patience bounds every wait for what is to happen: a busy machine may stand still for seconds.
const patience = 30 * time.Second

// eventually waits for what happens in another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestThousandSilentConnections(t *testing.T) {
	v := settings.MaxConnections.With(values(t), 200)
	s, addr := start(t, options{values: v})
	alice := dial(t, addr)
	alice.want("hello")
	alice.ask("login", "login")
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 1000 {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	stopwatch.Within(t, time.Second, "to greet a new client", func() { dial(t, addr).want("hello") })
	alice.ask("still", "still")
	eventually(t, "the silent ones are gone but 200", func() bool { return len(s.Conns()) <= 200 })
	oldest := conns[familiarAtOnce] // those before are of where alice logged in
	first := bufio.NewReader(oldest)
	oldest.SetReadDeadline(time.Now().Add(patience))
	all, _ := io.ReadAll(first)
	if !strings.Contains(string(all), ErrEvicted.Text) {
		t.Errorf("the oldest was told %q", all)
	}
}

// TestManyWaiting: without a bound on connections those that have not logged in are
// bounded nevertheless, and users are not among them.
func TestManyWaiting(t *testing.T) {
	s := newService(t, options{values: values(t)})
	s.MaxWaiting = 3
	addr := open(t, s)
	alice := dial(t, addr)
	alice.want("hello")
	alice.ask("login", "login")
	var silent []*peer
	for range 3 {
		p := dial(t, addr)
		p.want("hello")
		silent = append(silent, p)
	}
	last := dial(t, addr)
	last.want("hello")
	silent[0].want("bye " + ErrEvicted.Text)
	silent[0].wantEnd()
	silent[1].ask("still", "still")
	alice.ask("still", "still")
	if n := len(s.Conns()); n > 5 {
		t.Error(n)
	}
}

// TestFamiliarMakeRoomLast: a storm of strangers pushes each other out, and nobody who
// comes from where somebody logged in; but one such address does not push out all others.
func TestFamiliarMakeRoomLast(t *testing.T) {
	s := newService(t, options{values: values(t)})
	s.MaxWaiting = 40
	addr := open(t, s)
	from := func(ip string) *peer {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		p := &peer{c, bufio.NewReader(c), t}
		p.want("hello")
		return p
	}
	first := from("127.0.0.2")
	first.ask("login", "login")
	second := from("127.0.0.2") // is on its way to log in
	var strangers []*peer
	for i := range 100 {
		strangers = append(strangers, from(fmt.Sprintf("127.0.1.%d", 1+i)))
	}
	second.ask("login", "login")
	strangers[0].want("bye " + ErrEvicted.Text)
	strangers[99].ask("still", "still")

	// 30 more of the familiar address: 16 at once are familiar, the first two have
	// logged in.
	for range 30 {
		from("127.0.0.2")
	}
	for range 30 {
		from("127.0.2.1")
	}
	s.mu.Lock()
	familiar, others := s.waiting.familiar.Len(), s.waiting.strangers.Len()
	s.mu.Unlock()
	if familiar != familiarAtOnce-2 || others != 40-familiar {
		t.Errorf("%d familiar connections and %d others wait", familiar, others)
	}
}

// TestFamiliarAddresses: what is remembered of addresses is bounded.
func TestFamiliarAddresses(t *testing.T) {
	var w waiting
	for i := range 2 * maxFamiliar {
		w.loggedIn(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	w.loggedIn(netip.Addr{})
	if len(w.known) != maxFamiliar || w.logins.Len() != maxFamiliar || w.known[netip.MustParseAddr("10.0.127.255")] == nil {
		t.Errorf("%d addresses in %d places", len(w.known), w.logins.Len())
	}
}

func TestFullOfUsers(t *testing.T) {
	v := settings.MaxConnections.With(values(t), 2)
	s, addr := start(t, options{values: v})
	a, b := dial(t, addr), dial(t, addr)
	for _, p := range []*peer{a, b} {
		p.want("hello")
		p.ask("login", "login")
	}
	c := dial(t, addr)
	c.want("go away: Too many connections.")
	c.wantEnd()
	if s.Refused() != 1 {
		t.Error(s.Refused())
	}
	a.ask("quit", "bye")
	eventually(t, "a place is free", func() bool { return len(s.Conns()) == 1 })
	d := dial(t, addr)
	d.want("hello")
	b.ask("x", "x")
}

// TestRefusalUnderTLS: a client of an SSL binding hears the protocol's word too.
func TestRefusalUnderTLS(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	s := newService(t, options{values: settings.MaxConnectionFromSingleIP.With(values(t), 1), certs: certs})
	if err := s.Start(Bindings{SSL: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hello", "go away: Too many connections from your address."} {
		c := tls.Client(dial(t, s.Addrs().SSL[0]).Conn, &tls.Config{RootCAs: pool, ServerName: "mail.test"})
		p := &peer{c, bufio.NewReader(c), t}
		p.want(want)
	}
}

func TestLimitsPerAddressAndUser(t *testing.T) {
	v := settings.MaxConnectionFromSingleIP.With(settings.MaxConnectionsPerUser.With(values(t), 1), 2)
	s, addr := start(t, options{values: v})
	a, b := dial(t, addr), dial(t, addr)
	a.want("hello")
	b.want("hello")
	c := dial(t, addr)
	c.want("go away: Too many connections from your address.")
	a.ask("login", "login")
	a.ask("login", "login") // the same user again is not counted twice
	b.ask("login", "no Too many connections of this user.")
	a.Close()
	eventually(t, "a left", func() bool { return len(s.Conns()) == 1 })
	b.ask("login", "login")
	if account, name := s.Conns()[0].User(); account != 1 || name != "alice" {
		t.Error(account, name)
	}
	b.Close()
	eventually(t, "nothing leaks", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns)+len(s.perAddress)+len(s.perUser)+s.waiting.len()+s.count == 0
	})
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:1":               "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:1":  "2001:db8:1:2::",
		"[fe80::1%eth0]:1":          "fe80::",
		"[2001:db8:1:2:ffff::1]:22": "2001:db8:1:2::",
	} {
		if got := network(netip.MustParseAddrPort(in)); got.String() != want {
			t.Error(in, got)
		}
	}
	if network(netip.AddrPort{}).IsValid() {
		t.Error("a Unix socket has no network")
	}
}

func TestRebindKeepsSessions(t *testing.T) {
	s, addr := start(t, options{values: values(t)})
	p := dial(t, addr)
	p.want("hello")
	other := netip.MustParseAddrPort("127.0.0.2:0")
	if err := s.Apply(Bindings{Clear: []netip.AddrPort{other}}); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error("the old address still answers", err)
	}
	dial(t, s.Addrs().Clear[0]).want("hello")
	p.ask("still here", "still here")
	if err := s.Apply(Bindings{Clear: []netip.AddrPort{other}}); err != nil || len(s.Addrs().Clear) != 1 {
		t.Error(err, s.Addrs())
	}
}

func TestRebindBetweenWildcardAndAddress(t *testing.T) {
	s, addr := start(t, options{values: values(t)})
	wild := netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	six := netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
	for _, b := range [][]netip.AddrPort{{wild}, {wild, six}, {addr, six}, {addr}} {
		if err := s.Apply(Bindings{Clear: b}); err != nil {
			t.Fatal(b, err)
		}
		dial(t, addr).want("hello")
	}
	// Nobody else shares the port afterwards.
	if l, err := net.Listen("tcp4", addr.String()); err == nil {
		l.Close()
		t.Error("the port is free for others")
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := taken.Addr().(*net.TCPAddr).AddrPort()
	s, addr := start(t, options{values: values(t)})
	before := s.Addrs()
	for _, b := range []Bindings{
		{Clear: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.3:0"), used}},
		{Clear: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:2525")}},
		{Clear: []netip.AddrPort{loopback}, SSL: []netip.AddrPort{loopback}},
		{Unix: []string{filepath.Join(t.TempDir(), "missing", "sock")}},
	} {
		err := s.Apply(b)
		var e *mail.Error
		if !errors.As(err, &e) {
			t.Fatal(b, err)
		}
		t.Log(e.Text)
	}
	if err := s.Apply(Bindings{Clear: []netip.AddrPort{used}}); mail.KindOf(err) != mail.KindInUse || !strings.Contains(mail.TextOf(err), used.String()) {
		t.Error(err)
	}
	if after := s.Addrs(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("a refused change changed", before, after)
	}
	dial(t, addr).want("hello")

	_, cancel, err := s.Prepare(Bindings{Clear: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.9:0")}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if after := s.Addrs(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("a cancelled change changed", before, after)
	}
}

func TestApplyWhileStopped(t *testing.T) {
	s, addr := start(t, options{values: values(t)})
	if err := s.Start(Bindings{}); mail.KindOf(err) != mail.KindConflict {
		t.Error(err)
	}
	if err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(Bindings{Clear: []netip.AddrPort{addr}}); err != nil {
		t.Error(err)
	}
	if a := s.Addrs(); len(a.Clear) != 0 || s.Running() {
		t.Error("it was only tried", a)
	}
	if err := s.Start(Bindings{Clear: []netip.AddrPort{addr}}); err != nil {
		t.Fatal(err)
	}
	dial(t, addr).want("hello")
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	// A socket that a killed server left behind.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	s := newService(t, options{values: values(t)})
	if err := s.Start(Bindings{Unix: []string{path}}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Error(info.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &peer{c, bufio.NewReader(c), t}
	p.want("hello")
	second := newService(t, options{values: values(t)})
	if err := second.Start(Bindings{Unix: []string{path}}); mail.KindOf(err) != mail.KindInUse {
		t.Error("a socket that answers was taken over", err)
	}
	p.ask("x", "x")
}

func TestDrain(t *testing.T) {
	s := newService(t, options{values: values(t)})
	busy := make(chan struct{})
	inner := s.Handle
	var first sync.Once
	s.Handle = func(ctx context.Context, c *Conn) {
		stuck := false
		first.Do(func() { stuck = true })
		if !stuck {
			inner(ctx, c)
			return
		}
		close(busy)
		<-ctx.Done()
	}
	if err := s.Start(Bindings{Clear: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	addr := s.Addrs().Clear[0]
	dial(t, addr)
	<-busy
	idle := dial(t, addr)
	idle.want("hello")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Stop(ctx) }()
	idle.want("bye " + ErrDraining.Text)
	idle.wantEnd()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(s.Conns()) != 0 {
		t.Error("sessions are left")
	}
}

func TestPanicEndsOneSession(t *testing.T) {
	var log strings.Builder
	s, addr := start(t, options{values: values(t), log: &log})
	other := dial(t, addr)
	other.want("hello")
	p := dial(t, addr)
	p.want("hello")
	io.WriteString(p.Conn, "panic\r\n")
	p.wantEnd()
	eventually(t, "it is counted", func() bool { return len(s.Conns()) == 1 })
	other.ask("x", "x")
	if s.Panics() != 1 || !strings.Contains(log.String(), "service_test.go") {
		t.Error(s.Panics(), log.String())
	}
}

// TestPanicWhileRefusing: so does one in telling a client that it cannot come in.
func TestPanicWhileRefusing(t *testing.T) {
	s := newService(t, options{values: settings.MaxConnectionFromSingleIP.With(values(t), 1)})
	s.Refuse = func(error) string { panic("on demand") }
	addr := open(t, s)
	p := dial(t, addr)
	p.want("hello")
	dial(t, addr).wantEnd()
	p.ask("x", "x")
	eventually(t, "it is counted", func() bool { return s.Panics() == 1 })
}

func TestEnd(t *testing.T) {
	s, addr := start(t, options{values: values(t)})
	p := dial(t, addr)
	p.want("hello")
	s.Conns()[0].End(ErrEnded)
	p.want("bye " + ErrEnded.Text)
	p.wantEnd()
}

// failing accepts with an error first.
type failing struct {
	net.Listener
	left atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, syscall.EMFILE
	}
	return f.Listener.Accept()
}

func TestAcceptGoesOnAfterErrors(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, options{values: values(t)})
	f := &failing{Listener: l}
	f.left.Store(3)
	d := &door{listener: f, closing: make(chan struct{}), left: make(chan struct{})}
	s.setRunning(true)
	s.binding.Lock()
	s.enter([]*door{d})
	s.binding.Unlock()
	dial(t, addrPort(l.Addr())).want("hello")
	// When files are used up, who has not logged in makes room.
	alice := dial(t, addrPort(l.Addr()))
	alice.want("hello")
	alice.ask("login", "login")
	silent := dial(t, addrPort(l.Addr()))
	silent.want("hello")
	f.left.Store(3)
	dial(t, addrPort(l.Addr())).want("hello") // the Accept that waits for it goes on
	dial(t, addrPort(l.Addr())).want("hello")
	silent.want("bye " + ErrEvicted.Text)
	alice.ask("still", "still")
}

func TestAttend(t *testing.T) {
	t.Run("clear", func(t *testing.T) { testAttend(t, false) })
	t.Run("TLS", func(t *testing.T) { testAttend(t, true) })
}

func testAttend(t *testing.T, implicit bool) {
	certs, pool := newCertificates(t, "mail.test")
	gone := make(chan error, 1)
	var got atomic.Value
	s := newService(t, options{values: values(t), certs: certs})
	s.Handle = func(ctx context.Context, c *Conn) {
		watched, done := c.Attend(ctx)
		time.Sleep(20 * time.Millisecond)
		done()
		if ctx.Err() != nil || watched == ctx {
			t.Error("the connection's context ended")
		}
		b := make([]byte, 10)
		n, _ := io.ReadFull(c, b[:5])
		got.Store(string(b[:n]))
		watched, done = c.Attend(ctx)
		defer done()
		io.WriteString(c, "ready\r\n")
		<-watched.Done()
		gone <- context.Cause(watched)
	}
	if err := s.Start(Bindings{Clear: []netip.AddrPort{loopback}, SSL: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	p := dial(t, s.Addrs().Clear[0])
	if implicit {
		c := tls.Client(dial(t, s.Addrs().SSL[0]).Conn, &tls.Config{RootCAs: pool, ServerName: "mail.test"})
		p = &peer{c, bufio.NewReader(c), t}
	}
	io.WriteString(p.Conn, "12345")
	p.want("ready")
	if got.Load() != "12345" {
		t.Error(got.Load())
	}
	p.Close()
	if err := <-gone; err == nil {
		t.Error("no cause")
	}
}

// TestAttendShort: work that ends before, when and after its watch begins leaves the
// connection as it was.
func TestAttendShort(t *testing.T) {
	s := newService(t, options{values: values(t)})
	s.Handle = func(ctx context.Context, c *Conn) {
		for i := range 40 {
			watched, done := c.Attend(ctx)
			time.Sleep(attendAfter / 20 * time.Duration(i))
			if watched.Err() != nil {
				t.Error(context.Cause(watched))
			}
			done()
			c.Phase(Command)
			var b [1]byte
			io.WriteString(c, "?\r\n")
			if _, err := io.ReadFull(c, b[:]); err != nil {
				t.Error(i, err)
				return
			}
		}
		io.WriteString(c, "done\r\n")
	}
	p := dial(t, open(t, s))
	for range 40 {
		p.want("?")
		io.WriteString(p.Conn, "x")
	}
	p.want("done")
}

// TestPart: after the answer to QUIT nobody waits for the client, unless it sent more.
func TestPart(t *testing.T) {
	s := newService(t, options{values: values(t)})
	s.Handle = func(ctx context.Context, c *Conn) {
		r := bufio.NewReader(c)
		r.ReadString('\n')
		io.WriteString(c, "bye\r\n")
		c.Part(r.Buffered())
	}
	addr := open(t, s)
	part := func(behind string) {
		p := dial(t, addr)
		io.WriteString(p.Conn, "quit\r\n"+behind)
		p.want("bye")
		if rest, err := io.ReadAll(p.Reader); err != nil || len(rest) > 0 {
			t.Errorf("%q: %q, %v", behind, rest, err)
		}
		eventually(t, "the connection ends", func() bool { return len(s.Conns()) == 0 })
	}
	stopwatch.Within(t, lingerTimeout/2, "to part from who said QUIT", func() { part("") })
	began := time.Now()
	if part("more"); time.Since(began) < lingerTimeout/2 {
		t.Errorf("who sent more was waited for no longer than %v", time.Since(began))
	}
}

// TestServiceTLS is the whole of TLS for one connection; tls_test.go has the rest.
func TestServiceTLS(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	s := newService(t, options{values: values(t), certs: certs})
	if err := s.Start(Bindings{SSL: []netip.AddrPort{loopback}, Clear: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	c := tls.Client(dial(t, s.Addrs().SSL[0]).Conn, &tls.Config{RootCAs: pool, ServerName: "mail.test"})
	p := &peer{c, bufio.NewReader(c), t}
	p.want("hello")
	p.ask("x", "x")
	conn := s.Conns()[0]
	if conn.TLS() == nil || conn.Certificate() == nil || conn.CanStartTLS() {
		t.Error("TLS is not told of")
	}
	eventually(t, "the bytes are counted", func() bool {
		in, out := conn.Bytes()
		return in == 3 && out == int64(len("hello\r\nx\r\n"))
	})
}
