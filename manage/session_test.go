package manage_test

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

var (
	here   = netip.MustParseAddrPort("192.0.2.1:4711")
	root   = manage.Caller{Name: "unix:root", From: "socket", Way: manage.WaySocket, Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	secret = manage.Secret("wonderland-1865")
)

// run runs a cmdlet as root does on the server.
func run(t testing.TB, f *managetest.Fake, cmdlet string, a args) *manage.Result {
	t.Helper()
	if a == nil {
		a = args{}
	}
	r, err := f.Run(context.Background(), root, cmdlet, []byte(plainJSON(t, a)))
	if err != nil {
		t.Fatalf("%s %v: %v", cmdlet, a, err)
	}
	return r
}

// newFake makes a server on which alice has a password and the role.
func newFake(t testing.TB, role manage.Role) *managetest.Fake {
	t.Helper()
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Password": string(secret)})
	if role != "" {
		run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": string(role)})
	}
	return f
}

func signIn(t testing.TB, f *managetest.Fake) string {
	t.Helper()
	token, err := f.SignIn(context.Background(), "alice@example.org", secret, here)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestSignIn: whatever is wrong with name or password is answered the same; the
// rest is said only after a right password.
func TestSignIn(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	ctx := context.Background()
	run(t, f, "Set-Mailbox", args{"Identity": "bob@example.org", "Password": "builder-1998"})
	run(t, f, "New-Mailbox", args{"Name": "carol@example.org", "Password": "carol-1843", "Enabled": false})
	run(t, f, "Add-Administrator", args{"Identity": "carol@example.org", "Role": "View-Only Administrator"})
	var answers []string
	for _, c := range []struct {
		name     string
		password manage.Secret
		kind     mail.Kind
	}{
		{"alice@example.org", "wrong", mail.KindAuthenticationFailed},
		{"nobody@example.org", secret, mail.KindAuthenticationFailed},
		{"", "", mail.KindAuthenticationFailed},
		{"bob@example.org", "wrong", mail.KindAuthenticationFailed},
		{"carol@example.org", "wrong", mail.KindAuthenticationFailed},
		{"unix:root", "", mail.KindAuthenticationFailed},
		{"bob@example.org", "builder-1998", mail.KindNoPermission},
		{"carol@example.org", "carol-1843", mail.KindDisabled},
	} {
		token, err := f.SignIn(ctx, c.name, c.password, here)
		if token != "" || mail.KindOf(err) != c.kind {
			t.Errorf("%q: %v, want %v", c.name, err, c.kind)
		}
		if c.kind == mail.KindAuthenticationFailed {
			answers = append(answers, plainJSON(t, manage.FaultOf(err)))
		}
	}
	if slices.Sort(answers); answers[0] != answers[len(answers)-1] {
		t.Error("the answers differ:", answers)
	}
	_, err := f.SignIn(ctx, "bob@example.org", "builder-1998", here)
	if text := mail.TextOf(err); !strings.Contains(text, "bob@example.org holds no administrator's role") || !strings.Contains(manage.FaultOf(err).Hint, "Add-Administrator -Identity bob@example.org") {
		t.Error(text)
	}

	token := signIn(t, f)
	if again := signIn(t, f); again == token || len(token) != 43 {
		t.Error("tokens:", token, again)
	}
	c, err := f.SessionCaller(ctx, token)
	if err != nil || c.Name != "alice@example.org" || c.From != "192.0.2.1" || c.Way != manage.WaySession || c.Local || !slices.Equal(c.Roles, []manage.Role{manage.RecipientAdministrator}) {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := f.Run(ctx, c, "Set-Mailbox", []byte(`{"Identity":"bob@example.org","DisplayName":"B"}`)); err != nil {
		t.Error(err)
	}
	// By an alias the same person signs in, under the same name.
	aliased, err := f.SignIn(ctx, "a.example@example.org", secret, here)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.SessionCaller(ctx, aliased); err != nil || c.Name != "alice@example.org" {
		t.Error(c, err)
	}
	text := plainJSON(t, f.Audit.Records())
	for _, want := range []string{audit.SignIn, `"Method":"password"`, `"Name":"nobody@example.org"`, "AuthenticationFailed", "NoPermission"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the audit: %s", want, text)
		}
	}
	if strings.Contains(text, string(secret)) || strings.Contains(text, token) {
		t.Error("a secret in the audit:", text)
	}
}

// TestSessionEnds: by time, by signing out, and with the right that it rests on.
func TestSessionEnds(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		end   func(f *managetest.Fake, token string)
		lives bool
	}{
		{"signed out", func(f *managetest.Fake, token string) { f.SignOut(ctx, token) }, false},
		{"another's sign-out", func(f *managetest.Fake, token string) { f.SignOut(ctx, token+"x") }, true},
		{"14 minutes", func(f *managetest.Fake, _ string) { f.Advance(14 * time.Minute) }, true},
		{"15 minutes", func(f *managetest.Fake, _ string) { f.Advance(15 * time.Minute) }, false},
		{"in use for 11 hours", func(f *managetest.Fake, token string) { use(f, token, 11*time.Hour) }, true},
		{"in use for 12 hours", func(f *managetest.Fake, token string) { use(f, token, 12*time.Hour) }, false},
		{"a page that is only open", func(f *managetest.Fake, token string) {
			for range 3 {
				f.Advance(5 * time.Minute)
				f.WatchSession(ctx, token)
			}
		}, false},
		{"a shorter SessionTimeout", func(f *managetest.Fake, _ string) {
			run(t, f, "Set-ConsoleSettings", args{"SessionTimeout": "00:01:00"})
			f.Advance(time.Minute)
		}, false},
		{"the last role", func(f *managetest.Fake, _ string) {
			run(t, f, "Remove-Administrator", args{"Identity": "alice@example.org", "Confirm": false})
		}, false},
		{"one role of two", func(f *managetest.Fake, _ string) {
			run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "ViewOnlyAdmin"})
			run(t, f, "Remove-Administrator", args{"Identity": "alice@example.org", "Role": "RecipientAdmin", "Confirm": false})
		}, true},
		{"another password", func(f *managetest.Fake, _ string) {
			run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Password": "another-1"})
		}, false},
		{"the same password again", func(f *managetest.Fake, _ string) {
			run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Password": string(secret)})
		}, false},
		{"disabled", func(f *managetest.Fake, _ string) {
			run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Enabled": false})
		}, false},
		{"removed", func(f *managetest.Fake, _ string) {
			run(t, f, "Remove-Mailbox", args{"Identity": "alice@example.org", "Confirm": false})
		}, false},
		{"removed and made anew", func(f *managetest.Fake, _ string) {
			run(t, f, "Remove-Mailbox", args{"Identity": "alice@example.org", "Confirm": false})
			run(t, f, "New-Mailbox", args{"Name": "alice@example.org", "Password": string(secret)})
		}, false},
		{"another name for it", func(f *managetest.Fake, _ string) {
			run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "DisplayName": "A"})
		}, true},
	} {
		f := newFake(t, manage.RecipientAdministrator)
		token := signIn(t, f)
		c.end(f, token)
		caller, err := f.SessionCaller(ctx, token)
		if c.lives != (err == nil) || !c.lives && (mail.KindOf(err) != mail.KindAuthenticationFailed || caller.Name != "" || len(caller.Roles) > 0) {
			t.Errorf("%s: %+v %v", c.name, caller, err)
		}
		if c.lives {
			continue
		}
		// What is over does not come back.
		run(t, f, "Get-Mailbox", nil)
		if f.Directory.SetPassword(ctx, "alice@example.org", string(secret)) == nil {
			run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Enabled": true})
		}
		if _, err := f.SessionCaller(ctx, token); err == nil {
			t.Errorf("%s: the session came back", c.name)
		}
	}
}

