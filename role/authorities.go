package role

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"sync"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// maxAuthorities bounds the file of ClientCertificateAuthorities in bytes.
const maxAuthorities = 1 << 20

// authorities are the certificates of a service's ClientCertificateAuthorities, read
// again when the file has changed.
type authorities struct {
	log *slog.Logger

	mu     sync.Mutex
	failed string // path that could not be read, so that it is said once
	file   followed[*x509.CertPool]
}

// of gives the pool of the setting as it is now; nil when none is named. A file that
// cannot be read trusts nobody.
func (a *authorities) of(v *settings.Values) *x509.CertPool {
	path := settings.ClientCertificateAuthorities.Of(v)
	if path == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	pool, err := a.file.of(path, readAuthorities)
	switch {
	case err == nil:
		a.failed = ""
	case a.failed != path:
		a.failed = path
		a.log.Warn("no client certificate is trusted now", "service", v.Service(), "error", err)
	}
	return pool
}

// readAuthorities reads certificates of authorities from PEM.
func readAuthorities(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxAuthorities {
		return nil, mail.Errorf(mail.KindBadArgument, "ClientCertificateAuthorities names a file of more than %d bytes.", maxAuthorities)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "ClientCertificateAuthorities names a file that cannot be read: %v", err)
	}
	pool, found := x509.NewCertPool(), false
	for block, rest := pem.Decode(bytes.TrimSpace(text)); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil || !c.IsCA {
			return nil, mail.Errorf(mail.KindBadArgument, "ClientCertificateAuthorities names a file that has something else than certificates of authorities.")
		}
		pool.AddCert(c)
		found = true
	}
	if !found {
		return nil, mail.Errorf(mail.KindBadArgument, "ClientCertificateAuthorities names a file without certificates (PEM).")
	}
	return pool, nil
}

// applyAuthorities refuses a file that is none: settings.Applier.
func applyAuthorities(_ context.Context, old, new *settings.Values) (commit, cancel func(), err error) {
	path := settings.ClientCertificateAuthorities.Of(new)
	if path != "" && path != settings.ClientCertificateAuthorities.Of(old) {
		_, err = readAuthorities(path)
	}
	return nil, nil, err
}
