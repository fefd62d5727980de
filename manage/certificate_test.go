package manage_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
)

// bench is a management server with certificates in a folder.
type bench struct {
	*managetest.Fake
	t      *testing.T
	folder string // for files of the test
	caller manage.Caller
}

func withCertificates(t *testing.T) *bench {
	t.Helper()
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	store, err := certificate.Open(certificate.Options{Folder: filepath.Join(t.TempDir(), "c"), Hosts: []string{managetest.ServerName, "localhost"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f.Pairs, f.Certificates, f.Now = store, store.Shown(), time.Now
	return &bench{f, t, t.TempDir(), manage.Caller{Name: "unix:root", From: "test", Roles: []manage.Role{manage.ServerAdministrator}, Local: true}}
}

func (b *bench) try(name string, a args) (*manage.Result, error) {
	b.t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.Run(context.Background(), b.caller, name, text)
}

func (b *bench) run(name string, a args) *manage.Result {
	b.t.Helper()
	r, err := b.try(name, a)
	if err != nil {
		b.t.Fatalf("%s: %s", name, mail.TextOf(err))
	}
	return r
}

func (b *bench) refused(kind mail.Kind, part, name string, a args) {
	b.t.Helper()
	r, err := b.try(name, a)
	if mail.KindOf(err) != kind || err == nil || !strings.Contains(mail.TextOf(err), part) {
		b.t.Errorf("%s %v: %v, %v", name, a, r, err)
	}
}

func text(o manage.Object, name string) string {
	v, _ := o.Value(name)
	raw, _ := json.Marshal(v)
	return strings.Trim(string(raw), `"`)
}

func (b *bench) path(name string) string { return filepath.Join(b.folder, name) }

func (b *bench) write(name string, content []byte) string {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), content, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return b.path(name)
}

func (b *bench) read(name string) manage.FileContent {
	b.t.Helper()
	content, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return manage.FileContent{Base64: content}
}

func (b *bench) openssl(arguments string) string {
	b.t.Helper()
	cmd := exec.Command("openssl", strings.Fields(arguments)...)
	cmd.Dir = b.folder
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		b.t.Skip("openssl is not installed")
	}
	if err != nil {
		b.t.Fatalf("openssl %s: %v\n%s", arguments, err, out)
	}
	return string(out)
}

// authority makes a root and one between it and servers.
func (b *bench) authority() {
	b.t.Helper()
	b.openssl("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=Test-Root -days 3650")
	b.openssl("req -newkey rsa:2048 -nodes -keyout between.key -out between.csr -subj /CN=Test-Between")
	b.write("ca.ext", []byte("basicConstraints=critical,CA:TRUE\n"))
	b.openssl("x509 -req -in between.csr -CA root.pem -CAkey root.key -CAcreateserial -out between.pem -days 1000 -extfile ca.ext")
}

// sign signs a request as an authority does.
func (b *bench) sign(csr, out, names string, days string) {
	b.t.Helper()
	b.write("leaf.ext", []byte("subjectAltName="+names+"\nextendedKeyUsage=serverAuth\n"))
	b.openssl("x509 -req -in " + csr + " -CA between.pem -CAkey between.key -CAcreateserial -out " + out + " -days " + days + " -extfile leaf.ext")
}

// TestRequestToService: a request is signed by openssl's authority, its answer is
// brought with the chain out of order and given to services; then it cannot be
// removed, until another one is there.
func TestRequestToService(t *testing.T) {
	b := withCertificates(t)
	b.authority()
	r := b.run("New-ServerCertificate", args{"DomainName": []string{"Mail.Example.net", "imap.example.net"}, "GenerateRequest": true, "KeyAlgorithm": "RSA", "KeySize": 2048, "FriendlyName": "net"})
	if r.File == nil || !strings.HasPrefix(string(r.File.Content), "-----BEGIN CERTIFICATE REQUEST") || text(r.Objects[0], "Status") != "PendingRequest" {
		t.Fatalf("%+v", r)
	}
	request := text(r.Objects[0], "Thumbprint")
	b.write("mail.csr", r.File.Content)
	if out := b.openssl("req -in mail.csr -noout -verify -text"); !strings.Contains(out, "DNS:mail.example.net, DNS:imap.example.net") || !strings.Contains(out, "2048 bit") {
		t.Error(out)
	}
	b.refused(mail.KindCannot, "no certificate yet", "Enable-ServerCertificate", args{"Thumbprint": request, "Services": []string{"IMAP"}})
	b.sign("mail.csr", "mail.pem", "DNS:mail.example.net,DNS:imap.example.net", "90")
	var chain []byte
	for _, name := range []string{"root.pem", "between.pem", "mail.pem"} {
		chain = append(chain, b.read(name).Base64...)
	}
	r = b.run("Import-ServerCertificate", args{"Path": string(chain), "Services": []string{"POP", "imap", "LMTP"}})
	o := r.Objects[0]
	if text(o, "Status") != "Valid" || text(o, "Services") != `["POP3","IMAP4","LMTP"]` || text(o, "FriendlyName") != "net" || text(o, "RootCAType") != "Unknown" || text(o, "Issuer") != "CN=Test-Between" {
		t.Errorf("%+v", o)
	}
	if name := settings.X509CertificateName.Of(b.Settings.Current(settings.IMAP4)); name != "mail.example.net" {
		t.Error(name)
	}
	thumbprint := text(o, "Thumbprint")
	if found, err := b.Pairs.Find(thumbprint); err != nil || len(found.Chain) != 2 || found.Chain[1].Subject.CommonName != "Test-Between" {
		t.Error("the chain was not mended", err)
	}
	if want := strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(strings.SplitN(b.openssl("x509 -in mail.pem -noout -fingerprint -sha1"), "=", 2)[1]), ":", "")); want != thumbprint {
		t.Error(thumbprint, want)
	}
	b.refused(mail.KindAlreadyExists, "here already", "Import-ServerCertificate", args{"Path": string(chain)})
	b.refused(mail.KindCannot, "POP3 (mail.example.net, SecureLogin: nobody could log in), IMAP4", "Remove-ServerCertificate", args{"Thumbprint": thumbprint, "Confirm": false})

	other := text(b.run("New-ServerCertificate", args{"DomainName": "mail.example.net"}).Objects[0], "Thumbprint")
	if got := text(b.run("Get-ServerCertificate", args{"Thumbprint": other}).Objects[0], "Services"); got != "[]" {
		t.Error("a new certificate took services over:", got)
	}
	b.run("Enable-ServerCertificate", args{"Thumbprint": other, "Services": "IMAP"})
	if got := text(b.run("Get-ServerCertificate", args{"Thumbprint": other}).Objects[0], "Services"); got != `["POP3","IMAP4","LMTP"]` {
		t.Error(got)
	}
	if r := b.run("Remove-ServerCertificate", args{"Thumbprint": thumbprint}); r.Confirm == "" {
		t.Error("it did not ask")
	}
	b.run("Remove-ServerCertificate", args{"Thumbprint": thumbprint, "Confirm": false})
	b.refused(mail.KindNotFound, "no certificate", "Get-ServerCertificate", args{"Thumbprint": thumbprint})
}

