package acme

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	rfc8555 "github.com/mholt/acmez/v3/acme"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// challenges are those that are to be answered at the moment.
type challenges struct {
	mu    sync.Mutex
	pages map[page]string             // key authorizations of HTTP-01
	pairs map[string]*tls.Certificate // of TLS-ALPN-01, by host name
}

// page is where an HTTP-01 challenge is looked for.
type page struct{ host, path string }

// Challenge is a listener.Service's: the certificate of the TLS-ALPN-01 challenge for
// a host name, or nil.
func (c *Client) Challenge(name string) *tls.Certificate {
	c.open.mu.Lock()
	defer c.open.mu.Unlock()
	return c.open.pairs[name]
}

// ServeHTTP answers HTTP-01 challenges and nothing else.
func (c *challenges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	c.mu.Lock()
	text, ok := c.pages[page{strings.ToLower(host), r.URL.Path}]
	c.mu.Unlock()
	w.Header().Set("Connection", "close") // the binding closes soon
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain") // RFC 8555, 8.3
	w.Write([]byte(text))
}

// http01 and tlsALPN01 are the acmez.Solvers.
type (
	http01    struct{ *challenges }
	tlsALPN01 struct{ *challenges }
)

func pageOf(c rfc8555.Challenge) page {
	return page{strings.ToLower(c.Identifier.Value), c.HTTP01ResourcePath()}
}

// Present implements acmez.Solver.
func (s http01) Present(_ context.Context, c rfc8555.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[pageOf(c)] = c.KeyAuthorization
	return nil
}

// CleanUp implements acmez.Solver.
func (s http01) CleanUp(_ context.Context, c rfc8555.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pages, pageOf(c))
	return nil
}

// Present implements acmez.Solver.
func (s tlsALPN01) Present(_ context.Context, c rfc8555.Challenge) error {
	pair, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs[strings.ToLower(c.Identifier.Value)] = pair
	return nil
}

// CleanUp implements acmez.Solver.
func (s tlsALPN01) CleanUp(_ context.Context, c rfc8555.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pairs, strings.ToLower(c.Identifier.Value))
	return nil
}

// openBindings opens what challenges arrive at and gives the solvers of those that
// can be answered. shut closes the bindings. An address that cannot be opened takes
// away its kind of challenge; when none is left KindUnavailable says why.
func (c *Client) openBindings(http01Bindings, tlsBindings []netip.AddrPort) (solvers map[string]acmez.Solver, shut func(), err error) {
	solvers = map[string]acmez.Solver{}
	var shuts []func()
	var problems []string
	if len(http01Bindings) > 0 {
		server := &http.Server{Handler: &c.open, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10}
		web := listener.HandleHTTP(server)
		service := &listener.Service{Name: "ACME", Handle: web.Handle, MaxWaiting: maxVisitors, Log: c.Log}
		if err := service.Start(listener.Bindings{Clear: http01Bindings}); err != nil {
			problems = append(problems, mail.TextOf(err))
			web.Close()
		} else {
			solvers[rfc8555.ChallengeTypeHTTP01] = http01{&c.open}
			shuts = append(shuts, func() { c.stop(service); web.Close() })
		}
	}
	if len(tlsBindings) > 0 {
		own := slices.DeleteFunc(slices.Clone(tlsBindings), c.atConsole)
		service := &listener.Service{
			Name: "ACME", Handle: func(context.Context, *listener.Conn) {}, MaxWaiting: maxVisitors, Log: c.Log,
			Certificates: &listener.Certificates{}, ALPN: "acme-tls/1", Challenge: c.Challenge,
		}
		if err := service.Start(listener.Bindings{SSL: own}); err != nil {
			problems = append(problems, mail.TextOf(err))
		} else {
			solvers[rfc8555.ChallengeTypeTLSALPN01] = tlsALPN01{&c.open}
			shuts = append(shuts, func() { c.stop(service) })
		}
	}
	for _, p := range problems {
		c.Log.Warn("a binding of ACME cannot be opened", "reason", p)
	}
	shut = func() {
		for _, s := range shuts {
			s()
		}
	}
	if len(solvers) == 0 {
		return nil, nil, mail.Errorf(mail.KindUnavailable, "no challenge of the ACME server can be answered: %s", strings.Join(problems, " "))
	}
	return solvers, shut, nil
}

// stop ends a service; who is still connected has a moment.
func (c *Client) stop(s *listener.Service) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		c.Log.Warn("a binding of ACME did not close cleanly", "error", err)
	}
}

// atConsole tells whether the Console listens at an address, and so answers there.
func (c *Client) atConsole(a netip.AddrPort) bool {
	if c.Console == nil {
		return false
	}
	for _, open := range c.Console() {
		if open.Port() == a.Port() && (open.Addr() == a.Addr() || open.Addr().IsUnspecified() && open.Addr().Is4() == a.Addr().Is4()) {
			return true
		}
	}
	return false
}
