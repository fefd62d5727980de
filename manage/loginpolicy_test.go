package manage_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// TestLoginPolicyCmdlets plays calls one after another, as TestCmdlets does.
func TestLoginPolicyCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	play(t, client, []call{
		{"Get-LoginPolicy", nil, `"objects":[]`},
		{"New-LoginPolicy", args{"Name": "nothing"}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": " ", "Block": true}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "a*", "Block": true}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "Block": true, "Mailboxes": []string{"zoe"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "Block": true, "Groups": []string{"staff"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "Block": true, "From": []string{"10.0.0"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "Block": true, "Services": []string{"LMTP"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "Block": true, "Services": []string{"Console"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "AuthMechanisms": []string{"MAGIC"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "Hours": []string{"always"}}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "x", "LoginType": "4"}, "!BadArgument"},
		{"New-LoginPolicy", args{"Name": "tls", "LoginType": 3, "WhatIf": true}, `"whatIf":true No sign-in of the last 7 days would have been refused.`},
		{"Set-PopSettings", args{"LoginType": 1}, ``},
		{"New-LoginPolicy", args{"Name": "tls", "LoginType": 3, "WhatIf": true}, `"whatIf":true 2 sign-ins of 1 user in the last 7 days would have been refused: alice@example.org (10.0.0.5) 2.`},
		{"New-LoginPolicy", args{"Name": "tls", "LoginType": 3, "ExceptFrom": []string{"10.0.0.0/24"}, "WhatIf": true}, `No sign-in of the last 7 days would`},
		{"New-LoginPolicy", args{"Name": "tls", "LoginType": 3, "Mailboxes": []string{"bob@example.org"}, "WhatIf": true}, `No sign-in of the last 7 days would`},
		{"New-LoginPolicy", args{"Name": "apps", "AppPasswordsOnly": true, "WhatIf": true}, `3 sign-ins of 2 users bob@example.org (Thunderbird, 2001:db8::/64) 1`},
		{"New-LoginPolicy", args{"Name": "hours", "Hours": []string{"Sun 03:00-04:00"}, "Services": []string{"IMAP4"}, "WhatIf": true}, `1 sign-in of 1 user`},
		{"Get-LoginPolicy", nil, `"objects":[]`},
		{"New-LoginGroup", args{"Name": "staff", "Members": []string{"A.Example@example.org", "alice@example.org"}}, `"target":"login group staff" "new":["alice@example.org"]`},
		{"New-LoginGroup", args{"Name": "Staff"}, "!AlreadyExists"},
		{"New-LoginGroup", args{"Name": "x", "Members": []string{"zoe"}}, "!BadArgument"},
		{"Get-LoginGroup", args{"Member": "alice*"}, `"Name":"staff"`},
		{"Get-LoginGroup", args{"Member": "bob*"}, `"objects":[]`},
		{"New-LoginPolicy", args{"Name": "staff", "Groups": []string{"STAFF"}, "LoginType": "SecureLogin", "From": []string{"::ffff:10.1.2.3", "192.0.2.77/24"}},
			`"target":"login policy staff" "new":["staff"] "new":"SecureLogin" "new":["10.1.2.3/32","192.0.2.0/24"]`},
		{"New-LoginPolicy", args{"Name": "STAFF", "Block": true}, "!AlreadyExists"},
		{"Remove-LoginGroup", args{"Name": "staff", "Confirm": false}, "!InUse"},
		{"Set-LoginPolicy", args{"Name": "staff", "LoginType": "None"}, "!BadArgument"},
		{"Set-LoginPolicy", args{"Name": "none", "Block": true}, "!NotFound"},
		{"Set-LoginPolicy", args{"Name": "staff"}, "!BadArgument"},
		{"Set-LoginPolicy", args{"Name": "staff", "LoginType": 3}, `Nothing is different`},
		{"Set-LoginPolicy", args{"Name": "staff", "Hours": []string{"mon-fri 7:00-19:00"}, "Expected": args{"Block": true}}, "!Conflict"},
		{"Set-LoginPolicy", args{"Name": "staff", "Hours": []string{"mon-fri 7:00-19:00"}, "From": args{"Remove": []string{"10.1.2.3"}}}, `"new":["Mon-Fri 07:00-19:00"] "new":["192.0.2.0/24"]`},
		{"Get-LoginPolicy", nil, `"Name":"staff" "Groups":["staff"] "From":["192.0.2.0/24"] "Services":[] "LoginType":"SecureLogin" "Hours":["Mon-Fri 07:00-19:00"] "Block":false`},
		{"Get-EffectiveLoginPolicy", args{"Identity": "alice@example.org", "From": "192.0.2.9", "Protocol": "POP3", "At": "2026-11-23T12:00:00Z"},
			`"Mechanism":"USER command","Credential":"the mailbox's password","Plaintext":false,"Tls":true,"PlaintextRule":"login policy \"staff\": SecureLogin permits no authentication before TLS"`},
		{"Get-EffectiveLoginPolicy", args{"Identity": "alice@example.org", "From": "192.0.2.9", "Protocol": "POP3", "At": "2026-11-22T12:00:00Z"}, `"Plaintext":false,"Tls":false it permits no sign-in at this hour`},
		{"Get-EffectiveLoginPolicy", args{"Identity": "alice@example.org", "From": "10.0.0.9", "Protocol": "POP3"}, `"Plaintext":true,"Tls":true,"PlaintextRule":"PlainTextLogin permits it without TLS"`},
		{"Get-EffectiveLoginPolicy", args{"Identity": "bob@example.org"}, `POP3 is switched off "Protocol":"IMAP4" hold only with -From`},
		{"Get-EffectiveLoginPolicy", args{"From": "nowhere"}, "!BadArgument"},
		{"Get-EffectiveLoginPolicy", args{"Protocol": "LMTP"}, "!BadArgument"},
		{"Get-EffectiveLoginPolicy", args{"Identity": "zoe"}, "!NotFound"},
		{"Test-Login", args{"Identity": "alice@example.org", "Protocol": "POP3", "From": "x"}, "!BadArgument"},
		{"Set-LoginGroup", args{"Name": "staff", "Members": args{"Add": []string{"bob@example.org"}}}, `"new":["alice@example.org","bob@example.org"]`},
		{"Set-LoginGroup", args{"Name": "none"}, "!NotFound"},
		{"Remove-LoginPolicy", args{"Name": "staff"}, `Are you sure?`},
		{"Remove-LoginPolicy", args{"Name": "Staff", "Confirm": false}, `"old":"SecureLogin","new":"None"`},
		{"Remove-LoginPolicy", args{"Name": "staff", "Confirm": false}, "!NotFound"},
		{"Remove-LoginGroup", args{"Name": "staff", "Confirm": false}, `"old":"staff"`},
	})
}

