package acme

import (
	"context"
	"crypto/rsa"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
)

const (
	// look is how often it is looked whether a certificate is due.
	look = 5 * time.Second
	// leastPause is between two attempts at the least.
	leastPause = 5 * time.Second
)

// renewal says when a new certificate is renewed: at two thirds of its life, give or
// take a twentieth, so that servers do not come all at once.
func (c *Client) renewal(got *issued) *certificate.Renewal {
	leaf := got.chain[0]
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	at := leaf.NotBefore.Add(life*2/3 + jitter(life/20))
	return &certificate.Renewal{Directory: got.directory, LastAttempt: c.Now().UTC().Round(0), Next: at.UTC().Round(time.Second)}
}

// jitter gives a duration between -most and most.
func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(2*most) - most
}

// pause is how long after the nth failure the next attempt is made: for a
// certificate of 90 days three hours, doubled each time, a day at the most; others
// in proportion. Give or take a tenth.
func pause(life time.Duration, n int) time.Duration {
	p, most := life/720, min(life/90, 24*time.Hour)
	for range min(n-1, 10) {
		p *= 2
	}
	p = max(min(p, most), leastPause)
	return p + jitter(p/10)
}

// Run renews certificates until ctx ends. One that cannot be renewed stays.
func (c *Client) Run(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	wait := map[string]time.Time{} // by file name, also when it cannot be kept
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		list := c.Certificates.List()
		for _, cert := range list {
			if cert.Source == certificate.FromACME && cert.Renewal != nil && cert.Leaf() != nil && !c.Now().Before(cert.Renewal.Next) &&
				!c.Now().Before(wait[cert.Name]) && ctx.Err() == nil {
				if succeeded(list, cert) {
					// The server ended between keeping the new one and removing this.
					if err := c.Certificates.Remove(cert); err == nil {
						continue
					}
				}
				wait[cert.Name] = c.renew(ctx, cert)
			}
		}
	}
}

// succeeded tells whether a later certificate stands in for old.
func succeeded(list []*certificate.Certificate, old *certificate.Certificate) bool {
	names := slices.Sorted(slices.Values(old.DomainNames()))
	return slices.ContainsFunc(list, func(c *certificate.Certificate) bool {
		return c.Source == certificate.FromACME && c.Leaf() != nil && c.Leaf().NotBefore.After(old.Leaf().NotBefore) &&
			c.KeyAlgorithm() == old.KeyAlgorithm() && slices.Equal(slices.Sorted(slices.Values(c.DomainNames())), names)
	})
}

// renew gets a successor, or notes why there is none and gives when to try again.
func (c *Client) renew(ctx context.Context, old *certificate.Certificate) (next time.Time) {
	names := old.DomainNames()
	kind, bits := certificate.ECDSA, 0
	if public, ok := old.Leaf().PublicKey.(*rsa.PublicKey); ok {
		kind, bits = certificate.RSA, public.N.BitLen()
	}
	err := c.Ready(names)
	var got *issued
	if err == nil {
		got, err = c.order(ctx, names, kind, bits)
	}
	if err == nil {
		var made *certificate.Certificate
		if made, err = c.Certificates.Replace(old, got.chain, got.key, c.renewal(got)); err == nil {
			event.CertificateRenewed.Log(ctx, c.Log, "names", names, "thumbprint", made.Thumbprint(), "notAfter", made.Leaf().NotAfter)
			return next
		}
	}
	if ctx.Err() != nil {
		return next // the server stops
	}
	r := *old.Renewal
	r.Failures++
	now := c.Now().UTC().Round(0)
	r.LastAttempt, r.LastError = now, mail.TextOf(err)
	r.Next = now.Add(pause(old.Leaf().NotAfter.Sub(old.Leaf().NotBefore), r.Failures))
	event.NotRenewed.Log(ctx, c.Log, "names", names, "failures", r.Failures,
		"next", r.Next, "notAfter", old.Leaf().NotAfter, "error", err)
	if _, err := c.Certificates.Change(old, func(d *certificate.Details) { d.Renewal = &r }); err != nil {
		c.Log.Error("the failure of a renewal cannot be noted", "names", names, "error", err)
	}
	return r.Next
}
