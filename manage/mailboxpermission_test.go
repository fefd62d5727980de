package manage_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
)

func TestMailboxPermissionCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	alice, bob := "alice@example.org", "bob@example.org"
	play(t, client, []call{
		{"Get-MailboxPermission", nil, `"objects":[]`},
		{"Add-MailboxPermission", args{"Identity": alice}, "!BadArgument"},
		{"Add-MailboxPermission", args{"User": bob}, "!BadArgument"},
		{"Add-MailboxPermission", args{"Identity": "zoe", "User": bob}, "!NotFound"},
		{"Add-MailboxPermission", args{"Identity": alice, "User": "zoe"}, "!NotFound"},
		{"Add-MailboxPermission", args{"Identity": alice, "User": alice}, "!BadArgument"},
		{"Add-MailboxPermission", args{"Identity": alice, "User": bob, "AccessRights": "SendAs"}, "!BadArgument"},
		{"Add-MailboxPermission", args{"Identity": alice, "User": bob, "AccessRights": "Impersonation"}, "!BadArgument"},
		{"Add-MailboxPermission", args{"Identity": alice, "User": bob, "WhatIf": true}, `"whatIf":true "target":"alice@example.org" "new":"bob@example.org"`},
		{"Get-MailboxPermission", nil, `"objects":[]`},
		{"Add-MailboxPermission", args{"Identity": "a.example@example.org", "User": "BOB@example.org", "AccessRights": "fullaccess"}, `"Identity":"alice@example.org","User":"bob@example.org","AccessRights":"FullAccess"`},
		{"Add-MailboxPermission", args{"Identity": alice, "User": bob}, `has the right already`},
		{"Add-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"}, `"Identity":"*" "AccessRights":"Impersonation" all mail`},
		{"Get-MailboxPermission", args{"Identity": alice}, `FullAccess Impersonation`},
		{"Get-MailboxPermission", args{"Identity": alice, "AccessRights": "FullAccess"}, `"Identity":"alice@example.org"`},
		{"Get-MailboxPermission", args{"User": alice}, `"objects":[]`},
		{"Get-MailboxPermission", args{"User": bob}, `"User":"bob@example.org"`},
		{"Get-EffectiveLoginPolicy", args{"Identity": bob, "ActFor": alice}, `an app password opens its own mailbox alone`},
		{"Get-EffectiveLoginPolicy", args{"Identity": alice, "ActFor": bob}, `may not act for`},
		{"Get-EffectiveLoginPolicy", args{"ActFor": bob}, "!BadArgument"},
		{"Test-Login", args{"Identity": bob, "Protocol": "IMAP4", "ActFor": "a b"}, "!BadArgument"},
		{"Remove-MailboxPermission", args{"Identity": bob, "User": alice}, "!NotFound"},
		{"Remove-MailboxPermission", args{"Identity": "*", "User": bob, "AccessRights": "Impersonation"}, `"old":"bob@example.org","new":null`},
		{"Remove-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"}, "!NotFound"},
		{"Remove-MailboxPermission", args{"Identity": alice, "User": bob}, `"target":"alice@example.org"`},
		{"Get-MailboxPermission", nil, `"objects":[]`},
	})
}

