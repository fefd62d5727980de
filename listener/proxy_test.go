package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/stopwatch"
)

var loop = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// header2 is a header of version 2.
func header2(t testing.TB, client string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client)))
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	raw, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// overTLS says that the client came with TLS.
var overTLS = proxyproto.TLV{Type: proxyproto.PP2_TYPE_SSL, Value: append([]byte{1, 0, 0, 0, 0, byte(proxyproto.PP2_SUBTYPE_SSL_VERSION), 0, 7}, "TLSv1.3"...)}

const header1 = "PROXY TCP4 198.51.100.7 192.0.2.1 4711 143\r\n"

// TestProxyHeader reads headers, good and bad, in one piece and byte by byte, and not a
// byte of what stands behind them.
func TestProxyHeader(t *testing.T) {
	local := proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	health, err := local.Format()
	if err != nil {
		t.Fatal(err)
	}
	long := append(bytes.Clone(proxyproto.SIGV2), 0x21, 0x11, 0xff, 0xff)
	datagram := header2(t, "198.51.100.7:1")
	datagram[13] = 0x12
	unix := append(append(bytes.Clone(proxyproto.SIGV2), 0x21, 0x31, 0, 216), make([]byte, 216)...)
	for _, c := range []struct {
		raw, client string
		tls, bad    bool
	}{
		{header1, "198.51.100.7:4711", false, false},
		{"PROXY TCP6 2001:db8::7 2001:db8::1 4711 143\r\n", "[2001:db8::7]:4711", false, false},
		{"PROXY TCP6 ::ffff:198.51.100.7 2001:db8::1 4711 143\r\n", "198.51.100.7:4711", false, false},
		{"PROXY UNKNOWN\r\n", "", false, false},
		{"PROXY UNKNOWN ffff:f::f ffff:f::f 65535 65535\r\n", "", false, false},
		{string(header2(t, "198.51.100.7:4711")), "198.51.100.7:4711", false, false},
		{string(header2(t, "[2001:db8::7]:4711")), "[2001:db8::7]:4711", false, false},
		{string(header2(t, "198.51.100.7:4711", overTLS)), "198.51.100.7:4711", true, false},
		{string(health), "", false, false},
		{"PROXY TCP4 198.51.100.7 192.0.2.1 4711\r\n", "", false, true},
		{"PROXY TCP4 0.0.0.0 192.0.2.1 4711 143\r\n", "", false, true},
		{"PROXY TCP4 224.0.0.1 192.0.2.1 4711 143\r\n", "", false, true},
		{"PROXY TCP4 2001:db8::7 192.0.2.1 4711 143\r\n", "", false, true},
		{"PROXY TCP4 198.51.100.7 192.0.2.1 99999 143\r\n", "", false, true},
		{"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", "", false, true},
		{"PROXY UDP4 198.51.100.7 192.0.2.1 4711 143\r\n", "", false, true},
		{"a1 LOGIN alice secret\r\n", "", false, true},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaa", "", false, true},
		{string(long), "", false, true}, {string(datagram), "", false, true}, {string(unix), "", false, true},
	} {
		for _, step := range []int{1, 3, len(c.raw) + 100} {
			rest := &chopped{text: c.raw + "behind", step: step}
			h, err := readProxyHeader(rest)
			if c.bad {
				if err == nil {
					t.Errorf("%q is taken: %+v", c.raw, h)
				}
				continue
			}
			want := netip.AddrPort{}
			if c.client != "" {
				want = netip.MustParseAddrPort(c.client)
			}
			if err != nil || h.client != want || h.tls != c.tls || rest.text != "behind" {
				t.Errorf("%q in steps of %d: %+v, %v; left %q", c.raw, step, h, err, rest.text)
			}
		}
		for n := range len(c.raw) {
			if _, err := readProxyHeader(strings.NewReader(c.raw[:n])); err == nil {
				t.Errorf("%q is taken as a whole header", c.raw[:n])
			}
		}
	}
}

