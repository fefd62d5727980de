package shell

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// A pipeline is commands, of which each gets the objects of the one before it.
type pipeline []command

// A command is a name and what follows it.
type command struct {
	name string
	args []token
}

// A token is a parameter's name or a value. After a colon they are one token.
type token struct {
	parameter string // without the dash; "" for a value
	value     *value // nil for a parameter without a colon
	at        int    // where it begins, in bytes
}

type valueKind int

const (
	word  valueKind = iota // text
	list                   // a,b or @(a,b)
	table                  // @{A=x; B=y}
	block                  // { … }
	null                   // $null
	truth                  // $true, $false
)

type value struct {
	kind  valueKind
	text  string  // of a word or a block
	plain bool    // a word that was not quoted
	yes   bool    // of truth
	list  []value // of a list
	table []entry
}

type entry struct {
	key   string
	value value
}

// Bounds of one line.
const (
	maxLine    = 64 << 10 // bytes
	maxNesting = 16
)

// errIncomplete says that the line goes on: a quote or bracket is open, or it ends
// in a backtick or a pipe.
var errIncomplete = mail.Errorf(mail.KindBadArgument, "the line is not complete: a quote or bracket is open, or it ends in | or `")

// parse reads a line. Nothing but comments and space gives no pipelines.
//
//	line      = [pipeline] *(";" [pipeline]) ["#" comment]
//	pipeline  = command *("|" command)
//	command   = name *(parameter / value)
//	parameter = "-" letter *nameChar [":" value]
//	value     = element *("," element)
//	element   = word / "@(" [value] ")" / "@{" [entry *(";" entry)] "}" / "{" block "}"
//	entry     = key "=" value
//	word      = 1*(bareChar / "`" any / "'" … "'" / DQUOTE … DQUOTE)
func parse(line string) ([]pipeline, error) {
	if len(line) > maxLine {
		return nil, mail.Errorf(mail.KindTooBig, "a line has at most %d bytes", maxLine)
	}
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return nil, mail.Errorf(mail.KindBadArgument, "a line is UTF-8 text")
	}
	p := &parser{text: line}
	var lines []pipeline
	var now pipeline
	piped := false
	for {
		p.space()
		switch c := p.peek(); c {
		case 0, ';':
			if piped {
				if c == 0 {
					return nil, errIncomplete
				}
				return nil, p.fault("a cmdlet is missing after |")
			}
			if now != nil {
				lines = append(lines, now)
				now = nil
			}
			if c == 0 {
				return lines, nil
			}
			p.at++
		case '|':
			if now == nil || piped {
				return nil, p.fault("a cmdlet is missing before |")
			}
			p.at++
			piped = true
		default:
			cmd, err := p.command()
			if err != nil {
				return nil, err
			}
			now, piped = append(now, cmd), false
		}
	}
}

type parser struct {
	text string
	at   int
}

func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) has(prefix string) bool { return strings.HasPrefix(p.text[p.at:], prefix) }

// space skips white space, escaped line ends and a comment.
func (p *parser) space() {
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		switch {
		case unicode.IsSpace(r):
			p.at += n
		case p.has("`\n"):
			p.at += 2
		case p.has("`\r\n"):
			p.at += 3
		case r == '#':
			end := strings.IndexByte(p.text[p.at:], '\n')
			if end < 0 {
				end = len(p.text) - p.at
			}
			p.at += end
		default:
			return
		}
	}
}

func (p *parser) fault(format string, args ...any) error {
	return mail.Errorf(mail.KindBadArgument, format+" (at character %d)", append(args, utf8.RuneCountInString(p.text[:min(p.at, len(p.text))])+1)...)
}

// command reads a name and its arguments, up to | ; or the end.
func (p *parser) command() (command, error) {
	name, err := p.word(stopBare)
	if err != nil {
		return command{}, err
	}
	if name == nil || name.text == "" {
		return command{}, p.fault("a cmdlet's name is missing")
	}
	c := command{name: name.text}
	for {
		p.space()
		if b := p.peek(); b == 0 || b == '|' || b == ';' {
			return c, nil
		}
		t := token{at: p.at}
		if p.isParameter() {
			p.at++
			for isName(p.peek()) {
				p.at++
			}
			t.parameter = p.text[t.at+1 : p.at]
			if p.peek() == ':' {
				p.at++
				if t.value, err = p.value(0); err != nil {
					return c, err
				}
			} else if b := p.peek(); b != 0 && b != '|' && b != ';' && !unicode.IsSpace(rune(b)) && b != '`' {
				return c, p.fault("%q does not belong into a parameter's name", string(b))
			}
		} else if t.value, err = p.value(0); err != nil {
			return c, err
		}
		c.args = append(c.args, t)
	}
}

