package certificate

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/postern-mail/postern/mail"
)

// Bounds of what is read.
const (
	maxChain = 20
	// maxIterations bounds what a PKCS#12 file may make us compute: OpenSSL writes
	// 2,048, others up to 600,000.
	maxIterations = 1_000_000
	// minRSA is the smallest RSA key that is accepted, in bits.
	minRSA = 2048
)

// Bundle is what an administrator brings: a chain, and its key unless it answers a
// request.
type Bundle struct {
	Chain []*x509.Certificate // the certificate first, then those that lead to its root
	Key   crypto.Signer       // nil when there was none
}

// Belongs tells whether the key is that of the certificate.
func (b *Bundle) Belongs(key crypto.Signer) bool { return matches(b.Chain[0], key) }

// Read reads PEM (certificates and key in any order), DER (one certificate), a PKCS#7
// list of certificates in PEM or DER, or PKCS#12 with its password. further, which may be nil, is a second file: a key
// in PEM that stands apart. The chain is put in order; what does not belong to it is
// left out. KindBadArgument when anything cannot be read, the key does not belong
// to a certificate, or it is encrypted.
func Read(content, further []byte, password string) (*Bundle, error) {
	var certs []*x509.Certificate
	var key crypto.Signer
	for _, part := range [][]byte{content, further} {
		if len(bytes.TrimSpace(part)) == 0 {
			continue
		}
		c, k, err := readAny(part, password)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c...)
		if key, err = onlyKey(key, k); err != nil {
			return nil, err
		}
	}
	if len(certs) == 0 {
		return nil, bad("There is no certificate in it.")
	}
	if len(certs) > maxChain {
		return nil, bad("There are more than %d certificates in it.", maxChain)
	}
	leaf, err := leafOf(certs, key)
	if err != nil {
		return nil, err
	}
	return &Bundle{Chain: chainOf(leaf, certs), Key: key}, nil
}

func bad(format string, args ...any) error { return mail.Errorf(mail.KindBadArgument, format, args...) }

func readAny(content []byte, password string) ([]*x509.Certificate, crypto.Signer, error) {
	if bytes.Contains(content, []byte("-----BEGIN ")) {
		return readPEM(content)
	}
	if cert, err := x509.ParseCertificate(content); err == nil {
		return []*x509.Certificate{cert}, nil, nil
	}
	if certs, err := readPKCS7(content); err == nil {
		return certs, nil, nil
	}
	if len(content) > 0 && content[0] == 0x30 {
		return readPKCS12(content, password)
	}
	return nil, nil, bad("It is neither PEM nor DER nor PKCS#12.")
}

// readPEM reads all blocks; words between them, as openssl writes them, are passed
// over.
func readPEM(content []byte) (certs []*x509.Certificate, key crypto.Signer, err error) {
	for {
		var block *pem.Block
		block, content = pem.Decode(content)
		if block == nil {
			return certs, key, nil
		}
		switch {
		case block.Type == "CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE" || block.Type == "X509 CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, &mail.Error{Kind: mail.KindBadArgument, Text: "A certificate in it cannot be read.", Cause: err}
			}
			if certs = append(certs, cert); len(certs) > maxChain {
				return nil, nil, bad("There are more than %d certificates in it.", maxChain)
			}
		case block.Type == "PKCS7" || block.Type == "CMS":
			more, err := readPKCS7(block.Bytes)
			if err != nil {
				return nil, nil, bad("The PKCS#7 list of certificates in it cannot be read.")
			}
			certs = append(certs, more...)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
				return nil, nil, bad("The private key is encrypted; decrypt it (openssl pkey -in FILE), or bring a PKCS#12 file with its password.")
			}
			one, err := parseKey(block.Bytes)
			if err == nil {
				key, err = onlyKey(key, one)
			}
			if err != nil {
				return nil, nil, err
			}
		}
	}
}

// onlyKey gives the one of two that is not nil; both may be the same.
func onlyKey(a, b crypto.Signer) (crypto.Signer, error) {
	if a == nil || b == nil {
		return cmp.Or(a, b), nil
	}
	if public, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(b.Public()) {
		return nil, bad("There is more than one private key.")
	}
	return a, nil
}

// parseKey reads a private key in PKCS#8, PKCS#1 or SEC 1.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, bad("The private key cannot be read; it is RSA, ECDSA or Ed25519.")
}

