package directories

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/mitkdc"
	"github.com/postern-mail/postern/test/sambadc"
	"github.com/postern-mail/postern/test/server"
	"github.com/postern-mail/postern/test/slapd"
)

// kerberosTable is the settings file's table for a realm.
func kerberosTable(kdc *mitkdc.Server, keytab, more string) string {
	return fmt.Sprintf(`
[[directories]]
kind = "kerberos"
name = "realm"
domains = ["example.org"]
keytab = %q
realms = { %q = "example.org" }
kdcs = [%q]
timeout = "00:00:08"
%s
[[directories]]
kind = "embedded"
domains = ["local.example"]
`, keytab, mitkdc.Realm, kdc.Address, more)
}

// attempt is a line of testdata/ticket.py.
type attempt struct {
	protocol, version, mechanism, binding, authzid string
	want                                           string // how the server's last answer begins
}

// attempts has testdata/ticket.py sign in, with the tickets of env.
func attempts(t *testing.T, s *server.Server, env []string, list ...attempt) {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import gssapi").Run(); err != nil {
		needs(t, "python3-gssapi", "python3-gssapi")
	}
	script, err := filepath.Abs("testdata/ticket.py")
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, a := range list {
		address := map[string]string{"imap": s.IMAPS, "pop": s.POP3S}[a.protocol]
		if a.version == "clear" {
			address = map[string]string{"imap": s.IMAP, "pop": s.POP3}[a.protocol]
		}
		fmt.Fprintln(&lines, a.protocol, server.Port(address), a.version, a.mechanism, a.binding, a.authzid)
	}
	// Debian's interpreter has python3-gssapi.
	out, code := server.Run(t, 120*time.Second, s.Folder, append(env, "PYTHONDONTWRITEBYTECODE=1"), lines.String(), "/usr/bin/python3", script)
	answers := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(answers) != len(list) {
		t.Fatalf("ticket.py: %d, %d answers to %d\n%s", code, len(answers), len(list), out)
	}
	for i, a := range list {
		if !strings.HasPrefix(answers[i], a.want) {
			t.Errorf("%s, %s, %s, %s %s: %q, want %q", a.protocol, a.version, a.mechanism, a.binding, a.authzid, answers[i], a.want)
		}
	}
}

// needs skips where a program of the tests is missing; in CI it fails.
func needs(t *testing.T, path, what string) {
	t.Helper()
	if _, err := exec.LookPath(path); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing: ./scripts/test-packages", what)
	}
	t.Skipf("%s is missing: ./scripts/test-packages", what)
}

var loggedIn = map[string]string{"imap": "a OK", "pop": "+OK"}
var failed = map[string]string{"imap": "a NO [AUTHENTICATIONFAILED]", "pop": "-ERR [AUTH]"}

// newKerberos is a realm with anna and bert, and a server with it.
func newKerberos(t *testing.T, more string) (*mitkdc.Server, *server.Server) {
	t.Helper()
	kdc := mitkdc.Start(t)
	kdc.Kadmin("addprinc -pw %s anna", "geheim")
	kdc.Kadmin("addprinc -pw %s bert", "secret")
	keytab := kdc.Services("imap/localhost", "pop/localhost")
	return kdc, server.Serve(t, server.Options{
		Accounts:    []server.Account{{Name: "root@local.example", Password: "local"}},
		Directories: kerberosTable(kdc, keytab, more),
	})
}

