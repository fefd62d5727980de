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
	"github.com/postern-mail/postern/test/server"
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
timeout = "00:00:03"
%s
[[directories]]
kind = "embedded"
domains = ["local.example"]
`, keytab, mitkdc.Realm, kdc.Address, more)
}

// ticket signs in by testdata/ticket.py and gives the server's last answer.
func ticket(t *testing.T, s *server.Server, env []string, protocol, version, mechanism, binding string, authzid ...string) string {
	t.Helper()
	address := map[string]string{"imap clear": s.IMAP, "pop clear": s.POP3}[protocol+" "+version]
	if version != "clear" {
		address = map[string]string{"imap": s.IMAPS, "pop": s.POP3S}[protocol]
	}
	script, err := filepath.Abs("testdata/ticket.py")
	if err != nil {
		t.Fatal(err)
	}
	// Debian's interpreter has python3-gssapi.
	out, code := server.Run(t, 60*time.Second, s.Folder, append(env, "PYTHONDONTWRITEBYTECODE=1"), "", "/usr/bin/python3",
		append([]string{script, protocol, server.Port(address), version, mechanism, binding}, authzid...)...)
	if code != 0 {
		t.Fatalf("ticket.py %s %s %s %s: %d\n%s", protocol, version, mechanism, binding, code, out)
	}
	return strings.TrimSpace(out)
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

func needsGSSAPI(t *testing.T) {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import gssapi").Run(); err != nil {
		needs(t, "python3-gssapi", "python3-gssapi")
	}
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
	needsGSSAPI(t)
	kdc, s := newKerberos(t, "")
	s.SetLoginType("PlainTextLogin")
	anna := kdc.Kinit("anna", "geheim")
	for _, protocol := range []string{"imap", "pop"} {
		for _, version := range []string{"clear", "1.2", "1.3"} {
			for _, mechanism := range []string{"GSSAPI", "GSS-SPNEGO", "GS2-KRB5", "GS2-KRB5-PLUS"} {
				for _, binding := range []string{"none", "tls-server-end-point", "tls-unique", "wrong", "replay"} {
					plus := strings.HasSuffix(mechanism, "-PLUS")
					want := loggedIn[protocol]
					switch {
					case binding == "tls-unique" && (version != "1.2" || plus), binding == "tls-server-end-point" && version == "clear",
						mechanism == "GS2-KRB5" && binding != "none" && binding != "replay", plus && (version == "clear" || binding == "none" || binding == "replay"):
						continue // cannot be
					case binding == "wrong", binding == "replay":
						want = failed[protocol]
					}
					if got := ticket(t, s, anna, protocol, version, mechanism, binding); !strings.HasPrefix(got, want) {
						t.Errorf("%s, %s, %s, %s: %q, want %q", protocol, version, mechanism, binding, got, want)
					}
				}
			}
		}
	}
}