// readPKCS7 reads the certificates of a SignedData (RFC 5652, 5.1) without content.
func readPKCS7(der []byte) ([]*x509.Certificate, error) {
	unreadable := errors.New("not PKCS#7")
	input := cryptobyte.String(der)
	var info, signed, content, certs cryptobyte.String
	var kind asn1.ObjectIdentifier
	signedData := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	zero := cryptobyteasn1.Tag(0).ContextSpecific().Constructed()
	if !input.ReadASN1(&info, cryptobyteasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(signedData) ||
		!info.ReadASN1(&content, zero) || !content.ReadASN1(&signed, cryptobyteasn1.SEQUENCE) ||
		!signed.SkipASN1(cryptobyteasn1.INTEGER) || !signed.SkipASN1(cryptobyteasn1.SET) || !signed.SkipASN1(cryptobyteasn1.SEQUENCE) ||
		!signed.ReadASN1(&certs, zero) {
		return nil, unreadable
	}
	all, err := x509.ParseCertificates(certs)
	if err != nil || len(all) == 0 || len(all) > maxChain {
		return nil, unreadable
	}
	return all, nil
}

func readPKCS12(content []byte, password string) ([]*x509.Certificate, crypto.Signer, error) {
	if costly(content, 0) {
		return nil, nil, bad("The PKCS#12 file asks for more than %d iterations.", maxIterations)
	}
	private, leaf, others, err := pkcs12.DecodeChain(content, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, bad("The password of the PKCS#12 file is not the right one.")
	case err != nil:
		return nil, nil, &mail.Error{Kind: mail.KindBadArgument, Text: "It is neither PEM nor DER nor a PKCS#12 file with one private key.", Cause: err}
	}
	key, ok := private.(crypto.Signer)
	if !ok {
		return nil, nil, bad("The private key in the PKCS#12 file is of an unknown kind.")
	}
	return append([]*x509.Certificate{leaf}, others...), key, nil
}

// costly finds an iteration count (an INTEGER behind the OCTET STRING of its salt)
// above maxIterations.
func costly(der cryptobyte.String, depth int) bool {
	salted := false
	for !der.Empty() && depth < 20 {
		var value cryptobyte.String
		var tag cryptobyteasn1.Tag
		if !der.ReadAnyASN1(&value, &tag) {
			return false
		}
		switch {
		case tag == cryptobyteasn1.INTEGER:
			if salted && (len(value) > 4 || number(value) > maxIterations) {
				return true
			}
		case tag == cryptobyteasn1.OCTET_STRING || tag&0x20 != 0:
			if costly(value, depth+1) {
				return true
			}
		}
		salted = tag == cryptobyteasn1.OCTET_STRING
	}
	return false
}

func number(raw []byte) (n uint64) {
	for _, b := range raw {
		n = n<<8 | uint64(b)
	}
	return n
}

// leafOf finds the certificate that the key belongs to; without a key the one that
// no other was signed by.
func leafOf(certs []*x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	if key != nil {
		for _, c := range certs {
			if matches(c, key) {
				return c, nil
			}
		}
		return nil, bad("The private key does not belong to the certificate for %s.", strings.Join((&Certificate{Chain: certs[:1]}).DomainNames(), ", "))
	}
	for _, c := range certs {
		signs := false
		for _, other := range certs {
			signs = signs || other != c && issued(c, other)
		}
		if !signs {
			return c, nil
		}
	}
	return certs[0], nil
}

func matches(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// issued tells whether parent signed child.
func issued(parent, child *x509.Certificate) bool {
	return bytes.Equal(parent.RawSubject, child.RawIssuer) && child.CheckSignatureFrom(parent) == nil
}

// chainOf puts those that lead from leaf towards its root behind it. A root, which
// signed itself, is left out: clients have it, or do not trust it.
func chainOf(leaf *x509.Certificate, certs []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for len(chain) <= len(certs) {
		last := chain[len(chain)-1]
		var next *x509.Certificate
		for _, c := range certs {
			if !c.Equal(last) && issued(c, last) && !bytes.Equal(c.RawSubject, c.RawIssuer) {
				next = c
				break
			}
		}
		if next == nil {
			break
		}
		chain = append(chain, next)
	}
	return chain
}

// Check refuses a chain that clients would refuse or that protects too little:
// expired, not for servers, without a name, a short key, SHA-1 or MD5 signatures.
// force takes one that is expired. KindBadArgument says which.
func Check(chain []*x509.Certificate, now time.Time, force bool) error {
	leaf := chain[0]
	one := &Certificate{Chain: chain}
	names := strings.Join(one.DomainNames(), ", ")
	switch {
	case names == "":
		return bad("The certificate names no host.")
	case now.After(leaf.NotAfter) && !force:
		return bad("The certificate for %s expired on %s.", names, leaf.NotAfter.UTC().Format(time.DateOnly))
	case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		return bad("The certificate has its host name in the common name only, which clients no longer accept.")
	case !forServers(leaf):
		return bad("The certificate for %s is not for servers.", names)
	}
	for i, c := range chain {
		what := "The certificate for " + names
		if i > 0 {
			what = "The chain's certificate " + c.Subject.CommonName
		}
		if err := strongKey(c.PublicKey); err != nil {
			return bad("%s has a weak key: %s.", what, mail.TextOf(err))
		}
		switch c.SignatureAlgorithm {
		case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
			return bad("%s is signed with %s, which can be forged.", what, c.SignatureAlgorithm)
		}
	}
	return nil
}

func forServers(leaf *x509.Certificate) bool {
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, usage := range leaf.ExtKeyUsage {
		if usage == x509.ExtKeyUsageServerAuth || usage == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// strongKey refuses keys that are too short.
func strongKey(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return bad("RSA of %d bits; at least %d are needed", k.N.BitLen(), minRSA)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return bad("ECDSA on the curve P-224")
		}
	}
	if keyAlgorithm(public) == "unknown" {
		return bad("it is of an unknown kind")
	}
	return nil
}
