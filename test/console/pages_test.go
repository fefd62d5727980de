package console

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/browser"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var (
	alice = server.Account{Name: "alice@example.org", Password: "correct horse battery"}
	bob   = server.Account{Name: "bob@example.org", Password: "another long password"}
)

// desk is an administrator in front of a browser.
type desk struct {
	*server.Server
	*browser.Page
	t    *testing.T
	base string
}

// sit starts a server with a few people on it, and signs the administrator in.
func sit(t *testing.T) *desk {
	t.Helper()
	page := browser.Open(t)
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
	d := &desk{Server: s, Page: page, t: t}
	link, _, _ := strings.Cut(s.MustShell("console"), "\n")
	d.base = link[:strings.Index(link, "/sign-in")]
	d.Language("en")
	d.Go(link)
	d.Follow("main form .button")
	return d
}

// at opens a page.
func (d *desk) at(path string) {
	d.t.Helper()
	d.Go(d.base + path)
	d.sound()
}

// sound fails when scripts or the content security policy have complained.
func (d *desk) sound() {
	d.t.Helper()
	for _, fault := range d.Faults() {
		if !strings.Contains(fault, "Failed to load resource") { // what a server refuses, the page shows
			d.t.Errorf("%s: %s", d.URL(), fault)
		}
	}
}

// picture is where the picture of that name goes.
func picture(name string) string { return filepath.Join(server.Root(), "docs", "screens", "tmp", name) }

// look takes pictures of the page in both languages and schemes, on a desktop and on
// a telephone, into docs/screens/tmp, and has axe-core judge it.
func (d *desk) look(name string) {
	d.t.Helper()
	dir := filepath.Join(server.Root(), "docs", "screens", "tmp")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	url := d.URL()
	for _, as := range []struct {
		language, scheme string
		width            int64
	}{{"en", "light", 1280}, {"de", "dark", 1280}, {"de", "light", 390}, {"en", "dark", 390}} {
		d.Language(as.language)
		d.Scheme(as.scheme)
		d.Size(as.width, 900)
		d.Go(url)
		d.sound()
		if wide := d.Script(`String(document.documentElement.scrollWidth)`); wide > fmt.Sprint(as.width) && len(wide) >= len(fmt.Sprint(as.width)) {
			d.t.Errorf("%s is %s pixels wide on a screen of %d", name, wide, as.width)
		}
		d.judge(name + " in " + as.language + ", " + as.scheme)
		d.Picture(filepath.Join(dir, fmt.Sprintf("%s-%s-%s-%d.png", name, as.language, as.scheme, as.width)))
	}
	d.Language("en")
	d.Scheme("light")
	d.Size(1280, 900)
	d.Go(url)
}

// judge fails when axe-core finds something.
func (d *desk) judge(name string) {
	d.t.Helper()
	for _, v := range d.Axe() {
		d.t.Errorf("%s: %s", name, v)
	}
}

