package manage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/store"
)

// TestFirstStart: as long as nobody was given a role, root and the server's own
// user are Organization Administrators, and nobody else is anything.
func TestFirstStart(t *testing.T) {
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for identity, want := range map[string]int{"unix:root": 1, manage.UnixIdentity(0): 1, "unix:daemon": 0, "alice@example.org": 0, "root": 0, "": 0} {
		c, err := f.CallerOf(ctx, identity, "test", manage.WaySession)
		if err != nil || len(c.Roles) != want {
			t.Errorf("%s: %v %v", identity, c.Roles, err)
		}
	}
	if text := plainJSON(t, run(t, f, "Get-Administrator", nil)); !strings.Contains(text, `"Identity":"unix:root","Role":"Organization Administrator","Scope":[],"Directory":"","Holder":"OperatingSystem","LocalAdministrator":true`) {
		t.Error(text)
	}
}

// TestAdministrators plays calls one after another: as who, the cmdlet, and the
// error's kind or a part of the result or the hint.
func TestAdministrators(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	as := func(name string) manage.Caller {
		c, err := f.CallerOf(ctx, name, "test", manage.WaySession)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i, c := range []struct {
		who, cmdlet string
		args        args
		want        string
	}{
		{"alice@example.org", "Get-Administrator", nil, "!NoPermission"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org"}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "King"}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "nobody@example.org", "Role": "OrgAdmin"}, "!NotFound"},
		{"unix:root", "Add-Administrator", args{"Identity": "unix:", "Role": "OrgAdmin"}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "unix:a b", "Role": "OrgAdmin"}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "unix:no-such-user", "Role": "ViewOnlyAdmin", "WhatIf": true}, "This host knows no user"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "RecipientAdmin", "Scope": "a"}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "ServerAdmin", "Scope": []string{"a/b"}}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "ServerAdmin", "Scope": args{"Add": "a"}}, "!BadArgument"},
		{"unix:root", "Add-Administrator", args{"Identity": "A.Example@example.org", "Role": "server administrator", "Scope": []string{"OTHER.example.org", "other.example.org"}},
			`"Identity":"alice@example.org","Role":"Server Administrator","Scope":["other.example.org"]`},
		// Elsewhere she may change, here she may look.
		{"alice@example.org", "Get-Administrator", args{"Identity": "al*"}, "alice@example.org"},
		{"alice@example.org", "Set-PopSettings", args{"Banner": "x"}, "!NoPermission alice@example.org holds the role for other.example.org only, and alice@example.org is not a local administrator of mail.example.org"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "ServerAdmin", "Scope": []string{"mail.EXAMPLE.org"}}, "must also be a local administrator"},
		{"alice@example.org", "Set-PopSettings", args{"Banner": "x"}, "!NoPermission Set-PopSettings needs a local administrator of this server: alice@example.org is not"},
		{"alice@example.org", "Set-PopSettings", args{"Banner": "x"}, "!NoPermission Add-LocalGroupMember -Member alice@example.org"},
		{"alice@example.org", "Add-LocalGroupMember", args{"Member": "alice@example.org"}, "!NoPermission"},
		{"unix:root", "Add-LocalGroupMember", args{"Member": "a.example@example.org"}, `"LocalGroup"`},
		{"unix:root", "Add-LocalGroupMember", args{"Member": "alice@example.org"}, "!AlreadyExists"},
		{"unix:root", "Add-LocalGroupMember", args{"Group": "Users", "Member": "bob@example.org"}, "!BadArgument"},
		{"unix:root", "Add-LocalGroupMember", args{"Member": "unix:daemon"}, "!Cannot"},
		{"unix:root", "Get-LocalGroupMember", args{"Group": "administrators"}, `"Name":"alice@example.org"`},
		{"alice@example.org", "Set-PopSettings", args{"Banner": "x"}, `"new":"x"`},
		{"alice@example.org", "New-Mailbox", args{"Name": "dora@example.org", "Password": "x"}, "!NoPermission New-Mailbox needs the role Recipient Administrator: alice@example.org does not hold the role"},
		{"alice@example.org", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"}, "!NoPermission"},
		{"alice@example.org", "Remove-Administrator", args{"Identity": "unix:root", "Confirm": false}, "!NoPermission"},
		{"unix:root", "Remove-LocalGroupMember", args{"Member": "alice@example.org"}, ""},
		{"unix:root", "Remove-LocalGroupMember", args{"Member": "alice@example.org"}, "!NotFound"},
		{"alice@example.org", "Set-PopSettings", args{"Banner": "y"}, "!NoPermission"},
		{"unix:root", "Remove-Administrator", args{"Identity": "bob@example.org"}, "!NotFound"},
		{"unix:root", "Remove-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"}, "!NotFound"},
		{"unix:root", "Remove-Administrator", args{"Identity": "unix:root"}, "!Cannot"},
		{"unix:root", "Remove-Administrator", args{"Identity": "alice@example.org"}, "Are you sure?"},
		{"unix:root", "Add-ExchangeAdministrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"}, "Organization Administrator"},
		{"unix:root", "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"}, "Nothing is different"},
		{"alice@example.org", "Remove-Administrator", args{"Identity": "unix:root", "Confirm": false}, "No operating-system user"},
		{"unix:root", "Get-Administrator", nil, "!NoPermission"},
		{"alice@example.org", "Remove-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin", "Confirm": false}, "!Cannot"},
		// The last one is not shut out by the back door either.
		{"alice@example.org", "Remove-Mailbox", args{"Identity": "alice@example.org", "Confirm": false}, "!Cannot"},
		{"alice@example.org", "Set-Mailbox", args{"Identity": "alice@example.org", "Enabled": false}, "!Cannot"},
		{"alice@example.org", "Add-Administrator", args{"Identity": "unix:root", "Role": "OrgAdmin"}, ""},
		{"alice@example.org", "Remove-Administrator", args{"Identity": "ALICE@example.org", "Confirm": false}, `"old":"Organization Administrator"`},
		{"alice@example.org", "Get-Administrator", nil, "!NoPermission"},
	} {
		if c.args == nil {
			c.args = args{}
		}
		result, err := f.Run(ctx, as(c.who), c.cmdlet, []byte(plainJSON(t, c.args)))
		name := fmt.Sprintf("%d %s: %s %v", i, c.who, c.cmdlet, c.args)
		want, bad := strings.CutPrefix(c.want, "!")
		if bad {
			kind, text, _ := strings.Cut(want, " ")
			if err == nil || mail.KindOf(err).String() != kind || !strings.Contains(plainJSON(t, manage.FaultOf(err)), text) {
				t.Errorf("%s: %v, want %s", name, plainJSON(t, manage.FaultOf(err)), want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if text := plainJSON(t, result); !strings.Contains(text, want) {
			t.Errorf("%s: no %s in %s", name, want, text)
		}
	}
}

// TestGuardedMailboxes: who manages mailboxes cannot become an administrator by
// taking one's sign-in over.
func TestGuardedMailboxes(t *testing.T) {
	f := newFake(t, manage.OrganizationAdministrator)
	ctx := context.Background()
	run(t, f, "Add-Administrator", args{"Identity": "bob@example.org", "Role": "RecipientAdmin"})
	bob, err := f.CallerOf(ctx, "bob@example.org", "test", manage.WaySession)
	if err != nil {
		t.Fatal(err)
	}
	alice := "alice@example.org"
	for cmdlet, refused := range map[string][]args{
		"Set-Mailbox": {{"Identity": alice, "Password": "mine"}, {"Identity": "a.example@example.org", "Password": "mine"}, {"Identity": alice, "Enabled": true},
			// A client's certificate, a token or a ticket for one of the addresses signs in.
			{"Identity": alice, "EmailAddresses": []string{"bobs.certificate@example.org"}}, {"Identity": alice, "EmailAddresses": args{"Add": []string{"bobs.token@example.org"}}}},
		"Remove-Mailbox": {{"Identity": alice, "Confirm": false}},
	} {
		for _, a := range refused {
			_, err := f.Run(ctx, bob, cmdlet, []byte(plainJSON(t, a)))
			if mail.KindOf(err) != mail.KindNoPermission || !strings.Contains(mail.TextOf(err), "holds the role Organization Administrator") {
				t.Errorf("%s %v: %v", cmdlet, a, err)
			}
		}
	}
	for _, allowed := range []args{{"Identity": alice, "DisplayName": "A"}, {"Identity": "bob@example.org", "Password": "mine"}} {
		if _, err := f.Run(ctx, bob, "Set-Mailbox", []byte(plainJSON(t, allowed))); err != nil {
			t.Error(allowed, err)
		}
	}
	// A token is not its owner: with a password it could sign in as more than it is.
	token, err := f.TokenCaller(ctx, newToken(t, f, alice, args{"Name": "ci", "Role": "RecipientAdmin"}), here)
	if err != nil {
		t.Fatal(err)
	}
	for cmdlet, a := range map[string]args{"Set-Mailbox": {"Identity": alice, "Password": "mine"}, "Remove-Mailbox": {"Identity": alice, "Confirm": false}} {
		if _, err := f.Run(ctx, token, cmdlet, []byte(plainJSON(t, a))); mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%s of a token's owner: %v", cmdlet, err)
		}
	}
	// A role outlives its mailbox, and a new one of that name does not get it.
	if r := run(t, f, "Remove-Mailbox", args{"Identity": alice, "Confirm": false}); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "still holds a role") {
		t.Error(r.Warnings)
	}
	run(t, f, "New-Mailbox", args{"Name": alice, "Password": "new"})
	if c, err := f.CallerOf(ctx, alice, "test", manage.WaySession); err != nil || len(c.Roles) > 0 {
		t.Error("a new mailbox of an administrator's name:", c.Roles, err)
	}
	if _, err := f.Run(ctx, bob, "Set-Mailbox", []byte(plainJSON(t, args{"Identity": alice, "Password": "mine"}))); err != nil {
		t.Error("the new mailbox is no administrator's:", err)
	}
}

