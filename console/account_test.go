package console_test

import (
	"context"
	"encoding/base32"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/console"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/totp"
)

const alicesPassword = "wonderland-1865"

// atHome is the console with alice signed in at her account.
func atHome(t *testing.T) *site {
	t.Helper()
	s := open(t)
	if err := s.Directory.SetPassword(context.Background(), "alice@example.org", alicesPassword); err != nil {
		t.Fatal(err)
	}
	return s.atHome()
}

func (s *site) atHome() *site {
	s.t.Helper()
	token, err := s.Account().SignIn(context.Background(), "alice@example.org", alicesPassword, netip.MustParseAddrPort("192.0.2.1:1"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.header.Set("Cookie", "__Host-account="+token)
	return s
}

// secretOf reads the key that is typed into a program.
func secretOf(t *testing.T, key string) []byte {
	t.Helper()
	secret, err := base32.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	return secret
}

// done follows the redirect after a form was done.
func (s *site) done(path string, pairs ...string) answer {
	s.t.Helper()
	a := s.post(path, pairs...)
	if a.StatusCode != http.StatusSeeOther {
		a.want(s.t, http.StatusSeeOther)
		return a
	}
	return s.get(a.Header.Get("Location"))
}

// TestAccountPages looks at each page in both languages, as TestEveryPage does.
func TestAccountPages(t *testing.T) {
	s := atHome(t)
	s.call(t, "New-AppPassword", `{"Identity":"alice@example.org","Name":"phone <b>x</b>","ReadOnly":true,"From":["192.0.2.0/24"],"Expires":"30.00:00:00"}`)
	s.Sessions.Open = []manage.LiveSession{{ID: "IMAP4-1", Service: settings.IMAP4, User: "alice@example.org", State: "Selected", Connected: managetest.Now}}
	for _, language := range []string{"en", "de"} {
		s.header.Set("Accept-Language", language)
		for _, p := range console.AccountPages() {
			a := s.get(p.Path)
			// Nothing of the administrators' part, nothing of the shell.
			a.want(t, 200, `<html lang="`+language+`"`, `aria-current="page"`, "<h1>", `action="/account/sign-out"`, `href="/account/password"`,
				"!href=\"/mailboxes", "!href=\"/protocol-log", "!Get-AppPassword", "!<b>x</b>", "!data-test=\"shell")
			checkHTML(t, p.Path, a.body)
		}
		for _, path := range []string{"/account/sign-in", "/sign-in"} {
			checkHTML(t, path, s.get(path).want(t, 200).body)
		}
	}
	for _, path := range []string{"/account/nothing", "/account/password/x", "/account/mailboxes"} {
		s.get(path).want(t, 404)
	}
}

// TestAccountSignIn: with name and password, to where one wanted to go, by a cookie that
// is no administrator's.
func TestAccountSignIn(t *testing.T) {
	s := atHome(t)
	s.header.Del("Cookie")
	a := s.get("/account/activity")
	a.want(t, 303)
	if to := a.Header.Get("Location"); to != "/account/sign-in?next=%2Faccount%2Factivity" {
		t.Errorf("to %s", to)
	}
	s.post("/account/sign-in", "name", "alice@example.org", "password", "wrong").want(t, 401, "data-test=\"problem\"", `value="alice@example.org"`)
	for next, to := range map[string]string{"/account/activity": "/account/activity", "": "/account", "/mailboxes": "/account", "/accounts": "/account", "https://evil.example/account": "/account"} {
		a = s.post("/account/sign-in", "name", "alice@example.org", "password", alicesPassword, "next", next)
		a.want(t, 303)
		cookies := a.Cookies()
		if len(cookies) != 1 || cookies[0].Name != "__Host-account" || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
			t.Errorf("cookies %v", cookies)
		}
		if got := a.Header.Get("Location"); got != to {
			t.Errorf("next %q leads to %q", next, got)
		}
		s.header.Set("Cookie", "__Host-account="+cookies[0].Value)
		s.get("/account").want(t, 200)
		// The administrators' part does not know it, by whatever name.
		for _, p := range console.Pages() {
			s.get(p.Path).want(t, 303)
			s.as(cookies[0].Value).get(p.Path).want(t, 303)
			s.header.Set("Cookie", "__Host-account="+cookies[0].Value)
		}
	}
	s.post("/account/sign-out").want(t, 303)
	s.get("/account").want(t, 303)
	// An administrator's cookie opens no account.
	for _, p := range console.AccountPages() {
		s.as("root").get(p.Path).want(t, 303)
		s.header.Set("Cookie", "__Host-account=root")
		s.get(p.Path).want(t, 303)
	}
}

func TestAccountAppPasswords(t *testing.T) {
	s := atHome(t)
	s.get("/account").want(t, 200, "You have none yet.", "What to type into the program", "Server mail.example.org, port 993, SSL/TLS", "!%!")
	s.post("/account", "form", "new", "step", "review", "f.Name", "phone", "f.From", "nonsense").want(t, 400, "data-test=\"errors\"", "nonsense")
	s.post("/account", "form", "new", "step", "review", "f.Name", "phone", "f.Identity", "bob@example.org").want(t, 400, "no field")
	a := s.done("/account", "form", "new", "step", "review", "f.Name", "phone", "f.Services", "IMAP4", "f.ReadOnly", "true")
	a.want(t, 200, "App password made", `data-test="secret"`, "read only", "phone")
	s.get(a.Request.URL.RequestURI()).want(t, 200, "!data-test=\"secret\"")
	_, rest, _ := strings.Cut(a.body, `<input type="hidden" name="form" value="remove-`)
	id, _, _ := strings.Cut(rest, `"`)
	s.post("/account", "form", "remove-"+id, "step", "review").want(t, 200, "does not get in again")
	s.done("/account", "form", "remove-"+id, "step", "apply").want(t, 200, "App password removed", "You have none yet.")
}

func TestAccountPassword(t *testing.T) {
	s := atHome(t)
	s.call(t, "Set-Mailbox", `{"Identity":"alice@example.org","ResetPasswordOnNextLogon":true}`)
	for _, p := range console.AccountPages() {
		if p.Path == "/account/password" {
			continue
		}
		a := s.get(p.Path)
		a.want(t, 303)
		if to := a.Header.Get("Location"); to != "/account/password" {
			t.Errorf("%s leads to %s", p.Path, to)
		}
	}
	s.get("/account/password").want(t, 200, `data-test="due"`)
	form := func(step, old, new, again string) []string {
		return []string{"form", "password", "step", step, "f.OldPassword", old, "f.Password", new, "f.Again", again}
	}
	const better = "four words have little"
	s.post("/account/password", form("preview", "x", "alice1865", "")...).want(t, 200, "weak", "!alice1865", "!data-test=\"shell")
	s.post("/account/password", form("preview", "x", better, "")...).want(t, 200, "very good", "!"+better)
	s.post("/account/password", form("review", alicesPassword, better, "other")...).want(t, 400, "This is not the same.", "!"+better)
	s.post("/account/password", form("review", "wrong", better, better)...).want(t, 400, "data-test=\"errors\"", "!"+better)
	s.done("/account/password", form("review", alicesPassword, better, better)...).want(t, 200, "Password changed", "!data-test=\"due\"", "!"+better)
	s.get("/account").want(t, 200)
}

func TestAccountSecondFactor(t *testing.T) {
	s := atHome(t)
	s.get("/account/second-factor").want(t, 200, "It is off")
	a := s.post("/account/second-factor", "form", "begin", "step", "review")
	a.want(t, 200, `data-test="qr"`, "<path class=\"qr-dark\"", `data-test="key"`)
	checkHTML(t, "setting up", a.body)
	s.get("/account/second-factor").want(t, 200, "You began to set it up", "!data-test=\"key\"")
	s.post("/account/second-factor", "form", "enable", "step", "review", "f.Code", "12345").want(t, 401, "data-test=\"errors\"")
	a = s.post("/account/second-factor", "form", "begin", "step", "review")
	_, rest, _ := strings.Cut(a.body, `data-test="key"`)
	_, rest, _ = strings.Cut(rest, "data-copy>")
	key, _, _ := strings.Cut(rest, "<")
	secret := secretOf(t, key)
	code := func() string { return totp.Code(secret, totp.Step(s.Server.Now())) }
	a = s.post("/account/second-factor", "form", "enable", "step", "review", "f.Code", code())
	a.want(t, 200, `data-test="recovery-codes"`)
	checkHTML(t, "set up", a.body)
	if n := strings.Count(a.body, "<li><code>"); n != 10 {
		t.Errorf("%d recovery codes", n)
	}
	checkHTML(t, "on", s.get("/account/second-factor").want(t, 200, "It is on", `data-test="codes-left">10<`).body)

	// The next sign-in asks for a code.
	s.header.Del("Cookie")
	s.Advance(2 * totp.Period)
	a = s.post("/account/sign-in", "name", "alice@example.org", "password", alicesPassword, "next", "/account/activity")
	a.want(t, 303)
	if to := a.Header.Get("Location"); to != "/account/sign-in/code?next=%2Faccount%2Factivity" {
		t.Errorf("to %s", to)
	}
	cookies := a.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "__Host-account-waiting" {
		t.Fatal(cookies)
	}
	s.get("/account/sign-in/code").want(t, 303) // without the cookie
	for _, name := range []string{"__Host-account", "__Host-session", "__Host-session-waiting"} {
		s.header.Set("Cookie", name+"="+cookies[0].Value)
		s.get("/account").want(t, 303)
		s.get("/").want(t, 303)
	}
	s.header.Set("Cookie", "__Host-account-waiting="+cookies[0].Value)
	s.get("/account").want(t, 303)
	checkHTML(t, "code", s.get("/account/sign-in/code?next=/account/activity").want(t, 200, `autocomplete="one-time-code"`).body)
	s.post("/account/sign-in/code", "code", "12345", "next", "/account/activity").want(t, 401, "data-test=\"problem\"")
	a = s.post("/account/sign-in/code", "code", code(), "next", "/account/activity")
	a.want(t, 303)
	for _, c := range a.Cookies() {
		if c.Name == "__Host-account" {
			s.header.Set("Cookie", "__Host-account="+c.Value)
		}
	}
	s.get(a.Header.Get("Location")).want(t, 200, "Activity")
	s.post("/account/second-factor", "form", "disable", "step", "review", "f.Code", "0").want(t, 401)

	// An administrator takes it away; one who may only look is told why not.
	own := s.header.Get("Cookie")
	const page = "/mailboxes/mailbox/sign-in?name=alice@example.org"
	s.as("viewer").get(page).want(t, 200, `data-test="factor"`, "Recipient Administrator")
	checkHTML(t, page, s.as("root").get(page).want(t, 200, `data-test="factor"`).body)
	s.post(page, "form", "factor", "step", "review").want(t, 200, "lost the program")
	s.done(page, "form", "factor", "step", "apply").want(t, 200, "Second factor taken away", `!data-test="factor"`)
	s.header.Set("Cookie", own)
	s.get("/account").want(t, 303)
}
