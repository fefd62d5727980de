package settings

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Values is a snapshot of all settings of one service on one server. It never
// changes; any goroutine may read it.
type Values struct {
	service Service
	server  string
	values  map[string]any // by Row.Name, of the row's own type
}

// Defaults gives the defaults of a service on the named server.
func Defaults(s Service, server string) *Values {
	v := &Values{service: s, server: server, values: make(map[string]any, len(Table))}
	for _, r := range Table {
		if r.Has(s) {
			v.values[r.Name] = r.standard(s, server)
		}
	}
	return v
}

// Service tells whose settings these are.
func (v *Values) Service() Service { return v.service }

// Server tells on which server.
func (v *Values) Server() string { return v.server }

func (v *Values) clone() *Values {
	return &Values{service: v.service, server: v.server, values: maps.Clone(v.values)}
}

// Edit asks for one setting to become something else. Value is JSON: a string, a
// number, a bool; for a list also a list of strings, or an object with Add and
// Remove, each a string or a list. Numbers and bools may come as strings ("64KB",
// "$true"). null is the default, and for a list the empty list.
type Edit struct {
	Name  string
	Value json.RawMessage
}

// Change is one difference between two snapshots, in the form of Row.Show.
type Change struct {
	Name string `json:"name"`
	Old  any    `json:"old"`
	New  any    `json:"new"`
}

// Diff lists the differences in the order of Table.
type Diff []Change

// Edit gives a copy of v with the edits made, after checking each value and all
// of them together. KindBadArgument names the setting; v itself stays as it is.
func (v *Values) Edit(edits ...Edit) (*Values, error) {
	c := v.clone()
	seen := make(map[string]bool, len(edits))
	for _, e := range edits {
		r := Find(e.Name)
		if r == nil || !r.Has(v.service) {
			return nil, mail.Errorf(mail.KindBadArgument, "%s has no setting %q", v.service, e.Name)
		}
		if seen[r.Name] {
			return nil, r.refuse("is given twice")
		}
		seen[r.Name] = true
		value, err := r.decode(v.service, v.server, c.values[r.Name], e.Value)
		if err != nil {
			return nil, err
		}
		c.values[r.Name] = value
	}
	for _, check := range Checks {
		if err := check(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Diff lists what is different in next.
func (v *Values) Diff(next *Values) Diff {
	var d Diff
	for _, r := range Table {
		a, b := r.Show(v), r.Show(next)
		if !reflect.DeepEqual(a, b) {
			d = append(d, Change{r.Name, a, b})
		}
	}
	return d
}

// decode reads one JSON value of a row.
func (r *Row) decode(s Service, server string, current any, raw json.RawMessage) (any, error) {
	if len(raw) > maxValueBytes {
		return nil, r.refuse("is longer than %d bytes", maxValueBytes)
	}
	if strings.TrimSpace(string(raw)) == "null" && r.Type != bindingsType {
		return r.standard(s, server), nil
	}
	return r.read(s, current, raw)
}

// maxValueBytes bounds the JSON text of one value.
const maxValueBytes = 64 << 10

// Find gives the row of a setting by its name in any case, or nil.
func Find(name string) *Row {
	for _, r := range Table {
		if strings.EqualFold(r.Name, name) {
			return r
		}
	}
	return nil
}

// Of lists the rows that a service has, for the cmdlets of one noun ("Settings"
// or "Service"; "" is both).
func Of(s Service, noun string) []*Row {
	var rows []*Row
	for _, r := range Table {
		if r.Has(s) && (noun == "" || r.Noun == noun) {
			rows = append(rows, r)
		}
	}
	return rows
}