// chopped gives its text in small steps.
type chopped struct {
	text string
	step int
}

func (c *chopped) Read(p []byte) (int, error) {
	if c.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.step)], c.text)
	c.text = c.text[n:]
	return n, nil
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte(header1))
	f.Add(header2(f, "198.51.100.7:4711", overTLS))
	f.Add(header2(f, "[2001:db8::7]:4711"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		h, err := readProxyHeader(r)
		if read := len(raw) - r.Len(); read > proxyFixed+proxyMost {
			t.Errorf("%d bytes are read", read)
		}
		if err != nil {
			return
		}
		if a := h.client.Addr(); a.Is4In6() || a.IsValid() && (a.IsUnspecified() || a.IsMulticast()) {
			t.Errorf("%v is a client", h.client)
		}
		if bytes.HasPrefix(raw, proxyproto.SIGV2) && len(raw)-r.Len() != proxyFixed+int(binary.BigEndian.Uint16(raw[proxyFixed-2:])) {
			t.Error("it is not read whole")
		}
	})
}

// proxied starts a service whose clients come through load balancers on loopback.
func proxied(t *testing.T, o options) (*Service, netip.AddrPort, chan *Conn) {
	t.Helper()
	if o.values == nil {
		o.values = values(t)
	}
	o.values = settings.ProxyProtocolNetworks.With(o.values, loop)
	s := newService(t, o)
	conns := make(chan *Conn, 10)
	s.Handle = func(ctx context.Context, c *Conn) {
		conns <- c
		echo(ctx, c)
	}
	return s, open(t, s), conns
}

