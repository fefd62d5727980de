package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/console"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// want fails unless the answer has the status and all parts; a part that begins
// with "!" must not be there.
func (a answer) want(t *testing.T, status int, parts ...string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s %s: %s, want %d", a.Request.Method, a.Request.URL.Path, a.Status, status)
	}
	for _, p := range parts {
		text, unwanted := strings.CutPrefix(p, "!")
		if unwanted == strings.Contains(a.body, text) {
			_, main, _ := strings.Cut(a.body, "<main")
			t.Errorf("%s %s: %q is there: %v\n%s", a.Request.Method, a.Request.URL, text, unwanted, main)
		}
	}
	return a
}

// paths are all pages and tabs.
func paths() []string {
	var list []string
	for _, p := range console.Pages() {
		list = append(list, p.Path)
		if p.Template == "settings" {
			for _, page := range settings.Pages {
				list = append(list, p.Path+"/"+strings.ReplaceAll(strings.ToLower(string(page)), " ", "-"))
			}
		}
	}
	return list
}

// TestEveryPage looks at each page in both languages, as somebody who may do all
// and as somebody who may only look: it is there, well formed, and its ids, labels
// and headings are in order.
func TestEveryPage(t *testing.T) {
	s := open(t)
	for _, who := range []string{"root", "viewer", "distant"} {
		for _, language := range []string{"en", "de"} {
			s.as(who).header.Set("Accept-Language", language)
			for _, path := range paths() {
				a := s.get(path)
				if a.StatusCode == http.StatusNotFound && strings.Count(path, "/") > 1 {
					continue // a service without settings on this tab
				}
				a.want(t, 200, `<html lang="`+language+`"`, `aria-current="page"`, "<h1>")
				checkHTML(t, path, a.body)
			}
		}
	}
}

// checkHTML looks for what a browser forgives and people with a screen reader
// suffer from.
func checkHTML(t *testing.T, path, body string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	var fors, named []string
	h1 := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s: <%s %s>: the policy forbids it", path, n.Data, a.Key)
			}
			switch a.Key {
			case "id":
				ids[a.Val]++
			case "for", "popovertarget":
				fors = append(fors, a.Val)
			case "aria-labelledby", "aria-describedby":
				fors = append(fors, strings.Fields(a.Val)...)
			}
		}
		switch n.Data {
		case "h1":
			h1++
		case "script":
			if n.FirstChild != nil {
				t.Errorf("%s: an inline script", path)
			}
		case "input", "select", "textarea":
			if attributes["type"] != "hidden" && attributes["aria-label"] == "" && attributes["aria-labelledby"] == "" && attributes["type"] != "radio" {
				named = append(named, attributes["id"])
			}
		case "form":
			if attributes["method"] != "post" && attributes["role"] != "search" {
				t.Errorf("%s: a form that is not posted", path)
			}
		}
	}
	if h1 != 1 {
		t.Errorf("%s: %d h1", path, h1)
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%s: the id %q stands %d times", path, id, n)
		}
	}
	for _, id := range fors {
		if ids[id] == 0 {
			t.Errorf("%s: something refers to the id %q, which is not there", path, id)
		}
	}
	for _, id := range named {
		if !slices.Contains(fors, id) {
			t.Errorf("%s: the input %q has no label", path, id)
		}
	}
}

// TestHeaders looks at the headers of every kind of answer.
func TestHeaders(t *testing.T) {
	s := open(t)
	answers := []answer{s.get("/sign-in"), s.get("/"), s.get("/static/console.css"), s.get("/static/nothing"), s.get("/nothing"), s.post("/sign-in", "name", "x"), s.post("/sign-out")}
	s.as("root")
	answers = append(answers, s.get("/"), s.get("/pop3"), s.get("/nothing"), s.post("/pop3", "form", "none"), s.do("DELETE", "/pop3", "", ""), s.get("/sign-in/link?token=x"))
	for _, a := range answers {
		where := a.Request.Method + " " + a.Request.URL.Path
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
			"Strict-Transport-Security": "max-age=31536000", "X-Frame-Options": "DENY",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q", where, name, got)
			}
		}
		for _, part := range []string{"default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "connect-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(a.Header.Get("Content-Security-Policy"), part) {
				t.Errorf("%s: the policy has no %s", where, part)
			}
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", where, got)
		}
		for _, c := range a.Cookies() {
			if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
				t.Errorf("%s: the cookie %v", where, c)
			}
		}
	}
	page := s.get("/").body
	at := strings.Index(page, "/static/console.css?v=")
	s.get(page[at:at+strings.IndexByte(page[at:], '"')]).want(t, 200, "--accent")
}