func use(f *managetest.Fake, token string, d time.Duration) {
	for ; d > 0; d -= 10 * time.Minute {
		f.Advance(10 * time.Minute)
		f.SessionCaller(context.Background(), token) // the caller sees what became of it
	}
}

// A directory or store that cannot answer ends no session, and lets nobody in.
func TestSessionUnavailable(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	ctx := context.Background()
	token := signIn(t, f)
	f.Records.Err = mail.Errorf(mail.KindUnavailable, "the disk is gone")
	if _, err := f.SessionCaller(ctx, token); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
	if _, err := f.SignIn(ctx, "alice@example.org", secret, here); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
	f.Records.Err = nil
	if _, err := f.SessionCaller(ctx, token); err != nil {
		t.Error(err)
	}
	// Whoever signs out is out.
	f.Records.Err = mail.Errorf(mail.KindUnavailable, "the disk is gone")
	f.SignOut(ctx, token)
	f.Records.Err = nil
	if _, err := f.SessionCaller(ctx, token); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Error("after signing out:", err)
	}
	if text := plainJSON(t, f.Audit.Records()); !strings.Contains(text, audit.SignOut) {
		t.Error("the audit:", text)
	}
}

// TestSessionsAreBounded: the longest idle one of a person goes.
func TestSessionsAreBounded(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	ctx := context.Background()
	var tokens []string
	for range 21 {
		tokens = append(tokens, signIn(t, f))
		f.Advance(time.Second)
		if _, err := f.SessionCaller(ctx, tokens[0]); err != nil {
			t.Fatal("the session in use went:", err)
		}
	}
	live := 0
	for _, token := range tokens {
		if _, err := f.WatchSession(ctx, token); err == nil {
			live++
		}
	}
	if _, err := f.WatchSession(ctx, tokens[1]); err == nil || live != 20 {
		t.Error("sessions:", live, err)
	}
}

