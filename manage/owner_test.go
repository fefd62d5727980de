package manage_test

import (
	"context"
	"encoding/base32"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/totp"
)

// atAccount signs alice in at the pages of her account.
func atAccount(t *testing.T, f *managetest.Fake, password manage.Secret) (token string, caller manage.Caller) {
	t.Helper()
	token, err := f.Account().SignIn(context.Background(), "alice@example.org", password, here)
	if err == nil {
		caller, err = f.Account().SessionCaller(context.Background(), token)
	}
	if err != nil {
		t.Fatal(err)
	}
	return token, caller
}

// as runs a cmdlet for a caller.
func as(f *managetest.Fake, caller manage.Caller, cmdlet, body string) (*manage.Result, error) {
	return f.Run(context.Background(), caller, cmdlet, []byte(body))
}

func now(f *managetest.Fake) time.Time { return f.Server.Now() }

// newOwned is a server on which alice has a password, and bob has one and all there is.
func newOwned(t *testing.T) *managetest.Fake {
	f := newFake(t, "")
	ctx := context.Background()
	for _, name := range []string{"alice@example.org", "bob@example.org"} {
		if err := f.Directory.SetPassword(ctx, name, string(secret)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestOwnerRights tries every cmdlet as alice at her account: those of the column work on
// what is hers whatever she says, the others and their parameters do not.
func TestOwnerRights(t *testing.T) {
	f := newOwned(t)
	_, alice := atAccount(t, f, secret)
	for _, c := range manage.Cmdlets() {
		f.Advance(time.Minute)
		_, theirs := owners[c.Name]
		_, err := as(f, alice, c.Name, `{"NoSuchParameter":1}`)
		if kind := mail.KindOf(err); theirs != (kind == mail.KindBadArgument) || !theirs && kind != mail.KindNoPermission {
			t.Errorf("%s: %v", c.Name, err)
		}
		if !theirs {
			continue
		}
		for _, p := range c.Parameters {
			permitted := p.Name == "WhatIf" || p.Name == "Confirm" || slices.Contains(strings.FieldsFunc(owners[c.Name], func(r rune) bool { return strings.ContainsRune(":, ()", r) }), p.Name)
			body := `{"` + p.Name + `":"bob@example.org","NoSuchParameter":1}`
			_, err := as(f, alice, c.Name, body)
			if refused := strings.Contains(err.Error(), `no parameter "`+p.Name+`"`); refused == permitted {
				t.Errorf("%s -%s: %v", c.Name, p.Name, err)
			}
		}
	}
	// A role that alice holds is nothing here.
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"})
	_, alice = atAccount(t, f, secret)
	if _, err := as(f, alice, "Get-AuditLog", ""); mail.KindOf(err) != mail.KindNoPermission {
		t.Errorf("an administrator at her account: %v", err)
	}
	// An administrator is nobody's owner.
	for _, cmdlet := range []string{"New-SecondFactor", "Enable-SecondFactor"} {
		if _, err := as(f, manage.Caller{Name: "unix:root", Roles: manage.Roles, Local: true}, cmdlet, ""); mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%s of root: %v", cmdlet, err)
		}
	}
	// Who says to be at an account, and has no session there, is nobody.
	if _, err := as(f, manage.Caller{Name: "alice@example.org", Way: manage.WayAccount}, "Get-Mailbox", ""); mail.KindOf(err) != mail.KindNoPermission {
		t.Error(err)
	}
}

// TestOwnThings: alice sees and changes what is hers; bob's is not there for her.
func TestOwnThings(t *testing.T) {
	f := newOwned(t)
	run(t, f, "New-AppPassword", args{"Identity": "bob@example.org", "Name": "bobs"})
	f.Sessions.Open = []manage.LiveSession{
		{ID: "IMAP4-1", Service: settings.IMAP4, User: "alice@example.org"}, {ID: "IMAP4-2", Service: settings.IMAP4, User: "bob@example.org"}, {ID: "IMAP4-3", Service: settings.IMAP4},
	}
	_, alice := atAccount(t, f, secret)
	for _, c := range []struct{ cmdlet, body, want string }{
		{"Get-Mailbox", "", `"Name":"alice@example.org"`},
		{"New-AppPassword", `{"Name":"phone","ReadOnly":true}`, `"Mailbox":"alice@example.org" "ReadOnly":true "Password":`},
		{"Get-AppPassword", "", `"Name":"phone" !bobs`},
		{"Remove-AppPassword", `{"Name":"bobs"}`, "!NotFound"},
		{"Remove-AppPassword", `{"Name":"phone"}`, `"old":"phone"`},
		{"Get-Session", "", `IMAP4-1 !IMAP4-2 !IMAP4-3`},
		{"Remove-Session", `{"Identity":"IMAP4-2","Confirm":false}`, "!NotFound"},
		{"Remove-Session", `{"Identity":"IMAP4-3","Confirm":false}`, "!NotFound"},
		{"Remove-Session", `{"Identity":"IMAP4-1","Confirm":false}`, "IMAP4-1"},
		{"Get-LogonStatistics", `{"Detailed":true}`, `alice@example.org AuthenticationFailed 10.0.0.66 !bob !nobody`},
		{"Get-SecondFactor", "", `"Status":"None"`},
		{"Set-Mailbox", `{"DisplayName":"x","Password":"a","OldPassword":"b"}`, "!BadArgument"},
		{"Set-Mailbox", `{"Password":"four-words-have-little"}`, "!BadArgument"},
		{"Set-Mailbox", `{"Password":"four-words-have-little","OldPassword":"wrong"}`, "!BadArgument"},
	} {
		r, err := as(f, alice, c.cmdlet, c.body)
		got := plainJSON(t, r)
		if err != nil {
			got = "!" + mail.KindOf(err).String()
		}
		for _, part := range strings.Fields(c.want) {
			if absent, not := strings.CutPrefix(part, "!"); not && err == nil {
				if strings.Contains(got, absent) {
					t.Errorf("%s %s: %s", c.cmdlet, c.body, got)
				}
			} else if !strings.Contains(got, part) {
				t.Errorf("%s %s: %s, %v", c.cmdlet, c.body, got, err)
			}
		}
	}
	if !slices.Equal(f.Sessions.Ended, []string{"IMAP4-1"}) {
		t.Errorf("ended: %v", f.Sessions.Ended)
	}
	who := f.Audit.Records()[len(f.Audit.Records())-1]
	if who.Who != "alice@example.org" || who.Way != "account" || strings.Contains(plainJSON(t, f.Audit.Records()), "four-words") {
		t.Errorf("the audit record: %+v", who)
	}
}

// TestOwnPassword: the session that changed it goes on, the others end; brakes hold for
// the old one; what an external directory keeps is changed there.
func TestOwnPassword(t *testing.T) {
	f := newOwned(t)
	ctx := context.Background()
	other, _ := atAccount(t, f, secret)
	token, alice := atAccount(t, f, secret)
	run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "ResetPasswordOnNextLogon": true})
	if _, err := f.SignIn(ctx, "alice@example.org", secret, here); mail.KindOf(err) != mail.KindExpired {
		t.Errorf("the administrators' part: %v", err)
	}
	for _, cmdlet := range []string{"Get-AppPassword", "New-SecondFactor", "Get-Session"} {
		if _, err := as(f, alice, cmdlet, ""); mail.KindOf(err) != mail.KindExpired {
			t.Errorf("%s before the change: %v", cmdlet, err)
		}
	}
	if _, err := as(f, alice, "Set-Mailbox", `{"Password":"`+string(secret)+`","OldPassword":"`+string(secret)+`"}`); mail.KindOf(err) != mail.KindBadArgument {
		t.Errorf("the old one again: %v", err)
	}
	if _, err := as(f, alice, "Set-Mailbox", `{"Password":"four-words-have-little","OldPassword":"wrong","WhatIf":true}`); err != nil {
		t.Errorf("a trial tells whether the old one is right: %v", err)
	}
	if _, err := as(f, alice, "Set-Mailbox", `{"Password":"four-words-have-little","OldPassword":"`+string(secret)+`"}`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Account().SessionCaller(ctx, token); err != nil {
		t.Errorf("the session that changed it: %v", err)
	}
	if _, err := f.Account().SessionCaller(ctx, other); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("another session: %v", err)
	}
	if _, err := as(f, alice, "Get-AppPassword", ""); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if _, err := f.Directory.CheckPassword(ctx, "alice@example.org", "four-words-have-little"); err != nil {
		t.Error(err)
	}
	for range 10 {
		as(f, alice, "Set-Mailbox", `{"Password":"another-of-many-words","OldPassword":"wrong"}`)
	}
	if _, err := as(f, alice, "Set-Mailbox", `{"Password":"another-of-many-words","OldPassword":"four-words-have-little"}`); mail.KindOf(err) != mail.KindLimit {
		t.Errorf("after ten wrong ones: %v", err)
	}
	f.Advance(time.Hour)
	token, err := f.Account().SignIn(ctx, "alice@example.org", "four-words-have-little", here)
	if err != nil {
		t.Fatal(err)
	}
	if alice, err = f.Account().SessionCaller(ctx, token); err != nil {
		t.Fatal(err)
	}
	if err := f.Directory.Change(ctx, "alice@example.org", func(e *directory.Entry) error { e.Directory = "ldap"; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err = as(f, alice, "Set-Mailbox", `{"Password":"another-of-many-words","OldPassword":"four-words-have-little"}`)
	if mail.KindOf(err) != mail.KindCannot || !strings.Contains(mail.TextOf(err), "ldap") {
		t.Errorf("an external directory: %v", err)
	}
}

// TestOwnerSessions: a token of one part of the console is nothing in the other.
func TestOwnerSessions(t *testing.T) {
	f := newOwned(t)
	ctx := context.Background()
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"})
	own, _ := atAccount(t, f, secret)
	admin, err := f.SignIn(ctx, "alice@example.org", secret, here)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.SessionCaller(ctx, own); err == nil {
		t.Errorf("an account's token administers: %+v", c)
	}
	if c, err := f.Account().SessionCaller(ctx, admin); err == nil {
		t.Errorf("an administrator's token opens an account: %+v", c)
	}
	f.SignOut(ctx, own)
	if _, err := f.Account().WatchSession(ctx, own); err != nil {
		t.Errorf("signing out of the other part: %v", err)
	}
	f.Account().SignOut(ctx, own)
	if _, err := f.Account().WatchSession(ctx, own); err == nil {
		t.Error("signed out, and still here")
	}
	if _, err := f.SessionCaller(ctx, admin); err != nil {
		t.Error(err)
	}
	// Another mailbox of the same name is not hers.
	own, caller := atAccount(t, f, secret)
	if err := f.Directory.Remove(ctx, "alice@example.org"); err != nil {
		t.Fatal(err)
	}
	if err := f.Directory.Create(ctx, directory.Entry{Name: "alice@example.org", Account: 77, Enabled: true}, string(secret)); err != nil {
		t.Fatal(err)
	}
	if _, err := as(f, caller, "Get-AppPassword", ""); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("in the middle of a request: %v", err)
	}
	if _, err := f.Account().SessionCaller(ctx, own); err == nil {
		t.Error("a session of somebody who is gone")
	}
}

// setUp sets a second factor up and gives its secret and the recovery codes.
func setUp(t *testing.T, f *managetest.Fake, caller manage.Caller) (key []byte, recovery []string) {
	t.Helper()
	r, err := as(f, caller, "New-SecondFactor", "")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := r.Objects[0].Value("Secret")
	if key, err = base32.StdEncoding.DecodeString(text.(string)); err != nil {
		t.Fatal(err)
	}
	if r, err = as(f, caller, "Enable-SecondFactor", `{"Code":"`+totp.Code(key, totp.Step(now(f)))+`"}`); err != nil {
		t.Fatal(err)
	}
	codes, _ := r.Objects[0].Value("RecoveryCodes")
	return key, codes.([]string)
}

func TestSecondFactor(t *testing.T) {
	f := newOwned(t)
	ctx := context.Background()
	other, _ := atAccount(t, f, secret)
	token, alice := atAccount(t, f, secret)
	if _, err := as(f, alice, "Enable-SecondFactor", `{"Code":"123456"}`); mail.KindOf(err) != mail.KindNotFound {
		t.Errorf("before it was made: %v", err)
	}
	as(f, alice, "New-SecondFactor", "")
	if got := plainJSON(t, run(t, f, "Get-SecondFactor", args{"Identity": "alice@example.org"})); !strings.Contains(got, `"Status":"Pending"`) {
		t.Error(got)
	}
	if _, err := as(f, alice, "Enable-SecondFactor", `{"Code":"12345"}`); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("a wrong first code: %v", err)
	}
	key, recovery := setUp(t, f, alice)
	if len(recovery) != 10 {
		t.Fatal(recovery)
	}
	kept, err := f.Records.Records(ctx, "secondfactor", "")
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	for _, hidden := range append(slices.Clone(recovery), string(key), totp.Text(key), strings.ReplaceAll(recovery[0], "-", "")) {
		if strings.Contains(string(kept[0].Value), hidden) || strings.Contains(plainJSON(t, f.Audit.Records()), hidden) {
			t.Errorf("%q is kept, or in the audit log", hidden)
		}
	}
	if got := plainJSON(t, run(t, f, "Get-SecondFactor", args{"Identity": "alice@example.org"})); !strings.Contains(got, `"Status":"Enabled"`) || !strings.Contains(got, `"RecoveryCodes":10`) {
		t.Error(got)
	}
	if _, err := as(f, alice, "New-SecondFactor", ""); mail.KindOf(err) != mail.KindAlreadyExists {
		t.Errorf("a second one: %v", err)
	}

	// The session that set it up goes on, the other one ends.
	alice, err = f.Account().SessionCaller(ctx, token)
	if err != nil {
		t.Errorf("the session that set it up: %v", err)
	}
	if _, err := f.Account().SessionCaller(ctx, other); err == nil {
		t.Error("a session without the factor goes on")
	}
	if _, err := as(f, alice, "New-AppPassword", `{"Name":"phone"}`); err != nil {
		t.Errorf("an app password after the set-up: %v", err)
	}

	// From now on a code is asked for, here and in the administrators' part.
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"})
	code := func(d int64) manage.Secret { return manage.Secret(totp.Code(key, totp.Step(now(f))+d)) }
	for part, door := range map[string]interface {
		SignIn(context.Context, string, manage.Secret, netip.AddrPort) (string, error)
		Awaits(string) bool
		Confirm(context.Context, string, manage.Secret, netip.AddrPort) (string, error)
		SessionCaller(context.Context, string) (manage.Caller, error)
	}{"account": f.Account(), "console": f} {
		f.Advance(2 * totp.Period)
		waiting, err := door.SignIn(ctx, "alice@example.org", secret, here)
		if err != nil || !door.Awaits(waiting) {
			t.Fatal(part, err)
		}
		if _, err := door.SessionCaller(ctx, waiting); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: a waiting sign-in is a session: %v", part, err)
		}
		for _, wrong := range []manage.Secret{"000", code(-2), code(2)} {
			if _, err := door.Confirm(ctx, waiting, wrong, here); mail.KindOf(err) != mail.KindAuthenticationFailed {
				t.Errorf("%s: %q: %v", part, string(wrong), err)
			}
		}
		right := code(0)
		session, err := door.Confirm(ctx, waiting, right, here)
		if err != nil || session == waiting || door.Awaits(session) {
			t.Fatal(part, err)
		}
		if _, err := door.SessionCaller(ctx, session); err != nil {
			t.Error(part, err)
		}
		if _, err := door.Confirm(ctx, waiting, code(1), here); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: a waiting sign-in is of use twice: %v", part, err)
		}
		// Each code once, each recovery code once.
		again, _ := door.SignIn(ctx, "alice@example.org", secret, here)
		if _, err := door.Confirm(ctx, again, right, here); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: a code twice: %v", part, err)
		}
		if _, err := door.Confirm(ctx, again, manage.Secret(strings.ToUpper(recovery[0])), here); err != nil {
			t.Errorf("%s: a recovery code: %v", part, err)
		}
		again, _ = door.SignIn(ctx, "alice@example.org", secret, here)
		if _, err := door.Confirm(ctx, again, manage.Secret(recovery[0]), here); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: a recovery code twice: %v", part, err)
		}
		recovery = recovery[1:]
		// It does not wait for ever.
		f.Advance(5 * time.Minute)
		if _, err := door.Confirm(ctx, again, code(0), here); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: five minutes later: %v", part, err)
		}
	}

	// Whoever knows the password alone ends nobody's session.
	f.Advance(time.Hour)
	waits, _ := f.Account().SignIn(ctx, "alice@example.org", secret, here)
	session, err := f.Account().Confirm(ctx, waits, code(0), here)
	if err != nil {
		t.Fatal(err)
	}
	for range 25 {
		f.Advance(time.Second)
		f.Account().SignIn(ctx, "alice@example.org", secret, here)
	}
	if _, err := f.Account().SessionCaller(ctx, session); err != nil {
		t.Errorf("after 25 sign-ins without a code: %v", err)
	}

	// Guessing: five wrong ones end the sign-in, and the account waits.
	f.Advance(time.Hour)
	waiting, _ := f.Account().SignIn(ctx, "alice@example.org", secret, here)
	if _, err := f.Account().Confirm(ctx, waiting, code(0), here); err != nil {
		t.Fatal(err)
	}
	f.Advance(2 * totp.Period)
	waiting, _ = f.Account().SignIn(ctx, "alice@example.org", secret, here)
	for i := range 5 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 1)
		if _, err := f.Account().Confirm(ctx, waiting, "000000", from); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Error(err)
		}
	}
	if f.Account().Awaits(waiting) {
		t.Error("a sign-in outlives five wrong codes")
	}
	waiting, _ = f.Account().SignIn(ctx, "alice@example.org", secret, here)
	if _, err := f.Account().Confirm(ctx, waiting, code(0), here); mail.KindOf(err) != mail.KindLimit {
		t.Errorf("at once after five wrong ones: %v", err)
	}
	f.Advance(31 * time.Second)
	token, err = f.Account().Confirm(ctx, waiting, code(0), here)
	if err != nil {
		t.Errorf("after the wait: %v", err)
	}

	// It is taken away with a code, or by an administrator.
	alice, err = f.Account().SessionCaller(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := as(f, alice, "Disable-SecondFactor", `{"Code":"000000"}`); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("with a wrong code: %v", err)
	}
	if _, err := as(f, alice, "Disable-SecondFactor", ""); mail.KindOf(err) != mail.KindBadArgument {
		t.Errorf("without a code: %v", err)
	}
	if _, err := as(f, alice, "Disable-SecondFactor", `{"Code":"`+recovery[0]+`"}`); err != nil {
		t.Errorf("with a recovery code: %v", err)
	}
	if alice, err = f.Account().SessionCaller(ctx, token); err != nil {
		t.Errorf("the session after it: %v", err)
	}
	setUp(t, f, alice)
	run(t, f, "Disable-SecondFactor", args{"Identity": "alice@example.org"})
	if _, err := f.Account().SessionCaller(ctx, token); err == nil {
		t.Error("a session outlives its factor")
	}
	atAccount(t, f, secret)
	run(t, f, "Remove-Mailbox", args{"Identity": "bob@example.org", "Confirm": false})
}

