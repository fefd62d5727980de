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
		var c [utf8.UTFMax]byte
		r, size := utf8.DecodeRune(c[:copy(c[:], s[i:])])
		i += size
		dst = foldRune(dst, r)
	}
	return dst
}

// foldRune appends one character above 127.
func foldRune(dst []byte, r rune) []byte {
	switch {
	case r < rune(len(folded)):
		return append(dst, folded[r]...)
	case r >= 0x3400 && r <= 0x9fff || r == utf8.RuneError:
		return utf8.AppendRune(dst, r) // Han folds to itself
	case r >= 0xac00 && r <= 0xd7a3:
		return foldHangul(dst, r)
	}
	return decompose(dst, r)
}

// folded holds what Latin, Greek and Cyrillic characters fold to.
var folded = func() (t [0x530]string) {
	for r := range t {
		t[r] = string(decompose(nil, rune(r)))
	}
	return t
}()

// decompose appends r in title case, decomposed, in lower case.
func decompose(dst []byte, r rune) []byte {
	var b [utf8.UTFMax]byte
	d := norm.NFKD.Properties(b[:utf8.EncodeRune(b[:], unicode.ToTitle(r))]).Decomposition()
	if d == nil {
		return utf8.AppendRune(dst, unicode.ToLower(unicode.ToTitle(r)))
	}
	for len(d) > 0 {
		r, size := utf8.DecodeRune(d)
		dst = utf8.AppendRune(dst, unicode.ToLower(unicode.ToTitle(r)))
		d = d[size:]
	}
	return dst
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
