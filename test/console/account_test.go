package console

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/console"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/test/browser"
	"github.com/postern-mail/postern/test/server"
)

// home is alice in front of a browser.
func home(t *testing.T) *desk {
	t.Helper()
	page := browser.Open(t)
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
	d := &desk{Server: s, Page: page, t: t}
	link, _, _ := strings.Cut(s.MustShell("console"), "\n")
	d.base = link[:strings.Index(link, "/sign-in")]
	d.Language("en")
	return d
}

// enter signs alice in at her account.
func (d *desk) enter(password string) {
	d.t.Helper()
	d.at("/account")
	d.Type("[data-test=name]", alice.Name)
	d.Type("[data-test=password]", password)
	d.Follow("[data-test=sign-in]")
}

// imap tells how a sign-in with a password ends.
func (d *desk) imap(password string) string {
	d.t.Helper()
	c := server.DialTLS(d.t, d.IMAPS, d.TLS())
	defer c.Conn.Close()
	c.Want("* OK")
	_, answer := c.IMAP("LOGIN %q %q", alice.Name, password)
	return answer
}

// TestAccountAppPasswords: made in the browser, used by a mail program, removed.
func TestAccountAppPasswords(t *testing.T) {
	d := home(t)
	d.at("/account")
	d.look("account-sign-in")
	d.enter("wrong")
	d.WaitText("[data-test=problem]", "wrong")
	d.enter(alice.Password)
	d.look("account-none")
	d.Type("[data-test=Name]", "Phone")
	d.Click("[data-test=Services-IMAP4]")
	d.Follow("[data-test=submit-new]")
	shown := d.Text("[data-test=secret] code")
	d.judge("after New-AppPassword")
	d.Picture(picture("account-made.png"))
	if answer := d.imap(shown); !strings.HasPrefix(answer, "OK") {
		t.Errorf("the app password %q: %s", shown, answer)
	}
	d.at("/account")
	if d.Has("[data-test=secret]") {
		t.Error("the app password is shown twice")
	}
	d.look("account")
	d.at("/account/activity")
	d.look("account-activity")
	d.at("/account")
	d.Follow("[data-test=app-passwords] .danger")
	d.Follow("main form .danger, main form .primary")
	d.WaitText("[data-test=nothing]", "none")
	if answer := d.imap(shown); !strings.HasPrefix(answer, "NO") {
		t.Errorf("a removed one: %s", answer)
	}
}

// TestAccountForced: who must change the password is told so by IMAP and POP3, gets
// nowhere else, and is in again after the change.
func TestAccountForced(t *testing.T) {
	d := home(t)
	d.MustShell("Set-Mailbox", alice.Name, "-ResetPasswordOnNextLogon", "$true")
	if answer := d.imap(alice.Password); !strings.HasPrefix(answer, "NO [EXPIRED] ") || !strings.Contains(answer, "/account") {
		t.Errorf("IMAP: %s", answer)
	}
	c := server.DialTLS(t, d.POP3S, d.TLS())
	c.Want("+OK")
	c.Send("USER " + alice.Name)
	c.Want("+OK")
	c.Send("PASS " + alice.Password)
	c.Want("-ERR [AUTH] ", "/account")
	c.Conn.Close()

	d.enter(alice.Password)
	if !strings.HasSuffix(d.URL(), "/account/password") {
		t.Errorf("it leads to %s", d.URL())
	}
	d.look("account-forced")
	for _, path := range []string{"/account", "/account/activity", "/account/second-factor"} {
		d.at(path)
		if !strings.HasSuffix(d.URL(), "/account/password") {
			t.Errorf("%s leads to %s", path, d.URL())
		}
	}
	const better = "four words have little in common"
	d.Type("[data-test=OldPassword]", alice.Password)
	d.Type("[data-test=Password]", "alice2026")
	d.WaitText("[data-test=strength]", "weak")
	d.Picture(picture("account-weak.png"))
	d.judge("a weak password")
	d.Type("[data-test=Password]", better)
	d.WaitText("[data-test=strength]", "very good")
	d.Type("[data-test=Again]", better)
	d.Follow("[data-test=submit-password]")
	d.WaitText("[data-test=done]", "Password changed")
	d.at("/account")
	if answer := d.imap(better); !strings.HasPrefix(answer, "OK") {
		t.Errorf("the new password: %s", answer)
	}
	if answer := d.imap(alice.Password); !strings.HasPrefix(answer, "NO [AUTHENTICATIONFAILED]") {
		t.Errorf("the old password: %s", answer)
	}
}

