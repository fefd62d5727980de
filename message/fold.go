package message

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold appends s folded for comparison without regard to case, as RFC 5051's
// i;unicode-casemap: characters are mapped to title case and decomposed, and then
// to lower case. It works character by character, so what is part of a text is,
// folded, part of the folded text. Bytes that are no UTF-8 become U+FFFD.
func Fold[S []byte | string](dst []byte, s S) []byte {
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && s[i] < utf8.RuneSelf {
			i++
		}
		if i > start {
			n := len(dst)
			dst = append(dst, s[start:i]...)
			for j, c := range dst[n:] {
				dst[n+j] = lower[c]
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
		i += size
		dst = foldRune(dst, r)
	}
	return dst
}

// foldRune appends one character above 127.
func foldRune(dst []byte, r rune) []byte {
	switch {
	case r >= 0x2e80 && r < 0xa000 && r != 0x3000 || r == utf8.RuneError:
		if r < 0x2e80 || r >= 0x3400 || r == utf8.RuneError || r > 0x3040 && r < 0x3130 && !voiced(r) {
			return utf8.AppendRune(dst, r) // Han and most kana fold to themselves
		}
	case r >= 0xac00 && r <= 0xd7a3:
		return foldHangul(dst, r)
	}
	r = unicode.ToTitle(r)
	var b [utf8.UTFMax]byte
	p := norm.NFKD.Properties(b[:utf8.EncodeRune(b[:], r)])
	d := p.Decomposition()
	if d == nil {
		return utf8.AppendRune(dst, unicode.ToLower(r))
	}
	for len(d) > 0 {
		r, size := utf8.DecodeRune(d)
		dst = utf8.AppendRune(dst, unicode.ToLower(unicode.ToTitle(r)))
		d = d[size:]
	}
	return dst
}

// voiced tells the kana that may have a decomposition.
func voiced(r rune) bool {
	return norm.NFKD.PropertiesString(string(r)).Decomposition() != nil
}

// foldHangul appends the letters of a syllable (Unicode, 3.12).
func foldHangul(dst []byte, r rune) []byte {
	s := r - 0xac00
	dst = utf8.AppendRune(dst, 0x1100+s/588)
	dst = utf8.AppendRune(dst, 0x1161+s%588/28)
	if t := s % 28; t > 0 {
		dst = utf8.AppendRune(dst, 0x11a7+t)
	}
	return dst
}