// TestRightsAreTheMailboxs: roles and local administrators are told by what outlives a
// name, in the own directory and in others.
func TestRightsAreTheMailboxs(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	const carla = "carla@example.org"
	add := func(name, dir, id string, account mail.AccountID) {
		t.Helper()
		if err := f.Directory.Create(ctx, directory.Entry{Name: name, Account: account, Directory: dir, ID: id, Enabled: true}, ""); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(name, to string, account mail.AccountID, dir, id string) {
		t.Helper()
		if err := f.Directory.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
		add(to, dir, id, account)
	}
	holds := func(name string, want bool) {
		t.Helper()
		c, err := f.CallerOf(ctx, name, "test", manage.WaySession)
		if err != nil || (len(c.Roles) > 0) != want || c.Local != want {
			t.Errorf("%s: %v, local %v, %v; want %v", name, c.Roles, c.Local, err, want)
		}
	}
	standing := func(identity, want string) {
		t.Helper()
		for _, o := range run(t, f, "Get-Administrator", args{"Identity": identity}).Objects {
			if got, _ := o.Value("Holder"); got != want {
				t.Errorf("%s: %v, want %s", identity, got, want)
			}
		}
	}
	add(carla, "company", "7", 70)
	run(t, f, "Add-Administrator", args{"Identity": carla, "Role": "ServerAdmin"})
	run(t, f, "Add-LocalGroupMember", args{"Member": carla})
	holds(carla, true)
	standing(carla, "Mailbox")

	rename(carla, "carla.new@example.org", 70, "company", "7")
	standing(carla, "Missing")
	add(carla, "staff", "7", 71) // somebody of another directory
	holds(carla, false)
	holds("carla.new@example.org", true)
	standing(carla, "Renamed")

	// A list that names her in a file still means her.
	file, _ := run(t, f, "Export-Configuration", nil).Objects[0].Value("Content")
	run(t, f, "Import-Configuration", args{"Path": file})
	holds(carla, false)

	run(t, f, "Remove-LocalGroupMember", args{"Member": "carla.new@example.org"})
	run(t, f, "Remove-Administrator", args{"Identity": "carla.new@example.org", "Confirm": false})
	holds("carla.new@example.org", false)

	// Records of earlier versions have names only; they become those of the mailboxes.
	put := func(kind, key, value string) {
		t.Helper()
		list, err := f.Records.Records(ctx, kind, key)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		list[0].Value = []byte(value)
		if err := f.Records.PutRecords(ctx, list); err != nil {
			t.Fatal(err)
		}
	}
	put("administrator", "assignments", `[{"identity":"unix:root","role":"Organization Administrator"},{"identity":"bob@example.org","role":"Server Administrator"},{"identity":"gone@example.org","role":"Server Administrator"}]`)
	put("localadministrator", managetest.ServerName, `["bob@example.org","gone@example.org"]`)
	holds("bob@example.org", true)
	standing("bob@example.org", "NameOnly")
	if err := f.BindRights(ctx); err != nil {
		t.Fatal(err)
	}
	holds("bob@example.org", true)
	standing("bob@example.org", "Mailbox")
	standing("gone@example.org", "Missing")
	rename("bob@example.org", "bob@example.org", 200, "", "")
	holds("bob@example.org", false)
	standing("bob@example.org", "Renamed")
}

// TestLastAdministratorRace: two who remove one another at the same time leave one.
func TestLastAdministratorRace(t *testing.T) {
	for range 20 {
		f := newFake(t, manage.OrganizationAdministrator)
		var work sync.WaitGroup
		errs := make([]error, 2)
		for i, name := range []string{"unix:root", "alice@example.org"} {
			work.Go(func() {
				_, errs[i] = f.Run(context.Background(), root, "Remove-Administrator", []byte(plainJSON(t, args{"Identity": name, "Confirm": false})))
			})
		}
		work.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatal(errs)
		}
		if left := run(t, f, "Get-Administrator", nil); len(left.Objects) != 1 {
			t.Fatal(plainJSON(t, left))
		}
	}
}