// TestMailboxes: made with a password that is shown once, changed, and deleted.
func TestMailboxes(t *testing.T) {
	d := sit(t)
	d.MustShell("Set-Mailbox", "bob@example.org", "-ProhibitSendReceiveQuota", "10KB", "-DisplayName", "Bob <b>Hostile</b> \u202egnp.exe")
	d.MustDeliver(t, "Subject: x\r\n\r\n"+strings.Repeat("filling the quota up\r\n", 380), bob.Name)
	d.at("/mailboxes")
	if text := d.Text("[data-test=mailboxes]"); !strings.Contains(text, "[U+202E]") || !strings.Contains(text, "<b>Hostile</b>") {
		t.Errorf("the list says %q", text)
	}
	d.look("mailboxes")
	d.Type("[data-test=search-q]", "nobody-here")
	d.Follow("[data-test=search-go]")
	d.WaitText("[data-test=nothing]", "No mailbox")
	d.at("/mailboxes/new")
	d.look("mailbox-new")
	d.Type("[data-test=Name]", "bob@example.org")
	d.Follow("[data-test=submit-new]")
	d.WaitText("[data-test=errors]", "exists")
	d.look("mailbox-new-error")
	d.at("/mailboxes/new")
	d.Type("[data-test=Name]", "carol@example.org")
	d.Type("[data-test=DisplayName]", "Carol Example")
	d.Type("[data-test=ProhibitSendReceiveQuota]", "2GB")
	d.WaitText("[data-test=shell-new]", "New-Mailbox carol@example.org -Password -DisplayName 'Carol Example' -ProhibitSendReceiveQuota 2GB")
	d.Follow("[data-test=submit-new]")
	password := d.Text("[data-test=secret] code")
	if len(password) != 29 {
		t.Fatalf("the password is %q", password)
	}
	d.judge("after New-Mailbox")
	d.Picture(picture("mailbox-made.png"))
	d.Go(d.URL())
	if d.Has("[data-test=secret]") {
		t.Error("the password is shown twice")
	}
	session := d.Login(t, server.Account{Name: "carol@example.org", Password: password})
	defer session.Conn.Close()
	d.look("mailbox")
	d.Type("[data-test=ProhibitSendReceiveQuota]", "3GB")
	d.Follow("[data-test=submit-mailbox]")
	d.WaitText("[data-test=changes]", "3 GB")
	d.judge("review")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "2 GB")
	d.at("/mailboxes/mailbox/activity?name=carol%40example.org")
	d.WaitText("[data-test=sessions]", "carol")
	d.look("mailbox-activity")
	d.at("/mailboxes/mailbox/sign-in?name=carol%40example.org")
	d.look("mailbox-sign-in")
	d.Click("label.switch:has([data-test=PopEnabled])")
	d.Follow("[data-test=submit-protocols]")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "PopEnabled")
	d.at("/mailboxes/mailbox?name=carol%40example.org")
	d.Follow("[data-test=remove]")
	d.WaitText("main", "cannot be undone")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "carol@example.org")
	if text := d.Text("[data-test=mailboxes]"); strings.Contains(text, "carol") {
		t.Errorf("carol is still there: %q", text)
	}
}

// TestFolders: rights on folders are given, changed and taken away.
func TestFolders(t *testing.T) {
	d := sit(t)
	d.MustShell("New-LoginGroup", "team", "-Members", bob.Name)
	const page = "/mailboxes/mailbox/folders?name=alice%40example.org"
	d.at(page)
	d.look("mailbox-folders-none")
	d.Type("[data-test=Identity]", "INBOX")
	d.Type("[data-test=User]", "bob@example.org")
	d.Select("[data-test=AccessRights]", "Editor")
	d.WaitText("[data-test=shell-folder]", `Add-MailboxFolderPermission`)
	d.Follow("[data-test=submit-folder]")
	d.WaitText("[data-test=changes]", "Editor")
	d.judge("rights before they are given")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=folders]", "lrswipte")
	d.MustShell("Add-MailboxFolderPermission", `alice@example.org:\Drafts`, "-User", "group:team", "-AccessRights", "lrx", "-Deny", "$true")
	d.MustShell("Add-MailboxFolderPermission", `alice@example.org:\Drafts`, "-User", "Anyone", "-AccessRights", "Contributor")
	d.at(page)
	d.look("mailbox-folders")
	d.Follow("[data-test=folders] tbody tr:last-child td a")
	d.WaitText("[data-test=about]", "bob@example.org")
	d.look("mailbox-folder")
	d.Select("[data-test=AccessRights]", "Reviewer")
	d.Follow("[data-test=submit-folder]")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=folders]", "lrs")
	d.Follow("[data-test=folders] [data-test^=folder-]")
	d.WaitText("main", "from the next command on")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Right taken away")
}