func TestSignIn(t *testing.T) {
	s := open(t)
	redirect := func(a answer, to string) {
		t.Helper()
		if a.StatusCode != 303 || a.Header.Get("Location") != to {
			t.Errorf("%s: %s %s, want %s", a.Request.URL, a.Status, a.Header.Get("Location"), to)
		}
	}
	redirect(s.get("/"), "/sign-in")
	redirect(s.get("/imap4/binding?x=1"), "/sign-in?next=%2Fimap4%2Fbinding%3Fx%3D1")
	redirect(s.post("/imap4", "form", "settings"), "/sign-in")
	s.get("/sign-in?next=/imap4").want(t, 200, `name="next" value="/imap4"`)
	s.post("/sign-in", "name", "unix:root", "password", "wrong", "next", "/").want(t, 401, `data-test="problem"`, `value="unix:root"`, "!wrong\"")
	s.post("/sign-in", "name", "x", "more", "y").want(t, 400)
	a := s.post("/sign-in", "name", " unix:root", "password", "root", "next", "/imap4")
	redirect(a, "/imap4")
	if c := a.Cookies(); len(c) != 1 || c[0].Name != "__Host-session" || c[0].Value != "root" || c[0].MaxAge != 0 {
		t.Errorf("cookies %v", c)
	}
	for _, evil := range []string{"//evil.example", "https://evil.example/", `/\evil.example`, "javascript:alert(1)", "/\t/evil.example", "evil"} {
		redirect(s.post("/sign-in", "name", "unix:root", "password", "root", "next", evil), "/")
	}

	s.get("/sign-in/link?token=once%22%3E<b>").want(t, 200, `value="once&#34;&gt;&lt;b&gt;"`)
	s.post("/sign-in/link", "token", "used").want(t, 401, "used already")
	redirect(s.post("/sign-in/link", "token", "once"), "/")

	s.as("stale")
	redirect(s.get("/pop3"), "/sign-in?next=%2Fpop3&why=ended")
	s.get("/sign-in?why=ended").want(t, 200, "Your session has ended")
	s.header.Set("X-Postern-Part", "refresh")
	s.get("/pop3").want(t, 401, "!<")
	s.header.Del("X-Postern-Part")

	s.as("root")
	a = s.post("/sign-out")
	redirect(a, "/sign-in?why=out")
	if c := a.Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("cookies %v", c)
	}
}

func TestPreferences(t *testing.T) {
	s := open(t).as("root")
	a := s.post("/preferences", "language", "de", "back", "/pop3?x=1")
	if c := a.Cookies(); a.Header.Get("Location") != "/pop3?x=1" || len(c) != 1 || c[0].Value != "de" || c[0].MaxAge < 1000 {
		t.Errorf("%v %v", a.Header, c)
	}
	for _, form := range [][]string{{"language", "xx"}, {"scheme", "<b>"}} {
		if a := s.post("/preferences", form...); len(a.Cookies()) != 0 || a.Header.Get("Location") != "/" {
			t.Errorf("%v: %v", form, a.Header)
		}
	}
	s.post("/preferences", "theme", "x").want(t, 400)
	s.header.Set("Cookie", "__Host-session=root; __Host-scheme=dark; __Host-language=de")
	s.get("/").want(t, 200, `<html lang="de" data-scheme="dark">`, "Übersicht")
	s.header.Set("Cookie", `__Host-session=root; __Host-scheme="><script>`)
	s.get("/").want(t, 200, `<html lang="en">`)
}