// TestPermissionsFollowAccounts: a right is an account's, not a name's; it goes with
// either mailbox, and ends the sessions that rest on it.
func TestPermissionsFollowAccounts(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	alice, bob := "alice@example.org", "bob@example.org"
	run(t, f, "Add-MailboxPermission", args{"Identity": alice, "User": bob})
	rights, err := f.ActsFor(ctx, 2)
	if err != nil || rights.Everybody || !slices.Equal(rights.Mailboxes, []mail.AccountID{1}) || rights.Covers(0) || rights.Covers(2) {
		t.Errorf("%+v, %v", rights, err)
	}
	f.Sessions.Open = []manage.LiveSession{
		{ID: "IMAP4-1", User: alice, Account: 1, ActedBy: bob, Service: settings.IMAP4},
		{ID: "IMAP4-2", User: alice, Account: 1, Service: settings.IMAP4}, {ID: "IMAP4-3", User: bob, Account: 2, Service: settings.IMAP4},
	}
	if got := ids(run(t, f, "Get-Session", args{"User": bob})); got != "IMAP4-1 IMAP4-3" {
		t.Error(got)
	}
	run(t, f, "Add-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"})
	run(t, f, "Remove-MailboxPermission", args{"Identity": alice, "User": bob})
	if len(f.Sessions.Open) != 3 {
		t.Error("a session ended that another right covers")
	}
	run(t, f, "Remove-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"})
	if got := ids(run(t, f, "Get-Session", nil)); got != "IMAP4-2 IMAP4-3" {
		t.Error(got)
	}
	run(t, f, "Add-MailboxPermission", args{"Identity": alice, "User": bob})
	run(t, f, "Add-MailboxPermission", args{"Identity": bob, "User": alice})
	run(t, f, "Remove-Mailbox", args{"Identity": alice, "Confirm": false})
	if kept, err := f.Records.Records(ctx, "mailboxpermission", ""); err != nil || len(kept) != 0 {
		t.Error(kept, err)
	}
}

// TestPermissionsAreGuarded: who manages mailboxes comes to no administrator's mail by
// rights, and not to the right for every mailbox.
func TestPermissionsAreGuarded(t *testing.T) {
	f := newFake(t, manage.OrganizationAdministrator)
	ctx := context.Background()
	alice, bob := "alice@example.org", "bob@example.org"
	clerk := manage.Caller{Name: "unix:clerk", From: "test", Roles: []manage.Role{manage.RecipientAdministrator}}
	refused := func(cmdlet string, a args) {
		t.Helper()
		if _, err := f.Run(ctx, clerk, cmdlet, []byte(plainJSON(t, a))); mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%s %v: %v", cmdlet, a, err)
		}
	}
	refused("Add-MailboxPermission", args{"Identity": alice, "User": bob})
	refused("Add-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"})
	run(t, f, "Add-MailboxPermission", args{"Identity": alice, "User": bob})
	refused("Set-Mailbox", args{"Identity": bob, "Password": "for-me-alone-7"})
	refused("New-AppPassword", args{"Identity": bob, "Name": "mine"})
	refused("Remove-MailboxPermission", args{"Identity": alice, "User": bob})
	run(t, f, "Remove-MailboxPermission", args{"Identity": alice, "User": bob})
	run(t, f, "Add-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"})
	refused("Set-Mailbox", args{"Identity": bob, "Password": "for-me-alone-7"})
	refused("Remove-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"})
	run(t, f, "Remove-MailboxPermission", args{"User": bob, "AccessRights": "Impersonation"})
	if _, err := f.Run(ctx, clerk, "Set-Mailbox", []byte(plainJSON(t, args{"Identity": bob, "Password": "for-me-alone-7"}))); err != nil {
		t.Error(err)
	}
}

// TestActedRecord: who, for whom, from where and how is in the audit log, and refusals do
// not fill it.
func TestActedRecord(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	a := auth.Attempt{Service: settings.IMAP4, Remote: netip.MustParseAddrPort("192.0.2.7:4711"), TLS: true, Mechanism: "SCRAM-SHA-256", Name: "bob@example.org", For: "alice@example.org"}
	if err := f.Acted(ctx, a); err != nil {
		t.Fatal(err)
	}
	list := f.Audit.Records()
	text := plainJSON(t, list[len(list)-1])
	for _, want := range []string{`"who":"bob@example.org"`, `"from":"192.0.2.7"`, `"cmdlet":"` + audit.ActFor, `"Mailbox":"alice@example.org"`, `"Mechanism":"SCRAM-SHA-256"`, `"outcome":"OK"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	a.Err = mail.Errorf(mail.KindAuthorizationFailed, "")
	before := len(f.Audit.Records())
	for range 1000 {
		if err := f.Acted(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.Audit.Records()) - before; n == 0 || n > 200 {
		t.Errorf("%d refusals are recorded", n)
	}
}
