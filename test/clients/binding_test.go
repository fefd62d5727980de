package clients

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestChannelBinding: GNU SASL and Cyrus SASL bind SCRAM to their TLS connections, each
// with what it knows of it: tls-exporter (TLS 1.3), tls-unique (TLS 1.2), and the
// server's certificate. Without -PLUS they sign in as long as binding is not required.
func TestChannelBinding(t *testing.T) {
	s := serve(t, 1)
	gsasl := server.Program(t, "gsasl", "gsasl")
	script, err := filepath.Abs("testdata/scram_plus.py")
	if err != nil {
		t.Fatal(err)
	}
	gnu := func(mechanism, version, password string) bool {
		t.Helper()
		out, code := server.Run(t, limit, s.Folder, nil, "a NOOP\n", gsasl, "--client", "--imap", "--verbose", "--mechanism="+mechanism, "--connect=localhost:"+server.Port(s.IMAP),
			"--starttls", "--x509-ca-file="+s.Certificate, "--priority=NORMAL:-VERS-ALL:+VERS-TLS"+version, "--authentication-id="+alice.Name, "--authorization-id="+alice.Name, "--password="+password)
		if in := strings.Contains(out, "\n. OK [CAPABILITY"); in || code != 0 {
			return in
		}
		t.Fatalf("gsasl %s TLS %s: exit code %d\n%s", mechanism, version, code, out)
		return false
	}
	cyrus := func(mechanism, password, binding string) string {
		t.Helper()
		out, _ := server.Run(t, limit, s.Folder, nil, "", server.Program(t, "python3", "python3"), script, server.Port(s.IMAPS), s.Certificate, alice.Name, password, mechanism, binding)
		return out
	}
	for _, policy := range []string{"Allow", "Require"} {
		s.MustShell("Set-ImapSettings", "-ExtendedProtectionPolicy", policy, "-ThrottleExemptNetworks", "127.0.0.0/8")
		for _, hash := range []string{"SHA-1", "SHA-256"} {
			for _, version := range []string{"1.2", "1.3"} {
				if !gnu("SCRAM-"+hash+"-PLUS", version, alice.Password) {
					t.Errorf("%s: gsasl does not sign in with SCRAM-%s-PLUS over TLS %s", policy, hash, version)
				}
				if gnu("SCRAM-"+hash+"-PLUS", version, "wrong") {
					t.Errorf("%s: gsasl signs in with a wrong password, SCRAM-%s-PLUS over TLS %s", policy, hash, version)
				}
			}
			mechanism := "SCRAM-" + hash + "-PLUS"
			if out := cyrus(mechanism, alice.Password, "RIGHT"); !strings.HasPrefix(out, "a OK ") {
				t.Errorf("%s: Cyrus SASL, %s: %s", policy, mechanism, out)
			}
			for _, c := range [][2]string{{"wrong", "RIGHT"}, {alice.Password, "WRONG"}} {
				if out := cyrus(mechanism, c[0], c[1]); !strings.HasPrefix(out, "a NO [AUTHENTICATIONFAILED]") {
					t.Errorf("%s: Cyrus SASL, %s, a wrong password or binding: %s", policy, mechanism, out)
				}
			}
		}
	}
}
