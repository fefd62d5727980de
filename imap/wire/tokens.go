package wire

import (
	"bytes"
	"encoding/base64"
	"math"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// Peek gives the next byte without consuming it; 0 at the end of the command and
// after a fault. A literal begins with '{', or with '~' if it is a literal8.
func (d *Decoder) Peek() byte {
	if !d.fill() || d.pos == d.end {
		return 0
	}
	return d.buf[d.pos]
}

// AtEnd tells whether only the CRLF of the command is left, or there was a fault.
func (d *Decoder) AtEnd() bool { return !d.fill() || d.pos == d.end }

// End consumes the CRLF that ends the command.
func (d *Decoder) End() {
	if !d.fill() {
		return
	}
	if d.pos != d.end {
		d.Bad("unexpected text after the command")
		return
	}
	d.loaded, d.over = false, true
}

// TryByte consumes c if it comes next, and tells whether it did.
func (d *Decoder) TryByte(c byte) bool {
	if !d.fill() || d.pos == d.end || d.buf[d.pos] != c {
		return false
	}
	d.pos++
	return true
}

// Byte consumes c.
func (d *Decoder) Byte(c byte) {
	if !d.TryByte(c) && d.err == nil {
		switch c {
		case ' ':
			d.Bad("expected a space")
		default:
			d.Bad("expected " + string(rune(c)))
		}
	}
}

// SP consumes one space.
func (d *Decoder) SP() { d.Byte(' ') }

// TrySP consumes one space if it comes next, and tells whether it did.
func (d *Decoder) TrySP() bool { return d.TryByte(' ') }

// count counts one more token of the command.
func (d *Decoder) count() bool {
	if d.atoms++; d.atoms > d.limits.Atoms {
		d.limit(mail.KindLimit, "The command has too many arguments.")
		return false
	}
	return true
}

// run consumes one or more bytes of a class.
func (d *Decoder) run(c class, what string) []byte {
	if !d.fill() || !d.count() {
		return nil
	}
	b := d.buf[d.pos:d.end]
	n := 0
	for n < len(b) && classes[b[n]]&c != 0 {
		n++
	}
	if n == 0 {
		d.Bad(what)
		return nil
	}
	d.pos += n
	return b[:n:n]
}

// Tag consumes a tag: 1*<any ASTRING-CHAR except "+">. It is valid until Next. The
// tag of a command whose first line is too long is given too, beside the fault, so
// that the client finds its answer. Of what only begins as a tag does none is
// given: half of it would be the answer to another command.
func (d *Decoder) Tag() []byte {
	tag := d.run(inTag, "expected a tag")
	if tag != nil && d.Peek() != ' ' && !d.AtEnd() {
		d.Bad("expected a tag")
		tag = nil
	}
	if tag == nil && !d.loaded && !d.fatal {
		tag = d.tagOfLongLine()
	}
	d.tag = append(d.tag[:0], tag...)
	return d.tag
}

// tagOfLongLine gives the tag with which an unread line begins.
func (d *Decoder) tagOfLongLine() []byte {
	const longest = 256
	unread := d.buf[d.next:min(d.w, d.next+longest)]
	for n, c := range unread {
		if c == ' ' {
			return unread[:n]
		}
		if classes[c]&inTag == 0 {
			break
		}
	}
	return nil
}

// Atom consumes 1*ATOM-CHAR.
func (d *Decoder) Atom() []byte { return d.run(inAtom, "expected an atom") }

// Word consumes an atom and gives it in upper case, to be used as in
// switch string(d.Word()) or table[string(d.Word())], which do not allocate.
func (d *Decoder) Word() []byte { return d.allowed(upperAll(d.Atom())) }

// allowed asks Deny's function of a word.
func (d *Decoder) allowed(word []byte) []byte {
	if d.deny != nil && d.err == nil {
		d.Fail(d.deny(string(word)))
	}
	return word
}

// Item is Word for the name of a FETCH item: it ends before "[" and "<" also,
// which are atom characters, as in BODY.PEEK[HEADER]<0.1024>.
func (d *Decoder) Item() []byte {
	return d.allowed(upperAll(d.run(inItem, "expected a name")))
}

func upperAll(b []byte) []byte {
	for i, c := range b {
		b[i] = upper(c)
	}
	return b
}

// TryWord consumes an atom if it is word, in any case, and tells whether it was.
func (d *Decoder) TryWord(word string) bool {
	if !d.fill() {
		return false
	}
	b := d.buf[d.pos:d.end]
	if len(b) < len(word) || !equalFold(b[:len(word)], word) ||
		len(b) > len(word) && classes[b[len(word)]]&inAtom != 0 {
		return false
	}
	if !d.count() {
		return false
	}
	d.pos += len(word)
	if d.deny != nil {
		d.Fail(d.deny(word))
	}
	return true
}

// Number consumes a number of 0 to 4294967295.
func (d *Decoder) Number() uint32 { return uint32(d.number(math.MaxUint32)) }

// NZNumber consumes an nz-number: 1 to 4294967295, without leading zeros.
func (d *Decoder) NZNumber() uint32 { return uint32(d.nzNumber(math.MaxUint32)) }

// Number64 consumes a number64 of 0 to 9223372036854775807 (RFC 9051, 9).
func (d *Decoder) Number64() int64 { return int64(d.number(math.MaxInt64)) }

// NZNumber64 consumes an nz-number64: 1 to 9223372036854775807.
func (d *Decoder) NZNumber64() int64 { return int64(d.nzNumber(math.MaxInt64)) }

// ModSeq consumes a mod-sequence-valzer: 0 to 2^63-1 (RFC 7162, 7).
func (d *Decoder) ModSeq() mail.ModSeq { return mail.ModSeq(d.number(math.MaxInt64)) }

func (d *Decoder) number(most uint64) uint64 {
	if !d.fill() || !d.count() {
		return 0
	}
	return d.digits(most)
}

func (d *Decoder) nzNumber(most uint64) uint64 {
	if c := d.Peek(); c == '0' {
		d.Bad("expected a number that does not begin with 0")
		return 0
	}
	return d.number(most)
}

// digits consumes 1*DIGIT up to most, which is not above 2^63-1.
func (d *Decoder) digits(most uint64) uint64 {
	b := d.buf[d.pos:d.end]
	var v uint64
	n := 0
	for ; n < len(b) && isDigit(b[n]); n++ {
		// v is at most 2^63-1 here, of which ten times and nine may overflow.
		if v > (math.MaxUint64-9)/10 {
			v = math.MaxUint64
			break
		}
		if v = v*10 + uint64(b[n]-'0'); v > most {
			break
		}
	}
	switch {
	case v > most:
		d.Bad("the number is too large")
		return 0
	case n == 0:
		d.Bad("expected a number")
		return 0
	}
	d.pos += n
	return v
}

// String consumes a string: quoted, or a literal.
func (d *Decoder) String() string { return string(d.stringBytes()) }

// AString consumes an astring: 1*ASTRING-CHAR, or a string.
func (d *Decoder) AString() string { return string(d.astringBytes()) }

// NString consumes an nstring; ok is false for NIL.
func (d *Decoder) NString() (s string, ok bool) {
	if d.TryWord("NIL") {
		return "", false
	}
	s = d.String()
	return s, d.err == nil
}

// Binary consumes a string or a literal8 whose bytes may be NUL (RFC 4466, 3),
// within the bounds of other literals. Messages are read with Literal.
func (d *Decoder) Binary() []byte {
	if d.TryByte('~') {
		return d.literalBytes(true)
	}
	return append([]byte(nil), d.stringBytes()...)
}

func (d *Decoder) astringBytes() []byte {
	switch d.Peek() {
	case '"', '{':
		return d.stringBytes()
	}
	return d.run(inAString, "expected a string")
}

func (d *Decoder) stringBytes() []byte {
	switch d.Peek() {
	case '"':
		return d.quoted()
	case '{':
		return d.literalBytes(false)
	}
	d.Bad("expected a quoted string or a literal")
	return nil
}

// quoted consumes a quoted string and gives its content. Peek saw its DQUOTE.
func (d *Decoder) quoted() []byte {
	if !d.count() {
		return nil
	}
	b := d.buf[d.pos+1 : d.end]
	var eight byte
	escaped := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch c {
		case '"':
			d.pos += i + 2
			b = b[:i:i]
			if eight >= utf8.RuneSelf && (!d.utf8 && !d.wide || !utf8.Valid(b)) {
				d.Bad("a quoted string must be ASCII, or UTF-8 once that is enabled")
				return nil
			}
			if escaped {
				// In place, but only now: a fault must leave the end of the line as it
				// came, for Skip to see a literal there.
				b = unescape(b)
			}
			return b
		case '\\':
			escaped = true
			if i++; i == len(b) || b[i] != '"' && b[i] != '\\' {
				d.Bad(`expected " or \ after \ in a quoted string`)
				return nil
			}
		case '\r', 0:
			d.Bad("a quoted string must not contain CR or NUL")
			return nil
		}
		eight |= c
	}
	d.Bad("the quoted string does not end")
	return nil
}

