package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Options are a directory's keys in the settings file. Servers and Base are needed.
type Options struct {
	// Servers are URLs in the order in which they are tried: ldaps://host[:636],
	// ldap://host[:389] with StartTLS, or ldapi:///path.
	Servers []string `toml:"servers"`
	// Encryption is "none" for ldap:// without StartTLS: passwords are readable on
	// the way to the directory then. Else it is left out.
	Encryption string `toml:"encryption"`
	// CAFile has the certificates (PEM) that servers' certificates must lead to; the
	// system's when it is left out. ServerName is what they must be for; each
	// server's host when it is left out.
	CAFile     string `toml:"ca_file"`
	ServerName string `toml:"server_name"`

	// BindDN signs in to search, with BindPassword or what is in BindPasswordFile;
	// without it the search is anonymous.
	BindDN           string `toml:"bind_dn"`
	BindPassword     string `toml:"bind_password"`
	BindPasswordFile string `toml:"bind_password_file"`

	// Schema is "standard" (OpenLDAP, 389, …) or "active-directory": it sets the
	// attributes below that are left out.
	Schema string `toml:"schema"`
	// Base is where people are, Scope "subtree" or "one".
	Base  string `toml:"base"`
	Scope string `toml:"scope"`
	// Filter is what people match beside their name.
	Filter string `toml:"filter"`

	// NameAttribute has the sign-in name and primary address. Domain is what is
	// added to names that have none.
	NameAttribute string `toml:"name_attribute"`
	Domain        string `toml:"domain"`
	// LoginAttributes have further sign-in names, with or without the domain;
	// AliasAttributes have further addresses ("smtp:" in front goes, what has another
	// prefix is none).
	LoginAttributes []string `toml:"login_attributes"`
	AliasAttributes []string `toml:"alias_attributes"`
	// IDAttribute has what stays when somebody is renamed.
	IDAttribute          string `toml:"id_attribute"`
	DisplayNameAttribute string `toml:"display_name_attribute"`
	// QuotaAttribute has bytes, or a size such as 2GB; 0 is none.
	QuotaAttribute      string `toml:"quota_attribute"`
	HomeServerAttribute string `toml:"home_server_attribute"`
	// PasswordChangedAttribute has a time that changes with every password. Only
	// where the directory keeps it is a right password remembered for some minutes.
	PasswordChangedAttribute string `toml:"password_changed_attribute"`
	// Disabled are attributes with values that switch somebody off: "name=value", or
	// "name=*" for any value.
	Disabled []string `toml:"disabled"`

	// RequireGroup are DNs of groups: only their members are people, through other
	// groups too. GroupBase is where groups are; Base when it is left out.
	RequireGroup []string `toml:"require_group"`
	GroupBase    string   `toml:"group_base"`

	// Timeout is a time span: the longest that one question takes, all servers
	// together; 00:00:10 when it is left out.
	Timeout string `toml:"timeout"`
	// Connections bounds those for searching, and those for checking passwords; 8
	// each when it is 0.
	Connections int `toml:"connections"`
}

// settled is what Options come to.
type settled struct {
	Options
	servers   []*server
	password  string
	ad        bool
	scope     int
	disabled  []condition
	timeout   time.Duration
	requested []string // attributes of every search
	groups    []*ldap.DN
}

// condition is an attribute's value that switches somebody off.
type condition struct{ attribute, value string }

// Bounds of the settings.
const (
	maxServers     = 16
	maxConnections = 64
	maxTimeout     = time.Minute
)

