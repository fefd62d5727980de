package message

import (
	"encoding/binary"
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
		if s[i] < utf8.RuneSelf {
			n := len(dst)
			dst = append(dst, s[i:min(i+asciiRun, len(s))]...)
			k := lowerASCII(dst[n:])
			dst = dst[:n+k]
			i += k
			continue
		}
		var c [utf8.UTFMax]byte
		r, size := utf8.DecodeRune(c[:copy(c[:], s[i:])])
		i += size
		dst = foldRune(dst, r)
	}
	return dst
}

// asciiRun is how much is taken to be ASCII at a time. What is not is copied in
// vain, so it is small.
const asciiRun = 128

// lowerASCII puts the ASCII characters at the beginning of b into lower case and
// says how many they are. It takes eight at a time: nearly all mail is folded here.
func lowerASCII(b []byte) int {
	const each = 0x0101010101010101
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		if w&(0x80*each) != 0 {
			break
		}
		// The high bits of those from 'A' on, without those beyond 'Z'.
		upper := (w + (0x80-'A')*each) &^ (w + (0x7f-'Z')*each) & (0x80 * each)
		binary.LittleEndian.PutUint64(b[i:], w|upper>>2)
	}
	for ; i < len(b) && b[i] < utf8.RuneSelf; i++ {
		b[i] = lower[b[i]]
	}
	return i
}

// Titlecase appends s as RFC 5051's i;unicode-casemap makes it, step by step:
// characters mapped to title case and decomposed. The order of its bytes is the
// order of the collation. Like Fold it works character by character.
func Titlecase[S []byte | string](dst []byte, s S) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		var b [utf8.UTFMax]byte
		r, size := utf8.DecodeRune(b[:copy(b[:], s[i:])])
		i += size
		switch r = unicode.ToTitle(r); {
		case r >= 0xac00 && r <= 0xd7a3:
			dst = foldHangul(dst, r)
		default:
			n := utf8.EncodeRune(b[:], r)
			if d := norm.NFKD.Properties(b[:n]).Decomposition(); d != nil {
				dst = append(dst, d...)
			} else {
				dst = append(dst, b[:n]...)
			}
		}
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