// TestForeignPosts sends forms that no page of ours has sent.
func TestForeignPosts(t *testing.T) {
	s := open(t).as("root")
	change := []string{"form", "settings", "step", "apply", "f.Banner", "Hacked", "was.Banner", `"The Postern POP3 service is ready."`}
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		s.header.Set(header[0], header[1])
		s.post("/pop3", change...).want(t, 403, "Another site")
		s.post("/sign-in", "name", "unix:root", "password", "root").want(t, 403)
		s.header.Del(header[0])
	}
	if len(s.Audit.Records()) != 0 {
		t.Error("something was changed")
	}
	kind := "application/x-www-form-urlencoded"
	for _, c := range []struct {
		kind, body string
		status     int
	}{
		{kind, "form=settings&step=apply&f.Banner=%zz", 400},
		{kind, "form=settings&form=service&step=apply", 400},
		{kind, "form=settings&step=destroy&f.Banner=x", 400},
		{kind, "form=settings&step=apply&f.Banner=x&f.Nonsense=y", 400},
		{kind, "form=settings&step=apply&f.Banner=x&f.Banner=y", 400},
		{kind, "form=settings&step=apply&f.Banner=x&was.Banner=%7B", 400},
		{kind, "form=settings&step=apply&Confirm=false", 400},
		{kind, "form=nothing&step=apply", 404},
		{kind, "", 404},
		{"text/plain", "form=settings", 400},
		{"application/json", "{}", 400},
		{"multipart/form-data; boundary=x", "--x--", 404},
		{"multipart/form-data", "--x--", 400},
		{"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"form\"\r\n\r\nsettings\r\n--x\r\nContent-Disposition: form-data; name=\"file.Banner\"; filename=\"x\"\r\n\r\nx\r\n--x--", 400},
		{kind, "form=settings&step=apply&f.Banner=" + strings.Repeat("x", 300_000), 413},
		{kind, strings.Repeat("f.Banner=x&", 600), 413},
	} {
		s.do("POST", "/pop3", c.kind, c.body).want(t, c.status, `role="alert"`)
	}
	if now := settings.Banner.Of(s.Server.Settings.Current(settings.POP3)); now != "The Postern POP3 service is ready." || len(s.Audit.Records()) != 0 {
		t.Errorf("changed: %s %v", now, s.Audit.Records())
	}
}

// TestChange goes the way of a change: typing, review, back, applied, told.
func TestChange(t *testing.T) {
	s := open(t).as("root")
	was := []string{"form", "settings", "was.LoginType", `"SecureLogin"`, "was.X509CertificateName", `"` + managetest.ServerName + `"`, "f.X509CertificateName", managetest.ServerName}
	with := func(step string, more ...string) []string { return slices.Concat(was, []string{"step", step}, more) }
	line := "Set-ImapSettings -LoginType PlainTextLogin"

	s.get("/imap4/authentication").want(t, 200, "Secure logon", `data-login-type="PlainTextAuthentication"`, "SCRAM-SHA-256", `data-test="certificate"`, "!"+line, "Get-ImapSettings")
	s.header.Set("X-Postern-Part", "preview")
	s.post("/imap4/authentication", with("preview", "f.LoginType", "PlainTextLogin")...).want(t, 200, line, "!<html", `!data-test="impact"`)
	s.post("/imap4/authentication", with("preview", "f.LoginType", "Nonsense")...).want(t, 200, "is PlainTextLogin (1)")
	s.header.Del("X-Postern-Part")
	s.post("/imap4/authentication", with("review", "f.LoginType", "SecureLogin")...).want(t, 200, "Nothing is different")
	s.post("/imap4/authentication", with("review", "f.LoginType", "PlainTextLogin")...).want(t, 200, line, "cross the network unencrypted", "<del>SecureLogin</del>", "<ins>PlainTextLogin</ins>", `value="apply"`)
	s.post("/imap4/authentication", with("edit", "f.LoginType", "PlainTextLogin")...).want(t, 200, `value="PlainTextLogin" checked`, line)
	if len(s.Audit.Records()) != 0 {
		t.Error("a review is in the audit")
	}
	done := s.post("/imap4/authentication", with("apply", "f.LoginType", "PlainTextLogin")...).want(t, 303)
	if to := done.Header.Get("Location"); !strings.HasPrefix(to, "/imap4/authentication?done=") {
		t.Fatal(to)
	}
	s.get(done.Header.Get("Location")).want(t, 200, `data-test="done"`, line, "<ins>PlainTextLogin</ins>", `value="PlainTextLogin" checked`)
	s.as("viewer").get(done.Header.Get("Location")).want(t, 200, `!data-test="done"`)
	if r := s.Audit.Records(); len(r) != 1 || r[0].Cmdlet != "Set-ImapSettings" || r[0].Who != "unix:root" {
		t.Errorf("audit: %v", r)
	}
	s.as("root").get("/audit").want(t, 200, "Set-ImapSettings", `<p class="second warned">`, "cross the network unencrypted")
	s.as("root").get("/").want(t, 200, `data-test="finding"`, "/imap4/authentication")

	// The way back counts what it would have refused.
	at := netip.MustParseAddrPort("192.0.2.7:1")
	s.Statistics.Observe(auth.Attempt{Service: settings.IMAP4, Mechanism: "PLAIN", Class: sasl.Password, User: "alice@example.org", Remote: at})
	s.Statistics.Identify(at, "<script>alert(1)</script>")
	s.post("/imap4/authentication", "form", "settings", "step", "review", "was.LoginType", `"PlainTextLogin"`, "f.LoginType", "SecureLogin").
		want(t, 200, `data-test="impact"`, "1 sign-in of the last 7 days would have been refused.", "&lt;script&gt;alert(1)", "!<script>alert", "!1 sign-in of 1 user")
	s.post("/imap4/authentication", "form", "settings", "step", "review", "was.ExtendedProtectionPolicy", `"Allow"`, "f.ExtendedProtectionPolicy", "Require").
		want(t, 200, `data-test="impact"`, "2 sign-ins of the last 7 days would have been refused.")
}

