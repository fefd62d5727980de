package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/mail"
)

// The files that SelfSigned keeps.
const (
	CertificateFile = "cert.pem"
	KeyFile         = "key.pem"
)

// firstName is the Certificate.Name of the pair of SelfSigned.
const firstName = CertificateFile

// selfSignedLife is how long a self-signed certificate is valid.
const selfSignedLife = 825 * 24 * time.Hour

// SelfSigned gives the certificate that dir holds in CertificateFile and KeyFile.
// When neither file is there it makes one first: ECDSA P-256, signed by itself,
// for hosts, which are DNS names or IP addresses. Both files have mode 0600.
func SelfSigned(hosts []string, dir string) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile)
	_, certErr := os.Lstat(certFile)
	_, keyErr := os.Lstat(keyFile)
	if os.IsNotExist(certErr) && os.IsNotExist(keyErr) {
		if len(hosts) == 0 {
			return tls.Certificate{}, bad("A certificate needs a host name.")
		}
		key, err := NewKey(ECDSA, 0)
		if err != nil {
			return tls.Certificate{}, err
		}
		cert, err := NewSelfSigned(key, hosts, time.Now())
		if err != nil {
			return tls.Certificate{}, err
		}
		made := &Certificate{Name: firstName, Chain: []*x509.Certificate{cert}, key: key}
		if err := made.write(dir, certFile, keyFile); err != nil {
			return tls.Certificate{}, err
		}
	}
	c, err := readFiles(certFile, keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return c.tls(), nil
}

// readFiles reads a pair. KindNotFound when a file is not there, KindBadArgument
// when they are no pair, KindUnavailable.
func readFiles(certFile, keyFile string) (*Certificate, error) {
	cert, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	b, err := Read(cert, key, "")
	if err == nil && b.Key == nil {
		err = bad("There is no private key.")
	}
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindBadArgument, Text: certFile + " and " + keyFile + " are not a certificate and its key: " + mail.TextOf(err), Cause: err}
	}
	return &Certificate{Chain: b.Chain, key: b.Key}, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
		return nil, bad("%s is no file, or too large.", path)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		kind := mail.KindUnavailable
		if errors.Is(err, fs.ErrNotExist) {
			kind = mail.KindNotFound
		}
		return nil, &mail.Error{Kind: kind, Text: path + " cannot be read.", Cause: err}
	}
	return text, nil
}

// maxFile bounds a file of the folder, in bytes.
const maxFile = 1 << 20
