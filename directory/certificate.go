package directory

import (
	"context"
	"crypto/x509"
)

type certificateKey struct{}

// WithCertificate gives the context of questions for a client that showed a certificate
// on its connection, nil for none: a token may be bound to it (RFC 8705, 3).
func WithCertificate(ctx context.Context, c *x509.Certificate) context.Context {
	if c == nil {
		return ctx
	}
	return context.WithValue(ctx, certificateKey{}, c)
}

// CertificateOf gives the client's certificate, nil when there is none.
func CertificateOf(ctx context.Context) *x509.Certificate {
	c, _ := ctx.Value(certificateKey{}).(*x509.Certificate)
	return c
}