// TestFaults shows each error at its field with what was typed.
func TestFaults(t *testing.T) {
	s := open(t).as("root")
	s.post("/imap4/connection", "form", "settings", "step", "review",
		"was.MaxConnectionsPerUser", "64", "f.MaxConnectionsPerUser", `many"><script>`, "was.AuthenticatedConnectionTimeout", `"00:30:00"`, "f.AuthenticatedConnectionTimeout", "soon",
		"was.MaxCommandSize", "65536", "f.MaxCommandSize", "64KB").
		want(t, 400, `<a href="#settings-MaxConnectionsPerUser">`, `<a href="#settings-AuthenticatedConnectionTimeout">`, `!<a href="#settings-MaxCommandSize">`,
			`value="soon"`, "many&#34;&gt;&lt;script&gt;", "!<script>", `value="64KB"`, `id="settings-MaxConnectionsPerUser-error"`, `aria-invalid="true"`)
	s.post("/pop3/binding", "form", "settings", "step", "review", "was.SSLBindings", `["[::]:995","0.0.0.0:995"]`, "f.SSLBindings", "", "f.SSLBindings", "0.0.0.0:993").
		want(t, 400, "in SSLBindings of IMAP4", `value="0.0.0.0:993"`)
	s.post("/pop3/binding", "form", "settings", "step", "review", "was.SSLBindings", `["[::]:995","0.0.0.0:995"]`, "f.SSLBindings", "127.0.0.1:995", "f.SSLBindings", "").
		want(t, 200, "Set-PopSettings -SSLBindings &#39;127.0.0.1:995&#39;<", `name="f.SSLBindings" value="127.0.0.1:995"`)
	s.header.Set("Accept-Language", "de")
	s.post("/imap4/connection", "form", "settings", "step", "review", "was.MaxConnectionsPerUser", "64", "f.MaxConnectionsPerUser", "0").
		want(t, 400, "MaxConnectionsPerUser ist eine ganze Zahl von 1 bis")
}

// TestMoved tells where the console is after its bindings were changed.
func TestMoved(t *testing.T) {
	s := open(t).as("root")
	done := s.post("/console/binding", "form", "settings", "step", "apply", "was.SSLBindings", `["127.0.0.1:8443"]`, "f.SSLBindings", "127.0.0.1:9443").want(t, 303)
	s.get(done.Header.Get("Location")).want(t, 200, "The console is at https://localhost:9443 now.")
}

// TestTwoAtOnce has a second administrator decide about the first one's change.
func TestTwoAtOnce(t *testing.T) {
	s := open(t).as("root")
	change := func(was, now string) []string {
		return []string{"form", "settings", "was.Banner", was, "f.Banner", now}
	}
	first := `"The Postern POP3 service is ready."`
	s.post("/pop3", append(change(first, "First"), "step", "apply")...).want(t, 303)
	for _, step := range []string{"review", "apply"} {
		s.post("/pop3", append(change(first, "Second"), "step", step)...).
			want(t, 409, `data-test="conflict"`, "The Postern POP3 service is ready.", "<strong>First</strong>", "Second", `name="was.Banner" value="&#34;First&#34;"`, `data-test="discard"`, "unix:root")
	}
	if now := settings.Banner.Of(s.Server.Settings.Current(settings.POP3)); now != "First" {
		t.Error(now)
	}
	s.post("/pop3", append(change(`"First"`, "Second"), "step", "apply")...).want(t, 303)
	if now := settings.Banner.Of(s.Server.Settings.Current(settings.POP3)); now != "Second" {
		t.Error(now)
	}
}

