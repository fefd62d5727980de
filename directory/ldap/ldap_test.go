package ldap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/slapd"
)

// options are those for a test server, over TLS.
func options(s *slapd.Server) Options {
	return Options{
		Servers: []string{"ldaps://" + s.SSL}, CAFile: s.CAFile, ServerName: "localhost", Base: slapd.PeopleBase, GroupBase: slapd.GroupBase,
		BindDN: slapd.Reader, BindPassword: slapd.ReaderPassword, QuotaAttribute: "mailQuota", Timeout: "00:00:05",
	}
}

func open(t *testing.T, o Options) *Directory {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// add adds a person.
func add(s *slapd.Server, uid string, p directorytest.Someone) {
	attributes := []string{"objectClass", "inetOrgPerson", "objectClass", "mailPerson", "uid", uid, "cn", uid, "sn", uid, "mail", p.Name}
	for _, alias := range p.Aliases {
		attributes = append(attributes, "mailAlternateAddress", alias)
	}
	if p.DisplayName != "" {
		attributes = append(attributes, "displayName", p.DisplayName)
	}
	if p.QuotaBytes != nil {
		attributes = append(attributes, "mailQuota", fmt.Sprint(*p.QuotaBytes))
	}
	if p.Blocked != "" {
		attributes = append(attributes, "nsAccountLock", "TRUE")
	}
	if p.Password != "" {
		attributes = append(attributes, "userPassword", p.Password)
	}
	s.Add(slapd.DN(uid), attributes...)
}

func TestDirectory(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	for i, p := range (directorytest.SourceTest{}).People() {
		p.QuotaMessages = nil
		add(s, fmt.Sprint("u", i), p)
	}
	directorytest.RunSource(t, directorytest.SourceTest{
		NoMessages: true,
		Open:       func(t *testing.T, people []directorytest.Someone) directory.Source { return open(t, options(s)) },
	})
}

const password = "correct horse"

func person(name string) directorytest.Someone {
	return directorytest.Someone{Person: directory.Person{Name: name}, Password: password}
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

func TestEncryption(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	for _, c := range []struct {
		name   string
		change func(o *Options)
		works  bool
	}{
		{"ldaps", func(*Options) {}, true},
		{"StartTLS", func(o *Options) { o.Servers = []string{"ldap://" + s.Clear} }, true},
		{"none", func(o *Options) { o.Servers, o.Encryption = []string{"ldap://" + s.Clear}, "none" }, true},
		{"ldaps, wrong name", func(o *Options) { o.ServerName = "" }, false},
		{"StartTLS, wrong name", func(o *Options) { o.Servers, o.ServerName = []string{"ldap://" + s.Clear}, "other.example" }, false},
		{"ldaps, another CA", func(o *Options) { o.CAFile = slapd.Start(t, slapd.Options{}).CAFile }, false},
		{"StartTLS, the system's CAs", func(o *Options) { o.Servers, o.CAFile = []string{"ldap://" + s.Clear}, "" }, false},
		{"TLS where there is none", func(o *Options) { o.Servers = []string{"ldaps://" + s.Clear} }, false},
		{"a wrong password of the reader", func(o *Options) { o.BindPassword = "wrong" }, false},
		{"anonymous", func(o *Options) { o.BindDN, o.BindPassword = "", "" }, false},
		{"a base that is not there", func(o *Options) { o.Base = "ou=nowhere," + slapd.Suffix }, false},
		{"an identifier that may not be read", func(o *Options) { o.IDAttribute = "employeeNumber" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(s)
			c.change(&o)
			d := open(t, o)
			_, err := d.Find(t.Context(), "anna@example.org")
			p, err2 := d.CheckPassword(t.Context(), "anna@example.org", password)
			if c.works {
				if err != nil || err2 != nil || p.Name != "anna@example.org" {
					t.Errorf("%v, %v, %v", err, p, err2)
				}
				return
			}
			// Whatever is wrong between the servers, nobody's password is.
			wantKind(t, "Find", err, mail.KindUnavailable)
			wantKind(t, "CheckPassword", err2, mail.KindUnavailable)
		})
	}
}

func TestNames(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	s.Add(slapd.DN("Anna"), "objectClass", "inetOrgPerson", "uid", "Anna", "cn", "a", "sn", "a", "mail", "Anna@XN--MNCHEN-3YA.example", "userPassword", password)
	s.Add(slapd.DN("twin1"), "objectClass", "inetOrgPerson", "uid", "twin1", "cn", "t", "sn", "t", "mail", "twin@example.org", "userPassword", "one")
	s.Add(slapd.DN("twin2"), "objectClass", "inetOrgPerson", "uid", "twin2", "cn", "t", "sn", "t", "mail", "twin@example.org", "userPassword", "two")
	d := open(t, options(s))
	for _, name := range []string{"anna", "anna@münchen.example"} {
		if p, err := d.CheckPassword(t.Context(), name, password); err != nil || p.Name != "anna@münchen.example" {
			t.Errorf("CheckPassword(%s) = %v, %v", name, p, err)
		}
	}
	for _, pw := range []string{"one", "two"} {
		_, err := d.CheckPassword(t.Context(), "twin@example.org", pw)
		wantKind(t, "a name of two", err, mail.KindUnavailable)
	}
	// Names without a domain get one.
	o := options(s)
	o.NameAttribute, o.LoginAttributes, o.AliasAttributes, o.Domain = "uid", []string{}, []string{}, "Example.NET"
	d = open(t, o)
	for _, name := range []string{"anna@example.net"} {
		if p, err := d.CheckPassword(t.Context(), name, password); err != nil || p.Name != "anna@example.net" {
			t.Errorf("CheckPassword(%s) = %v, %v", name, p, err)
		}
	}
	_, err := d.Find(t.Context(), "anna@example.com")
	wantKind(t, "another domain", err, mail.KindNotFound)
}

// A renamed person stays the same, a new one with the old name is another.
func TestRename(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	d := open(t, options(s))
	before, err := d.Find(t.Context(), "anna@example.org")
	if err != nil {
		t.Fatal(err)
	}
	s.Set(slapd.DN("anna"), "mail", "anna.b@example.org")
	s.Rename(slapd.DN("anna"), "uid=annab")
	add(s, "anna", person("anna@example.org"))
	after, err := d.Find(t.Context(), "anna.b@example.org")
	if err != nil || after.ID != before.ID {
		t.Errorf("renamed: %v, %v; was %v", after, err, before)
	}
	other, err := d.Find(t.Context(), "anna@example.org")
	if err != nil || other.ID == before.ID {
		t.Errorf("with the old name: %v, %v", other, err)
	}
}

func TestGroups(t *testing.T) {
	for _, overlay := range []bool{true, false} {
		t.Run(fmt.Sprint("memberOf ", overlay), func(t *testing.T) {
			s := slapd.Start(t, slapd.Options{MemberOf: overlay})
			for _, uid := range []string{"direct", "nested", "unique", "out"} {
				add(s, uid, person(uid+"@example.org"))
			}
			group := func(cn string, attribute string, members ...string) {
				class := map[string]string{"member": "groupOfNames", "uniqueMember": "groupOfUniqueNames"}[attribute]
				attributes := []string{"objectClass", class, "cn", cn}
				for _, m := range members {
					attributes = append(attributes, attribute, m)
				}
				s.Add("cn="+cn+","+slapd.GroupBase, attributes...)
			}
			group("inner", "member", slapd.DN("nested"), "cn=mail users,"+slapd.GroupBase) // a ring
			group("inner2", "uniqueMember", slapd.DN("unique"))
			group("others", "member", slapd.DN("out"))
			group("mail users", "member", slapd.DN("direct"), "cn=inner,"+slapd.GroupBase, "cn=inner2,"+slapd.GroupBase)
			o := options(s)
			o.RequireGroup = []string{"CN=Mail Users, ou=groups,dc=example,dc=org"}
			d := open(t, o)
			for _, uid := range []string{"direct", "nested", "unique"} {
				if p, err := d.CheckPassword(t.Context(), uid+"@example.org", password); err != nil || p.Name != uid+"@example.org" {
					t.Errorf("%s: %v, %v", uid, p, err)
				}
			}
			_, err := d.CheckPassword(t.Context(), "out@example.org", password)
			wantKind(t, "not in the group", err, mail.KindNotFound)
			var names []string
			if err := d.People(t.Context(), func(p directory.Person) error { names = append(names, p.Name); return nil }); err != nil || len(names) != 3 {
				t.Errorf("People: %v, %v", names, err)
			}

			// What people are in, for login policies.
			o = options(s)
			o.GroupBase = slapd.GroupBase
			d = open(t, o)
			s.Add("cn=Unix,"+slapd.GroupBase, "objectClass", "posixGroup", "cn", "Unix", "gidNumber", "1000", "memberUid", "out", "memberUid", "nested")
			for uid, want := range map[string]string{
				"direct": "inner|mail users", "nested": "inner|mail users|unix", "unique": "inner|inner2|mail users", "out": "others|unix",
			} {
				p, err := d.Find(t.Context(), uid+"@example.org")
				if err != nil {
					t.Fatal(err)
				}
				if groups, err := d.Groups(t.Context(), p); err != nil || strings.Join(groups, "|") != want {
					t.Errorf("%s is in %q, %v, want %q", uid, groups, err, want)
				}
				p.ID = "somebody else"
				_, err = d.Groups(t.Context(), p)
				wantKind(t, "another identifier", err, mail.KindUnavailable)
			}
			_, err = d.Groups(t.Context(), &directory.Person{ID: "1", Name: "gone@example.org"})
			wantKind(t, "gone", err, mail.KindUnavailable)
			// More than is looked at is not said in part.
			for i := range maxDepth + 1 {
				below := "cn=others," + slapd.GroupBase
				if i > 0 {
					below = fmt.Sprintf("cn=tower%d,%s", i-1, slapd.GroupBase)
				}
				group(fmt.Sprint("tower", i), "member", below)
			}
			p, err := d.Find(t.Context(), "out@example.org")
			if err != nil {
				t.Fatal(err)
			}
			groups, err := d.Groups(t.Context(), p)
			if groups != nil {
				t.Errorf("a part of the groups is given: %q", groups)
			}
			wantKind(t, "more levels than are looked at", err, mail.KindUnavailable)
		})
	}
}

func TestLockout(t *testing.T) {
	s := slapd.Start(t, slapd.Options{Lockout: true})
	add(s, "anna", person("anna@example.org"))
	d := open(t, options(s))
	if _, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := d.CheckPassword(t.Context(), "anna@example.org", "wrong")
		wantKind(t, "a wrong password", err, mail.KindAuthenticationFailed)
	}
	_, err := d.CheckPassword(t.Context(), "anna@example.org", password)
	wantKind(t, "locked", err, mail.KindAuthenticationFailed)
	if err == nil || !strings.Contains(err.Error(), "locked") || strings.Contains(mail.TextOf(err), "locked") {
		t.Errorf("the log says %v, the client hears %q", err, mail.TextOf(err))
	}
	// Mail still comes: the lock is of sign-ins, and ends.
	if p, err := d.Find(t.Context(), "anna@example.org"); err != nil || p.Blocked != "" {
		t.Errorf("Find: %+v, %v", p, err)
	}
}

// More people than a page has.
func TestPages(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	for i := range 520 {
		add(s, fmt.Sprint("u", i), person(fmt.Sprintf("u%d@example.org", i)))
	}
	d := open(t, options(s))
	n := 0
	if err := d.People(t.Context(), func(directory.Person) error { n++; return nil }); err != nil || n != 520 {
		t.Errorf("%d people, %v", n, err)
	}
}