// TestAccountSecondFactor sets one up as a person does: zbar reads the picture, oathtool
// is the program on the phone.
func TestAccountSecondFactor(t *testing.T) {
	d := home(t)
	d.enter(alice.Password)
	d.at("/account/second-factor")
	d.look("account-factor-off")
	d.Follow("[data-test=begin]")
	d.judge("setting the second factor up")
	image := filepath.Join(d.Folder, "qr.png")
	d.Picture(image)
	d.Picture(picture("account-factor-setup.png"))
	read, code := server.Run(t, time.Minute, d.Folder, nil, "", server.Program(t, "zbarimg", "zbar-tools"), "-q", "--raw", image)
	if _, uri, ok := strings.Cut(read, "otpauth://totp/"); ok { // it also complains of a bus that is not there
		read = uri
	} else if code != 0 || !ok {
		t.Fatalf("zbarimg read %q, exit code %d", read, code)
	}
	key := strings.TrimSpace(d.Text("[data-test=key] code"))
	if !strings.Contains(read, "secret="+key+"&") {
		t.Errorf("the picture says %q, the text %q", read, key)
	}
	last := ""
	now := func() string { // each code once
		t.Helper()
		for {
			out, code := server.Run(t, time.Minute, d.Folder, nil, "", server.Program(t, "oathtool", "oathtool"), "--totp", "-b", key)
			if out = strings.TrimSpace(out); code != 0 {
				t.Fatal(out)
			}
			if out != last {
				last = out
				return out
			}
			time.Sleep(time.Second)
		}
	}
	d.Type("[data-test=Code]", "000000")
	d.Follow("[data-test=submit-enable]")
	d.WaitText("[data-test=errors]", "wrong")
	d.look("account-factor-pending")
	d.Type("[data-test=Code]", now())
	d.Follow("[data-test=submit-enable]")
	codes := regexp.MustCompile(`([a-z2-9]{4}-){3}[a-z2-9]{4}`).FindAllString(d.Text("[data-test=recovery-codes]"), -1)
	if len(codes) != 10 {
		t.Fatalf("recovery codes: %v", codes)
	}
	d.judge("the recovery codes")
	d.Picture(picture("account-factor-codes.png"))
	d.at("/account/second-factor")
	d.look("account-factor-on")
	if state := d.MustShell("Get-SecondFactor", alice.Name, "|", "Format-List"); !strings.Contains(state, "Enabled") {
		t.Error(state)
	}

	// From now on a code is asked for; for administrators, too.
	d.MustShell("Add-Administrator", alice.Name, "-Role", "ViewOnlyAdmin")
	d.MustShell("Set-ConsoleSettings", "-RequireSecondFactor", "$true")
	d.at("/sign-in")
	d.Type("[data-test=name]", alice.Name)
	d.Type("[data-test=password]", alice.Password)
	d.Follow("[data-test=sign-in]")
	d.look("account-code")
	d.Type("[data-test=code]", "000000")
	d.Follow("[data-test=confirm]")
	d.WaitText("[data-test=problem]", "wrong")
	d.Type("[data-test=code]", codes[0])
	d.Follow("[data-test=confirm]")
	d.WaitText("[data-test=me]", alice.Name)
	d.at("/mailboxes")
	if !d.Has("[data-test=mailboxes]") {
		t.Errorf("the administrator is at %s", d.URL())
	}
	d.at("/account")
	d.Click("[data-test=me]")
	d.Follow("[data-test=sign-out]")
	d.enter(alice.Password)
	d.Type("[data-test=code]", codes[0])
	d.Follow("[data-test=confirm]")
	d.WaitText("[data-test=problem]", "used already")
	d.Type("[data-test=code]", now())
	d.Follow("[data-test=confirm]")
	d.WaitText("[data-test=me]", alice.Name)
	d.MustShell("Disable-SecondFactor", alice.Name)
	d.at("/account")
	if !strings.Contains(d.URL(), "/sign-in") {
		t.Errorf("a session outlives its second factor at %s", d.URL())
	}
}

// TestAccountApart tries every page of both parts of the console with the session of the
// other part, under every name that a cookie can have.
func TestAccountApart(t *testing.T) {
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
	link, _, _ := strings.Cut(s.MustShell("console"), "\n")
	base := link[:strings.Index(link, "/sign-in")]
	s.MustShell("Add-Administrator", alice.Name, "-Role", "OrgAdmin")
	config := s.TLS()
	config.MinVersion = tls.VersionTLS13
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	do := func(method, path, body, cookie string) *http.Response {
		t.Helper()
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", cookie)
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		return a
	}
	form := "name=alice%40example.org&password=" + strings.ReplaceAll(alice.Password, " ", "+")
	tokens := map[string]string{}
	for part, path := range map[string]string{"admin": "/sign-in", "account": "/account/sign-in"} {
		for _, c := range do("POST", path, form, "").Cookies() {
			tokens[part] = c.Value
		}
		if tokens[part] == "" {
			t.Fatalf("no session of %s", part)
		}
	}
	if a := do("GET", "/mailboxes", "", "__Host-session="+tokens["admin"]); a.StatusCode != 200 {
		t.Errorf("the administrator: %s", a.Status)
	}
	if a := do("GET", "/account/activity", "", "__Host-account="+tokens["account"]); a.StatusCode != 200 {
		t.Errorf("at the account: %s", a.Status)
	}
	tried := 0
	for part, pages := range map[string][]*console.Page{"account": console.Pages(), "admin": console.AccountPages(), "": append(console.Pages(), console.AccountPages()...)} {
		for _, p := range pages {
			for _, path := range []string{p.Path, strings.TrimSuffix(p.Path, "/") + "/x"} {
				for _, method := range []string{"GET", "POST"} {
					for _, name := range []string{"__Host-session", "__Host-account", "__Host-session-waiting", "__Host-account-waiting"} {
						right := part == "account" && strings.HasPrefix(p.Path, "/account") || part == "admin" && !strings.HasPrefix(p.Path, "/account")
						if right {
							continue
						}
						tried++
						a := do(method, path, "", name+"="+tokens[part])
						if a.StatusCode != http.StatusSeeOther || !strings.Contains(a.Header.Get("Location"), "/sign-in") {
							t.Errorf("%s %s with %s of %q: %s", method, path, name, part, a.Status)
						}
					}
				}
			}
		}
	}
	// The management API takes neither.
	for _, header := range []string{"__Host-session=" + tokens["account"], "__Host-account=" + tokens["account"]} {
		if a := do("POST", manage.APIPrefix+"/cmdlet/Get-Mailbox", "{}", header); a.StatusCode == 200 {
			t.Errorf("the API with %s: %s", header[:14], a.Status)
		}
	}
	if tried < 200 {
		t.Errorf("only %d were tried", tried)
	}
}
