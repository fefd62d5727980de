package clients

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestActing: curl opens another's mailbox with its own password, by right; without, it
// hears the same of a mailbox that exists and of one that does not.
func TestActing(t *testing.T) {
	long(t)
	office := server.Account{Name: "office@test.example", Password: "nobody knows this 9"}
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice, office}})
	s.MustDeliver(t, "From: a@test.example\r\nSubject: for the office\r\n\r\nText.\r\n", office.Name)
	read := func(scheme, authzid string) (string, int) {
		path := map[string]string{"imaps": "INBOX;MAILINDEX=1", "pop3s": "1"}[scheme]
		return curl{t, s}.run(scheme, path, "--login-options", "AUTH=PLAIN", "--sasl-authzid", authzid)
	}
	for _, scheme := range []string{"imaps", "pop3s"} {
		var refusals []string
		for _, authzid := range []string{office.Name, "nobody@test.example"} {
			out, code := read(scheme, authzid)
			if code != curlDenied {
				t.Errorf("%s for %s: exit code %d: %s", scheme, authzid, code, out)
			}
			refusals = append(refusals, out)
		}
		if refusals[0] != refusals[1] {
			t.Errorf("%s: %q", scheme, refusals)
		}
	}
	s.MustShell("Add-MailboxPermission", office.Name, "-User", alice.Name)
	for _, scheme := range []string{"imaps", "pop3s"} {
		if out, code := read(scheme, strings.ToUpper(office.Name)); code != 0 || !strings.Contains(out, "for the office") {
			t.Errorf("%s: exit code %d: %s", scheme, code, out)
		}
	}
	if out := s.MustShell("Get-AuditLog", "-Target", office.Name, "-Cmdlet", "ActFor", "|", "ConvertTo-Json"); strings.Count(out, office.Name) < 4 || !strings.Contains(out, alice.Name) {
		t.Error(out)
	}
	if out := s.MustShell("Test-Login", alice.Name, "-Protocol", "IMAP4", "-ConnectionType", "Ssl", "-ActFor", office.Name); !strings.Contains(out, "may act for office@test.example") {
		t.Error(out)
	}
	s.MustShell("Remove-MailboxPermission", office.Name, "-User", alice.Name)
	if out, code := read("imaps", office.Name); code != curlDenied {
		t.Errorf("exit code %d: %s", code, out)
	}
}
