package message

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// Downgrading (RFC 6858): a message with UTF-8 in its header fields (RFC 6532) is given
// to a client that cannot read that as a surrogate, whose header is ASCII. The bodies of
// its parts stay as they are.
//
//   - An address outside ASCII becomes one that is nobody's, with the true one in its
//     name (2.1).
//   - Subject, Comments and Content-Description become encoded words (2.3; of the last
//     two RFC 6857, 3.2.1 says so).
//   - The parameters of Content-Type and Content-Disposition are encoded, as RFC 6857,
//     3.2.3 has it and not left out, as RFC 6858, 2.2 has it: without its file name an
//     attachment does not open.
//   - Other fields with UTF-8 are left out (2.4).
//   - message/global becomes message/rfc822.
//
// A field whose bytes are no UTF-8 stays as it is: that is old 8-bit mail and no
// internationalized message. So does all that is in a multipart/signed, whose
// signature covers the header fields of its parts (RFC 1847, 2.1).

// nobody is the address of those that cannot be written in ASCII (RFC 6858, 2.1).
const nobody = "<invalid@internationalized-address.invalid>"

// maxParamText bounds an encoded parameter, in bytes: with its name it is on one line
// (RFC 5322, 2.1.1). A longer one is left out.
const maxParamText = 900

// An address of two bytes becomes one of sixty. So that a header full of them does not
// fill the memory, a list of addresses ends at maxPlainField bytes, and fields beyond
// maxPlain bytes more than the message has are left out.
const (
	maxPlainField = 256 << 10
	maxPlain      = 1 << 20
)

// hasUTF8 tells whether a field has UTF-8 beyond ASCII.
func hasUTF8(v []byte) bool { return !isASCII(v) && utf8.Valid(v) }

// blocks calls do for the parts with a header that a surrogate may have otherwise,
// until it gives false.
func (m *Message) blocks(do func(p *part) bool) {
	signed := 0 // up to this part all is signed
	for i := range m.parts {
		p := &m.parts[i]
		switch {
		case i < signed || p.kind == opaque:
		case !do(p):
			return
		case p.kind == multipart && equalFold(p.subtype, "signed"):
			signed = p.next
		}
	}
}

// global tells a part that is a message with UTF-8 in its header (RFC 6532, 3.7).
func (p *part) global() bool { return p.kind == nested && equalFold(p.subtype, "global") }

// internationalized tells whether there is a surrogate: a field has UTF-8, or a part is
// message/global.
func (m *Message) internationalized() (is bool) {
	m.blocks(func(p *part) bool {
		header := m.raw[p.headerStart:p.bodyStart]
		if is = p.global(); is || isASCII(header) {
			return !is
		}
		for off := 0; off < len(header) && !is; {
			f := nextField(header, off)
			is = hasUTF8(header[f.start:f.end])
			off = f.end
		}
		return !is
	})
	return is
}

// Surrogate gives the message as it is given to a client that cannot read UTF-8 in
// header fields; nil when it can read this one. It is at most three times as large as
// the message, and 2 MiB.
func (m *Message) Surrogate() []byte {
	if !m.internationalized() {
		return nil
	}
	out := make([]byte, 0, len(m.raw)+1024)
	done, left := 0, len(m.raw)+maxPlain
	m.blocks(func(p *part) bool {
		header := m.raw[p.headerStart:p.bodyStart]
		if isASCII(header) && !p.global() {
			return true
		}
		out = append(out, m.raw[done:p.headerStart]...)
		done = p.bodyStart
		for off := 0; off < len(header); {
			f := nextField(header, off)
			off = f.end
			whole, name := header[f.start:f.end], header[f.start:f.nameEnd]
			if !hasUTF8(whole) && !(p.global() && equalFold(name, "Content-Type")) {
				out = append(out, whole...)
				continue
			}
			before := len(out)
			out = appendPlainField(out, name, header[f.value:f.end], p.global())
			if left -= len(out) - before; left < 0 {
				out, left = out[:before], 0
			}
		}
		return true
	})
	return append(out, m.raw[done:]...)
}

// appendPlainField appends what stands for a field with UTF-8, which may be nothing.
// global: the field is of a part that is message/global.
func appendPlainField(dst, name, value []byte, global bool) []byte {
	if len(name) == 0 {
		return dst
	}
	start := len(dst)
	dst = append(append(dst, name...), ": "...)
	from := len(dst)
	switch strings.ToLower(string(name)) {
	case "from", "sender", "reply-to", "to", "cc", "bcc", "return-path",
		"resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to":
		dst = appendPlainAddresses(dst, value)
	case "subject", "comments", "content-description":
		dst = appendEncodedWords(dst, appendWords(nil, unfolded(trim(value))))
	case "content-type":
		typ, sub, rest, ok := mediaType(value)
		if !ok || !isASCII(typ) || !isASCII(sub) {
			break
		}
		if global {
			sub = []byte("rfc822")
		}
		dst = append(append(append(dst, typ...), '/'), sub...)
		dst = appendPlainParams(dst, rest)
	case "content-disposition":
		if d, rest := token(skipSpace(value)); len(d) > 0 && isASCII(d) {
			dst = appendPlainParams(append(dst, d...), rest)
		}
	}
	if len(dst) == from {
		return dst[:start]
	}
	return append(dst, "\r\n"...)
}

