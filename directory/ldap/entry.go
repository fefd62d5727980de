package ldap

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/settings"
)

// maxAliases bounds the addresses that are read of one person, maxText the other
// values in octets.
const (
	maxAliases = 1000
	maxText    = 1024
)

// read makes a person of an entry, and tells all names that mean them. An error says
// why the entry cannot be used.
func (d *Directory) read(e *ldap.Entry) (p *found, names map[string]bool, err error) {
	if dn, err := ldap.ParseDN(e.DN); err != nil || len(dn.RDNs) == 0 {
		// A bind without a name is anonymous, and succeeds.
		return nil, nil, errors.New("an entry has no distinguished name")
	}
	p = &found{dn: e.DN, groups: values(e, "memberOf"), uids: values(e, "uid")}
	if p.ID, err = identifier(d.IDAttribute, raw(e, d.IDAttribute)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", e.DN, err)
	}
	names = map[string]bool{}
	for _, v := range values(e, d.NameAttribute) {
		if name := d.prepared(v); name != "" {
			p.Name = name
			break
		}
	}
	if p.Name == "" {
		return nil, nil, fmt.Errorf("%s: the attribute %s has no name", e.DN, d.NameAttribute)
	}
	names[p.Name] = true
	for _, attribute := range d.AliasAttributes {
		for _, v := range values(e, attribute) {
			if alias := address(v); alias != "" && !names[alias] && len(p.Aliases) < maxAliases {
				names[alias] = true
				p.Aliases = append(p.Aliases, alias)
			}
		}
	}
	for _, attribute := range d.LoginAttributes {
		for _, v := range values(e, attribute) {
			for _, name := range []string{d.prepared(v), prepare(v)} {
				if name != "" {
					names[name] = true
				}
			}
		}
	}
	slices.Sort(p.Aliases)
	p.DisplayName = text(e, d.DisplayNameAttribute)
	p.HomeServer = text(e, d.HomeServerAttribute)
	if v := text(e, d.QuotaAttribute); v != "" {
		n, ok := settings.ParseNumber(strings.TrimSuffix(v, "S")) // Courier writes 1000000S
		if !ok || n < 0 {
			return nil, nil, fmt.Errorf("%s: the quota %.40q is neither bytes nor a size", e.DN, v)
		}
		p.QuotaBytes = &n
	}
	d.state(p, e)
	return p, names, nil
}

// prepared gives a name with the domain that it has or gets; "" when it is none.
func (d *Directory) prepared(v string) string {
	if d.Domain != "" && !strings.Contains(v, "@") {
		v += "@" + d.Domain
	}
	return prepare(v)
}

func prepare(v string) string {
	name, err := directory.PrepareName(v)
	if err != nil {
		return ""
	}
	return name
}

// address reads a further address: as it is, or with "smtp:" in front; other kinds of
// addresses (X500:, SIP:) are none.
func address(v string) string {
	if scheme, rest, ok := strings.Cut(v, ":"); ok {
		if !strings.EqualFold(scheme, "smtp") {
			return ""
		}
		v = rest
	}
	return prepare(v)
}

func values(e *ldap.Entry, attribute string) []string {
	if attribute == "" {
		return nil
	}
	return e.GetEqualFoldAttributeValues(attribute)
}

func raw(e *ldap.Entry, attribute string) []byte { return e.GetEqualFoldRawAttributeValue(attribute) }

// text gives the first value of an attribute: one printable line, or "".
func text(e *ldap.Entry, attribute string) string {
	list := values(e, attribute)
	if len(list) == 0 || len(list[0]) > maxText || !utf8.ValidString(list[0]) || strings.ContainsFunc(list[0], unicode.IsControl) {
		return ""
	}
	return list[0]
}

// identifier makes text of a unique identifier. Active Directory's GUIDs are written
// as its tools write them; other octets in hexadecimal.
func identifier(attribute string, v []byte) (string, error) {
	if len(v) == 0 {
		return "", fmt.Errorf("the attribute %s, which identifies people, is empty or may not be read", attribute)
	}
	s := string(v)
	switch {
	case strings.EqualFold(attribute, "objectGUID") && len(v) == 16:
		s = fmt.Sprintf("%x-%x-%x-%x-%x", []byte{v[3], v[2], v[1], v[0]}, []byte{v[5], v[4]}, []byte{v[7], v[6]}, v[8:10], v[10:])
	case directory.CheckID(s) != nil:
		s = hex.EncodeToString(v)
	}
	return s, directory.CheckID(s)
}

// Bits of userAccountControl and of its computed form ([MS-ADTS], 2.2.16, 3.1.1.4.5.17).
const (
	computedControl = "msDS-User-Account-Control-Computed"

	accountDisabled = 0x2
	lockedOut       = 0x10
	passwordExpired = 0x800000
)

// state reads what switches somebody off, when the password changed, and what keeps
// a right one from being accepted.
func (d *Directory) state(p *found, e *ldap.Entry) {
	for _, c := range d.disabled {
		if slices.ContainsFunc(values(e, c.attribute), func(v string) bool { return c.value == "*" || strings.EqualFold(v, c.value) }) {
			p.Blocked = "The attribute " + c.attribute + " switches the account off."
		}
	}
	if d.ad {
		if control, _ := strconv.ParseInt(text(e, "userAccountControl"), 10, 64); control&accountDisabled != 0 {
			p.Blocked = "The account is disabled in the directory."
		}
		if at, ok := fileTime(text(e, "accountExpires")); ok && !d.now().Before(at) {
			p.Blocked = "The account expired on " + at.Format(time.DateOnly) + "."
		}
		switch control, _ := strconv.ParseInt(text(e, computedControl), 10, 64); {
		case control&lockedOut != 0:
			p.note = "the account is locked out in the directory"
		case control&passwordExpired != 0:
			p.note = "the password has expired"
		}
	}
	if p.note != "" {
		return // nothing that was proved before counts
	}
	v := text(e, d.PasswordChangedAttribute)
	if at, ok := fileTime(v); ok {
		p.PasswordChanged = at
	} else if at, err := time.Parse("20060102150405Z0700", v); err == nil { // and fractions
		p.PasswordChanged = at.UTC()
	}
}

// fileTime reads Active Directory's times, 100 ns since 1601; 0 and the largest mean
// never.
func fileTime(v string) (time.Time, bool) {
	n, err := strconv.ParseInt(v, 10, 64)
	const until1970 = 116444736000000000
	if err != nil || len(v) > 18 || n <= until1970 {
		return time.Time{}, false
	}
	n -= until1970
	return time.Unix(n/1e7, n%1e7*100).UTC(), true
}