func (o Options) settle() (*settled, error) {
	s := &settled{Options: o}
	for _, step := range []func() error{s.schema, s.people, s.signIn, s.bounds, s.where} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func bad(format string, args ...any) error { return mail.Errorf(mail.KindBadArgument, format, args...) }

// schema fills what is left out.
func (s *settled) schema() error {
	def := func(v *string, text string) {
		if *v == "" {
			*v = text
		}
	}
	list := func(v *[]string, texts ...string) {
		if *v == nil {
			*v = texts
		}
	}
	switch s.Schema {
	case "", "standard":
		def(&s.Filter, "(objectClass=inetOrgPerson)")
		def(&s.NameAttribute, "mail")
		list(&s.LoginAttributes, "uid")
		list(&s.AliasAttributes, "mail", "mailAlternateAddress", "mailLocalAddress")
		def(&s.IDAttribute, "entryUUID")
		def(&s.DisplayNameAttribute, "displayName")
		list(&s.Disabled, "nsAccountLock=TRUE", "pwdAccountLockedTime=000001010000Z")
	case "active-directory":
		s.ad = true
		def(&s.Filter, "(&(objectCategory=person)(objectClass=user))")
		def(&s.NameAttribute, "userPrincipalName")
		list(&s.LoginAttributes, "sAMAccountName")
		list(&s.AliasAttributes, "mail", "proxyAddresses")
		def(&s.IDAttribute, "objectGUID")
		def(&s.DisplayNameAttribute, "displayName")
		def(&s.PasswordChangedAttribute, "pwdLastSet")
	default:
		return bad("schema: %q is neither standard nor active-directory.", s.Schema)
	}
	return nil
}

// people checks what says who people are.
func (s *settled) people() error {
	for _, dn := range append([]string{s.Base, s.GroupBase, s.BindDN}, s.RequireGroup...) {
		// A user of Active Directory can sign in as NAME@DOMAIN too.
		if _, err := ldap.ParseDN(dn); err != nil && !(dn == s.BindDN && s.ad) {
			return bad("%q is not a distinguished name.", dn)
		}
	}
	if s.Base == "" {
		return bad("base is needed: where people are in the directory.")
	}
	if s.GroupBase == "" {
		s.GroupBase = s.Base
	}
	for _, dn := range s.RequireGroup {
		parsed, err := ldap.ParseDN(dn)
		if err != nil || len(parsed.RDNs) == 0 {
			return bad("require_group: %q is not the distinguished name of a group.", dn)
		}
		s.groups = append(s.groups, parsed)
	}
	if _, err := ldap.CompileFilter(s.Filter); err != nil {
		return bad("filter: %q is not an LDAP filter.", s.Filter)
	}
	switch s.Scope {
	case "", "subtree":
		s.scope = ldap.ScopeWholeSubtree
	case "one":
		s.scope = ldap.ScopeSingleLevel
	default:
		return bad("scope: %q is neither subtree nor one.", s.Scope)
	}
	if s.Domain != "" {
		name, err := directory.PrepareName("x@" + s.Domain)
		if err != nil {
			return bad("domain: %q is not a domain.", s.Domain)
		}
		s.Domain = strings.TrimPrefix(name, "x@")
	}
	want := []string{s.NameAttribute, s.IDAttribute, s.DisplayNameAttribute, s.QuotaAttribute, s.HomeServerAttribute, s.PasswordChangedAttribute}
	want = append(append(want, s.LoginAttributes...), s.AliasAttributes...)
	for _, text := range s.Disabled {
		attribute, value, ok := strings.Cut(text, "=")
		if !ok || value == "" {
			return bad("disabled: %q is not attribute=value.", text)
		}
		s.disabled = append(s.disabled, condition{attribute, value})
		want = append(want, attribute)
	}
	if s.ad {
		want = append(want, "userAccountControl", "accountExpires", computedControl)
	}
	if !s.ad {
		want = append(want, "memberOf", "uid")
	}
	for _, attribute := range want {
		if attribute == "" || slices.ContainsFunc(s.requested, func(a string) bool { return strings.EqualFold(a, attribute) }) {
			continue
		}
		if strings.Trim(attribute, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.;") != "" {
			return bad("%q is not the name of an attribute.", attribute)
		}
		s.requested = append(s.requested, attribute)
	}
	return nil
}

// signIn reads the password of the search.
func (s *settled) signIn() error {
	s.password = s.BindPassword
	if s.BindPasswordFile != "" {
		if s.BindPassword != "" {
			return bad("bind_password and bind_password_file exclude each other.")
		}
		text, err := os.ReadFile(s.BindPasswordFile)
		if err != nil {
			return bad("bind_password_file: %v", err)
		}
		s.password = strings.TrimRight(string(text), "\r\n")
	}
	if (s.BindDN == "") != (s.password == "") {
		// A name without a password would be an unauthenticated bind (RFC 4513, 5.1.2).
		return bad("bind_dn and a password for it come together.")
	}
	return nil
}

func (s *settled) bounds() error {
	s.timeout = 10 * time.Second
	if s.Timeout != "" {
		var err error
		if s.timeout, err = settings.ParseSpan(s.Timeout); err != nil {
			return bad("timeout: %s.", mail.TextOf(err))
		}
	}
	if s.timeout < time.Second || s.timeout > maxTimeout {
		return bad("timeout is 00:00:01 to %s.", settings.FormatSpan(maxTimeout))
	}
	if s.Connections == 0 {
		s.Connections = 8
	}
	if s.Connections < 1 || s.Connections > maxConnections {
		return bad("connections: 1 to %d.", maxConnections)
	}
	return nil
}

// where reads the servers and how their certificates are checked.
func (s *settled) where() error {
	if len(s.Servers) == 0 || len(s.Servers) > maxServers {
		return bad("servers are 1 to %d URLs such as ldaps://ldap.example.org.", maxServers)
	}
	if s.Encryption != "" && s.Encryption != "none" {
		return bad("encryption: %q is not none; ldap:// uses StartTLS by itself.", s.Encryption)
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		text, err := os.ReadFile(s.CAFile)
		if err != nil {
			return bad("ca_file: %v", err)
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(text) {
			return bad("ca_file: %s has no certificate.", s.CAFile)
		}
	}
	for _, text := range s.Servers {
		u, err := url.Parse(text)
		if err != nil || u.User != nil || u.RawQuery != "" {
			return bad("servers: %q is not a URL such as ldaps://ldap.example.org.", text)
		}
		x := &server{url: text, network: "tcp", trust: trust.Clone()}
		port := u.Port()
		switch u.Scheme {
		case "ldaps":
			x.tls = implicit
			if port == "" {
				port = "636"
			}
		case "ldap":
			x.tls = startTLS
			if s.Encryption == "none" {
				x.tls = unencrypted
			}
			if port == "" {
				port = "389"
			}
		case "ldapi":
			x.network, x.address, x.tls = "unix", u.Path, unencrypted
		default:
			return bad("servers: %q begins with neither ldaps, ldap nor ldapi.", text)
		}
		if x.network == "tcp" {
			if u.Hostname() == "" || u.Path != "" && u.Path != "/" {
				return bad("servers: %q is not a URL such as ldaps://ldap.example.org.", text)
			}
			x.address = net.JoinHostPort(u.Hostname(), port)
			x.trust.ServerName = u.Hostname()
			if s.ServerName != "" {
				x.trust.ServerName = s.ServerName
			}
		} else if x.address == "" {
			return bad("servers: %q names no socket.", text)
		}
		s.servers = append(s.servers, x)
	}
	return nil
}
