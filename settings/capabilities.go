package settings

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// capabilityNames are the capabilities that can be switched off, by service: those of
// the registries that are not the protocol itself and have no setting of their own
// (STARTTLS and STLS, LOGINDISABLED, AUTH=, SASL and USER have). Of a family such as
// APPENDLIMIT=67108864 it is what stands before the value. A test of each protocol
// finds those that are missing.
var capabilityNames = map[Service][]string{
	IMAP4: {
		"ACL", "ANNOTATE-EXPERIMENT-1", "APPENDLIMIT", "BINARY", "CATENATE", "CHILDREN", "COMPARATOR", "COMPRESS=DEFLATE",
		"CONDSTORE", "CONTEXT=SEARCH", "CONTEXT=SORT", "CONVERT", "CREATE-SPECIAL-USE", "ENABLE", "ESEARCH", "ESORT",
		"FILTERS", "I18NLEVEL", "ID", "IDLE", "IMAP4rev2", "INPROGRESS", "JMAPACCESS", "LANGUAGE",
		"LIST-EXTENDED", "LIST-METADATA", "LIST-MYRIGHTS", "LIST-STATUS", "LITERAL+", "LITERAL-", "LOGIN-REFERRALS",
		"MAILBOX-REFERRALS", "MESSAGELIMIT", "METADATA", "METADATA-SERVER", "MOVE", "MULTIAPPEND", "MULTISEARCH",
		"NAMESPACE", "NOTIFY", "OBJECTID", "PARTIAL", "PREVIEW", "QRESYNC", "QUOTA", "QUOTASET", "REPLACE", "RIGHTS",
		"SASL-IR", "SAVEDATE", "SAVELIMIT", "SEARCH=FUZZY", "SEARCHRES", "SORT", "SORT=DISPLAY", "SPECIAL-USE",
		"STATUS=SIZE", "THREAD", "UIDBATCHES", "UIDONLY", "UIDPLUS", "UNAUTHENTICATE", "UNSELECT", "URL-PARTIAL",
		"URLAUTH", "URLAUTH=BINARY", "UTF8=ACCEPT", "WITHIN",
	},
	POP3: {
		"AUTH-RESP-CODE", "EXPIRE", "IMPLEMENTATION", "LANG", "LOGIN-DELAY", "PIPELINING", "RESP-CODES", "TOP", "UIDL", "UTF8",
	},
}

// maxCapabilityRules bounds ClientCapabilityRules.
const maxCapabilityRules = 100

// Capability gives the name of a capability that can be switched off as it is
// written, in any case. KindBadArgument.
func Capability(s Service, name string) (string, error) {
	for _, c := range capabilityNames[s] {
		if strings.EqualFold(c, strings.TrimSpace(name)) {
			return c, nil
		}
	}
	return "", mail.Errorf(mail.KindBadArgument, "contains %q, which is no capability that %s can switch off", name, s)
}

// AnyCapability is Capability for IMAP4 or else POP3.
func AnyCapability(name string) (string, error) {
	for _, s := range both {
		if c, err := Capability(s, name); err == nil {
			return c, nil
		}
	}
	return "", mail.Errorf(mail.KindBadArgument, "contains %q, which is no capability that can be switched off", name)
}

// Capabilities lists those that can be switched off.
func Capabilities(s Service) []string { return slices.Clone(capabilityNames[s]) }

// DisabledCapabilities are neither named nor accepted.
var DisabledCapabilities = lists(Row{
	Name: "DisabledCapabilities", Noun: "Settings", Page: Retrieval, Type: "capability list", Services: both,
	Help: "Extensions of the protocol that the service neither names nor accepts, by the names of CAPABILITY and CAPA, such as IDLE or COMPRESS=DEFLATE: their commands, data items, search keys and parameters are answered as if they were not known. Acts on new connections. Set-CASMailbox switches extensions off for one mailbox, ClientCapabilityRules for some clients.",
}, len(capabilityNames[IMAP4]), Capability, func(Service) string { return "names of extensions that can be switched off" })

// ClientCapabilityRules switches capabilities off for some clients. It begins with those
// that are known to fail with something that they ask for (docs/compatibility.md).
//
// DEVIATES: RFC 2971, 3: what a server does is not to depend on what a client says of itself
// with ID. New Outlook enables UIDONLY and then uses sequence numbers, which that forbids:
// without its entry it shows no mail. The administrator can take the entry away.
var ClientCapabilityRules = beginWith(lists(Row{
	Name: "ClientCapabilityRules", Noun: "Settings", Page: Retrieval, Type: "rule list", Services: both,
	Help: "Extensions that are switched off for some clients, each entry a network, or what IMAP4 clients say of themselves with ID (name and version, * for any characters), a colon and names of capabilities: \"192.0.2.0/24: IDLE\" or \"Old Mail 3.*: CONDSTORE QRESYNC\". A client that says ID after CAPABILITY has heard the name already; the extension is refused nevertheless.",
}, maxCapabilityRules, capabilityRule, func(Service) string { return fmt.Sprintf("at most %d entries", maxCapabilityRules) }),
	map[Service][]string{IMAP4: {"Microsoft Office 365*: UIDONLY"}})