// TestRolesCannotBeRead: then nobody holds any.
func TestRolesCannotBeRead(t *testing.T) {
	f := newFake(t, manage.OrganizationAdministrator)
	ctx := context.Background()
	token := signIn(t, f)
	list, err := f.Records.Records(ctx, "administrator", "")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	list[0].Value = []byte(`[{"identity":"alice@example.org"`)
	if err := f.Records.PutRecords(ctx, []store.Record{list[0]}); err != nil {
		t.Fatal(err)
	}
	if c, err := f.CallerOf(ctx, "unix:root", "test", manage.WaySocket); err == nil || len(c.Roles) > 0 {
		t.Error(c, err)
	}
	if c, err := f.SessionCaller(ctx, token); mail.KindOf(err) != mail.KindCorrupt || len(c.Roles) > 0 {
		t.Error(c, err)
	}
	if c, err := f.CallerOf(ctx, "unix:root", "test", manage.WaySocket); err == nil || c.Local || slices.Contains(c.Roles, manage.OrganizationAdministrator) {
		t.Error(c, err)
	}
}

// TestMissingTexts: which of the two is missing, and what to do about it.
func TestMissingTexts(t *testing.T) {
	f := newFake(t, "")
	f.Administrators = "postern-admin"
	view := []manage.Role{manage.ViewOnlyAdministrator}
	server := []manage.Role{manage.ServerAdministrator}
	for _, c := range []struct {
		caller     manage.Caller
		text, hint string
	}{
		{manage.Caller{Name: "unix:eve", Roles: view, Local: true},
			"Set-PopSettings needs the role Server Administrator: unix:eve does not hold the role",
			"An Organization Administrator gives it: Add-Administrator -Identity unix:eve -Role 'Server Administrator'."},
		{manage.Caller{Name: "unix:eve", Roles: server},
			"Set-PopSettings needs a local administrator of this server: unix:eve is not a local administrator of mail.example.org",
			`Local administrators are root, the server's own user and the members of the group "postern-admin": usermod -aG postern-admin eve.`},
		{manage.Caller{Name: "eve@example.org", Roles: server},
			"Set-PopSettings needs a local administrator of this server: eve@example.org is not a local administrator of mail.example.org",
			"A local administrator adds it: Add-LocalGroupMember -Member eve@example.org."},
		{manage.Caller{Name: "eve@example.org"},
			"Set-PopSettings needs the role Server Administrator and a local administrator of this server: eve@example.org does not hold the role, and eve@example.org is not a local administrator of mail.example.org",
			"An Organization Administrator gives it: Add-Administrator -Identity eve@example.org -Role 'Server Administrator'. A local administrator adds it: Add-LocalGroupMember -Member eve@example.org."},
		{manage.Caller{Name: "eve@example.org", Way: manage.WayToken, Token: "ci", Roles: view, Local: true},
			`Set-PopSettings needs the role Server Administrator: the API token "ci" of eve@example.org does not hold the role`,
			"A token has at most the roles that its owner holds now; New-ApiToken makes another one."},
		{manage.Caller{Missing: "the caller is not known"}, "the caller is not known", ""},
	} {
		fault := manage.FaultOf(f.May(c.caller, "Set-PopSettings"))
		if fault.Kind != "NoPermission" || fault.Text != c.text || fault.Hint != c.hint {
			t.Errorf("%+v:\n%s\n%s", c.caller, fault.Text, fault.Hint)
		}
	}
}

func TestParseRole(t *testing.T) {
	for name, want := range map[string]manage.Role{
		"Organization Administrator": manage.OrganizationAdministrator, "orgadmin": manage.OrganizationAdministrator, "OrganizationAdmin": manage.OrganizationAdministrator,
		"SERVERADMINISTRATOR": manage.ServerAdministrator, "view-only administrator": manage.ViewOnlyAdministrator, "ViewOnlyAdmin": manage.ViewOnlyAdministrator,
		"Recipient-Admin": manage.RecipientAdministrator, "": "", "Administrator": "", "admin": "",
	} {
		if got, err := manage.ParseRole(name); got != want || (want == "") != (err != nil) {
			t.Errorf("%q: %q %v", name, got, err)
		}
	}
}
