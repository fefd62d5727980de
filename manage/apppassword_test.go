package manage_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
)

func TestAppPasswordCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	play(t, client, []call{
		{"New-AppPassword", args{"Identity": "alice@example.org"}, "!BadArgument"},
		{"New-AppPassword", args{"Identity": "zoe", "Name": "phone"}, "!NotFound"},
		{"New-AppPassword", args{"Identity": "alice@example.org", "Name": "a\tb"}, "!BadArgument"},
		{"New-AppPassword", args{"Identity": "alice@example.org", "Name": "phone", "Services": []string{"Console"}}, "!BadArgument"},
		{"New-AppPassword", args{"Identity": "alice@example.org", "Name": "phone", "From": []string{"here"}}, "!BadArgument"},
		{"New-AppPassword", args{"Identity": "alice@example.org", "Name": "phone", "Expires": "2020-01-01"}, "!BadArgument"},
		{"New-AppPassword", args{"Identity": "alice@example.org", "Name": "phone", "WhatIf": true}, `"whatIf":true "objects":[]`},
		{"New-AppPassword", args{"Identity": "a.example@example.org", "Name": "phone", "Services": []string{"imap"}, "From": []string{"10.0.0.0/8"}, "Expires": "30.00:00:00", "ReadOnly": true},
			`"Mailbox":"alice@example.org" "Services":["IMAP4"] "From":["10.0.0.0/8"] "ReadOnly":true "Expires":"2026-12-23T09:30:00Z" "LastUsed":null "Password":" once`},
		{"New-AppPassword", args{"Identity": "alice@example.org", "Name": "Phone"}, "!AlreadyExists"},
		{"Get-AppPassword", args{"Identity": "alice@example.org"}, `"Name":"phone"`},
		{"Get-AppPassword", args{"Identity": "bob@example.org"}, `"objects":[]`},
		{"Get-AppPassword", args{"Identity": "zoe"}, "!NotFound"},
		{"Remove-AppPassword", args{"Identity": "bob@example.org", "Name": "phone"}, "!NotFound"},
		{"Remove-AppPassword", args{"Identity": "alice@example.org", "Name": "PHONE"}, `"target":"app password phone of alice@example.org" "old":"phone","new":null`},
		{"Get-AppPassword", args{"Identity": "alice@example.org"}, `"objects":[]`},
	})
}

// TestAppPassword follows one from its making to its end.
func TestAppPassword(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	made, _ := run(t, f, "New-AppPassword", args{"Identity": "alice@example.org", "Name": "phone"}).Objects[0].Value("Password")
	shown := made.(string)
	if !regexp.MustCompile(`^([a-km-z2-9]{4}-){5}[a-km-z2-9]{4}$`).MatchString(shown) {
		t.Errorf("%q", shown)
	}
	secret := auth.AppPasswordSecret(shown)
	kept, err := f.Records.Records(ctx, "apppassword", "")
	if err != nil || len(kept) != 1 || strings.Contains(plainJSON(t, kept), secret) || strings.Contains(string(kept[0].Value)+kept[0].Key, secret) {
		t.Errorf("what is kept: %v, %v", kept, err)
	}
	if text := plainJSON(t, f.Audit.Records()); strings.Contains(text, shown) || strings.Contains(text, secret) {
		t.Error("the audit log has the password")
	}
	w := auth.Wanted{Service: settings.IMAP4, At: managetest.Now}
	last := func() any {
		v, _ := run(t, f, "Get-AppPassword", args{"Identity": "alice@example.org"}).Objects[0].Value("LastUsed")
		return v
	}
	for _, c := range []struct {
		account mail.AccountID
		w       auth.Wanted
		found   bool
		used    any
	}{
		{2, w, false, nil},
		{1, auth.Wanted{Service: settings.Console}, true, nil}, // refused: no use
		{1, w, true, "2026-11-23T09:00:00Z"},
	} {
		p, err := f.AppPassword(ctx, c.account, secret, c.w)
		if (p != nil) != c.found || err != nil || last() != c.used {
			t.Errorf("%+v: %v, %v, %v", c, p, err, last())
		}
	}
	f.Advance(2 * time.Hour)
	if _, err := f.AppPassword(ctx, 1, secret, w); err != nil || last() != "2026-11-23T11:00:00Z" {
		t.Error(last(), err)
	}
	f.Sessions.Open = []manage.LiveSession{
		{ID: "IMAP4-1", Service: settings.IMAP4, User: "alice@example.org", AppPassword: "phone"},
		{ID: "IMAP4-2", Service: settings.IMAP4, User: "alice@example.org"},
		{ID: "POP3-3", Service: settings.POP3, User: "bob@example.org", AppPassword: "phone"},
		{ID: "POP3-4", Service: settings.POP3, User: "alice@example.org", AppPassword: "phone"},
	}
	run(t, f, "Remove-AppPassword", args{"Identity": "alice@example.org", "Name": "phone"})
	if got := strings.Join(f.Sessions.Ended, " "); got != "POP3-4 IMAP4-1" && got != "IMAP4-1 POP3-4" {
		t.Errorf("ended: %s", got)
	}
	if p, err := f.AppPassword(ctx, 1, secret, w); p != nil || err != nil {
		t.Error(p, err)
	}
	// They go with the mailbox; there are not too many; an administrator's are guarded.
	for i := range 50 {
		run(t, f, "New-AppPassword", args{"Identity": "bob@example.org", "Name": strings.Repeat("x", i+1)})
	}
	call := func(caller manage.Caller, cmdlet string, a args) error {
		_, err := f.Run(ctx, caller, cmdlet, []byte(plainJSON(t, a)))
		return err
	}
	if err := call(root, "New-AppPassword", args{"Identity": "bob@example.org", "Name": "more"}); mail.KindOf(err) != mail.KindLimit {
		t.Error(err)
	}
	run(t, f, "Remove-Mailbox", args{"Identity": "bob@example.org", "Confirm": false})
	if kept, err := f.Records.Records(ctx, "apppassword", ""); err != nil || len(kept) != 0 {
		t.Error(len(kept), err)
	}
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "Organization Administrator"})
	recipients := manage.Caller{Name: "unix:eve", Roles: []manage.Role{manage.RecipientAdministrator}}
	if err := call(recipients, "New-AppPassword", args{"Identity": "alice@example.org", "Name": "mine"}); mail.KindOf(err) != mail.KindNoPermission {
		t.Error(err)
	}
}