// TestPKCS12: files of openssl are read, old and new; ours are read by openssl. The
// key leaves the server only when that was allowed, and is never in the audit record.
func TestPKCS12(t *testing.T) {
	b := withCertificates(t)
	b.authority()
	b.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mail.key -out mail.csr -subj /CN=x")
	b.sign("mail.csr", "mail.pem", "DNS:mail.example.net", "90")
	b.openssl("pkcs12 -export -inkey mail.key -in mail.pem -certfile between.pem -passout pass:secret1 -out new.p12")
	b.openssl("pkcs12 -export -inkey mail.key -in mail.pem -certfile between.pem -passout pass:secret1 -out old.p12 -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1")
	for _, name := range []string{"new.p12", "old.p12"} {
		b.refused(mail.KindBadArgument, "password", "Import-ServerCertificate", args{"Path": b.read(name), "Password": "wrong"})
		r := b.run("Import-ServerCertificate", args{"Path": b.read(name), "Password": "secret1", "PrivateKeyExportable": name == "new.p12"})
		thumbprint := text(r.Objects[0], "Thumbprint")
		if found, err := b.Pairs.Find(thumbprint); err != nil || len(found.Chain) != 2 {
			t.Error(name, err)
		}
		export := args{"Thumbprint": thumbprint, "Format": "PKCS12", "IncludePrivateKey": true, "Password": "secret2"}
		if name == "old.p12" {
			b.refused(mail.KindNoPermission, "not exportable", "Export-ServerCertificate", export)
			b.refused(mail.KindNoPermission, "not exportable", "Export-ServerCertificate", args{"Thumbprint": thumbprint, "IncludePrivateKey": true})
			if r := b.run("Export-ServerCertificate", args{"Thumbprint": thumbprint}); strings.Contains(string(r.File.Content), "PRIVATE") || strings.Count(string(r.File.Content), "BEGIN CERTIFICATE") != 2 {
				t.Errorf("%s", r.File.Content)
			}
		} else {
			b.write("ours.p12", b.run("Export-ServerCertificate", export).File.Content)
			out := b.openssl("pkcs12 -in ours.p12 -passin pass:secret2 -nodes")
			if !strings.Contains(out, "BEGIN PRIVATE KEY") || strings.Count(out, "BEGIN CERTIFICATE") != 2 {
				t.Error(out)
			}
			b.write("ours.pem", b.run("Export-ServerCertificate", args{"Thumbprint": thumbprint, "IncludePrivateKey": true}).File.Content)
			b.openssl("pkey -in ours.pem -noout -check")
			for _, bad := range []args{{"Format": "PKCS12"}, {"Format": "PKCS12", "IncludePrivateKey": true}, {"Password": "x"}, {"Format": "JKS"}} {
				bad["Thumbprint"] = thumbprint
				b.refused(mail.KindBadArgument, "", "Export-ServerCertificate", bad)
			}
		}
		b.run("Remove-ServerCertificate", args{"Thumbprint": thumbprint, "Confirm": false})
	}
	raw, err := json.Marshal(b.Audit.Records())
	if err != nil {
		t.Fatal(err)
	}
	exported := 0
	for _, r := range b.Audit.Records() {
		if r.Cmdlet == "Export-ServerCertificate" && r.Outcome == "OK" && len(r.Changes) > 0 && r.Changes[0].Name == "PrivateKey" {
			exported++
		}
	}
	if exported != 2 || strings.Contains(string(raw), "secret1") || strings.Contains(string(raw), "secret2") || strings.Contains(string(raw), "BEGIN") {
		t.Errorf("%d exports in %s", exported, raw)
	}
}

