// Package certificates tests a running server's certificates: what live clients are
// shown when they change, and ACME against Let's Encrypt's test server.
package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// authority is a Pebble with its own resolver, where all names lead to this host.
type authority struct {
	*server.Process
	directory string
	env       []string // what a client needs to trust it
	roots     *x509.CertPool
	http, tls string // where it comes with its challenges
}

// pebble starts one whose certificates live for life.
func pebble(t *testing.T, life time.Duration) *authority {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the server")
	}
	program, names := server.Tool(t, "pebble"), server.Tool(t, "pebble-challtestsrv")
	dir := t.TempDir()
	if _, err := certificate.SelfSigned([]string{"localhost", "127.0.0.1"}, dir); err != nil {
		t.Fatal(err)
	}
	a := &authority{http: server.FreeAddress(t), tls: server.FreeAddress(t)}
	listen, management, resolver := server.FreeAddress(t), server.FreeAddress(t), server.FreeAddress(t)
	a.directory = "https://" + listen + "/dir"
	own := filepath.Join(dir, certificate.CertificateFile)
	a.env = []string{"SSL_CERT_FILE=" + own}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": own, "privateKey": filepath.Join(dir, certificate.KeyFile),
		"httpPort": port(t, a.http), "tlsPort": port(t, a.tls),
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{"description": "test", "validityPeriod": int(life.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	server.Begin(t, dir, nil, names, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", resolver,
		"-management", server.FreeAddress(t), "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	a.Process = server.Begin(t, dir, []string{"PEBBLE_VA_NOSLEEP=1"}, program, "-config", file, "-dnsserver", resolver)

	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(text)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}}
	a.Within(t, 60*time.Second, "waiting for Pebble's root", func() bool {
		answer, err := client.Get("https://" + management + "/roots/0")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		root, err := io.ReadAll(answer.Body)
		a.roots = x509.NewCertPool()
		return err == nil && a.roots.AppendCertsFromPEM(root)
	})
	return a
}

func port(t *testing.T, addr string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(server.Port(addr), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// orders counts the certificates that were asked for.
func (a *authority) orders() int { return strings.Count(a.Output(), "Added order") }

// serve starts a server that knows the authority.
func (a *authority) serve(t *testing.T) *server.Server {
	t.Helper()
	return server.Serve(t, server.Options{Env: a.env, Cmdlets: []server.Cmdlet{{Name: "Set-AcmeSettings", Parameters: map[string]any{
		"AcmeDirectory": a.directory, "AcmeEmail": "postmaster@example.org", "AcmeHttpBindings": []string{a.http}, "AcmeTlsBindings": []string{},
	}}}})
}

// shown gives the certificate that a service shows a client which asks for name and
// trusts roots alone; nil roots trust everything.
func shown(t *testing.T, addr, name string, roots *x509.CertPool) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, RootCAs: roots, InsecureSkipVerify: roots == nil})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

type row struct {
	Thumbprint, Status, Source, LastError, NotAfter string
	Services, DomainNames                           []string
	RenewalFailures                                 int
}

// list gives what Get-ServerCertificate shows for a name.
func list(t *testing.T, s *server.Server, name string) []row {
	t.Helper()
	out := s.MustShell("Get-ServerCertificate", "-DomainName", name, "|", "ConvertTo-Json")
	out = out[strings.IndexAny(out, "[{"):]
	var rows []row
	if d := json.NewDecoder(strings.NewReader(out)); out[0] == '[' {
		if err := d.Decode(&rows); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	} else {
		var one row
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		rows = append(rows, one)
	}
	return rows
}

