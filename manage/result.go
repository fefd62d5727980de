package manage

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// Property is one named value of an Object: nil, string, bool, int64, float64,
// []string, Object or []Object; from JSON any of these.
type Property struct {
	Name  string
	Value any
}

// Object is what cmdlets give: properties in their order. In JSON it is an object
// with its keys in that order.
type Object []Property

// Value gives a property by its name in any case, nil when there is none.
func (o Object) Value(name string) (value any, ok bool) {
	for _, p := range o {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return nil, false
}

// MarshalJSON writes the properties in their order.
func (o Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(p.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads the properties in their order.
func (o *Object) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return err
	}
	object, ok := v.(Object)
	if !ok {
		return errors.New("not an object")
	}
	*o = object
	return nil
}

// maxNesting bounds the depth of what is read.
const maxNesting = 16

// readValue reads one JSON value, keeping the order of an object's keys. It
// comes with the depth that it stands at, and refuses beyond maxNesting.
func readValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxNesting {
		return nil, errors.New("nested too deeply")
	}
	switch t := token.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '{' {
			o := Object{}
			for d.More() {
				name, err := d.Token()
				if err != nil {
					return nil, err
				}
				value, err := readValue(d, depth+1)
				if err != nil {
					return nil, err
				}
				o = append(o, Property{name.(string), value}) // the decoder gives only strings as keys
			}
			_, err := d.Token()
			return o, err
		}
		list := []any{}
		for d.More() {
			value, err := readValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}

// Result is what a cmdlet gives.
type Result struct {
	Objects []Object `json:"objects"`
	View    View     `json:"view"`
	Columns []string `json:"columns,omitempty"` // of a table
	// Units says which properties are numbers of something: "bytes".
	Units    map[string]string `json:"units,omitempty"`
	Changes  []Change          `json:"changes,omitempty"`
	WhatIf   bool              `json:"whatIf,omitempty"` // the changes were not made
	Warnings []string          `json:"warnings,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
	// Confirm is a question; nothing was done. Ask it, and call again with
	// Confirm false when the answer is yes.
	Confirm string `json:"confirm,omitempty"`
	// ExitCode is what a command line ends with, for a cmdlet that did its work
	// and found something wrong; 0 is all well.
	ExitCode int `json:"exitCode,omitempty"`
	// Impact is whom a change of who may log in would have refused, nil when nobody was
	// asked about: for faces within the process. Notes tell it everybody.
	Impact *Impact `json:"-"`
	// File is what was made for the caller to keep, nil for nothing.
	File *File `json:"file,omitempty"`
}

// Impact is whom a change would have refused of the sign-ins of the last 7 days.
type Impact struct {
	statistics.Impact
	Notes []string // those of the result that say the same
}

// File is a file for the caller.
type File struct {
	Name    string `json:"name"`    // a proposal, without a folder
	Content []byte `json:"content"` // in base64
}

// Fault is an error in the form of the management API.
type Fault struct {
	Kind      string `json:"kind"` // mail.Kind's name
	Text      string `json:"text"`
	Parameter string `json:"parameter,omitempty"` // the one that is wrong
	Hint      string `json:"hint,omitempty"`      // what to do about it
}

// parameterError says which parameter an error is about and what may help.
type parameterError struct {
	parameter, hint string
	err             error
}

func (e *parameterError) Error() string { return e.err.Error() }
func (e *parameterError) Unwrap() error { return e.err }

// wrong makes the error of a parameter whose value is not acceptable.
func wrong(parameter, format string, args ...any) error {
	return about(parameter, mail.Errorf(mail.KindBadArgument, format, args...))
}

// about adds the parameter that err is about.
func about(parameter string, err error) error {
	if err == nil {
		return nil
	}
	return &parameterError{parameter: parameter, err: err}
}

// hinted adds what may help.
func hinted(err error, hint string) error {
	return &parameterError{err: err, hint: hint}
}

// FaultOf gives the API's form of err, which is not nil.
func FaultOf(err error) Fault {
	f := Fault{Kind: mail.KindOf(err).String(), Text: mail.TextOf(err)}
	var refusal *settings.Refusal
	if errors.As(err, &refusal) {
		f.Parameter = refusal.Setting
	}
	var p *parameterError
	for rest := err; errors.As(rest, &p); rest = p.err {
		if f.Parameter == "" {
			f.Parameter = p.parameter
		}
		if f.Hint == "" {
			f.Hint = p.hint
		}
	}
	return f
}
