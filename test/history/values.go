package history

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-mail/postern/test/imapview"
)

// Entries of METADATA, annotations and the rights of a guest are registers: each write
// replaces the value, and who reads it finds that of the last one. Every value that is
// written is another.

// annotations is the capability of RFC 5257.
const annotations = "ANNOTATE-EXPERIMENT-1"

// noteNames are the annotations that clients use, each with the attribute.
var noteNames = []string{"/comment value.priv", "/altsubject value.shared"}

// allNotes is the item of FETCH that gives them.
const allNotes = `ANNOTATION (("/comment" "/altsubject") ("value.priv" "value.shared"))`

// entryNames are the entries of METADATA that clients use; the server has the first two only.
var entryNames = []string{"/private/vendor/history/note/a", "/private/vendor/history/note/b", "/shared/vendor/history/note/a"}

// rightsKey is the register of what the guest may do.
const rightsKey = "ACL"

func entryKey(mailbox, entry string) string { return "METADATA " + mailbox + " " + entry }

func noteKey(p place, note string) string { return fmt.Sprintf("ANNOTATION %v %s", p, note) }

// reading is what somebody read from a register between two times; "" is that there is none.
type reading struct {
	key, value string
	start, end int64
}

// finds notes what was read.
func (a *account) finds(r reading) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reads = append(a.reads, r)
}

// newValue gives a value that nobody has written; seldom none.
func (x *session) newValue() string {
	if x.rng.IntN(8) == 0 {
		return ""
	}
	return fmt.Sprintf("value %d", x.a.h.next.Add(1))
}

// quoted writes a value.
func quoted(value string) string {
	if value == "" {
		return "NIL"
	}
	return fmt.Sprintf("%q", value)
}

// entries chooses a mailbox, "" for the server, and the entries that it may have.
func (x *session) entries() (mailbox string, names []string) {
	if x.rng.IntN(4) == 0 {
		return "", entryNames[:2]
	}
	return x.a.stable[x.rng.IntN(len(x.a.stable))], entryNames
}

func (x *session) setMetadata() error {
	if !x.can["METADATA"] {
		return nil
	}
	mailbox, names := x.entries()
	o := &op{kind: SetMetadata, name: mailbox, values: map[string]string{}}
	var list []string
	for _, i := range x.rng.Perm(len(names))[:1+x.rng.IntN(2)] {
		value := x.newValue()
		o.values[entryKey(mailbox, names[i])] = value
		list = append(list, names[i]+" "+quoted(value))
	}
	_, err := x.act(o, fmt.Sprintf("SETMETADATA %q (%s)", mailbox, strings.Join(list, " ")), nil)
	return err
}

func (x *session) getMetadata() error {
	if !x.can["METADATA"] {
		return nil
	}
	mailbox, names := x.entries()
	_, err := x.readMetadata(mailbox, names, true)
	return err
}

// readMetadata reads entries of a mailbox, and notes what it finds.
func (x *session) readMetadata(mailbox string, names []string, notes bool) (map[string]string, error) {
	found := map[string]string{}
	start := x.a.h.tick()
	reply, err := x.must(fmt.Sprintf("GETMETADATA %q (%s)", mailbox, strings.Join(names, " ")))
	if err != nil {
		return nil, err
	}
	for _, u := range reply.Untagged {
		rest, ok := bytes.CutPrefix(u, []byte("* METADATA "))
		if !ok {
			continue
		}
		values, err := imapview.ParseValues(rest)
		if err != nil || len(values) != 2 || values[1].Quote != '(' || values[0].Text != mailbox {
			continue // that something changed
		}
		for list := values[1].List; len(list) > 1; list = list[2:] {
			if !list[1].Nil() {
				found[list[0].Text] = list[1].Text
			}
		}
	}
	for _, name := range names {
		if notes {
			x.a.finds(reading{entryKey(mailbox, name), found[name], start, x.a.h.tick()})
		}
	}
	return found, nil
}

