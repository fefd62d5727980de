package ldap

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/sambadc"
	"github.com/postern-mail/postern/test/slapd"
)

// domain is a connection of the administrator's to a domain controller.
type domain struct {
	*ldap.Conn
	t *testing.T
}

func (d domain) check(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func adDN(cn string) string { return "CN=" + cn + ",CN=Users," + sambadc.Suffix }

// user makes an enabled user.
func (d domain) user(cn, password string, more ...string) {
	d.t.Helper()
	r := ldap.NewAddRequest(adDN(cn), nil)
	for i := 0; i+1 < len(more); i += 2 {
		r.Attribute(more[i], strings.Split(more[i+1], "|"))
	}
	r.Attribute("objectClass", []string{"user"})
	r.Attribute("sAMAccountName", []string{cn})
	r.Attribute("userPrincipalName", []string{cn + "@ad.test.example"})
	r.Attribute("displayName", []string{"User " + cn})
	d.check(d.Add(r))
	d.set(cn, "unicodePwd", unicodePassword(password))
	d.set(cn, "userAccountControl", "512")
}

func (d domain) set(cn, attribute string, values ...string) {
	d.t.Helper()
	r := ldap.NewModifyRequest(adDN(cn), nil)
	r.Replace(attribute, values)
	d.check(d.Modify(r))
}

func (d domain) group(cn string, members ...string) {
	d.t.Helper()
	r := ldap.NewAddRequest(adDN(cn), nil)
	r.Attribute("objectClass", []string{"group"})
	r.Attribute("sAMAccountName", []string{cn})
	for i := range members {
		members[i] = adDN(members[i])
	}
	r.Attribute("member", members)
	d.check(d.Add(r))
}

// unicodePassword is how Active Directory wants a new password.
func unicodePassword(p string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(`"` + p + `"`)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

// TestActiveDirectory plays against Samba, which takes half a minute to provision.
func TestActiveDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("a domain controller takes half a minute")
	}
	ca, certificate, key := slapd.Certificate(t)
	dc := sambadc.Start(t, ca, certificate, key)
	c, err := ldap.DialURL("ldaps://"+dc.Address, ldap.DialWithTLSConfig(&tls.Config{InsecureSkipVerify: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	admin := domain{c, t}
	admin.check(c.Bind(sambadc.Administrator, sambadc.AdministratorPassword))
	const secret, other = "Korrekt-Pferd-1", "Noch-Ein-Pferd-2"
	admin.user("anna", secret, "mail", "anna@mail.example", "proxyAddresses", "SMTP:anna@mail.example|smtp:a.n@mail.example|X500:/o=x")
	for _, cn := range []string{"nested", "outside", "expired", "locked", "old"} {
		admin.user(cn, secret)
	}
	admin.group("Mail Users", "anna", "expired", "locked", "old")
	admin.group("Inner", "nested")
	r := ldap.NewModifyRequest(adDN("Mail Users"), nil)
	r.Add("member", []string{adDN("Inner")})
	admin.check(c.Modify(r))

	o := Options{
		Servers: []string{"ldaps://" + dc.Address}, CAFile: ca, ServerName: "localhost", Schema: "active-directory", Base: sambadc.Suffix,
		BindDN: "Administrator@ad.test.example", BindPassword: sambadc.AdministratorPassword, RequireGroup: []string{adDN("Mail Users")},
		Domain: "ad.test.example", Timeout: "00:00:10",
	}
	d := open(t, o)
	ok := func(name, password string) *directory.Person {
		t.Helper()
		p, err := d.CheckPassword(t.Context(), name, password)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return p
	}
	no := func(name, password string, kind mail.Kind, cause string) {
		t.Helper()
		_, err := d.CheckPassword(t.Context(), name, password)
		wantKind(t, name, err, kind)
		if err != nil && !strings.Contains(err.Error(), cause) {
			t.Errorf("%s: the log says %v, want %q", name, err, cause)
		}
	}
	anna := ok("anna@ad.test.example", secret)
	if anna.Name != "anna@ad.test.example" || !slices.Equal(anna.Aliases, []string{"a.n@mail.example", "anna@mail.example"}) || anna.DisplayName != "User anna" ||
		len(anna.ID) != 36 || anna.PasswordChanged.IsZero() || anna.Blocked != "" {
		t.Errorf("%+v", anna)
	}
	for _, name := range []string{"anna", "anna@mail.example", "a.n@mail.example"} {
		if p := ok(name, secret); p.ID != anna.ID {
			t.Errorf("%s: %+v", name, p)
		}
	}
	ok("nested@ad.test.example", secret)
	no("outside@ad.test.example", secret, mail.KindNotFound, "")
	if groups, err := d.Groups(t.Context(), ok("nested@ad.test.example", secret)); err != nil || strings.Join(groups, "|") != "inner|mail users" {
		t.Errorf("groups: %q, %v", groups, err)
	}
	no("nobody@ad.test.example", secret, mail.KindNotFound, "")
	no("anna@ad.test.example", "wrong", mail.KindAuthenticationFailed, "the password is wrong")
	no("anna@ad.test.example", "", mail.KindAuthenticationFailed, "")

	// A new password has another time.
	admin.set("anna", "unicodePwd", unicodePassword(other))
	if p := ok("anna@ad.test.example", other); p.PasswordChanged.Equal(anna.PasswordChanged) {
		t.Errorf("the password changed at %v, and still", p.PasswordChanged)
	}
	// Renamed.
	admin.set("anna", "userPrincipalName", "anna.b@ad.test.example")
	if p := ok("anna.b@ad.test.example", other); p.ID != anna.ID {
		t.Errorf("renamed: %+v, was %+v", p, anna)
	}

	admin.set("expired", "pwdLastSet", "0")
	no("expired@ad.test.example", secret, mail.KindAuthenticationFailed, "password")
	admin.set("old", "accountExpires", strconv.Itoa(116444736000000000+1e7))
	if p, err := d.Find(t.Context(), "old@ad.test.example"); err != nil || !strings.Contains(p.Blocked, "expired on 1970-01-01") {
		t.Errorf("an account that expired: %+v, %v", p, err)
	}
	dc.Tool("domain", "passwordsettings", "set", "--account-lockout-threshold=2")
	for range 3 {
		_, err := d.CheckPassword(t.Context(), "locked@ad.test.example", "wrong")
		wantKind(t, "locking", err, mail.KindAuthenticationFailed)
	}
	no("locked@ad.test.example", secret, mail.KindAuthenticationFailed, "locked out")
	admin.set("anna", "userAccountControl", fmt.Sprint(512|accountDisabled))
	if p, err := d.Find(t.Context(), "anna.b@ad.test.example"); err != nil || p.Blocked == "" {
		t.Errorf("disabled: %+v, %v", p, err)
	}
	p, err := d.CheckPassword(t.Context(), "anna.b@ad.test.example", other)
	if err == nil && p.Blocked == "" {
		t.Errorf("disabled: %+v", p)
	}
}
