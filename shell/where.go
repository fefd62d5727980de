package shell

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// test tells whether an object is kept.
type test func(manage.Object) bool

// operators is the table of comparisons. have is a property's value or one
// element of it, want what it is compared with.
func operators() map[string]func(have any, want string) bool {
	return map[string]func(have any, want string) bool{
		"eq":   func(have any, want string) bool { return order(have, want) == 0 },
		"gt":   func(have any, want string) bool { return order(have, want) > 0 },
		"lt":   func(have any, want string) bool { return order(have, want) < 0 },
		"ge":   func(have any, want string) bool { return order(have, want) >= 0 },
		"le":   func(have any, want string) bool { return order(have, want) <= 0 },
		"like": func(have any, want string) bool { return manage.Like(want, show(have, "")) },
	}
}

// negations are the operators that are another one's opposite.
func negations() map[string]string {
	return map[string]string{"ne": "eq", "notlike": "like", "notmatch": "match", "notcontains": "contains"}
}

// comparison makes a test of property, operator and operand. A list holds when
// one of its elements does.
func comparison(s *stream, property, operator string, operand *value) (test, error) {
	if err := known(s, []string{property}); err != nil {
		return nil, err
	}
	operator = strings.ToLower(operator)
	if positive, ok := negations()[operator]; ok {
		t, err := comparison(s, property, positive, operand)
		if err != nil {
			return nil, err
		}
		return func(o manage.Object) bool { return !t(o) }, nil
	}
	want := operand.text
	switch operand.kind {
	case truth:
		want = strconv.FormatBool(operand.yes)
	case null:
		want = ""
	case word:
	default:
		return nil, mail.Errorf(mail.KindBadArgument, "-%s compares with one value", operator)
	}
	compare := operators()[operator]
	switch operator {
	case "contains":
		compare = operators()["eq"]
	case "match":
		// RE2 takes time linear in the text.
		re, err := regexp.Compile("(?i)" + want)
		if err != nil || len(want) > 1000 {
			return nil, mail.Errorf(mail.KindBadArgument, "%q is no regular expression of at most 1000 characters", want)
		}
		compare = func(have any, _ string) bool { return re.MatchString(show(have, "")) }
	}
	if compare == nil {
		return nil, &hint{mail.Errorf(mail.KindBadArgument, "there is no comparison -%s", operator),
			"There are -eq, -ne, -gt, -lt, -ge, -le, -like, -notlike, -match, -notmatch, -contains, -notcontains, -and, -or and -not."}
	}
	return func(o manage.Object) bool {
		have, _ := o.Value(property)
		elements, isList := have.([]any)
		if !isList {
			return compare(have, want)
		}
		for _, e := range elements {
			if compare(e, want) {
				return true
			}
		}
		return false
	}, nil
}

// whereObject keeps objects. It reads
//
//	where      = ["-FilterScript"] block / property operator value / property
//	block      = "{" or "}"
//	or         = and *("-or" and)
//	and        = term *("-and" term)
//	term       = "-not" term / "!" term / "(" or ")" / "$_." property [operator value]
func whereObject(s *stream, _ map[string]any, args []token) error {
	if len(args) > 1 && strings.EqualFold(args[0].parameter, "FilterScript") && args[0].value == nil {
		args = args[1:]
	}
	usage := &hint{mail.Errorf(mail.KindBadArgument, "Where-Object needs a comparison"), "Such as { $_.Name -like 'a*' }, or Name -like a*."}
	if len(args) == 0 || args[0].value == nil {
		return usage
	}
	var t test
	var err error
	first := args[0].value
	switch {
	case first.kind == block && len(args) == 1:
		t, err = parseBlock(s, first.text)
	case first.kind == word && len(args) == 1:
		t, err = isTrue(s, first.text)
	case first.kind == word && len(args) == 3 && args[1].parameter != "" && args[1].value == nil && args[2].value != nil && args[2].parameter == "":
		t, err = comparison(s, first.text, args[1].parameter, args[2].value)
	default:
		return usage
	}
	if err != nil {
		return err
	}
	kept := []manage.Object{}
	for _, o := range s.result.Objects {
		if t(o) {
			kept = append(kept, o)
		}
	}
	s.result.Objects = kept
	return nil
}

