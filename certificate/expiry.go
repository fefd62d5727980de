package certificate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/event"
)

// Warning says in a sentence what is wrong with the dates of a certificate at the
// time now, "" when nothing is.
func (c *Certificate) Warning(now time.Time) string {
	leaf := c.Leaf()
	names := strings.Join(c.DomainNames(), ", ")
	text := ""
	switch c.Status(now) {
	case Expired:
		text = fmt.Sprintf("The certificate for %s expired on %s.", names, leaf.NotAfter.UTC().Format(time.DateOnly))
	case NotYetValid:
		text = fmt.Sprintf("The certificate for %s is not valid before %s.", names, leaf.NotBefore.UTC().Format(time.DateOnly))
	case Expiring:
		text = fmt.Sprintf("The certificate for %s expires in %s, on %s.", names, days(leaf.NotAfter.Sub(now)), leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	if text != "" && c.Renewal != nil && c.Renewal.LastError != "" {
		text += " It could not be renewed: " + c.Renewal.LastError
	}
	return text
}

func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}

// Warnings lists what is wrong with the dates of the certificates that clients are
// shown: those that another one stands in for are left out.
func (s *Store) Warnings() []string {
	var all []string
	for _, c := range s.needed() {
		if text := c.Warning(s.Now()); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// needed gives the certificates that are the only good one for one of their names.
func (s *Store) needed() []*Certificate {
	now := s.Now()
	list := s.List()
	good := map[string]bool{} // names that have one that is not about to end
	for _, c := range list {
		if status := c.Status(now); status == Valid || status == Untrusted {
			for _, name := range c.DomainNames() {
				good[name] = true
			}
		}
	}
	var needed []*Certificate
	for _, c := range list {
		for _, name := range c.DomainNames() {
			if c.Chain != nil && !good[name] {
				needed = append(needed, c)
				break
			}
		}
	}
	return needed
}

// tell logs once a day what Warnings says.
func (s *Store) tell() {
	now := s.Now()
	for _, c := range s.needed() {
		text := c.Warning(now)
		s.mu.Lock()
		last, told := s.told[c.SHA256()]
		if text != "" && (!told || now.Sub(last) >= 24*time.Hour) {
			s.told[c.SHA256()] = now
		} else {
			text = ""
		}
		s.mu.Unlock()
		if text == "" {
			continue
		}
		what := event.CertificateEnds
		if now.After(c.Leaf().NotAfter) {
			what = event.CertificateExpired
		}
		what.Log(context.Background(), s.Log, "problem", text, "thumbprint", c.Thumbprint(), "notAfter", c.Leaf().NotAfter)
	}
}
