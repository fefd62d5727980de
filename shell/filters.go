package shell

import (
	"cmp"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// stream is what goes through a pipeline: the objects of a cmdlet, and how they
// are to be shown at its end.
type stream struct {
	result *manage.Result
	format format
	// properties that were asked for, patterns allowed; nil is the cmdlet's choice.
	properties []string
	expand     string // Select-Object -ExpandProperty
	selected   bool   // Select-Object gave its objects their properties
}

type format int

const (
	byView format = iota // as the cmdlet says
	asList
	asTable
	asJSON
)

// filter is one row of the table of what may stand behind a pipe.
type filter struct {
	name       string
	aliases    []string
	help       string
	parameters []manage.Parameter
	// run changes the stream; bound are the parameters, args all tokens for a
	// filter that reads them itself.
	run func(s *stream, bound map[string]any, args []token) error
	own bool // it reads args itself
}

// filters gives the table.
func filters() []*filter {
	property := manage.Parameter{Name: "Property", Type: manage.TypeList, Position: 1, Help: "The properties; * and ? stand for any characters."}
	first := manage.Parameter{Name: "First", Type: manage.TypeNumber, Help: "Only so many from the beginning."}
	return []*filter{
		{name: "Format-List", aliases: []string{"fl"}, help: "Shows one property a line.", parameters: []manage.Parameter{property}, run: formatAs(asList)},
		{name: "Format-Table", aliases: []string{"ft"}, help: "Shows one object a line.", parameters: []manage.Parameter{property}, run: formatAs(asTable)},
		{name: "ConvertTo-Json", help: "Prints JSON.", run: formatAs(asJSON)},
		{name: "Select-Object", aliases: []string{"select"}, help: "Keeps some properties, or the first objects.",
			parameters: []manage.Parameter{property, first, {Name: "ExpandProperty", Type: manage.TypeText, Help: "Only this property's values, one a line."}}, run: selectObject},
		{name: "Where-Object", aliases: []string{"where", "?"}, help: "Keeps the objects for which a comparison holds: { $_.Name -like 'a*' }, or Name -like a*.", own: true, run: whereObject},
		{name: "Sort-Object", aliases: []string{"sort"}, help: "Orders the objects by properties.",
			parameters: []manage.Parameter{property, {Name: "Descending", Type: manage.TypeSwitch, Help: "The largest first."}}, run: sortObject},
	}
}

// filterNamed finds a filter by its name or alias in any case, or nil.
func filterNamed(name string) *filter {
	for _, f := range filters() {
		if strings.EqualFold(f.name, name) {
			return f
		}
		for _, a := range f.aliases {
			if strings.EqualFold(a, name) {
				return f
			}
		}
	}
	return nil
}

func formatAs(f format) func(*stream, map[string]any, []token) error {
	return func(s *stream, bound map[string]any, _ []token) error {
		if s.format != byView {
			return mail.Errorf(mail.KindBadArgument, "a format stands at the end of a pipeline, and once")
		}
		s.format = f
		if p, ok := bound["Property"].([]string); ok {
			s.properties = p
		}
		return nil
	}
}

// properties gives the names of o's properties that the patterns mean, in the
// order of the patterns. A pattern that means none is kept as it is.
func properties(o manage.Object, patterns []string) []string {
	var names []string
	for _, pattern := range patterns {
		found := false
		for _, p := range o {
			if manage.Like(pattern, p.Name) {
				found = true
				if !slices.Contains(names, p.Name) {
					names = append(names, p.Name)
				}
			}
		}
		if !found && !strings.ContainsAny(pattern, "*?") {
			names = append(names, pattern)
		}
	}
	return names
}

// known refuses a property that no object has: it is misspelt.
func known(s *stream, patterns []string) error {
	if len(s.result.Objects) == 0 {
		return nil
	}
	first := s.result.Objects[0]
	for _, pattern := range patterns {
		if !slices.ContainsFunc(first, func(p manage.Property) bool { return manage.Like(pattern, p.Name) }) {
			names := make([]string, len(first))
			for i, p := range first {
				names[i] = p.Name
			}
			return &hint{mail.Errorf(mail.KindBadArgument, "there is no property %q", pattern), "The properties are " + strings.Join(names, ", ") + "."}
		}
	}
	return nil
}

func selectObject(s *stream, bound map[string]any, _ []token) error {
	if text, ok := bound["First"].(string); ok {
		n, ok := number(text)
		if !ok || n < 0 {
			return mail.Errorf(mail.KindBadArgument, "-First is a number")
		}
		s.result.Objects = s.result.Objects[:min(len(s.result.Objects), int(min(n, 1<<31)))]
	}
	if name, ok := bound["ExpandProperty"].(string); ok {
		s.expand = name
		return known(s, []string{name})
	}
	patterns, ok := bound["Property"].([]string)
	if !ok {
		return nil
	}
	if err := known(s, patterns); err != nil {
		return err
	}
	for i, o := range s.result.Objects {
		var selected manage.Object
		for _, name := range properties(o, patterns) {
			v, _ := o.Value(name)
			selected = append(selected, manage.Property{Name: name, Value: v})
		}
		s.result.Objects[i] = selected
	}
	s.selected = true
	if s.result.View == manage.ViewHelp {
		s.result.View = manage.ViewList
	}
	return nil
}

func sortObject(s *stream, bound map[string]any, _ []token) error {
	by, ok := bound["Property"].([]string)
	if !ok {
		return mail.Errorf(mail.KindBadArgument, "Sort-Object needs a property")
	}
	if err := known(s, by); err != nil {
		return err
	}
	slices.SortStableFunc(s.result.Objects, func(a, b manage.Object) int {
		for _, name := range by {
			x, _ := a.Value(name)
			y, _ := b.Value(name)
			if order := order(x, y); order != 0 {
				if bound["Descending"] == true {
					return -order
				}
				return order
			}
		}
		return 0
	})
	return nil
}

// order compares two values: as numbers when both are, else as text in any case.
func order(a, b any) int {
	x, isX := amount(a)
	y, isY := amount(b)
	if isX && isY {
		return cmp.Compare(x, y)
	}
	return strings.Compare(strings.ToLower(show(a, "")), strings.ToLower(show(b, "")))
}
