package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Source says where a certificate is from.
type Source string

// The sources.
const (
	FromFile   Source = "File"       // put into the folder by an administrator or another program
	FromImport Source = "Imported"   // Import-ServerCertificate, the answer to a request included
	FromHere   Source = "SelfSigned" // made here
	FromACME   Source = "ACME"       // from an ACME server, and renewed
)

// Status says what a certificate is good for now.
type Status string

// The states.
const (
	Valid          Status = "Valid"
	Untrusted      Status = "SelfSigned" // valid, but no client trusts it unasked
	Expiring       Status = "Expiring"   // valid for less than ExpiryWarning
	Expired        Status = "Expired"
	NotYetValid    Status = "NotYetValid"
	PendingRequest Status = "PendingRequest" // a request without an answer
)

// ExpiryWarning is how long before its end a certificate is Expiring.
const ExpiryWarning = 30 * 24 * time.Hour

// Details are what is kept of a certificate beside its files, in NAME.json.
type Details struct {
	FriendlyName string    `json:"friendlyName,omitempty"`
	Exportable   bool      `json:"exportable,omitempty"` // the key may be exported
	Source       Source    `json:"source,omitempty"`
	Created      time.Time `json:"created,omitzero"`
	// Preferred is when it was made the first choice for its names, zero when it
	// was not.
	Preferred time.Time `json:"preferred,omitzero"`
	Renewal   *Renewal  `json:"renewal,omitempty"` // of a certificate from an ACME server
}

// Renewal is what became of the attempts to renew a certificate.
type Renewal struct {
	Directory   string    `json:"directory"` // URL of the ACME server
	LastAttempt time.Time `json:"lastAttempt,omitzero"`
	Failures    int       `json:"failures,omitempty"` // one after another
	LastError   string    `json:"lastError,omitempty"`
	Next        time.Time `json:"next,omitzero"` // the next attempt
}

// Certificate is a pair of the store, or a request that waits for its answer. It
// never changes.
type Certificate struct {
	Name string // of its files, without what follows the last dot
	Details
	// Chain is the certificate and those that lead to its root, in this order; nil
	// for a request.
	Chain []*x509.Certificate
	// Request is a request that waits for its answer, else nil.
	Request *x509.CertificateRequest
	// Fault says why the files as they are now cannot be used; what they held before
	// is shown meanwhile. "" when all is well.
	Fault string

	key crypto.Signer
}

// Leaf is the certificate itself, nil for a request.
func (c *Certificate) Leaf() *x509.Certificate {
	if len(c.Chain) == 0 {
		return nil
	}
	return c.Chain[0]
}

func (c *Certificate) raw() []byte {
	if c.Request != nil {
		return c.Request.Raw
	}
	return c.Chain[0].Raw
}

