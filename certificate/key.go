package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/postern-mail/postern/mail"
)

// KeyKind is a kind of key that is made here.
type KeyKind string

// The kinds.
const (
	ECDSA KeyKind = "ECDSA" // on the curve P-256
	RSA   KeyKind = "RSA"
)

// maxNames bounds the host names of one certificate.
const maxNames = 100

// NewKey makes a private key. bits is 2048 to 4096 for RSA, where 0 is 2048, and 0
// or 256 for ECDSA; else KindBadArgument.
func NewKey(kind KeyKind, bits int) (crypto.Signer, error) {
	if err := CheckKey(kind, bits); err != nil {
		return nil, err
	}
	if kind == RSA {
		key, err := rsa.GenerateKey(rand.Reader, max(bits, minRSA))
		return key, mail.Wrap(mail.KindServerBug, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return key, mail.Wrap(mail.KindServerBug, err)
}

// CheckKey tells whether NewKey makes such a key.
func CheckKey(kind KeyKind, bits int) error {
	switch {
	case kind == RSA && bits != 0 && (bits < minRSA || bits > 4096 || bits%8 != 0):
		return bad("An RSA key has 2048 to 4096 bits.")
	case kind == ECDSA && bits != 0 && bits != 256:
		return bad("An ECDSA key has 256 bits.")
	case kind != RSA && kind != ECDSA:
		return bad("A key is ECDSA or RSA.")
	}
	return nil
}

// CleanNames prepares host names and IP addresses for a certificate: lower case,
// domains in their ASCII form, none twice. A name may begin with "*." for all hosts
// of a domain. KindBadArgument names the one that cannot be.
func CleanNames(names []string) ([]string, error) {
	var clean []string
	for _, name := range names {
		name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String()
		} else {
			host, wildcard := strings.CutPrefix(name, "*.")
			ascii, err := idna.Lookup.ToASCII(host)
			if err != nil || len(ascii) == 0 || len(ascii) > 253 || wildcard && !strings.Contains(ascii, ".") {
				return nil, bad("%q is no host name.", name)
			}
			if name = ascii; wildcard {
				name = "*." + ascii
			}
		}
		if !slices.Contains(clean, name) {
			clean = append(clean, name)
		}
	}
	if len(clean) == 0 {
		return nil, bad("A certificate needs a host name.")
	}
	if len(clean) > maxNames {
		return nil, bad("A certificate has at most %d host names.", maxNames)
	}
	return clean, nil
}

// split tells names from addresses.
func split(hosts []string) (names []string, ips []net.IP) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, host)
		}
	}
	return names, ips
}

// NewRequest makes a request for a certificate (RFC 2986) for hosts, as CleanNames
// gives them.
func NewRequest(key crypto.Signer, hosts []string) (*x509.CertificateRequest, error) {
	template := &x509.CertificateRequest{Subject: subject(hosts)}
	template.DNSNames, template.IPAddresses = split(hosts)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	request, err := x509.ParseCertificateRequest(der)
	return request, mail.Wrap(mail.KindServerBug, err)
}

// subject has the first name, when it fits (RFC 5280, A.1: 64 characters).
func subject(hosts []string) pkix.Name {
	if len(hosts[0]) > 64 {
		return pkix.Name{}
	}
	return pkix.Name{CommonName: hosts[0]}
}

// NewSelfSigned makes a certificate that vouches for itself, valid for selfSignedLife
// from an hour before now.
func NewSelfSigned(key crypto.Signer, hosts []string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	name := subject(hosts)
	name.Organization = []string{"Postern self-signed"}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      name,
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(selfSignedLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Clients are told to trust this very certificate, so it is its own authority.
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	template.DNSNames, template.IPAddresses = split(hosts)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, mail.Wrap(mail.KindServerBug, err)
}

// pemChain writes a chain, the certificate itself first.
func pemChain(chain []*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// pemRequest writes a request.
func pemRequest(r *x509.CertificateRequest) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.Raw})
}

// pemKey writes a private key in PKCS#8.
func pemKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
