// Package directories is who may sign in when others say who exists: the program as
// a whole beside real directories.
package directories

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
	"github.com/postern-mail/postern/test/slapd"
)

const password = "Käse & Brot"

func addPerson(s *slapd.Server, uid string, more ...string) {
	s.Add(slapd.DN(uid), append([]string{"objectClass", "inetOrgPerson", "objectClass", "mailPerson", "uid", uid, "cn", uid, "sn", uid,
		"mail", uid + "@example.org", "displayName", strings.ToUpper(uid), "userPassword", password}, more...)...)
}

func settings(s *slapd.Server, more string) string {
	return fmt.Sprintf(`
[[directories]]
kind = "embedded"
domains = ["local.example", ""]

[[directories]]
kind = "ldap"
name = "company"
domains = ["example.org"]
servers = ["ldap://%s"]
ca_file = %q
server_name = "localhost"
base = %q
bind_dn = %q
bind_password = %q
quota_attribute = "mailQuota"
timeout = "00:00:20"
%s`, s.Clear, s.CAFile, slapd.PeopleBase, slapd.Reader, slapd.ReaderPassword, more)
}

// curl reads the INBOX over a protocol and gives what it got and its exit code.
func curl(t *testing.T, s *server.Server, protocol, user, password string) (string, int) {
	t.Helper()
	addr := map[string]string{"imaps": s.IMAPS, "pop3s": s.POP3S}[protocol]
	url := protocol + "://" + strings.Replace(addr, "127.0.0.1", "localhost", 1) + "/"
	if protocol == "imaps" {
		url += "INBOX;MAILINDEX=1"
	} else {
		url += "1"
	}
	// -4: the ports are of 127.0.0.1. SCRAM is offered for our own directory's people.
	return server.Run(t, 30*time.Second, s.Folder, nil, "", "curl", "-4", "-sS", "--cacert", s.Certificate, "--login-options", "AUTH=PLAIN", "-u", user+":"+password, url)
}

// shell runs one line of words.
func shell(s *server.Server, line string) string { return s.MustShell(strings.Fields(line)...) }

const message = "From: x@example.com\r\nTo: anna@example.org\r\nSubject: before the first login\r\n\r\nHello\r\n"