// MIT's GSS-API, every mechanism, protocol, TLS and channel binding.
func TestKerberosTickets(t *testing.T) {
	kdc, s := newKerberos(t, "")
	s.SetLoginType("PlainTextLogin")
	anna := kdc.Kinit("anna", "geheim")
	var list []attempt
	for _, protocol := range []string{"imap", "pop"} {
		for _, version := range []string{"clear", "1.2", "1.3"} {
			for _, mechanism := range []string{"GSSAPI", "GSS-SPNEGO", "GS2-KRB5", "GS2-KRB5-PLUS"} {
				for _, binding := range []string{"none", "tls-server-end-point", "tls-unique"} {
					switch bound, header := binding != "none", strings.HasPrefix(mechanism, "GS2"); {
					case bound && version == "clear", binding == "tls-unique" && (version != "1.2" || header), header && bound != strings.HasSuffix(mechanism, "-PLUS"):
						continue // cannot be
					}
					list = append(list, attempt{protocol, version, mechanism, binding, "", loggedIn[protocol]})
				}
			}
		}
	}
	// Each of these costs the next a while: who guesses is slowed down.
	list = append(list,
		attempt{"imap", "1.3", "GSSAPI", "wrong", "", failed["imap"]},
		attempt{"pop", "1.2", "GSS-SPNEGO", "wrong", "", failed["pop"]},
		attempt{"imap", "1.3", "GS2-KRB5-PLUS", "wrong", "", failed["imap"]},
		attempt{"imap", "clear", "GSSAPI", "wrong", "", failed["imap"]},
		attempt{"imap", "clear", "GS2-KRB5", "replay", "", failed["imap"]},
		attempt{"pop", "clear", "GSSAPI", "replay", "", failed["pop"]},
	)
	began := time.Now()
	attempts(t, s, anna, list...)
	t.Logf("%d sign-ins in %s", len(list), time.Since(began))
}

