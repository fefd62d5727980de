package message

import (
	"slices"
	"strings"
)

// maxParams bounds the parameters of one field; further ones do not count.
const maxParams = 256

// param is a parameter of a Content-Type or Content-Disposition field.
type param struct{ name, value []byte }

// mediaType reads the type and subtype that a Content-Type field begins with and
// gives what follows them. ok is false for one that is not of the form (RFC 2045, 5.1).
func mediaType(v []byte) (typ, sub, rest []byte, ok bool) {
	v = skipSpace(v)
	typ, v = token(v)
	v = skipSpace(v)
	if len(typ) == 0 || len(v) == 0 || v[0] != '/' {
		return nil, nil, nil, false
	}
	sub, v = token(skipSpace(v[1:]))
	return typ, sub, v, len(sub) > 0
}

// token reads a token (RFC 2045, 5.1), bytes above 127 included.
func token(v []byte) (tok, rest []byte) {
	i := 0
	for i < len(v) && v[i] > ' ' && v[i] != 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, v[i]) < 0 {
		i++
	}
	return v[:i], v[i:]
}

// skipSpace skips white space, line breaks and comments (RFC 5322, 3.2.2).
func skipSpace(v []byte) []byte {
	for len(v) > 0 {
		switch {
		case isSpace(v[0]):
			v = v[1:]
		case v[0] == '(':
			v = v[commentLen(v):]
		default:
			return v
		}
	}
	return v
}

// commentLen gives the length of the comment that v begins with. One that is not
// closed ends with v.
func commentLen(v []byte) int {
	depth := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(v)
}

// quoted reads the quoted-string that v begins with and gives its content without
// quoting and line breaks, and what follows. One that is not closed ends with v.
func quoted(v []byte) (s, rest []byte) {
	i := 1
	for i < len(v) && v[i] != '"' && v[i] != '\\' && v[i] != '\n' && v[i] != '\r' {
		i++
	}
	if i >= len(v) {
		return v[1:], nil
	}
	if v[i] == '"' {
		return v[1:i], v[i+1:]
	}
	s = append(s, v[1:i]...)
	for ; i < len(v); i++ {
		switch c := v[i]; c {
		case '"':
			return s, v[i+1:]
		case '\r', '\n':
		case '\\':
			if i++; i < len(v) && v[i] != '\r' && v[i] != '\n' {
				s = append(s, v[i])
			}
		default:
			s = append(s, c)
		}
	}
	return s, nil
}

// appendParams reads the parameters in v, which begin with semicolons, and appends
// them to dst. Those of RFC 2231, 3 that come in pieces are put together: the
// pieces filename*0 and filename*1 become filename, and when a piece is in the
// extended form of RFC 2231, 4 they become filename*, still encoded.
func appendParams(dst []param, v []byte) []param {
	first := len(dst)
	pieces := false
	v = skipSpace(v)
	missing := len(v) > 0 && v[0] != ';' // some senders forget the first semicolon
	for len(dst)-first < maxParams {
		if !missing {
			if v = nextSemicolon(v); len(v) == 0 {
				break
			}
			v = skipSpace(v[1:])
		}
		missing = false
		i := 0
		for i < len(v) && v[i] > ' ' && v[i] != '=' && v[i] != ';' && v[i] != '"' {
			i++
		}
		name := v[:i]
		v = skipSpace(v[i:])
		if len(v) == 0 || v[0] != '=' || len(name) == 0 {
			continue
		}
		v = skipSpace(v[1:])
		var value []byte
		if len(v) > 0 && v[0] == '"' {
			value, v = quoted(v)
		} else {
			value, v = unquoted(v)
		}
		if _, _, ok := piece(name); ok {
			pieces = true
		}
		dst = append(dst, param{name, value})
	}
	if pieces {
		return append(dst[:first], joinPieces(dst[first:])...)
	}
	return dst
}

// nextSemicolon skips to the next semicolon outside quoted strings and comments.
func nextSemicolon(v []byte) []byte {
	for len(v) > 0 && v[0] != ';' {
		switch v[0] {
		case '"':
			_, v = quoted(v)
		case '(':
			v = v[commentLen(v):]
		default:
			v = v[1:]
		}
	}
	return v
}

