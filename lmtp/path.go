package lmtp

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// maxAddress bounds an address, in bytes; RFC 5321, 4.5.3.1.3 asks for 254.
const maxAddress = 1000

// parameter is an esmtp-param: a keyword in capitals and its value.
type parameter struct {
	name, value string
	has         bool // there was a "="
}

// readPath reads the argument of MAIL FROM: or RCPT TO: behind its colon.
// address is what stands between the brackets without a source route, quoted
// local parts unquoted; "" for <>.
//
//	argument = Path *( SP esmtp-param )                     ; RFC 5321, 4.1.2
//	Path     = "<" [ A-d-l ":" ] [ Mailbox ] ">"
//	Mailbox  = Local-part [ "@" ( Domain / address-literal ) ]
func readPath(s string) (address string, params []parameter, ok bool) {
	s = strings.TrimLeft(s, " ") // RFC 5321, 4.1.1.2: seen after the colon
	if !strings.HasPrefix(s, "<") || !utf8.ValidString(s) {
		return "", nil, false
	}
	s = s[1:]
	if strings.HasPrefix(s, "@") {
		_, rest, found := strings.Cut(s, ":")
		if !found {
			return "", nil, false
		}
		s = rest
	}
	local, s, ok := readLocal(s)
	if !ok {
		return "", nil, false
	}
	domain, rest, found := strings.Cut(s, ">")
	if !found {
		return "", nil, false
	}
	switch {
	case len(local)+len(domain) > maxAddress:
		return "", nil, false
	case domain == "":
		address = local
	case local == "" || domain[0] != '@' || !isDomain(domain[1:]):
		return "", nil, false
	default:
		address = local + domain
	}
	if rest == "" {
		return address, nil, true
	}
	if rest[0] != ' ' {
		return "", nil, false
	}
	for word := range strings.FieldsSeq(rest) {
		name, value, has := strings.Cut(word, "=")
		if name == "" {
			return "", nil, false
		}
		params = append(params, parameter{strings.ToUpper(name), value, has})
	}
	return address, params, true
}

// readLocal reads a Local-part, a Dot-string or a Quoted-string, up to the "@"
// or ">" behind it.
func readLocal(s string) (local, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, "@>")
		if i < 0 || strings.ContainsAny(s[:i], "\"(),:;<[\\] \t") {
			return "", "", false
		}
		return s[:i], s[i:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if b.Len() == 0 {
				return "", "", false
			}
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func isDomain(s string) bool {
	if literal, ok := strings.CutPrefix(s, "["); ok {
		literal, ok = strings.CutSuffix(literal, "]")
		_, err := netip.ParseAddr(strings.TrimPrefix(literal, "IPv6:"))
		return ok && err == nil
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool {
			return r < 0x80 && r != '-' && r != '_' && !isAlphanumeric(r)
		}) {
			return false
		}
	}
	return len(s) <= 255
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// angle writes an address as a Path for Return-Path, quoting the local part where
// it must be (RFC 5321, 4.1.2).
func angle(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		at = len(address)
	}
	local, domain := address[:at], address[at:]
	if strings.ContainsAny(local, "\"(),:;<>@[\\] \t") {
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	return "<" + local + domain + ">"
}