func unescape(b []byte) []byte {
	out := 0
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		}
		b[out] = b[i]
		out++
	}
	return b[:out]
}

// Base64 consumes an initial-resp: base64, or "=" for an empty response
// (RFC 4959, 3). Base64 is strict: padded, no bits set beyond the last byte.
func (d *Decoder) Base64() []byte {
	b := d.run(inBase64, "expected base64")
	if len(b) == 1 && b[0] == '=' || d.err != nil {
		return nil
	}
	return d.base64(b)
}

// SASLLine reads the client's line of a SASL exchange, after End: strict base64 of
// at most Limits.SASLLine bytes. cancelled tells that it was "*" (RFC 9051,
// 6.2.2); otherwise, and without a fault, response may be empty but is not nil.
func (d *Decoder) SASLLine() (response []byte, cancelled bool) {
	b := d.Line(d.limits.SASLLine)
	if d.err != nil {
		return nil, false
	}
	if len(b) == 1 && b[0] == '*' {
		return nil, true
	}
	if response = d.base64(b); response == nil && d.err == nil {
		response = []byte{}
	}
	return response, false
}

var strictBase64 = base64.StdEncoding.Strict()

func (d *Decoder) base64(b []byte) []byte {
	out := make([]byte, strictBase64.DecodedLen(len(b)))
	n, err := strictBase64.Decode(out, b)
	if err != nil || bytes.IndexByte(b, '\r') >= 0 { // Decode skips CR; no line holds an LF
		d.Bad("invalid base64")
		return nil
	}
	return out[:n]
}

