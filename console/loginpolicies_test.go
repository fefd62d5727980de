package console_test

import (
	"net/url"
	"regexp"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/manage"
)

// TestLoginPolicies: made after it was said whom it would have refused, changed,
// removed; so are groups.
func TestLoginPolicies(t *testing.T) {
	s := open(t).as("root")
	s.call(t, "Set-PopSettings", `{"LoginType":1}`)
	s.get("/login-policies").want(t, 200, `data-test="nothing"`, "/login-policies/new", "Get-LoginPolicy")
	s.post("/login-policies/groups", "form", "group", "step", "apply", "f.Name", "the staff", "f.Members", "alice@example.org").want(t, 303)
	s.get("/login-policies/groups").want(t, 200, `data-test="groups"`, "the staff", "alice@example.org")
	new := []string{"form", "policy", "f.Name", `out<side>`, "f.Mailboxes", "", "f.Groups", "the staff", "f.LoginType", "SecureLogin", "f.Services", "POP3", "f.Hours", ""}
	s.get("/login-policies/new").want(t, 200, "Before anything is saved", "the staff")
	s.header.Set("X-Postern-Part", "preview")
	s.post("/login-policies/new", append(new, "step", "preview")...).want(t, 200, `data-test="impact"`, "2 sign-ins of the last 7 days would have been refused", "10.0.0.5",
		"New-LoginPolicy &#39;out&lt;side&gt;&#39; -Groups &#39;the staff&#39; -Services &#39;POP3&#39; -LoginType SecureLogin")
	s.header.Del("X-Postern-Part")
	s.post("/login-policies/new", append(new, "step", "review")...).want(t, 200, "2 sign-ins of the last 7 days would have been refused", "!2 sign-ins of 1 user", `value="apply"`)
	s.post("/login-policies/new", append(new, "step", "apply")...).want(t, 303)
	s.get("/login-policies").want(t, 200, `data-test="policies"`, "out&lt;side&gt;", "group the staff", "what SecureLogin permits", "everywhere", "!<side>")

	page := "/login-policies/policy?" + url.Values{"name": {"out<side>"}}.Encode()
	s.get(page).want(t, 200, `value="SecureLogin" checked`, `name="was.Groups"`, "Remove the policy")
	changed := []string{"form", "policy", "was.LoginType", `"SecureLogin"`, "f.LoginType", "None", "was.Hours", "[]", "f.Hours", "Mon-Fri 08:00-18:00"}
	s.post(page, append(changed, "step", "review")...).want(t, 200, "<del>SecureLogin</del>", "<ins>None</ins>")
	s.post(page, append(changed, "step", "apply")...).want(t, 303)
	s.post(page, append(changed, "step", "apply")...).want(t, 409, `data-test="conflict"`)
	s.post(page, "form", "policy", "step", "review", "was.Hours", `["Mon-Fri 08:00-18:00"]`, "f.Hours", "always").want(t, 400, `id="policy-Hours-error"`)
	s.get("/login-policies").want(t, 200, "Mon-Fri 08:00-18:00", "!what SecureLogin")

	group := "/login-policies/group?name=the+staff"
	s.get(group).want(t, 200, `value="alice@example.org"`)
	s.post(group, "form", "remove", "step", "apply").want(t, 409, "is for the group")
	s.post(page, "form", "remove", "step", "apply").want(t, 303)
	s.post(group, "form", "group", "step", "apply", "was.Members", `["alice@example.org"]`, "f.Members", "bob@example.org").want(t, 303)
	s.post(group, "form", "remove", "step", "apply").want(t, 303)
	for _, path := range []string{page, group, "/login-policies/policy?name=*", "/login-policies/nonsense"} {
		s.get(path).want(t, 404)
	}
	s.as("viewer").get("/login-policies/new").want(t, 200, "does not hold the role")
}

// TestWaysToSignIn: every way, whether it is open, and the rule that says so.
func TestWaysToSignIn(t *testing.T) {
	s := open(t).as("viewer")
	s.Run(t.Context(), manage.Caller{Name: "x", Roles: manage.Roles, Local: true}, "New-LoginPolicy", []byte(`{"Name":"night","Mailboxes":["alice@example.org"],"Hours":["22:00-23:00"]}`))
	s.get("/login-policies/ways-to-sign-in").want(t, 200, "Get-EffectiveLoginPolicy", `data-test="ways-POP3"`, "SecureLogin permits no authentication before TLS", "every mechanism is accepted", "hold only with -From")
	s.get("/login-policies/ways-to-sign-in?identity=alice%40example.org&address=10.0.0.1&protocol=IMAP4&at=2026-11-23T12:00").
		want(t, 200, `data-test="ways-IMAP4"`, `!data-test="ways-POP3"`, "login policy &#34;night&#34;: it permits no sign-in at this hour")
	s.get("/login-policies/ways-to-sign-in?identity=nobody").want(t, 404, `id="search-identity-error"`)
	s.get("/login-policies/ways-to-sign-in?address=nowhere").want(t, 400, `id="search-address-error"`)
	s.header.Set("Accept-Language", "de")
	s.get("/login-policies/ways-to-sign-in?identity=alice%40example.org&at=2026-11-23T12:00").want(t, 200, "Anmelderichtlinie &#34;night&#34;: sie erlaubt zu dieser Zeit keine Anmeldung", "das Passwort des Postfachs", "!permits")
}