// TestBadCertificates: what clients would refuse is refused with its reason, and
// nothing is kept.
func TestBadCertificates(t *testing.T) {
	b := withCertificates(t)
	b.authority()
	b.openssl("req -newkey rsa:2048 -nodes -keyout mail.key -out mail.csr -subj /CN=mail.example.net")
	b.openssl("req -newkey rsa:2048 -nodes -keyout other.key -out other.csr -subj /CN=other")
	b.openssl("req -newkey rsa:1024 -nodes -keyout weak.key -out weak.csr -subj /CN=weak")
	b.sign("mail.csr", "mail.pem", "DNS:mail.example.net", "90")
	b.sign("weak.csr", "weak.pem", "DNS:mail.example.net", "90")
	b.sign("mail.csr", "past.pem", "DNS:mail.example.net", "-1")
	b.openssl("x509 -req -sha1 -in mail.csr -CA between.pem -CAkey between.key -CAcreateserial -out sha1.pem -days 90 -extfile leaf.ext")
	b.openssl("x509 -req -in mail.csr -CA between.pem -CAkey between.key -CAcreateserial -out cn.pem -days 90")
	b.write("client.ext", []byte("subjectAltName=DNS:mail.example.net\nextendedKeyUsage=clientAuth\n"))
	b.openssl("x509 -req -in mail.csr -CA between.pem -CAkey between.key -CAcreateserial -out client.pem -days 90 -extfile client.ext")
	b.openssl("pkey -in mail.key -aes256 -passout pass:x -out locked.key")
	before := len(b.Pairs.List())
	for _, c := range []struct{ cert, key, want string }{
		{"mail.pem", "other.key", "does not belong"},
		{"mail.pem", "", "no private key"},
		{"mail.key", "", "no certificate"},
		{"mail.pem", "locked.key", "encrypted"},
		{"weak.pem", "weak.key", "weak key"},
		{"past.pem", "mail.key", "expired on"},
		{"sha1.pem", "mail.key", "SHA1"},
		{"cn.pem", "mail.key", "common name"},
		{"client.pem", "mail.key", "not for servers"},
		{"mail.csr", "mail.key", "no certificate"},
		{"ca.ext", "", "neither PEM nor DER"},
	} {
		a := args{"Path": b.read(c.cert)}
		if c.key != "" {
			a["KeyPath"] = b.read(c.key)
		}
		b.refused(mail.KindBadArgument, c.want, "Import-ServerCertificate", a)
	}
	if n := len(b.Pairs.List()); n != before {
		t.Error(n)
	}
	r := b.run("Import-ServerCertificate", args{"Path": b.read("past.pem"), "KeyPath": b.read("mail.key"), "Force": true})
	thumbprint := text(r.Objects[0], "Thumbprint")
	if text(r.Objects[0], "Status") != "Expired" {
		t.Errorf("%+v", r.Objects)
	}
	b.refused(mail.KindCannot, "expired", "Enable-ServerCertificate", args{"Thumbprint": thumbprint, "Services": "POP"})
	b.refused(mail.KindNotFound, "no service", "Enable-ServerCertificate", args{"Thumbprint": thumbprint, "Services": "SMTP"})
	for _, bad := range []args{
		{"DomainName": "-x-.example.net"}, {"DomainName": "a b"}, {"DomainName": "*.net"}, {"KeyAlgorithm": "DSA"}, {"KeyAlgorithm": "RSA", "KeySize": 1024},
		{"KeyAlgorithm": "ECDSA", "KeySize": 2048}, {"Acme": true}, {"Acme": true, "GenerateRequest": true}, {"GenerateRequest": true, "Services": "POP"}, {"RequestFile": "/tmp/x"},
	} {
		b.refused(mail.KindBadArgument, "", "New-ServerCertificate", bad)
	}
	if r := b.run("New-ServerCertificate", args{"DomainName": "*.example.com", "WhatIf": true}); !r.WhatIf || len(b.Pairs.List()) != before+1 {
		t.Errorf("%+v", r)
	}
	wild := text(b.run("New-ServerCertificate", args{"DomainName": "*.example.com"}).Objects[0], "Thumbprint")
	b.refused(mail.KindCannot, "none of these is a name", "Enable-ServerCertificate", args{"Thumbprint": wild, "Services": "POP"})
	b.run("Set-PopSettings", args{"X509CertificateName": "pop.example.com"})
	b.run("Enable-ServerCertificate", args{"Thumbprint": wild, "Services": "POP"})
	b.refused(mail.KindCannot, "POP3 (pop.example.com", "Remove-ServerCertificate", args{"Thumbprint": wild, "Confirm": false})
}

