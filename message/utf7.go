package message

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// appendUTF7 decodes UTF-7 (RFC 2152) to UTF-8. What is not well formed becomes
// U+FFFD.
func appendUTF7(dst, b []byte) []byte {
	for len(b) > 0 {
		c := b[0]
		b = b[1:]
		switch {
		case c >= 0x80:
			dst = append(dst, "\uFFFD"...)
		case c != '+':
			dst = append(dst, c)
		case len(b) > 0 && b[0] == '-':
			dst = append(dst, '+')
			b = b[1:]
		default:
			dst, b = appendUTF16(dst, b)
		}
	}
	return dst
}

// appendUTF16 decodes a shifted sequence and gives what follows it.
func appendUTF16(dst, b []byte) (out, rest []byte) {
	var acc uint32
	var bits int
	var high rune // a first surrogate that waits for its second
	i := 0
	for ; i < len(b) && unbase64[b[i]] != 0xff; i++ {
		acc = acc<<6 | uint32(unbase64[b[i]])
		if bits += 6; bits < 16 {
			continue
		}
		bits -= 16
		u := rune(acc >> bits & 0xffff)
		acc &= 1<<bits - 1
		switch {
		case high != 0 && u >= 0xdc00 && u < 0xe000:
			dst = utf8.AppendRune(dst, utf16.DecodeRune(high, u))
			high = 0
			continue
		case high != 0:
			dst = append(dst, "\uFFFD"...)
			high = 0
		}
		if u >= 0xd800 && u < 0xdc00 {
			high = u
		} else {
			dst = utf8.AppendRune(dst, u)
		}
	}
	if high != 0 || i == 0 {
		dst = append(dst, "\uFFFD"...)
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	return dst, b[i:]
}

// shiftedKorean turns ISO-2022-KR (RFC 1557) into EUC-KR.
func shiftedKorean(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\x1b$)C"), nil)
	out := make([]byte, 0, len(b))
	shifted := false
	for _, c := range b {
		switch {
		case c == 0x0e:
			shifted = true
		case c == 0x0f:
			shifted = false
		case c == '\n':
			shifted = false
			out = append(out, c)
		case shifted && c > ' ' && c < 0x7f:
			out = append(out, c|0x80)
		default:
			out = append(out, c)
		}
	}
	return out
}
