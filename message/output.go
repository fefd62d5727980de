package message

import "strconv"

// output is IMAP's text while it is built. Strings that would take it over
// budget are left out.
type output struct {
	b      []byte
	budget int
}

// text appends s as it is.
func (o *output) text(s string) { o.b = append(o.b, s...) }

func (o *output) number(n int) { o.b = strconv.AppendInt(o.b, int64(n), 10) }

// nstring appends v as a string, or NIL when there is none (RFC 3501, 9 nstring).
func (o *output) nstring(v []byte, present bool) {
	if !present || o.budget <= 0 {
		o.text("NIL")
		return
	}
	o.string(v)
}

// quotable tells the bytes that need nothing in a quoted string: TEXT-CHAR
// without the quoted-specials (RFC 3501, 9).
var quotable = func() (t [256]bool) {
	for i := 1; i < 0x80; i++ {
		t[i] = i != '\r' && i != '\n' && i != '"' && i != '\\'
	}
	return t
}()

// string appends v without the line breaks of folding and without NULs, which no
// IMAP string can hold, as a quoted string, or as a literal when it needs one.
func (o *output) string(v []byte) {
	v = cutUTF8(v, MaxStringBytes)
	if o.budget -= len(v); o.budget < 0 {
		v = nil
	}
	start := len(o.b)
	o.b = append(o.b, '"')
	for i, c := range v {
		if quotable[c] {
			continue
		}
		o.b = append(o.b, v[:i]...)
		v = v[i:]
		o.slowString(v, start)
		return
	}
	o.b = append(append(o.b, v...), '"')
}

// slowString appends the rest v of a string whose quoted form begins at start.
func (o *output) slowString(v []byte, start int) {
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == 0 || c == '\n' || c == '\r' && i+1 < len(v) && v[i+1] == '\n':
		case c == '"' || c == '\\':
			o.b = append(o.b, '\\', c)
		case c == '\r' || c >= 0x80:
			o.literal(v[i:], start)
			return
		default:
			o.b = append(o.b, c)
		}
	}
	o.b = append(o.b, '"')
}

// literal turns the quoted form that begins at start into a literal and appends
// the rest v to it.
func (o *output) literal(v []byte, start int) {
	text := make([]byte, 0, len(o.b)-start+len(v))
	for i := start + 1; i < len(o.b); i++ {
		if o.b[i] == '\\' {
			i++
		}
		text = append(text, o.b[i])
	}
	for i, c := range v {
		if c == 0 || c == '\n' || c == '\r' && i+1 < len(v) && v[i+1] == '\n' {
			continue
		}
		text = append(text, c)
	}
	o.b = append(o.b[:start], '{')
	o.number(len(text))
	o.text("}\r\n")
	o.b = append(o.b, text...)
}