// TestEnableIsWhole: when the settings cannot be changed the certificate does not
// become the first choice either.
func TestEnableIsWhole(t *testing.T) {
	b := withCertificates(t)
	made := text(b.run("New-ServerCertificate", args{"DomainName": []string{"new.example.net", managetest.ServerName}}).Objects[0], "Thumbprint")
	b.run("Enable-ServerCertificate", args{"Thumbprint": made, "Services": "POP"})
	b.Settings.Apply(func(_ context.Context, _, v *settings.Values) (func(), func(), error) {
		if v.Service() == settings.LMTP {
			return nil, nil, mail.Errorf(mail.KindUnavailable, "no")
		}
		return nil, nil, nil
	})
	next := text(b.run("New-ServerCertificate", args{"DomainName": "next.example.net"}).Objects[0], "Thumbprint")
	b.refused(mail.KindUnavailable, "no", "Enable-ServerCertificate", args{"Thumbprint": next, "Services": []string{"POP", "LMTP"}})
	for _, s := range []settings.Service{settings.POP3, settings.LMTP} {
		if name := settings.X509CertificateName.Of(b.Settings.Current(s)); name != managetest.ServerName {
			t.Error(s, name)
		}
	}
	if found, err := b.Pairs.Find(next); err != nil || !found.Preferred.IsZero() {
		t.Error(found, err)
	}
}
