package acme

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/mholt/acmez/v3"
	rfc8555 "github.com/mholt/acmez/v3/acme"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Bounds of what the ACME server, and those who come to a challenge, may make us do.
const (
	requestTimeout = 30 * time.Second
	orderTimeout   = 100 * time.Second // one certificate, challenges included
	maxAnswer      = 1 << 20           // bytes of one answer
	maxNames       = 100
	maxVisitors    = 256 // connections at each binding for challenges; with more the oldest goes
)

// Options are what a Client is made of. All but Console, Now and Transport are
// needed.
type Options struct {
	Certificates *certificate.Store
	Records      Records
	// Settings gives the current settings of the Console, where those of ACME are.
	Settings func() *settings.Values
	// Console tells where the Console listens with TLS: at these addresses it answers
	// TLS-ALPN-01, with Challenge. nil: nowhere.
	Console   func() []netip.AddrPort
	Log       *slog.Logger
	Now       func() time.Time  // time.Now when nil
	Transport http.RoundTripper // to the ACME server; one of its own when nil
}

// Client gets certificates and renews them. Its methods may be called from any
// goroutine.
type Client struct {
	Options
	open challenges
	turn chan struct{} // held by the one order that is under way
}

// New makes a client; Run renews.
func New(o Options) *Client {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: requestTimeout, IdleConnTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, MaxIdleConns: 4,
		}
	}
	return &Client{
		Options: o, turn: make(chan struct{}, 1),
		open: challenges{pages: map[page]string{}, pairs: map[string]*tls.Certificate{}},
	}
}

// Ready gives nil when a certificate for names can be asked for, else what is
// missing: KindCannot when an administrator has to agree or open a binding first,
// KindBadArgument for names that no challenge of ours can prove.
func (c *Client) Ready(names []string) error {
	v := c.Settings()
	switch {
	case !settings.AcmeTermsAgreed.Of(v):
		return mail.Errorf(mail.KindCannot, "nobody has agreed to the terms of the ACME server %s: Set-AcmeSettings -AcmeTermsAgreed $true does", settings.AcmeDirectory.Of(v))
	case len(settings.AcmeHttpBindings.Of(v))+len(settings.AcmeTlsBindings.Of(v)) == 0:
		return mail.Errorf(mail.KindCannot, "AcmeHttpBindings and AcmeTlsBindings are both empty: no challenge can be answered")
	case len(names) == 0 || len(names) > maxNames:
		return mail.Errorf(mail.KindBadArgument, "a certificate is for 1 to %d names", maxNames)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			return mail.Errorf(mail.KindBadArgument, "%s: a wildcard needs a DNS-01 challenge, which is not there; name the hosts", name)
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return mail.Errorf(mail.KindBadArgument, "%s: a certificate for an IP address cannot be had by ACME here; name the host", name)
		}
	}
	return nil
}

// Obtain gets a certificate for names and keeps it with details, whose Renewal it
// sets. An error has changed nothing: KindUnavailable when the ACME server or a
// binding fails, KindCannot when the ACME server refuses, with its own words; and
// those of Ready.
func (c *Client) Obtain(ctx context.Context, names []string, kind certificate.KeyKind, bits int, d certificate.Details) (*certificate.Certificate, error) {
	if err := c.Ready(names); err != nil {
		return nil, err
	}
	got, err := c.order(ctx, names, kind, bits)
	if err != nil {
		return nil, err
	}
	d.Renewal = c.renewal(got)
	return c.Certificates.Add(got.chain, got.key, d)
}

// issued is what an order gave.
type issued struct {
	chain     []*x509.Certificate
	key       crypto.Signer
	directory string
}

// order asks for one certificate. Orders wait for each other.
func (c *Client) order(ctx context.Context, names []string, kind certificate.KeyKind, bits int) (*issued, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, mail.Errorf(mail.KindUnavailable, "another certificate is being asked for; try again later")
	}
	v := c.Settings()
	client := &acmez.Client{Client: &rfc8555.Client{
		Directory:  settings.AcmeDirectory.Of(v),
		HTTPClient: &http.Client{Transport: bounded{c.Transport}, Timeout: requestTimeout},
		UserAgent:  "Postern", PollTimeout: orderTimeout,
	}}
	if idle, ok := c.Transport.(interface{ CloseIdleConnections() }); ok {
		defer idle.CloseIdleConnections()
	}
	a, err := c.account(ctx, client, settings.AcmeEmail.Of(v), false)
	if err != nil {
		return nil, err
	}
	solvers, shut, err := c.openBindings(settings.AcmeHttpBindings.Of(v), settings.AcmeTlsBindings.Of(v))
	if err != nil {
		return nil, err
	}
	defer shut()
	client.ChallengeSolvers = solvers
	key, err := certificate.NewKey(kind, bits)
	if err != nil {
		return nil, err
	}
	chains, err := client.ObtainCertificateForSANs(ctx, a, key, names)
	if forgotten(err) {
		if a, err = c.account(ctx, client, settings.AcmeEmail.Of(v), true); err != nil {
			return nil, err
		}
		chains, err = client.ObtainCertificateForSANs(ctx, a, key, names)
	}
	if err != nil {
		return nil, c.refusal(client.Directory, err)
	}
	if len(chains) == 0 {
		return nil, mail.Errorf(mail.KindUnavailable, "the ACME server %s gave no certificate", client.Directory)
	}
	bundle, err := certificate.Read(chains[0].ChainPEM, nil, "")
	if err == nil {
		err = certificate.Check(bundle.Chain, c.Now(), false)
	}
	if err == nil && !bundle.Belongs(key) {
		err = mail.Errorf(mail.KindBadArgument, "It is for another key.")
	}
	if err != nil {
		return nil, mail.Errorf(mail.KindCannot, "the certificate that the ACME server %s gave cannot be used: %s", client.Directory, mail.TextOf(err))
	}
	return &issued{bundle.Chain, key, client.Directory}, nil
}

// bounded bounds the answers of the ACME server.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}

// refusal says in its own words why the ACME server gave no certificate.
func (c *Client) refusal(directory string, err error) error {
	var known *mail.Error
	if errors.As(err, &known) {
		return err
	}
	var problem rfc8555.Problem
	if !errors.As(err, &problem) {
		text := "the ACME server " + directory + " cannot be reached, or does not speak ACME"
		if errors.Is(err, context.DeadlineExceeded) {
			text = "the ACME server " + directory + " took too long"
		}
		return &mail.Error{Kind: mail.KindUnavailable, Text: text, Cause: err}
	}
	text := cmp.Or(problem.Detail, problem.Title, problem.Type)
	for _, sub := range problem.Subproblems {
		text += "; " + sub.Identifier.Value + ": " + cmp.Or(sub.Detail, sub.Title)
	}
	kind := mail.KindCannot
	if problem.Type == rfc8555.ProblemTypeServerInternal || problem.Type == rfc8555.ProblemTypeRateLimited {
		kind = mail.KindUnavailable
	}
	return &mail.Error{Kind: kind, Text: "the ACME server " + directory + " refuses: " + clean(text), Cause: err}
}

// clean makes one bounded line of a text that came from outside.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	return text
}
