package message

import "bytes"

// addresses appends the address-list v (RFC 5322, 3.4, with the forms of 4.4) in
// the form of ENVELOPE, without the outer parentheses: "(" name adl mailbox host ")"
// for each, groups as RFC 3501, 7.4.2 wants them. It reads whatever there is:
//
//   - an address without a host has the host "";
//   - words that are no address at all are the mailbox of one;
//   - a comment behind an address is the name of one that has none;
//   - a quoted string, comment or group that is not closed ends with the field.
func (o *output) addresses(v []byte) {
	var a addressReader
	a.rest = v
	for a.next() && o.budget > 0 {
		switch a.kind {
		case groupStart:
			o.text("(NIL NIL ")
			o.string(a.name)
			o.text(" NIL)")
		case groupEnd:
			o.text("(NIL NIL NIL NIL)")
		default:
			o.b = append(o.b, '(')
			o.nstring(a.name, len(a.name) > 0)
			o.b = append(o.b, ' ')
			o.nstring(a.route, len(a.route) > 0)
			o.b = append(o.b, ' ')
			o.string(a.mailbox)
			o.b = append(o.b, ' ')
			o.string(a.host)
			o.b = append(o.b, ')')
		}
		o.budget -= 16
	}
}

type addressKind uint8

const (
	oneAddress addressKind = iota
	groupStart
	groupEnd
)

// addressReader reads an address-list from left to right, once.
type addressReader struct {
	rest    []byte
	inGroup bool

	kind                       addressKind
	name, route, mailbox, host []byte
}

// words collects the words of a phrase or of a local part.
type words struct {
	text  []byte
	owned bool // text is a copy and may be appended to
	quote bool // a word was quoted
}

// add appends a word.
func (w *words) add(s []byte, glue bool) {
	if w.text == nil && !glue {
		w.text = s[:len(s):len(s)]
		if s == nil {
			w.text = []byte{}
		}
		return
	}
	if !w.owned {
		w.text, w.owned = append(make([]byte, 0, len(w.text)+len(s)+16), w.text...), true
	}
	if !glue && len(w.text) > 0 {
		w.text = append(w.text, ' ')
	}
	w.text = append(w.text, s...)
}

// localPart gives the words without the white space around dots (RFC 5322, 4.4
// obs-local-part).
func (w *words) localPart() []byte {
	if w.quote || bytes.IndexByte(w.text, ' ') < 0 {
		return w.text
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(w.text, []byte(". "), []byte(".")), []byte(" ."), []byte("."))
}

// next reads the next address, group start or group end into a.
func (a *addressReader) next() bool {
	a.kind = oneAddress
	a.name, a.route, a.mailbox, a.host = nil, nil, nil, nil
	var w words        // phrase or local part
	var comment []byte // the last comment behind a word
	var lead []byte    // the last one before all words
	glue := false      // no space stood before this word
	blank := false     // white space stands before what comes
	for len(a.rest) > 0 {
		spaced := blank
		blank = false
		switch c := a.rest[0]; c {
		case ' ', '\t', '\r', '\n':
			a.rest = a.rest[1:]
			glue, blank = false, true
			continue
		case '(':
			n := commentLen(a.rest)
			if comment = commentText(a.rest[:n]); w.text == nil {
				comment, lead = nil, comment
			}
			a.rest = a.rest[n:]
			continue
		case '"':
			s, rest := quoted(a.rest)
			w.add(s, glue)
			w.quote = true
			a.rest, glue = rest, false
			continue
		case '<':
			a.angle()
			a.name = w.text
			if len(a.name) == 0 {
				a.name = lead
			}
			if len(a.name) == 0 {
				a.name = comment
			}
			if len(a.mailbox) == 0 && len(a.host) == 0 && len(a.name) == 0 {
				w = words{}
				continue
			}
			return true
		case '@':
			a.rest = a.rest[1:]
			a.mailbox = w.localPart()
			a.host = a.domain()
			a.trailing(comment)
			return true
		case ':':
			a.rest = a.rest[1:]
			if a.inGroup || w.text == nil {
				glue = false
				continue
			}
			a.inGroup, a.kind, a.name = true, groupStart, w.text
			return true
		case ';':
			if w.text != nil {
				a.mailbox = w.text
				return true
			}
			a.rest = a.rest[1:]
			if a.inGroup {
				a.inGroup, a.kind = false, groupEnd
				return true
			}
			continue
		case ',':
			a.rest = a.rest[1:]
			if w.text != nil {
				a.mailbox, a.name = w.text, comment
				return true
			}
			comment, lead = nil, nil
			continue
		case '.':
			w.add(a.rest[:1], !spaced)
			a.rest, glue = a.rest[1:], true
			continue
		}
		i := atomLen(a.rest)
		w.add(a.rest[:i], glue)
		a.rest = a.rest[i:]
		glue = false
	}
	switch {
	case w.text != nil:
		a.mailbox, a.name = w.text, comment
		return true
	case a.inGroup:
		a.inGroup, a.kind = false, groupEnd
		return true
	}
	return false
}

