package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
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

// selfSignedLife is how long a self-signed certificate is valid.
const selfSignedLife = 825 * 24 * time.Hour

// SelfSigned gives the certificate that dir holds in CertificateFile and KeyFile.
// When neither file is there it makes one first: ECDSA P-256, signed by itself,
// for hosts, which are DNS names or IP addresses. The key's file has mode 0600.
func SelfSigned(hosts []string, dir string) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile)
	_, certErr := os.Lstat(certFile)
	_, keyErr := os.Lstat(keyFile)
	if os.IsNotExist(certErr) && os.IsNotExist(keyErr) {
		if err := writeSelfSigned(hosts, certFile, keyFile); err != nil {
			return tls.Certificate{}, err
		}
	}
	return LoadPair(certFile, keyFile)
}

func writeSelfSigned(hosts []string, certFile, keyFile string) error {
	if len(hosts) == 0 {
		return mail.Errorf(mail.KindBadArgument, "A certificate needs a host name.")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: hosts[0], Organization: []string{"Postern self-signed"}},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(selfSignedLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Clients are told to trust this very certificate, so it is its own authority.
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	// The key first: a certificate without its key would be in the way of the
	// next attempt.
	if err := writePEM(keyFile, "PRIVATE KEY", der); err != nil {
		return err
	}
	if err := writePEM(certFile, "CERTIFICATE", cert); err != nil {
		os.Remove(keyFile)
		return err
	}
	return nil
}

// writePEM writes a new file that only its owner can read, all or nothing.
func writePEM(file, kind string, der []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o600))
	if err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(file)
	}
	return mail.Wrap(mail.KindUnavailable, err)
}
