package listener

import (
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Certificates are what services show to their clients. The zero value has none.
// Set replaces them at any time; the next handshake uses the new ones.
type Certificates struct {
	current atomic.Pointer[certificates]
}

type certificates struct {
	all    []*tls.Certificate            // in the order of Set
	byName map[string][]*tls.Certificate // by lower-case DNS name or "*.example.org"
}

// maxServerName bounds a name in SNI (RFC 1035, 2.3.4).
const maxServerName = 255

// Set replaces the certificates. Each has its private key; the first is shown
// where no name decides. KindBadArgument, with nothing changed, when one cannot
// be read or its key does not belong to it.
func (c *Certificates) Set(pairs ...tls.Certificate) error {
	next := &certificates{byName: map[string][]*tls.Certificate{}}
	for i := range pairs {
		pair := pairs[i]
		if len(pair.Certificate) == 0 {
			return mail.Errorf(mail.KindBadArgument, "A certificate is empty.")
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			return &mail.Error{Kind: mail.KindBadArgument, Text: "A certificate cannot be read.", Cause: err}
		}
		key, ok := pair.PrivateKey.(crypto.Signer)
		public, comparable := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !comparable || !public.Equal(key.Public()) {
			return mail.Errorf(mail.KindBadArgument, "The private key does not belong to the certificate of %q.", leaf.Subject.CommonName)
		}
		pair.Leaf = leaf
		next.all = append(next.all, &pair)
		for _, name := range names(leaf) {
			next.byName[name] = append(next.byName[name], &pair)
		}
	}
	c.current.Store(next)
	return nil
}

// names of a certificate: its alternative names, or the common name when it has
// none (old certificates).
func names(leaf *x509.Certificate) []string {
	var all []string
	for _, name := range leaf.DNSNames {
		all = append(all, strings.ToLower(name))
	}
	for _, ip := range leaf.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 && leaf.Subject.CommonName != "" {
		all = append(all, strings.ToLower(leaf.Subject.CommonName))
	}
	return all
}

// find gives the certificates for a host name: those with the name itself, then
// those with a wildcard in place of its first label.
func (s *certificates) find(name string) []*tls.Certificate {
	if s == nil || name == "" || len(name) > maxServerName {
		return nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	found := s.byName[name]
	if _, domain, ok := strings.Cut(name, "."); ok {
		found = slices.Concat(found, s.byName["*."+domain])
	}
	return found
}

// pick chooses for a handshake: by the name that the client asks for, by the
// service's own name, or the first; among several the first that is valid now
// and that the client can use.
func (c *Certificates) pick(hello *tls.ClientHelloInfo, preferred string) (*tls.Certificate, error) {
	s := c.current.Load()
	if s == nil || len(s.all) == 0 {
		return nil, errors.New("listener: there is no certificate")
	}
	now := time.Now()
	var fallback *tls.Certificate
	for _, candidates := range [][]*tls.Certificate{s.find(hello.ServerName), s.find(preferred), s.all} {
		for _, pair := range candidates {
			if !supported(hello, pair) {
				continue
			}
			if valid(pair, now) {
				return pair, nil
			}
			fallback = cmp.Or(fallback, pair)
		}
	}
	return cmp.Or(fallback, s.all[0]), nil
}

func valid(pair *tls.Certificate, now time.Time) bool {
	return now.Before(pair.Leaf.NotAfter) && !now.Before(pair.Leaf.NotBefore)
}

// For gives the certificate that a client is shown which names no host itself, by a
// service whose own name is name; nil when there is none at all.
func (c *Certificates) For(name string) *x509.Certificate {
	s := c.current.Load()
	if s == nil || len(s.all) == 0 {
		return nil
	}
	now := time.Now()
	var fallback *tls.Certificate
	for _, candidates := range [][]*tls.Certificate{s.find(name), s.all} {
		for _, pair := range candidates {
			if valid(pair, now) {
				return pair.Leaf
			}
			fallback = cmp.Or(fallback, pair)
		}
	}
	return fallback.Leaf
}

// supported tells whether the client can use the certificate's kind of key. Its
// name does not count: a client that asks for an unknown name gets the default
// certificate and judges itself.
func supported(hello *tls.ClientHelloInfo, pair *tls.Certificate) bool {
	unnamed := *hello
	unnamed.ServerName = ""
	return unnamed.SupportsCertificate(pair) == nil
}

// Names lists the host names of all certificates, sorted.
func (c *Certificates) Names() []string {
	s := c.current.Load()
	if s == nil {
		return nil
	}
	all := make([]string, 0, len(s.byName))
	for name := range s.byName {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Leaves lists the certificates that are shown, in the order of Set.
func (c *Certificates) Leaves() []*x509.Certificate {
	s := c.current.Load()
	if s == nil {
		return nil
	}
	leaves := make([]*x509.Certificate, len(s.all))
	for i, pair := range s.all {
		leaves[i] = pair.Leaf
	}
	return leaves
}

// Usable tells with nil that a certificate for the host name is here and valid
// now; "" asks for any. Else KindNotFound or KindCannot with the reason.
func (c *Certificates) Usable(name string) error {
	s := c.current.Load()
	if s == nil || len(s.all) == 0 {
		return mail.Errorf(mail.KindNotFound, "There is no certificate.")
	}
	candidates := s.all
	if name != "" {
		if candidates = s.find(name); len(candidates) == 0 {
			return mail.Errorf(mail.KindNotFound, "No certificate is for the name %q; the certificates are for %s.", name, strings.Join(c.Names(), ", "))
		}
	}
	now := time.Now()
	var err error
	for _, pair := range candidates {
		switch leaf := pair.Leaf; {
		case now.After(leaf.NotAfter):
			err = mail.Errorf(mail.KindCannot, "The certificate for %s expired on %s.", strings.Join(names(leaf), ", "), leaf.NotAfter.Format(time.DateOnly))
		case now.Before(leaf.NotBefore):
			err = mail.Errorf(mail.KindCannot, "The certificate for %s is not valid before %s.", strings.Join(names(leaf), ", "), leaf.NotBefore.Format(time.DateOnly))
		default:
			return nil
		}
	}
	return err
}