// Real programs sign in with a ticket: curl, GNU SASL's, and Cyrus' with libsasl2.
func TestKerberosClients(t *testing.T) {
	kdc, s := newKerberos(t, "")
	s.SetLoginType("PlainTextLogin")
	anna := kdc.Kinit("anna", "geheim")

	t.Run("curl", func(t *testing.T) {
		for _, protocol := range []string{"imap", "imaps", "pop3", "pop3s"} {
			address := map[string]string{"imap": s.IMAP, "imaps": s.IMAPS, "pop3": s.POP3, "pop3s": s.POP3S}[protocol]
			out, code := server.Run(t, 30*time.Second, s.Folder, anna, "", "curl", "-4", "-vsS", "--cacert", s.Certificate, "-u", "anna@"+mitkdc.Realm+":", "--login-options", "AUTH=GSSAPI",
				protocol+"://localhost:"+server.Port(address)+"/")
			if code != 0 || !strings.Contains(out, "GSSAPI") {
				t.Errorf("%s: %d %s", protocol, code, out)
			}
		}
	})
	t.Run("gsasl", func(t *testing.T) {
		needs(t, "gsasl", "gsasl")
		for _, mechanism := range []string{"GSSAPI", "GS2-KRB5"} {
			out, code := server.Run(t, 30*time.Second, s.Folder, anna, "a NOOP\n", "gsasl", "--client", "--imap", "--verbose", "--mechanism="+mechanism, "--connect=localhost:"+server.Port(s.IMAP),
				"--service=imap", "--hostname=localhost", "-a", "anna@example.org", "-z", "anna@example.org", "--no-starttls")
			if code != 0 || !strings.Contains(out, "OK") || !strings.Contains(out, "authentication finished") {
				t.Errorf("%s: %d %s", mechanism, code, out)
			}
		}
	})
	t.Run("cyrus", func(t *testing.T) {
		const bin = "/usr/lib/cyrus/bin/"
		needs(t, bin+"imtest", "cyrus-clients")
		// It binds to tls-unique, which is there up to TLS 1.2.
		conf := filepath.Join(s.Folder, "openssl.cnf")
		if err := os.WriteFile(conf, []byte("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, mechanism := range []string{"GSSAPI", "GSS-SPNEGO", "GS2-KRB5"} {
			for _, x := range []struct{ program, address, last string }{{"imtest", s.IMAP, "a LOGOUT\r\n"}, {"imtest", s.IMAPS, "a LOGOUT\r\n"}, {"pop3test", s.POP3, "QUIT\r\n"}, {"pop3test", s.POP3S, "QUIT\r\n"}} {
				args := []string{"-m", mechanism, "-a", "anna", "-p", server.Port(x.address), "-l", "0"}
				layer := "Security strength factor: 0"
				if x.address == s.IMAPS || x.address == s.POP3S {
					args, layer = append(args, "-s"), "Security strength factor: "
				}
				out, code := server.Run(t, 30*time.Second, s.Folder, append(anna, "OPENSSL_CONF="+conf), x.last, bin+x.program, append(args, "localhost")...)
				if code != 0 || !strings.Contains(out, "\nAuthenticated.") || !strings.Contains(out, layer) || !strings.Contains(out, "AUTHENTICATE "+mechanism) && !strings.Contains(out, "AUTH "+mechanism) {
					t.Errorf("%s %s %v: %d %s", x.program, mechanism, args, code, out)
				}
			}
		}
	})
}

// What the services' settings say of tickets.
func TestKerberosPolicy(t *testing.T) {
	kdc, s := newKerberos(t, "")
	anna := kdc.Kinit("anna", "geheim")
	refusedTLS := map[string]string{"imap": "a NO [PRIVACYREQUIRED]", "pop": "-ERR [AUTH] This server requires TLS"}
	cannot := map[string]string{"imap": "a NO [CANNOT]", "pop": "-ERR That"}
	var list []attempt
	for _, protocol := range []string{"imap", "pop"} {
		for _, mechanism := range []string{"GSSAPI", "GSS-SPNEGO", "GS2-KRB5"} {
			list = append(list, attempt{protocol, "clear", mechanism, "none", "", refusedTLS[protocol]}, attempt{protocol, "1.3", mechanism, "none", "", loggedIn[protocol]})
		}
	}
	attempts(t, s, anna, list...) // SecureLogin
	s.SetLoginType("PlainTextAuthentication")
	attempts(t, s, anna, attempt{"imap", "clear", "GSSAPI", "none", "", loggedIn["imap"]}, attempt{"pop", "clear", "GSS-SPNEGO", "none", "", loggedIn["pop"]})

	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		shell(s, set+" -ExtendedProtectionPolicy Require")
	}
	list = nil
	for _, protocol := range []string{"imap", "pop"} {
		list = append(list,
			attempt{protocol, "1.3", "GSSAPI", "tls-server-end-point", "", loggedIn[protocol]},
			attempt{protocol, "1.2", "GSS-SPNEGO", "tls-unique", "", loggedIn[protocol]},
			attempt{protocol, "1.3", "GS2-KRB5-PLUS", "tls-server-end-point", "", loggedIn[protocol]},
			attempt{protocol, "1.3", "GS2-KRB5", "none", "", map[string]string{"imap": cannot["imap"], "pop": "-ERR This"}[protocol]},
			attempt{protocol, "clear", "GSSAPI", "none", "", refusedTLS[protocol]},
			attempt{protocol, "1.3", "GSSAPI", "none", "", failed[protocol]},
			attempt{protocol, "1.2", "GSS-SPNEGO", "none", "", failed[protocol]},
		)
	}
	attempts(t, s, anna, list...)
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		shell(s, set+" -ExtendedProtectionPolicy None")
	}
	attempts(t, s, anna, attempt{"imap", "1.3", "GSSAPI", "wrong", "", loggedIn["imap"]}, attempt{"pop", "1.2", "GSS-SPNEGO", "wrong", "", loggedIn["pop"]},
		attempt{"imap", "1.3", "GS2-KRB5-PLUS", "tls-server-end-point", "", cannot["imap"]})

	// A setting leaves them out.
	shell(s, "Set-ImapSettings -AuthMechanisms PLAIN,SCRAM-SHA-256")
	attempts(t, s, anna, attempt{"imap", "1.3", "GSSAPI", "none", "", cannot["imap"]})
}

