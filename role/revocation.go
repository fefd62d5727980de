package role

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Bounds of the files of ClientCertificateRevocationList.
const (
	maxRevocationList  = 16 << 20 // bytes of one
	maxRevocationParts = 64       // lists in one
)

// revocationList is one list of an issuer (RFC 5280, 5).
type revocationList struct {
	*x509.RevocationList
	serials map[string]bool // of what is revoked
}

// revocations are the lists of a service's ClientCertificateRevocationList, read again
// when a file has changed.
type revocations struct {
	now func() time.Time

	mu    sync.Mutex
	files map[string]*followed[[]revocationList]
}

// check tells why a chain of certificates, the client's first and the authority last,
// does not count: each but the authority's is asked for in the lists of the one behind
// it. nil is that none is revoked, or that there are no lists.
func (r *revocations) check(v *settings.Values, chain []*x509.Certificate) error {
	paths := settings.ClientCertificateRevocationList.Of(v)
	if len(paths) == 0 {
		return nil
	}
	lists, err := r.lists(paths)
	if err != nil {
		return err
	}
	for i, c := range chain[:len(chain)-1] {
		if err := revoked(c, chain[i+1], lists, r.now()); err != nil {
			return err
		}
	}
	return nil
}

// lists reads the files; one that cannot be read is an error, because it might name the
// certificate.
func (r *revocations) lists(paths []string) ([]revocationList, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	files := map[string]*followed[[]revocationList]{}
	var all []revocationList
	for _, path := range paths {
		f := r.files[path]
		if f == nil {
			f = &followed[[]revocationList]{}
		}
		files[path] = f
		lists, err := f.of(path, readRevocations)
		if err != nil {
			return nil, err
		}
		all = append(all, lists...)
	}
	r.files = files
	return all, nil
}

// revoked tells why a certificate does not count by the lists of its issuer. Several
// count together; one whose time is up still revokes.
func revoked(c, issuer *x509.Certificate, lists []revocationList, now time.Time) error {
	current, over := false, time.Time{}
	for _, l := range lists {
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		switch {
		case l.serials[c.SerialNumber.Text(16)]:
			return mail.Errorf(mail.KindAuthenticationFailed, "The certificate of %s with the serial number %s is revoked.", c.Subject, serialText(c.SerialNumber))
		case now.Before(l.ThisUpdate):
		case now.Before(l.NextUpdate):
			current = true
		case l.NextUpdate.After(over):
			over = l.NextUpdate
		}
	}
	switch {
	case current:
		return nil
	case over.IsZero():
		return mail.Errorf(mail.KindUnavailable, "ClientCertificateRevocationList has no list of %s.", issuer.Subject)
	}
	return mail.Errorf(mail.KindUnavailable, "The revocation list of %s was to be replaced by %s.", issuer.Subject, over.UTC().Format(time.RFC3339))
}

func serialText(n *big.Int) string { return strings.ToUpper(n.Text(16)) }

// problem tells what is wrong with the lists of a service now, "" when nothing is. What
// issuers need is known only when their clients come.
func (r *revocations) problem(v *settings.Values) string {
	lists, err := r.lists(settings.ClientCertificateRevocationList.Of(v))
	if err != nil {
		return mail.TextOf(err)
	}
	latest := map[string]revocationList{}
	for _, l := range lists {
		if had, ok := latest[string(l.RawIssuer)]; !ok || l.NextUpdate.After(had.NextUpdate) {
			latest[string(l.RawIssuer)] = l
		}
	}
	for _, l := range latest {
		if !r.now().Before(l.NextUpdate) {
			return fmt.Sprintf("The revocation list of %s was to be replaced by %s.", l.Issuer, l.NextUpdate.UTC().Format(time.RFC3339))
		}
	}
	return ""
}

// readRevocations reads the lists of a file, PEM or DER. Lists for a part of an issuer's
// certificates, or of several issuers, and changes to lists are refused: they say less
// than who is revoked (RFC 5280, 5.2).
func readRevocations(path string) ([]revocationList, error) {
	refuse := func(format string, args ...any) ([]revocationList, error) {
		return nil, mail.Errorf(mail.KindBadArgument, "ClientCertificateRevocationList names the file %s, "+format, append([]any{path}, args...)...)
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxRevocationList {
		return refuse("which has more than %d bytes.", maxRevocationList)
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return refuse("which cannot be read: %v", err)
	}
	ders := [][]byte{content}
	if block, rest := pem.Decode(content); block != nil {
		ders = nil
		for ; block != nil && len(ders) <= maxRevocationParts; block, rest = pem.Decode(rest) {
			if block.Type != "X509 CRL" {
				return refuse("which has something else than revocation lists.")
			}
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) > maxRevocationParts {
		return refuse("which has more than %d lists.", maxRevocationParts)
	}
	var lists []revocationList
	for _, der := range ders {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return refuse("which is no revocation list of version 2, in PEM or DER.")
		}
		if l.NextUpdate.IsZero() {
			return refuse("whose list of %s does not say until when it counts.", l.Issuer)
		}
		list := revocationList{l, map[string]bool{}}
		for _, e := range l.Extensions {
			if e.Critical && !e.Id.Equal(crlNumber) {
				return refuse("whose list of %s is not a whole one of that issuer.", l.Issuer)
			}
		}
		for _, entry := range l.RevokedCertificateEntries {
			for _, e := range entry.Extensions {
				if e.Critical && !e.Id.Equal(reasonCode) {
					return refuse("whose list of %s is not a whole one of that issuer.", l.Issuer)
				}
			}
			list.serials[entry.SerialNumber.Text(16)] = true
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// The extensions of lists that may be critical: they change nothing here.
var (
	crlNumber  = asn1.ObjectIdentifier{2, 5, 29, 20}
	reasonCode = asn1.ObjectIdentifier{2, 5, 29, 21}
)

// applyRevocations refuses files that are none: settings.Applier.
func applyRevocations(_ context.Context, old, new *settings.Values) (commit, cancel func(), err error) {
	had := map[string]bool{}
	for _, path := range settings.ClientCertificateRevocationList.Of(old) {
		had[path] = true
	}
	for _, path := range settings.ClientCertificateRevocationList.Of(new) {
		if _, err = readRevocations(path); err != nil && !had[path] {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}
