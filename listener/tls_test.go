package listener

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/stopwatch"
)

// pair makes a certificate that is its own authority.
func pair(t *testing.T, life time.Duration, hosts ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(life),
		DNSNames: hosts, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newCertificates(t *testing.T, hosts ...string) (*Certificates, *x509.CertPool) {
	t.Helper()
	var certs Certificates
	if err := certs.Set(pair(t, time.Hour, hosts...)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certs.Leaves()[0])
	return &certs, pool
}

// handshake connects and gives the session's state.
func handshake(t *testing.T, addr netip.AddrPort, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	session := tls.Client(dial(t, addr).Conn, c)
	err := session.Handshake()
	if err == nil {
		_, err = bufio.NewReader(session).ReadString('\n') // brings tickets and late alerts
	}
	return session.ConnectionState(), err
}

func startSSL(t *testing.T, o options) (*Service, netip.AddrPort) {
	t.Helper()
	s := newService(t, o)
	if err := s.Start(Bindings{SSL: []netip.AddrPort{loopback}}); err != nil {
		t.Fatal(err)
	}
	return s, s.Addrs().SSL[0]
}

func TestALPN(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	_, addr := startSSL(t, options{values: values(t), certs: certs, alpn: "pop3"})
	for _, c := range []struct {
		offer []string
		want  string
		ok    bool
	}{
		{nil, "", true}, {[]string{"pop3"}, "pop3", true}, {[]string{"h2", "pop3"}, "pop3", true},
		{[]string{"imap"}, "", false}, {[]string{"http/1.1"}, "", false}, {[]string{"h2", "http/1.1"}, "", false},
	} {
		st, err := handshake(t, addr, &tls.Config{RootCAs: pool, ServerName: "mail.test", NextProtos: c.offer})
		if (err == nil) != c.ok || st.NegotiatedProtocol != c.want {
			t.Errorf("%v: %q, %v", c.offer, st.NegotiatedProtocol, err)
		}
	}
}

func TestVersionsAndSuites(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	_, addr := startSSL(t, options{values: values(t), certs: certs})
	base := tls.Config{RootCAs: pool, ServerName: "mail.test", MinVersion: tls.VersionTLS10}
	old := base.Clone()
	old.MaxVersion = tls.VersionTLS11
	if _, err := handshake(t, addr, old); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	cbc := base.Clone()
	cbc.MaxVersion = tls.VersionTLS12
	cbc.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	if _, err := handshake(t, addr, cbc); err == nil {
		t.Error("a suite without AEAD was accepted")
	}
	st, err := handshake(t, addr, &base)
	if err != nil || st.Version != tls.VersionTLS13 || st.CurveID != tls.X25519MLKEM768 {
		t.Error(st.Version, st.CurveID, err)
	}
}

// TestResumption: a session is resumed at its own service and at no other, even
// with the same certificate (ALPACA).
func TestResumption(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	_, a := startSSL(t, options{values: values(t), certs: certs})
	_, b := startSSL(t, options{values: values(t), certs: certs})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := &tls.Config{RootCAs: pool, ServerName: "mail.test", ClientSessionCache: tls.NewLRUClientSessionCache(8), MaxVersion: version}
		for i, step := range []struct {
			addr   netip.AddrPort
			resume bool
		}{{a, false}, {a, true}, {b, false}} {
			st, err := handshake(t, step.addr, c)
			if err != nil || st.DidResume != step.resume {
				t.Errorf("%x step %d: resumed %v, %v", version, i, st.DidResume, err)
			}
		}
	}
}

