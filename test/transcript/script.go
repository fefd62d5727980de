package transcript

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

type kind int

const (
	prose kind = iota
	send
	raw
	expect
	directive
)

// line is one line of a transcript.
type line struct {
	number int
	text   string // whole
	kind   kind
	client int
	body   string // behind "C: ", inside the brackets
}

var (
	spoken   = regexp.MustCompile(`^\s*([CS])([1-9]?)([:=])(?: (.*))?$`)
	bracket  = regexp.MustCompile(`^\s*\[(?:C([1-9]) )?([a-z][^\]]*)\]\s*$`)
	variable = regexp.MustCompile(`\{\{(.*?)\}\}`)
)

func parse(text string) ([]line, error) {
	var lines []line
	for i, s := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l := line{number: i + 1, text: s, client: 1}
		if m := spoken.FindStringSubmatch(s); m != nil {
			l.body = m[4]
			if m[2] != "" {
				l.client = int(m[2][0] - '0')
			}
			switch m[1] + m[3] {
			case "C:":
				l.kind = send
			case "S:":
				l.kind = expect
			case "C=":
				l.kind = raw
			default:
				return nil, fmt.Errorf("line %d: S= is not known", l.number)
			}
		} else if m := bracket.FindStringSubmatch(s); m != nil {
			l.kind, l.body = directive, m[2]
			if m[1] != "" {
				l.client = int(m[1][0] - '0')
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// expand gives the bytes of a C line.
func expand(l line, vars map[string]string) (string, error) {
	if l.kind == raw {
		return strconv.Unquote(l.body)
	}
	var err error
	text := variable.ReplaceAllStringFunc(l.body, func(m string) string {
		name := strings.TrimSpace(m[2 : len(m)-2])
		if v, ok, e := computed(name, vars); ok {
			err = e
			return v
		}
		v, ok := vars[name]
		if !ok {
			err = fmt.Errorf("{{%s}} has no value yet", name)
		}
		return v
	})
	return text + "\r\n", err
}

// answering is {{apop t "secret"}} and {{cram-md5 c "user" "secret"}}.
var answering = regexp.MustCompile(`^(?:apop (\w+)|cram-md5 (\w+) ("[^"]*")) ("[^"]*")$`)

// computed gives the value of {{base64 "…"}}, and of answers to a value.
func computed(name string, vars map[string]string) (string, bool, error) {
	if m := answering.FindStringSubmatch(name); m != nil {
		secret, err := strconv.Unquote(m[4])
		if m[1] != "" {
			return fmt.Sprintf("%x", md5.Sum([]byte(vars[m[1]]+secret))), true, err
		}
		user, err1 := strconv.Unquote(m[3])
		challenge, err2 := base64.StdEncoding.DecodeString(vars[m[2]])
		h := hmac.New(md5.New, []byte(secret))
		h.Write(challenge)
		return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s %x", user, h.Sum(nil))), true, errors.Join(err, err1, err2)
	}
	quoted, ok := strings.CutPrefix(name, "base64 ")
	if !ok {
		return "", false, nil
	}
	s, err := strconv.Unquote(strings.TrimSpace(quoted))
	return base64.StdEncoding.EncodeToString([]byte(s)), true, err
}

// matches tells whether a line of the server is what an S line expects, and
// keeps the values it finds.
func matches(pattern, got string, vars map[string]string) (bool, error) {
	var b strings.Builder
	var names []string
	at := 0
	if strings.HasSuffix(pattern, " ") {
		pattern = strings.TrimRight(pattern, " ") + strings.Repeat(blank, len(pattern)-len(strings.TrimRight(pattern, " ")))
	}
	b.WriteString(`\A`)
	for _, m := range variable.FindAllStringSubmatchIndex(pattern, -1) {
		b.WriteString(regexp.QuoteMeta(pattern[at:m[0]]))
		at = m[1]
		inside := pattern[m[2]:m[3]]
		if v, ok, err := computed(strings.TrimSpace(inside), vars); err != nil {
			return false, err
		} else if ok {
			b.WriteString(regexp.QuoteMeta(v))
			continue
		}
		name, expr, has := strings.Cut(inside, ":")
		name = strings.TrimSpace(name)
		switch v, known := vars[name]; {
		case name == "*":
			b.WriteString(`.*`)
		case known:
			b.WriteString(regexp.QuoteMeta(v))
		case has:
			names = append(names, name)
			b.WriteString(`(` + expr + `)`)
		default:
			names = append(names, name)
			b.WriteString(`([^\s()\[\]]+)`)
		}
	}
	b.WriteString(regexp.QuoteMeta(pattern[at:]) + `\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return false, err
	}
	m := re.FindStringSubmatch(got)
	if m == nil {
		return false, nil
	}
	for i, name := range names {
		vars[name] = m[i+1]
	}
	return true, nil
}

// blank stands for a space at the end of a line, which editors take away.
const blank = `\x20`

// show writes a line as it stands in a transcript.
func show(s string) string {
	s, lf := strings.CutSuffix(s, "\n")
	s, crlf := strings.CutSuffix(s, "\r")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' && c != '\t' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	if lf && !crlf {
		b.WriteString(`\x0A`)
	}
	text := b.String()
	trimmed := strings.TrimRight(text, " ")
	return trimmed + strings.Repeat(blank, len(text)-len(trimmed))
}

// ClientLines gives what the clients of a transcript say, each with its CRLF, as
// seeds for fuzzing. Variables stay as they are written.
func ClientLines(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines, err := parse(string(text))
	if err != nil {
		return nil, err
	}
	var said []string
	for _, l := range lines {
		switch l.kind {
		case send:
			said = append(said, l.body+"\r\n")
		case raw:
			s, err := strconv.Unquote(l.body)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, l.number, err)
			}
			said = append(said, s)
		}
	}
	return said, nil
}
