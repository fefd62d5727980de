package manage_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// Legacy mechanisms are switched on with a warning and what is still missing, and off
// without.
func TestLegacyMechanisms(t *testing.T) {
	const alice = "alice@example.org"
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	list := func() string {
		o := run(t, f, "Get-CASMailbox", args{"Identity": alice}).Objects[0]
		v, _ := o.Value("LegacyMechanisms")
		return strings.Join(v.([]string), " ")
	}
	if got := list(); got != "" {
		t.Errorf("at first: %s", got)
	}
	r := run(t, f, "Set-CASMailbox", args{"Identity": alice, "LegacyMechanisms": []string{"apop", "CRAM-MD5"}})
	if got := list(); got != "CRAM-MD5 APOP" {
		t.Errorf("switched on: %s", got)
	}
	if len(r.Warnings) != 2 || !strings.Contains(r.Warnings[1], "can read it") || len(r.Notes) != 3 || !strings.Contains(r.Notes[0], "cannot be read") {
		t.Errorf("said %q, %q", r.Warnings, r.Notes)
	}
	if r.Notes[1] != "AuthMechanisms of POP3 and of IMAP4 does not name CRAM-MD5 yet." || r.Notes[2] != "AuthMechanisms of POP3 does not name APOP yet." {
		t.Errorf("noted %q", r.Notes)
	}
	if r := run(t, f, "Set-Mailbox", args{"Identity": alice, "Password": "a long enough passphrase"}); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "can read it") {
		t.Errorf("a password: %q", r.Warnings)
	}
	r = run(t, f, "Set-PopSettings", args{"AuthMechanisms": map[string]any{"Add": "APOP"}})
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "AuthMechanisms has APOP: such proofs are weak") {
		t.Errorf("named: %q", r.Warnings)
	}
	if r := run(t, f, "Get-PopSettings", nil); !strings.Contains(strings.Join(r.Warnings, " "), "AuthMechanisms has APOP") {
		t.Errorf("as long as it stands: %q", r.Warnings)
	}
	run(t, f, "Set-CASMailbox", args{"Identity": alice, "LegacyMechanisms": map[string]any{"Remove": "CRAM-MD5"}})
	if err := f.Directory.Change(t.Context(), alice, func(e *directory.Entry) error { e.ReadablePassword = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if v, _ := run(t, f, "Get-Mailbox", args{"Identity": alice}).Objects[0].Value("ReadablePassword"); v != true {
		t.Errorf("Get-Mailbox says %v", v)
	}
	r = run(t, f, "Set-CASMailbox", args{"Identity": alice, "LegacyMechanisms": []string{}})
	if got := list(); got != "" || len(r.Warnings) != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "is forgotten") {
		t.Errorf("switched off: %s, %q, %q", got, r.Warnings, r.Notes)
	}
	recipient := manage.Caller{Name: "unix:rita", From: "test", Roles: []manage.Role{manage.RecipientAdministrator}}
	run(t, f, "Add-Administrator", args{"Identity": alice, "Role": "Organization Administrator"})
	for _, c := range []struct {
		caller manage.Caller
		cmdlet string
		a      args
		kind   mail.Kind
	}{
		{root, "Set-CASMailbox", args{"Identity": alice, "LegacyMechanisms": []string{"PLAIN"}}, mail.KindBadArgument},
		{root, "Set-ImapSettings", args{"AuthMechanisms": map[string]any{"Add": "APOP"}}, mail.KindBadArgument},
		// Who does not manage administrators does not change how one signs in.
		{recipient, "Set-CASMailbox", args{"Identity": alice, "LegacyMechanisms": []string{"APOP"}}, mail.KindNoPermission},
	} {
		if _, err := f.Run(t.Context(), c.caller, c.cmdlet, []byte(plainJSON(t, c.a))); mail.KindOf(err) != c.kind {
			t.Errorf("%s %v: %v", c.cmdlet, c.a, err)
		}
	}
	if _, err := f.Run(t.Context(), recipient, "Set-CASMailbox", []byte(plainJSON(t, args{"Identity": "bob@example.org", "LegacyMechanisms": []string{"APOP"}}))); err != nil {
		t.Error(err)
	}
}

// TestImapReferral: where a mailbox is now is a URL of a server, and can be taken back.
func TestImapReferral(t *testing.T) {
	const alice = "alice@example.org"
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	url := func() any {
		v, _ := run(t, f, "Get-CASMailbox", args{"Identity": alice}).Objects[0].Value("ImapReferralUrl")
		return v
	}
	r := run(t, f, "Set-CASMailbox", args{"Identity": alice, "ImapReferralUrl": "IMAP://mail2.example.org"})
	if got := url(); got != "imap://mail2.example.org/" || len(r.Notes) != 1 {
		t.Errorf("%v, %q", got, r.Notes)
	}
	for _, bad := range []string{"mail2.example.org", "imap://alice@mail2.example.org/", "imap://mail2.example.org/INBOX", "imaps://mail2.example.org/"} {
		_, err := f.Run(t.Context(), root, "Set-CASMailbox", []byte(plainJSON(t, args{"Identity": alice, "ImapReferralUrl": bad})))
		if err == nil || !strings.Contains(mail.TextOf(err), "imap://mail2.example.org/") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if r := run(t, f, "Set-CASMailbox", args{"Identity": alice, "ImapReferralUrl": ""}); url() != "" || len(r.Notes) != 0 {
		t.Errorf("%v, %q", url(), r.Notes)
	}
}
