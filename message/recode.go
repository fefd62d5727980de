package message

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
)

// strictCharsets are those for which findCharset gives one that has more: what is written
// is to be understood by who takes the name at its word.
var strictCharsets = map[string]encoding.Encoding{
	"iso-8859-1": charmap.ISO8859_1, "iso_8859-1": charmap.ISO8859_1, "latin1": charmap.ISO8859_1, "l1": charmap.ISO8859_1,
	"iso-8859-9": charmap.ISO8859_9, "iso_8859-9": charmap.ISO8859_9, "latin5": charmap.ISO8859_9, "l5": charmap.ISO8859_9,
}

// EncodeCharset gives text, which is UTF-8, in charset, and replacement, unless it is "",
// for each character that charset has not. KindUnknownCharset; KindCannot for a character,
// or one of replacement, that charset has not.
func EncodeCharset(charset, text, replacement string) ([]byte, error) {
	name := strings.ToLower(strings.TrimSpace(charset))
	has := func(rune) bool { return true }
	var e encoding.Encoding
	switch name {
	case "utf-8", "utf8", "unicode-1-1-utf-8":
		return []byte(strings.ToValidUTF8(text, "\uFFFD")), nil
	case "us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us", "646":
		has = func(r rune) bool { return r < utf8.RuneSelf }
	default:
		if e = strictCharsets[name]; e == nil {
			e = findCharset(name)
		}
		if e == nil {
			return nil, mail.Errorf(mail.KindUnknownCharset, "That charset is not known.")
		}
		known := map[rune]bool{}
		has = func(r rune) bool {
			ok, seen := known[r]
			if !seen {
				_, err := e.NewEncoder().String(string(r))
				ok = err == nil
				known[r] = ok
			}
			return ok
		}
	}
	missing := func(s string) bool { return strings.ContainsFunc(s, func(r rune) bool { return !has(r) }) }
	if missing(text) {
		if replacement == "" || missing(replacement) {
			return nil, mail.Errorf(mail.KindCannot, "The text has characters that are not in the charset %s.", name)
		}
		var b strings.Builder
		for _, r := range text {
			if has(r) {
				b.WriteRune(r)
			} else {
				b.WriteString(replacement)
			}
		}
		text = b.String()
	}
	if e == nil {
		return []byte(text), nil
	}
	out, err := e.NewEncoder().Bytes([]byte(text))
	if err != nil {
		return nil, mail.Errorf(mail.KindCannot, "The text has characters that are not in the charset %s.", name)
	}
	return out, nil
}

// RecodeHeader gives a header block with its encoded words (RFC 2047), and the extended
// parameters of its MIME fields (RFC 2231), in another charset; all else stays as it is.
// What cannot be decoded, or not be said in charset, stays too. KindUnknownCharset. The
// result is at most about three times as long.
func RecodeHeader(header []byte, charset, replacement string) ([]byte, error) {
	if _, err := EncodeCharset(charset, "", ""); err != nil {
		return nil, err
	}
	r := recoder{charset: charset, replacement: replacement}
	out := make([]byte, 0, len(header)+len(header)/4)
	for off := 0; off < len(header); {
		f := nextField(header, off)
		raw, name := header[f.start:f.end], header[f.start:f.nameEnd]
		off = f.end
		switch {
		case f.nameEnd == f.start:
			out = append(out, raw...)
		case (equalFold(name, "content-type") || equalFold(name, "content-disposition")) && bytes.Contains(raw, []byte("*")):
			out = r.appendParams(out, name, header[f.value:f.end], raw)
		default:
			out = r.appendWords(out, raw)
		}
	}
	return out, nil
}

// recoder puts text into another charset.
type recoder struct{ charset, replacement string }

// appendWords appends a field with its encoded words in the other charset.
func (r recoder) appendWords(dst, raw []byte) []byte {
	for {
		i := bytes.Index(raw, []byte("=?"))
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		// Words that follow each other are one text, and the bytes of those of one charset
		// belong together: some senders split characters.
		var text string
		var said, charset []byte
		n := 0
		for n < len(raw) {
			gap := 0
			for n > 0 && n+gap < len(raw) && isSpace(raw[n+gap]) {
				gap++
			}
			w, length, ok := readWord(raw[n+gap:])
			if !ok || !bytes.HasPrefix(raw[n+gap:], []byte("=?")) || n > 0 && gap == 0 {
				break
			}
			if _, err := ConvertCharset(string(w.charset), nil); err != nil {
				break
			}
			if !equalFold(w.charset, charset) {
				text += decodedText(charset, said)
				said, charset = nil, w.charset
			}
			said = append(said, w.bytes()...)
			n += gap + length
		}
		text += decodedText(charset, said)
		if n == 0 {
			dst, raw = append(dst, raw[:2]...), raw[2:]
			continue
		}
		was := len(dst)
		var ok bool
		if dst, ok = r.appendEncoded(dst, text); !ok {
			dst = append(dst[:was], raw[:n]...)
		}
		raw = raw[n:]
	}
}

