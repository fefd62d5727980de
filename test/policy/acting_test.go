package policy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/test/authority"
)

// TestActing lets people act for others by every mechanism that has an authorization
// identity, on both protocols, on the running server: who has the right is let in as the
// other, who has not hears the same whether there is such a mailbox or not.
func TestActing(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.SecureLogin)
	ctx := t.Context()
	proxy, clerk := "proxy.w0@example.org", "clerk.w0@example.org"
	for _, e := range []directory.Entry{{Name: proxy, Aliases: []string{"webmail.w0@example.org"}}, {Name: clerk}} {
		account, err := r.Store().CreateAccount(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		e.Account, e.Enabled, e.PopEnabled, e.ImapEnabled = account, true, true, true
		if err := r.Directory().Create(ctx, e, password); err != nil {
			t.Fatal(err)
		}
	}
	target := func(name string) string { return address(name, 0) }
	r.run(t, "Add-MailboxPermission", map[string]any{"User": proxy, "AccessRights": "Impersonation"})
	r.run(t, "Add-MailboxPermission", map[string]any{"User": clerk, "Identity": target(anna)})
	ours := authority.New(t)
	trust := writePEM(t, "CERTIFICATE", ours.Certificate.Raw)
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		r.run(t, set, map[string]any{"ClientCertificateAuthorities": trust})
	}
	const ok, own, refused, off4 = "ok", "own", "refused", "off"
	codes := map[string]map[string]string{
		ok:      {"POP3": "+OK", "IMAP4": "OK"},
		own:     {"POP3": "+OK", "IMAP4": "OK"},
		refused: {"POP3": "-ERR [AUTH] You may not act for that user.", "IMAP4": "NO [AUTHORIZATIONFAILED] You may not act for that user."},
		off4:    {"POP3": "-ERR [SYS/PERM]", "IMAP4": "NO [AUTHORIZATIONFAILED]"},
	}
	wanted := []struct{ user, authzid, want string }{
		{proxy, target(anna), ok}, {proxy, strings.ToUpper(target(anna)), ok}, {proxy, target(nobody), refused}, {proxy, target(off), off4},
		{proxy, "", own}, {proxy, proxy, own}, {proxy, "WebMail.w0@Example.ORG", own},
		{clerk, target(anna), ok}, {clerk, target(noPOP), refused}, {clerk, target(noIMAP), refused}, {clerk, target(off), refused}, {clerk, target(nobody), refused}, {clerk, proxy, refused},
		{target(anna), target(noPOP), refused}, {target(anna), target(off), refused}, {target(anna), target(nobody), refused}, {target(anna), clerk, refused},
		{target(off), target(anna), off4},
	}
	s := &speaker{clients: map[string]*scram.Client{}}
	methods := []method{
		{mechanism: "PLAIN", class: readable}, {mechanism: "SCRAM-SHA-256", class: challenge, hash: "SHA-256"},
		{mechanism: "SCRAM-SHA-512-PLUS", form: "tls-exporter", class: bound, hash: "SHA-512"}, {mechanism: "EXTERNAL"},
		{mechanism: "OAUTHBEARER", class: token}, {mechanism: "XOAUTH2", class: token},
	}
	cells, recorded := 0, 0
	for _, protocol := range protocols {
		for _, m := range methods {
			heard := map[string]string{} // what a refusal said, by who
			for _, w := range wanted {
				at := fmt.Sprintf("%s %s: %s for %q", protocol, m, w.user, w.authzid)
				certificate := ours.Client(t, func(c *x509.Certificate) { c.EmailAddresses = []string{w.user} })
				config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", Certificates: []tls.Certificate{certificate}}
				c, err := r.dialTLS(protocol, ways[4], config)
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				o, err := c.attempt(s.actingDialogue(t, protocol, m, c, w.user, w.authzid), false)
				cells++
				in := w.want == ok || w.want == own
				if err != nil || !strings.HasPrefix(o.status, codes[w.want][protocol]) || o.in != in {
					t.Errorf("%s: %q, %v; want %s", at, o.status, err, w.want)
				}
				if w.want == refused {
					if before, again := heard[w.user]; again && before != o.status {
						t.Errorf("%s: %q, before %q", at, o.status, before)
					}
					heard[w.user] = o.status
				}
				if w.want == ok || w.want == refused {
					recorded++
				}
				if in {
					user, by := strings.ToLower(w.authzid), w.user
					if w.want == own {
						user, by = w.user, ""
					}
					if !r.shows(t, user, by) {
						t.Errorf("%s: Get-Session does not show it", at)
					}
				}
				if err := c.quit(); err != nil {
					t.Error(at, err)
				}
			}
		}
	}
	found := len(r.ask(t, "Get-AuditLog", map[string]any{"Cmdlet": audit.ActFor, "ResultSize": 10000}))
	if found < recorded {
		t.Errorf("%d audit records of %d sign-ins for another", found, recorded)
	}
	for _, service := range protocols {
		if len(r.ask(t, "Get-ProtocolLog", map[string]any{"Service": service, "User": target(anna) + " (" + clerk + ")"})) == 0 {
			t.Errorf("the protocol log of %s does not show who acts for whom", service)
		}
	}
	t.Logf("%d cells, %d audit records", cells, found)
}

// actingDialogue is one sign-in as user for authzid.
func (s *speaker) actingDialogue(t *testing.T, protocol string, m method, c *client, user, authzid string) dialogue {
	t.Helper()
	at := cell{protocol: protocol, method: m, initial: true}
	switch {
	case m.hash != "":
		talk, err := s.scram(m, c, user, password, authzid)
		if err != nil {
			t.Fatal(err)
		}
		first, err := talk.Step("")
		if err != nil {
			t.Fatal(err)
		}
		reply := func(challenge string) string { return step(talk, challenge) }
		return saslDialogue(at, first, reply, reply)
	case m.class == token:
		return saslDialogue(at, tokenMessage(m.mechanism, user, tokenOf(user, password), authzid), fixed("AQ=="))
	case m.mechanism == "EXTERNAL" && authzid == "":
		at.initial = false
		return saslDialogue(at, "")
	case m.mechanism == "EXTERNAL":
		return saslDialogue(at, authzid)
	}
	return saslDialogue(at, authzid+"\x00"+user+"\x00"+password)
}

// ask runs a cmdlet and gives its objects.
func (r *running) ask(t *testing.T, cmdlet string, parameters map[string]any) []manage.Object {
	t.Helper()
	arguments, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	result, err := r.Manage().Run(t.Context(), manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}}, cmdlet, arguments)
	if err != nil {
		t.Fatalf("%s: %v", cmdlet, err)
	}
	return result.Objects
}

// shows tells whether Get-Session has a session of user that by acts for, "" nobody.
func (r *running) shows(t *testing.T, user, by string) bool {
	t.Helper()
	return slices.ContainsFunc(r.ask(t, "Get-Session", map[string]any{"User": user}), func(o manage.Object) bool {
		who, _ := o.Value("User")
		actedBy, _ := o.Value("ActedBy")
		return who == user && actedBy == by
	})
}