// atomLen gives the length of the run of bytes that v begins with that mean
// nothing here, at least 1.
func atomLen(v []byte) int {
	for i, c := range v {
		switch c {
		case ' ', '\t', '\r', '\n', '(', '"', '<', '@', ':', ';', ',', '.':
			return max(i, 1)
		}
	}
	return len(v)
}

// angle reads <route:mailbox@host>. What stands between > and the next comma,
// semicolon or colon does not count.
func (a *addressReader) angle() {
	a.rest = skipSpace(a.rest[1:])
	if len(a.rest) > 0 && a.rest[0] == '@' {
		i := bytes.IndexAny(a.rest, ":>")
		if i >= 0 && a.rest[i] == ':' {
			a.route = unfolded(trim(a.rest[:i]))
			a.rest = a.rest[i+1:]
		}
	}
	var w words
	glue := true
	for len(a.rest) > 0 && a.rest[0] != '>' && a.rest[0] != '@' {
		switch c := a.rest[0]; {
		case isSpace(c):
			a.rest = a.rest[1:]
			glue = false
		case c == '(':
			a.rest = a.rest[commentLen(a.rest):]
		case c == '"':
			var s []byte
			s, a.rest = quoted(a.rest)
			w.add(s, glue && w.text != nil)
			glue = true
		case c == '.':
			w.add(a.rest[:1], true)
			a.rest, glue = a.rest[1:], true
		default:
			i := 1
			for i < len(a.rest) && !isSpace(a.rest[i]) && bytes.IndexByte([]byte(`(".>@`), a.rest[i]) < 0 {
				i++
			}
			w.add(a.rest[:i], glue && w.text != nil)
			a.rest, glue = a.rest[i:], true
		}
	}
	a.mailbox = w.text
	if len(a.rest) > 0 && a.rest[0] == '@' {
		a.rest = a.rest[1:]
		a.host = a.domain()
	}
	for len(a.rest) > 0 && a.rest[0] != '>' {
		a.rest = a.rest[1:]
	}
	if len(a.rest) > 0 {
		a.rest = a.rest[1:]
	}
	a.trailing(nil)
}

// domain reads a domain: what stands before white space, a comment or a special.
func (a *addressReader) domain() []byte {
	a.rest = skipSpace(a.rest)
	if len(a.rest) > 0 && a.rest[0] == '[' {
		if i := bytes.IndexAny(a.rest, "]>,;"); i >= 0 && a.rest[i] == ']' {
			d := a.rest[:i+1]
			a.rest = a.rest[i+1:]
			return unfolded(d)
		}
	}
	var d []byte
	for {
		i := 0
		for i < len(a.rest) && !isSpace(a.rest[i]) && bytes.IndexByte([]byte(`(<>,;`), a.rest[i]) < 0 {
			i++
		}
		if d == nil {
			d = a.rest[:i:i]
		} else {
			d = append(d, a.rest[:i]...)
		}
		a.rest = a.rest[i:]
		// White space around a dot does not end a domain (RFC 5322, 4.4 obs-domain).
		if len(a.rest) == 0 || !isSpace(a.rest[0]) {
			return d
		}
		for len(a.rest) > 0 && isSpace(a.rest[0]) {
			a.rest = a.rest[1:]
		}
		if len(a.rest) == 0 || a.rest[0] != '.' && (len(d) == 0 || d[len(d)-1] != '.') {
			return d
		}
	}
}

// trailing reads what stands between an address and the next comma or semicolon,
// where only a comment counts: as the name when there is none.
func (a *addressReader) trailing(comment []byte) {
	for len(a.rest) > 0 {
		switch a.rest[0] {
		case ',':
			a.rest = a.rest[1:]
			if a.name == nil {
				a.name = comment
			}
			return
		case ';':
			if a.name == nil {
				a.name = comment
			}
			return
		case '(':
			n := commentLen(a.rest)
			comment = commentText(a.rest[:n])
			a.rest = a.rest[n:]
		case '"':
			_, a.rest = quoted(a.rest)
		case '<':
			// DEVIATES: RFC 5322, 3.4: "a@b <c@d>" is no address; the one in
			// brackets is where mail goes, so the words before it are its name.
			if a.route == nil && a.name == nil && a.host != nil && comment == nil {
				// With a name it is not looked for again: this calls itself once at most.
				a.name = append(append(append([]byte(nil), a.mailbox...), '@'), a.host...)
				a.mailbox, a.host = nil, nil
				a.angle()
				return
			}
			a.rest = a.rest[1:]
		default:
			a.rest = a.rest[1:]
		}
	}
	if a.name == nil {
		a.name = comment
	}
}

// commentText gives what stands in a comment, without its quoting.
func commentText(c []byte) []byte {
	c = c[1:]
	if n := len(c); n > 0 && c[n-1] == ')' {
		c = c[:n-1]
	}
	c = trim(c)
	if bytes.IndexByte(c, '\\') < 0 {
		return c
	}
	out := make([]byte, 0, len(c))
	for i := 0; i < len(c); i++ {
		if c[i] == '\\' && i+1 < len(c) {
			i++
		}
		out = append(out, c[i])
	}
	return out
}