// TestDeleted: what was deleted is listed, with who did it, restored, and removed; what a
// sender and a client wrote stays text.
func TestDeleted(t *testing.T) {
	d := sit(t)
	c := d.Login(t, alice)
	defer c.Conn.Close()
	c.MustIMAP(`ID ("name" "Mutt <b>x</b>" "version" "2.2")`)
	c.Append("INBOX", "", "From: Eve <eve@example.org>\r\nSubject: <b>Minutes</b> of the meeting\r\n\r\nText\r\n")
	c.Append("INBOX", "", "From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nSubject: "+strings.Repeat("A very long subject ", 12)+"\r\n\r\nText\r\n")
	c.Append("INBOX", "", "Subject: =?utf-8?q?=E2=80=AEgnp.exe?=\r\n\r\nText\r\n")
	const page = "/mailboxes/mailbox/deleted?name=alice%40example.org"
	d.at(page)
	d.WaitText("[data-test=nothing]", "nothing that could be brought back")
	d.look("mailbox-deleted-none")
	c.MustIMAP("SELECT INBOX")
	c.MustIMAP(`STORE 1:* +FLAGS.SILENT (\Deleted)`)
	c.MustIMAP("EXPUNGE")
	d.at(page)
	if text := d.Text("[data-test=deleted]"); !strings.Contains(text, "<b>Minutes</b>") || !strings.Contains(text, "Jörg") || !strings.Contains(text, "LOGIN command") || strings.Contains(text, "\u202e") {
		t.Errorf("the list says %q", text)
	}
	d.look("mailbox-deleted")
	d.Type("[data-test=search-subject]", "minutes")
	d.Follow("[data-test=search-go]")
	if text := d.Text("[data-test=deleted]"); strings.Contains(text, "Jörg") {
		t.Errorf("the list says %q", text)
	}
	d.Follow("[data-test=deleted] [data-test^=restore-]")
	d.WaitText("[data-test=changes]", "restored")
	d.judge("a message before it is restored")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Message restored")
	d.judge("a message that was restored")
	if got := strings.Join(c.MustIMAP("STATUS INBOX (MESSAGES)"), ""); !strings.Contains(got, "MESSAGES 1)") {
		t.Error(got)
	}
	d.at(page)
	d.Follow("[data-test=deleted] [data-test^=purge-]")
	d.WaitText("main", "cannot be undone")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Message removed")
	d.at("/console/mailbox-database")
	d.WaitText("main", "DeletedItemRetention")
	d.look("console-mailbox-database")
}

