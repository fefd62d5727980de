package history

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// story is a history made by hand, of one account with the mailboxes INBOX (1), A (2) and
// B (3), in which INBOX has message "m" as UID 5, without flags.
type story struct {
	h      *History
	a      *account
	values map[string]string // what is read in the end
}

func newStory() *story {
	h := New(Target{Accounts: []Account{{"ann", ""}}, POP3: "x"}, Options{Seed: 1})
	s := &story{h: h, a: h.accounts[0]}
	h.began = h.tick()
	s.a.base = s.state()
	for _, b := range s.a.base.boxes {
		s.a.used[b.validity] = true
	}
	s.text("m")
	s.a.base.boxes["INBOX"].messages = []*message{s.message("m", 5, 0)}
	s.a.spots[place{1, 5}] = "u5"
	s.a.drops["u5"] = "m"
	return s
}

func (s *story) text(id string) string {
	t := "X-History: " + id + "\r\n\r\ntext\r\n"
	s.a.texts[id] = text{sha256.Sum256([]byte(t)), len(t)}
	return t
}

func (s *story) message(id string, uid uint32, f flags) *message {
	body := "X-History: " + id + "\r\n\r\ntext\r\n"
	return &message{id: id, uid: uid, flags: f, modSeq: 3, body: body, size: int64(len(body)), given: identity{"E" + id, "T" + id}}
}

// state is what an account without messages holds.
func (s *story) state() *accountState {
	st := &accountState{boxes: map[string]*boxState{}, listing: []string{}}
	for i, name := range []string{"INBOX", "A", "B"} {
		st.boxes[name] = &boxState{name: name, validity: uint32(i + 1), uidNext: 10, highest: 5, count: -1, unseen: -1, deleted: -1, size: -1}
	}
	return st
}

// do enters an operation that is over before the next one begins.
func (s *story) do(o op, outcome Outcome) *op {
	s.a.send(&o)
	if outcome != Unanswered {
		s.a.answer(&o, outcome, nil)
	}
	for _, id := range o.ids {
		s.text(id)
	}
	return &o
}

// both enters two operations at the same time.
func (s *story) both(x, y op) {
	s.a.send(&x)
	s.a.send(&y)
	s.a.answer(&x, Done, nil)
	s.a.answer(&y, Done, nil)
}

