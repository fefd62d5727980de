package clients

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// serveLegacy starts a server on which alice has one message and the legacy mechanisms,
// with Samba's ntlm_auth, which knows her as EXAMPLE\alice.
func serveLegacy(t *testing.T) *server.Server {
	t.Helper()
	long(t)
	helper := server.Program(t, "ntlm_auth", "winbind")
	s := server.Serve(t, server.Options{
		Accounts: []server.Account{alice},
		Directories: fmt.Sprintf("[ntlm]\nhelper = %q\narguments = [\"--helper-protocol=squid-2.5-ntlmssp\", \"--username=alice\", \"--password=%s\", \"--domain=EXAMPLE\"]\n"+
			"processes = 2\n[ntlm.domains]\nEXAMPLE = \"test.example\"\n", helper, alice.Password),
		Cmdlets: []server.Cmdlet{
			{Name: "Set-PopSettings", Parameters: map[string]any{"AuthMechanisms": map[string]any{"Add": []string{"CRAM-MD5", "APOP", "NTLM"}}, "ThrottleExemptNetworks": "127.0.0.0/8"}},
			{Name: "Set-ImapSettings", Parameters: map[string]any{"AuthMechanisms": map[string]any{"Add": []string{"CRAM-MD5", "NTLM"}}, "ThrottleExemptNetworks": "127.0.0.0/8"}},
			{Name: "Set-CASMailbox", Parameters: map[string]any{"Identity": alice.Name, "LegacyMechanisms": []string{"CRAM-MD5", "APOP", "NTLM"}}},
			{Name: "Set-Mailbox", Parameters: map[string]any{"Identity": alice.Name, "Password": alice.Password}},
		},
	})
	s.MustDeliver(t, message(0), alice.Name)
	return s
}

// TestLegacy: curl, fetchmail and Python sign in with CRAM-MD5, APOP and NTLM where
// LoginType permits a proof, and nobody does once they are switched off.
func TestLegacy(t *testing.T) {
	s := serveLegacy(t)
	version, _ := server.Run(t, limit, "", nil, "", server.Program(t, "curl", "curl"), "--version")
	type try struct{ scheme, option, user string }
	tries := []try{
		{"pop3", "AUTH=+APOP", alice.Name}, {"pop3", "AUTH=CRAM-MD5", alice.Name}, {"imap", "AUTH=CRAM-MD5", alice.Name},
	}
	if strings.Contains(version, "NTLM") {
		tries = append(tries, try{"pop3", "AUTH=NTLM", `EXAMPLE\alice`}, try{"imap", "AUTH=NTLM", `EXAMPLE\alice`})
	}
	all := func(what string, connections []string, permitted func(connection string) bool, password string) {
		t.Helper()
		for _, c := range tries {
			for _, connection := range connections {
				scheme, args := c.scheme, []string{"--login-options", c.option, "-u", c.user + ":" + password}
				switch connection {
				case startTLS:
					args = append(args, "--ssl-reqd")
				case implicit:
					scheme += "s"
				}
				path := map[string]string{"pop3": "1", "imap": "INBOX;MAILINDEX=1"}[c.scheme]
				out, code := curl{t, s}.run(scheme, path, args...)
				// Under SecureLogin the clear greeting has no timestamp, which APOP then
				// lacks after STLS, too.
				want := permitted(connection) && (c.option != "AUTH=+APOP" || connection != startTLS || permitted(clear))
				if want && (code != 0 || !strings.HasSuffix(out, message(0))) || !want && code != curlDenied {
					t.Errorf("%s, %s, %s over %s: exit code %d\n%s", what, c.scheme, c.option, connection, code, out)
				}
			}
		}
	}
	nobody := func(string) bool { return false }
	for _, loginType := range loginTypes {
		s.SetLoginType(loginType)
		all(loginType, connections, func(connection string) bool { return permitted(loginType, connection, true) }, alice.Password)
	}
	s.SetLoginType("PlainTextAuthentication")
	all("wrong", []string{implicit}, nobody, "wrong")

	f := fetchmail{t, s, t.TempDir()}
	f.fetch("APOP", clear, "keep fetchall", 1, 0)

	script := write(t, filepath.Join(t.TempDir(), "legacy.py"), fmt.Sprintf(`
import imaplib, poplib
i = imaplib.IMAP4("localhost", %s)
i.login_cram_md5(%[2]q, %[3]q)
print(i.select()[1][0].decode())
i.logout()
p = poplib.POP3("localhost", %[4]s)
p.apop(%[2]q, %[3]q)
print(p.stat()[0])
p.quit()
`, server.Port(s.IMAP), alice.Name, alice.Password, server.Port(s.POP3)))
	if out, code := server.Run(t, limit, s.Folder, nil, "", server.Program(t, "python3", "python3"), script); code != 0 || out != "1\n1\n" {
		t.Errorf("Python: exit code %d\n%s", code, out)
	}

	// Sessions and statistics tell the mechanism.
	statistics := s.MustShell("Get-LogonStatistics", alice.Name, "-Detailed", "|", "ConvertTo-Json")
	for _, mechanism := range []string{"APOP", "CRAM-MD5", "NTLM"} {
		if !strings.Contains(statistics, `"`+mechanism+`"`) {
			t.Errorf("Get-LogonStatistics does not tell of %s:\n%s", mechanism, statistics)
		}
	}
	if shown := s.MustShell("Get-Mailbox", alice.Name, "|", "ConvertTo-Json"); !strings.Contains(shown, `"ReadablePassword": true`) || strings.Contains(shown, alice.Password) {
		t.Error(shown)
	}
	if shown := s.MustShell("Get-PopSettings"); !strings.Contains(shown, "AuthMechanisms has CRAM-MD5, APOP, NTLM: such proofs are weak") {
		t.Error(shown)
	}
	s.MustShell("Set-CASMailbox", alice.Name, "-LegacyMechanisms", "$null")
	if shown := s.MustShell("Get-Mailbox", alice.Name, "|", "ConvertTo-Json"); !strings.Contains(shown, `"ReadablePassword": false`) {
		t.Error(shown)
	}
	all("switched off for the mailbox", []string{implicit}, nobody, alice.Password)
	if strings.Contains(s.Output(), alice.Password) {
		t.Error("the password is in the log")
	}
}
