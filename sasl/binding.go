package sasl

import (
	"crypto"
	_ "crypto/sha256" // for tls-server-end-point
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"slices"

	"github.com/postern-mail/postern/krb5"
)

// bindingTypes is the table of channel bindings: a name of IANA's registry and
// the values that a client on this very connection may give. No value means that
// this connection does not have the binding.
//
// tls-unique is for clients that know nothing newer: it does not exist in TLS 1.3.
var bindingTypes = []struct {
	name   string
	values func(Server) [][]byte
}{
	{"tls-exporter", exporter},
	{"tls-server-end-point", endPoint},
	{"tls-unique", unique},
}

// Binds tells whether the connection has a channel binding, so that -PLUS
// mechanisms make sense on it. It is asked for every CAPABILITY, by whomever: no value is
// computed where it is plain that there is one.
func Binds(s Server) bool {
	if s.TLS == nil {
		return false
	}
	if s.TLS.Version >= tls.VersionTLS13 || s.Certificate != nil && endPointHash(s.Certificate) != 0 {
		return true
	}
	for _, b := range bindingTypes {
		if len(b.values(s)) > 0 {
			return true
		}
	}
	return false
}

// bindings gives the values of the type that a client named.
func bindings(s Server, name string) [][]byte {
	for _, b := range bindingTypes {
		if b.name == name {
			return b.values(s)
		}
	}
	return nil
}

// Protection is what is done about a channel binding that a client may leave out, as
// the tickets of GSSAPI and GSS-SPNEGO can.
type Protection int

// What is done.
const (
	CheckBinding   Protection = iota // one that is given must be right
	RequireBinding                   // one must be given, and be right
	IgnoreBinding                    // it is not looked at
)

// checkBinding compares the hash of a channel binding that came with a ticket; all
// zeroes is none. Before TLS none is right: whoever gives one has a TLS connection with
// somebody else.
func (s Server) checkBinding(given krb5.Binding) error {
	switch none := given == (krb5.Binding{}); {
	case s.Protection == IgnoreBinding, none && s.Protection == CheckBinding:
		return nil
	case none:
		return failed("the ticket came without a channel binding, which is required")
	}
	for _, b := range bindingTypes {
		for _, value := range b.values(s) {
			// Type and value (RFC 5056, 2.1), or the value alone, as clients with libsasl2
			// give it, which is this connection's as well.
			if given == krb5.Bind(slices.Concat([]byte(b.name+":"), value)) || given == krb5.Bind(value) {
				return nil
			}
		}
	}
	return failed("the ticket's channel binding is not this connection's")
}

// exporter is RFC 9266, 2. In TLS 1.3 no context and an empty one are the same;
// in TLS 1.2 they differ, the RFC means the empty one, and deployed libraries use
// none: both are unique to the connection. Under TLS 1.2 crypto/tls refuses to
// export without the extended master secret, as RFC 9266, 3 demands.
func exporter(s Server) [][]byte {
	if s.TLS == nil || s.TLS.Version < tls.VersionTLS12 {
		return nil
	}
	contexts := [][]byte{{}}
	if s.TLS.Version == tls.VersionTLS12 {
		contexts = append(contexts, nil)
	}
	var values [][]byte
	for _, context := range contexts {
		v, err := s.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", context, 32)
		if err != nil {
			return nil
		}
		values = append(values, v)
	}
	return values
}

// unique is RFC 5929, 3.1, in TLS 1.2 and with the extended master secret alone: without
// it two connections can be made to have the same (RFC 7627, 1), and the exporter, which
// crypto/tls ties to it, tells whether it is there.
func unique(s Server) [][]byte {
	if s.TLS == nil || s.TLS.Version != tls.VersionTLS12 || len(s.TLS.TLSUnique) == 0 || len(exporter(s)) == 0 {
		return nil
	}
	return [][]byte{s.TLS.TLSUnique}
}

// endPoint is RFC 5929, 4.1: a hash of the server's certificate, with the hash of
// its signature, SHA-256 in place of MD5 and SHA-1. A signature without a hash of
// its own (Ed25519) has no such binding.
func endPoint(s Server) [][]byte {
	if s.TLS == nil || s.Certificate == nil {
		return nil
	}
	h := endPointHash(s.Certificate)
	if h == 0 {
		return nil
	}
	d := h.New()
	d.Write(s.Certificate.Raw)
	return [][]byte{d.Sum(nil)}
}

// endPointHash is the hash of endPoint, 0 for none.
func endPointHash(c *x509.Certificate) crypto.Hash {
	switch c.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256, x509.DSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}