// Open consumes the "(" of a list; Close must follow. Most lists are read with
// List.
func (d *Decoder) Open() bool {
	d.Byte('(')
	if d.err != nil {
		return false
	}
	if d.depth++; d.depth > d.limits.Depth {
		d.limit(mail.KindLimit, "Parentheses are nested too deep.")
		return false
	}
	return true
}

// Close consumes the ")" of a list.
func (d *Decoder) Close() {
	d.Byte(')')
	d.depth--
}

// List consumes a parenthesised list, which may be empty: "(" [x *(SP x)] ")". It
// calls element to consume each x.
func (d *Decoder) List(element func()) {
	if !d.Open() {
		return
	}
	if d.Peek() == ')' {
		d.Close()
		return
	}
	for {
		element()
		if d.Peek() == ')' {
			d.Close()
			return
		}
		if d.SP(); d.err != nil {
			return
		}
	}
}

// SkipValue consumes a value that the command does not understand: an atom, a
// number, a set, a string, or a list of values (RFC 4466, 3 tagged-ext-val).
func (d *Decoder) SkipValue() {
	depth := 0
	for {
		switch d.Peek() {
		case '(':
			if !d.Open() {
				return
			}
			depth++
			if d.Peek() != ')' {
				continue
			}
		case '"', '{':
			d.stringBytes()
		case '~':
			d.Binary()
		case '\\':
			d.pos++
			d.run(inAString|inPattern, "expected a value")
		default:
			d.run(inAString|inPattern, "expected a value")
		}
		for depth > 0 && d.Peek() == ')' {
			d.Close()
			depth--
		}
		if depth == 0 {
			return
		}
		if d.SP(); d.err != nil {
			return
		}
	}
}