// Who somebody is: names, authzids, mail, what administrators see.
func TestKerberosPeople(t *testing.T) {
	kdc, s := newKerberos(t, "")
	anna := kdc.Kinit("anna", "geheim")
	if answers := s.Deliver(t, message, "anna@example.org"); !strings.HasPrefix(answers[0], "550") {
		t.Errorf("mail before the first login: %v", answers)
	}
	attempts(t, s, anna,
		attempt{"imap", "1.3", "GSSAPI", "none", "anna@example.org", loggedIn["imap"]},
		attempt{"imap", "1.3", "GSSAPI", "none", "anna", loggedIn["imap"]},
		attempt{"pop", "1.3", "GSSAPI", "none", "anna@" + mitkdc.Realm, loggedIn["pop"]},
		attempt{"imap", "1.3", "GS2-KRB5", "none", "anna@example.org", loggedIn["imap"]},
		attempt{"imap", "1.3", "GSSAPI", "none", "bert@example.org", "a NO [AUTHORIZATIONFAILED]"},
		attempt{"imap", "1.3", "GS2-KRB5", "none", "bert", "a NO [AUTHORIZATIONFAILED]"},
	)
	s.MustDeliver(t, message, "anna@example.org")
	if out := shell(s, "Get-Mailbox anna@example.org | ConvertTo-Json"); !strings.Contains(out, `"realm"`) {
		t.Error(out)
	}
	if out := shell(s, "Test-Login anna@example.org -Protocol IMAP4 -Connection TLS | ConvertTo-Json"); !strings.Contains(out, "GSSAPI") || !strings.Contains(out, "The directory realm checks it.") {
		t.Error(out)
	}

	// Principals that are not people's, or spelled otherwise.
	for _, name := range []string{"anna/admin", "Anna", "PC$"} {
		kdc.Kadmin("addprinc -pw secret %s", name)
		attempts(t, s, kdc.Kinit(name, "secret"), attempt{"imap", "1.3", "GSSAPI", "none", "", failed["imap"]})
	}
	// A session ends with its ticket.
	attempts(t, s, kdc.Kinit("bert", "secret", "-l", "6s"), attempt{"imap", "1.3", "GSSAPI", "stay", "", "* BYE"})
}

// Passwords, by the KDC.
func TestKerberosPasswords(t *testing.T) {
	kdc, s := newKerberos(t, "")
	if out, code := curl(t, s, "imaps", "anna@example.org", "geheim"); code == 67 {
		t.Fatalf("the first login: %s", out)
	}
	s.MustDeliver(t, message, "anna@example.org")
	signsIn(t, s, "anna@example.org", "geheim", true)
	signsIn(t, s, "anna@example.org", "wrong", false)
	signsIn(t, s, "nobody@example.org", "geheim", false)
	kdc.Kadmin("cpw -pw next anna")
	signsIn(t, s, "anna@example.org", "geheim", false)
	signsIn(t, s, "anna@example.org", "next", true)
	kdc.Stop()
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	if _, answer := c.IMAP(`LOGIN anna@example.org next`); !strings.Contains(answer, "[UNAVAILABLE]") {
		t.Errorf("IMAP4 while the KDC is down: %s", answer)
	}
	kdc.Run()
	signsIn(t, s, "anna@example.org", "next", true)
}

// Tickets prove people whom another directory knows, and a keytab that changes is read
// again.
func TestKerberosProves(t *testing.T) {
	kdc := mitkdc.Start(t)
	kdc.Kadmin("addprinc -pw %s anna", "geheim")
	keytab := kdc.Services("imap/localhost", "pop/localhost")
	s := server.Serve(t, server.Options{
		Accounts:    []server.Account{{Name: "anna@example.org", Password: "local"}},
		Directories: "[[directories]]\nkind = \"embedded\"\n" + strings.Split(strings.Replace(kerberosTable(kdc, keytab, ""), `domains = ["example.org"]`, `people = "embedded"`, 1), "[[directories]]\nkind = \"embedded\"")[0],
	})
	anna := kdc.Kinit("anna", "geheim")
	s.MustDeliver(t, message, "anna@example.org")
	attempts(t, s, anna, attempt{"imap", "1.3", "GSSAPI", "none", "", loggedIn["imap"]}, attempt{"pop", "1.3", "GS2-KRB5", "none", "", loggedIn["pop"]})
	signsIn(t, s, "anna@example.org", "geheim", true)

	kdc.Kadmin("ktadd -k %s imap/localhost", keytab) // another key
	time.Sleep(1200 * time.Millisecond)              // it is looked at every second
	attempts(t, s, kdc.Kinit("anna", "geheim"), attempt{"imap", "1.3", "GSSAPI", "none", "", loggedIn["imap"]})
}

