package imapview

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ReadResponse reads one whole response with the literals in it, without the CRLF
// at its end. A line must end in CRLF.
func ReadResponse(r *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		line, err := r.ReadSlice('\n')
		out = append(out, line...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return out, err
		}
		if !bytes.HasSuffix(out, []byte("\r\n")) {
			return out, fmt.Errorf("a line ends in a bare LF: %.200q", out)
		}
		n, ok := literalSize(out[:len(out)-2])
		if !ok {
			return out[:len(out)-2], nil
		}
		start := len(out)
		out = append(out, make([]byte, n)...)
		if _, err := io.ReadFull(r, out[start:]); err != nil {
			return out, err
		}
	}
}

// literalSize tells whether a line ends in the header of a literal.
func literalSize(line []byte) (int, bool) {
	open := bytes.LastIndexByte(line, '{')
	if open < 0 || !bytes.HasSuffix(line, []byte("}")) {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
	return n, err == nil && n >= 0
}

// Value is a value in a response.
type Value struct {
	Text  string  // of an atom, or of a string
	Quote byte    // '"', '{' or '~' (literal8) for a string; 0 for an atom; '(' for a list
	List  []Value // of a list
}

// Nil tells whether the value is the atom NIL.
func (v Value) Nil() bool { return v.Quote == 0 && v.Text == "NIL" }

// Item is an item of a FETCH response.
type Item struct {
	Name  string // such as BODY[HEADER.FIELDS (From)]<0>, as written
	Value Value
}

// ParseFetch reads the items of a FETCH response, "(…)".
func ParseFetch(b []byte) ([]Item, error) {
	p := &parser{b: b}
	var items []Item
	if !p.try('(') {
		return nil, p.fault("expected (")
	}
	for {
		name, err := p.itemName()
		if err != nil {
			return nil, err
		}
		if !p.try(' ') {
			return nil, p.fault("expected a space behind " + name)
		}
		v, err := p.value(0)
		if err != nil {
			return nil, err
		}
		items = append(items, Item{name, v})
		if p.try(')') {
			break
		}
		if !p.try(' ') {
			return nil, p.fault("expected a space between items")
		}
	}
	if len(p.b) > 0 {
		return nil, p.fault("text behind the list")
	}
	return items, nil
}

// ParseValues reads values with single spaces between them.
func ParseValues(b []byte) ([]Value, error) {
	p := &parser{b: b}
	var values []Value
	for len(p.b) > 0 {
		v, err := p.value(0)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if len(p.b) > 0 && !p.try(' ') {
			return nil, p.fault("expected a space")
		}
	}
	return values, nil
}

type parser struct{ b []byte }

func (p *parser) fault(text string) error { return fmt.Errorf("%s before %.60q", text, p.b) }

func (p *parser) try(c byte) bool {
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	return true
}

// itemName reads a name with its section and origin.
func (p *parser) itemName() (string, error) {
	depth := 0
	for i := 0; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '"' && depth > 0:
			for i++; i < len(p.b) && p.b[i] != '"'; i++ {
				if p.b[i] == '\\' {
					i++
				}
			}
		case c == ' ' && depth == 0:
			if i == 0 {
				return "", p.fault("expected a name")
			}
			name := string(p.b[:i])
			p.b = p.b[i:]
			return name, nil
		case c == '\r' || c == '\n' || depth == 0 && (c == '(' || c == ')'):
			return "", p.fault("expected a name")
		}
	}
	return "", p.fault("a name does not end")
}

// value reads a value. Some bodies follow each other without a space (RFC 3501, 9
// body-type-mpart, envelope addresses).
func (p *parser) value(depth int) (Value, error) {
	if len(p.b) == 0 || depth > 1000 {
		return Value{}, p.fault("expected a value")
	}
	switch c := p.b[0]; c {
	case '(':
		p.b = p.b[1:]
		v := Value{Quote: '('}
		if p.try(')') {
			return v, nil
		}
		for {
			sub, err := p.value(depth + 1)
			if err != nil {
				return v, err
			}
			v.List = append(v.List, sub)
			if p.try(')') {
				return v, nil
			}
			if !p.try(' ') && (len(p.b) == 0 || p.b[0] != '(') {
				return v, p.fault("expected a space in a list")
			}
		}
	case '"':
		var text []byte
		for i := 1; i < len(p.b); i++ {
			switch c := p.b[i]; c {
			case '"':
				p.b = p.b[i+1:]
				return Value{Text: string(text), Quote: '"'}, nil
			case '\r', '\n', 0:
				return Value{}, p.fault("a quoted string has CR, LF or NUL")
			case '\\':
				if i++; i == len(p.b) || p.b[i] != '"' && p.b[i] != '\\' {
					return Value{}, p.fault("a quoted string has a wrong escape")
				}
				text = append(text, p.b[i])
			default:
				text = append(text, c)
			}
		}
		return Value{}, p.fault("a quoted string does not end")
	case '{', '~':
		header, rest, ok := bytes.Cut(p.b, []byte("}\r\n"))
		n, err := strconv.Atoi(strings.TrimLeft(string(header), "~{"))
		if !ok || err != nil || n > len(rest) {
			return Value{}, p.fault("expected a literal")
		}
		text := rest[:n]
		p.b = rest[n:]
		if c == '{' && bytes.IndexByte(text, 0) >= 0 {
			return Value{}, errors.New("a literal has a NUL")
		}
		return Value{Text: string(text), Quote: c}, nil
	}
	i := 0
	for i < len(p.b) && p.b[i] > ' ' && p.b[i] < 0x7f && !strings.ContainsRune(`(){"`, rune(p.b[i])) {
		i++
	}
	if i == 0 {
		return Value{}, p.fault("expected a value")
	}
	v := Value{Text: string(p.b[:i])}
	p.b = p.b[i:]
	return v, nil
}

// parseSet reads a set of numbers such as 2,4:7 without "*".
func parseSet(s string) ([][2]uint32, error) {
	var out [][2]uint32
	for _, part := range strings.Split(s, ",") {
		a, b, ranged := strings.Cut(part, ":")
		if !ranged {
			b = a
		}
		first, err := strconv.ParseUint(a, 10, 32)
		if err != nil || first == 0 {
			return nil, fmt.Errorf("%q is no set", s)
		}
		last, err := strconv.ParseUint(b, 10, 32)
		if err != nil || last == 0 {
			return nil, fmt.Errorf("%q is no set", s)
		}
		if first > last {
			first, last = last, first
		}
		out = append(out, [2]uint32{uint32(first), uint32(last)})
	}
	return out, nil
}
