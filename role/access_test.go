package role

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// TestConnectivity tests this server as its administrator does.
func TestConnectivity(t *testing.T) {
	ctx := context.Background()
	s, err := Open(ctx, config(t), Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	run := func(name string, args map[string]any) *manage.Result {
		t.Helper()
		raw, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Manage().Run(ctx, caller, name, raw)
		if err != nil {
			t.Fatal(name, err)
		}
		return r
	}
	for _, service := range []string{"Pop", "Imap", "Console"} {
		args := map[string]any{"SSLBindings": []string{free(t)}}
		if service != "Console" {
			args["UnencryptedOrTLSBindings"] = []string{free(t)}
		}
		run("Set-"+service+"Settings", args)
	}
	run("New-Mailbox", map[string]any{"Name": "alice@example.org", "Password": "correct horse"})
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp4", "127.0.0.1:0") // accepts in the kernel and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nobody := free(t)
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

	for _, noun := range []string{"Pop", "Imap"} {
		cmdlet := "Test-" + noun + "Connectivity"
		// What is required is used, and said.
		for protection, mechanism := range map[string]string{"Require": "SCRAM-SHA-512-PLUS", "Allow": "SCRAM-SHA-512-PLUS", "None": "SCRAM-SHA-512"} {
			run("Set-"+noun+"Settings", map[string]any{"LoginType": "SecureLogin", "ExtendedProtectionPolicy": protection})
			for _, connection := range []string{"Tls", "Ssl"} {
				r := run(cmdlet, map[string]any{"MailboxCredential": "alice@example.org", "Password": "correct horse", "TrustAnySSLCertificate": true, "ConnectionType": connection})
				if r.ExitCode != 0 || !slices.ContainsFunc(r.Objects, func(o manage.Object) bool { m, _ := o.Value("Mechanism"); return m == mechanism }) {
					t.Errorf("%s over %s, %s: %v", cmdlet, connection, protection, r.Objects)
				}
			}
		}
		run("Set-"+noun+"Settings", map[string]any{"ExtendedProtectionPolicy": "Allow"})
		for _, c := range []struct {
			name, loginType string
			args            map[string]any
			failed, err     string // the scenario that fails, and part of its error
			skipped         int
		}{
			{"STARTTLS", "SecureLogin", map[string]any{"TrustAnySSLCertificate": true}, "", "", 0},
			{"SSL", "SecureLogin", map[string]any{"TrustAnySSLCertificate": true, "ConnectionType": "ssl", "ClientAccessServer": "LOCALHOST"}, "", "", 0},
			{"clear, SCRAM", "PlainTextAuthentication", map[string]any{"ConnectionType": "Plaintext"}, "", "", 0},
			{"clear, refused", "SecureLogin", map[string]any{"ConnectionType": "Plaintext"}, "SignIn", "wants TLS", 6},
			{"light", "SecureLogin", map[string]any{"ConnectionType": "Plaintext", "LightMode": true}, "", "", 0},
			{"certificate", "SecureLogin", nil, "TLS", "certificate is not accepted", 7},
			{"wrong password", "SecureLogin", map[string]any{"TrustAnySSLCertificate": true, "Password": "wrong"}, "SignIn", "the server said", 6},
			{"nobody listens", "SecureLogin", map[string]any{"PortClientAccessServer": port(nobody)}, "Connect", "refused", 10},
			{"no answer", "SecureLogin", map[string]any{"PortClientAccessServer": port(silent.Addr().String()), "Timeout": 1}, "Greeting", "in time", 9},
		} {
			run("Set-"+noun+"Settings", map[string]any{"LoginType": c.loginType})
			args := map[string]any{"MailboxCredential": "alice@example.org", "Password": "correct horse"}
			for k, v := range c.args {
				args[k] = v
			}
			r := run(cmdlet, args)
			skipped, failed := 0, ""
			for _, o := range r.Objects {
				scenario, _ := o.Value("Scenario")
				text, _ := o.Value("Error")
				switch outcome, _ := o.Value("Result"); outcome {
				case "Skipped":
					skipped++
				case "Failure":
					failed = scenario.(string)
					if !strings.Contains(text.(string), c.err) {
						t.Errorf("%s, %s: %s: %s", cmdlet, c.name, failed, text)
					}
				}
			}
			if failed != c.failed || skipped != c.skipped || (r.ExitCode != 0) != (failed != "") {
				t.Errorf("%s, %s: exit code %d, %v", cmdlet, c.name, r.ExitCode, r.Objects)
			}
			count := run("Get-Mailbox", map[string]any{"Identity": "alice@example.org"}).Objects[0]
			if n, _ := count.Value("ItemCount"); n != int64(0) {
				t.Errorf("%s, %s: %v messages are left", cmdlet, c.name, n)
			}
		}
	}
	if _, err := (access{s}).Address(settings.LMTP, manage.SSL); err == nil {
		t.Error("LMTP has no SSL binding")
	}
}