// TestMailboxAppPasswords: shown once, listed, removed.
func TestMailboxAppPasswords(t *testing.T) {
	s := open(t).as("root")
	const page = "/mailboxes/mailbox/sign-in?name=alice%40example.org"
	s.get(page).want(t, 200, "There is none.", "Make the app password", "Get-AppPassword alice@example.org", "/login-policies/ways-to-sign-in?identity=alice%40example.org")
	done := s.post(page, "form", "app", "step", "review", "f.Name", "<phone>", "f.Services", "IMAP4", "f.From", "192.0.2.0/24", "f.ReadOnly", "true").want(t, 303)
	to := done.Header.Get("Location")
	first := s.get(to).want(t, 200, `data-test="secret"`, "&lt;phone&gt;", "IMAP4", "192.0.2.0/24", "reads only")
	s.get(to).want(t, 200, `!data-test="secret"`, `data-test="app-passwords"`)
	button := regexp.MustCompile(`data-test="(app-[0-9a-f]{16})"`).FindStringSubmatch(first.body)
	if button == nil {
		t.Fatal("nothing removes it")
	}
	s.post(page, "form", button[1], "step", "apply").want(t, 303)
	s.get(page).want(t, 200, "There is none.")
}

// TestSeveralDirectories: mailboxes say whose they are, and somebody whom a directory
// knows can be given one.
func TestSeveralDirectories(t *testing.T) {
	s := open(t).as("root")
	s.get("/mailboxes").want(t, 200, `!data-test="search-directory"`)
	s.get("/mailboxes/new").want(t, 200, "!Enable-Mailbox", `!data-test="form-enable"`)
	s.Server.Directories = []manage.DirectoryRow{{Name: "embedded"}, {Name: "company", External: true}}
	if err := s.Directory.Create(t.Context(), directory.Entry{Name: "carla@example.org", Account: 1, Directory: "company", ID: "7", Enabled: true}, ""); err != nil {
		t.Fatal(err)
	}
	s.get("/mailboxes").want(t, 200, `data-test="search-directory"`, "<td>company</td>", "<td>embedded</td>")
	s.get("/mailboxes?directory=company").want(t, 200, "carla@example.org", "!>bob@example.org<", "Get-Mailbox -Directory company")
	s.get("/mailboxes/new").want(t, 200, `data-test="form-enable"`)
	s.post("/mailboxes/new", "form", "enable", "step", "apply", "f.Identity", "nobody@example.org").want(t, 404, "there is no mailbox")
	s.get("/mailboxes/mailbox/sign-in?name=carla%40example.org").want(t, 200, `data-test="directory"`, "kept by the directory company", `!data-test="form-password"`)
}

// TestMailboxOpeners: who may open a mailbox beside its owner is listed, given and taken.
func TestMailboxOpeners(t *testing.T) {
	s := open(t).as("root")
	const page = "/mailboxes/mailbox/sign-in?name=alice%40example.org"
	s.get(page).want(t, 200, "Nobody but its owner.", `!data-test="openers"`)
	s.post(page, "form", "opener", "step", "apply", "f.User", "zoe@example.org").want(t, 404, "there is no mailbox")
	s.post(page, "form", "opener", "step", "review", "f.User", "bob@example.org").want(t, 200, "Add-MailboxPermission alice@example.org -User bob@example.org")
	s.post(page, "form", "opener", "step", "apply", "f.User", "bob@example.org").want(t, 303)
	given := s.get(page).want(t, 200, `data-test="openers"`, "bob@example.org", "this one")
	button := regexp.MustCompile(`data-test="(opener-[0-9a-f]{16})"`).FindStringSubmatch(given.body)
	if button == nil {
		t.Fatal("nothing takes it away")
	}
	s.post(page, "form", button[1], "step", "apply").want(t, 303)
	s.call(t, "Add-MailboxPermission", `{"User":"bob@example.org","AccessRights":"Impersonation"}`)
	s.get(page).want(t, 200, "every mailbox", `!data-test="opener-`)
}
