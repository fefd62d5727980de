// Package convert gives parts of messages in other forms, for clients that cannot read
// those in which they came: text in other charsets, HTML as plain text, images in other
// formats and smaller. Work and memory are bounded before any is done; what is kept is
// never altered. Every function may be called from any goroutine.
package convert

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// The parameters, by the names of their registry (RFC 2506).
const (
	Charset     = "charset"
	Replacement = "unknown-character-replacement"
	Width       = "pix-x"
	Height      = "pix-y"
)

// MaxSource is how many bytes a part may have, without its content transfer encoding.
const MaxSource = 16 << 20

// Row is what can be made of what.
type Row struct {
	From, To   string // media types in lower case
	Parameters []string
	run        func(s Source, to string, p values) (Result, *Fault)
}

var (
	textParameters  = []string{Charset, Replacement}
	imageParameters = []string{Width, Height}
)

// Table lists the conversions; of a type the best stands first, which is what a client
// gets that does not say what it wants (RFC 5259, 6).
var Table = []Row{
	{"text/plain", "text/plain", textParameters, plainText},
	{"text/csv", "text/csv", textParameters, plainText},
	{"text/csv", "text/plain", textParameters, plainText},
	{"text/html", "text/plain", textParameters, htmlText},
	{"image/jpeg", "image/jpeg", imageParameters, picture},
	{"image/jpeg", "image/png", imageParameters, picture},
	{"image/jpeg", "image/gif", imageParameters, picture},
	{"image/png", "image/png", imageParameters, picture},
	{"image/png", "image/jpeg", imageParameters, picture},
	{"image/png", "image/gif", imageParameters, picture},
	{"image/gif", "image/png", imageParameters, picture},
	{"image/gif", "image/gif", imageParameters, picture},
	{"image/gif", "image/jpeg", imageParameters, picture},
}

// Parameter is what a client wants of the result.
type Parameter struct{ Name, Value string }

// Source is a part of a message without its content transfer encoding.
type Source struct {
	Type    string // in lower case
	Charset string // as the part says, "" when it does not
	Data    []byte // at most MaxSource
}

// Result is what was made of it.
type Result struct {
	Type    string
	Charset string // of text
	Data    []byte
}

// Fault says why nothing was made.
type Fault struct {
	Err error // a *mail.Error
	// Parameters are those that cannot be honored; none when it is the part itself.
	Parameters []Parameter
}

// values are parameters by their names.
type values map[string]string

// Default gives the type that a part becomes when the client does not say; "" for none.
func Default(from string) string {
	for _, r := range Table {
		if r.From == from {
			return r.To
		}
	}
	return ""
}

// Targets gives the types that a part can become with all these parameters; if to is not
// "", this one alone. A fault when there is none.
func Targets(from, to string, parameters []Parameter) (types []string, fault *Fault) {
	fault = &Fault{Err: mail.Errorf(mail.KindCannot, "That conversion is not offered.")}
	for i := range Table {
		r := &Table[i]
		if r.From != from || to != "" && r.To != to {
			continue
		}
		bad := r.foreign(parameters)
		if len(bad) == 0 {
			types = append(types, r.To)
		} else if fault.Parameters == nil {
			fault = &Fault{mail.Errorf(mail.KindBadArgument, "These parameters do not belong to that conversion."), bad}
		}
	}
	if len(types) > 0 {
		fault = nil
	}
	return types, fault
}

// foreign gives the parameters that the row does not know.
func (r *Row) foreign(parameters []Parameter) (list []Parameter) {
	for _, p := range parameters {
		if !slices.Contains(r.Parameters, strings.ToLower(p.Name)) {
			list = append(list, p)
		}
	}
	return list
}

// Run makes a part of the type to of s.
func Run(s Source, to string, parameters []Parameter) (Result, *Fault) {
	if _, fault := Targets(s.Type, to, parameters); fault != nil {
		return Result{}, fault
	}
	if len(s.Data) > MaxSource {
		return Result{}, TooLarge()
	}
	v := values{}
	for _, p := range parameters {
		v[strings.ToLower(p.Name)] = p.Value
	}
	i := slices.IndexFunc(Table, func(r Row) bool { return r.From == s.Type && r.To == to })
	return Table[i].run(s, to, v)
}

// TooLarge is the fault of a part above MaxSource.
func TooLarge() *Fault {
	return &Fault{Err: mail.Errorf(mail.KindTooBig, "That part is too large to be converted.")}
}

// fault is one of single parameters.
func (v values) fault(err error, names ...string) *Fault {
	f := &Fault{Err: err}
	for _, n := range names {
		if value, given := v[n]; given {
			f.Parameters = append(f.Parameters, Parameter{n, value})
		}
	}
	return f
}
