package message

import (
	"io"

	"github.com/postern-mail/postern/mail"
)

// Decode gives r without its content transfer encoding (RFC 2045, 6): base64,
// quoted-printable, 7bit, 8bit or binary, in any case; an empty one is 7bit.
// Another one is a KindUnknownCTE. What is not well encoded is passed over
// (base64) or let through (quoted-printable): reading fails only where r does.
func Decode(encoding string, r io.Reader) (io.Reader, error) {
	switch {
	case equalFold(encoding, "base64"):
		return &decodeReader{r: r, decode: new(base64State).append}, nil
	case equalFold(encoding, "quoted-printable"):
		return &decodeReader{r: r, decode: new(quotedState).append}, nil
	case encoding == "", equalFold(encoding, "7bit"), equalFold(encoding, "8bit"), equalFold(encoding, "binary"):
		return r, nil
	}
	return nil, mail.Errorf(mail.KindUnknownCTE, "The content transfer encoding of that part is not known.")
}

// decodeReader decodes what it reads, a piece at a time.
type decodeReader struct {
	r      io.Reader
	decode func(dst, src []byte, end bool) []byte
	in     [4096]byte
	buf    []byte // room for decoded bytes, kept
	out    []byte // decoded and not yet read
	err    error
}

func (d *decodeReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		var n int
		n, d.err = d.r.Read(d.in[:])
		d.buf = d.decode(d.buf[:0], d.in[:n], d.err != nil)
		d.out = d.buf
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// base64State decodes base64 piece by piece. Bytes that are not of its alphabet
// are passed over (RFC 2045, 6.8); padding ends a group, not the text, since
// encoded texts are put one behind another.
type base64State struct {
	acc  uint32
	bits int
}

// unbase64 gives the value of a digit, or 0xff.
var unbase64 = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(digits) {
		t[digits[i]] = byte(i)
	}
	return t
}()

func (s *base64State) append(dst, src []byte, _ bool) []byte {
	for i := 0; i < len(src); {
		if s.bits == 0 && i+4 <= len(src) {
			a, b, c, d := unbase64[src[i]], unbase64[src[i+1]], unbase64[src[i+2]], unbase64[src[i+3]]
			if a|b|c|d < 64 {
				v := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(d)
				dst = append(dst, byte(v>>16), byte(v>>8), byte(v))
				i += 4
				continue
			}
		}
		c := src[i]
		i++
		v := unbase64[c]
		if v == 0xff {
			if c == '=' {
				s.acc, s.bits = 0, 0
			}
			continue
		}
		s.acc = s.acc<<6 | uint32(v)
		if s.bits += 6; s.bits >= 8 {
			s.bits -= 8
			dst = append(dst, byte(s.acc>>s.bits))
			s.acc &= 1<<s.bits - 1
		}
	}
	return dst
}

// quotedState decodes quoted-printable piece by piece (RFC 2045, 6.7). What is
// no valid escape is let through as it stands.
type quotedState struct {
	held []byte // an escape or white space that may go on in the next piece
}

// unhex gives the value of a hexadecimal digit, or -1.
var unhex = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 10 {
		t['0'+i] = int8(i)
	}
	for i := range 6 {
		t['A'+i], t['a'+i] = int8(10+i), int8(10+i)
	}
	return t
}()

// maxHeld bounds the white space that is held back because it may stand at the
// end of a line, where it does not count.
const maxHeld = 1024

func (s *quotedState) append(dst, src []byte, end bool) []byte {
	for i := 0; i < len(src); i++ {
		if len(s.held) > 0 {
			dst = s.next(dst, src[i])
			continue
		}
		start := i
		for i < len(src) && !mayHold(src, i) {
			i++
		}
		dst = append(dst, src[start:i]...)
		if i == len(src) {
			break
		}
		if src[i] == '=' && i+2 < len(src) && unhex[src[i+1]] >= 0 && unhex[src[i+2]] >= 0 {
			dst = append(dst, byte(unhex[src[i+1]]<<4|unhex[src[i+2]]))
			i += 2
			continue
		}
		s.held = append(s.held, src[i])
	}
	if end {
		if len(s.held) > 0 && s.held[0] == '=' {
			// A soft line break at the very end.
			if len(trim(s.held[1:])) > 0 {
				dst = append(dst, s.held...)
			}
		}
		s.held = s.held[:0]
	}
	return dst
}

// mayHold tells whether src[i] begins an escape or may begin white space at the
// end of a line.
func mayHold(src []byte, i int) bool {
	switch src[i] {
	case '=':
		return true
	case ' ', '\t':
		return i+1 == len(src) || isSpace(src[i+1])
	}
	return false
}

// next decodes c, which follows what is held.
func (s *quotedState) next(dst []byte, c byte) []byte {
	last := s.held[len(s.held)-1]
	if s.held[0] != '=' {
		switch {
		case c == '\n':
			// White space at the end of a line was added on the way (RFC 2045, 6.7).
			if last == '\r' {
				dst = append(dst, '\r')
			}
			s.held = s.held[:0]
			return append(dst, c)
		case last != '\r' && (c == ' ' || c == '\t' || c == '\r') && len(s.held) < maxHeld:
			s.held = append(s.held, c)
			return dst
		}
		return s.release(dst, c)
	}
	switch {
	case c == '\n' && (len(s.held) == 1 || isSpace(s.held[1])):
		s.held = s.held[:0] // a soft line break
		return dst
	case len(s.held) == 1 && unhex[c] >= 0:
		s.held = append(s.held, c)
		return dst
	case len(s.held) == 2 && unhex[c] >= 0 && unhex[last] >= 0:
		s.held = s.held[:0]
		return append(dst, byte(unhex[last]<<4|unhex[c]))
	case last != '\r' && unhex[last] < 0 && (c == ' ' || c == '\t' || c == '\r') && len(s.held) < maxHeld:
		s.held = append(s.held, c)
		return dst
	}
	return s.release(dst, c)
}

// release lets what is held through and begins anew with c.
func (s *quotedState) release(dst []byte, c byte) []byte {
	dst = append(dst, s.held...)
	s.held = s.held[:0]
	if c == '=' || c == ' ' || c == '\t' {
		s.held = append(s.held, c)
		return dst
	}
	return append(dst, c)
}
