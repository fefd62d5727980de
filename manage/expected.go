package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/mail"
)

// expectedParameter lets a caller say what a change was made from, so that of two
// who change the same thing at the same time the second one learns of the first.
func expectedParameter() Parameter {
	return Parameter{Name: "Expected", Type: TypeObject, TypeName: "JSON object",
		Help: `The values that the change was made from, such as '{"Banner":"Hello"}'. When one is another by now, nothing is changed and the error says who changed it.`}
}

// maxExpected bounds -Expected, in properties.
const maxExpected = 200

// readObject reads a JSON object, or a text that is one.
func (p *Parameter) readObject(raw json.RawMessage) (any, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil || len(object) > maxExpected {
		return nil, wrong(p.Name, `%s is a JSON object of at most %d properties, such as {"Banner":"Hello"}`, p.Name, maxExpected)
	}
	return object, nil
}

// expected compares -Expected with what holds now. The error is KindConflict and
// says for each property that is another by now what it is and who changed it.
// target is what the audit calls it.
func (c *Call) expected(ctx context.Context, target string, now Object) error {
	object, _ := c.arguments["Expected"].(map[string]json.RawMessage)
	var found []string
	first := ""
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value, ok := now.Value(name)
		if !ok {
			return wrong("Expected", "%s has no property %q that can be expected", target, name)
		}
		if sameJSON(value, object[name]) {
			continue
		}
		shown, err := json.Marshal(value)
		if err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		text := fmt.Sprintf("%s is %s by now", name, shown)
		if who := c.whoChanged(ctx, target, name); who != "" {
			text += ": " + who
		}
		found = append(found, text)
		if first == "" {
			first = name
		}
	}
	if len(found) == 0 {
		return nil
	}
	return about(first, hinted(mail.Errorf(mail.KindConflict, "%s was changed meanwhile, so nothing was changed now: %s", target, strings.Join(found, "; ")),
		"Look at the new values and decide again."))
}

// sameJSON tells whether a value as it is shown is the one that a caller sent back.
// A form sends numbers and truth as text.
func sameJSON(shown any, raw json.RawMessage) bool {
	text, err := json.Marshal(shown)
	if err != nil {
		return false
	}
	a, errA := plainJSON(text)
	b, errB := plainJSON(raw)
	if errA != nil || errB != nil {
		return false
	}
	if reflect.DeepEqual(a, b) {
		return true
	}
	given, isText := b.(string)
	switch a.(type) {
	case bool, json.Number:
		return isText && given == fmt.Sprint(a)
	}
	return false
}

func plainJSON(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// conflictLook is how far back the audit is searched for who changed something.
const conflictLook = 7 * 24 * time.Hour

// whoChanged says who changed a property last, and when, "" when the audit does
// not know.
func (c *Call) whoChanged(ctx context.Context, target, name string) string {
	entries, _, err := c.Audit.Search(ctx, audit.Query{Start: c.Now().Add(-conflictLook), Limit: 1, Matches: func(e *audit.Entry) bool {
		return e.Outcome == audit.OK && slices.ContainsFunc(e.Changes, func(ch Change) bool { return ch.Target == target && ch.Name == name })
	}})
	if err != nil || len(entries) == 0 {
		return ""
	}
	return fmt.Sprintf("%s changed it at %s", entries[0].Who, entries[0].Time.UTC().Format(time.RFC3339))
}