// TestListMoves has somebody else shorten a list meanwhile: what is removed is what was
// shown, not what has moved up into its place.
func TestListMoves(t *testing.T) {
	s := open(t).as("root")
	add := func(cmdlet, parameter, name string) {
		s.call(t, cmdlet, fmt.Sprintf(`{%q:%q,"Role":"RecipientAdmin"}`, parameter, name))
	}
	for _, name := range []string{"alice@example.org", "bob@example.org"} {
		add("Add-Administrator", "Identity", name)
		s.call(t, "Add-LocalGroupMember", fmt.Sprintf(`{"Member":%q}`, name))
	}
	for _, name := range []string{"a", "b"} {
		add("New-ApiToken", "Name", name)
	}
	for path, gone := range map[string][]string{
		"/administrators":                      {"Remove-Administrator", `{"Identity":"alice@example.org","Confirm":false}`, "alice@example.org"},
		"/administrators/local-administrators": {"Remove-LocalGroupMember", `{"Member":"alice@example.org"}`, "alice@example.org"},
		"/administrators/api-tokens":           {"Remove-ApiToken", `{"Name":"a"}`, "a"},
	} {
		var before []string
		for _, m := range regexp.MustCompile(`name="form" value="(remove-[^"]+)"`).FindAllStringSubmatch(s.get(path).want(t, 200, gone[2]).body, -1) {
			before = append(before, m[1])
		}
		s.call(t, gone[0], gone[1])
		after := s.get(path).body
		missing := 0
		for _, id := range before {
			if !strings.Contains(after, `value="`+id+`"`) {
				missing++
				s.post(path, "form", id, "step", "apply").want(t, 404)
			}
		}
		if missing != 1 || len(before) < 2 || !strings.Contains(after, before[len(before)-1]) {
			t.Errorf("%s: %d of %v are gone", path, missing, before)
		}
	}
}

