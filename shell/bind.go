package shell

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// parameterNamed finds the parameter that a name means: the whole name, an alias,
// or a prefix of just one.
func parameterNamed(cmdlet string, parameters []manage.Parameter, name string) (*manage.Parameter, error) {
	var found []*manage.Parameter
	for i := range parameters {
		p := &parameters[i]
		for _, n := range append([]string{p.Name}, p.Aliases...) {
			if strings.EqualFold(n, name) {
				return p, nil
			}
			if len(n) > len(name) && strings.EqualFold(n[:len(name)], name) && !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, &hint{mail.Errorf(mail.KindBadArgument, "%s has no parameter -%s", cmdlet, name), nearest("-"+name, parameterNames(parameters))}
	}
	names := make([]string, len(found))
	for i, p := range found {
		names[i] = "-" + p.Name
	}
	return nil, mail.Errorf(mail.KindBadArgument, "-%s could be %s", name, strings.Join(names, ", "))
}

func parameterNames(parameters []manage.Parameter) []string {
	names := make([]string, len(parameters))
	for i, p := range parameters {
		names[i] = "-" + p.Name
	}
	return names
}

// hint is an error with what may help; Text is "" when nothing may.
type hint struct {
	error
	text string
}

// Unwrap gives the error.
func (h *hint) Unwrap() error { return h.error }

// asked stands for a secret that was named without a value.
type asked struct{}

// bind gives each parameter its value in the form that the API takes: string,
// bool, []string, map[string][]string or nil.
func bind(cmdlet string, parameters []manage.Parameter, args []token) (map[string]any, error) {
	bound := map[string]any{}
	give := func(p *manage.Parameter, v any) error {
		if _, twice := bound[p.Name]; twice {
			return mail.Errorf(mail.KindBadArgument, "-%s is given twice", p.Name)
		}
		bound[p.Name] = v
		return nil
	}
	// Named parameters are bound first, so that a value without a name never takes
	// the place of one that comes later with its name.
	var loose []*value
	for i := 0; i < len(args); i++ {
		t := args[i]
		if t.parameter == "" {
			loose = append(loose, t.value)
			continue
		}
		p, err := parameterNamed(cmdlet, parameters, t.parameter)
		if err != nil {
			return nil, err
		}
		v := t.value
		if v == nil && p.Type == manage.TypeSwitch {
			if err := give(p, true); err != nil {
				return nil, err
			}
			continue
		}
		if v == nil {
			if i+1 >= len(args) || args[i+1].parameter != "" {
				if p.Type == manage.TypeSecret {
					if err := give(p, asked{}); err != nil {
						return nil, err
					}
					continue
				}
				return nil, &hint{mail.Errorf(mail.KindBadArgument, "-%s needs a value", p.Name), valuesHint(p)}
			}
			i++
			v = args[i].value
			for isList(p) && v.kind == word && v.plain && strings.HasSuffix(v.text, ",") && i+1 < len(args) && args[i+1].parameter == "" {
				i++
				v = &value{text: v.text + args[i].value.text, plain: true}
			}
		}
		bindable, err := plain(p, v)
		if err != nil {
			return nil, err
		}
		if err := give(p, bindable); err != nil {
			return nil, err
		}
	}
	for _, v := range loose {
		p := positional(parameters, bound)
		if p == nil {
			return nil, &hint{mail.Errorf(mail.KindBadArgument, "%s does not know what to do with %q", cmdlet, v.text), "Parameters are written -Name Value."}
		}
		bindable, err := plain(p, v)
		if err != nil {
			return nil, err
		}
		if err := give(p, bindable); err != nil {
			return nil, err
		}
	}
	return bound, nil
}

func valuesHint(p *manage.Parameter) string {
	if len(p.Values) == 0 {
		return ""
	}
	return "It takes " + strings.Join(p.Values, ", ") + "."
}

// positional gives the first parameter with a position that has no value yet.
func positional(parameters []manage.Parameter, bound map[string]any) *manage.Parameter {
	var first *manage.Parameter
	for i := range parameters {
		p := &parameters[i]
		if _, taken := bound[p.Name]; p.Position > 0 && !taken && (first == nil || p.Position < first.Position) {
			first = p
		}
	}
	return first
}

func isList(p *manage.Parameter) bool {
	return p.Type == manage.TypeList || p.Type == manage.TypeValues
}

// plain gives a value in the form that the API takes.
func plain(p *manage.Parameter, v *value) (any, error) {
	switch v.kind {
	case null:
		return nil, nil
	case truth:
		if p.Type == manage.TypeText || p.Type == manage.TypeSecret || p.Type == manage.TypeFile || p.Type == manage.TypeSave {
			return v.text, nil
		}
		return v.yes, nil
	case list:
		return texts(p, v.list)
	case block:
		if p.Type == manage.TypeObject { // JSON whose quotes another shell took
			return "{" + v.text + "}", nil
		}
	case table:
		if p.Type == manage.TypeObject {
			return literal(p, v.table)
		}
		if !isList(p) {
			break
		}
		edit := map[string][]string{}
		for _, e := range v.table {
			elements := []value{e.value}
			if e.value.kind == list {
				elements = e.value.list
			} else if e.value.kind == word && e.value.plain {
				elements = split(e.value.text)
			}
			list, err := texts(p, elements)
			if err != nil {
				return nil, err
			}
			edit[e.key] = append(edit[e.key], list...)
		}
		return edit, nil
	case word:
		if isList(p) {
			if v.plain {
				return texts(p, split(v.text))
			}
			return []string{v.text}, nil
		}
		return v.text, nil
	}
	return nil, mail.Errorf(mail.KindBadArgument, "-%s does not take a value in braces", p.Name)
}

// literal gives the entries of @{ … } as they are.
func literal(p *manage.Parameter, entries []entry) (any, error) {
	out := map[string]any{}
	for _, e := range entries {
		value, err := plain(p, &e.value)
		if err != nil {
			return nil, err
		}
		out[e.key] = value
	}
	return out, nil
}

// split gives the elements of a list that has lost its quotes.
func split(text string) []value {
	var list []value
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, value{text: part})
		}
	}
	return list
}

func texts(p *manage.Parameter, list []value) ([]string, error) {
	out := []string{}
	for _, v := range list {
		if v.kind != word {
			return nil, mail.Errorf(mail.KindBadArgument, "-%s is a list of texts", p.Name)
		}
		out = append(out, v.text)
	}
	return out, nil
}

// nearest asks whether the closest of names was meant, "" when none is close.
func nearest(name string, names []string) string {
	best, least := "", 1+len(name)/3
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d <= least {
			best, least = n, d-1
		}
	}
	if best == "" {
		return ""
	}
	return "Did you mean " + best + "?"
}

// distance is Levenshtein's, of short names; longer ones are far away.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
