package main

import (
	"bytes"
	"strconv"
	"strings"
)

// kind is what an argument is. Atoms, quoted strings and literals are one kind: a server
// may choose.
type kind byte

const (
	text kind = iota
	null      // the atom NIL
	list
)

// arg is an argument of a response, or of what a script expects.
type arg struct {
	kind kind
	text string
	list []arg
}

// args reads the arguments of a response without its CRLF, with literals as they come.
// It takes everything: what is not in the grammar becomes atoms. What people are to
// read in a status response is one atom a word.
func args(b []byte) []arg {
	p := &reader{b: b}
	var out []arg
	for {
		p.blanks()
		if p.end() {
			return out
		}
		if len(out) == 1 && status(out) && p.b[p.at] != '[' {
			return append(out, words(p.b[p.at:])...)
		}
		out = append(out, p.arg())
		if len(out) > 1 && status(out) && strings.HasSuffix(out[len(out)-1].text, "]") {
			return append(out, words(p.b[p.at:])...)
		}
	}
}

// status tells whether the response has a text for people at its end.
func status(a []arg) bool {
	if len(a) == 0 {
		return false
	}
	switch strings.ToUpper(a[0].text) {
	case "OK", "NO", "BAD", "BYE", "PREAUTH", "+":
		return a[0].kind == text
	}
	return false
}

func words(b []byte) (out []arg) {
	for _, w := range bytes.Fields(b) {
		out = append(out, arg{text: string(w)})
	}
	return out
}

type reader struct {
	b     []byte
	at    int
	depth int
}

func (p *reader) end() bool { return p.at >= len(p.b) }

func (p *reader) blanks() {
	for !p.end() && p.b[p.at] == ' ' {
		p.at++
	}
}

// maxDepth bounds lists in lists; a deeper "(" is an atom.
const maxDepth = 100

func (p *reader) arg() arg {
	switch c := p.b[p.at]; {
	case c == '(' && p.depth < maxDepth:
		p.at++
		p.depth++
		a := arg{kind: list, list: []arg{}}
		for {
			p.blanks()
			if p.end() {
				break
			}
			if p.b[p.at] == ')' {
				p.at++
				break
			}
			a.list = append(a.list, p.arg())
		}
		p.depth--
		return a
	case c == '"':
		if s, n, ok := quoted(p.b[p.at:]); ok {
			p.at += n
			return arg{text: s}
		}
	case c == '{' || c == '~':
		if s, n, ok := literal(p.b[p.at:]); ok {
			p.at += n
			return arg{text: s}
		}
	}
	start := p.at
	for p.at++; !p.end(); p.at++ {
		if c := p.b[p.at]; c == ' ' || c == '\r' || c == '\n' || c == ')' && p.depth > 0 {
			break
		}
	}
	s := string(p.b[start:p.at])
	for !p.end() && (p.b[p.at] == '\r' || p.b[p.at] == '\n') {
		p.at++
	}
	if strings.EqualFold(s, "NIL") {
		return arg{kind: null, text: s}
	}
	return arg{text: s}
}

func quoted(b []byte) (s string, n int, ok bool) {
	var out []byte
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i++
			out = append(out, b[i])
		case b[i] == '"':
			return string(out), i + 1, true
		default:
			out = append(out, b[i])
		}
	}
	return "", 0, false
}

func literal(b []byte) (s string, n int, ok bool) {
	rest := bytes.TrimPrefix(b, []byte("~"))
	if len(rest) == 0 || rest[0] != '{' {
		return "", 0, false
	}
	end := bytes.Index(rest, []byte("}\r\n"))
	if end < 0 {
		return "", 0, false
	}
	size, err := strconv.Atoi(string(rest[1:end]))
	rest = rest[end+3:]
	if err != nil || size < 0 || size > len(rest) {
		return "", 0, false
	}
	return string(rest[:size]), len(b) - len(rest) + size, true
}

// show writes arguments for people.
func show(list []arg) string {
	var out []string
	for _, a := range list {
		switch {
		case a.kind != text:
			if a.kind == null {
				out = append(out, "NIL")
			} else {
				out = append(out, "("+show(a.list)+")")
			}
		case a.text == "" || strings.ContainsAny(a.text, " \r\n()\""):
			out = append(out, strconv.Quote(a.text))
		default:
			out = append(out, a.text)
		}
	}
	return strings.Join(out, " ")
}