// TestLoginPolicies: whom one would have refused is told while it is typed; it is made,
// holds, and is removed; groups beside it.
func TestLoginPolicies(t *testing.T) {
	d := sit(t)
	session := d.Login(t, alice)
	defer session.Conn.Close()
	d.at("/login-policies")
	d.look("login-policies-none")
	d.at("/login-policies/groups")
	d.Type("#group-Name", "sales people")
	d.Type("#group-Members", "alice@example.org")
	d.Follow("[data-test=submit-group]")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=groups]", "sales people")
	d.look("login-policies-groups")
	d.at("/login-policies/new")
	d.look("login-policy-new")
	d.Type("[data-test=Name]", "outside")
	d.Click("label.tick:has([data-test='Groups-sales people'])")
	d.Type("#policy-Hours", "Mon-Fri 07:00-19:00")
	d.Click("label.switch:has([data-test=AppPasswordsOnly])")
	d.WaitText("[data-test=shell-policy]", "New-LoginPolicy outside -Groups 'sales people' -Hours 'Mon-Fri 07:00-19:00' -AppPasswordsOnly $true")
	d.WaitText("[data-test=impact]", "1 sign-in of the last 7 days would have been refused")
	d.judge("a policy that is typed")
	d.Picture(picture("login-policy-typed.png"))
	d.Follow("[data-test=submit-policy]")
	d.WaitText("[data-test=impact]", "alice@example.org")
	d.judge("a policy before it is saved")
	d.Picture(picture("login-policy-review.png"))
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=policies]", "app passwords, tokens, tickets and certificates")
	d.MustShell("New-LoginPolicy", "guests", "-ExceptFrom", "10.0.0.0/8,192.0.2.0/24", "-AppPasswordsOnly", "$true", "-AuthMechanisms", "PLAIN,OAUTHBEARER")
	d.at("/login-policies")
	d.look("login-policies")
	d.Follow("[data-test=policies] tbody tr:last-child a")
	d.look("login-policy")
	d.Follow("[data-test=remove]")
	d.WaitText("main", "permitted at once")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Login policy removed")
	d.at("/login-policies/ways-to-sign-in?identity=alice%40example.org&address=10.1.2.3&protocol=IMAP4")
	d.WaitText("[data-test=ways-IMAP4]", "every mechanism is accepted")
	d.look("ways-to-sign-in")
	d.at("/login-policies/group?name=sales+people")
	d.look("login-group")
	d.at("/mailboxes/mailbox/sign-in?name=bob%40example.org")
	d.Type("#app-Name", "Phone of \u202ebob")
	d.Click("label.tick:has(#app-Services-1)")
	d.Follow("[data-test=submit-app]")
	secret := d.Text("[data-test=secret] code")
	d.Picture(picture("app-password-made.png"))
	phone := d.Login(t, server.Account{Name: bob.Name, Password: secret})
	defer phone.Conn.Close()
	d.at("/mailboxes/mailbox/sign-in?name=bob%40example.org")
	d.WaitText("[data-test=app-passwords]", "Phone of")
	d.look("mailbox-app-passwords")
	d.Follow("[data-test^=app-]:not([data-test=app-passwords])")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "App password removed")
}

// TestSessions: shown as they are, renewed without losing what is focused, ended.
func TestSessions(t *testing.T) {
	d := sit(t)
	d.at("/sessions")
	d.look("sessions-none")
	a, b := d.Login(t, alice), d.Login(t, bob)
	defer a.Conn.Close()
	defer b.Conn.Close()
	a.MustIMAP(`ID ("name" "Mail <img src=x>" "version" "1")`)
	a.MustIMAP("SELECT INBOX")
	d.at("/sessions")
	d.WaitText("[data-test=sessions]", "<img")
	d.look("sessions")
	id := d.Script(`[...document.querySelectorAll("tr[data-test]")].find(r => r.innerText.includes("alice")).dataset.test.slice("session-".length)`)
	d.Script(`document.querySelector("[id='button-end-` + id + `']").focus(); ""`)
	c := d.Login(t, bob)
	defer c.Conn.Close()
	d.Wait(`document.querySelectorAll("[data-test=sessions] tbody tr").length >= 3`)
	if focused := d.Script(`document.activeElement.id`); focused != "button-end-"+id {
		t.Errorf("the focus went to %q", focused)
	}
	d.Click("[data-test=pause]")
	d.Script(`document.querySelector("[id='button-end-` + id + `']").click(); ""`)
	d.WaitText("main", "broken off")
	d.judge("ending a session")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Session ended")
	if text, ok := a.ReadLine(); ok == nil && !strings.HasPrefix(text, "* BYE") {
		t.Errorf("the client was told %q", text)
	}
}

