package role

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// issuer is a certificate with its key.
type issuer struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate below i, or one of its own for nil.
func (i *issuer) issue(t *testing.T, serial int64, authority bool) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: big.NewInt(serial).String()}, NotAfter: time.Now().Add(time.Hour)}
	if authority {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	parent, signer := template, key
	if i != nil {
		parent, signer = i.Certificate, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{c, key}
}

// revokes makes a list of i's that is for an hour and began so long ago.
func (i *issuer) revokes(t *testing.T, ago time.Duration, extra []pkix.Extension, serials ...int64) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-ago), NextUpdate: time.Now().Add(time.Hour - ago), ExtraExtensions: extra}
	for _, n := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, i.Certificate, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestRevocations: what the lists of each certificate's issuer say decides; without a
// list that counts now nobody gets by.
func TestRevocations(t *testing.T) {
	root := (*issuer)(nil).issue(t, 1, true)
	between := root.issue(t, 2, true)
	client, stranger := between.issue(t, 3, false), root.issue(t, 4, true)
	chain := []*x509.Certificate{client.Certificate, between.Certificate, root.Certificate}
	dir := t.TempDir()
	block := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }
	good, fresh := root.revokes(t, 0, nil, 99), between.revokes(t, 0, nil, 98)
	for _, c := range []struct {
		what  string
		files [][]byte
		want  string // part of the reason, "" for none
	}{
		{"no lists", nil, ""},
		{"nobody is revoked", [][]byte{good, fresh}, ""},
		{"one file, PEM", [][]byte{append(block(good), block(fresh)...)}, ""},
		{"the client", [][]byte{good, between.revokes(t, 0, nil, 3)}, "with the serial number 3 is revoked"},
		{"the one between", [][]byte{root.revokes(t, 0, nil, 2), fresh}, "with the serial number 2 is revoked"},
		{"another issuer's number", [][]byte{root.revokes(t, 0, nil, 3), fresh}, ""},
		{"no list of the issuer", [][]byte{good}, "has no list of CN=2"},
		{"no list of the authority", [][]byte{fresh}, "has no list of CN=1"},
		{"time is up", [][]byte{good, between.revokes(t, 2*time.Hour, nil)}, "was to be replaced by"},
		{"time has not begun", [][]byte{good, between.revokes(t, -time.Minute, nil)}, "has no list of CN=2"},
		{"an older one revokes still", [][]byte{good, fresh, between.revokes(t, 2*time.Hour, nil, 3)}, "is revoked"},
		{"an older one beside", [][]byte{good, fresh, between.revokes(t, 2*time.Hour, nil)}, ""},
		{"forged", [][]byte{good, (&issuer{between.Certificate, stranger.key}).forged(t)}, "has no list of CN=2"},
		{"a part", [][]byte{good, between.revokes(t, 0, []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}})}, "not a whole one"},
		{"nonsense", [][]byte{good, fresh, []byte("nonsense")}, "no revocation list"},
		{"a certificate", [][]byte{good, fresh, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})}, "something else"},
		{"too big", [][]byte{good, fresh, make([]byte, maxRevocationList+1)}, "more than"},
	} {
		var paths []string
		for _, content := range c.files {
			path := filepath.Join(dir, big.NewInt(int64(len(paths))).String())
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		v := settings.ClientCertificateRevocationList.With(settings.Defaults(settings.IMAP4, "localhost"), paths)
		r := &revocations{now: time.Now}
		err := r.check(v, chain)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(mail.TextOf(err), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
		if text := r.problem(v); (text != "") != (strings.Contains(c.want, "replaced") || strings.Contains(c.want, "whole") || strings.Contains(c.want, "no revocation") || strings.Contains(c.want, "something") || strings.Contains(c.want, "more")) {
			t.Errorf("%s: the problem is %q", c.what, text)
		}
	}
	// What a file becomes is read again, and what cannot be read is not set.
	path := filepath.Join(dir, "changes")
	write := func(der []byte) {
		if err := os.WriteFile(path+".new", der, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(between.revokes(t, 0, nil))
	now := settings.Defaults(settings.POP3, "localhost")
	v := settings.ClientCertificateRevocationList.With(now, []string{path})
	r := &revocations{now: time.Now}
	short := []*x509.Certificate{client.Certificate, between.Certificate}
	if err := r.check(v, short); err != nil {
		t.Error(err)
	}
	write(between.revokes(t, 0, nil, 3))
	if err := r.check(v, short); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Error("a changed list:", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := r.check(v, short); mail.KindOf(err) != mail.KindBadArgument {
		t.Error("a list that is gone:", err)
	}
	if _, _, err := applyRevocations(t.Context(), now, v); mail.KindOf(err) != mail.KindBadArgument {
		t.Error("a missing file is set:", err)
	}
	if _, _, err := applyRevocations(t.Context(), v, v); err != nil {
		t.Error("other settings cannot be changed:", err)
	}
}

// forged makes a list in i's name with a key that is not i's.
func (i *issuer) forged(t *testing.T) []byte {
	t.Helper()
	other := (*issuer)(nil).issue(t, 2, true)
	template := *i.Certificate
	template.PublicKey = other.PublicKey
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	der, err := x509.CreateRevocationList(rand.Reader, l, &template, other.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// FuzzRevocations: whatever stands in a file ends in a list or an error.
func FuzzRevocations(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Add([]byte{0x30, 0})
	path := filepath.Join(f.TempDir(), "list")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		lists, err := readRevocations(path)
		if (err == nil) != (len(lists) > 0) {
			t.Error(lists, err)
		}
	})
}
