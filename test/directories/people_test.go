package directories

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/openid"
	"github.com/postern-mail/postern/test/server"
	"github.com/postern-mail/postern/test/slapd"
)

// TestOpenIDOfLDAP: LDAP says who people are, and an OpenID provider proves them.
func TestOpenIDOfLDAP(t *testing.T) {
	ldap, p := slapd.Start(t, slapd.Options{}), openid.Start(t)
	addPerson(ldap, "anna", "mailAlternateAddress", "a.n@example.org", "mailQuota", "5MB")
	addPerson(ldap, "bert")
	provider := strings.Replace(openidTable(t, p, `"00:00:20"`), `name = "company"`, "name = \"login\"\npeople = \"company\"", 1)
	provider = provider[:strings.LastIndex(provider, "[[directories]]")]
	s := server.Serve(t, server.Options{
		Accounts:    []server.Account{{Name: "root@local.example", Password: "local"}},
		Directories: settings(ldap, fmt.Sprintf("group_base = %q\n", slapd.GroupBase)) + provider,
	})
	const anna, bert = "anna@example.org", "bert@example.org"
	in := func(what, protocol, user, token string) {
		t.Helper()
		if out, code := bearer(t, s, protocol, user, token); code != 0 || !strings.Contains(out, "before the first login") {
			t.Errorf("%s, %s: %d %s", what, protocol, code, out)
		}
	}
	refused := func(what, user, token string) {
		t.Helper()
		if out, code := bearer(t, s, "imaps", user, token); code != 67 || strings.Contains(out, "UNAVAILABLE") {
			t.Errorf("%s: %d %s", what, code, out)
		}
	}
	// Mail comes before anybody signed in.
	s.MustDeliver(t, message, anna)
	for _, protocol := range []string{"imaps", "pop3s"} {
		for _, resource := range []string{openid.JWT, openid.Opaque} {
			in(resource, protocol, anna, p.Token(openid.Anna, resource))
		}
		in("by an alias", protocol, "a.n@example.org", p.Token(openid.Anna, openid.JWT))
		if out, code := curl(t, s, protocol, anna, password); code != 0 {
			t.Errorf("the password of the people's directory, %s: %d %s", protocol, code, out)
		}
	}
	out := shell(s, "Get-Mailbox "+anna+" | ConvertTo-Json")
	for _, want := range []string{`"login:1001"`, `"company"`, `"ANNA"`, `5242880`} {
		if !strings.Contains(out, want) {
			t.Errorf("Get-Mailbox does not say %s: %s", want, out)
		}
	}
	// Who calls themselves by another's name gets nowhere.
	refused("another's name", anna, p.Token(openid.Bert, openid.JWT, "email", anna))
	refused("a name that nobody used yet, of somebody who is known", bert, p.Token(openid.Anna, openid.JWT, "email", bert))
	refused("another's token", bert, p.Token(openid.Anna, openid.JWT))
	refused("nobody", "nobody@example.org", p.Token(openid.Bert, openid.JWT, "email", "nobody@example.org"))
	if out := shell(s, "Get-EventLog -Id 1014 | Format-List"); !strings.Contains(out, "anna@example.org") {
		t.Errorf("the log of events: %s", out)
	}
	// A login policy for a group of LDAP's.
	ldap.Add("cn=Contractors,"+slapd.GroupBase, "objectClass", "groupOfNames", "cn", "Contractors", "member", slapd.DN("bert"))
	shell(s, `New-LoginPolicy tokens -Groups company\contractors -AuthMechanisms OAUTHBEARER`)
	if out, code := s.Shell("New-LoginPolicy", "other", "-Groups", `nowhere\contractors`, "-Block", "$true"); code == 0 || !strings.Contains(out, "nowhere") {
		t.Errorf("a group of no directory: %d %s", code, out)
	}
	if out, code := curl(t, s, "imaps", anna, password); code != 0 {
		t.Errorf("not in the group: %d %s", code, out)
	}
	if out, code := curl(t, s, "imaps", bert, password); code != 67 {
		t.Errorf("in the group, by a password: %d %s", code, out)
	}
	if out, code := bearer(t, s, "imaps", bert, p.Token(openid.Bert, openid.JWT)); code == 67 {
		t.Errorf("in the group, by a token: %d %s", code, out)
	}
	out = shell(s, "Get-EffectiveLoginPolicy "+bert+" -Protocol IMAP4")
	if !strings.Contains(out, `company\contractors`) {
		t.Errorf("Get-EffectiveLoginPolicy: %s", out)
	}
	shell(s, "Remove-LoginPolicy tokens -Confirm:$false")

	// A new account there, which an administrator links.
	shell(s, "Set-Mailbox "+anna+" -LinkedAccounts login:1004")
	refused("the old account", anna, p.Token(openid.Anna, openid.JWT))
	in("the new account", "imaps", anna, p.Token(openid.Dora, openid.JWT, "email", anna))
}
