package shell

import (
	"strings"

	"github.com/postern-mail/postern/mail"
)

// parseArguments reads a cmdlet from the arguments that the operating system's
// shell gives, which has taken quotes away already: an argument is a pipe, a
// parameter, a bracketed value, or text as it stands. A single argument with a
// space or pipe in it is a whole line.
func parseArguments(args []string) ([]pipeline, error) {
	if len(args) == 1 && strings.ContainsAny(args[0], " |;") {
		return parse(args[0])
	}
	total := 0
	for _, a := range args {
		if total += len(a); total > maxLine {
			return nil, mail.Errorf(mail.KindTooBig, "a line has at most %d bytes", maxLine)
		}
	}
	var p pipeline
	begin := true
	for i, a := range args {
		if a == "|" {
			if begin {
				return nil, mail.Errorf(mail.KindBadArgument, "a cmdlet is missing before |")
			}
			begin = true
			continue
		}
		if begin {
			p = append(p, command{name: a})
			begin = false
			continue
		}
		t, err := argument(a)
		if err != nil {
			return nil, err
		}
		t.at = i
		last := &p[len(p)-1]
		last.args = append(last.args, t)
	}
	if begin && len(args) > 0 {
		return nil, mail.Errorf(mail.KindBadArgument, "a cmdlet is missing after |")
	}
	if len(p) == 0 {
		return nil, nil
	}
	return []pipeline{p}, nil
}

// argument reads one argument that is not a pipe.
func argument(a string) (token, error) {
	if len(a) > 1 && a[0] == '-' && isLetter(a[1]) {
		name, rest, colon := strings.Cut(a[1:], ":")
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			return token{}, mail.Errorf(mail.KindBadArgument, "%q is no parameter; parameters are written -Name Value", a)
		}
		t := token{parameter: name}
		if !colon {
			return t, nil
		}
		if rest == "" {
			return t, mail.Errorf(mail.KindBadArgument, "nothing follows %s; write it in quotes ('-%s:$false'), or your shell replaces $false by nothing", a, name)
		}
		v, err := text(rest)
		t.value = v
		return t, err
	}
	v, err := text(a)
	return token{value: v}, err
}

// text reads a value that has lost its quotes: only brackets and constants mean
// something.
func text(a string) (*value, error) {
	if strings.HasPrefix(a, "@{") || strings.HasPrefix(a, "@(") || strings.HasPrefix(a, "{") && strings.HasSuffix(a, "}") {
		p := &parser{text: a}
		v, err := p.value(0)
		if err == nil && p.at < len(a) {
			err = p.fault("%q is too much", a[p.at:])
		}
		return v, err
	}
	return constant(&value{text: a, plain: true}), nil
}