// A ticket's owner acts for another mailbox by right, and hears the same of one that exists
// and of one that does not without it.
func TestKerberosActing(t *testing.T) {
	kdc, s := newKerberos(t, "")
	s.SetLoginType("PlainTextLogin")
	anna, local := kdc.Kinit("anna", "geheim"), "root@local.example"
	refused := map[string]string{"imap": "a NO [AUTHORIZATIONFAILED]", "pop": "-ERR [AUTH] You may not act"}
	each := func(authzid string, want map[string]string) {
		t.Helper()
		var list []attempt
		for _, protocol := range []string{"imap", "pop"} {
			for _, mechanism := range []string{"GSSAPI", "GS2-KRB5"} {
				list = append(list, attempt{protocol, "1.3", mechanism, "none", authzid, want[protocol]})
			}
		}
		attempts(t, s, anna, list...)
	}
	each("anna@example.org", loggedIn) // and so her mailbox is made
	each(local, refused)
	each("nobody@local.example", refused)
	s.MustShell("Add-MailboxPermission", local, "-User", "anna@example.org")
	each(strings.ToUpper(local), loggedIn)
	each("nobody@local.example", refused)
	if out := s.MustShell("Get-AuditLog", "-Cmdlet", "ActFor", "-Target", local, "-Outcome", "OK", "|", "ConvertTo-Json"); strings.Count(out, "GS2-KRB5") < 2 || !strings.Contains(out, "anna@example.org") {
		t.Error(out)
	}
}

// Active Directory: its tickets have a PAC, its people names of any case.
func TestKerberosActiveDirectory(t *testing.T) {
	ca, certificate, key := slapd.Certificate(t)
	dc := sambadc.Start(t, ca, certificate, key)
	folder := t.TempDir()
	keytab := filepath.Join(folder, "keytab")
	dc.Tool("user", "create", "Anna", "Gehe1m-Secret!")
	dc.Tool("user", "create", "postern-svc", "--random-password")
	editor := filepath.Join(folder, "aes")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i '/^sAMAccountName:/a msDS-SupportedEncryptionTypes: 24' \"$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	dc.Tool("user", "edit", "postern-svc", "--editor="+editor)
	for _, service := range []string{"imap/localhost", "pop/localhost"} {
		dc.Tool("spn", "add", service, "postern-svc")
		dc.Tool("domain", "exportkeytab", keytab, "--principal="+service)
	}
	s := server.Serve(t, server.Options{Directories: fmt.Sprintf(`
[[directories]]
kind = "kerberos"
name = "realm"
keytab = %q
realms = { %q = "example.org" }
kdcs = [%q]
ignore_case = true
`, keytab, sambadc.Realm, dc.Address)})
	conf := filepath.Join(folder, "krb5.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf("[libdefaults]\ndefault_realm = %[1]s\ndns_lookup_kdc = false\ndns_canonicalize_hostname = false\nrdns = false\n[realms]\n%[1]s = {\nkdc = %[2]s\n}\n[domain_realm]\nlocalhost = %[1]s\n",
		sambadc.Realm, dc.Address)), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"KRB5_CONFIG=" + conf, "KRB5CCNAME=FILE:" + filepath.Join(folder, "cache")}
	for _, name := range []string{"Anna", "anna", "ANNA"} {
		if out, code := server.Run(t, 30*time.Second, folder, env, "Gehe1m-Secret!\n", server.Program(t, "kinit", "krb5-user"), name); code != 0 {
			t.Fatal(out)
		}
		attempts(t, s, env, attempt{"imap", "1.3", "GSSAPI", "tls-server-end-point", "", loggedIn["imap"]}, attempt{"pop", "1.2", "GSS-SPNEGO", "tls-unique", "", loggedIn["pop"]},
			attempt{"imap", "1.3", "GS2-KRB5-PLUS", "tls-server-end-point", "", loggedIn["imap"]})
	}
	s.MustDeliver(t, message, "anna@example.org")
	signsIn(t, s, "anna@example.org", "Gehe1m-Secret!", true)
	signsIn(t, s, "anna@example.org", "wrong", false)
	dc.Tool("user", "disable", "Anna")
	signsIn(t, s, "anna@example.org", "Gehe1m-Secret!", false)
}