// call runs a cmdlet as somebody else does.
func (s *site) call(t *testing.T, cmdlet, arguments string) {
	t.Helper()
	caller := manage.Caller{Name: "unix:root", Way: manage.WaySession, Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	if _, err := s.Run(context.Background(), caller, cmdlet, []byte(arguments)); err != nil {
		t.Fatal(cmdlet, err)
	}
}

// TestRights has people try who may not.
func TestRights(t *testing.T) {
	s := open(t)
	for who, missing := range map[string]string{"viewer": "needs the role Server Administrator", "distant": "needs a local administrator"} {
		s.as(who).get("/pop3").want(t, 200, missing, `data-test="refusal"`, "disabled")
		s.post("/pop3", "form", "settings", "step", "review", "f.Banner", "x", "was.Banner", `"y"`).want(t, 403, missing)
		s.post("/pop3", "form", "settings", "step", "apply", "f.Banner", "x", "was.Banner", `"The Postern POP3 service is ready."`).want(t, 403, missing)
		s.post("/", "form", "stop-pop3", "step", "apply").want(t, 403, missing)
	}
	s.as("nobody").get("/").want(t, 403, `data-test="fault"`, "View-Only Administrator")
	for _, r := range s.Audit.Records() {
		if r.Outcome != "NoPermission" {
			t.Errorf("%v", r)
		}
	}
}

// TestServices stops and starts one.
func TestServices(t *testing.T) {
	s := open(t).as("root")
	s.get("/").want(t, 200, `data-test="stop-pop3"`, `data-test="restart-imap4"`, `!data-test="start-pop3"`)
	s.post("/", "form", "stop-pop3", "step", "review").want(t, 200, "Stop-Service POP3", "Sessions that are open now end", "<ins>Stopped</ins>")
	s.get(s.post("/", "form", "stop-pop3", "step", "apply").want(t, 303).Header.Get("Location")).want(t, 200, "Service stopped", `data-test="start-pop3"`, "Stop-Service POP3")
	s.post("/pop3", "form", "start-pop3", "step", "review").want(t, 303) // at once: nothing is lost by it
	s.post("/", "form", "start-pop3", "step", "review").want(t, 404)
	s.post("/pop3", "form", "service", "step", "apply", "was.StartupType", `"Automatic"`, "f.StartupType", "Disabled").want(t, 303)
	s.post("/", "form", "restart-pop3", "step", "review").want(t, 422, "Disabled", "Set-Service POP3 -StartupType Manual")
}

// TestEverySetting sets each setting to another value by its form.
func TestEverySetting(t *testing.T) {
	s := open(t).as("root")
	for _, service := range settings.Services {
		for _, r := range settings.Of(service, "") {
			now := r.Show(s.Server.Settings.Current(service))
			var other []string
			switch v := now.(type) {
			case bool:
				other = []string{fmt.Sprint(!v)}
			case int:
				other = []string{fmt.Sprint(r.Schema(service)["maximum"])}
				if v == settings.Unlimited {
					other = []string{"4000"}
				}
			case []string:
				if len(r.Choices) > 0 {
					other = []string{r.Choices[0].Name}
					break
				}
				switch r.Type {
				case settings.ClientCertificateRevocationList.Type:
					other = []string{"/etc/postern/revoked.crl"}
				case settings.ProxyProtocolNetworks.Type:
					other = []string{"192.0.2.0/24"}
				case settings.DisabledCapabilities.Type:
					other = settings.Capabilities(service)[:1]
				case settings.SubmissionUsers.Type:
					other = []string{"submission@example.org"}
				case settings.MailboxReferrals.Type:
					other = []string{"Archive: imap://archive.example.org/Archive"}
				case settings.ClientCapabilityRules.Type:
					other = []string{"192.0.2.0/24: " + settings.Capabilities(service)[0]}
				default:
					other = []string{"127.0.0.1:" + fmt.Sprint(20000+len(r.Name)+100*len(service))}
				}
			case string:
				other = []string{otherText(r, v)}
			}
			was, err := json.Marshal(now)
			if err != nil {
				t.Fatal(err)
			}
			form := url.Values{"form": {strings.ToLower(r.Noun)}, "step": {"review"}, "was." + r.Name: {string(was)}, "f." + r.Name: other}
			path := "/" + strings.ToLower(string(service)) + "/" + strings.ReplaceAll(strings.ToLower(string(r.Page)), " ", "-")
			review := s.do("POST", path, "application/x-www-form-urlencoded", form.Encode())
			if r.Name == settings.X509CertificateName.Name || r.Name == settings.CalendarItemRetrievalOption.Name {
				review.want(t, 400, `aria-invalid="true"`) // nothing covers the name; Custom needs more
				continue
			}
			review.want(t, 200, "-"+r.Name)
			form.Set("step", "apply")
			s.do("POST", path, "application/x-www-form-urlencoded", form.Encode()).want(t, 303)
			if after := fmt.Sprint(r.Show(s.Server.Settings.Current(service))); after == fmt.Sprint(now) {
				t.Errorf("%s %s is still %s", service, r.Name, after)
			}
		}
	}
}

func otherText(r *settings.Row, now string) string {
	for _, c := range slices.Backward(r.Choices) {
		if c.Name != now {
			return c.Name
		}
	}
	switch {
	case r.Type == "time span":
		low, high, _ := strings.Cut(r.Limits(r.Services[0]), " to ")
		if low == now {
			return high
		}
		return low
	case r.Type == "address":
		return "postmaster@example.org"
	case r.Type == "URL":
		return "https://owa.example.org/"
	case r.Type == "file":
		return "/etc/postern/clients.pem"
	case strings.Contains(r.Name, "Location"):
		return "/var/log/elsewhere"
	case strings.Contains(fmt.Sprint(r.Limits(settings.IMAP4)), "MB"), strings.Contains(fmt.Sprint(r.Limits(settings.IMAP4)), "GB"):
		return "3MB"
	}
	return "other.example.org"
}

// TestPanic has a part of the server fail: the connection ends, and the log knows
// why.
func TestPanic(t *testing.T) {
	var log strings.Builder
	fake, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	handler := console.New(console.Parts{Manage: fake.Server, Log: slog.New(slog.NewTextHandler(&log, nil))})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || !strings.Contains(log.String(), "path=/pop3") || !strings.Contains(log.String(), "console.(*area).caller") {
			t.Errorf("%v\n%s", p, &log)
		}
	}()
	request := httptest.NewRequest("GET", "/pop3", nil)
	request.Header.Set("Cookie", "__Host-session=root") // whom there is nobody to ask about
	handler.ServeHTTP(httptest.NewRecorder(), request)
}

