package directory

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Bounds in octets, before and after preparation.
const (
	MaxName     = 255
	MaxPassword = 1024
)

// domainForm compares domains as RFC 5891, 5 does: lower case, NFC, Unicode labels
// shown as such, so that xn--… and its Unicode form are one name.
var domainForm = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// Bounds of groups: octets of a name, and groups of one person.
const (
	MaxGroup  = 256
	MaxGroups = 1000
)

// PrepareGroup brings a group's name into the form in which groups are compared: small
// letters, without blanks around it. KindBadArgument when it is empty, longer than
// MaxGroup, not UTF-8 or has control characters.
func PrepareGroup(s string) (string, error) {
	group := strings.ToLower(norm.NFC.String(strings.TrimSpace(s)))
	if group == "" || len(group) > MaxGroup || !utf8.ValidString(s) || strings.ContainsFunc(group, unicode.IsControl) {
		return "", mail.Errorf(mail.KindBadArgument, "A group's name has 1 to %d octets without control characters.", MaxGroup)
	}
	return group, nil
}

// PrepareGroups prepares names, sorts them and drops doubles. One that cannot be
// prepared goes: no login policy could name it. An error says that there are too many.
func PrepareGroups(names []string) ([]string, error) {
	var groups []string
	for _, name := range names {
		if group, err := PrepareGroup(name); err == nil {
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	if groups = slices.Compact(groups); len(groups) > MaxGroups {
		return nil, mail.Errorf(mail.KindUnavailable, "Somebody is in more than %d groups.", MaxGroups)
	}
	return groups, nil
}

// PrepareName brings a sign-in name or address into the one form in which
// directories keep and compare names, as octets: the local part by the PRECIS
// profile UsernameCaseMapped (RFC 8265, 3.3), the domain in lower case with
// Unicode labels. A name without a domain is allowed. KindBadArgument when s is
// empty, longer than MaxName, not UTF-8, or has what no name has (blanks, control
// characters, mixed directions).
func PrepareName(s string) (string, error) {
	if s == "" || len(s) > MaxName || !utf8.ValidString(s) {
		return "", mail.Errorf(mail.KindBadArgument, "A name has 1 to %d octets of UTF-8.", MaxName)
	}
	local, domain, hasDomain := cutDomain(s)
	prepared, err := precis.UsernameCaseMapped.String(local)
	if err != nil || prepared == "" {
		return "", &mail.Error{Kind: mail.KindBadArgument, Text: "That name has characters that a name cannot have.", Cause: err}
	}
	if hasDomain {
		domain, err = prepareDomain(domain)
		if err != nil {
			return "", err
		}
		prepared += "@" + domain
	}
	if len(prepared) > MaxName {
		return "", mail.Errorf(mail.KindBadArgument, "A name has 1 to %d octets of UTF-8.", MaxName)
	}
	return prepared, nil
}

// cutDomain cuts at the last "@".
func cutDomain(s string) (local, domain string, has bool) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func prepareDomain(s string) (string, error) {
	domain, err := domainForm.ToUnicode(s)
	for _, label := range strings.Split(domain, ".") {
		if label == "" || len(label) > 63*4 || strings.ContainsFunc(label, notDomain) {
			return "", mail.Errorf(mail.KindBadArgument, "The domain of that address is not one.")
		}
	}
	if err != nil {
		return "", &mail.Error{Kind: mail.KindBadArgument, Text: "The domain of that address is not one.", Cause: err}
	}
	return domain, nil
}

// notDomain tells what no label has of ASCII; idna judged the rest.
func notDomain(r rune) bool {
	return r < utf8.RuneSelf && !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z')
}

// PreparePassword brings a password into the form in which it is compared: the
// PRECIS profile OpaqueString (RFC 8265, 4.2). KindBadArgument when it is empty,
// longer than MaxPassword, not UTF-8 or has control characters.
func PreparePassword(s string) (string, error) {
	if s == "" || len(s) > MaxPassword || !utf8.ValidString(s) {
		return "", mail.Errorf(mail.KindBadArgument, "A password has 1 to %d octets of UTF-8.", MaxPassword)
	}
	prepared, err := precis.OpaqueString.String(s)
	if err != nil || prepared == "" || len(prepared) > MaxPassword {
		return "", &mail.Error{Kind: mail.KindBadArgument, Text: "That password has characters that a password cannot have.", Cause: err}
	}
	return prepared, nil
}

// CheckProtocols checks what an entry says of protocols before it is written.
// KindBadArgument.
func CheckProtocols(e Entry) error {
	for i, name := range e.DisabledCapabilities {
		if _, err := settings.AnyCapability(name); err != nil || slices.Index(e.DisabledCapabilities, name) != i {
			return mail.Errorf(mail.KindBadArgument, "%q is no capability that can be switched off, or is there twice.", name)
		}
	}
	if u := e.ImapReferralURL; u != "" {
		if checked, err := settings.ReferralURL(u, false); err != nil || checked != u {
			return mail.Errorf(mail.KindBadArgument, "%q is no URL of another IMAP server.", u)
		}
	}
	return nil
}