func TestLDAP(t *testing.T) {
	ldap := slapd.Start(t, slapd.Options{})
	addPerson(ldap, "anna", "mailAlternateAddress", "a.n@example.org", "mailQuota", "5MB")
	addPerson(ldap, "bert")
	s := server.Serve(t, server.Options{
		Accounts:    []server.Account{{Name: "root@local.example", Password: "local"}},
		Directories: settings(ldap, `cache = "00:00:05"`),
	})

	// Mail before the first login, to an alias.
	s.MustDeliver(t, message, "a.n@example.org")
	if answers := s.Deliver(t, message, "nobody@example.org"); !strings.HasPrefix(answers[0], "550") {
		t.Errorf("nobody: %v", answers)
	}
	for _, protocol := range []string{"imaps", "pop3s"} {
		for _, user := range []string{"anna@example.org", "a.n@example.org"} {
			if out, code := curl(t, s, protocol, user, password); code != 0 || !strings.Contains(out, "before the first login") {
				t.Errorf("%s %s: %d %s", protocol, user, code, out)
			}
		}
		for _, p := range []string{"wrong", password + " ", ""} {
			if out, code := curl(t, s, protocol, "anna@example.org", p); code != 67 {
				t.Errorf("%s with %q: %d %s", protocol, p, code, out)
			}
		}
	}
	if out, code := curl(t, s, "imaps", "root@local.example", "local"); code == 67 {
		t.Errorf("our own directory: %d %s", code, out)
	}

	// What the shell says.
	mailbox := func() map[string]any {
		var o map[string]any
		if err := json.Unmarshal([]byte(shell(s, "Get-Mailbox anna@example.org | ConvertTo-Json")), &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := mailbox(); o["Directory"] != "company" || o["DisplayName"] != "ANNA" || o["ProhibitSendReceiveQuota"] != 5.0*1024*1024 || fmt.Sprint(o["EmailAddresses"]) != "[a.n@example.org]" {
		t.Errorf("Get-Mailbox: %v", o)
	}
	for _, line := range []string{"Set-Mailbox anna@example.org -DisplayName Other", "Set-Mailbox anna@example.org -EmailAddresses x@example.org"} {
		if out, code := s.Shell(strings.Fields(line)...); code == 0 || !strings.Contains(out, "directory company") {
			t.Errorf("%s: %d %s", line, code, out)
		}
	}
	if out := shell(s, "Get-Mailbox bert@example.org"); !strings.Contains(out, "has no mailbox yet") {
		t.Error(out)
	}
	shell(s, "Enable-Mailbox bert@example.org")
	out := shell(s, "Test-Login anna@example.org -Protocol IMAP4 -ConnectionType Tls | Format-List")
	for _, want := range []string{"The directory embedded is not asked", "The directory company knows the name.", "The directory company checks it."} {
		if !strings.Contains(out, want) {
			t.Errorf("Test-Login does not say %q:\n%s", want, out)
		}
	}
	shell(s, "Set-CASMailbox anna@example.org -PopEnabled $false")
	if out, code := curl(t, s, "pop3s", "anna@example.org", password); code != 67 {
		t.Errorf("POP3 is switched off: %d %s", code, out)
	}

	// Renamed: the same mail.
	ldap.Set(slapd.DN("anna"), "mail", "anna.new@example.org")
	if out, code := curl(t, s, "imaps", "anna.new@example.org", password); code != 0 || !strings.Contains(out, "before the first login") {
		t.Errorf("renamed: %d %s", code, out)
	}
	// A new password holds at once, the old one is over.
	ldap.Set(slapd.DN("anna"), "userPassword", "next")
	if out, code := curl(t, s, "imaps", "anna.new@example.org", password); code != 67 {
		t.Errorf("the old password: %d %s", code, out)
	}
	// The directory is down: who signed in before goes on, others hear that it is
	// not their password.
	for try := 0; ; try++ {
		signedIn := time.Now()
		if out, code := curl(t, s, "imaps", "anna.new@example.org", "next"); code != 0 {
			t.Errorf("the new password: %d %s", code, out)
		}
		ldap.Stop()
		out, code := curl(t, s, "imaps", "anna.new@example.org", "next")
		if code == 0 {
			break
		}
		if time.Since(signedIn) < 5*time.Second || try == 3 {
			t.Errorf("remembered: %d %s", code, out)
			break
		}
		ldap.Run() // on a busy machine the time was up
	}
	if answers := s.Deliver(t, message, "nobody@example.org"); !strings.HasPrefix(answers[0], "451") {
		t.Errorf("delivery while the directory is down: %v", answers)
	}
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	if _, answer := c.IMAP(`LOGIN bert@example.org "x"`); !strings.Contains(answer, "[UNAVAILABLE]") {
		t.Errorf("IMAP4 while the directory is down: %s", answer)
	}
	p := server.DialTLS(t, s.POP3S, s.TLS())
	p.Line()
	p.Send("USER bert@example.org", "PASS x")
	p.Want("+OK")
	p.Want("-ERR [SYS/TEMP]")
	time.Sleep(5 * time.Second)
	c = server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	if _, answer := c.IMAP(`LOGIN anna.new@example.org next`); !strings.Contains(answer, "[UNAVAILABLE]") {
		t.Errorf("after the time: %s", answer)
	}
	ldap.Run()
	if out, code := curl(t, s, "imaps", "anna.new@example.org", "next"); code != 0 {
		t.Errorf("the directory is back: %d %s", code, out)
	}

	// Switched off there, then gone.
	ldap.Set(slapd.DN("anna"), "nsAccountLock", "TRUE")
	if out, code := curl(t, s, "imaps", "anna.new@example.org", "next"); code != 67 {
		t.Errorf("disabled: %d %s", code, out)
	}
	if answers := s.Deliver(t, message, "anna.new@example.org"); !strings.HasPrefix(answers[0], "550") {
		t.Errorf("delivery to who is disabled: %v", answers)
	}
	ldap.Delete(slapd.DN("anna"))
	if out, code := curl(t, s, "imaps", "anna.new@example.org", "next"); code != 67 {
		t.Errorf("gone: %d %s", code, out)
	}
	if out := shell(s, "Get-Mailbox anna.new@example.org"); !strings.Contains(out, "does not know anna.new@example.org any more") {
		t.Error(out)
	}
	shell(s, "Remove-Mailbox anna.new@example.org -Confirm:$false")
}