func (x *session) annotate() error {
	uids := x.some(2)
	if len(uids) == 0 || x.readOnly || !x.can[annotations] {
		return nil
	}
	o := &op{kind: Annotate, uids: uids, values: map[string]string{}}
	var list []string
	for _, i := range x.rng.Perm(len(noteNames))[:1+x.rng.IntN(2)] {
		value := x.newValue()
		o.values[noteNames[i]] = value
		entry, attribute, _ := strings.Cut(noteNames[i], " ")
		list = append(list, fmt.Sprintf("%s (%s %s)", entry, attribute, quoted(value)))
	}
	command, _ := x.named("STORE", uids, " ANNOTATION ("+strings.Join(list, " ")+")")
	_, err := x.act(o, command, nil)
	return err
}

func (x *session) fetchAnnotations() error {
	uids := x.some(5)
	if len(uids) == 0 || !x.can[annotations] {
		return nil
	}
	start := x.a.h.tick()
	reply, err := x.do(fmt.Sprintf("UID FETCH %s (UID %s)", set(uids), allNotes))
	if err != nil || reply.Condition != "OK" {
		return err
	}
	for _, u := range reply.Untagged {
		m := readMessage(u)
		if _, gone := x.a.goneAt(place{x.box, m.uid}); m.uid == 0 || m.notes == nil || gone {
			continue
		}
		for note, value := range m.notes {
			x.a.finds(reading{noteKey(place{x.box, m.uid}, note), value, start, x.a.h.tick()})
		}
	}
	return nil
}

// goneAt tells when a client was told that a message is gone.
func (a *account) goneAt(p place) (at int64, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, gone = a.gone[p]
	return at, gone
}

// notesOf reads ANNOTATION of FETCH. Of noteNames what is not there is "".
func notesOf(v imapview.Value) map[string]string {
	notes := map[string]string{}
	for _, name := range noteNames {
		notes[name] = ""
	}
	for list := v.List; len(list) > 1; list = list[2:] {
		for values := list[1].List; len(values) > 1; values = values[2:] {
			if name := list[0].Text + " " + values[0].Text; slices.Contains(noteNames, name) && !values[1].Nil() {
				notes[name] = values[1].Text
			}
		}
	}
	return notes
}

// readValues reads the registers of mailboxes; annotations come with their messages.
func (x *session) readValues(state *accountState) error {
	if x.can["METADATA"] {
		for _, mailbox := range append([]string{""}, x.a.stable...) {
			names := entryNames
			if mailbox == "" {
				names = names[:2]
			}
			found, err := x.readMetadata(mailbox, names, false)
			if err != nil {
				return err
			}
			for _, name := range names {
				state.values[entryKey(mailbox, name)] = found[name]
			}
		}
	}
	if x.a.h.options.Guests == 0 {
		return nil
	}
	rights, err := x.readRights()
	state.values[rightsKey] = rights
	return err
}

// register is what was written to one of them.
type register struct {
	writes  []valueWrite
	unknown bool // where the message came from is not known, which is said elsewhere
}

// valueWrite is one write.
type valueWrite struct {
	op         *op // nil: when the life began
	start, end int64
	sure       bool // it was answered, or somebody read it
	value      string
	from       string // the value is that of another register then; "" is none
}

