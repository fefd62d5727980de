package wire

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// modified is the alphabet of modified BASE64 (RFC 3501, 5.1.3).
const modified = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

// EncodeUTF7 gives a mailbox name in modified UTF-7 (RFC 3501, 5.1.3). Bytes that
// are not UTF-8 become U+FFFD.
func EncodeUTF7(name string) string {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < 0x20 || c > 0x7e || c == '&' {
			return string(AppendUTF7(nil, name))
		}
	}
	return name
}

// AppendUTF7 appends what EncodeUTF7 gives to dst.
func AppendUTF7(dst []byte, name string) []byte {
	var bits uint32
	var n uint // bits that are pending in bits
	shifted := false
	put := func(unit uint32) {
		bits = bits<<16 | unit
		for n += 16; n >= 6; {
			n -= 6
			dst = append(dst, modified[bits>>n&63])
		}
	}
	unshift := func() {
		if !shifted {
			return
		}
		if n > 0 {
			dst = append(dst, modified[bits<<(6-n)&63])
		}
		dst = append(dst, '-')
		bits, n, shifted = 0, 0, false
	}
	for _, r := range name {
		if r >= 0x20 && r <= 0x7e {
			unshift()
			dst = append(dst, byte(r))
			if r == '&' {
				dst = append(dst, '-')
			}
			continue
		}
		if !shifted {
			dst = append(dst, '&')
			shifted = true
		}
		if r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			put(uint32(hi))
			put(uint32(lo))
			continue
		}
		put(uint32(r))
	}
	unshift()
	return dst
}

// DecodeUTF7 gives a name in UTF-8. Only the form that EncodeUTF7 gives is taken,
// so that one mailbox has one name: an error (KindBadArgument) for 8-bit and
// control bytes, printable ASCII in BASE64, superfluous shifts, bits left over, a
// missing "-" and surrogates without their other half.
func DecodeUTF7(s string) (string, error) {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", badUTF7()
		}
		plain = plain && s[i] != '&'
	}
	if plain {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '&' {
			out = append(out, s[i])
			i++
			continue
		}
		i++
		if i < len(s) && s[i] == '-' {
			out = append(out, '&')
			i++
			continue
		}
		var ok bool
		if out, i, ok = shiftedUTF7(out, s, i); !ok {
			return "", badUTF7()
		}
		// Another shift at once is superfluous, "&-" is not one.
		if i+1 < len(s) && s[i] == '&' && s[i+1] != '-' {
			return "", badUTF7()
		}
	}
	return string(out), nil
}

// shiftedUTF7 decodes modified BASE64 from s[i:] up to its "-" and gives where the
// text goes on.
func shiftedUTF7(out []byte, s string, i int) ([]byte, int, bool) {
	var bits, n, high uint32
	for ; i < len(s) && s[i] != '-'; i++ {
		v := digit64(s[i])
		if v > 63 {
			return nil, 0, false
		}
		bits = bits<<6 | v
		if n += 6; n < 16 {
			continue
		}
		n -= 16
		unit := bits >> n & 0xffff
		bits &= 1<<n - 1
		switch {
		case unit >= 0xd800 && unit < 0xdc00:
			if high != 0 {
				return nil, 0, false
			}
			high = unit
		case unit >= 0xdc00 && unit < 0xe000:
			if high == 0 {
				return nil, 0, false
			}
			out = utf8.AppendRune(out, utf16.DecodeRune(rune(high), rune(unit)))
			high = 0
		case high != 0, unit >= 0x20 && unit <= 0x7e:
			return nil, 0, false
		default:
			out = utf8.AppendRune(out, rune(unit))
		}
	}
	// What is left are padding bits: fewer than a digit's, and zero.
	if i == len(s) || n >= 6 || bits != 0 || high != 0 {
		return nil, 0, false
	}
	return out, i + 1, true
}

func digit64(c byte) uint32 {
	switch {
	case c >= 'A' && c <= 'Z':
		return uint32(c - 'A')
	case c >= 'a' && c <= 'z':
		return uint32(c-'a') + 26
	case isDigit(c):
		return uint32(c-'0') + 52
	case c == '+':
		return 62
	case c == ',':
		return 63
	}
	return 64
}

func badUTF7() error {
	return mail.Errorf(mail.KindBadArgument, "The mailbox name is not canonical modified UTF-7.")
}
