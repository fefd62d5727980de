package clients

import (
	"regexp"
	"strings"
	"testing"
)

// TestLoginPolicies: curl meets login policies and app passwords of a whole server.
func TestLoginPolicies(t *testing.T) {
	s := serve(t, 1)
	c := curl{t, s}
	may := func(what, scheme, password string, want bool) {
		t.Helper()
		path := "1"
		if strings.HasPrefix(scheme, "imap") {
			path = "INBOX;MAILINDEX=1"
		}
		out, code := c.run(scheme, path, "-u", alice.Name+":"+password)
		if want && (code != 0 || !strings.HasSuffix(out, message(0))) || !want && code != curlDenied {
			t.Errorf("%s, %s: exit code %d, %s", what, scheme, code, out)
		}
	}
	shown := s.MustShell("New-AppPassword", alice.Name, "phone", "-Services", "IMAP4")
	phone := regexp.MustCompile(`([a-z2-9]{4}-){5}[a-z2-9]{4}`).FindString(shown)
	if phone == "" {
		t.Fatal(shown)
	}
	may("an app password", "imaps", phone, true)
	may("an app password as it is typed", "imaps", strings.ToUpper(strings.ReplaceAll(phone, "-", "")), true)
	may("an app password for another service", "pop3s", phone, false)

	s.MustShell("New-LoginPolicy", "apps", "-AppPasswordsOnly", "$true", "-From", "127.0.0.0/8,::1")
	may("only app passwords", "imaps", alice.Password, false)
	may("only app passwords", "pop3s", alice.Password, false)
	may("only app passwords", "imaps", phone, true)
	if matrix := s.MustShell("Get-EffectiveLoginPolicy", alice.Name, "-From", "127.0.0.1", "-Protocol", "IMAP4", "|", "ConvertTo-Json"); !strings.Contains(matrix, `login policy \"apps\"`) {
		t.Error(matrix)
	}
	if why := s.MustShell("Test-Login", alice.Name, "-Protocol", "POP3", "-ConnectionType", "Ssl", "-From", "127.0.0.1"); !strings.Contains(why, "Refused at the step") {
		t.Error(why)
	}

	s.Restart()
	may("only app passwords, after a restart", "imaps", alice.Password, false)
	may("an app password, after a restart", "imaps", phone, true)
	if what := s.MustShell("Remove-LoginPolicy", "apps", "-WhatIf"); strings.Contains(what, "would have been refused: ") {
		t.Error(what)
	}
	s.MustShell("Set-LoginPolicy", "apps", "-From", "192.0.2.0/24")
	may("a policy for another network", "imaps", alice.Password, true)
	s.MustShell("Remove-AppPassword", alice.Name, "phone")
	may("a removed app password", "imaps", phone, false)
	s.MustShell("New-LoginPolicy", "closed", "-Services", "POP3", "-Block", "$true")
	may("a service that is closed", "pop3s", alice.Password, false)
	may("another service", "imaps", alice.Password, true)
}
