package settings

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Service names what settings belong to.
type Service string

// The services, by the names that administrators start and stop them with.
const (
	POP3  Service = "POP3"
	IMAP4 Service = "IMAP4"
	LMTP  Service = "LMTP"
	// Console is the web console and the management API over HTTPS.
	Console Service = "Console"
)

// Services lists the services in the order in which they are shown.
var Services = []Service{POP3, IMAP4, LMTP, Console}

// Prefix is what the service is called in the names of its cmdlets: "Pop" of
// Set-PopSettings.
func (s Service) Prefix() string {
	switch s {
	case POP3:
		return "Pop"
	case IMAP4:
		return "Imap"
	case LMTP:
		return "Lmtp"
	}
	return string(s)
}

// ParseService reads a service's name in any case; MSExchangePOP3 and
// MSExchangeIMAP4 are other names of POP3 and IMAP4. KindNotFound.
func ParseService(name string) (Service, error) {
	short := name
	if len(name) > 10 && strings.EqualFold(name[:10], "MSExchange") {
		short = name[10:]
	}
	for _, s := range Services {
		if strings.EqualFold(short, string(s)) && (short == name || s == POP3 || s == IMAP4) || strings.EqualFold(name, s.Prefix()) {
			return s, nil
		}
	}
	return "", mail.Errorf(mail.KindNotFound, "there is no service %q; the services are POP3, IMAP4, LMTP and Console", name)
}

// Page is the property page that shows a setting.
type Page string

// The property pages, in their order.
const (
	General        Page = "General"
	Binding        Page = "Binding"
	Authentication Page = "Authentication"
	Connection     Page = "Connection"
	Retrieval      Page = "Retrieval Settings"
	ACME           Page = "ACME"
	ProtocolLog    Page = "Protocol Log"

	MailboxDatabase Page = "Mailbox Database"
)

// Pages lists the property pages in their order.
var Pages = []Page{General, Binding, Authentication, Connection, Retrieval, ProtocolLog, ACME, MailboxDatabase}

// Choice is one value of a setting that has a fixed set of them.
type Choice struct {
	Name   string // as written and shown
	Number int    // accepted instead of the name
	Label  string // the console's words; "" is Name
	Help   string // one sentence: what it means
	// Service is the only one that has it, "" for every one of the setting.
	Service Service
}

// of tells whether the service has the choice.
func (c Choice) of(s Service) bool { return c.Service == "" || c.Service == s }

// ChoicesOf gives the choices that a service has.
func (r *Row) ChoicesOf(s Service) []Choice {
	var list []Choice
	for _, c := range r.Choices {
		if c.of(s) {
			list = append(list, c)
		}
	}
	return list
}

// Row describes one setting. Rows are made in this package and never change.
type Row struct {
	Name     string    // also the cmdlets' parameter
	Noun     string    // "Settings": of Set-PopSettings and the like; "Service": of Set-Service; "AcmeSettings"; "MailboxDatabase"
	Page     Page      // where a console shows it
	Type     string    // in words, for help: "IP:port list", "time span", …
	Services []Service // where it exists
	Help     string    // what it does, in whole sentences
	Choices  []Choice  // when the values are few and named, else nil

	// standard gives the default for a service of the named server.
	standard func(s Service, server string) any
	// read reads and checks a JSON value; current serves edits of a list.
	read func(s Service, current any, raw json.RawMessage) (any, error)
	// show turns a value into what JSON and tables print: string, int, bool or []string.
	show func(any) any
	// schema describes the JSON value for a service (JSON Schema 2020-12).
	schema func(s Service) map[string]any
	// limits says the range in words, "" for none.
	limits func(s Service) string
	// warn and note comment on a value being set; nil or "" for nothing to say.
	warn, note func(any) string
}

// Has tells whether the setting exists for a service.
func (r *Row) Has(s Service) bool { return slices.Contains(r.Services, s) }

// Show gives the setting's value in v in the form that tables and JSON print:
// string, int, bool or []string; nil when v's service does not have the setting.
func (r *Row) Show(v *Values) any {
	value, ok := v.values[r.Name]
	if !ok {
		return nil
	}
	return r.show(value)
}

// Default gives the default for a service of the named server in the form of Show.
func (r *Row) Default(s Service, server string) any { return r.show(r.standard(s, server)) }

// Schema describes the setting's value for a service as JSON Schema 2020-12.
func (r *Row) Schema(s Service) map[string]any {
	schema := r.schema(s)
	schema["description"] = r.Help
	return schema
}

// Limits says in words which values are accepted, "" when the type says it all.
func (r *Row) Limits(s Service) string {
	if r.limits == nil {
		return ""
	}
	return r.limits(s)
}

// Warning says what an administrator should worry about in v's value, or "".
func (r *Row) Warning(v *Values) string { return comment(r.warn, v.values[r.Name]) }

// Note says what else is worth knowing about v's value, such as that it is kept
// and does not act yet, or "".
func (r *Row) Note(v *Values) string { return comment(r.note, v.values[r.Name]) }

func comment(f func(any) string, value any) string {
	if f == nil || value == nil {
		return ""
	}
	return f(value)
}

// Completions lists the values that a shell offers for a service, nil when there are too
// many.
func (r *Row) Completions(s Service) []string {
	if r.Type == "bool" {
		return []string{"$true", "$false"}
	}
	var names []string
	for _, c := range r.ChoicesOf(s) {
		names = append(names, c.Name)
	}
	return names
}

// Refusal is the error of a value that a setting does not take; errors.As finds
// it, and the *mail.Error in it.
type Refusal struct {
	Setting string // Row.Name
	Err     *mail.Error
}

// Error gives the error's text, for logs.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap gives the error with its kind.
func (r *Refusal) Unwrap() error { return r.Err }

// refuse makes the error of a value that the row does not take.
func (r *Row) refuse(format string, args ...any) error {
	return &Refusal{r.Name, mail.Errorf(mail.KindBadArgument, "%s "+format, append([]any{r.Name}, args...)...)}
}

// Setting is the typed handle of a row.
type Setting[T any] struct{ *Row }

// Of gives the setting's value in v. It is the zero value when v's service does
// not have the setting. Slices are shared: do not write to them.
func (s Setting[T]) Of(v *Values) T {
	t, _ := v.values[s.Name].(T)
	return t
}

// With gives a copy of v in which the setting is t, unchecked: for tests, and for
// a start that knows its values. Administrators' values go through Values.Edit.
func (s Setting[T]) With(v *Values, t T) *Values {
	c := v.clone()
	c.values[s.Name] = t
	return c
}

// name gives the name of a choice by its number.
func (r *Row) name(number int) string {
	for _, c := range r.Choices {
		if c.Number == number {
			return c.Name
		}
	}
	return fmt.Sprintf("%s(%d)", r.Type, number)
}