// TestGuessing: after ten failures a network waits; others do not, and a right
// password in between does not help a guesser.
func TestGuessing(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	ctx := context.Background()
	for i := range 9 {
		if _, err := f.SignIn(ctx, "alice@example.org", "wrong", here); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Fatal(i, err)
		}
	}
	signIn(t, f)
	f.SignIn(ctx, "nobody", "wrong", here)
	_, err := f.SignIn(ctx, "alice@example.org", secret, here)
	if mail.KindOf(err) != mail.KindLimit || !strings.Contains(mail.TextOf(err), "30 seconds") {
		t.Error("the eleventh:", err)
	}
	if _, err := f.SignIn(ctx, "alice@example.org", secret, netip.MustParseAddrPort("192.0.2.2:1")); err != nil {
		t.Error("another network:", err)
	}
	if _, err := f.SignIn(ctx, "alice@example.org", secret, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")); mail.KindOf(err) != mail.KindLimit {
		t.Error("the same, written otherwise:", err)
	}
	f.Advance(30 * time.Second)
	signIn(t, f)
	for i := range 10 {
		f.SignIn(ctx, "alice@example.org", "wrong", netip.AddrPortFrom(netip.MustParseAddr("2001:db8::").Next(), uint16(i)))
	}
	if _, err := f.SignIn(ctx, "alice@example.org", secret, netip.MustParseAddrPort("[2001:db8::ffff]:1")); mail.KindOf(err) != mail.KindLimit {
		t.Error("another address of the same /64:", err)
	}
	// Links are counted apart, and a right one is never refused: it cannot be guessed.
	for i := range 11 {
		_, err = f.RedeemLink(ctx, "x", netip.MustParseAddrPort("[2001:db8::1]:1"))
		if i == 0 && mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Error(err)
		}
	}
	if mail.KindOf(err) != mail.KindLimit {
		t.Error("the eleventh link:", err)
	}
	address, _, err := f.NewLink("unix:root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.RedeemLink(ctx, linkToken(t, address), netip.MustParseAddrPort("[2001:db8::1]:1")); err != nil {
		t.Error("a right link:", err)
	}
}

func TestConsoleURL(t *testing.T) {
	f := newFake(t, "")
	for binding, want := range map[string]string{
		"0.0.0.0:8443": "https://mail.example.org:8443", "[::]:443": "https://mail.example.org:443", "[::1]:1": "https://localhost:1",
		"192.0.2.7:8443": "https://192.0.2.7:8443", "[2001:db8::7]:8443": "https://[2001:db8::7]:8443",
	} {
		run(t, f, "Set-ConsoleSettings", args{"SSLBindings": binding})
		if got := f.ConsoleURL(); got != want {
			t.Errorf("%s: %s, want %s", binding, got, want)
		}
	}
}

func linkToken(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Path != "/sign-in/link" || u.Scheme != "https" {
		t.Fatal(address, err)
	}
	return u.Query().Get("token")
}

