package wire

import (
	"strings"
	"unicode/utf8"
)

// Condition is how a status response begins (RFC 9051, 7.1).
type Condition uint8

// The conditions. PREAUTH and BYE are only untagged.
const (
	OK Condition = iota
	NO
	BAD
	PREAUTH
	BYE
)

var conditions = [...]constant{"OK", "NO", "BAD", "PREAUTH", "BYE"}

// String gives the condition as the protocol writes it.
func (c Condition) String() string {
	if int(c) < len(conditions) {
		return string(conditions[c])
	}
	return "BAD"
}

// Untagged begins an untagged response: "* ".
func (e *Encoder) Untagged() *Encoder { return e.Const("* ") }

// Count writes a whole untagged response that begins with a number, such as
// "* 23 EXISTS".
func (e *Encoder) Count(n uint64, what constant) *Encoder {
	return e.Untagged().Number(n).SP().Const(what).CRLF()
}

// Tagged writes the whole tagged status response that completes a command. tag is
// what Decoder.Tag gave; without a valid one the response becomes untagged, as it
// must for a line whose tag could not be read (RFC 9051, 7.1.3). code is a
// response code without brackets, such as "READ-ONLY" or "APPENDUID 1 5", empty
// for none; text is what a person may read.
func (e *Encoder) Tagged(tag []byte, c Condition, code, text string) *Encoder {
	valid := len(tag) > 0
	for _, b := range tag {
		valid = valid && classes[b]&inTag != 0
	}
	if !valid {
		return e.Status(c, code, text)
	}
	e.send(tag)
	return e.SP().status(c, code, text)
}

// Status writes a whole untagged status response, such as
// "* OK [UIDVALIDITY 1] UIDs are valid".
func (e *Encoder) Status(c Condition, code, text string) *Encoder {
	return e.Untagged().status(c, code, text)
}

func (e *Encoder) status(c Condition, code, text string) *Encoder {
	e.add(c.String())
	e.SP()
	if code != "" {
		e.put('[').Code(code).put(']').SP()
	} else if strings.HasPrefix(text, "[") {
		// It would be read as a code.
		e.put('-')
	}
	return e.Text(text).CRLF()
}

// Code writes a response code's text: what is not printable ASCII, or is "]",
// becomes "?".
func (e *Encoder) Code(s string) *Encoder {
	if plain(s) && strings.IndexByte(s, ']') < 0 {
		e.add(s)
		return e
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c >= 0x7f || c == ']' {
			c = '?'
		}
		e.put(c)
	}
	return e
}

// plain tells whether s is printable ASCII alone, as nearly all is: it is copied whole.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Text writes text for people (RFC 9051, 9 text): control characters become
// spaces, what is not ASCII becomes "?" unless SetUTF8, and the empty text "-".
func (e *Encoder) Text(s string) *Encoder {
	if s == "" {
		return e.put('-')
	}
	if plain(s) {
		e.add(s)
		return e
	}
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case r < ' ' || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029:
			e.put(' ')
		case r < utf8.RuneSelf:
			e.put(byte(r))
		case (e.utf8 || e.utf8Text) && (r != utf8.RuneError || n > 1):
			e.add(s[i : i+n])
		default:
			e.put('?')
		}
		i += n
	}
	return e
}

// Continue writes a whole command continuation request with a text.
func (e *Encoder) Continue(text string) *Encoder {
	e.Const("+ ")
	if strings.HasPrefix(text, "[") {
		e.put('-')
	}
	return e.Text(text).CRLF()
}

// Challenge writes a whole command continuation request with a SASL challenge,
// which may be empty (RFC 9051, 6.2.2).
func (e *Encoder) Challenge(b []byte) *Encoder {
	return e.Const("+ ").Base64(b).CRLF()
}