// appendPlainAddresses appends an address-list, an address on a line.
func appendPlainAddresses(dst, v []byte) []byte {
	var a addressReader
	a.rest = v
	some := false // an address stands before this one
	for start := len(dst); len(dst)-start < maxPlainField && a.next(); {
		if a.kind == groupEnd {
			dst = append(dst, ';')
			continue
		}
		if some {
			dst = append(dst, ",\r\n "...)
		}
		some = true
		if a.kind == groupStart {
			dst = append(appendPhrase(dst, a.name), ": "...)
			some = false
			continue
		}
		dst = a.appendPlain(dst)
	}
	return dst
}

// appendPlain appends the address that was read.
func (a *addressReader) appendPlain(dst []byte) []byte {
	plain := len(a.host) > 0 && len(a.mailbox) > 0 && isASCII(a.mailbox) && isASCII(a.host)
	switch {
	case plain && len(a.name) == 0:
		return appendAddrSpec(dst, a.mailbox, a.host)
	case plain:
		dst = append(appendPhrase(dst, a.name), " <"...)
		return append(appendAddrSpec(dst, a.mailbox, a.host), '>')
	}
	address := append([]byte(nil), a.mailbox...)
	if len(a.host) > 0 {
		address = append(append(address, '@'), a.host...)
	}
	name := a.name
	if len(name) == 0 {
		name = address
	} else if len(address) > 0 {
		name = append(append(append(appendWords([]byte{}, unfolded(name)), " <"...), address...), '>')
	}
	return append(append(appendPhrase(dst, name), ' '), nobody...)
}

// appendAddrSpec appends mailbox@host, which are ASCII.
func appendAddrSpec(dst, mailbox, host []byte) []byte {
	if isDotAtom(mailbox) {
		dst = append(dst, mailbox...)
	} else {
		dst = appendQuoted(dst, mailbox)
	}
	dst = append(dst, '@')
	for _, c := range host {
		if c > ' ' && c < 0x7f {
			dst = append(dst, c)
		}
	}
	return dst
}

// isDotAtom tells what needs no quotes in an address (RFC 5322, 3.2.3).
func isDotAtom(s []byte) bool {
	for i, c := range s {
		if c == '.' && i > 0 && i < len(s)-1 && s[i-1] != '.' {
			continue
		}
		if !isAtomChar(c) {
			return false
		}
	}
	return len(s) > 0
}

func isAtomChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>[]:;@\,."`, c) < 0
}

// appendPhrase appends a display name, decoded where it has encoded words.
func appendPhrase(dst, name []byte) []byte {
	text := appendWords([]byte{}, unfolded(name))
	if !isASCII(text) {
		return appendEncodedWords(dst, text)
	}
	for _, c := range text {
		if c != ' ' && !isAtomChar(c) {
			return appendQuoted(dst, text)
		}
	}
	if len(trim(text)) == 0 {
		return append(dst, `""`...)
	}
	return append(dst, text...)
}

// appendQuoted appends a quoted-string of ASCII.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range withoutControls(text) {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendEncodedWords appends text, which is UTF-8, as encoded words, a word on a line of
// at most 76 characters (RFC 2047, 2); as it is when it is ASCII.
func appendEncodedWords(dst, text []byte) []byte {
	text = withoutControls(text)
	if isASCII(text) {
		return append(dst, text...)
	}
	// Before the first one stands the field's name.
	for most := 30; len(text) > 0; most = 45 {
		word := text
		if len(word) > most {
			word = cutUTF8(word, most)
		}
		// In B nothing has another meaning in a phrase (RFC 2047, 5).
		dst = append(dst, "=?utf-8?b?"...)
		dst = base64.StdEncoding.AppendEncode(dst, word)
		dst = append(dst, "?="...)
		if text = text[len(word):]; len(text) > 0 {
			dst = append(dst, "\r\n "...)
		}
	}
	return dst
}

// withoutControls gives text with blanks for control characters, which may come out of
// encoded words and would be lines of their own.
func withoutControls(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// appendPlainParams appends the parameters of a Content-Type or Content-Disposition
// field, those outside ASCII as RFC 2231, 4 has it.
func appendPlainParams(dst, v []byte) []byte {
	params := appendParams(nil, v)
	extended := func(name []byte) bool {
		for _, p := range params {
			if isExtended(p.name) && equalFold(p.name[:len(p.name)-1], name) {
				return true
			}
		}
		return false
	}
	for _, p := range params {
		text := append([]byte(nil), p.name...)
		switch {
		case !isToken(p.name), len(p.value) > maxParamText, !isASCII(p.value) && !isExtended(p.name) && extended(p.name):
			continue
		case isExtended(p.name):
			// charset'language'text, in which all but ASCII was to be encoded.
			text = append(text, '=')
			for _, c := range p.value {
				if c <= ' ' || c >= 0x7f {
					text = append(text, '%', hexDigits[c>>4], hexDigits[c&15])
				} else {
					text = append(text, c)
				}
			}
		case isASCII(p.value):
			text = appendQuoted(append(text, '='), p.value)
		default:
			text = appendPercent(append(text, "*=utf-8''"...), p.value)
		}
		if len(text) <= maxParamText {
			dst = append(append(dst, ";\r\n "...), text...)
		}
	}
	return dst
}

// isToken tells a parameter's name that can be written.
func isToken(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return len(s) > 0
}
