package message

import (
	"bytes"
	"strconv"
	"strings"
)

// Structure is the body structure of one part, as IMAP writes it (RFC 3501, 9 body).
type Structure []byte

// PartStructure gives the body structure of the part that path names; of the message
// itself, which no part names, that of a message/rfc822. False when there is none.
func (s Summary) PartStructure(path []int) (Structure, bool) {
	whole := s.BodyStructure()
	if len(whole) == 0 {
		return nil, false
	}
	if len(path) == 0 {
		b := append([]byte(`("message" "rfc822" NIL NIL NIL "8bit" `), strconv.FormatInt(s.Size(), 10)...)
		b = append(append(append(append(b, ' '), s.Envelope()...), ' '), whole...)
		return append(strconv.AppendInt(append(b, ' '), int64(s.Lines()), 10), " NIL NIL NIL NIL)"...), true
	}
	if _, ok := s.Part(path); !ok {
		return nil, false
	}
	outer, message := Structure(whole), true
	for depth, n := range path {
		e := outer.elements()
		part := outer
		switch {
		case outer.multipart():
			if n > len(e) || e[n-1][0] != '(' {
				return nil, false
			}
			part = e[n-1]
		case !message || n != 1:
			return nil, false
		}
		if depth == len(path)-1 {
			return part, true
		}
		outer, message = part, false
		if nested := part.elements(); part.isMessage(nested) {
			outer, message = nested[8], true
		}
	}
	return nil, false
}

func (b Structure) multipart() bool { return len(b) > 1 && b[1] == '(' }

// isMessage tells a part with an envelope and a structure of its own; e are its elements.
func (b Structure) isMessage(e []Structure) bool {
	return !b.multipart() && len(e) > 9 && equalFold([]byte(e[0]), []byte(`"message"`)) && e[7][0] == '(' && e[8][0] == '('
}

// elements gives the values of the list that b is.
func (b Structure) elements() (list []Structure) {
	for i := 1; i < len(b) && b[i] != ')'; {
		if b[i] == ' ' {
			i++
			continue
		}
		n := valueLen(b[i:])
		if n == 0 {
			return nil
		}
		list = append(list, b[i:i+n])
		i += n
	}
	return list
}

// valueLen gives the length of the value that b begins with: an atom, a number, a string
// or a list; 0 when it does not end.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); {
		switch b[i] {
		case '(':
			depth++
			i++
		case ')':
			depth--
			i++
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
		case '{':
			end := bytes.IndexByte(b[i:], '\n')
			if end < 0 {
				return 0
			}
			n, err := strconv.Atoi(strings.Trim(string(b[i:i+end]), "{}\r"))
			if err != nil || n < 0 || n > len(b) {
				return 0
			}
			i += end + 1 + n
		case ' ':
			i++
		default:
			for i < len(b) && b[i] != ' ' && b[i] != ')' && b[i] != '(' {
				i++
			}
		}
		if i > len(b) || depth < 0 {
			return 0
		}
		if depth == 0 {
			return i
		}
	}
	return 0
}

// Content is what Holding says of a part's content.
type Content struct {
	Type     string // such as text/plain; "" keeps the part's own, with its parameters
	Charset  string // the one parameter of Type, "" for none
	Encoding string // content transfer encoding
	Size     int64  // bytes
	Lines    int64  // line feeds; counts for text alone
}

// Holding gives the structure of a part that is not multipart with other content in its
// place: what is said of the part besides stays, but for its digest.
func (b Structure) Holding(c Content) Structure {
	e := b.elements()
	if b.multipart() || len(e) < 7 {
		return b
	}
	rest := 7 // of e, behind the size
	text := equalFold([]byte(e[0]), []byte(`"text"`))
	nested := b.isMessage(e)
	out := output{budget: MaxStructureBytes}
	out.b = append(out.b, '(')
	if c.Type == "" {
		out.b = append(append(append(append(append(out.b, e[0]...), ' '), e[1]...), ' '), e[2]...)
	} else {
		typ, sub, _ := strings.Cut(c.Type, "/")
		out.string([]byte(typ))
		out.b = append(out.b, ' ')
		out.string([]byte(sub))
		out.b = append(out.b, ' ')
		var params []param
		if c.Charset != "" {
			params = append(params, param{[]byte("charset"), []byte(c.Charset)})
		}
		out.params(params)
	}
	out.b = append(append(append(append(append(out.b, ' '), e[3]...), ' '), e[4]...), ' ')
	out.string([]byte(c.Encoding))
	out.b = strconv.AppendInt(append(out.b, ' '), c.Size, 10)
	switch {
	case text:
		rest = 8
	case nested:
		rest = 10
	}
	switch {
	case c.Type == "" && nested:
		for _, v := range e[7:min(10, len(e))] {
			out.b = append(append(out.b, ' '), v...)
		}
	case c.Type == "" && text, strings.HasPrefix(c.Type, "text/"):
		out.b = strconv.AppendInt(append(out.b, ' '), c.Lines, 10)
	}
	if rest < len(e) {
		out.b = append(out.b, " NIL"...) // the digest
		for _, v := range e[rest+1:] {
			out.b = append(append(out.b, ' '), v...)
		}
	}
	return append(out.b, ')')
}