// TestCertificates: made, asked for, given to services, taken away.
func TestCertificates(t *testing.T) {
	d := sit(t)
	d.at("/certificates")
	d.look("certificates")
	d.at("/certificates/new")
	d.look("certificates-new")
	d.Type("#request-DomainName", "mail.example.org")
	d.Type("#request-FriendlyName", "Hostile \u202e<i>name</i>")
	d.Follow("[data-test=submit-request]")
	if csr := d.Text("[data-test=csr]"); !strings.HasPrefix(csr, "-----BEGIN CERTIFICATE REQUEST") {
		t.Errorf("the request is %q", csr)
	}
	d.look("certificate-request")
	d.at("/certificates/new")
	d.Type("#self-signed-DomainName", "localhost")
	d.Follow("[data-test=submit-self-signed]")
	d.WaitText("[data-test=facts]", "self-signed")
	d.look("certificate")
	d.Click("[data-test=Services-Imap]")
	d.Follow("[data-test=submit-enable]")
	d.WaitText("[data-test=changes]", "Certificate")
	d.judge("giving a certificate to services")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=facts]", "IMAP4")
	d.at("/certificates/import")
	d.look("certificates-import")
	d.Type("[data-test=Path-text]", "nonsense")
	d.Follow("[data-test=submit-import]")
	d.Wait(`document.querySelector("[data-test=errors]") !== null`)
	d.judge("a wrong import")
	d.at("/certificates/acme")
	d.look("certificates-acme")
	d.Type("#acme-DomainName", "localhost")
	d.Follow("[data-test=submit-acme]")
	d.WaitText("[data-test=errors]", "AcmeTermsAgreed")
	d.at("/certificates")
	d.Follow("[data-test=certificates] tbody tr:last-child a")
	d.Follow("[data-test=remove]")
	d.WaitText("main", "cannot be undone")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Certificate deleted")
}

// TestAdministrators: roles, local administrators and tokens come and go.
func TestAdministrators(t *testing.T) {
	d := sit(t)
	d.at("/administrators")
	d.look("administrators")
	d.Type("[data-test=Identity]", "alice@example.org")
	d.Click("[data-test='Role-Server Administrator']")
	d.Follow("[data-test=submit-add]")
	d.judge("a new administrator")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=grants]", "alice@example.org")
	d.at("/administrators/local-administrators")
	d.Type("[data-test=Member]", "alice@example.org")
	d.Follow("[data-test=submit-add]")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=grants]", "alice@example.org")
	d.look("administrators-local")
	d.at("/administrators/api-tokens")
	d.Type("[data-test=Name]", "monitoring")
	d.Click("[data-test='Role-View-Only Administrator']")
	d.Follow("[data-test=submit-add]")
	if token := d.Text("[data-test=secret] code"); !strings.HasPrefix(token, "postern_") {
		t.Errorf("the token is %q", token)
	}
	d.Picture(picture("token-made.png"))
	d.look("administrators-tokens")
	if d.Has("[data-test=secret]") {
		t.Error("the token is shown twice")
	}
	d.Follow("[data-test^=remove-]")
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "API token removed")
	d.at("/administrators/rights")
	d.look("administrators-rights")
}

// TestLogs: searched, followed while it happens, proven.
func TestLogs(t *testing.T) {
	d := sit(t)
	d.at("/protocol-log")
	d.look("protocol-log-off")
	d.Follow("[data-test=begin-imap4]")
	d.WaitText("[data-test=done]", "ProtocolLogEnabled")
	d.Click("[data-test=follow]")
	d.WaitText("#coming", "Waiting")
	a := d.Login(t, alice)
	defer a.Conn.Close()
	a.MustIMAP("SELECT INBOX")
	a.MustIMAP(`ID ("name" "<script>alert(1)</script>")`)
	d.WaitText("[data-test=log]", "SELECT")
	d.WaitText("#coming", "new record")
	d.sound()
	d.judge("a log that is followed")
	d.Click("[data-test=follow]")
	d.Wait(`document.querySelector("[data-test=follow]").getAttribute("aria-pressed") === "false"`)
	d.at("/protocol-log?user=alice*")
	d.WaitText("[data-test=log]", "SELECT")
	d.look("protocol-log")
	d.at("/protocol-log?address=nonsense%2F99")
	d.Wait(`document.querySelector("#search-address-error") !== null`)
	d.judge("a wrong search")

	d.MustShell("Set-ImapSettings", "-LoginType", "PlainTextLogin")
	d.at("/audit")
	d.WaitText("[data-test=log]", "Set-ImapSettings")
	d.Follow("[data-test=proof]")
	d.WaitText("[data-test=result]", "as it was written")
	d.judge("a log that is proven")
	d.Picture(picture("audit-proven.png"))
	d.at("/audit")
	d.look("audit")
	d.Click("[data-test=follow]")
	d.WaitText("#coming", "Waiting")
	d.MustShell("Set-PopSettings", "-Banner", "another")
	d.MustShell("Set-Mailbox", bob.Name, "-DisplayName", "<b>\u202ehostile")
	d.WaitText("[data-test=log]", "<b>[U+202E]")
	d.WaitText("[data-test=log]", "[U+202E]hostile")
	d.at("/audit?target=POP3")
	if text := d.Text("[data-test=log]"); strings.Contains(text, "LoginType") || !strings.Contains(text, "Banner") {
		t.Errorf("the search found %q", text)
	}
	d.at("/events")
	d.look("events")
}