// TestACME: nothing is asked for before somebody agreed; then certificates come by
// HTTP-01, by TLS-ALPN-01 on a binding of its own, and at the Console's; each is
// shown to who asks for its name, and a restart asks for none again.
func TestACME(t *testing.T) {
	a := pebble(t, 90*24*time.Hour)
	s := a.serve(t)
	if out, code := s.Shell("New-ServerCertificate", "mail.example.org", "-Acme"); code == 0 || !strings.Contains(out, "agreed to the terms") {
		t.Fatalf("%d: %s", code, out)
	}
	s.MustShell("Set-AcmeSettings", "-AcmeTermsAgreed", "$true")
	if out, code := s.Shell("New-ServerCertificate", "*.example.org", "-Acme"); code == 0 || !strings.Contains(out, "DNS-01") {
		t.Fatalf("%d: %s", code, out)
	}

	live := server.DialTLS(t, s.IMAPS, s.TLS())
	live.Want("* OK")
	s.MustShell("New-ServerCertificate", "mail.example.org", "-Acme", "-Services", "POP,IMAP")
	live.MustIMAP("NOOP") // who was there stays
	leaf := shown(t, s.IMAPS, "mail.example.org", a.roots)
	for _, addr := range []string{s.IMAPS, s.POP3S} {
		if c := shown(t, addr, "", nil); !c.Equal(leaf) {
			t.Errorf("%s shows a client that asks for nothing %v", addr, c.DNSNames)
		}
	}
	if rows := list(t, s, "mail.example.org"); len(rows) != 1 || rows[0].Source != "ACME" || rows[0].Status != "Valid" || strings.Join(rows[0].Services, " ") != "POP3 IMAP4" {
		t.Errorf("%+v", rows)
	}
	if out, code := s.Shell("Set-ImapSettings", "-X509CertificateName", "nowhere.example.org"); code == 0 {
		t.Error(out)
	}
	if out, code := s.Shell("Remove-ServerCertificate", list(t, s, "mail.example.org")[0].Thumbprint, "-Confirm:$false"); code == 0 || !strings.Contains(out, "only usable certificate of POP3") {
		t.Error(out)
	}

	s.MustShell("Set-AcmeSettings", "-AcmeTlsBindings", a.tls, "-AcmeHttpBindings", "$null")
	s.MustShell("New-ServerCertificate", "imap.example.org,other.example.org", "-Acme", "-KeyAlgorithm", "RSA")
	second := shown(t, s.IMAPS, "other.example.org", a.roots)
	if second.PublicKeyAlgorithm != x509.RSA || !shown(t, s.IMAPS, "mail.example.org", a.roots).Equal(leaf) {
		t.Error(second.PublicKeyAlgorithm)
	}

	s.MustShell("Set-ConsoleSettings", "-SSLBindings", a.tls)
	s.MustShell("New-ServerCertificate", "console.example.org", "-Acme", "-Services", "Console")
	third := shown(t, a.tls, "console.example.org", a.roots)
	if conn, err := tls.Dial("tcp", a.tls, &tls.Config{ServerName: "console.example.org", InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}}); err == nil {
		conn.Close()
		t.Error("the Console answers a challenge that nobody asked for")
	}
	if conn, err := tls.Dial("tcp", s.IMAPS, &tls.Config{ServerName: "mail.example.org", InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}}); err == nil {
		conn.Close()
		t.Error("IMAP answers challenges")
	}

	// A binding that somebody else has.
	s.MustShell("Set-AcmeSettings", "-AcmeTlsBindings", "$null", "-AcmeHttpBindings", strings.TrimPrefix(a.directory[:len(a.directory)-len("/dir")], "https://"))
	if out, code := s.Shell("New-ServerCertificate", "x.example.org", "-Acme"); code == 0 || !strings.Contains(out, "in use") {
		t.Errorf("%d: %s", code, out)
	}
	// Nobody answers the challenge there.
	s.MustShell("Set-AcmeSettings", "-AcmeHttpBindings", server.FreeAddress(t))
	if out, code := s.Shell("New-ServerCertificate", "x.example.org", "-Acme"); code == 0 || !strings.Contains(out, "refuses") {
		t.Errorf("%d: %s", code, out)
	}
	if rows := list(t, s, "x.example.org"); len(rows) != 0 {
		t.Error(rows)
	}

	before := a.orders()
	s.Restart()
	time.Sleep(7 * time.Second) // long enough to ask again
	if n := a.orders(); n != before || before == 0 {
		t.Errorf("%d orders before the restart, %d behind it", before, n)
	}
	for name, want := range map[string]*x509.Certificate{"mail.example.org": leaf, "imap.example.org": second, "console.example.org": third} {
		if got := shown(t, s.IMAPS, name, a.roots); !got.Equal(want) {
			t.Error(name, got.DNSNames)
		}
	}
	for _, secret := range []string{"PRIVATE KEY"} {
		if strings.Contains(s.Output(), secret) {
			t.Error("the log has", secret)
		}
	}
}

