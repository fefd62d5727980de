package policy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/authority"
)

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestClientCertificates shows certificates of every sort, on every TLS connection of both
// protocols: EXTERNAL is offered and accepted with one that is trusted, nowhere else, and
// who has a bad one can still log in otherwise.
func TestClientCertificates(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.SecureLogin)
	ours, theirs := authority.New(t), authority.New(t)
	path := writePEM(t, "CERTIFICATE", ours.Certificate.Raw)
	trust := func(path, protection string) {
		for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			r.run(t, set, map[string]any{"ClientCertificateAuthorities": path, "ExtendedProtectionPolicy": protection})
		}
	}
	trust(path, "Require")
	name := address(anna, 0)
	named := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.EmailAddresses, c.Subject.CommonName = names, "somebody else" }
	}
	const no = "" // not offered, refused with KindCannot
	codes := map[string]map[string]string{
		"ok":      {"POP3": "+OK", "IMAP4": "OK"},
		"failed":  failedLogin,
		"foreign": {"POP3": "-ERR [AUTH]", "IMAP4": "NO [AUTHORIZATIONFAILED]"},
		"off":     {"POP3": "-ERR [SYS/PERM]", "IMAP4": "NO [AUTHORIZATIONFAILED]"},
		no:        {"POP3": "-ERR ", "IMAP4": "NO [CANNOT]"},
	}
	for _, c := range []struct {
		what        string
		certificate *tls.Certificate
		authzid     string
		want        string
	}{
		{"an e-mail address", new(ours.Client(t, named(name))), "", "ok"},
		{"in upper case", new(ours.Client(t, named(strings.ToUpper(name)))), "", "ok"},
		{"own authzid", new(ours.Client(t, named(name))), name, "ok"},
		{"the common name", new(ours.Client(t, func(c *x509.Certificate) { c.Subject.CommonName = name })), "", "ok"},
		{"the second of two", new(ours.Client(t, named(address(off, 0), name))), name, "ok"},
		{"the first of two", new(ours.Client(t, named(address(off, 0), name))), "", "off"},
		{"another's authzid", new(ours.Client(t, named(name))), address(noPOP, 0), "foreign"},
		{"nobody", new(ours.Client(t, named("nobody@example.org"))), "", "failed"},
		{"no name", new(ours.Client(t, func(*x509.Certificate) {})), name, "failed"},
		{"switched off", new(ours.Client(t, named(address(off, 0)))), "", "off"},
		{"another authority", new(theirs.Client(t, named(name))), "", no},
		{"expired", new(ours.Client(t, func(c *x509.Certificate) { named(name)(c); c.NotAfter = time.Now().Add(-time.Minute) })), "", no},
		{"for servers", new(ours.Client(t, func(c *x509.Certificate) {
			named(name)(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), "", no},
		{"none", nil, name, no},
	} {
		for _, protocol := range protocols {
			for _, w := range ways[1:] {
				at := protocol + " " + w.String() + ", " + c.what
				config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: w.version, MaxVersion: w.version}
				if c.certificate != nil {
					// Whoever the server asks for.
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate, nil }
				}
				conn, err := r.dialTLS(protocol, w, config)
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				_, offered, err := conn.capabilities()
				if err != nil || slices.Contains(offered, "EXTERNAL") != (c.want != no) {
					t.Errorf("%s: offered %q, %v", at, offered, err)
				}
				message := "="
				if c.authzid != "" {
					message = encode(c.authzid)
				}
				verb := map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[protocol]
				for _, d := range []dialogue{
					{opening: verb + "EXTERNAL " + message},
					{opening: verb + "EXTERNAL", replies: []func(string) string{fixed(strings.TrimPrefix(message, "="))}},
				} {
					o, err := conn.attempt(d, false)
					if err != nil || !strings.HasPrefix(o.status, codes[c.want][protocol]) || o.in != (c.want == "ok") || c.want == no && o.asks > 0 {
						t.Errorf("%s: %q, %v; want %s", at, o.status, err, c.want)
					}
					if o.in {
						break
					}
				}
				// The next one may want the same maildrop.
				if err := conn.quit(); err != nil {
					t.Errorf("%s: QUIT: %v", at, err)
				}
			}
		}
	}
	// Test-Login says the same of a certificate.
	for what, c := range map[string]struct {
		certificate tls.Certificate
		want        string
	}{
		"good":              {ours.Client(t, named(name)), "The certificate is for " + name},
		"another authority": {theirs.Client(t, named(name)), "The certificate does not count"},
		"somebody else's":   {ours.Client(t, named("nobody@example.org")), "The certificate is for nobody@example.org."},
		"without a name":    {ours.Client(t, func(*x509.Certificate) {}), "no name that a mailbox could have"},
	} {
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate.Certificate[0]}))
		result := r.run(t, "Test-Login", map[string]any{"Identity": name, "Protocol": "IMAP4", "ConnectionType": "Ssl", "Certificate": text})
		last := result.Objects[len(result.Objects)-1]
		verdict, _ := last.Value("Result")
		if said := fmt.Sprint(result.Objects); !strings.Contains(said, c.want) || (verdict == "Pass") != (what == "good") {
			t.Errorf("%s: %v: %s", what, verdict, said)
		}
	}
	// Without authorities nobody is asked.
	trust("", "Allow")
	conn, err := r.dialTLS("IMAP4", ways[4], &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		t.Error("a certificate is asked for")
		return &tls.Certificate{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn.close()
	for protocol, scheme := range map[string]string{"POP3": "pop3", "IMAP4": "imap"} {
		trust(path, "Require")
		curl, err := exec.LookPath("curl")
		if err != nil {
			t.Skip("curl is not here")
		}
		certificate := ours.Client(t, named(name))
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(curl, "-sSk", "--max-time", "20", "--cert", writePEM(t, "CERTIFICATE", certificate.Certificate[0]),
			"--key", writePEM(t, "PRIVATE KEY", key), "--login-options", "AUTH=EXTERNAL", "-u", name+":",
			scheme+"s://"+r.addr[protocol+" ssl"]+"/").CombinedOutput()
		if err != nil {
			t.Errorf("curl %s: %v: %s", scheme, err, out)
		}
	}
}

// TestRevokedCertificates: what openssl's lists say, of the certificates of every
// connection from then on.
func TestRevokedCertificates(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not here")
	}
	r := start(t, 1)
	r.login(t, mail.SecureLogin)
	ours := authority.New(t)
	key, err := x509.MarshalPKCS8PrivateKey(ours.Key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	list := filepath.Join(dir, "revoked.crl")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("openssl.cnf", "[ca]\ndefault_ca = ours\n[ours]\ndatabase = "+dir+"/index.txt\ndefault_md = sha256\ncrl_extensions = more\n[more]\nauthorityKeyIdentifier = keyid\n")
	// revoke has openssl make the list anew, in a form, for so many seconds.
	revoke := func(form, seconds string, serials ...string) {
		t.Helper()
		index := ""
		for _, n := range serials {
			index += "R\t401231000000Z\t260101000000Z,keyCompromise\t" + n + "\tunknown\t/CN=somebody\n"
		}
		write("index.txt", index)
		command := func(args ...string) {
			t.Helper()
			if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
				t.Fatalf("openssl %q: %v: %s", args, err, out)
			}
		}
		command("ca", "-gencrl", "-config", filepath.Join(dir, "openssl.cnf"), "-keyfile", writePEM(t, "PRIVATE KEY", key), "-cert", writePEM(t, "CERTIFICATE", ours.Certificate.Raw), "-crlsec", seconds, "-out", list+".pem")
		command("crl", "-in", list+".pem", "-outform", form, "-out", list+".new")
		if err := os.Rename(list+".new", list); err != nil {
			t.Fatal(err)
		}
	}
	client := func(serial int64) *tls.Certificate {
		c := ours.Client(t, func(c *x509.Certificate) {
			c.SerialNumber, c.EmailAddresses = big.NewInt(serial), []string{address(anna, 0)}
		})
		return &c
	}
	first, second := client(0x1001), client(0x1002)
	offered := func(what string, c *tls.Certificate, want bool) {
		t.Helper()
		for _, protocol := range protocols {
			conn, err := r.dialTLS(protocol, ways[4], &tls.Config{InsecureSkipVerify: true, ServerName: "localhost",
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }})
			if err != nil {
				t.Fatal(err)
			}
			_, names, err := conn.capabilities()
			if err != nil || slices.Contains(names, "EXTERNAL") != want {
				t.Errorf("%s, %s: offered %q, %v; want EXTERNAL %v", protocol, what, names, err, want)
			}
			conn.close()
		}
	}
	set := func(lists ...string) {
		for _, cmdlet := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			r.run(t, cmdlet, map[string]any{"ClientCertificateAuthorities": writePEM(t, "CERTIFICATE", ours.Certificate.Raw), "ClientCertificateRevocationList": lists})
		}
	}
	revoke("PEM", "3600", "1001")
	set()
	offered("no lists", first, true)
	set(list)
	offered("revoked", first, false)
	offered("not revoked", second, true)
	revoke("DER", "3600", "1001", "1002")
	offered("revoked in a file that was replaced", second, false)
	revoke("DER", "3600")
	offered("taken back", first, true)
	revoke("PEM", "1")
	time.Sleep(1100 * time.Millisecond)
	offered("the list's time is up", first, false)
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	offered("the list is gone", first, false)
	set()
	offered("no lists again", first, true)
}