// unquoted reads a value without quotes: what stands before the next semicolon or
// comment, so that file names with spaces come through.
func unquoted(v []byte) (value, rest []byte) {
	i := 0
	for i < len(v) && v[i] != ';' && (v[i] != '(' || i == 0 || !isSpace(v[i-1])) {
		i++
	}
	return unfolded(trim(v[:i])), v[i:]
}

// piece splits a name such as filename*12* into filename and 12 (RFC 2231, 3).
func piece(name []byte) (stem []byte, number int, ok bool) {
	if isExtended(name) {
		name = name[:len(name)-1]
	}
	i := len(name)
	for i > 0 && name[i-1] >= '0' && name[i-1] <= '9' && len(name)-i < 4 {
		i--
		number += int(name[i]-'0') * [...]int{1, 10, 100, 1000}[len(name)-i-1]
	}
	if i == len(name) || i < 2 || name[i-1] != '*' {
		return nil, 0, false
	}
	return name[:i-1], number, true
}

// joinPieces gives the parameters with pieces put together, after those that are
// whole. Pieces of which one is missing stay as they are.
func joinPieces(in []param) []param {
	type numbered struct {
		stem   []byte
		number int
		param
	}
	var out []param
	var pieces []numbered
	for _, p := range in {
		if stem, n, ok := piece(p.name); ok {
			pieces = append(pieces, numbered{stem, n, p})
		} else {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(pieces, func(a, b numbered) int {
		if c := strings.Compare(strings.ToLower(string(a.stem)), strings.ToLower(string(b.stem))); c != 0 {
			return c
		}
		return a.number - b.number
	})
	for i := 0; i < len(pieces); {
		j, extended, whole := i, false, true
		for ; j < len(pieces) && equalFold(pieces[j].stem, pieces[i].stem); j++ {
			extended = extended || isExtended(pieces[j].name)
			whole = whole && pieces[j].number == j-i
		}
		if !whole {
			for ; i < j; i++ {
				out = append(out, pieces[i].param)
			}
			continue
		}
		name, value := pieces[i].stem, []byte(nil)
		if extended {
			name = append(append([]byte(nil), name...), '*')
			if !isExtended(pieces[i].name) {
				value = append(value, "''"...) // neither charset nor language
			}
		}
		for ; i < j; i++ {
			if extended && !isExtended(pieces[i].name) {
				value = appendPercent(value, pieces[i].value)
			} else {
				value = append(value, pieces[i].value...)
			}
		}
		out = append(out, param{name, value})
	}
	return out
}

// isExtended tells the names of the form of RFC 2231, 4.
func isExtended(name []byte) bool { return len(name) > 0 && name[len(name)-1] == '*' }

const hexDigits = "0123456789ABCDEF"

// appendPercent appends s with what is no attribute-char (RFC 2231, 7) encoded.
func appendPercent(dst, s []byte) []byte {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=*'%`, c) >= 0 {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// extendedValue decodes the value of a parameter whose name ends in an asterisk,
// charset'language'text (RFC 2231, 4), to UTF-8.
func extendedValue(v []byte) []byte {
	charset, text, ok := strings.Cut(string(v), "'")
	if _, t, two := strings.Cut(text, "'"); ok && two {
		text = t
	} else {
		charset, text = "", string(v)
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) && unhex[text[i+1]] >= 0 && unhex[text[i+2]] >= 0 {
			b = append(b, byte(unhex[text[i+1]]<<4|unhex[text[i+2]]))
			i += 2
		} else {
			b = append(b, text[i])
		}
	}
	return toUTF8([]byte(charset), b)
}

// paramValue gives the decoded value of the parameter name: its extended form
// when there is one, else the plain one with encoded words decoded, which RFC 2047,
// 5 forbids and many senders write.
func paramValue(params []param, name string) []byte {
	var plain []byte
	for _, p := range params {
		if n := len(p.name); isExtended(p.name) && equalFold(p.name[:n-1], name) {
			return extendedValue(p.value)
		}
		if plain == nil && equalFold(p.name, name) {
			plain = p.value
		}
	}
	return appendWords(nil, plain)
}
