package manage_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

var owner = manage.Caller{Name: "unix:root", From: "socket", Way: manage.WaySocket, Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}

// fataler is what tests and properties have in common.
type fataler interface {
	Helper()
	Fatal(...any)
}

// ownerRuns runs a cmdlet for the owner in the server itself.
func ownerRuns(f *managetest.Fake, cmdlet string, a args) (*manage.Result, error) {
	if a == nil {
		a = args{}
	}
	body, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return f.Run(context.Background(), owner, cmdlet, body)
}

func export(t fataler, f *managetest.Fake, all bool) string {
	t.Helper()
	r, err := ownerRuns(f, "Export-Configuration", args{"All": all})
	if err != nil {
		t.Fatal(err)
	}
	content, _ := r.Objects[0].Value("Content")
	return content.(string)
}

func fresh(t fataler) *managetest.Fake {
	t.Helper()
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestConfiguration: a file is imported whole, shows up in the export, and makes no
// difference twice.
func TestConfiguration(t *testing.T) {
	f := fresh(t)
	if text := export(t, f, false); strings.Contains(text, "[POP3]") || !strings.Contains(text, "LocalAdministrators = []\n") || !strings.Contains(text, "\"unix:root\"\nRole = \"Organization Administrator\"") {
		t.Error(text)
	}
	if text := export(t, f, true); !strings.Contains(text, "\n[POP3]\n") || !strings.Contains(text, "MaxCommandSize = 512\n") || strings.Contains(strings.ReplaceAll(strings.ToLower(text), "weakpasswordpolicy", ""), "password") {
		t.Error(text)
	}
	file := `# ours
LocalAdministrators = ["alice@example.org"]
[IMAP4]
LoginType = "plaintextlogin"
MaxConnections = 1_000
ShowHiddenFoldersEnabled = true
UnencryptedOrTLSBindings = ["127.0.0.1:1143", # here
  "[::1]:1143"]
[POP3]
StartupType = "Manual"
Banner = "He said \"\\o/\" # hm"
[[Administrator]]
Identity = "bob@example.org"
Role = "serveradmin"
Scope = ["Mail.example.org"]
`
	r, err := ownerRuns(f, "Import-Configuration", args{"Path": file, "WhatIf": true, "ExitCode": true})
	if err != nil || len(r.Changes) != 9 || r.ExitCode != 2 || !r.WhatIf {
		t.Fatal(err, fmt.Sprintf("%+v", r))
	}
	if text := export(t, f, false); strings.Contains(text, "[POP3]") {
		t.Error("WhatIf has changed something:", text)
	}
	if r, err = ownerRuns(f, "Import-Configuration", args{"Path": file}); err != nil || len(r.Changes) != 9 || r.ExitCode != 0 || !strings.Contains(strings.Join(r.Warnings, " "), "cross the network") {
		t.Fatal(err, fmt.Sprintf("%+v", r))
	}
	records := f.Audit.Records()
	if last := records[len(records)-1]; last.Cmdlet != "Import-Configuration" || len(last.Changes) != 9 || !strings.Contains(last.Parameters["Path"], "SHA-256") {
		t.Errorf("%+v", last)
	}
	exported := export(t, f, false)
	for _, want := range []string{
		"LocalAdministrators = [\"alice@example.org\"]\n", "[POP3]\nStartupType = \"Manual\"\nBanner = \"He said \\\"\\\\o/\\\" # hm\"\n",
		"UnencryptedOrTLSBindings = [\"127.0.0.1:1143\", \"[::1]:1143\"]\nLoginType = \"PlainTextLogin\"\nMaxConnections = 1000\n",
		"[[Administrator]]\nIdentity = \"bob@example.org\"\nRole = \"Server Administrator\"\nScope = [\"mail.example.org\"]\n",
	} {
		if !strings.Contains(exported, want) {
			t.Errorf("no %q in %s", want, exported)
		}
	}
	for _, again := range []string{file, exported} {
		if r, err = ownerRuns(f, "Import-Configuration", args{"Path": again, "WhatIf": true, "ExitCode": true}); err != nil || len(r.Changes) != 0 || r.ExitCode != 0 {
			t.Fatal(err, fmt.Sprintf("%+v", r))
		}
	}
	// What is not in a file stays, but for -Prune.
	if r, err = ownerRuns(f, "Import-Configuration", args{"Path": "[POP3]\n"}); err != nil || len(r.Changes) != 0 {
		t.Fatal(err, r.Changes)
	}
	r, err = ownerRuns(f, "Import-Configuration", args{"Path": "[POP3]\nBanner = \"x\"\n", "Prune": true})
	if err != nil || len(r.Changes) != 6 || len(r.Notes) != 2 {
		t.Fatal(err, fmt.Sprintf("%+v", r))
	}
	r, err = ownerRuns(f, "Import-Configuration", args{"Path": "LocalAdministrators = []\n[POP3]\n[[Administrator]]\nIdentity = \"alice@example.org\"\nRole = \"Organization Administrator\"\n", "Prune": true})
	if err != nil || len(r.Changes) < 4 {
		t.Fatal(err, fmt.Sprintf("%+v", r))
	}
	if text := export(t, f, false); strings.Contains(text, "root") || strings.Contains(text, "bob") || strings.Contains(text, "[POP3]") || strings.Count(text, "alice") != 1 {
		t.Error(text)
	}
}

// TestConfigurationRefused: what is wrong with a file is told with its line, and
// nothing is changed.
func TestConfigurationRefused(t *testing.T) {
	f := fresh(t)
	before := export(t, f, true)
	for _, c := range []struct{ file, want string }{
		{"a = [1,\n", "line 1: "},
		{"\n[POP3]\nBanner = \"x\"\nBanner = \"y\"\n", "line 4: key Banner is already defined"},
		{"\n[POP3]\nBanner = \"x\"\nbanner = \"y\"\n", "line 4: Banner is given twice"},
		{"[POP3]\n[Pop3]\n", "line 2: POP3 has a table already"},
		{"[SMTP]\n", "line 1: there is no table [SMTP]"},
		{"[POP3.more]\n", "line 1: there is no table [POP3.more]"},
		{"[[POP3]]\n", "line 1: there is no table [[POP3]]"},
		{"[Administrator]\nIdentity = \"unix:root\"\n", "line 1: there is no table"},
		{"LoginType = \"SecureLogin\"\n", "line 1: there is no key \"LoginType\" here"},
		{"POP3.LoginType = \"SecureLogin\"\n", "line 1: POP3.LoginType has a dot"},
		{"# x\n\n[POP3]\nLogonType = 3\n", `line 4: POP3 has no setting "LogonType"`},
		{"[POP3]\nShowHiddenFoldersEnabled = true\n", "line 2: POP3 has no setting"},
		{"[POP3]\nMaxConnections = 10\nLoginType = 4\n", "line 3: POP3: LoginType is PlainTextLogin"},
		{"[POP3]\nMaxConnections = 0\n", "line 2: POP3: MaxConnections is a whole number"},
		{"[POP3]\nMaxConnections = 99999999999999999999\n", "too large"},
		{"[POP3]\nMaxConnections = 1.5\n", "line 2: MaxConnections is a text, a whole number"},
		{"[POP3]\nMaxConnections = 2026-11-23\n", "line 2: MaxConnections is a text"},
		{"[POP3]\nMaxConnections = {a = 1}\n", "line 2: MaxConnections is a text"},
		{"[POP3]\nSSLBindings = [1]\n", "line 2: SSLBindings is a list of texts"},
		{"[POP3]\nSSLBindings = [\"x\"]\n", "line 2: POP3: SSLBindings is a list of IP:port"},
		{"[IMAP4]\nLoginType = 1\n[POP3]\nSSLBindings = [\"0.0.0.0:993\"]\n", "SSLBindings contains 0.0.0.0:993, which is in SSLBindings of"},
		{"[POP3]\nX509CertificateName = \"pop.example.org\"\n", "line 2: POP3: no usable certificate covers"},
		{"[IMAP4]\nCalendarItemRetrievalOption = \"Custom\"\n", "line 2: IMAP4: CalendarItemRetrievalOption"},
		{"LocalAdministrators = \"alice@example.org\"\n", "line 1: LocalAdministrators is a list"},
		{"LocalAdministrators = [\"alice@example.org\",\n\"zoe@example.org\"]\n", "line 1: there is no mailbox"},
		{"LocalAdministrators = [\"unix:root\"]\n", "line 1: the groups of operating-system users"},
		{"[[Administrator]]\nIdentity = \"alice@example.org\"\n", "line 1: an Administrator needs"},
		{"[[Administrator]]\nRole = \"Organization Administrator\"\n", "line 1: an Administrator needs"},
		{"[[Administrator]]\nIdentity = \"zoe@example.org\"\nRole = \"Server Administrator\"\n", "line 2: there is no mailbox"},
		{"[[Administrator]]\nIdentity = \"alice@example.org\"\nRole = \"King\"\n", "line 3: there is no role"},
		{"[[Administrator]]\nIdentity = \"alice@example.org\"\nRole = \"ViewOnlyAdmin\"\nScope = [\"a\"]\n", "line 1: Scope belongs"},
		{"[[Administrator]]\nIdentity = 7\n", "line 2: Identity is a text"},
		{"[[Administrator]]\nPassword = \"x\"\n", "line 2: an Administrator has no"},
		{strings.Repeat("[[Administrator]]\nIdentity = \"alice@example.org\"\nRole = \"ViewOnlyAdmin\"\n", 2), "line 4: alice@example.org is given the role"},
		{"a = " + strings.Repeat("[", 500000), "line 1: brackets are nested too deeply"},
		{"\xff = 1\n", "line 1: "},
	} {
		_, err := ownerRuns(f, "Import-Configuration", args{"Path": manage.FileContent{Base64: []byte(c.file)}})
		if err == nil || !strings.Contains(mail.TextOf(err), c.want) {
			t.Errorf("%.60q: %v; want %s", c.file, err, c.want)
		}
	}
	_, err := ownerRuns(f, "Import-Configuration", args{"Path": "[[Administrator]]\nIdentity = \"alice@example.org\"\nRole = \"ViewOnlyAdmin\"\n", "Prune": true})
	if mail.KindOf(err) != mail.KindCannot {
		t.Error("nobody is left, and it is not refused:", err)
	}
	if after := export(t, f, true); after != before {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
}

// full is a store that keeps no administrators.
type full struct{ rows *managetest.Records }

func (f full) Records(ctx context.Context, kind, prefix string) ([]store.Record, error) {
	return f.rows.Records(ctx, kind, prefix)
}

func (f full) PutRecords(ctx context.Context, records []store.Record) error {
	for _, r := range records {
		if r.Kind == "administrator" {
			return mail.Errorf(mail.KindUnavailable, "The disk is full.")
		}
	}
	return f.rows.PutRecords(ctx, records)
}

// TestConfigurationUndone: when a part cannot be changed, those before it are
// changed back, and the error and the audit say so.
func TestConfigurationUndone(t *testing.T) {
	f := fresh(t)
	before := export(t, f, true)
	f.Server.Records = full{f.Records}
	file := "[POP3]\nBanner = \"x\"\nLoginType = 1\n[IMAP4]\nSSLBindings = []\n[[Administrator]]\nIdentity = \"alice@example.org\"\nRole = \"ViewOnlyAdmin\"\n"
	_, err := ownerRuns(f, "Import-Configuration", args{"Path": file})
	if mail.KindOf(err) != mail.KindUnavailable || !strings.Contains(mail.TextOf(err), "changed back") {
		t.Error(err)
	}
	if after := export(t, f, true); after != before {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
	records := f.Audit.Records()
	if last := records[len(records)-1]; last.Outcome != "Unavailable" || len(last.Changes) != 0 {
		t.Errorf("%+v", last)
	}
	// A binding of the second service that cannot be opened: nothing of the first.
	f.Server.Settings.Apply(func(_ context.Context, _, new *settings.Values) (commit, cancel func(), err error) {
		if new.Service() == settings.IMAP4 {
			return nil, nil, errors.New("port in use")
		}
		return nil, nil, nil
	})
	if _, err := ownerRuns(f, "Import-Configuration", args{"Path": "[POP3]\nBanner = \"x\"\n[IMAP4]\nSSLBindings = []\n"}); err == nil {
		t.Error("not refused")
	}
	if after := export(t, f, true); after != before {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
}

// TestConfigurationRoundTrip: whatever is set, its export makes another server the
// same, and no difference on its own.
func TestConfigurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, err := managetest.New()
		if err != nil {
			t.Fatal(err)
		}
		set := 0
		for _, s := range settings.Services {
			for _, r := range settings.Of(s, "") {
				if !rapid.Bool().Draw(t, string(s)+r.Name) {
					continue
				}
				var value any
				switch old := r.Default(s, managetest.ServerName).(type) {
				case bool:
					value = !old
				case int:
					value = rapid.IntRange(1, 100000).Draw(t, "number")
				case []string:
					if len(r.Choices) > 0 {
						value = rapid.SliceOfN(rapid.SampledFrom(r.Completions(s)), 0, 4).Draw(t, "names")
						break
					}
					value = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
						return fmt.Sprintf("%s:%d", rapid.SampledFrom([]string{"127.0.0.1", "[::1]", "[fe80::1%eth0]"}).Draw(t, "ip"), rapid.IntRange(1, 65535).Draw(t, "port"))
					}), 0, 4).Draw(t, "bindings")
				default:
					choices := []string{rapid.StringOfN(rapid.RuneFrom([]rune(`abc "\#=[]'{}<ä`)), 1, 30, -1).Draw(t, "text"), "00:10:00", "01:30:00", "example.org"}
					for _, c := range r.Choices {
						choices = append(choices, c.Name)
					}
					value = rapid.SampledFrom(choices).Draw(t, "value")
				}
				cmdlet, a := "Set-"+s.Prefix()+"Settings", args{r.Name: value}
				if r.Noun == "Service" {
					cmdlet, a["Name"] = "Set-Service", string(s)
				}
				if _, err := ownerRuns(f, cmdlet, a); err == nil { // others are no values of this setting
					set++
				}
			}
		}
		text := export(t, f, rapid.Bool().Draw(t, "all"))
		r, err := ownerRuns(f, "Import-Configuration", args{"Path": text, "WhatIf": true, "Prune": true})
		if err != nil || len(r.Changes) != 0 {
			t.Fatal(err, fmt.Sprintf("%+v", r), text)
		}
		other, err := managetest.New()
		if err != nil {
			t.Fatal(err)
		}
		plain := export(t, other, true)
		if _, err := ownerRuns(other, "Import-Configuration", args{"Path": text}); err != nil {
			t.Fatal(err, text)
		}
		if a, b := export(t, f, true), export(t, other, true); a != b {
			t.Fatalf("%s\nbecame\n%s", a, b)
		}
		if _, err := ownerRuns(other, "Import-Configuration", args{"Path": plain}); err != nil {
			t.Fatal(err, plain)
		}
		if back := export(t, other, true); back != plain {
			t.Fatalf("%s\nbecame\n%s", plain, back)
		}
	})
}

// FuzzConfiguration: no file breaks the reader, and one that is refused changes
// nothing.
func FuzzConfiguration(f *testing.F) {
	f.Add([]byte("LocalAdministrators = []\n[POP3]\nBanner = \"x\"\n[[Administrator]]\nIdentity = \"unix:root\"\nRole = \"Organization Administrator\"\n"))
	f.Add([]byte("[IMAP4]\nMaxConnections = 0x10\nSSLBindings = ['127.0.0.1:1']\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		server := fresh(t)
		before := export(t, server, true)
		_, err := ownerRuns(server, "Import-Configuration", args{"Path": manage.FileContent{Base64: file}})
		if err != nil {
			if kind := mail.KindOf(err); kind == mail.KindServerBug || export(t, server, true) != before {
				t.Errorf("%q: %v", file, err)
			}
			return
		}
		if r, err := ownerRuns(server, "Import-Configuration", args{"Path": manage.FileContent{Base64: file}, "WhatIf": true}); err != nil || len(r.Changes) > 0 {
			t.Errorf("%q: %v %+v", file, err, r)
		}
	})
}
