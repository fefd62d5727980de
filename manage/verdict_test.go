package manage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
)

// judged gives the rows of Test-ServerConfiguration as "Check Target Result".
func judged(t *testing.T, f *managetest.Fake, check string) (rows []string, details string, code int) {
	t.Helper()
	r, err := ownerRuns(f, "Test-ServerConfiguration", args{"Check": check})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Objects {
		text := func(name string) string { v, _ := o.Value(name); s, _ := v.(string); return s }
		rows = append(rows, text("Check")+" "+text("Target")+" "+text("Result"))
		details += text("Detail") + " | " + text("Fix") + "\n"
		if text("Detail") == "" {
			t.Errorf("%v: no detail", o)
		}
	}
	return rows, details, r.ExitCode
}

// TestServerConfiguration: each thing that can be wrong is found, with the line that
// mends it.
func TestServerConfiguration(t *testing.T) {
	f := fresh(t)
	if rows, details, code := judged(t, f, "*"); code != 0 || len(rows) < 15 || strings.Contains(strings.Join(rows, "\n"), "Fail") {
		t.Fatal(code, rows, details)
	}
	set := func(cmdlet string, a args) func(*managetest.Fake) {
		return func(f *managetest.Fake) {
			if _, err := ownerRuns(f, cmdlet, a); err != nil {
				t.Fatal(cmdlet, a, err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		check string
		do    []func(*managetest.Fake)
		want  string // row
		fix   string // part of detail and fix
		code  int
	}{
		{"clear log-in", "LoginType", []func(*managetest.Fake){set("Set-PopSettings", args{"LoginType": 1})}, "LoginType POP3 Fail", "Set-PopSettings -LoginType SecureLogin", 1},
		{"challenge", "LoginType", []func(*managetest.Fake){set("Set-ImapSettings", args{"LoginType": 2})}, "LoginType IMAP4 Fail", "Set-ImapSettings -LoginType SecureLogin", 1},
		{"no clear binding", "LoginType", []func(*managetest.Fake){set("Set-PopSettings", args{"LoginType": 1, "UnencryptedOrTLSBindings": []string{}})}, "LoginType POP3 Warn", "no effect", 0},
		{"not running", "LoginType", []func(*managetest.Fake){set("Set-PopSettings", args{"LoginType": 1}), set("Stop-Service", args{"Name": "POP3"}), set("Set-Service", args{"Name": "POP3", "StartupType": "Disabled"})}, "LoginType POP3 Warn", "does not run", 0},
		{"no certificate", "Certificate", []func(*managetest.Fake){func(f *managetest.Fake) { f.Certs.Set() }}, "Certificate IMAP4 Fail", "New-ServerCertificate mail.example.org -Acme -Services IMAP", 1},
		{"ways in", "SignIn", nil, "SignIn IMAP4 Pass", "SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN.", 0},
		{"no way in", "SignIn", []func(*managetest.Fake){set("Set-ImapSettings", args{"AuthMechanisms": []string{"XOAUTH2", "EXTERNAL"}})}, "SignIn IMAP4 Fail", "Get-EffectiveLoginPolicy -Protocol IMAP4", 1},
		{"binding without a certificate authority", "SignIn", []func(*managetest.Fake){set("Set-PopSettings", args{"AuthMechanisms": []string{"EXTERNAL", "PLAIN"}, "ExtendedProtectionPolicy": "Require"})}, "SignIn POP3 Fail", "Nobody can sign in now", 1},
		{"stopped", "Service", []func(*managetest.Fake){set("Stop-Service", args{"Name": "IMAP4"})}, "Service IMAP4 Fail", "Start-Service IMAP4", 1},
		{"stopped by will", "Service", []func(*managetest.Fake){set("Stop-Service", args{"Name": "IMAP4"}), set("Set-Service", args{"Name": "IMAP4", "StartupType": "Manual"})}, "Service IMAP4 Pass", "Manual", 0},
		{"binding not open", "Service", []func(*managetest.Fake){func(f *managetest.Fake) {
			f.Services.Problems = map[settings.Service]string{settings.POP3: "port in use."}
		}}, "Service POP3 Warn", "port in use", 0},
		{"other role", "Service", []func(*managetest.Fake){func(f *managetest.Fake) { f.Host.Now.Roles = f.Host.Now.Roles[1:] }}, "Service LMTP Pass", "", 0},
		{"console abroad", "Reachable", []func(*managetest.Fake){set("Set-ConsoleSettings", args{"SSLBindings": "0.0.0.0:8443"})}, "Reachable Console Pass", "can check", 0},
		{"long sessions", "Settings", []func(*managetest.Fake){set("Set-ConsoleSettings", args{"SessionTimeout": "02:00:00"})}, "Settings Console Warn", "Set-ConsoleSettings -SessionTimeout $null", 0},
		{"silent clients", "Settings", []func(*managetest.Fake){set("Set-ImapSettings", args{"PreAuthenticatedConnectionTimeout": "00:30:00"})}, "Settings IMAP4 Warn", "Set-ImapSettings -PreAuth", 0},
		{"a person", "Administrators", []func(*managetest.Fake){set("Add-Administrator", args{"Identity": "alice@example.org", "Role": "Organization Administrator"})}, "Administrators  Pass", "", 0},
		{"a name that is gone", "Administrators", []func(*managetest.Fake){set("Add-Administrator", args{"Identity": "alice@example.org", "Role": "Organization Administrator"}),
			set("Add-Administrator", args{"Identity": "bob@example.org", "Role": "Server Administrator"}), set("Remove-Mailbox", args{"Identity": "bob@example.org", "Confirm": false})},
			"Administrators bob@example.org Warn", "nobody has now", 0},
		{"a directory before", "Administrators", []func(*managetest.Fake){set("Add-Administrator", args{"Identity": "alice@example.org", "Role": "Organization Administrator"}), func(f *managetest.Fake) {
			f.Server.Directories = []manage.DirectoryRow{{Name: "far", External: true, Domains: []string{"example.net"}}, {Name: "company", External: true}, {Name: "embedded"}}
		}}, "Administrators alice@example.org Warn", "The directory company is asked", 0},
		{"a directory behind", "Administrators", []func(*managetest.Fake){set("Add-Administrator", args{"Identity": "alice@example.org", "Role": "Organization Administrator"}), func(f *managetest.Fake) {
			f.Server.Directories = []manage.DirectoryRow{{Name: "far", External: true, Domains: []string{""}}, {Name: "embedded"}, {Name: "company", External: true}}
		}}, "Administrators  Pass", "| \n", 0},
		{"a keytab", "Directory", []func(*managetest.Fake){func(f *managetest.Fake) {
			f.Server.Directories = []manage.DirectoryRow{{Name: "people"}, {Name: "realm", External: true, Check: func() error { return nil }}}
		}}, "Directory realm Pass", "can be read", 0},
		{"a keytab that is gone", "Directory", []func(*managetest.Fake){func(f *managetest.Fake) {
			f.Server.Directories = []manage.DirectoryRow{{Name: "realm", External: true, Check: func() error { return mail.Errorf(mail.KindUnavailable, "The keytab is gone.") }}}
		}}, "Directory realm Fail", "The keytab is gone. What was read before", 1},
		{"nobody but root", "Administrators", nil, "Administrators  Warn", "Add-Administrator", 0},
		{"audit", "AuditLog", []func(*managetest.Fake){set("Set-PopSettings", args{"Banner": "x"})}, "AuditLog  Pass", "record 1", 0},
		{"disk low", "DiskSpace", []func(*managetest.Fake){func(f *managetest.Fake) { f.Host.Now.DiskFree = 1 << 30 }}, "DiskSpace  Warn", "1024 MB", 0},
		{"disk full", "DiskSpace", []func(*managetest.Fake){func(f *managetest.Fake) { f.Host.Now.DiskFree = 1 << 20 }}, "DiskSpace  Fail", "1 MB of", 1},
		{"small disk", "DiskSpace", []func(*managetest.Fake){func(f *managetest.Fake) { f.Host.Now.DiskFree, f.Host.Now.DiskSize = 1<<30, 4<<30 }}, "DiskSpace  Pass", "", 0},
		{"no disk", "DiskSpace", []func(*managetest.Fake){func(f *managetest.Fake) { f.Host.Now.DiskSize = 0 }}, "DiskSpace  Warn", "", 0},
		{"clock", "Clock", []func(*managetest.Fake){set("Set-PopSettings", args{"Banner": "x"}), func(f *managetest.Fake) { f.Server.Now = func() time.Time { return managetest.Now.Add(-time.Hour) } }}, "Clock  Fail", "before 2026-11-23", 1},
	} {
		f := fresh(t)
		for _, do := range c.do {
			do(f)
		}
		rows, details, code := judged(t, f, c.check)
		if text := strings.Join(rows, "\n") + "\n"; !strings.Contains(text, c.want+"\n") || !strings.Contains(details, c.fix) || code != c.code {
			t.Errorf("%s: %d\n%s%s", c.name, code, text, details)
		}
	}
	if _, err := ownerRuns(f, "Test-ServerConfiguration", args{"Check": "Weather"}); err == nil {
		t.Error("there is a check of the weather")
	}
}

// TestServers: what a server says of itself.
func TestServers(t *testing.T) {
	f := fresh(t)
	for _, c := range []struct {
		cmdlet string
		args   args
		want   string
	}{
		{"Get-ClientAccessServer", nil, `"Name":"mail.example.org","Roles":["ClientAccess","Mailbox"],"Version":"v1.0.0"`},
		{"Get-ClientAccessServer", args{"Identity": "MAIL*"}, `"Uptime":"1.02:00:00","User":"","Confinement":null,"Services":["POP3 Running","IMAP4 Running","Console Running"],"Connections":9`},
		{"Get-MailboxServer", nil, `"Mailboxes":2,"Engine":"memory"`},
		{"Get-MailboxServer", nil, `"DataSize":"bytes"`},
	} {
		r, err := ownerRuns(f, c.cmdlet, c.args)
		if err != nil {
			t.Error(err)
		} else if text := plainJSON(t, r); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", c.cmdlet, text)
		}
	}
	if _, err := ownerRuns(f, "Get-MailboxServer", args{"Identity": "other"}); err == nil {
		t.Error("another server is shown")
	}
	f.Host.Now.Roles = f.Host.Now.Roles[:1]
	if r, err := ownerRuns(f, "Get-MailboxServer", nil); err != nil || len(r.Objects) != 0 || len(r.Notes) != 1 {
		t.Error(err, r)
	}
}
