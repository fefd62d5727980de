// Package oidc is a directory that proves bearer tokens of an OpenID Connect
// provider: JWT access tokens (RFC 9068, and plain ones) by the provider's keys,
// others by asking it (token introspection, RFC 7662). It proves no passwords and
// cannot be asked who exists: it learns of people from their tokens.
package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// MaxToken bounds a token in octets.
const MaxToken = 16 << 10

// leeway is how far the provider's clock and ours may be apart.
const leeway = time.Minute

// The longest that a proof holds: of a token that says when it ends, and of one that
// does not.
const (
	maxProof     = 24 * time.Hour
	unsaidProof  = time.Hour
	maxListedAud = 256 // audiences or scopes of one token
)

// Source is a directory.TokenSource. Its methods are called from many goroutines; it
// has one of its own, which fetches what the provider says of itself.
type Source struct {
	rules    *rules
	provider *provider
	asked    *introspection // nil when only JWTs are taken
	now      func() time.Time
}

var _ directory.TokenSource = (*Source)(nil)

// Open starts a directory; name is its own, for the log. It does not wait for the
// provider. KindBadArgument when the options are wrong.
func Open(o Options, name string, log *slog.Logger) (*Source, error) {
	r, err := o.check()
	if err != nil {
		return nil, err
	}
	s := build(r, log.With("directory", name), time.Now)
	s.provider.start()
	return s, nil
}

// build puts a directory together that has not begun to ask the provider.
func build(r *rules, log *slog.Logger, now func() time.Time) *Source {
	s := &Source{rules: r, now: now}
	client := r.client()
	s.provider = newProvider(r, client, log, now)
	if r.ClientID != "" {
		s.asked = newIntrospection(r, client, s.provider, now)
	}
	return s
}

// Close is part of directory.Source.
func (s *Source) Close() error {
	s.provider.close()
	return nil
}

// Find is part of directory.Source: KindCannot, a provider cannot be asked.
func (s *Source) Find(ctx context.Context, name string) (*directory.Person, error) {
	return nil, mail.Errorf(mail.KindCannot, "An OpenID provider cannot be asked who exists.")
}

// CheckPassword is part of directory.Source: KindCannot, passwords are typed at the
// provider only.
func (s *Source) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	return nil, mail.Errorf(mail.KindCannot, "An OpenID provider proves no passwords here.")
}

// CheckToken is part of directory.TokenSource. A JWT of another issuer is
// KindNotFound, and so is a token that is no JWT when the provider is not asked or
// does not know it.
func (s *Source) CheckToken(ctx context.Context, name, token string) (*directory.Person, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, unavailable("%w", err)
	}
	if !isToken(token) {
		return nil, time.Time{}, refused("it is not 1 to %d octets of a bearer token", MaxToken)
	}
	ctx, cancel := context.WithTimeout(ctx, s.rules.timeout)
	defer cancel()
	var p *proof
	var err error
	switch j := readJWT(token); {
	case j != nil:
		p, err = s.checkJWT(ctx, j)
	case s.asked == nil:
		err = errNotOurs
	default:
		p, err = s.asked.check(ctx, token)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := p.shown(directory.CertificateOf(ctx)); err != nil {
		return nil, time.Time{}, err
	}
	if name != "" && name != p.person.Name && (s.rules.Domain == "" || name+"@"+s.rules.Domain != p.person.Name) {
		return nil, time.Time{}, refused("the token is %q's, not %q's", p.person.Name, name)
	}
	who := p.person
	return &who, p.until, nil
}

// Issuer is part of directory.TokenSource.
func (s *Source) Issuer() (configuration, scope string) {
	return s.rules.description(), strings.Join(s.rules.Scopes, " ")
}

// proof is what a token proves: who it is, and until when.
type proof struct {
	person directory.Person
	until  time.Time
	bound  string // thumbprint of the certificate that its client must show; "" for none
}

// shown refuses a token that is bound to another certificate than the client showed
// (RFC 8705, 3): somebody else has it.
func (p *proof) shown(c *x509.Certificate) error {
	switch {
	case p.bound == "":
		return nil
	case c == nil:
		return refused("it is bound to a certificate of its client (cnf), which showed none")
	}
	if sum := sha256.Sum256(c.Raw); base64.RawURLEncoding.EncodeToString(sum[:]) != p.bound {
		return refused("it is bound to another certificate than its client showed (cnf)")
	}
	return nil
}

// isToken tells whether s is a b64token (RFC 6750, 2.1) of a bearable length.
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && len(s) <= MaxToken && !strings.ContainsFunc(body, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~+/", r))
	})
}

var errNotOurs = &mail.Error{Kind: mail.KindNotFound, Text: "The token is not one of this directory."}

// refused is the error for a token that is not taken. The client learns no more; the
// cause is for the log.
func refused(format string, args ...any) error {
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: fmt.Errorf(format, args...)}
}

// unavailable is the error when it cannot be said now whether a token is right.
func unavailable(format string, args ...any) error {
	return &mail.Error{Kind: mail.KindUnavailable, Cause: fmt.Errorf("OpenID provider: "+format, args...)}
}
