package manage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// newToken makes a token as its owner does, who signed in at the console.
func newToken(t testing.TB, f *managetest.Fake, owner string, a args) string {
	t.Helper()
	c, err := f.CallerOf(context.Background(), owner, "test", manage.WaySession)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Run(context.Background(), c, "New-ApiToken", []byte(plainJSON(t, a)))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := r.Objects[0].Value("Token")
	return v.(string)
}

// TestTokenRoles: a token has what it was given and its owner holds, both, at each
// use.
func TestTokenRoles(t *testing.T) {
	ctx := context.Background()
	org, server, recipient, view := manage.OrganizationAdministrator, manage.ServerAdministrator, manage.RecipientAdministrator, manage.ViewOnlyAdministrator
	for _, c := range []struct {
		given, later manage.Role
		want         []manage.Role
	}{
		{org, org, manage.Roles},
		{org, server, []manage.Role{server, view}},
		{org, recipient, []manage.Role{recipient, view}},
		{org, view, []manage.Role{view}},
		{server, recipient, []manage.Role{view}},
		{recipient, org, []manage.Role{recipient, view}},
		{view, org, []manage.Role{view}},
	} {
		f := newFake(t, org)
		token := newToken(t, f, "alice@example.org", args{"Name": "t", "Role": string(c.given)})
		run(t, f, "Remove-Administrator", args{"Identity": "alice@example.org", "Confirm": false})
		if _, err := f.TokenCaller(ctx, token, here); err != nil {
			t.Error(err)
		} else if caller, _ := f.TokenCaller(ctx, token, here); len(caller.Roles) > 0 {
			t.Errorf("without a role of the owner's: %+v", caller)
		}
		run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": string(c.later)})
		caller, err := f.TokenCaller(ctx, token, here)
		if err != nil || !slices.Equal(caller.Roles, c.want) || caller.Name != "alice@example.org" || caller.Token != "t" || caller.Way != manage.WayToken || caller.From != "192.0.2.1" || caller.Local {
			t.Errorf("%s, owner %s: %+v %v", c.given, c.later, caller, err)
		}
	}
}