// isParameter: a dash and a letter; -5 is a number.
func (p *parser) isParameter() bool {
	return p.peek() == '-' && p.at+1 < len(p.text) && isLetter(p.text[p.at+1])
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isName(c byte) bool { return isLetter(c) || '0' <= c && c <= '9' || c == '_' }

// value reads elements between commas.
func (p *parser) value(depth int) (*value, error) {
	v, err := p.element(depth)
	if err != nil {
		return nil, err
	}
	elements := []value{*v}
	for {
		before := p.at
		p.space()
		if p.peek() != ',' {
			p.at = before
			break
		}
		p.at++
		p.space()
		v, err := p.element(depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, *v)
	}
	if len(elements) == 1 {
		return &elements[0], nil
	}
	return &value{kind: list, list: elements}, nil
}

// element reads one element of a value.
func (p *parser) element(depth int) (*value, error) {
	if depth > maxNesting {
		return nil, p.fault("brackets are nested too deeply")
	}
	switch {
	case p.has("@("):
		return p.array(depth)
	case p.has("@{"):
		return p.hash(depth)
	case p.peek() == '{':
		return p.block()
	}
	v, err := p.word(stopBare)
	if err != nil {
		return nil, err
	}
	if v == nil {
		if p.at >= len(p.text) {
			return nil, errIncomplete
		}
		return nil, p.fault("a value is missing before %q", string(p.text[p.at]))
	}
	return constant(v), p.variable(v)
}

// constant reads $true, $false and $null where they are not quoted.
func constant(v *value) *value {
	if !v.plain {
		return v
	}
	switch strings.ToLower(v.text) {
	case "$true":
		return &value{kind: truth, yes: true, text: v.text}
	case "$false":
		return &value{kind: truth, text: v.text}
	case "$null":
		return &value{kind: null, text: v.text}
	}
	return v
}

// variable refuses variables: silence would make a password of their names.
func (p *parser) variable(v *value) error {
	if v.plain && v.kind == word && len(v.text) > 1 && v.text[0] == '$' && constant(v) == v {
		return p.fault("there are no variables here; if %s is text, put it in single quotes", v.text)
	}
	return nil
}

func (p *parser) array(depth int) (*value, error) {
	p.at += 2
	v := &value{kind: list}
	p.space()
	if p.peek() == ')' {
		p.at++
		return v, nil
	}
	inner, err := p.value(depth + 1)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.peek() != ')' {
		return nil, p.closing(")")
	}
	p.at++
	if inner.kind == list {
		return inner, nil
	}
	v.list = []value{*inner}
	return v, nil
}

func (p *parser) closing(bracket string) error {
	if p.at >= len(p.text) {
		return errIncomplete
	}
	return p.fault("%q is missing before %q", bracket, string(p.text[p.at]))
}

func (p *parser) hash(depth int) (*value, error) {
	p.at += 2
	v := &value{kind: table}
	for {
		p.space()
		switch p.peek() {
		case '}':
			p.at++
			return v, nil
		case ';':
			p.at++
			continue
		}
		key, err := p.word(stopKey)
		if err != nil {
			return nil, err
		}
		p.space()
		if key == nil || p.peek() != '=' {
			return nil, p.closing("=")
		}
		p.at++
		p.space()
		inner, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		v.table = append(v.table, entry{key.text, *inner})
		p.space()
		if b := p.peek(); b != ';' && b != '}' {
			return nil, p.closing("}")
		}
	}
}

// block takes the text between braces as it is; braces in it are balanced, but
// for those in quotes.
func (p *parser) block() (*value, error) {
	p.at++
	from, depth := p.at, 1
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '\'', '"':
			if _, err := p.quoted(c); err != nil {
				return nil, err
			}
			continue
		case '`':
			p.at++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				v := &value{kind: block, text: p.text[from:p.at]}
				p.at++
				return v, nil
			}
		}
		p.at++
	}
	p.at = min(p.at, len(p.text))
	return nil, errIncomplete
}

// What ends a bare word, beside white space.
const (
	stopBare = "|;,(){}'\""
	stopKey  = stopBare + "="
)

// word reads bare characters and quoted parts that touch. It gives nil when there
// is none.
func (p *parser) word(stop string) (*value, error) {
	var b strings.Builder
	v := &value{plain: true}
	any := false
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if r == '\'' || r == '"' {
			text, err := p.quoted(byte(r))
			if err != nil {
				return nil, err
			}
			b.WriteString(text)
			v.plain, any = false, true
			continue
		}
		if r == '`' {
			p.at++
			r, n = utf8.DecodeRuneInString(p.text[p.at:])
			if n == 0 {
				return nil, errIncomplete
			}
			if r == '\n' || r == '\r' {
				p.at--
				break
			}
			v.plain = false
			b.WriteRune(escaped(r))
			p.at += n
			any = true
			continue
		}
		if unicode.IsSpace(r) || strings.ContainsRune(stop, r) {
			break
		}
		b.WriteRune(r)
		p.at += n
		any = true
	}
	v.text = b.String()
	if !any {
		return nil, nil
	}
	return v, nil
}

// quoted reads a text in single quotes (a doubled quote is one) or in double
// quotes (the same, and backtick escapes).
func (p *parser) quoted(quote byte) (string, error) {
	var b strings.Builder
	p.at++
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == quote && p.at+1 < len(p.text) && p.text[p.at+1] == quote:
			b.WriteByte(quote)
			p.at += 2
		case c == quote:
			p.at++
			return b.String(), nil
		case c == '`' && quote == '"':
			r, n := utf8.DecodeRuneInString(p.text[p.at+1:])
			if n == 0 {
				return "", errIncomplete
			}
			b.WriteRune(escaped(r))
			p.at += 1 + n
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return "", errIncomplete
}

// escaped gives what a backtick makes of the character after it.
func escaped(r rune) rune {
	switch r {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return r
}