// TestTests: what the configuration is worth, why a sign-in fails, what a mail
// program meets.
func TestTests(t *testing.T) {
	d := sit(t)
	d.at("/test")
	d.look("test")
	d.at("/test/sign-in?identity=alice%40example.org")
	d.look("test-sign-in")
	d.Click("[data-test=ConnectionType-Plaintext]")
	d.Follow("[data-test=submit-login]")
	d.WaitText("[data-test=result]", "cannot sign in")
	d.judge("a sign-in explained")
	d.Picture(picture("test-sign-in-result.png"))
	d.at("/test/imap4")
	d.look("test-imap4")
	d.Type("[data-test=MailboxCredential]", alice.Name)
	d.Type("[data-test=Password]", alice.Password)
	d.Click("label.switch:has([data-test=TrustAnySSLCertificate])")
	d.Follow("[data-test=submit-imap4]")
	d.WaitText("[data-test=result]", "All went well")
	d.judge("a connection that was tested")
	d.Picture(picture("test-imap4-result.png"))
	if page := d.Script(`document.documentElement.outerHTML`); strings.Contains(page, alice.Password) {
		t.Error("the password is on the page")
	}
	d.Language("de")
	d.at("/test/pop3")
	d.Click("label.switch:has([data-test=LightMode])")
	d.Follow("[data-test=submit-pop3]")
	d.Picture(picture("test-pop3-result.png"))
}

// TestViewer: who may only look sees everything, and why nothing can be changed.
func TestViewer(t *testing.T) {
	d := sit(t)
	d.MustShell("Add-Administrator", alice.Name, "-Role", "View-Only Administrator")
	b := d.Login(t, bob)
	defer b.Conn.Close()
	d.Click("[data-test=me]")
	d.Follow("[data-test=sign-out]")
	d.Type("[data-test=name]", alice.Name)
	d.Type("[data-test=password]", alice.Password)
	d.Follow("[data-test=sign-in]")
	for _, path := range []string{"/mailboxes", "/mailboxes/new", "/mailboxes/mailbox?name=bob%40example.org", "/mailboxes/mailbox/folders?name=bob%40example.org", "/sessions", "/certificates/new", "/administrators", "/login-policies/new", "/login-policies/groups", "/protocol-log", "/audit", "/events", "/test"} {
		d.at(path)
		d.judge(path + " of a viewer")
		if open := d.Script(`[...document.querySelectorAll("main form[method=post] button:not(:disabled, [data-copy-button])")].map(b => b.innerText).join()`); open != "" && !strings.HasPrefix(path, "/audit") {
			t.Errorf("%s: the viewer may press %s", path, open)
		}
		if strings.HasPrefix(path, "/mailboxes/") || path == "/sessions" || path == "/administrators" {
			d.WaitText("[data-test=refusal]", "does not hold the role")
		}
	}
	d.at("/sessions")
	d.look("viewer-sessions")
	d.at("/mailboxes/mailbox?name=bob%40example.org")
	d.look("viewer-mailbox")
}