// end checks that the mailboxes hold what is told as "INBOX m@5 A n@7+\Seen".
func (s *story) end(holds string) []string {
	st := s.state()
	for _, b := range st.boxes {
		b.uidNext, b.highest = 100, 100
	}
	box := ""
	for _, word := range strings.Fields(holds) {
		id, rest, ok := strings.Cut(word, "@")
		if !ok {
			box = word
			continue
		}
		number_, names, _ := strings.Cut(rest, "+")
		m := s.message(id, uint32(number([]byte(number_))), flagsOf(strings.Split(names, "+")))
		if m.flags != 0 {
			m.modSeq = 9
		}
		st.boxes[box].messages = append(st.boxes[box].messages, m)
	}
	st.values = s.values
	for _, m := range st.boxes["INBOX"].messages {
		unique := fmt.Sprint("u", m.uid)
		st.listing, st.ids = append(st.listing, unique), append(st.ids, m.id)
	}
	var kinds []string
	for _, f := range s.a.check(st).finish() {
		kinds = append(kinds, f.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

func TestStories(t *testing.T) {
	appendX := op{kind: Append, name: "A", to: 2, toUIDs: []uint32{10}, ids: []string{"x"}, clear: allFlags}
	unknownX := op{kind: Append, name: "A", ids: []string{"x"}, clear: allFlags}
	unknownXY := op{kind: Append, name: "A", ids: []string{"x", "y"}, clear: allFlags}
	moveM := op{kind: Move, box: 1, uids: []uint32{5}, name: "A", to: 2, toUIDs: []uint32{10}}
	unknownMove := op{kind: Move, box: 1, uids: []uint32{5}, name: "A"}
	mark := op{kind: Store, box: 1, uids: []uint32{5}, set: deleted}
	unmark := op{kind: Store, box: 1, uids: []uint32{5}, clear: deleted}
	expunge := op{kind: Expunge, box: 1, sure: []uint32{5}}
	quit := op{kind: Quit, doomed: []string{"u5"}, ids: []string{"m"}}
	deliver := op{kind: Deliver, name: "INBOX", ids: []string{"x"}, clear: allFlags}
	flag := op{kind: Store, box: 1, uids: []uint32{5}, set: flagged}
	unflag := op{kind: Store, box: 1, uids: []uint32{5}, clear: flagged}
	writes := func(pairs ...string) op {
		o := op{kind: SetMetadata, values: map[string]string{}}
		for ; len(pairs) > 1; pairs = pairs[2:] {
			o.values[pairs[0]] = pairs[1]
		}
		return o
	}
	note := op{kind: Annotate, box: 1, uids: []uint32{5}, values: map[string]string{noteNames[0]: "n1"}}
	// twice has one message as UIDs 5 and 10, with other flags, and both are copied.
	twice := func(s *story) {
		s.do(op{kind: Copy, box: 1, uids: []uint32{5}, name: "INBOX", to: 1, toUIDs: []uint32{10}}, Done)
		s.do(note, Done)
		s.do(mark, Done)
		s.do(op{kind: Store, box: 1, uids: []uint32{10}, set: flagged}, Done)
		s.do(op{kind: Copy, box: 1, uids: []uint32{5, 10}, name: "A"}, Unanswered)
		s.do(op{kind: Expunge, box: 2}, Done)
	}
	full := op{kind: Append, name: "A", ids: []string{"x"}, bytes: 30, count: 1, full: true}
	for _, test := range []struct {
		name  string
		play  func(s *story)
		holds string
		want  string // kinds of faults
	}{
		{"nothing happened", func(s *story) {}, `INBOX m@5`, ""},
		{"a message went by itself", func(s *story) {}, ``, "lost"},
		{"a message came by itself", func(s *story) {}, `INBOX m@5 A z@10`, "duplicate"},
		{"its own copy came by itself", func(s *story) {}, `INBOX m@5 A m@10`, "duplicate"},

		{"APPEND", func(s *story) { s.do(appendX, Done) }, `INBOX m@5 A x@10`, ""},
		{"APPEND is lost", func(s *story) { s.do(appendX, Done) }, `INBOX m@5`, "lost"},
		{"APPEND has another UID", func(s *story) { s.do(appendX, Done) }, `INBOX m@5 A x@11`, "duplicate lost"},
		{"APPEND twice", func(s *story) { s.do(appendX, Done) }, `INBOX m@5 A x@10 x@11`, "duplicate"},
		{"APPEND refused", func(s *story) { s.do(unknownX, Refused) }, `INBOX m@5`, ""},
		{"APPEND refused and done", func(s *story) { s.do(unknownX, Refused) }, `INBOX m@5 A x@10`, "duplicate"},
		{"APPEND not answered", func(s *story) { s.do(unknownX, Unanswered) }, `INBOX m@5`, ""},
		{"APPEND not answered and done", func(s *story) { s.do(unknownX, Unanswered) }, `INBOX m@5 A x@10`, ""},
		{"APPEND not answered and done twice", func(s *story) { s.do(unknownX, Unanswered) }, `INBOX m@5 A x@10 x@11`, "duplicate"},
		{"APPEND not answered and elsewhere", func(s *story) { s.do(unknownX, Unanswered) }, `INBOX m@5 B x@10`, "duplicate"},
		{"two APPENDs not answered", func(s *story) { s.do(unknownXY, Unanswered) }, `INBOX m@5 A x@10 y@11`, ""},
		{"half of two APPENDs not answered", func(s *story) { s.do(unknownXY, Unanswered) }, `INBOX m@5 A x@10`, "half done"},
		{"a UID below UIDNEXT", func(s *story) {
			o := appendX
			o.toUIDs = []uint32{9}
			s.do(o, Done)
		}, `INBOX m@5 A x@9`, "UIDNEXT"},
		{"a UID below one of before", func(s *story) {
			s.do(appendX, Done)
			s.do(op{kind: Append, name: "A", to: 2, toUIDs: []uint32{12}, ids: []string{"y"}, clear: allFlags}, Done)
			s.do(op{kind: Append, name: "A", to: 2, toUIDs: []uint32{11}, ids: []string{"z"}, clear: allFlags}, Done)
		}, `INBOX m@5 A x@10 z@11 y@12`, "UID order"},
		{"a UID given twice", func(s *story) {
			s.do(appendX, Done)
			o := appendX
			o.ids = []string{"y"}
			s.do(o, Done)
		}, `INBOX m@5 A x@10`, "UID order UID reused"},

		{"delivery", func(s *story) { s.do(deliver, Done) }, `INBOX m@5 x@10`, ""},
		{"delivery is lost", func(s *story) { s.do(deliver, Done) }, `INBOX m@5`, "lost"},
		{"delivery twice", func(s *story) { s.do(deliver, Done) }, `INBOX m@5 x@10 x@11`, "duplicate"},
		{"delivered, seen and moved", func(s *story) {
			s.do(deliver, Done)
			s.a.saw(place{1, 10}, "x")
			s.do(op{kind: Move, box: 1, uids: []uint32{10}, name: "B", to: 3, toUIDs: []uint32{10}}, Done)
		}, `INBOX m@5 B x@10`, ""},

		{"MOVE", func(s *story) { s.do(moveM, Done) }, `A m@10`, ""},
		{"MOVE duplicates", func(s *story) { s.do(moveM, Done) }, `INBOX m@5 A m@10`, "not removed"},
		{"MOVE loses", func(s *story) { s.do(moveM, Done) }, ``, "lost"},
		{"two MOVEs of one message", func(s *story) {
			s.both(moveM, op{kind: Move, box: 1, uids: []uint32{5}, name: "B", to: 3, toUIDs: []uint32{10}})
		}, `A m@10 B m@10`, "moved twice"},
		{"MOVE not answered", func(s *story) { s.do(unknownMove, Unanswered) }, `INBOX m@5`, ""},
		{"MOVE not answered and done", func(s *story) { s.do(unknownMove, Unanswered) }, `A m@10`, ""},
		{"MOVE not answered duplicates", func(s *story) { s.do(unknownMove, Unanswered) }, `INBOX m@5 A m@10`, "duplicate"},
		{"MOVE not answered loses", func(s *story) { s.do(unknownMove, Unanswered) }, ``, "lost"},

		{"of two copies not answered the first is gone", func(s *story) {
			twice(s)
			s.values = map[string]string{noteKey(place{2, 11}, noteNames[0]): ""}
		}, `INBOX m@5+\Deleted m@10+\Flagged A m@11+\Flagged`, ""},
		{"of two copies not answered the second is gone", func(s *story) {
			twice(s)
			s.values = map[string]string{noteKey(place{2, 11}, noteNames[0]): "n1"}
		}, `INBOX m@5+\Deleted m@10+\Flagged A m@11+\Deleted`, ""},
		{"of two copies not answered none had that", func(s *story) {
			twice(s)
			s.values = map[string]string{noteKey(place{2, 11}, noteNames[0]): "n2"}
		}, `INBOX m@5+\Deleted m@10+\Flagged A m@11+\Answered`, "flags value"},

		{"EXPUNGE", func(s *story) { s.do(mark, Done); s.do(expunge, Done) }, ``, ""},
		{"EXPUNGE does nothing", func(s *story) { s.do(mark, Done); s.do(expunge, Done) }, `INBOX m@5+\Deleted`, "not removed"},
		{"EXPUNGE of what was not marked", func(s *story) { s.do(op{kind: Expunge, box: 1}, Done) }, ``, "lost"},
		{"EXPUNGE of what was unmarked", func(s *story) {
			s.do(mark, Done)
			s.do(unmark, Done)
			s.do(op{kind: Expunge, box: 1}, Done)
		}, ``, "lost"},
		{"EXPUNGE while it is unmarked", func(s *story) {
			s.do(mark, Done)
			s.both(unmark, expunge)
		}, `INBOX m@5`, ""},
		{"told gone, and there", func(s *story) { s.a.gone[place{1, 5}] = s.h.tick() }, `INBOX m@5`, "back"},

		{"QUIT", func(s *story) { s.do(quit, Done) }, ``, ""},
		{"QUIT does nothing", func(s *story) { s.do(quit, Done) }, `INBOX m@5`, "POP3 not removed"},
		{"QUIT not answered", func(s *story) { s.do(quit, Unanswered) }, `INBOX m@5`, ""},
		{"half a QUIT", func(s *story) {
			s.do(deliver, Done)
			s.do(op{kind: Quit, doomed: []string{"u5", "u10"}, ids: []string{"m", "x"}}, Unanswered)
		}, `INBOX x@10`, "POP3"},

		{"STORE", func(s *story) { s.do(flag, Done) }, `INBOX m@5+\Flagged`, ""},
		{"STORE is lost", func(s *story) { s.do(flag, Done) }, `INBOX m@5`, "flags"},
		{"STORE by nobody", func(s *story) {}, `INBOX m@5+\Flagged`, "flags"},
		{"STORE refused", func(s *story) { s.do(flag, Refused) }, `INBOX m@5`, ""},
		{"the last STORE wins", func(s *story) { s.do(flag, Done); s.do(unflag, Done) }, `INBOX m@5`, ""},
		{"the last STORE loses", func(s *story) { s.do(flag, Done); s.do(unflag, Done) }, `INBOX m@5+\Flagged`, "flags"},
		{"one of two STOREs wins", func(s *story) { s.both(flag, unflag) }, `INBOX m@5+\Flagged`, ""},
		{"the other of two STOREs wins", func(s *story) { s.both(flag, unflag) }, `INBOX m@5`, ""},
		{"flags go along", func(s *story) { s.do(flag, Done); s.do(moveM, Done) }, `A m@10+\Flagged`, ""},
		{"flags stay behind", func(s *story) { s.do(flag, Done); s.do(moveM, Done) }, `A m@10`, "flags"},
		{"STORE above UNCHANGEDSINCE", func(s *story) {
			first, second := flag, unflag
			first.told = map[uint32]uint64{5: 7}
			second.since, second.told = map[uint32]uint64{5: 6}, map[uint32]uint64{5: 8}
			s.do(first, Done)
			s.do(second, Done)
		}, `INBOX m@5`, "UNCHANGEDSINCE"},
		{"other flags at one MODSEQ", func(s *story) {
			s.do(flag, Done)
			s.a.at(place{1, 5}, 9, flagged)
			s.a.at(place{1, 5}, 9, 0)
		}, `INBOX m@5+\Flagged`, "MODSEQ"},

		{"SETMETADATA", func(s *story) {
			s.do(writes("k", "v1"), Done)
			s.values = map[string]string{"k": "v1"}
		}, `INBOX m@5`, ""},
		{"SETMETADATA is lost", func(s *story) {
			s.do(writes("k", "v1"), Done)
			s.values = map[string]string{"k": ""}
		}, `INBOX m@5`, "value"},
		{"SETMETADATA not answered", func(s *story) {
			s.do(writes("k", "v1"), Unanswered)
			s.values = map[string]string{"k": ""}
		}, `INBOX m@5`, ""},
		{"the last SETMETADATA loses", func(s *story) {
			s.do(writes("k", "v1"), Done)
			s.do(writes("k", "v2"), Done)
			s.values = map[string]string{"k": "v1"}
		}, `INBOX m@5`, "value"},
		{"an old value is read", func(s *story) {
			s.do(writes("k", "v1"), Done)
			s.do(writes("k", "v2"), Done)
			s.a.finds(reading{"k", "v1", s.h.tick(), s.h.tick()})
			s.values = map[string]string{"k": "v2"}
		}, `INBOX m@5`, "value"},
		{"a value is read and then an older one", func(s *story) {
			s.do(writes("k", "v1"), Done)
			s.do(writes("k", "v2"), Unanswered)
			s.a.finds(reading{"k", "v2", s.h.tick(), s.h.tick()})
			s.a.finds(reading{"k", "v1", s.h.tick(), s.h.tick()})
			s.values = map[string]string{"k": "v2"}
		}, `INBOX m@5`, "value"},
		{"a value that was read is lost", func(s *story) {
			s.do(writes("k", "v2"), Unanswered)
			s.a.finds(reading{"k", "v2", s.h.tick(), s.h.tick()})
			s.values = map[string]string{"k": ""}
		}, `INBOX m@5`, "value"},
		{"half of two entries", func(s *story) {
			s.a.base.values = map[string]string{"k": "v1", "l": "v2"}
			s.do(writes("k", "v3", "l", "v4"), Unanswered)
			s.values = map[string]string{"k": "v3", "l": "v2"}
		}, `INBOX m@5`, "half done"},
		{"an annotation goes along", func(s *story) {
			s.do(note, Done)
			s.do(moveM, Done)
			s.values = map[string]string{noteKey(place{2, 10}, noteNames[0]): "n1"}
		}, `A m@10`, ""},
		{"an annotation stays behind", func(s *story) {
			s.do(note, Done)
			s.do(moveM, Done)
			s.values = map[string]string{noteKey(place{2, 10}, noteNames[0]): ""}
		}, `A m@10`, "value"},

		{"refused for no quota", func(s *story) { s.do(full, Refused) }, `INBOX m@5`, "quota"},
		{"refused for the quota", func(s *story) {
			s.h.options.Quotas = map[string]Quota{"ann": {Messages: 1}}
			s.do(full, Refused)
		}, `INBOX m@5`, ""},
		{"taken beyond the quota", func(s *story) {
			s.h.options.Quotas = map[string]Quota{"ann": {Messages: 1}}
			o := appendX
			o.count = 1
			s.do(o, Done)
		}, `INBOX m@5 A x@10`, "quota"},
		{"STATUS counts one that is not there", func(s *story) {
			s.a.hears(told{start: s.h.tick(), end: s.h.tick(), box: 1, uidNext: 10, counted: true, count: 2, unseen: 1}, "")
		}, `INBOX m@5`, "counters"},
		{"STATUS counts one that comes meanwhile", func(s *story) {
			began := s.h.tick()
			s.do(op{kind: Append, name: "INBOX", to: 1, toUIDs: []uint32{10}, ids: []string{"x"}, clear: allFlags}, Done)
			s.a.hears(told{start: began, end: s.h.tick(), box: 1, uidNext: 10, counted: true, count: 2, unseen: 2}, "")
		}, `INBOX m@5 x@10`, ""},
		{"a guest without rights reads", func(s *story) {
			s.h.options.Guests = 1
			s.do(op{kind: Grant, values: map[string]string{rightsKey: "lr"}}, Done)
			s.do(op{kind: Peek, needs: "r"}, Done)
			s.do(op{kind: Grant, values: map[string]string{rightsKey: ""}}, Done)
			s.do(op{kind: Peek, needs: "r"}, Refused)
		}, `INBOX m@5`, ""},
		{"a guest without rights still reads", func(s *story) {
			s.h.options.Guests = 1
			s.do(op{kind: Grant, values: map[string]string{rightsKey: ""}}, Done)
			s.do(op{kind: Peek, needs: "r"}, Done)
		}, `INBOX m@5`, "rights"},
		{"a guest with rights is refused", func(s *story) {
			s.h.options.Guests = 1
			s.do(op{kind: Grant, values: map[string]string{rightsKey: "lr"}}, Done)
			s.do(op{kind: Peek, needs: "r", denied: true}, Refused)
		}, `INBOX m@5`, "rights"},

		{"CREATE", func(s *story) {
			s.do(op{kind: Create, name: "V1"}, Done)
		}, `INBOX m@5`, "mailbox"},
		{"two EMAILIDs", func(s *story) { s.a.named("m", identity{"E1", "Tm"}) }, `INBOX m@5`, "EMAILID"},
		{"two THREADIDs", func(s *story) { s.a.named("m", identity{"Em", "T1"}) }, `INBOX m@5`, "THREADID"},
		{"two MAILBOXIDs", func(s *story) { s.a.hears(told{box: 1}, "F1"); s.a.hears(told{box: 1}, "F2") }, `INBOX m@5`, "MAILBOXID"},
		{"UIDNEXT falls", func(s *story) {
			s.a.hears(told{start: s.h.tick(), end: s.h.tick(), box: 2, uidNext: 20}, "")
			s.a.hears(told{start: s.h.tick(), end: s.h.tick(), box: 2, uidNext: 19}, "")
		}, `INBOX m@5`, "UIDNEXT"},
	} {
		s := newStory()
		test.play(s)
		if got := strings.Join(s.end(test.holds), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
