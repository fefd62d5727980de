package manage

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-mail/postern/settings"
)

// Type says how a parameter's value is written and read.
type Type string

// The types of parameters. The comment says what Call gives for each.
const (
	TypeText   Type = "text"      // string
	TypeBool   Type = "bool"      // bool, written $true or $false
	TypeSwitch Type = "switch"    // bool, true when it stands alone
	TypeNumber Type = "number"    // int64
	TypeSize   Type = "size"      // int64, bytes; 0 for "unlimited"
	TypeList   Type = "list"      // settings.ListEdit
	TypeSecret Type = "secret"    // Secret
	TypeFile   Type = "file"      // []byte: a file's content, at most MaxFile bytes
	TypeObject Type = "object"    // map[string]json.RawMessage: a JSON object, or a text that is one
	TypeTime   Type = "time"      // time.Time: Call.Time
	TypeValue  Type = "value"     // json.RawMessage: a setting's row reads it
	TypeValues Type = "valuelist" // the same for a row that is a list
)

// TypeSave is a path to which the client writes Result.File; the server never hears
// of it.
const TypeSave Type = "save"

// MaxFile bounds the content of a parameter of TypeFile, in bytes.
const MaxFile = 1 << 20

// FileContent is how a client sends a parameter of TypeFile: the server never opens
// a path that a caller names. A plain JSON string is the content as text.
type FileContent struct {
	Base64 []byte `json:"base64"` // in standard base64
}

// Takes tells whether a parameter of this type is followed by a value.
func (t Type) Takes() bool { return t != TypeSwitch }

// Parameter describes one parameter of a cmdlet.
type Parameter struct {
	Name      string   `json:"name"`
	Aliases   []string `json:"aliases,omitempty"`
	Type      Type     `json:"type"`
	TypeName  string   `json:"typeName,omitempty"` // for help, where Type says too little
	Position  int      `json:"position,omitempty"` // 1 for the first value without a name; 0 is named only
	Mandatory bool     `json:"mandatory,omitempty"`
	// Pipeline: behind a pipe the shell gives it, for each object, the property
	// that has its name or one of its aliases. The first of a cmdlet's takes what
	// is no object but text.
	Pipeline bool     `json:"pipeline,omitempty"`
	Values   []string `json:"values,omitempty"` // what completion offers
	Suggest  Suggest  `json:"suggest,omitempty"`
	Default  string   `json:"default,omitempty"` // in words
	Help     string   `json:"help"`

	schema map[string]any // of a setting (JSON Schema 2020-12); else it follows from Type
}

// Suggest names a source of values that only the running server knows.
type Suggest string

// The sources.
const (
	SuggestNothing   Suggest = ""
	SuggestMailboxes Suggest = "mailboxes"
	SuggestCmdlets   Suggest = "cmdlets"
	// SuggestCertificates are thumbprints.
	SuggestCertificates Suggest = "certificates"
)

// View is how a cmdlet's objects are shown when nothing else is asked for.
type View string

// The views.
const (
	ViewList  View = "List"  // one property a line
	ViewTable View = "Table" // one object a line
	ViewHelp  View = "Help"  // a help page
	ViewText  View = "Text"  // the property Content as it is: a file
)

// Example is a line to type and what it does.
type Example struct {
	Line string `json:"line"`
	Help string `json:"help"`
}