// CapabilityRule is an entry of ClientCapabilityRules.
type CapabilityRule struct {
	Network netip.Prefix // the zero value: it goes by the client
	Client  string       // pattern
	Names   []string
}

// ParseCapabilityRule reads an entry of ClientCapabilityRules. KindBadArgument.
//
//	rule = (network / pattern) ":" 1*(SP capability)
func ParseCapabilityRule(s Service, text string) (CapabilityRule, error) {
	var r CapabilityRule
	whom, names := cutRule(text)
	if len(text) > 500 || strings.ContainsAny(text, "\r\n\x00") {
		return r, mail.Errorf(mail.KindBadArgument, "has entries such as \"192.0.2.0/24: IDLE\", and %q is none", text)
	}
	for _, name := range strings.FieldsFunc(names, func(c rune) bool { return c == ' ' || c == ',' }) {
		name, err := Capability(s, name)
		if err != nil {
			return r, err
		}
		r.Names = append(r.Names, name)
	}
	if whom == "" || len(r.Names) == 0 {
		return r, mail.Errorf(mail.KindBadArgument, "has entries such as \"192.0.2.0/24: IDLE\", and %q is none", text)
	}
	if network, err := ParseNetwork(whom); err == nil {
		r.Network = network
	} else if r.Client = whom; s == POP3 {
		return r, mail.Errorf(mail.KindBadArgument, "has networks alone, as POP3 clients do not say what they are, and %q is none", whom)
	}
	return r, nil
}

// cutRule gives what a rule has before its last colon, and behind it: an IPv6 network has
// colons, a capability none.
func cutRule(text string) (whom, names string) {
	i := max(0, strings.LastIndexByte(text, ':'))
	return strings.TrimSpace(text[:i]), strings.TrimPrefix(text[i:], ":")
}

func capabilityRule(s Service, text string) (string, error) {
	r, err := ParseCapabilityRule(s, text)
	if err != nil {
		return "", err
	}
	whom := r.Client
	if r.Network.IsValid() {
		whom = r.Network.String()
	}
	return whom + ": " + strings.Join(r.Names, " "), nil
}

// Holds tells whether the rule is for a client at an address that calls itself client.
func (r CapabilityRule) Holds(address netip.Addr, client string) bool {
	if r.Network.IsValid() {
		return address.IsValid() && r.Network.Contains(address)
	}
	return matches(strings.ToLower(r.Client), strings.ToLower(client))
}

// matches tells whether text matches a pattern with *.
func matches(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for star {
		var piece string
		piece, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(text, piece)
		}
		i := strings.Index(text, piece)
		if i < 0 {
			return false
		}
		text = text[i+len(piece):]
	}
	return text == ""
}

// MaskedCapabilities gives what is switched off for a client, by name; nil for nothing.
// more are those of its mailbox, of which names of other services are passed over.
func MaskedCapabilities(v *Values, s Service, address netip.Addr, client string, more []string) map[string]bool {
	off := more
	if disabled := DisabledCapabilities.Of(v); len(disabled) > 0 {
		off = slices.Concat(disabled, more)
	}
	for _, text := range ClientCapabilityRules.Of(v) {
		// Most clients are known by their first letters to be others, which is asked of
		// each that connects and need not be read for it.
		if whom, _ := cutRule(text); !mayBe(whom, client) {
			continue
		}
		if r, err := ParseCapabilityRule(s, text); err == nil && r.Holds(address, client) {
			off = slices.Concat(off, r.Names)
		}
	}
	if len(off) == 0 {
		return nil
	}
	masked := make(map[string]bool, len(off))
	for _, name := range off {
		masked[name] = true
	}
	return masked
}

// mayBe tells whether whom of a rule may be a network, or a pattern that begins as client.
func mayBe(whom, client string) bool {
	if strings.IndexFunc(whom, func(c rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF.:/", c) }) < 0 {
		return true
	}
	first, _, _ := strings.Cut(whom, "*")
	return len(client) >= len(first) && strings.EqualFold(client[:len(first)], first)
}

// beginWith gives a row of lists another default than an empty list.
func beginWith(s Setting[[]string], standard map[Service][]string) Setting[[]string] {
	s.standard = func(service Service, _ string) any { return append([]string{}, standard[service]...) }
	return s
}

// lists completes a row whose values are lists of texts that read checks and limits
// describes.
func lists(r Row, most int, read func(Service, string) (string, error), limits func(Service) string) Setting[[]string] {
	row := &r
	row.standard = func(Service, string) any { return []string{} }
	row.show = func(v any) any { return slices.Clone(v.([]string)) }
	row.limits = limits
	row.schema = func(Service) map[string]any { return listSchema(map[string]any{"type": "string"}, most) }
	row.read = func(s Service, current any, raw json.RawMessage) (any, error) {
		now, _ := current.([]string)
		edit, err := ReadListEdit(raw)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		list, err := ApplyListEdit(edit, now, func(text string) (string, error) { return read(s, text) })
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		if len(list) > most {
			return nil, row.refuse("has at most %d entries", most)
		}
		return list, nil
	}
	return Setting[[]string]{row}
}