// TestTokens: who may make, see and remove which.
func TestTokens(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	ctx := context.Background()
	run(t, f, "Add-Administrator", args{"Identity": "bob@example.org", "Role": "ViewOnlyAdmin"})
	as := map[string]manage.Caller{}
	for _, name := range []string{"alice@example.org", "bob@example.org", "unix:root"} {
		c, err := f.CallerOf(ctx, name, "test", manage.WaySession)
		if err != nil {
			t.Fatal(err)
		}
		as[name] = c
	}
	as["alice's token"] = manage.Caller{Name: "alice@example.org", Way: manage.WayToken, Token: "x", Roles: as["alice@example.org"].Roles}
	alice, bob := "alice@example.org", "bob@example.org"
	for i, c := range []struct {
		who, cmdlet string
		args        args
		want        string
	}{
		{alice, "New-ApiToken", args{"Name": "ci"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "", "Role": "RecipientAdmin"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": strings.Repeat("x", 65), "Role": "RecipientAdmin"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "a\x1b[2J", "Role": "RecipientAdmin"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "a\u202eb", "Role": "RecipientAdmin"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "OrgAdmin"}, "!NoPermission"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "ServerAdmin"}, "!NoPermission"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "Scope": "a"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "Expires": "2026-11-22"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "Expires": "00:00:00"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "Expires": "367.00:00:00"}, "!BadArgument"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "Expires": "never"}, "!BadArgument"},
		{"alice's token", "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin"}, "!Cannot"},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "WhatIf": true}, `"new":"2027-02-21T09:30:00Z"`},
		{alice, "Get-ApiToken", nil, `"objects":[]`},
		{alice, "New-ApiToken", args{"Name": "ci", "Role": "RecipientAdmin", "Expires": "2026-11-23"}, `"Expires":"2026-11-24T00:00:00Z","LastUsed":null,"Token":"postern_`},
		{alice, "New-ApiToken", args{"Name": "CI", "Role": "ViewOnlyAdmin"}, "!AlreadyExists"},
		{"alice's token", "Remove-ApiToken", args{"Name": "ci"}, "!Cannot"},
		{alice, "New-ApiToken", args{"Name": "x", "Role": "ViewOnlyAdmin"}, ""},
		{"alice's token", "Remove-ApiToken", args{"Name": "x"}, ""},
		{bob, "New-ApiToken", args{"Name": "ci", "Role": "ViewOnlyAdmin", "Expires": "1.00:00:00"}, `"Expires":"2026-11-24T09:30:00Z"`},
		{bob, "Get-ApiToken", nil, bob},
		{bob, "Get-ApiToken", args{"Owner": alice}, `"objects":[]`},
		{bob, "Remove-ApiToken", args{"Name": "ci", "Owner": alice}, "!NotFound"},
		{"unix:root", "Get-ApiToken", nil, alice},
		{"unix:root", "Remove-ApiToken", args{"Name": "ci"}, "!NotFound"},
		{"unix:root", "Remove-ApiToken", args{"Name": "ci", "Owner": "ALICE@example.org"}, `"new":null`},
		{alice, "Get-ApiToken", nil, `"objects":[]`},
		{bob, "Remove-ApiToken", args{"Name": "CI"}, ""},
		{bob, "Remove-ApiToken", args{"Name": "ci"}, "!NotFound"},
	} {
		if c.args == nil {
			c.args = args{}
		}
		result, err := f.Run(ctx, as[c.who], c.cmdlet, []byte(plainJSON(t, c.args)))
		name := fmt.Sprintf("%d %s: %s %v", i, c.who, c.cmdlet, c.args)
		if kind, bad := strings.CutPrefix(c.want, "!"); bad {
			if err == nil || mail.KindOf(err).String() != kind {
				t.Errorf("%s: %v, want %s", name, err, kind)
			}
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if text := plainJSON(t, result); !strings.Contains(text, c.want) {
			t.Errorf("%s: no %s in %s", name, c.want, text)
		}
	}
	records, err := f.Records.Records(ctx, "apitoken", "")
	if err != nil || len(records) != 0 {
		t.Error("left:", records, err)
	}
}

// TestTokenEnds: with its time, its removal, its owner's mailbox.
func TestTokenEnds(t *testing.T) {
	ctx := context.Background()
	alice := "alice@example.org"
	for _, c := range []struct {
		name  string
		end   func(f *managetest.Fake)
		lives bool
	}{
		{"nothing", func(f *managetest.Fake) {}, true},
		{"89 days", func(f *managetest.Fake) { f.Advance(89 * 24 * time.Hour) }, true},
		{"90 days", func(f *managetest.Fake) { f.Advance(90 * 24 * time.Hour) }, false},
		{"removed", func(f *managetest.Fake) { run(t, f, "Remove-ApiToken", args{"Name": "t", "Owner": alice}) }, false},
		{"owner disabled", func(f *managetest.Fake) { run(t, f, "Set-Mailbox", args{"Identity": alice, "Enabled": false}) }, false},
		{"owner's password", func(f *managetest.Fake) { run(t, f, "Set-Mailbox", args{"Identity": alice, "Password": "new"}) }, true},
		{"another owner of the same name", func(f *managetest.Fake) {
			run(t, f, "Remove-Mailbox", args{"Identity": alice, "Confirm": false})
			run(t, f, "New-Mailbox", args{"Name": alice, "Password": "new"})
		}, false},
	} {
		f := newFake(t, manage.RecipientAdministrator)
		token := newToken(t, f, alice, args{"Name": "t", "Role": "RecipientAdmin"})
		if _, err := f.TokenCaller(ctx, token, here); err != nil {
			t.Fatal(err)
		}
		c.end(f)
		caller, err := f.TokenCaller(ctx, token, here)
		if c.lives != (err == nil) || !c.lives && (mail.KindOf(err) != mail.KindAuthenticationFailed || len(caller.Roles) > 0) {
			t.Errorf("%s: %+v %v", c.name, caller, err)
		}
		for _, wrong := range []string{"", token + "x", token[:len(token)-1], strings.ToLower(token), "postern_", token[8:]} {
			if _, err := f.TokenCaller(ctx, wrong, here); mail.KindOf(err) != mail.KindAuthenticationFailed {
				t.Errorf("%q: %v", wrong, err)
			}
		}
		// The secret is nowhere.
		records, err := f.Records.Records(ctx, "apitoken", "")
		kept := plainJSON(t, f.Audit.Records())
		for _, r := range records {
			kept += r.Key + string(r.Value)
		}
		if err != nil || strings.Contains(kept, token[8:]) {
			t.Error("the secret is kept:", err, kept)
		}
	}
}

// TestTokenUse: the last use is kept to the hour.
func TestTokenUse(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	ctx := context.Background()
	token := newToken(t, f, "alice@example.org", args{"Name": "t", "Role": "RecipientAdmin"})
	used := func() any {
		v, _ := run(t, f, "Get-ApiToken", nil).Objects[0].Value("LastUsed")
		return v
	}
	if v := used(); v != nil {
		t.Error(v)
	}
	for _, want := range []string{"2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z"} {
		if _, err := f.TokenCaller(ctx, token, here); err != nil {
			t.Fatal(err)
		}
		if v := used(); v != want {
			t.Errorf("%v, want %s", v, want)
		}
		f.Advance(20 * time.Minute)
	}
}

func TestTokensAreBounded(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	for i := range 50 {
		newToken(t, f, "alice@example.org", args{"Name": fmt.Sprint(i), "Role": "RecipientAdmin"})
	}
	c, err := f.CallerOf(context.Background(), "alice@example.org", "test", manage.WaySession)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Run(context.Background(), c, "New-ApiToken", []byte(`{"Name":"one more","Role":"RecipientAdmin"}`)); mail.KindOf(err) != mail.KindLimit {
		t.Error(err)
	}
	f.Advance(121 * 24 * time.Hour) // those that are long over make room
	newToken(t, f, "alice@example.org", args{"Name": "one more", "Role": "RecipientAdmin"})
	if n := len(run(t, f, "Get-ApiToken", nil).Objects); n != 1 {
		t.Error(n)
	}
}