// TestOwnersAreBounded: whoever has a mailbox does not fill the audit log and the store,
// neither by what works nor by what fails nor by signing in, and keeps out nobody else.
func TestOwnersAreBounded(t *testing.T) {
	f := newOwned(t)
	ctx := context.Background()
	_, alice := atAccount(t, f, secret)
	for what, try := range map[string]func() error{
		"a change":  func() error { _, err := as(f, alice, "New-SecondFactor", ""); return err },
		"a mistake": func() error { _, err := as(f, alice, "New-AppPassword", `{"Name":"*"}`); return err },
		"a sign-in": func() error {
			_, err := f.Account().SignIn(ctx, "alice@example.org", secret, here)
			return err
		},
	} {
		before, err := len(f.Audit.Records()), error(nil)
		for range 500 {
			err = try()
		}
		if n := len(f.Audit.Records()) - before; n > 250 || mail.KindOf(err) != mail.KindLimit {
			t.Errorf("%s: %d records, %v", what, n, err)
		}
		if _, err := as(f, alice, "New-AppPassword", `{"Name":"phone","WhatIf":true}`); err != nil {
			t.Errorf("%s: a trial: %v", what, err)
		}
		if _, err := f.Account().SignIn(ctx, "bob@example.org", secret, here); err != nil {
			t.Errorf("%s: bob: %v", what, err)
		}
		f.Advance(10 * time.Minute)
		_, alice = atAccount(t, f, secret)
		if _, err := as(f, alice, "New-SecondFactor", ""); err != nil {
			t.Errorf("%s: later: %v", what, err)
		}
	}
}