// decodedText is ConvertCharset with a charset that there is, or nil for nothing.
func decodedText(charset, said []byte) string {
	if charset == nil {
		return ""
	}
	text, _ := ConvertCharset(string(charset), said)
	return text
}

// bytes gives what a word encodes.
func (w encodedWord) bytes() []byte {
	if w.encoding == 'b' {
		return new(base64State).append(nil, w.text, true)
	}
	return appendQ(nil, w.text)
}

// appendEncoded appends text as encoded words of at most 75 characters; false when it
// cannot be said in the charset.
func (r recoder) appendEncoded(dst []byte, text string) ([]byte, bool) {
	if text == "" {
		return append(append(append(dst, "=?"...), r.charset...), "?Q??="...), true
	}
	tail := dst[max(len(dst)-100, 0):] // a longer line is too long, however long
	line := len(tail) - 1 - bytes.LastIndexByte(tail, '\n')
	for first := true; text != ""; first = false {
		// The longest beginning that fits; what is left is never split in a character.
		n := min(len(text), 60)
		var word []byte
		for {
			for n > 1 && n < len(text) && !utf8.RuneStart(text[n]) {
				n--
			}
			said, err := EncodeCharset(r.charset, text[:n], r.replacement)
			if err != nil {
				return dst, false
			}
			if word = r.word(said); len(word) <= 75 || n <= 4 {
				break
			}
			n = n * 3 / 4
		}
		if !first || line+len(word) > 76 && line > 1 {
			if !first {
				dst = append(dst, "\r\n "...)
				line = 1
			} else if last := len(dst) - 1; dst[last] == ' ' {
				dst = append(dst[:last], "\r\n "...)
				line = 1
			}
		}
		dst = append(dst, word...)
		line += len(word)
		text = text[n:]
	}
	return dst, true
}

// word makes an encoded word, in the shorter of the two encodings.
func (r recoder) word(said []byte) []byte {
	q := append(append([]byte("=?"), r.charset...), "?Q?"...)
	head := len(q)
	for _, c := range said {
		switch {
		case c == ' ':
			q = append(q, '_')
		case c > ' ' && c < 0x7f && (c >= '0' && c <= '9' || lower[c] >= 'a' && lower[c] <= 'z' || strings.IndexByte("!*+-/", c) >= 0):
			q = append(q, c)
		default:
			q = append(q, '=', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	if b := base64.StdEncoding.EncodedLen(len(said)); b < len(q)-head {
		q = append(q[:head-2], "B?"...)
		q = base64.StdEncoding.AppendEncode(q, said)
	}
	return append(q, "?="...)
}

// appendParams appends a MIME field with its extended parameters in the other charset, each
// on lines of its own; raw when they cannot be. Comments are left out.
func (r recoder) appendParams(dst, name, value, raw []byte) []byte {
	i := 0
	for i < len(value) && value[i] != ';' {
		if value[i] == '(' {
			return append(dst, raw...)
		}
		i++
	}
	params := appendParams(nil, value[i:])
	out := append(append(append([]byte(nil), name...), ": "...), trim(value[:i])...)
	changed := false
	for _, p := range params {
		if !isExtended(p.name) {
			out = append(append(append(out, ";\r\n "...), p.name...), '=', '"')
			for _, c := range p.value {
				if c == '"' || c == '\\' {
					out = append(out, '\\')
				}
				out = append(out, c)
			}
			out = append(out, '"')
			continue
		}
		charset, _, _ := bytes.Cut(p.value, []byte("'"))
		if _, err := ConvertCharset(string(charset), nil); err != nil {
			return append(dst, raw...)
		}
		said, err := EncodeCharset(r.charset, string(extendedValue(p.value)), r.replacement)
		if err != nil {
			return append(dst, raw...)
		}
		_, rest, _ := bytes.Cut(p.value, []byte("'"))
		language, _, _ := bytes.Cut(rest, []byte("'"))
		out = appendExtended(out, p.name[:len(p.name)-1], r.charset, language, said)
		changed = true
	}
	if !changed {
		return append(dst, raw...)
	}
	return append(append(dst, out...), "\r\n"...)
}

// appendExtended appends an extended parameter, in pieces that keep lines below 78
// characters (RFC 2231, 4.1).
func appendExtended(dst, name []byte, charset string, language, said []byte) []byte {
	head := charset + "'" + string(language) + "'"
	encoded := appendPercent(nil, said)
	room := max(78-len(name)-len(head)-12, 12)
	if len(encoded) <= room {
		return append(append(append(append(append(dst, ";\r\n "...), name...), "*="...), head...), encoded...)
	}
	for n := 0; len(encoded) > 0; n++ {
		cut := min(room, len(encoded))
		for back := 0; back < 2 && cut < len(encoded); back++ {
			// Not within an escape.
			if encoded[cut-1] == '%' || cut > 1 && encoded[cut-2] == '%' {
				cut--
			}
		}
		dst = append(append(dst, ";\r\n "...), name...)
		dst = append(strconv.AppendInt(append(dst, '*'), int64(n), 10), "*="...)
		if n == 0 {
			dst = append(dst, head...)
		}
		dst = append(dst, encoded[:cut]...)
		encoded = encoded[cut:]
	}
	return dst
}