// TestFollow: who may see a log may follow it, line by line, until they go.
func TestFollow(t *testing.T) {
	s := open(t)
	s.header.Set("X-Postern-Part", "follow")
	for _, path := range []string{"/protocol-log", "/audit"} {
		s.as("nobody").get(path).want(t, 403, `role="alert"`)
	}
	s.as("nothing").get("/audit").want(t, 401)
	s.as("root").get("/audit?since=2026-11-23T99:99").want(t, 400, "StartDate")
	request, err := http.NewRequest(http.MethodGet, s.server.URL+"/audit", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = s.as("viewer").header
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 1)
	if _, err := response.Body.Read(first); err != nil || first[0] != '\n' || response.StatusCode != 200 {
		t.Errorf("%s, %q, %v", response.Status, first, err)
	}
}

// TestUpload: a file and its text are the same to a cmdlet, and neither is on a page.
func TestUpload(t *testing.T) {
	s := open(t).as("root")
	body := "--x\r\nContent-Disposition: form-data; name=\"form\"\r\n\r\nimport\r\n--x\r\nContent-Disposition: form-data; name=\"step\"\r\n\r\napply\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"file.Path\"; filename=\"C:\\\\keys\\\\<b>.pem\"\r\n\r\nsecret nonsense\r\n--x--\r\n"
	s.do("POST", "/certificates/import", "multipart/form-data; boundary=x", body).want(t, 400, "&lt;b&gt;.pem", `data-test="errors"`, "!secret nonsense")
	s.post("/certificates/import", "form", "import", "step", "apply", "f.Path", "secret nonsense").want(t, 400, `data-test="errors"`, "!secret nonsense")
}

// TestManyMailboxes: a long list comes in parts, in which one may search.
func TestManyMailboxes(t *testing.T) {
	s := open(t).as("root")
	for i := range 120 {
		name := fmt.Sprintf("user%03d@example.org", i)
		if err := s.Directory.Create(t.Context(), directory.Entry{Name: name, Account: 1, Enabled: true}, ""); err != nil {
			t.Fatal(err)
		}
	}
	first := s.get("/mailboxes").want(t, 200, "alice@example.org", "user047@example.org", "!user048@example.org", `data-test="next"`, `!data-test="first"`)
	next := regexp.MustCompile(`href="([^"]*)" data-test="next"`).FindStringSubmatch(first.body)
	s.get(html.UnescapeString(next[1])).want(t, 200, "!>user047@example.org<", ">user048@example.org<", `data-test="next"`, `data-test="first"`)
	s.get("/mailboxes?q=user11").want(t, 200, "user110@example.org", "!user100@example.org", `!data-test="next"`)
	s.get("/mailboxes?q=%3Cscript%3E").want(t, 200, "&lt;script&gt;", "!<script>", `data-test="nothing"`)
}

// TestShellInGerman: a line of the shell within a text stays one.
func TestShellInGerman(t *testing.T) {
	s := open(t).as("viewer")
	s.header.Set("Accept-Language", "de")
	s.get("/mailboxes/new").want(t, 200, "braucht die Rolle Empfängeradministrator", "-Role &#39;Recipient Administrator&#39;")
}

// TestSessionsOfOthers: who opened a mailbox for another, and through which proxy, stands in
// the list.
func TestSessionsOfOthers(t *testing.T) {
	s := open(t).as("root")
	s.Fake.Sessions.Open = []manage.LiveSession{
		{ID: "IMAP4-1", Service: settings.IMAP4, User: "alice@example.org", ActedBy: "bob@example.org", Mechanism: "PLAIN", State: "Selected", Connected: managetest.Now,
			Address: netip.MustParseAddrPort("198.51.100.7:4711"), Proxy: netip.MustParseAddrPort("192.0.2.10:50000"), TLS: "TLS 1.3"},
		{ID: "IMAP4-2", Service: settings.IMAP4, User: "bob@example.org", Mechanism: "PLAIN", Connected: managetest.Now, Address: netip.MustParseAddrPort("198.51.100.8:4711"), TLS: "TLS 1.3"},
	}
	s.get("/sessions").want(t, 200, "opened by bob@example.org", "through 192.0.2.10:50000")
}