// Thumbprint is the SHA-1 of the certificate or request in capital hexadecimal, as
// other systems show it. It names, and proves nothing.
func (c *Certificate) Thumbprint() string {
	sum := sha1.Sum(c.raw())
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// SHA256 is the SHA-256 of the certificate or request in capital hexadecimal.
func (c *Certificate) SHA256() string {
	sum := sha256.Sum256(c.raw())
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// DomainNames are the host names and IP addresses that it is for.
func (c *Certificate) DomainNames() []string {
	var names []string
	var common string
	if c.Request != nil {
		names, common = slices.Clone(c.Request.DNSNames), c.Request.Subject.CommonName
		for _, ip := range c.Request.IPAddresses {
			names = append(names, ip.String())
		}
	} else {
		names, common = slices.Clone(c.Chain[0].DNSNames), c.Chain[0].Subject.CommonName
		for _, ip := range c.Chain[0].IPAddresses {
			names = append(names, ip.String())
		}
	}
	if len(names) == 0 && common != "" {
		names = []string{common}
	}
	return names
}

// Covers tells whether it is for the host name, wildcards considered.
func (c *Certificate) Covers(name string) bool {
	name = strings.ToLower(name)
	if leaf := c.Leaf(); leaf != nil && leaf.VerifyHostname(name) == nil {
		return true
	}
	return slices.Contains(c.DomainNames(), name)
}

// Subject is the distinguished name.
func (c *Certificate) Subject() string {
	if c.Request != nil {
		return c.Request.Subject.String()
	}
	return c.Chain[0].Subject.String()
}

// IsSelfSigned tells whether it vouches for itself.
func (c *Certificate) IsSelfSigned() bool {
	leaf := c.Leaf()
	return leaf != nil && bytes.Equal(leaf.RawSubject, leaf.RawIssuer) && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil
}

// Status tells what it is good for at the time now.
func (c *Certificate) Status(now time.Time) Status {
	switch leaf := c.Leaf(); {
	case leaf == nil:
		return PendingRequest
	case now.After(leaf.NotAfter):
		return Expired
	case now.Before(leaf.NotBefore):
		return NotYetValid
	case leaf.NotAfter.Sub(now) < c.warnBefore():
		return Expiring
	case c.IsSelfSigned():
		return Untrusted
	}
	return Valid
}

// warnBefore is ExpiryWarning, or less for a certificate that lives shortly by
// intention: a third of its life; a sixth when it should have been renewed by then.
func (c *Certificate) warnBefore() time.Duration {
	life := c.Leaf().NotAfter.Sub(c.Leaf().NotBefore)
	if c.Source == FromACME {
		return min(ExpiryWarning, life/6)
	}
	return min(ExpiryWarning, life/3)
}

// KeyAlgorithm names the kind and size of the key: "ECDSA P-256", "RSA 2048".
func (c *Certificate) KeyAlgorithm() string {
	if c.Request != nil {
		return keyAlgorithm(c.Request.PublicKey)
	}
	return keyAlgorithm(c.Chain[0].PublicKey)
}

func keyAlgorithm(public any) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

// RootCAType tells who vouches for it: "None" (itself), "ThirdParty" (an authority
// that this host trusts) or "Unknown".
func (c *Certificate) RootCAType() string {
	leaf := c.Leaf()
	switch {
	case leaf == nil || c.IsSelfSigned():
		return "None"
	case c.trusted():
		return "ThirdParty"
	}
	return "Unknown"
}

func (c *Certificate) trusted() bool {
	between := x509.NewCertPool()
	for _, cert := range c.Chain[1:] {
		between.AddCert(cert)
	}
	// An expired one had a root too.
	at := c.Chain[0].NotBefore.Add(c.Chain[0].NotAfter.Sub(c.Chain[0].NotBefore) / 2)
	_, err := c.Chain[0].Verify(x509.VerifyOptions{Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}

// HasPrivateKey tells whether the key is here; it always is.
func (c *Certificate) HasPrivateKey() bool { return c.key != nil }

// tls gives it as TLS uses it.
func (c *Certificate) tls() tls.Certificate {
	out := tls.Certificate{PrivateKey: c.key, Leaf: c.Chain[0]}
	for _, cert := range c.Chain {
		out.Certificate = append(out.Certificate, cert.Raw)
	}
	return out
}

// before orders certificates as they are chosen among: those that were enabled, the
// latest first; then an administrator's files by name; then what was imported or
// issued, the oldest first; then what was signed by itself, of the first start last.
func before(a, b *Certificate) int {
	if n := b.Preferred.Compare(a.Preferred); n != 0 {
		return n
	}
	if n := rank(a) - rank(b); n != 0 {
		return n
	}
	if a.Source != FromFile && a.Source != "" {
		if n := a.Created.Compare(b.Created); n != 0 {
			return n
		}
	}
	return strings.Compare(a.Name, b.Name)
}

func rank(c *Certificate) int {
	switch {
	case c.Name == firstName:
		return 3
	case c.Source == FromHere:
		return 2
	case c.Source == FromFile || c.Source == "":
		return 0
	}
	return 1
}
