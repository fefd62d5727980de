package message

import (
	"bytes"
	"html"
	"unicode/utf8"
)

// appendHTMLText appends the text of an HTML document: without tags, comments,
// scripts and styles, with character references resolved. Tags that begin or end
// a block or a cell become a line break, other tags nothing, so that words stay
// whole. It never fails and reads s once.
func appendHTMLText(dst, s []byte) []byte {
	for len(s) > 0 {
		i := bytes.IndexAny(s, "<&")
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		if s[0] == '&' {
			dst, s = appendReference(dst, s)
			continue
		}
		dst, s = skipTag(dst, s)
	}
	return dst
}

// appendReference resolves the character reference that s begins with.
func appendReference(dst, s []byte) (out, rest []byte) {
	const longest = 34
	end := bytes.IndexByte(s[:min(len(s), longest)], ';')
	if end < 0 {
		return append(dst, '&'), s[1:]
	}
	if string(s[:end+1]) == "&nbsp;" {
		return append(dst, ' '), s[end+1:]
	}
	text := html.UnescapeString(string(s[:end+1]))
	if len(text) == end+1 && text[0] == '&' {
		return append(dst, '&'), s[1:]
	}
	return append(dst, text...), s[end+1:]
}

// inlineTags are the elements that do not separate words.
var inlineTags = map[string]bool{
	"a": true, "abbr": true, "acronym": true, "b": true, "bdi": true, "bdo": true, "big": true, "cite": true,
	"code": true, "del": true, "em": true, "font": true, "i": true, "ins": true, "kbd": true, "mark": true,
	"q": true, "s": true, "samp": true, "small": true, "span": true, "strike": true, "strong": true,
	"sub": true, "sup": true, "tt": true, "u": true, "var": true, "wbr": true,
}

// skipTag skips the tag, comment, declaration or whole script or style element
// that s begins with.
func skipTag(dst, s []byte) (out, rest []byte) {
	if bytes.HasPrefix(s, []byte("<!--")) {
		if i := bytes.Index(s[4:], []byte("-->")); i >= 0 {
			return dst, s[4+i+3:]
		}
		return dst, nil
	}
	i := 1
	if i < len(s) && s[i] == '/' {
		i++
	}
	start := i
	for i < len(s) && i-start < 16 && (lower[s[i]] >= 'a' && lower[s[i]] <= 'z' || i > start && isDigit(s[i])) {
		i++
	}
	if i == start && (i >= len(s) || s[i] != '!' && s[i] != '?') {
		return append(dst, '<'), s[1:] // a lone bracket
	}
	var nameBuf [16]byte
	name := appendLower(nameBuf[:0], s[start:i])
	rest = s[tagEnd(s, i):]
	if n := string(name); s[1] != '/' && (n == "script" || n == "style" || n == "title") {
		return append(dst, '\n'), skipElement(rest, name)
	}
	if len(name) > 0 && !inlineTags[string(name)] {
		dst = append(dst, '\n')
	}
	return dst, rest
}

// tagEnd gives the offset after the > that ends a tag; quoted attribute values
// may hold one. A quote that is not closed does not count.
func tagEnd(s []byte, i int) int {
	for i < len(s) {
		switch c := s[i]; c {
		case '>':
			return i + 1
		case '"', '\'':
			if i > 0 && s[i-1] == '=' {
				end := bytes.IndexByte(s[i+1:], c)
				if end < 0 {
					if end = bytes.IndexByte(s[i+1:], '>'); end < 0 {
						return len(s)
					}
					return i + 1 + end + 1
				}
				i += end + 1
			}
		}
		i++
	}
	return len(s)
}

// skipElement skips to after the end tag called name.
func skipElement(s, name []byte) []byte {
	for {
		i := bytes.Index(s, []byte("</"))
		if i < 0 {
			return nil
		}
		s = s[i+2:]
		if len(s) >= len(name) && equalFold(s[:len(name)], name) {
			return s[tagEnd(s, len(name)):]
		}
	}
}

// metaCharset gives the charset that the beginning of an HTML document names, or nil.
func metaCharset(s []byte) []byte {
	s = bounded(s, 2048)
	i := bytes.Index(s, []byte("charset="))
	if i < 0 {
		return nil
	}
	s = bytes.TrimLeft(s[i+8:], `"'`)
	i = 0
	for i < len(s) && i < maxCharset && s[i] > ' ' && s[i] < 0x7f && bytes.IndexByte([]byte(`"';/>`), s[i]) < 0 {
		i++
	}
	return s[:i]
}

// validTail cuts an incomplete character off the end of b, which was cut.
func validTail(b []byte) []byte {
	for i := 1; i <= 3 && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}