// What is kept holds at once, and again after a start.
func TestLoginPolicyHolds(t *testing.T) {
	f := newFake(t, "")
	allowed := func() bool {
		return f.Auth.PasswordAllowed(auth.Imagined(f.Settings.Current(settings.POP3), true)).OK
	}
	run(t, f, "New-LoginPolicy", args{"Name": "closed", "Block": true, "Services": []string{"POP3"}})
	if allowed() {
		t.Error("a policy does not hold")
	}
	f.Auth.SetPolicy(&auth.Policy{})
	if err := f.LoadLoginPolicy(context.Background()); err != nil || allowed() {
		t.Error("a kept policy does not hold", err)
	}
	f.Records.Err = mail.Errorf(mail.KindUnavailable, "")
	if err := f.LoadLoginPolicy(context.Background()); err == nil || allowed() {
		t.Error("policies that cannot be read hold no more", err)
	}
	f.Records.Err = nil
	run(t, f, "Remove-LoginPolicy", args{"Name": "closed", "Confirm": false})
	if !allowed() {
		t.Error("a removed policy holds")
	}
	records := f.Audit.Records()
	record := records[len(records)-1]
	if record.Cmdlet != "Remove-LoginPolicy" || !strings.Contains(plainJSON(t, record), "login policy closed") {
		t.Errorf("%+v", record)
	}
}

// TestImpact: a change of each setting that decides who may log in says whom of the
// last days it would have refused, and a change of the rest says nothing.
func TestImpact(t *testing.T) {
	f := fresh(t)
	for i, method := range []string{"SCRAM-SHA-256-PLUS", "PLAIN", "XOAUTH2"} {
		m, ok := sasl.Find(method)
		if !ok {
			t.Fatal(method)
		}
		f.Statistics.Observe(auth.Attempt{Service: settings.IMAP4, Mechanism: method, Class: m.Class, TLS: true, User: fmt.Sprintf("user%d@example.org", i), Remote: netip.MustParseAddrPort("10.0.0.9:7")})
	}
	const none = "No sign-in of the last 7 days at IMAP4 would have been refused."
	for _, c := range []struct {
		change args
		want   string // "" is no note
	}{
		{args{"Banner": "x"}, ""},
		{args{"AuthMechanisms": []string{"PLAIN", "SCRAM-SHA-256"}}, "1 sign-in of 1 user in the last 7 days at IMAP4 would have been refused: user2@example.org (10.0.0.9) 1."},
		{args{"AuthMechanisms": []string{"EXTERNAL"}}, "4 sign-ins of 4 users"},
		{args{"ExtendedProtectionPolicy": "Require"}, "3 sign-ins of 3 users"},
		{args{"ExtendedProtectionPolicy": "None"}, none}, // who was bound can sign in without
		{args{"ExtendedProtectionPolicy": "None", "AuthMechanisms": []string{"SCRAM-SHA-256-PLUS", "PLAIN", "XOAUTH2"}}, "2 sign-ins of 2 users"},
		{args{"LoginType": 1}, ""},
	} {
		c.change["WhatIf"] = true
		r, err := ownerRuns(f, "Set-ImapSettings", c.change)
		if err != nil {
			t.Error(c.change, err)
			continue
		}
		if text := strings.Join(r.Notes, " "); !strings.Contains(text, c.want) || c.want == "" && (text != "" || r.Impact != nil) || c.want != "" && !slices.Equal(r.Notes, r.Impact.Notes) {
			t.Errorf("%v: %q, want %q", c.change, text, c.want)
		}
	}
	// What is refused already, a change does not refuse.
	if _, err := ownerRuns(f, "New-LoginPolicy", args{"Name": "no", "Block": true, "Mailboxes": []string{"bob@example.org"}}); err != nil {
		t.Fatal(err)
	}
	r, err := ownerRuns(f, "Set-ImapSettings", args{"ExtendedProtectionPolicy": "Require", "WhatIf": true})
	if err != nil || r.Impact == nil || r.Impact.SignIns != 2 {
		t.Error(err, r)
	}
}