// isTrue tests a bare property: it is neither false, zero, empty nor missing.
func isTrue(s *stream, property string) (test, error) {
	if err := known(s, []string{property}); err != nil {
		return nil, err
	}
	return func(o manage.Object) bool {
		switch v, _ := o.Value(property); v := v.(type) {
		case bool:
			return v
		case []any:
			return len(v) > 0
		default:
			text := show(v, "")
			return text != "" && text != "0"
		}
	}, nil
}

// blockParser reads the inside of a block.
type blockParser struct {
	parser
	stream *stream
}

func parseBlock(s *stream, text string) (test, error) {
	p := &blockParser{parser{text: text}, s}
	t, err := p.or(0)
	if errors.Is(err, errIncomplete) {
		return nil, p.fault("a value is missing")
	}
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.fault("%q is too much", p.text[p.at:])
	}
	return t, nil
}

// operator reads "-name" when it is there, and one of only when that is given.
func (p *blockParser) operator(only ...string) (string, bool) {
	p.space()
	if !p.isParameter() {
		return "", false
	}
	end := p.at + 1
	for end < len(p.text) && isName(p.text[end]) {
		end++
	}
	name := strings.ToLower(p.text[p.at+1 : end])
	ok := len(only) == 0
	for _, o := range only {
		ok = ok || o == name
	}
	if ok {
		p.at = end
	}
	return name, ok
}

func (p *blockParser) or(depth int) (test, error) {
	t, err := p.and(depth)
	for err == nil {
		if _, ok := p.operator("or"); !ok {
			return t, nil
		}
		left := t
		var right test
		if right, err = p.and(depth); err == nil {
			t = func(o manage.Object) bool { return left(o) || right(o) }
		}
	}
	return nil, err
}

func (p *blockParser) and(depth int) (test, error) {
	t, err := p.term(depth)
	for err == nil {
		if _, ok := p.operator("and"); !ok {
			return t, nil
		}
		left := t
		var right test
		if right, err = p.term(depth); err == nil {
			t = func(o manage.Object) bool { return left(o) && right(o) }
		}
	}
	return nil, err
}

func (p *blockParser) term(depth int) (test, error) {
	if depth > maxNesting {
		return nil, p.fault("brackets are nested too deeply")
	}
	p.space()
	_, not := p.operator("not")
	if !not && p.peek() == '!' {
		p.at++
		not = true
	}
	if not {
		t, err := p.term(depth + 1)
		if err != nil {
			return nil, err
		}
		return func(o manage.Object) bool { return !t(o) }, nil
	}
	if p.peek() == '(' {
		p.at++
		t, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.space(); p.peek() != ')' {
			return nil, p.closing(")")
		}
		p.at++
		return t, nil
	}
	left, err := p.word(stopBare)
	if err != nil {
		return nil, err
	}
	property, ok := "", false
	switch {
	case left != nil && left.text == "$_" && p.stream.expand != "": // the objects are values
		property, ok = p.stream.expand, true
	case left != nil:
		property, ok = strings.CutPrefix(left.text, "$_.")
	}
	if !ok {
		return nil, p.fault("a comparison begins with a property, $_.Name")
	}
	name, ok := p.operator()
	if !ok || name == "and" || name == "or" {
		if ok {
			p.at -= len(name) + 1
		}
		return isTrue(p.stream, property)
	}
	p.space()
	right, err := p.element(0)
	if err != nil {
		return nil, err
	}
	return comparison(p.stream, property, name, right)
}

// amount gives a value as a number: also one with KB, MB or GB, and "unlimited",
// which is more than any.
func amount(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		if strings.EqualFold(v, "unlimited") {
			return math.Inf(1), true
		}
		n, ok := number(v)
		return float64(n), ok
	}
	return 0, false
}

// number reads a whole number with an optional KB, MB, GB or TB.
func number(text string) (int64, bool) { return settings.ParseNumber(text) }