// register gives one of them with what was written.
func (c *checker) register(key string) *register {
	if r := c.registers[key]; r != nil {
		return r
	}
	r := &register{}
	c.registers[key] = r
	name, ofMessage := strings.CutPrefix(key, "ANNOTATION ")
	var p place
	if ofMessage {
		var at string
		at, name, _ = strings.Cut(name, " ")
		fmt.Sscanf(at, "%d/%d", &p.box, &p.uid)
		switch i := c.instances[p]; {
		case i == nil, i.before == nil && i.birth == nil:
			r.unknown = true
			return r
		case i.before == nil:
			for _, b := range i.origins {
				w := valueWrite{op: b.op, start: b.op.start, end: b.op.end, sure: len(i.origins) == 1}
				if b.from != nil {
					w.from = noteKey(b.from.place, name)
				}
				// Who copies what is another's, or from another account, takes along what it may.
				r.unknown = r.unknown || b.op.kind == Arrive || b.from != nil && b.op.needs != ""
				r.writes = append(r.writes, w)
			}
		}
	}
	if len(r.writes) == 0 {
		r.writes = append(r.writes, valueWrite{start: c.h.began, end: c.h.began, sure: true, value: c.base.values[key]})
	}
	for _, o := range c.log {
		// A refused STORE may have changed some of its messages.
		if o.outcome == Refused && !ofMessage || ofMessage && (o.kind != Annotate || o.box != p.box || !slices.Contains(o.uids, p.uid)) {
			continue
		}
		written := key
		if ofMessage {
			written = name
		}
		if value, is := o.values[written]; is {
			r.writes = append(r.writes, valueWrite{op: o, start: o.start, end: o.end, sure: o.outcome == Done, value: value})
		}
	}
	// What somebody has read was written by then.
	for _, read := range c.reads {
		if read.key != key || read.value == "" {
			continue
		}
		for n := range r.writes {
			if w := &r.writes[n]; w.value == read.value && w.op != nil && w.from == "" {
				w.end, w.sure = min(w.end, read.end), true
			}
		}
	}
	return r
}

// standing tells whether a write may be the last one at some time between two.
func (r *register) standing(w *valueWrite, from, to int64) bool {
	if w.start > to {
		return false
	}
	for n := range r.writes {
		if v := &r.writes[n]; v.sure && v.start > w.end && v.end < from {
			return false
		}
	}
	return true
}

// values gives what a register may have been at some time between two; false when that
// cannot be said.
func (c *checker) mayBe(key string, from, to int64, depth int) (map[string]bool, bool) {
	r := c.register(key)
	if r.unknown || depth > 50 {
		return nil, false
	}
	out := map[string]bool{}
	for n := range r.writes {
		w := &r.writes[n]
		if !r.standing(w, from, to) {
			continue
		}
		if w.from == "" {
			out[w.value] = true
			continue
		}
		values, known := c.mayBe(w.from, w.start, w.end, depth+1)
		if !known {
			return nil, false
		}
		maps.Copy(out, values)
	}
	return out, true
}

// values compares what was read, and what is there, with what was written.
func (c *checker) values() {
	reads := slices.Clone(c.reads)
	for _, key := range slices.Sorted(maps.Keys(c.state.values)) {
		reads = append(reads, reading{key, c.state.values[key], c.end, c.end})
	}
	for _, r := range reads {
		c.h.counts.values.Add(1)
		if may, known := c.mayBe(r.key, r.start, r.end, 0); known && !may[r.value] {
			var about []*op
			for _, w := range c.register(r.key).writes {
				if w.op != nil {
					about = append(about, w.op)
				}
			}
			c.faulty("value", about, "%s was read as %q at [%d, %d], and may have been one of %q", r.key, r.value, r.start, r.end, slices.Sorted(maps.Keys(may)))
		}
	}
	c.wholeWrites()
}

// wholeWrites decides about what was not answered: of several entries all or none.
func (c *checker) wholeWrites() {
	for _, o := range c.log {
		if o.outcome != Unanswered || len(o.values) == 0 {
			continue
		}
		var done, not []string
		look := func(key, value string) {
			now, there := c.state.values[key]
			r := c.register(key)
			if !there || r.unknown || value == "" {
				return
			}
			if now == value {
				done = append(done, key)
				return
			}
			// What stands there was written before, and so was not replaced.
			for _, w := range r.writes {
				if w.value == now && now != "" && w.from == "" && w.end < o.start {
					not = append(not, key)
				}
			}
		}
		for name, value := range o.values {
			if o.kind != Annotate {
				look(name, value)
				continue
			}
			for _, uid := range o.uids {
				look(noteKey(place{o.box, uid}, name), value)
			}
		}
		if len(done) > 0 && len(not) > 0 {
			c.faulty("half done", []*op{o}, "it was not answered: %q are written, and %q are not", done, not)
		}
	}
}