// TestLink: once, for ten minutes, for who asked, over the socket only.
func TestLink(t *testing.T) {
	f := newFake(t, manage.OrganizationAdministrator)
	ctx := context.Background()
	r := run(t, f, "New-ConsoleLink", nil)
	address, _ := r.Objects[0].Value("Url")
	if !strings.HasPrefix(address.(string), "https://localhost:8443/sign-in/link?token=") {
		t.Error(address)
	}
	link := linkToken(t, address.(string))
	if text := plainJSON(t, f.Audit.Records()); !strings.Contains(text, "New-ConsoleLink") || strings.Contains(text, link) {
		t.Error("the audit:", text)
	}
	for _, wrong := range []string{"", link + "x", link[1:], strings.ToUpper(link)} {
		if _, err := f.RedeemLink(ctx, wrong, here); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	token, err := f.RedeemLink(ctx, link, here)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.SessionCaller(ctx, token); err != nil || c.Name != "unix:root" || !c.Local || c.Roles[0] != manage.OrganizationAdministrator || c.From != "192.0.2.1" {
		t.Error(c, err)
	}
	if _, err := f.RedeemLink(ctx, link, here); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Error("a second time:", err)
	}
	old, until, err := f.NewLink("unix:root")
	if err != nil || !until.Equal(managetest.Now.Add(10*time.Minute)) {
		t.Fatal(until, err)
	}
	f.Advance(10 * time.Minute)
	if _, err := f.RedeemLink(ctx, linkToken(t, old), here); mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Error("too old:", err)
	}
	// Nobody's link is worth more than its owner's roles at the moment of use.
	daemon, _, err := f.NewLink("unix:daemon")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.RedeemLink(ctx, linkToken(t, daemon), here); mail.KindOf(err) != mail.KindNoPermission {
		t.Error("without a role:", err)
	}
	// A user whom the operating system no longer knows.
	run(t, f, "Add-Administrator", args{"Identity": "unix:no-such-user", "Role": "ViewOnlyAdmin"})
	gone, _, err := f.NewLink("unix:no-such-user")
	if err != nil {
		t.Fatal(err)
	}
	if token, err := f.RedeemLink(ctx, linkToken(t, gone), here); err == nil {
		if _, err := f.SessionCaller(ctx, token); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Error("a user who is gone:", err)
		}
	}
	session, err := f.SessionCaller(ctx, signIn(t, f))
	if err != nil {
		t.Fatal(err)
	}
	for _, caller := range []manage.Caller{session, {Name: "unix:root", Way: manage.WaySession, Roles: root.Roles, Local: true}, {Name: "unix:root", Way: manage.WayToken, Roles: root.Roles, Local: true}} {
		if _, err := f.Run(ctx, caller, "New-ConsoleLink", nil); mail.KindOf(err) != mail.KindCannot {
			t.Errorf("%+v: %v", caller, err)
		}
	}
	// The sixth of a person ends the first.
	var links []string
	for range 6 {
		address, _, err := f.NewLink("unix:root")
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, linkToken(t, address))
		f.Advance(time.Second)
	}
	if _, err := f.RedeemLink(ctx, links[0], here); err == nil {
		t.Error("more than five links live")
	}
	if _, err := f.RedeemLink(ctx, links[1], here); err != nil {
		t.Error(err)
	}
	run(t, f, "Stop-Service", args{"Name": "Console"})
	if _, err := f.Run(ctx, root, "New-ConsoleLink", nil); mail.KindOf(err) != mail.KindUnavailable {
		t.Error("without a console:", err)
	}
}

// A mailbox that is called like an operating-system user is nobody.
func TestReservedNames(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	for _, name := range []string{"unix:root", "UNIX:root", "unix:root@example.org"} {
		if _, err := f.Run(ctx, root, "New-Mailbox", []byte(plainJSON(t, args{"Name": name, "Password": "x"}))); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.Directory.Create(ctx, directory.Entry{Name: "unix:root", Account: 9, Enabled: true}, "toor"); err != nil {
		t.Fatal(err)
	}
	if token, err := f.SignIn(ctx, "unix:root", "toor", here); err == nil {
		t.Error("a mailbox signed in as root:", token)
	}
}

func FuzzTokens(f *testing.F) {
	fake := newFake(f, manage.RecipientAdministrator)
	ctx := context.Background()
	token := signIn(f, fake)
	made := run(f, fake, "New-ApiToken", args{"Name": "t", "Role": "ViewOnlyAdmin"})
	api, _ := made.Objects[0].Value("Token")
	link, _, err := fake.NewLink("unix:root")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", token, api.(string), linkToken(f, link), "postern_" + strings.Repeat("A", 43), "\x00\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fake.Advance(time.Minute) // of ten links a minute none is refused for the number
		if _, err := fake.RedeemLink(ctx, text, here); (err == nil) && text != linkToken(t, link) {
			t.Errorf("%q redeems a link", text)
		}
		if c, err := fake.SessionCaller(ctx, text); (err == nil) && text != token {
			t.Errorf("%q is a session of %s", text, c.Name)
		}
		if c, err := fake.TokenCaller(ctx, text, here); (err == nil) && text != api.(string) {
			t.Errorf("%q is a token of %s", text, c.Name)
		}
	})
}
