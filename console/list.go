package console

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// Input is one field of a Search: a parameter of the cmdlet that lists.
type Input struct {
	Name      string // in the address
	Label     string // English
	Parameter string // of the cmdlet
	Type      string // of the input: "search", or "datetime-local" for a moment
	Hint      string // English
	Choices   []settings.Choice
	Value     string
	Error     string // in the visitor's language
}

// Search narrows a list down: a form whose fields stand in the page's address.
type Search struct {
	Path   string
	Hidden []Input // brought along
	Inputs []*Input
}

// maxSearch bounds what is looked for, in bytes.
const maxSearch = 300

// search reads a Search's inputs from the address.
func (v *Visit) search(inputs ...*Input) *Search {
	s := &Search{Path: v.Request.URL.EscapedPath(), Inputs: inputs}
	query := v.Request.URL.Query()
	for _, in := range inputs {
		if in.Type == "" {
			in.Type = "search"
		}
		if in.Value = strings.TrimSpace(query.Get(in.Name)); len(in.Value) > maxSearch {
			in.Value = ""
		}
	}
	return s
}

// Narrowed tells whether something is looked for.
func (s *Search) Narrowed() bool {
	return slices.ContainsFunc(s.Inputs, func(in *Input) bool { return in.Value != "" })
}

// All is the address of the whole list.
func (s *Search) All() string { return s.address(url.Values{}) }

// address is the page's with a query beside what is brought along.
func (s *Search) address(query url.Values) string {
	for _, in := range s.Hidden {
		query.Set(in.Name, in.Value)
	}
	if len(query) == 0 {
		return s.Path
	}
	return s.Path + "?" + query.Encode()
}

// From is the address of the list's part that begins at a mark, "" for the first.
func (s *Search) From(mark string) string {
	query := url.Values{}
	for _, in := range s.Inputs {
		if in.Value != "" {
			query.Set(in.Name, in.Value)
		}
	}
	if mark != "" {
		query.Set("from", mark)
	}
	return s.address(query)
}

// Arguments are what the cmdlet is asked for.
func (s *Search) Arguments() []shell.Argument {
	var list []shell.Argument
	for _, in := range s.Inputs {
		value := in.Value
		if value == "" {
			continue
		}
		if in.Type == "datetime-local" {
			if t, err := time.ParseInLocation("2006-01-02T15:04", value, time.Local); err == nil {
				value = t.Format(time.RFC3339)
			}
		}
		list = append(list, shell.Argument{Name: in.Parameter, Value: value})
	}
	return list
}

// fault puts an error at the input that it is about; false when it is about none.
func (s *Search) fault(v *Visit, err error) bool {
	parameter := manage.FaultOf(err).Parameter
	for _, in := range s.Inputs {
		if in.Value != "" && strings.EqualFold(in.Parameter, parameter) {
			in.Error = sentence(v.Error(err))
			v.status = mail.KindOf(err).Answer().HTTP
			return true
		}
	}
	return false
}

// Pager leads to other parts of a list; "" where there are none.
type Pager struct{ First, Next string }

// pager gives the ways from here; next is the mark of the next part, "" for none.
func (s *Search) pager(v *Visit, next string) Pager {
	var p Pager
	if v.Request.URL.Query().Get("from") != "" {
		p.First = s.From("")
	}
	if next != "" {
		p.Next = s.From(next)
	}
	return p
}

// Nothing is said in place of an empty list, with what to do about it.
type Nothing struct {
	Text         string // English
	Action, Path string // English, and where it leads; "" for nothing
	Primary      bool
}

// tabs makes the parts of a page; the first stands at the page's own path. query
// goes along.
func (v *Visit) tabs(query string, titles ...string) (tabs []Tab, current string, err error) {
	for i, title := range titles {
		slug := slugOf(settings.Page(title))
		tab := Tab{Title: title, Path: v.Page.Path + "/" + slug}
		if i == 0 {
			tab.Path = v.Page.Path
		}
		if i == 0 && v.Rest == "" || i > 0 && slug == v.Rest {
			tab.Current, current = true, title
		}
		tab.Path += query
		tabs = append(tabs, tab)
	}
	if current == "" {
		return nil, "", noPage()
	}
	return tabs, current, nil
}

func noPage() error { return mail.Errorf(mail.KindNotFound, "There is no such page.") }

// About names what a form without fields is about.
func (f *Form) About() string {
	var list []string
	for _, a := range f.Fixed {
		if text, ok := a.Value.(string); ok {
			list = append(list, text)
		}
	}
	return strings.Join(list, ", ")
}

// ResultTable is what the form showed.
func (f *Form) ResultTable() *Table { return f.V.Table(f.Result, f.Columns...) }

// Sum is a Verdict.
type Sum struct{ Badge, Text string }

// Sum sums up what the form showed, nil for nothing to say.
func (f *Form) Sum() *Sum {
	if f.Verdict == nil || f.Result == nil {
		return nil
	}
	badge, text := f.Verdict(f.Result)
	return &Sum{badge, text}
}

// optional runs a cmdlet for a part of a page that may be missing; why says so in
// the visitor's language.
func (v *Visit) optional(cmdlet string, arguments ...shell.Argument) (result *manage.Result, why string) {
	if !v.Has(cmdlet) {
		return nil, ""
	}
	result, err := v.Run(cmdlet, arguments...)
	if err != nil {
		return nil, sentence(v.Error(err))
	}
	return result, ""
}

// intOf gives a property that is a whole number.
func intOf(o manage.Object, name string) int64 {
	value, _ := o.Value(name)
	n, _ := value.(int64)
	return n
}

// boolOf gives a property that is true or false.
func boolOf(o manage.Object, name string) bool {
	value, _ := o.Value(name)
	b, _ := value.(bool)
	return b
}

// listOf gives a property that is a list of texts.
func listOf(o manage.Object, name string) []string {
	value, _ := o.Value(name)
	return texts(value)
}

// timeOf gives a property that is a time, the zero time for none.
func timeOf(o manage.Object, name string) time.Time {
	t, _ := time.Parse(time.RFC3339, textOf(o, name))
	return t
}

// Short bounds a text that is shown in a list, in characters.
func (v *Visit) Short(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