// send dials and sends at once.
func send(t *testing.T, a netip.AddrPort, text string) *peer {
	t.Helper()
	p := dial(t, a)
	if _, err := io.WriteString(p.Conn, text); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestProxyProtocol: behind a load balancer the client's address is the one of everything,
// and the balancer's is remembered.
func TestProxyProtocol(t *testing.T) {
	for _, header := range []string{header1, string(header2(t, "198.51.100.7:4711"))} {
		_, a, conns := proxied(t, options{})
		p := send(t, a, header+"one\r\n")
		p.want("hello")
		p.want("one")
		c := <-conns
		if c.Remote().String() != "198.51.100.7:4711" || c.RemoteAddr().String() != "198.51.100.7:4711" || c.Proxy() != addrPort(p.LocalAddr()) || c.TLS() != nil {
			t.Errorf("%v %v %v %v", c.Remote(), c.RemoteAddr(), c.Proxy(), c.TLS())
		}
		if !strings.HasPrefix(c.ProxyDetail(), "Proxy=127.0.0.1:") {
			t.Error(c.ProxyDetail())
		}
		p.ask("quit", "bye")
		p.wantEnd()
		// A health check has the balancer's own address.
		p = send(t, a, "PROXY UNKNOWN\r\n")
		p.want("hello")
		if c := <-conns; c.Remote() != addrPort(p.LocalAddr()) || c.Proxy().IsValid() {
			t.Errorf("%v %v", c.Remote(), c.Proxy())
		}
	}
}

// TestProxyProtocolRequired: from a load balancer a header must come, and soon; from
// elsewhere it is none.
func TestProxyProtocolRequired(t *testing.T) {
	s, a, _ := proxied(t, options{})
	for _, text := range []string{"a1 NOOP and a few more bytes\r\n", "PROXY nonsense and more\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"} {
		send(t, a, text).wantEnd()
	}
	if s.Refused() != 3 {
		t.Errorf("%d refused", s.Refused())
	}
	elsewhere := settings.ProxyProtocolNetworks.With(values(t), []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	_, a = start(t, options{values: elsewhere})
	p := send(t, a, header1)
	p.want("hello")
	p.want(strings.TrimSpace(header1)) // a command like another
}

// TestProxyProtocolLimits: MaxConnectionFromSingleIP is of the clients, not of the load
// balancer.
func TestProxyProtocolLimits(t *testing.T) {
	s, a, _ := proxied(t, options{values: settings.MaxConnectionFromSingleIP.With(values(t), 2)})
	for _, client := range []string{"198.51.100.7", "198.51.100.7", "198.51.100.8", "198.51.100.8"} {
		send(t, a, "PROXY TCP4 "+client+" 192.0.2.1 4711 143\r\n").want("hello")
	}
	send(t, a, header1).want("go away: Too many connections from your address.")
	eventually(t, "four are open", func() bool { return len(s.Conns()) == 4 })
}

// TestProxyProtocolTLS: that the client came with TLS counts where a setting says so, and
// gives nothing to bind to.
func TestProxyProtocolTLS(t *testing.T) {
	certs, _ := newCertificates(t, "mail.example.org")
	for _, trusted := range []bool{false, true} {
		_, a, conns := proxied(t, options{values: settings.ProxyProtocolTls.With(values(t), trusted), certs: certs})
		for _, header := range [][]byte{header2(t, "198.51.100.7:1"), header2(t, "198.51.100.7:1", overTLS)} {
			send(t, a, string(header)).want("hello")
			c := <-conns
			encrypted := trusted && len(header) > 28
			if (c.TLS() != nil) != encrypted || c.CanStartTLS() == encrypted || c.Certificate() != nil || c.ClientCertificate() != nil {
				t.Errorf("trusted %v: %+v, %v", trusted, c.TLS(), c.CanStartTLS())
			}
			if state := c.TLS(); state != nil && state.Version != 0 {
				t.Errorf("version %x", state.Version)
			}
			if version, _ := c.TLSNames(); encrypted && version != "TLSv1.3 at the proxy" {
				t.Error(version)
			}
		}
	}
}

// TestProxyProtocolSSL: TLS from the first byte comes behind the header.
func TestProxyProtocolSSL(t *testing.T) {
	certs, pool := newCertificates(t, "mail.example.org")
	s := newService(t, options{values: settings.ProxyProtocolNetworks.With(values(t), loop), certs: certs})
	conns := make(chan *Conn, 1)
	s.Handle = func(ctx context.Context, c *Conn) { conns <- c; echo(ctx, c) }
	if err := s.Start(Bindings{SSL: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	p := send(t, s.Addrs().SSL[0], string(header2(t, "[2001:db8::7]:4711")))
	session := tls.Client(p.Conn, &tls.Config{RootCAs: pool, ServerName: "mail.example.org"})
	if _, err := io.WriteString(session, "quit\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(session)
	if string(got) != "hello\r\nbye\r\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if c := <-conns; c.Remote().String() != "[2001:db8::7]:4711" || c.TLS() == nil || c.TLS().Version != tls.VersionTLS13 {
		t.Errorf("%v %v", c.Remote(), c.TLS())
	}
}

// TestProxyProtocolSlow: whoever waits with the header is closed in time, and with the
// service.
func TestProxyProtocolSlow(t *testing.T) {
	s, a, _ := proxied(t, options{})
	stopwatch.Within(t, 3*time.Second, "to end with the service", func() {
		p := send(t, a, header1[:20])
		stopped := make(chan error, 1)
		time.AfterFunc(200*time.Millisecond, func() { stopped <- s.Stop(context.Background()) })
		p.wantEnd()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if err := s.Start(Bindings{Clear: []netip.AddrPort{loopback}}); err != nil {
			t.Fatal(err)
		}
		a = s.Addrs().Clear[0]
	})
	stopwatch.Within(t, proxyTimeout+3*time.Second, "to wait for a header", func() {
		began := time.Now()
		send(t, a, header1[:30]).wantEnd()
		if took := time.Since(began); took < proxyTimeout-time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestProxyProtocolEvent: a load balancer that says nothing is told of once, one that only
// looks at the port not at all.
func TestProxyProtocolEvent(t *testing.T) {
	var log strings.Builder
	s, a, _ := proxied(t, options{log: &log})
	dial(t, a).Close()
	for range 3 {
		send(t, a, "a1 NOOP and a few more bytes\r\n").wantEnd()
	}
	eventually(t, "they are counted", func() bool { return s.Refused() == 4 })
	s.Stop(context.Background())
	if n := strings.Count(log.String(), event.NoProxyHeader.Text); n != 1 {
		t.Errorf("%d events: %s", n, log.String())
	}
}

// TestForward: a proxy of XClientNetworks says for whom it speaks, once, before the login;
// everything else goes by that address, and nobody else is believed.
func TestForward(t *testing.T) {
	v := settings.MaxConnectionFromSingleIP.With(settings.XClientNetworks.With(values(t), loop), 2)
	s := newService(t, options{values: v})
	conns := make(chan *Conn, 10)
	s.Handle = func(ctx context.Context, c *Conn) { conns <- c; echo(ctx, c) }
	a := open(t, s)
	client := netip.MustParseAddrPort("198.51.100.7:4711")
	connect := func() *Conn {
		dial(t, a).want("hello")
		return <-conns
	}
	for range 2 {
		c := connect()
		if !c.MayForward() {
			t.Fatal("not believed")
		}
		if err := c.Forward(client, "abc\x1b"); err != nil || c.Remote() != client || c.Proxy().Addr().String() != "127.0.0.1" || c.MayForward() {
			t.Errorf("%v %v %v", err, c.Remote(), c.Proxy())
		}
		if !strings.HasSuffix(c.ProxyDetail(), `;ProxySession=abc\x1b`) {
			t.Errorf("%q", c.ProxyDetail())
		}
		if err := c.Forward(netip.MustParseAddrPort("198.51.100.8:1"), ""); mail.KindOf(err) != mail.KindCannot || c.Remote() != client {
			t.Errorf("twice: %v", err)
		}
	}
	// The client has its two; the proxy itself is not counted.
	third := connect()
	if err := third.Forward(client, ""); mail.KindOf(err) != mail.KindLimit || third.Remote() == client {
		t.Error(err)
	}
	for _, bad := range []string{"0.0.0.0:1", "224.0.0.1:1", "[fe80::1%eth0]:1"} {
		if err := third.Forward(netip.MustParseAddrPort(bad), ""); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
	connect()
	connect()
	fourth := connect()
	if err := fourth.SetUser(1, "alice"); err != nil || fourth.MayForward() {
		t.Errorf("after the login: %v", err)
	}
	for _, c := range s.Conns() {
		c.End(ErrEnded)
	}
	eventually(t, "nothing is counted", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0 && len(s.perAddress) == 0
	})
}

// TestForwardForgotten: what was said before STARTTLS could be anybody's.
func TestForwardForgotten(t *testing.T) {
	certs, pool := newCertificates(t, "mail.example.org")
	s := newService(t, options{values: settings.XClientNetworks.With(values(t), loop), certs: certs})
	conns := make(chan *Conn, 1)
	s.Handle = func(ctx context.Context, c *Conn) {
		if err := c.Forward(netip.MustParseAddrPort("198.51.100.7:4711"), ""); err != nil {
			t.Error(err)
		}
		conns <- c
		echo(ctx, c)
	}
	p := dial(t, open(t, s))
	p.want("hello")
	p.ask("starttls", "begin")
	session := tls.Client(p.Conn, &tls.Config{RootCAs: pool, ServerName: "mail.example.org"})
	if _, err := io.WriteString(session, "quit\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(session); err != nil {
		t.Error(err)
	}
	if c := <-conns; c.Remote() != addrPort(p.LocalAddr()) || c.Proxy().IsValid() {
		t.Errorf("%v through %v", c.Remote(), c.Proxy())
	}
}