// Cmdlet is one row of the table.
type Cmdlet struct {
	Name       string      `json:"name"` // Verb-Noun
	Aliases    []string    `json:"aliases,omitempty"`
	Synopsis   string      `json:"synopsis"`
	Help       string      `json:"help,omitempty"` // more than the synopsis, when there is more
	Parameters []Parameter `json:"parameters"`
	Role       Role        `json:"role"` // the least role that may run it
	// Local: the caller must also be a local administrator of the server.
	Local bool `json:"local,omitempty"`
	// Own: it changes only what is the caller's own, so every role may run it.
	Own bool `json:"own,omitempty"`
	// Owner says what people may do with it at the pages of their own account, without
	// a role; nil is nothing.
	Owner *Owner `json:"-"`
	// Changes: it changes something, so it has -WhatIf and -Confirm and is
	// written to the audit record.
	Changes bool `json:"changes,omitempty"`
	// Asks: what it does cannot be undone, so it asks unless -Confirm:$false.
	Asks bool `json:"asks,omitempty"`
	// Long: it may take hours, and tells how far it is: Call.Progress, Client.RunLong.
	Long     bool      `json:"long,omitempty"`
	View     View      `json:"view"`
	Columns  []string  `json:"columns,omitempty"` // of a table; nil is all properties
	Examples []Example `json:"examples,omitempty"`

	// Follow reads and checks the call as Run does and gives the function that goes on,
	// giving objects as they come, until its context ends; nil for a cmdlet that cannot
	// be followed. One that can has the parameter of followSwitch.
	Follow func(c *Call) (follow, error) `json:"-"`

	// Run reads and checks the call, adds objects to its result, and for a cmdlet
	// that changes something says what, with Call.Change, and gives the function
	// that does it (nil: there is nothing to do).
	Run func(ctx context.Context, c *Call) (do func(context.Context) error, err error) `json:"-"`
}

// parameter finds a parameter by its name or alias in any case.
func (c *Cmdlet) parameter(name string) *Parameter {
	for i := range c.Parameters {
		p := &c.Parameters[i]
		if strings.EqualFold(p.Name, name) {
			return p
		}
		for _, alias := range p.Aliases {
			if strings.EqualFold(alias, name) {
				return p
			}
		}
	}
	return nil
}

// Secret is a password on its way. However it is printed, it is [redacted].
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the secret.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// Call is one run of a cmdlet. Only its goroutine touches it.
type Call struct {
	*Server
	Caller Caller
	Cmdlet *Cmdlet

	arguments map[string]any // by Parameter.Name, as Type says
	result    *Result

	told         func(Progress) // nil: nobody wants to know
	lastTold     time.Time
	lastActivity string
}

// Given tells whether the caller gave the parameter.
func (c *Call) Given(name string) bool {
	_, ok := c.arguments[name]
	return ok
}

// Text gives a parameter of TypeText, "" when it was not given.
func (c *Call) Text(name string) string { s, _ := c.arguments[name].(string); return s }

// Bool gives a parameter of TypeBool or TypeSwitch, false when it was not given.
func (c *Call) Bool(name string) bool { b, _ := c.arguments[name].(bool); return b }

// Number gives a parameter of TypeNumber or TypeSize, 0 when it was not given.
func (c *Call) Number(name string) int64 { n, _ := c.arguments[name].(int64); return n }

// List gives a parameter of TypeList, an edit that adds nothing when it was not
// given.
func (c *Call) List(name string) settings.ListEdit {
	e, _ := c.arguments[name].(settings.ListEdit)
	return e
}

// Secret gives a parameter of TypeSecret, "" when it was not given.
func (c *Call) Secret(name string) Secret { s, _ := c.arguments[name].(Secret); return s }

// Time gives a parameter of TypeTime, the zero time when it was not given.
func (c *Call) Time(name string) time.Time {
	w, ok := c.arguments[name].(when)
	if !ok {
		return time.Time{}
	}
	if w.at.IsZero() {
		return c.Now().UTC().Add(-w.ago)
	}
	return w.at
}

// File gives the content of a parameter of TypeFile, nil when it was not given.
func (c *Call) File(name string) []byte { b, _ := c.arguments[name].([]byte); return b }

// Add adds an object to the result.
func (c *Call) Add(o Object) { c.result.Objects = append(c.result.Objects, o) }

// Give gives a file in the result, in place of the last one.
func (c *Call) Give(f File) { c.result.File = &f }

// Warn adds a warning to the result, once.
func (c *Call) Warn(text string) { c.result.Warnings = appendNew(c.result.Warnings, text) }

// Note adds a remark to the result, once.
func (c *Call) Note(text string) { c.result.Notes = appendNew(c.result.Notes, text) }

// Change says that the call makes old into new, for -WhatIf and the audit.
func (c *Call) Change(target, name string, old, new any) {
	c.result.Changes = append(c.result.Changes, Change{Target: target, Name: name, Old: old, New: new})
}

func appendNew(list []string, text string) []string {
	for _, have := range list {
		if have == text {
			return list
		}
	}
	if text == "" {
		return list
	}
	return append(list, text)
}
