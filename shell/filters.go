package shell

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

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
	expand     string // objects are values, kept in the property of this name
	selected   bool   // a filter gave the objects their properties
	delimiter  rune   // of asCSV
}

type format int

const (
	byView format = iota // as the cmdlet says
	asList
	asTable
	asJSON
	asCSV
)

// filter is one row of the table of what may stand behind a pipe.
type filter struct {
	name       string
	aliases    []string
	help       string
	parameters []manage.Parameter
	// run changes the stream; bound are the parameters, args all tokens for a
	// filter that reads them itself.
	run  func(s *stream, bound map[string]any, args []token) error
	own  bool // it reads args itself
	last bool // nothing stands behind it
	all  bool // it needs all objects before it can give one
}

// filters gives the table.
func filters() []*filter {
	property := manage.Parameter{Name: "Property", Type: manage.TypeList, Position: 1, Help: "The properties; * and ? stand for any characters."}
	one := manage.Parameter{Name: "Property", Type: manage.TypeText, Position: 1, Help: "The property."}
	flag := func(name, help string) manage.Parameter {
		return manage.Parameter{Name: name, Type: manage.TypeSwitch, Help: help}
	}
	count := func(name, help string) manage.Parameter {
		return manage.Parameter{Name: name, Type: manage.TypeNumber, Help: help}
	}
	return []*filter{
		{name: "Format-List", aliases: []string{"fl"}, help: "Shows one property a line.", parameters: []manage.Parameter{property}, last: true, run: formatAs(asList)},
		{name: "Format-Table", aliases: []string{"ft"}, help: "Shows one object a line.", parameters: []manage.Parameter{property}, last: true, run: formatAs(asTable)},
		{name: "ConvertTo-Json", help: "Prints JSON.", last: true, run: formatAs(asJSON)},
		{name: "ConvertTo-Csv", help: "Prints CSV (RFC 4180): a line of names, then one object a line, lists parted by semicolons.", last: true,
			parameters: []manage.Parameter{
				{Name: "Delimiter", Type: manage.TypeText, Default: ",", Help: "One character between the values."},
				flag("NoTypeInformation", "Accepted: there is no line of types."),
			}, run: convertToCSV},
		{name: "Select-Object", aliases: []string{"select"}, help: "Keeps some properties, or some of the objects.",
			parameters: []manage.Parameter{
				property, count("First", "Only so many from the beginning."), count("Last", "Only so many from the end."), count("Skip", "Without so many from the beginning, or with -Last from the end."),
				flag("Unique", "Each once."), {Name: "ExpandProperty", Type: manage.TypeText, Help: "Only this property's values, one a line."},
			}, run: selectObject},
		{name: "ForEach-Object", aliases: []string{"foreach", "%"}, help: "Gives one property's values: ForEach-Object Name, or { $_.Name }.", own: true, run: forEachObject},
		{name: "Where-Object", aliases: []string{"where", "?"}, help: "Keeps the objects for which a comparison holds: { $_.Name -like 'a*' }, or Name -like a*.", own: true, run: whereObject},
		{name: "Sort-Object", aliases: []string{"sort"}, help: "Orders the objects by properties.",
			parameters: []manage.Parameter{property, flag("Descending", "The largest first."), flag("Unique", "Each once.")}, all: true, run: sortObject},
		{name: "Group-Object", aliases: []string{"group"}, help: "Counts the objects that have the same value.", parameters: []manage.Parameter{one}, all: true, run: groupObject},
		{name: "Measure-Object", aliases: []string{"measure"}, help: "Counts the objects, and computes with a property.",
			parameters: []manage.Parameter{one, flag("Sum", "The sum."), flag("Average", "The average."), flag("Minimum", "The least."), flag("Maximum", "The largest.")}, all: true, run: measureObject},
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

func convertToCSV(s *stream, bound map[string]any, _ []token) error {
	s.format, s.delimiter = asCSV, ','
	if text, ok := bound["Delimiter"].(string); ok {
		r, n := utf8.DecodeRuneInString(text)
		if n != len(text) || n == 0 || strings.ContainsRune("\"\r\n\uFFFD", r) {
			return mail.Errorf(mail.KindBadArgument, "-Delimiter is one character, and no quote")
		}
		s.delimiter = r
	}
	return nil
}

// counted gives a parameter that says how many; none when it was not given.
func counted(bound map[string]any, name string, none int) (int, error) {
	text, ok := bound[name].(string)
	if !ok {
		return none, nil
	}
	n, ok := number(text)
	if !ok || n < 0 {
		return 0, mail.Errorf(mail.KindBadArgument, "-%s is a number", name)
	}
	return int(min(n, 1<<31-1)), nil
}

func selectObject(s *stream, bound map[string]any, _ []token) error {
	var counts [3]int
	for i, name := range []string{"First", "Last", "Skip"} {
		var err error
		if counts[i], err = counted(bound, name, -1); err != nil {
			return err
		}
	}
	first, last, skip := counts[0], counts[1], max(counts[2], 0)
	if first >= 0 && last >= 0 {
		return mail.Errorf(mail.KindBadArgument, "-First and -Last do not go together")
	}
	list := s.result.Objects
	if last >= 0 {
		list = list[:max(len(list)-skip, 0)]
		list = list[max(len(list)-last, 0):]
	} else {
		list = list[min(skip, len(list)):]
		if first >= 0 {
			list = list[:min(first, len(list))]
		}
	}
	s.result.Objects = list
	if name, ok := bound["ExpandProperty"].(string); ok {
		if err := s.values(name); err != nil {
			return err
		}
	} else if patterns, ok := bound["Property"].([]string); ok {
		if err := s.keep(patterns); err != nil {
			return err
		}
	}
	if bound["Unique"] == true {
		s.unique()
	}
	return nil
}

// keep leaves the objects the properties that patterns mean.
func (s *stream) keep(patterns []string) error {
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
	s.shape()
	return nil
}

// values makes the values of a property the objects; a list's elements are several.
func (s *stream) values(name string) error {
	if err := known(s, []string{name}); err != nil {
		return err
	}
	var list []manage.Object
	s.expand = name
	for _, o := range s.result.Objects {
		v, _ := o.Value(name)
		elements, isList := v.([]any)
		if !isList {
			elements = []any{v}
		}
		for _, e := range elements {
			if inner, ok := e.(manage.Object); ok {
				list = append(list, inner)
				s.expand = ""
				continue
			}
			list = append(list, manage.Object{{Name: name, Value: e}})
		}
	}
	s.result.Objects = list
	s.shape()
	return nil
}

// shape notes that the objects are no longer what the cmdlet gave.
func (s *stream) shape() {
	s.selected = true
	if s.result.View == manage.ViewHelp {
		s.result.View = manage.ViewList
	}
}

// unique keeps the first of equal objects.
func (s *stream) unique() {
	seen := map[string]bool{}
	s.result.Objects = slices.DeleteFunc(s.result.Objects, func(o manage.Object) bool {
		key := show(o, "")
		was := seen[key]
		seen[key] = true
		return was
	})
}

// forEachObject reads "property", "-MemberName property" or "{ $_.property }".
func forEachObject(s *stream, _ map[string]any, args []token) error {
	if len(args) > 1 && args[0].value == nil && (strings.EqualFold(args[0].parameter, "MemberName") || strings.EqualFold(args[0].parameter, "Process")) {
		args = args[1:]
	}
	usage := &hint{mail.Errorf(mail.KindBadArgument, "ForEach-Object gives one property"), "Such as ForEach-Object Name. To run a cmdlet for each object put it behind the pipe: Get-Mailbox | Set-CASMailbox -PopEnabled:$false."}
	if len(args) != 1 || args[0].value == nil {
		return usage
	}
	name := args[0].value.text
	if args[0].value.kind == block {
		var ok bool
		if name, ok = strings.CutPrefix(strings.TrimSpace(name), "$_."); !ok || strings.ContainsAny(name, " |;(){}'\"") {
			return usage
		}
	}
	return s.values(name)
}

func sortObject(s *stream, bound map[string]any, _ []token) error {
	by, ok := bound["Property"].([]string)
	if !ok && s.expand == "" {
		return mail.Errorf(mail.KindBadArgument, "Sort-Object needs a property")
	}
	if !ok {
		by = []string{s.expand}
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
	if bound["Unique"] == true {
		s.unique()
	}
	return nil
}

// property gives the property that a filter works with, "" when none was named
// and the objects are no values.
func (s *stream) property(bound map[string]any) (string, error) {
	name, ok := bound["Property"].(string)
	if !ok {
		return s.expand, nil
	}
	return name, known(s, []string{name})
}

func groupObject(s *stream, bound map[string]any, _ []token) error {
	name, err := s.property(bound)
	if err != nil {
		return err
	}
	if name == "" {
		return mail.Errorf(mail.KindBadArgument, "Group-Object needs a property")
	}
	counts := map[string]int64{}
	var groups []string
	for _, o := range s.result.Objects {
		v, _ := o.Value(name)
		key := show(v, "")
		if counts[key] == 0 {
			groups = append(groups, key)
		}
		counts[key]++
	}
	objects := []manage.Object{}
	for _, g := range groups {
		objects = append(objects, manage.Object{{Name: "Count", Value: counts[g]}, {Name: "Name", Value: g}})
	}
	s.computed(manage.ViewTable, objects, nil)
	return nil
}

// computed replaces the objects by what a filter made of them.
func (s *stream) computed(view manage.View, objects []manage.Object, units map[string]string) {
	r := *s.result
	r.View, r.Columns, r.Objects, r.Units = view, nil, objects, units
	s.result, s.expand, s.selected = &r, "", true
}

func measureObject(s *stream, bound map[string]any, _ []token) error {
	name, err := s.property(bound)
	if err != nil {
		return err
	}
	var figures []string
	for _, f := range []string{"Sum", "Average", "Minimum", "Maximum"} {
		if bound[f] == true {
			figures = append(figures, f)
		}
	}
	if name == "" && figures != nil {
		return mail.Errorf(mail.KindBadArgument, "Measure-Object -%s needs a property", figures[0])
	}
	count, sum := int64(0), 0.0
	least, most := math.Inf(1), math.Inf(-1)
	for _, o := range s.result.Objects {
		v, _ := o.Value(name)
		if name != "" && (v == nil || v == "") {
			continue
		}
		count++
		n, ok := amount(v)
		if !ok && figures != nil {
			return mail.Errorf(mail.KindBadArgument, "%s is no number: %q", name, show(v, ""))
		}
		sum, least, most = sum+n, min(least, n), max(most, n)
	}
	o := manage.Object{{Name: "Count", Value: count}}
	units := map[string]string{}
	for _, f := range figures {
		v := map[string]float64{"Sum": sum, "Average": sum / float64(count), "Minimum": least, "Maximum": most}[f]
		if units[f] = s.result.Units[name]; units[f] == "bytes" {
			v = math.Round(v)
		}
		o = append(o, manage.Property{Name: f, Value: figure(v, count)})
	}
	if name != "" {
		o = append(o, manage.Property{Name: "Property", Value: name})
	}
	s.computed(manage.ViewList, []manage.Object{o}, units)
	return nil
}

// figure gives a computed number as objects have it: whole where it is, of
// nothing none, and unlimited where it is larger than any.
func figure(v float64, count int64) any {
	switch {
	case count == 0:
		return nil
	case math.IsInf(v, 1):
		return "unlimited"
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return int64(v)
	}
	return math.Round(v*100) / 100
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