// TestRenewal: a certificate is renewed before its end while a client is connected;
// when the ACME server is gone the old one stays, and Get-ServerCertificate says why.
func TestRenewal(t *testing.T) {
	a := pebble(t, 45*time.Second)
	s := a.serve(t)
	s.MustShell("Set-AcmeSettings", "-AcmeTermsAgreed", "$true")
	s.MustShell("New-ServerCertificate", "mail.example.org", "-Acme", "-Services", "POP,IMAP")
	first := shown(t, s.IMAPS, "mail.example.org", a.roots)
	live := server.DialTLS(t, s.IMAPS, &tls.Config{ServerName: "mail.example.org", RootCAs: a.roots})
	live.Want("* OK")
	var second *x509.Certificate
	server.Eventually(t, 60*time.Second, "the renewal", func() bool {
		second = shown(t, s.IMAPS, "mail.example.org", nil)
		return !second.Equal(first)
	})
	if !shown(t, s.IMAPS, "", nil).Equal(second) || !shown(t, s.POP3S, "mail.example.org", a.roots).Equal(second) {
		t.Error("the new one is not everywhere")
	}
	live.MustIMAP("NOOP")
	if rows := list(t, s, "mail.example.org"); len(rows) != 1 || rows[0].RenewalFailures != 0 || strings.Join(rows[0].Services, " ") != "POP3 IMAP4" {
		t.Errorf("%+v", rows)
	}
	if _, err := a.Interrupt(); err != nil {
		t.Fatal(err)
	}
	server.Eventually(t, 60*time.Second, "a failed renewal", func() bool {
		rows := list(t, s, "mail.example.org")
		return len(rows) == 1 && rows[0].RenewalFailures > 0 && strings.Contains(rows[0].LastError, "cannot be reached")
	})
	if !shown(t, s.IMAPS, "mail.example.org", nil).Equal(second) {
		t.Error("the old one did not stay")
	}
	if !strings.Contains(s.Output(), "event=2011") {
		t.Error("no event", s.Output())
	}
}

// TestSwap: an administrator's files, as certbot leaves them, are shown to the next
// handshake; LMTP's STARTTLS shows the certificate of its own name.
func TestSwap(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	files := t.TempDir()
	s := server.Serve(t, server.Options{Sandbox: fmt.Sprintf("read = [%q]", files)})
	make := func(host string) (string, *x509.Certificate) {
		dir, err := os.MkdirTemp(files, "")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := certificate.SelfSigned([]string{host}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return dir, pair.Leaf
	}
	// certbot's folder: links that lead to the newest.
	first, a := make("mail.example.org")
	second, b := make("mail.example.org")
	link := filepath.Join(t.TempDir(), "live")
	if err := os.Symlink(first, link); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(s.Data, "certificates")
	for from, to := range map[string]string{certificate.CertificateFile: "mail.crt", certificate.KeyFile: "mail.key"} {
		if err := os.Symlink(filepath.Join(link, from), filepath.Join(folder, to)); err != nil {
			t.Fatal(err)
		}
	}
	until := func(want *x509.Certificate) {
		t.Helper()
		server.Eventually(t, 60*time.Second, "the new certificate", func() bool { return shown(t, s.IMAPS, "mail.example.org", nil).Equal(want) })
	}
	until(a)
	roots := x509.NewCertPool()
	roots.AddCert(a)
	live := server.DialTLS(t, s.IMAPS, &tls.Config{ServerName: "mail.example.org", RootCAs: roots})
	live.Want("* OK")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(second, link); err != nil {
		t.Fatal(err)
	}
	until(b)
	live.MustIMAP("NOOP")

	s.MustShell("Enable-ServerCertificate", list(t, s, "mail.example.org")[0].Thumbprint, "-Services", "LMTP")
	c := server.Dial(t, s.LMTP)
	c.Want("220 ")
	c.Send("LHLO test.example")
	if lines := c.Until("250 "); !strings.Contains(strings.Join(lines, "\n"), "STARTTLS") {
		t.Fatal(lines)
	}
	c.Send("STARTTLS")
	c.Want("220 ")
	trust := x509.NewCertPool()
	trust.AddCert(b)
	c.StartTLS(&tls.Config{RootCAs: trust, ServerName: "mail.example.org"})
	c.Send("MAIL FROM:<>")
	c.Want("503 ", "LHLO") // what was said before is forgotten
	c.Send("LHLO test.example")
	if lines := c.Until("250 "); strings.Contains(strings.Join(lines, "\n"), "STARTTLS") {
		t.Error("STARTTLS is offered again", lines)
	}

	// A request waits over a restart; the shell writes it.
	csr := filepath.Join(t.TempDir(), "mail.csr")
	s.MustShell("New-ServerCertificate", "new.example.org", "-GenerateRequest", "-RequestFile", csr)
	text, err := os.ReadFile(csr)
	block, _ := pem.Decode(text)
	if err != nil || block == nil || block.Type != "CERTIFICATE REQUEST" {
		t.Fatalf("%v: %s", err, text)
	}
	if info, err := os.Stat(csr); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if out, code := s.Shell("New-ServerCertificate", "new.example.org", "-GenerateRequest", "-RequestFile", csr); code == 0 || !strings.Contains(out, "exists already") {
		t.Error(out)
	}
	s.Restart()
	if rows := list(t, s, "new.example.org"); len(rows) != 1 || rows[0].Status != "PendingRequest" {
		t.Errorf("%+v", rows)
	}
	if out := s.MustShell("Export-ServerCertificate", list(t, s, "localhost")[0].Thumbprint); !strings.HasPrefix(out, "-----BEGIN CERTIFICATE-----\n") {
		t.Error(out)
	}
}