func TestCertificateChoice(t *testing.T) {
	var certs Certificates
	if certs.Usable("") == nil {
		t.Error("nothing is usable")
	}
	a, w, z := pair(t, time.Hour, "a.test", "b.test"), pair(t, time.Hour, "*.wild.test"), pair(t, -time.Hour, "old.test")
	if err := certs.Set(a, w, z); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(certs.Names(), " "); got != "*.wild.test a.test b.test old.test" {
		t.Error(got)
	}
	for name, kind := range map[string]mail.Kind{"none.test": mail.KindNotFound, "old.test": mail.KindCannot, "x.y.wild.test": mail.KindNotFound} {
		if err := certs.Usable(name); err == nil || mail.KindOf(err) != kind {
			t.Error(name, err)
		}
	}
	for _, name := range []string{"", "a.test", "B.TEST", "x.wild.test"} {
		if err := certs.Usable(name); err != nil {
			t.Error(name, err)
		}
	}
	v := settings.X509CertificateName.With(values(t), "m.wild.test")
	_, addr := startSSL(t, options{values: v, certs: &certs})
	for sni, want := range map[string]string{
		"a.test": "a.test", "B.test": "a.test", "x.wild.test": "*.wild.test",
		"unknown.test": "*.wild.test", "": "*.wild.test", strings.Repeat("x", 250) + ".test": "*.wild.test",
	} {
		st, err := handshake(t, addr, &tls.Config{InsecureSkipVerify: true, ServerName: sni})
		if err != nil || st.PeerCertificates[0].DNSNames[0] != want {
			t.Error(sni, err)
		}
	}
	// A name that is too long is no name, and none that is unknown is kept.
	st, err := handshake(t, addr, &tls.Config{InsecureSkipVerify: true, ServerName: strings.Repeat("x", 300) + ".test"})
	if err != nil || st.PeerCertificates[0].DNSNames[0] != "*.wild.test" {
		t.Error(err)
	}
	known := certs.current.Load()
	if known.find(strings.Repeat("x", 245)+".wild.test") == nil || known.find(strings.Repeat("x", 246)+".wild.test") != nil {
		t.Error("the bound of a name is not 255 bytes")
	}
	if got := strings.Join(certs.Names(), " "); got != "*.wild.test a.test b.test old.test" {
		t.Error(got)
	}
	// Swapped while it serves.
	if err := certs.Set(pair(t, time.Hour, "new.test")); err != nil {
		t.Fatal(err)
	}
	st, err = handshake(t, addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"})
	if err != nil || st.PeerCertificates[0].DNSNames[0] != "new.test" {
		t.Error(err)
	}
	a.PrivateKey = w.PrivateKey
	if err := certs.Set(a); mail.KindOf(err) != mail.KindBadArgument {
		t.Error("a foreign key was taken", err)
	}
}

// TestInjection sends bytes behind the command that begins TLS, cut into two
// segments at every point: whatever follows is never obeyed.
func TestInjection(t *testing.T) {
	certs, _ := newCertificates(t, "mail.test")
	s, addr := start(t, options{values: values(t), certs: certs})
	hello := string([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 0})
	for _, behind := range []string{"login\r\n", "\n", hello} {
		text := "starttls\r\n" + behind
		for cut := range len(text) + 1 {
			p := dial(t, addr)
			p.want("hello")
			p.Conn.(*net.TCPConn).SetNoDelay(true)
			io.WriteString(p.Conn, text[:cut])
			if cut > 0 && cut < len(text) {
				time.Sleep(time.Millisecond)
			}
			io.WriteString(p.Conn, text[cut:])
			p.Conn.(*net.TCPConn).CloseWrite()
			all, _ := io.ReadAll(p.Reader)
			if strings.Contains(string(all), "login") {
				t.Fatalf("cut %d: %q", cut, all)
			}
			if cut == len(text) && len(all) != 0 {
				t.Errorf("a reply was sent: %q", all)
			}
		}
	}
	eventually(t, "all ended", func() bool { return len(s.Conns()) == 0 })
}

// TestInjectionUnread: what came behind the command and is still with the operating system
// ends the connection as what was read does.
func TestInjectionUnread(t *testing.T) {
	certs, _ := newCertificates(t, "mail.test")
	for _, behind := range []string{"", "x"} {
		s := newService(t, options{values: values(t), certs: certs})
		came := make(chan error, 1)
		s.Handle = func(ctx context.Context, c *Conn) {
			io.ReadFull(c, make([]byte, len("starttls")))
			came <- c.StartTLS(ctx, "begin\r\n", 0)
		}
		p := dial(t, open(t, s))
		io.WriteString(p.Conn, "starttls"+behind)
		if behind == "" {
			p.want("begin")
			p.Close()
		}
		if err := <-came; (err == ErrInjected) != (behind != "") {
			t.Errorf("%q behind the command: %v", behind, err)
		}
	}
}

// TestLongHandshake: what is gathered of a handshake is bounded, and what comes after it is not.
func TestLongHandshake(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	for _, asks := range []bool{false, true} {
		s := newService(t, options{values: values(t), certs: certs})
		most := maxHandshake
		if asks {
			most = maxHandshakeAsked
			s.ClientAuthorities = func() *x509.CertPool { return pool }
		}
		if err := s.Start(Bindings{SSL: []netip.AddrPort{loopback}}); err != nil {
			t.Fatal(err)
		}
		addr := s.Addrs().SSL[0]
		stopwatch.Within(t, 3*time.Second, "to end what says too much", func() {
			p := dial(t, addr)
			for sent := 0; sent <= most; sent += 1005 { // a hello of 65,535 bytes, in records of 1,000
				record := append([]byte{22, 3, 1, 3, 232}, make([]byte, 1000)...)
				if sent == 0 {
					copy(record[5:], []byte{1, 0, 255, 255})
				}
				if _, err := p.Conn.Write(record); err != nil {
					break
				}
			}
			p.wantEnd()
		})
		c := tls.Client(dial(t, addr).Conn, &tls.Config{RootCAs: pool, ServerName: "mail.test"})
		go func() {
			io.WriteString(c, strings.Repeat("line\r\n", 100_000))
			c.CloseWrite()
		}()
		if all, err := io.ReadAll(c); err != nil || len(all) < 600_000 {
			t.Errorf("asks %v: %d bytes of answers, %v", asks, len(all), err)
		}
	}
}

func TestStartTLS(t *testing.T) {
	certs, pool := newCertificates(t, "mail.test")
	s, addr := start(t, options{values: values(t), certs: certs})
	p := dial(t, addr)
	p.want("hello")
	p.ask("starttls", "begin")
	c := tls.Client(p.Conn, &tls.Config{RootCAs: pool, ServerName: "mail.test"})
	q := &peer{c, bufio.NewReader(c), t}
	q.ask("x", "x")
	if s.Conns()[0].TLS() == nil {
		t.Error("no TLS")
	}
	// Twice is refused.
	io.WriteString(c, "starttls\r\n")
	q.wantEnd()
}

func TestHTTPRequest(t *testing.T) {
	for line, want := range map[string]bool{
		"GET / HTTP/1.1": true, "post /x HTTP/1.0": true, "PRI * HTTP/2.0": true, "DELETE /x HTTP/1.1": true,
		"DELE 1": false, "NOOP": false, "a GET": false, "DELETE": false, "": false,
	} {
		if HTTPRequest(line) != want {
			t.Error(line)
		}
	}
}
