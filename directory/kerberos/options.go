package kerberos

import (
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Options are a directory's keys in the settings file. Keytab and Realms are needed.
type Options struct {
	// Keytab is the file with the services' keys, imap/HOST and pop/HOST. It is read
	// again when it changes.
	Keytab string `toml:"keytab"`
	// Realms says whose tickets and passwords are taken, and what people of a realm are
	// called: the principal alice@EXAMPLE.ORG is alice at the domain given, or alice
	// alone where the domain is "".
	Realms map[string]string `toml:"realms"`
	// Hosts are the host names whose services are accepted; all of the keytab when it
	// is left out.
	Hosts []string `toml:"hosts"`
	// IgnoreCase takes tickets whose name is written in another case than the mailbox's,
	// as Active Directory gives them. Only where no two principals differ in case alone.
	IgnoreCase bool `toml:"ignore_case"`
	// AllowRC4 takes tickets that are encrypted with RC4, too.
	AllowRC4 bool `toml:"allow_rc4"`
	// ClockSkew is a time span: how far a client's clock may be from this server's;
	// 00:05:00 when it is left out, at most 00:15:00.
	ClockSkew string `toml:"clock_skew"`

	// Passwords says whether passwords are checked by asking the KDC; true when it is
	// left out.
	Passwords *bool `toml:"passwords"`
	// KDCs are those of all realms, host or host:port, in the order in which they are
	// asked; those that the DNS names for each realm when it is left out.
	KDCs []string `toml:"kdcs"`
	// Timeout is a time span: the longest that a password's check takes; 00:00:05 when
	// it is left out, at most 00:01:00.
	Timeout string `toml:"timeout"`
}

// Bounds of what the settings file says.
const (
	maxRealms   = 16
	maxListed   = 64
	maxName     = 255 // octets of a realm or a host
	maxSkew     = 15 * time.Minute
	maxTimeout  = time.Minute
	defaultPort = "88"
)

// rules are Options as they are used.
type rules struct {
	Options
	skew, timeout time.Duration
	domains       map[string]string // by realm
	realms        map[string]string // by domain
}

func bad(format string, args ...any) error {
	return mail.Errorf(mail.KindBadArgument, format, args...)
}

// check reads what the settings file says.
func (o Options) check() (*rules, error) {
	r := &rules{Options: o, skew: 5 * time.Minute, timeout: 5 * time.Second, domains: map[string]string{}, realms: map[string]string{}}
	if !filepath.IsAbs(o.Keytab) {
		return nil, bad("keytab is needed: the absolute path of the file with the services' keys.")
	}
	if len(o.Realms) == 0 || len(o.Realms) > maxRealms {
		return nil, bad(`realms is needed: which domain the people of a realm have, such as { "EXAMPLE.ORG" = "example.org" }, at most %d.`, maxRealms)
	}
	for _, realm := range slices.Sorted(maps.Keys(o.Realms)) {
		domain := o.Realms[realm]
		if realm == "" || len(realm) > maxName || strings.ContainsAny(realm, "/@\x00 ") {
			return nil, bad("realms: %q is not a realm.", realm)
		}
		if domain != "" {
			name, err := directory.PrepareName("x@" + domain)
			if err != nil {
				return nil, bad("realms: %q is not a domain.", domain)
			}
			domain = strings.TrimPrefix(name, "x@")
		}
		if other, taken := r.realms[domain]; taken {
			return nil, bad("realms: the people of %s and %s would have the same names.", other, realm)
		}
		r.domains[realm], r.realms[domain] = domain, realm
	}
	for _, list := range [][]string{o.Hosts, o.KDCs} {
		if len(list) > maxListed {
			return nil, bad("hosts, kdcs: at most %d.", maxListed)
		}
		for _, name := range list {
			if name == "" || len(name) > maxName || strings.ContainsAny(name, "/@\x00 ") {
				return nil, bad("hosts, kdcs: %q is not the name of a host.", name)
			}
		}
	}
	r.KDCs = nil
	for _, kdc := range o.KDCs {
		if _, _, err := net.SplitHostPort(kdc); err != nil {
			kdc = net.JoinHostPort(strings.Trim(kdc, "[]"), defaultPort)
		}
		r.KDCs = append(r.KDCs, kdc)
	}
	for _, span := range []struct {
		key, text string
		value     *time.Duration
		max       time.Duration
	}{{"clock_skew", o.ClockSkew, &r.skew, maxSkew}, {"timeout", o.Timeout, &r.timeout, maxTimeout}} {
		if span.text == "" {
			continue
		}
		var err error
		if *span.value, err = settings.ParseSpan(span.text); err != nil {
			return nil, bad("%s: %s", span.key, mail.TextOf(err))
		}
		if *span.value < time.Second || *span.value > span.max {
			return nil, bad("%s: from %s to %s.", span.key, settings.FormatSpan(time.Second), settings.FormatSpan(span.max))
		}
	}
	return r, nil
}
