// Package slapd starts Debian's OpenLDAP server for tests: on loopback, in a folder
// of its own, ended with the test. Nobody else's server is touched.
package slapd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/test/daemon"
)

// What a server has: a suffix, who may do all, and who may read.
const (
	Suffix          = "dc=example,dc=org"
	PeopleBase      = "ou=people," + Suffix
	GroupBase       = "ou=groups," + Suffix
	Admin           = "cn=admin," + Suffix
	AdminPassword   = "admin-secret"
	Reader          = "cn=postern," + Suffix
	ReaderPassword  = "reader-secret"
	PasswordsPolicy = "cn=policy," + Suffix
)

// Options say what a server has beside people.
type Options struct {
	// Lockout locks an account after three wrong passwords (the overlay ppolicy).
	Lockout bool
	// MemberOf keeps the attribute memberOf.
	MemberOf bool
}

// Server is a running slapd.
type Server struct {
	Clear, SSL string // host:port of ldap:// and ldaps://
	CAFile     string // what its certificate, for localhost, leads to

	t       testing.TB
	folder  string
	process *daemon.Process
}

// Start starts a server that has the suffix with ou=people, ou=groups and the reader.
// Where slapd is missing the test is skipped, in CI it fails.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if _, err := exec.LookPath("slapd"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("slapd is missing: ./scripts/test-packages")
		}
		t.Skip("slapd is missing: ./scripts/test-packages")
	}
	s := &Server{t: t, folder: t.TempDir()}
	s.CAFile = filepath.Join(s.folder, "ca.pem")
	s.certificates()
	s.configure(o)
	s.Clear, s.SSL = free(t), free(t)
	s.Run()
	t.Cleanup(s.Stop)
	s.Add("dc=example,dc=org", "objectClass", "organization", "objectClass", "dcObject", "o", "Example", "dc", "example")
	s.Add(PeopleBase, "objectClass", "organizationalUnit", "ou", "people")
	s.Add(GroupBase, "objectClass", "organizationalUnit", "ou", "groups")
	s.Add(Reader, "objectClass", "applicationProcess", "objectClass", "simpleSecurityObject", "cn", "postern", "userPassword", ReaderPassword)
	if o.Lockout {
		s.Add(PasswordsPolicy, "objectClass", "device", "objectClass", "pwdPolicy", "cn", "policy", "pwdAttribute", "userPassword",
			"pwdLockout", "TRUE", "pwdMaxFailure", "3")
	}
	return s
}

func (s *Server) configure(o Options) {
	overlays := ""
	if o.MemberOf {
		overlays += "overlay memberof\n"
	}
	if o.Lockout {
		overlays += "overlay ppolicy\nppolicy_default " + PasswordsPolicy + "\nppolicy_use_lockout\n"
	}
	data := filepath.Join(s.folder, "data")
	s.check(os.Mkdir(data, 0o700))
	s.check(os.WriteFile(filepath.Join(s.folder, "slapd.conf"), []byte(fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
attributetype ( 1.3.6.1.4.1.99999.1 NAME 'mailAlternateAddress' EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
attributetype ( 1.3.6.1.4.1.99999.2 NAME 'mailQuota' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.99999.3 NAME 'nsAccountLock' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.99999.4 NAME 'mailPerson' SUP top AUXILIARY MAY ( mailAlternateAddress $ mailQuota $ nsAccountLock ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
suffix "%[2]s"
rootdn "%[3]s"
rootpw %[4]s
directory %[1]s/data
maxsize 33554432
limits dn.exact="%[5]s" size.prtotal=unlimited
index mail,uid,mailAlternateAddress,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="%[5]s" read by anonymous auth by * none
%[6]s`, s.folder, Suffix, Admin, AdminPassword, Reader, overlays)), 0o600))
}

// Run starts the process; Start did it once already.
func (s *Server) Run() {
	s.t.Helper()
	cmd := exec.Command("slapd", "-f", filepath.Join(s.folder, "slapd.conf"), "-h", "ldap://"+s.Clear+"/ ldaps://"+s.SSL+"/", "-d", "0")
	s.process = daemon.Run(s.t, cmd, s.Clear, filepath.Join(s.folder, "log"))
}

// Stop ends the process, which may be run again.
func (s *Server) Stop() { s.process.Stop(syscall.SIGTERM) }

// Add adds an entry; attributes are names and values in turn, a name as often as it
// has values.
func (s *Server) Add(dn string, attributes ...string) {
	s.t.Helper()
	r := ldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	for i := 0; i+1 < len(attributes); i += 2 {
		values[attributes[i]] = append(values[attributes[i]], attributes[i+1])
	}
	for name, list := range values {
		r.Attribute(name, list)
	}
	s.asAdmin(func(c *ldap.Conn) error { return c.Add(r) })
}

// Set replaces an attribute of an entry; no values remove it.
func (s *Server) Set(dn, attribute string, values ...string) {
	s.t.Helper()
	r := ldap.NewModifyRequest(dn, nil)
	r.Replace(attribute, values)
	s.asAdmin(func(c *ldap.Conn) error { return c.Modify(r) })
}

// Delete removes an entry.
func (s *Server) Delete(dn string) {
	s.t.Helper()
	s.asAdmin(func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(dn, nil)) })
}

// Rename gives an entry another first part of its DN.
func (s *Server) Rename(dn, first string) {
	s.t.Helper()
	s.asAdmin(func(c *ldap.Conn) error { return c.ModifyDN(ldap.NewModifyDNRequest(dn, first, true, "")) })
}

func (s *Server) asAdmin(do func(*ldap.Conn) error) {
	s.t.Helper()
	c, err := ldap.DialURL("ldap://" + s.Clear)
	s.check(err)
	defer c.Close()
	s.check(c.Bind(Admin, AdminPassword))
	s.check(do(c))
}

func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("slapd: %v", err)
	}
}

func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificates makes a CA, and a certificate of it for localhost.
func (s *Server) certificates() {
	ca, caKey := s.certificate("ca", nil, nil)
	leaf, key := s.certificate("localhost", ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	s.check(err)
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: ca.Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: leaf.Raw},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: der},
	} {
		s.check(os.WriteFile(filepath.Join(s.folder, name), pem.EncodeToMemory(block), 0o600))
	}
}

func (s *Server) certificate(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, by = template, key
	} else {
		template.DNSNames = []string{name}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	s.check(err)
	c, err := x509.ParseCertificate(der)
	s.check(err)
	return c, key
}

// Certificate makes a CA and a certificate of it for localhost: files that a test can
// give to another server.
func Certificate(t testing.TB) (ca, certificate, key string) {
	s := &Server{t: t, folder: t.TempDir()}
	s.certificates()
	return filepath.Join(s.folder, "ca.pem"), filepath.Join(s.folder, "cert.pem"), filepath.Join(s.folder, "key.pem")
}

// DN is the distinguished name of a person.
func DN(uid string) string { return "uid=" + escape(uid) + "," + PeopleBase }

func escape(v string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, "+", `\+`, `"`, `\"`, "=", `\=`).Replace(v)
}