// TestDisableRace: a session that began before the second factor does not take it away
// with a call that was begun while it was set up.
func TestDisableRace(t *testing.T) {
	f := newOwned(t)
	_, thief := atAccount(t, f, secret)
	_, alice := atAccount(t, f, secret)
	made, err := as(f, alice, "New-SecondFactor", "")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := made.Objects[0].Value("Secret")
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text.(string))
	if err != nil {
		t.Fatal(err)
	}
	// Between what the thief's call reads and what it does alice sends her first code.
	reads := 0
	f.Records.Read = func(kind string) {
		if kind != "secondfactor" {
			return
		}
		if reads++; reads == 2 {
			f.Records.Read = nil
			if _, err := as(f, alice, "Enable-SecondFactor", `{"Code":"`+totp.Code(key, totp.Step(now(f)))+`"}`); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := as(f, thief, "Disable-SecondFactor", `{"Code":"000000"}`); err == nil {
		t.Error("it was taken away without a code")
	}
	f.Records.Read = nil
	if got := plainJSON(t, run(t, f, "Get-SecondFactor", args{"Identity": "alice@example.org"})); !strings.Contains(got, `"Status":"Enabled"`) {
		t.Error(got)
	}
}

// TestRequireSecondFactor: an administrator with a password alone stays outside.
func TestRequireSecondFactor(t *testing.T) {
	f := newOwned(t)
	ctx := context.Background()
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"})
	admin, err := f.SignIn(ctx, "alice@example.org", secret, here)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f, "Set-ConsoleSettings", args{"RequireSecondFactor": true})
	if _, err := f.SessionCaller(ctx, admin); err == nil {
		t.Error("a session without the factor goes on")
	}
	_, err = f.SignIn(ctx, "alice@example.org", secret, here)
	if mail.KindOf(err) != mail.KindNoPermission || !strings.Contains(manage.FaultOf(err).Hint, "/account") {
		t.Errorf("without a factor: %v, %q", err, manage.FaultOf(err).Hint)
	}
	_, alice := atAccount(t, f, secret) // not asked for at the account
	key, _ := setUp(t, f, alice)
	f.Advance(2 * totp.Period)
	waiting, err := f.SignIn(ctx, "alice@example.org", secret, here)
	if err != nil {
		t.Fatal(err)
	}
	if admin, err = f.Confirm(ctx, waiting, manage.Secret(totp.Code(key, totp.Step(now(f)))), here); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SessionCaller(ctx, admin); err != nil {
		t.Error(err)
	}
	// Who proved to be the operating system's root needs none.
	address, _, err := f.NewLink("unix:root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.RedeemLink(ctx, linkToken(t, address), here); err != nil {
		t.Errorf("a link: %v", err)
	}
}

var _ auth.AppPasswords = (*manage.Server)(nil)
