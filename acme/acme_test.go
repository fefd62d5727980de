package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rfc8555 "github.com/mholt/acmez/v3/acme"
	"go.uber.org/goleak"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// records keeps records in memory.
type records struct {
	mu   sync.Mutex
	kept map[string]store.Record
}

func (r *records) Records(_ context.Context, _, prefix string) ([]store.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []store.Record
	for key, one := range r.kept {
		if strings.HasPrefix(key, prefix) {
			list = append(list, one)
		}
	}
	return list, nil
}

func (r *records) PutRecords(_ context.Context, list []store.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range list {
		if r.kept[one.Key].Revision != one.Revision {
			return mail.Errorf(mail.KindConflict, "it was changed")
		}
		one.Revision++
		r.kept[one.Key] = one
	}
	return nil
}

// away is an ACME server that cannot be reached.
type away struct{ calls int }

func (a *away) RoundTrip(*http.Request) (*http.Response, error) {
	a.calls++
	return nil, errors.New("no route to host")
}

// newClient makes a client whose settings are the edits.
func newClient(t *testing.T, transport http.RoundTripper, edits ...settings.Edit) *Client {
	t.Helper()
	values, err := settings.Defaults(settings.Console, "mail.example.org").Edit(edits...)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := certificate.Open(certificate.Options{Folder: filepath.Join(t.TempDir(), "c"), Hosts: []string{"localhost"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{
		Certificates: certs, Records: &records{kept: map[string]store.Record{}}, Settings: func() *settings.Values { return values },
		Log: slog.New(slog.DiscardHandler), Transport: transport,
	})
}

func agreed() settings.Edit { return settings.Edit{Name: "AcmeTermsAgreed", Value: []byte("true")} }

// TestReady: nothing is asked for without consent, or for what cannot be proved.
func TestReady(t *testing.T) {
	wire := &away{}
	if err := newClient(t, wire).Ready([]string{"mail.example.org"}); mail.KindOf(err) != mail.KindCannot || !strings.Contains(mail.TextOf(err), "AcmeTermsAgreed") {
		t.Error(err)
	}
	c := newClient(t, wire, agreed())
	if err := c.Ready([]string{"mail.example.org"}); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{{"*.example.org"}, {"mail.example.org", "192.0.2.1"}, {"2001:db8::1"}, {}, make([]string, maxNames+1)} {
		if err := c.Ready(names); mail.KindOf(err) != mail.KindBadArgument {
			t.Error(names, err)
		}
	}
	if wire.calls != 0 {
		t.Error("the ACME server was asked")
	}
}

// TestAway: an ACME server that does not answer is said to, and nothing is kept but
// the key of the account.
func TestAway(t *testing.T) {
	wire := &away{}
	c := newClient(t, wire, agreed())
	_, err := c.Obtain(t.Context(), []string{"mail.example.org"}, certificate.ECDSA, 0, certificate.Details{Source: certificate.FromACME})
	if mail.KindOf(err) != mail.KindUnavailable || !strings.Contains(mail.TextOf(err), "cannot be reached") || wire.calls == 0 {
		t.Error(err)
	}
	if n := len(c.Certificates.List()); n != 1 {
		t.Error(n)
	}
}

// TestRefusal: the ACME server's words reach the administrator as one bounded line.
func TestRefusal(t *testing.T) {
	c := newClient(t, &away{})
	err := c.refusal("https://acme.test/dir", rfc8555.Problem{Type: rfc8555.ProblemTypeUnauthorized, Detail: "no\r\n\x1b[31m" + strings.Repeat("ä", 1000)})
	text := mail.TextOf(err)
	if mail.KindOf(err) != mail.KindCannot || strings.ContainsAny(text, "\r\n\x1b") || len(text) > 700 {
		t.Errorf("%q", text)
	}
	if err := c.refusal("x", rfc8555.Problem{Type: rfc8555.ProblemTypeRateLimited}); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
}

// TestSchedule: a certificate is renewed at two thirds of its life, and failures come
// at growing distances.
func TestSchedule(t *testing.T) {
	c := newClient(t, &away{})
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	spread := map[time.Time]bool{}
	for range 50 {
		r := c.renewal(&issued{chain: []*x509.Certificate{{NotBefore: start, NotAfter: start.Add(90 * day)}}, directory: "d"})
		if at := r.Next.Sub(start); at < 55*day || at > 65*day {
			t.Error(at)
		}
		spread[r.Next] = true
	}
	if len(spread) < 10 {
		t.Error("no jitter")
	}
	total := time.Duration(0)
	for n := 1; n <= 20; n++ {
		p := pause(90*day, n)
		if p < 2*time.Hour || p > 27*time.Hour {
			t.Error(n, p)
		}
		total += p
	}
	if p := pause(90*day, 1); p > 4*time.Hour || total < 10*day {
		t.Error(p, total)
	}
	if p := pause(time.Minute, 1000); p < 4*time.Second || p > 6*time.Second {
		t.Error(p)
	}
}

// TestRenewalFails: what cannot be renewed stays and is tried again, not at every
// look, over a restart too; what is not from an ACME server is left alone.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &away{}
		c := newClient(t, wire, agreed())
		key, err := certificate.NewKey(certificate.ECDSA, 0)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := certificate.NewSelfSigned(key, []string{"mail.example.org"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		made, err := c.Certificates.Add([]*x509.Certificate{cert}, key, certificate.Details{
			Source: certificate.FromACME, Renewal: &certificate.Renewal{Directory: "d", Next: time.Now().Add(time.Hour)}})
		if err != nil {
			t.Fatal(err)
		}
		now := func() *certificate.Certificate {
			found, err := c.Certificates.Find(made.Thumbprint())
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Run(ctx); close(done) }()
		time.Sleep(59 * time.Minute)
		if wire.calls != 0 || now().Renewal.Failures != 0 {
			t.Error("too early", wire.calls)
		}
		time.Sleep(2 * time.Hour)
		if r := now().Renewal; r.Failures != 1 || !strings.Contains(r.LastError, "cannot be reached") || r.Next.Before(time.Now()) {
			t.Errorf("%+v", r)
		}
		time.Sleep(7 * 24 * time.Hour)
		if r := now().Renewal; r.Failures < 4 || r.Failures > 30 {
			t.Errorf("%+v", r)
		}
		// As after a crash in the middle of a renewal: both are there.
		next, err := certificate.NewSelfSigned(key, []string{"mail.example.org"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Certificates.Add([]*x509.Certificate{next}, key, certificate.Details{
			Source: certificate.FromACME, Renewal: &certificate.Renewal{Directory: "d", Next: time.Now().Add(1000 * time.Hour)}}); err != nil {
			t.Fatal(err)
		}
		calls := wire.calls
		time.Sleep(10 * 24 * time.Hour)
		if _, err := c.Certificates.Find(made.Thumbprint()); mail.KindOf(err) != mail.KindNotFound || wire.calls != calls {
			t.Error("the old one is renewed beside its successor", err)
		}
		cancel()
		<-done
	})
}

// TestChallenges: only what is pending is answered, for its own host name, on bindings
// that close again.
func TestChallenges(t *testing.T) {
	c := newClient(t, &away{})
	solvers, shut, err := c.openBindings([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, nil)
	if err != nil || len(solvers) != 1 {
		t.Fatal(solvers, err)
	}
	defer shut()
	challenge := rfc8555.Challenge{Type: rfc8555.ChallengeTypeHTTP01, Token: "tok", KeyAuthorization: "tok.print", Identifier: rfc8555.Identifier{Type: "dns", Value: "Mail.example.org"}}
	ask := func(host, path string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Host = host
		c.open.ServeHTTP(w, r)
		text, _ := io.ReadAll(w.Result().Body)
		return w.Code, string(text)
	}
	path := "/.well-known/acme-challenge/tok"
	if code, _ := ask("mail.example.org", path); code != 404 {
		t.Error(code)
	}
	if err := solvers[rfc8555.ChallengeTypeHTTP01].Present(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"mail.example.org", "MAIL.example.org:80"} {
		if code, text := ask(host, path); code != 200 || text != "tok.print" {
			t.Error(host, code, text)
		}
	}
	for _, other := range [][2]string{{"other.example.org", path}, {"mail.example.org", path + "x"}, {"mail.example.org", "/"}, {"mail.example.org", path + "/../tok"}} {
		if code, _ := ask(other[0], other[1]); code != 404 {
			t.Error(other, code)
		}
	}
	if err := solvers[rfc8555.ChallengeTypeHTTP01].CleanUp(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	if code, _ := ask("mail.example.org", path); code != 404 {
		t.Error(code)
	}
	if _, _, err := c.openBindings(nil, nil); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
}

// TestVisitors: whoever connects to a binding for challenges, and says nothing, makes
// room for others.
func TestVisitors(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	_, shut, err := newClient(t, &away{}).openBindings([]netip.AddrPort{netip.MustParseAddrPort(address)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer shut()
	var first net.Conn
	for range maxVisitors + 1 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if first == nil {
			first = c
		}
	}
	first.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the first did not make room:", err)
	}
}

// TestTLSALPN: a client that offers acme-tls/1 alone sees the challenge's certificate
// and no protocol behind it; others, and a service that answers no challenges, go
// their usual way.
func TestTLSALPN(t *testing.T) {
	c := newClient(t, &away{})
	solver := tlsALPN01{&c.open}
	challenge := rfc8555.Challenge{Type: rfc8555.ChallengeTypeTLSALPN01, Token: "tok", KeyAuthorization: "tok.print", Identifier: rfc8555.Identifier{Type: "dns", Value: "mail.example.org"}}
	if err := solver.Present(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	spoke := make(chan string, 10)
	start := func(challenge func(string) *tls.Certificate) string {
		s := &listener.Service{Name: "Console", NoLogin: true, ALPN: "http/1.1", Certificates: c.Certificates.Shown(), Challenge: challenge, Log: slog.New(slog.DiscardHandler),
			Handle: func(_ context.Context, conn *listener.Conn) { spoke <- conn.TLS().NegotiatedProtocol }}
		if err := s.Start(listener.Bindings{SSL: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Stop(context.Background()) })
		return s.Addrs().SSL[0].String()
	}
	on, off := start(c.Challenge), start(nil)
	dial := func(addr, name string, protocols ...string) (*tls.ConnectionState, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		state := conn.ConnectionState()
		return &state, nil
	}
	state, err := dial(on, "MAIL.example.org", "acme-tls/1")
	if err != nil || state.NegotiatedProtocol != "acme-tls/1" {
		t.Fatal(state, err)
	}
	found := false
	for _, e := range state.PeerCertificates[0].Extensions {
		found = found || e.Id.String() == "1.3.6.1.5.5.7.1.31" && e.Critical
	}
	if !found {
		t.Error("the certificate has no acmeIdentifier (RFC 8737, 3)")
	}
	for _, bad := range []struct {
		addr, name string
		protocols  []string
	}{{off, "mail.example.org", []string{"acme-tls/1"}}, {on, "other.example.org", []string{"acme-tls/1"}}} {
		if state, err := dial(bad.addr, bad.name, bad.protocols...); err == nil {
			t.Errorf("%v: %v", bad, state.NegotiatedProtocol)
		}
	}
	select {
	case p := <-spoke:
		t.Error("a challenge was spoken to:", p)
	default:
	}
	if state, err := dial(on, "mail.example.org", "acme-tls/1", "http/1.1"); err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Error(state, err)
	}
	if err := solver.CleanUp(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(on, "mail.example.org", "acme-tls/1"); err == nil {
		t.Error("it is answered for ever")
	}
}
