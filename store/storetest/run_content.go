package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// filters: PutFilters gives filters to those that are there.
func (s *suite) filters() {
	l, m := s.start(1)
	for range 20 {
		l.Deliver(m, 1)
	}
	s.commit(l.Batch())
	l.Expunge(m, 7)
	s.commit(l.Batch())
	s.equal(s.e.PutFilters(background, 2, []store.EmailFilter{{Email: 1, Filter: []byte("x")}}), nil)
	s.equal(s.e.PutFilters(background, 1, nil), nil)
	given := []byte("later")
	s.equal(s.e.PutFilters(background, 1, []store.EmailFilter{{Email: 5, Filter: given}, {Email: 7, Filter: given}, {Email: 10, Filter: given}, {Email: 99, Filter: given}}), nil)
	clear(given)
	for id := range mail.EmailID(100) {
		var want []byte
		switch {
		case id == 5 || id == 10:
			want = []byte("later")
		case id > 0 && id <= 20 && id != 7:
			want = l.Email(id, 1).Filter
		}
		s.equal(s.e.Filters(background, 1, []mail.EmailID{id}, func(_ int, f []byte) error {
			if !bytes.Equal(f, want) || (f == nil) != (want == nil) {
				return fmt.Errorf("%v: %.60q, not %.60q", id, f, want)
			}
			return nil
		}), nil)
	}
	// They go with their email, and with the account.
	l.Expunge(m, 5)
	s.commit(l.Batch())
	s.equal(s.e.Filters(background, 1, []mail.EmailID{5}, func(_ int, f []byte) error {
		if f != nil {
			return fmt.Errorf("the filter stayed: %q", f)
		}
		return nil
	}), nil)
}

func (s *suite) summaries() {
	l, m := s.start(1)
	var emails []store.Email
	for range 300 {
		_, id := l.Deliver(m, 1)
		emails = append(emails, l.Email(id, 1))
	}
	b := l.Batch()
	b.Emails[9].Summary, emails[9].Summary = []byte{}, []byte{}
	b.Emails[10].Text, emails[10].Text = nil, nil
	big := bytes.Repeat([]byte("text "), 100_000)
	b.Emails[11].Text, emails[11].Text = big, big
	s.commit(b)
	l.Expunge(m, 5, 100, 101, 102)
	s.commit(l.Batch())
	for _, i := range []int{4, 99, 100, 101} {
		emails[i].Summary, emails[i].Text, emails[i].Filter = nil, nil, nil
	}
	ids := make([]mail.EmailID, 300)
	for i := range ids {
		ids[i] = mail.EmailID(i + 1)
	}
	back := slices.Clone(ids)
	slices.Reverse(back)
	for _, list := range [][]mail.EmailID{nil, {7}, {5, 6}, ids, back, {300, 10, 10, 5, 301, 11, 12}, {0, 1, 299, 1 << 60}, {12, 13}} {
		for _, part := range []struct {
			read func(context.Context, mail.AccountID, []mail.EmailID, func(int, []byte) error) error
			want func(store.Email) []byte
		}{
			{s.e.Summaries, func(m store.Email) []byte { return m.Summary }},
			{s.e.Texts, func(m store.Email) []byte { return m.Text }},
			{s.e.Filters, func(m store.Email) []byte { return m.Filter }},
		} {
			n := 0
			err := part.read(background, 1, list, func(i int, got []byte) error {
				var want []byte
				if id := list[i]; id > 0 && id <= 300 {
					want = part.want(emails[id-1])
				}
				if i != n || (got == nil) != (want == nil) || !bytes.Equal(got, want) {
					return fmt.Errorf("%d of %v: %.60q, not %.60q", i, list, got, want)
				}
				n++
				return nil
			})
			if err != nil || n != len(list) {
				s.Fatal(n, err)
			}
			stop := errors.New("stop")
			n = 0
			err = part.read(background, 1, list, func(int, []byte) error {
				n++
				return stop
			})
			if len(list) > 0 && (err != stop || n != 1) {
				s.Fatal("an error of each does not stop", n, err)
			}
		}
	}
	s.equal(s.e.Summaries(background, 2, ids[:1], func(i int, b []byte) error {
		s.equal(b == nil, true)
		return nil
	}), nil)
}

func (s *suite) bodies() {
	l, m := s.start(1)
	sizes := []int{0, 1, 1000, 262_143, 262_144, 262_145, 524_288, 1_000_001, 3 << 20}
	for _, size := range sizes {
		l.Deliver(m, size)
	}
	s.commit(l.Batch())
	for i, size := range sizes {
		want := l.Email(mail.EmailID(i+1), size).Body
		got, err := readBody(s.e, 1, mail.EmailID(i+1))
		if err != nil || got != string(want) {
			s.Fatalf("size %d: %d bytes, %v", size, len(got), err)
		}
		b, err := s.e.Body(background, 1, mail.EmailID(i+1))
		if err != nil {
			s.Fatal(err)
		}
		for _, r := range [][2]int{{0, 0}, {0, 1}, {size / 2, 100}, {size - 1, 1}, {size - 1, 2}, {size, 1}, {size + 5, 3}, {262_100, 300}, {7, 300_000}} {
			if r[0] < 0 {
				continue
			}
			p := make([]byte, r[1])
			n, err := b.ReadAt(p, int64(r[0]))
			end := min(size, r[0]+r[1])
			if full := r[0]+r[1] <= size; err != nil && (full && r[1] > 0 || err != io.EOF) || err == nil && !full && r[1] > 0 {
				s.Fatalf("size %d at %d: %d, %v", size, r, n, err)
			}
			if !bytes.Equal(p[:n], want[min(r[0], end):end]) {
				s.Fatalf("size %d at %d: other bytes", size, r)
			}
		}
		if _, err := b.ReadAt(make([]byte, 1), -1); err == nil {
			s.Fatal("read at -1")
		}
		s.equal(b.Close(), nil)
		if _, err := b.ReadAt(make([]byte, 1), 0); err == nil {
			s.Fatal("read of a closed body")
		}
	}
	for _, id := range []mail.EmailID{0, 99} {
		_, err := s.e.Body(background, 1, id)
		s.refused(mail.KindExpunged, err)
	}
	_, err := s.e.Body(background, 2, 1)
	s.refused(mail.KindExpunged, err)
}

func (s *suite) bodyOutlivesExpunge() {
	l, m := s.start(1)
	sizes := []int{1, 5000, 300_000, 2 << 20}
	for _, size := range sizes {
		l.Deliver(m, size)
	}
	s.commit(l.Batch())
	var open []store.Body
	for i := range sizes {
		b, err := s.e.Body(background, 1, mail.EmailID(i+1))
		if err != nil {
			s.Fatal(err)
		}
		open = append(open, b)
	}
	l.Expunge(m, l.UIDs(m)...)
	s.commit(l.Batch())
	for range 200 {
		l.Deliver(m, 10_000)
		s.commit(l.Batch())
	}
	for i, b := range open {
		_, err := s.e.Body(background, 1, mail.EmailID(i+1))
		s.refused(mail.KindExpunged, err)
		got := make([]byte, b.Size())
		if n, err := b.ReadAt(got, 0); n != sizes[i] || err != nil && err != io.EOF {
			s.Fatal(n, err)
		}
		s.equal(bytes.Equal(got, l.Email(mail.EmailID(i+1), sizes[i]).Body), true)
		s.equal(b.Close(), nil)
	}
}

func (s *suite) references() {
	l, m := s.start(1)
	sizes := []int{10, 600_000}
	for _, size := range sizes {
		l.Deliver(m, size)
	}
	l.emails[3] = 1
	b := l.Batch()
	// An email that is new may have more references at once.
	b.Emails = append(b.Emails, l.Email(3, 300_000), l.Email(4, 3))
	b.References = []store.Reference{{Email: 3, Delta: 2}, {Email: 4, Delta: 1}}
	s.commit(b)
	change := func(deltas ...int) {
		s.Helper()
		b := l.Batch()
		for i, d := range deltas {
			if d != 0 {
				b.References = append(b.References, store.Reference{Email: mail.EmailID(i + 1), Delta: d})
			}
		}
		s.commit(b)
	}
	count := map[mail.EmailID]int{1: 1, 2: 1, 3: 3, 4: 2}
	counted := func(deltas ...int) {
		s.Helper()
		var want []store.Reference
		for i := range mail.EmailID(4) {
			if len(deltas) > int(i) {
				count[i+1] += deltas[i]
			}
			if n := count[i+1]; n > 0 {
				want = append(want, store.Reference{Email: i + 1, Delta: n})
			}
		}
		list, err := s.e.References(background, 1)
		s.equal(err, nil)
		if !slices.Equal(list, want) {
			s.Fatalf("counted %v, not %v", list, want)
		}
	}
	counted()
	inner := change
	change = func(deltas ...int) {
		s.Helper()
		inner(deltas...)
		counted(deltas...)
	}
	present := func(want ...bool) {
		s.Helper()
		for i, w := range want {
			id := mail.EmailID(i + 1)
			_, err := readBody(s.e, 1, id)
			if w != (err == nil) {
				s.Fatalf("email %v: %v", id, err)
			}
			n := 0
			for _, read := range []func(context.Context, mail.AccountID, []mail.EmailID, func(int, []byte) error) error{s.e.Summaries, s.e.Texts, s.e.Filters} {
				s.equal(read(background, 1, []mail.EmailID{id}, func(_ int, v []byte) error {
					if v != nil {
						n++
					}
					return nil
				}), nil)
			}
			if w != (n == 3) {
				s.Fatalf("email %v: %d of summary, text and filter", id, n)
			}
		}
	}
	present(true, true, true, true)
	change(3, 1, -1, -1)
	present(true, true, true, true)
	change(-3, -1, -1)
	present(true, true, true, true)
	change(-1, 1, -1)
	present(false, true, false, true)
	change(0, -2, 0, -1)
	present(false, false, false, false)
}

// rewritten: what was computed of emails is written anew, each part by itself, and nothing
// else changes.
func (s *suite) rewritten() {
	l, m := s.start(1)
	for range 4 {
		l.Deliver(m, 700)
	}
	s.commit(l.Batch())
	want, err := Everything(s.e, 1)
	s.equal(err, nil)
	long := string(bytes.Repeat([]byte("another text "), 1000))
	b := l.Batch()
	b.Rewritten = []store.Email{
		{ID: 1, Summary: []byte("another summary")},
		{ID: 2, Text: []byte(long)},
		{ID: 3, Filter: []byte("another filter")},
		{ID: 4, Summary: []byte("s"), Text: []byte("t"), Filter: []byte("f")},
	}
	s.commit(b)
	want["head"] = b.Account
	want["summary M1"], want["text M2"], want["filter M3"] = "another summary", long, "another filter"
	want["summary M4"], want["text M4"], want["filter M4"] = "s", "t", "f"
	got, err := Everything(s.e, 1)
	s.equal(err, nil)
	for k, v := range want {
		if strings.HasPrefix(k, "summary") || strings.HasPrefix(k, "text") || strings.HasPrefix(k, "filter") || strings.HasPrefix(k, "body") || k == "head" {
			if !reflect.DeepEqual(got[k], v) {
				s.Errorf("%s is %.40v, not %.40v", k, got[k], v)
			}
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok && !strings.Contains(k, "since") {
			s.Errorf("%s is there", k)
		}
	}
	// They go with the email as what they replaced would have.
	l.Expunge(m, l.UIDs(m)...)
	s.commit(l.Batch())
	for _, read := range []func(context.Context, mail.AccountID, []mail.EmailID, func(int, []byte) error) error{s.e.Summaries, s.e.Texts, s.e.Filters} {
		s.equal(read(background, 1, []mail.EmailID{1, 2, 3, 4}, func(i int, v []byte) error {
			if v != nil {
				s.Errorf("%d is still there", i+1)
			}
			return nil
		}), nil)
	}
}

func (s *suite) threads() {
	l, _ := s.start(1)
	s.start(2)
	b := l.Batch()
	for i := range 100 {
		b.Threads = append(b.Threads, store.ThreadLink{Key: key(uint64(i)), Thread: mail.ThreadID(i + 1)})
	}
	s.commit(b)
	b = l.Batch()
	b.Threads = []store.ThreadLink{{Key: key(5), Thread: math.MaxUint64}}
	s.commit(b)
	got, err := s.e.Threads(background, 1, []store.ThreadKey{key(99), key(100), key(5), key(0), key(99)})
	s.equal(err, nil)
	s.equal(got, []mail.ThreadID{100, 0, math.MaxUint64, 1, 100})
	got, err = s.e.Threads(background, 2, []store.ThreadKey{key(1)})
	s.equal(err, nil)
	s.equal(got, []mail.ThreadID{0})
	got, err = s.e.Threads(background, 1, nil)
	s.equal(err, nil)
	s.equal(len(got), 0)
}

func (s *suite) recordsTest() {
	all := func(kind, prefix string) string {
		s.Helper()
		list, err := s.e.Records(background, kind, prefix)
		if err != nil {
			s.Fatal(err)
		}
		var b strings.Builder
		for _, r := range list {
			s.equal(r.Kind, kind)
			s.equal(r.Value != nil, true)
			fmt.Fprintf(&b, "%s=%s@%d ", r.Key, r.Value, r.Revision)
		}
		return b.String()
	}
	put := func(list ...store.Record) error { return s.e.PutRecords(background, list) }
	s.equal(all("a", ""), "")
	s.equal(put(), nil)
	s.equal(put(store.Record{Kind: "a", Key: "x", Value: []byte("1")}, store.Record{Kind: "a", Key: "x/y", Value: []byte{}},
		store.Record{Kind: "a", Key: "", Value: []byte("0")}, store.Record{Kind: "ab", Key: "x\xff", Value: []byte("2")}), nil)
	s.equal(all("a", ""), "=0@1 x=1@1 x/y=@1 ")
	s.equal(all("a", "x"), "x=1@1 x/y=@1 ")
	s.equal(all("a", "x/"), "x/y=@1 ")
	s.equal(all("ab", "x\xff"), "x\xff=2@1 ")
	s.equal(all("", ""), "")
	s.equal(put(store.Record{Kind: "a", Key: "x", Value: []byte("3"), Revision: 1}), nil)
	s.equal(all("a", "x"), "x=3@2 x/y=@1 ")
	for _, revision := range []uint64{0, 1, 3} {
		s.refused(mail.KindConflict, put(store.Record{Kind: "a", Key: "new", Value: []byte("n")}, store.Record{Kind: "a", Key: "x", Value: []byte("4"), Revision: revision}))
		s.refused(mail.KindConflict, put(store.Record{Kind: "a", Key: "x", Revision: revision}))
	}
	s.refused(mail.KindConflict, put(store.Record{Kind: "a", Key: "none", Revision: 1}))
	s.equal(all("a", "n"), "")
	s.equal(put(store.Record{Kind: "a", Key: "x", Revision: 2}, store.Record{Kind: "a", Key: "none"}), nil)
	s.equal(all("a", "x"), "x/y=@1 ")
	s.equal(put(store.Record{Kind: "a", Key: "x", Value: []byte("5")}), nil)
	s.equal(all("a", "x"), "x=5@1 x/y=@1 ")
	s.equal(put(store.Record{Kind: "big", Key: "1", Value: make([]byte, 1<<20)}), nil)
	s.refused(mail.KindTooBig, put(store.Record{Kind: "big", Key: "2", Value: make([]byte, 1<<20+1)}))
	s.refused(mail.KindBadArgument, put(store.Record{Key: "k", Value: []byte{}}))
	s.refused(mail.KindBadArgument, put(store.Record{Kind: "a\x00b", Key: "k", Value: []byte{}}))
	s.refused(mail.KindBadArgument, put(store.Record{Kind: "t", Key: "k", Value: []byte{}}, store.Record{Kind: "t", Key: "k", Value: []byte{}}))
	s.equal(all("t", ""), "")
}

// recordsOfBatches: records change with a batch or not at all.
func (s *suite) recordsOfBatches() {
	l, _ := s.start(1)
	all := func() string {
		s.Helper()
		list, err := s.e.Records(background, "of a batch", "")
		s.equal(err, nil)
		var b strings.Builder
		for _, r := range list {
			fmt.Fprintf(&b, "%s=%s@%d ", r.Key, r.Value, r.Revision)
		}
		return b.String()
	}
	record := func(key string, value []byte) store.Record {
		return store.Record{Kind: "of a batch", Key: key, Value: value, Revision: 77}
	}
	b := l.Batch()
	b.Records = []store.Record{record("x", []byte("1")), record("x/y", []byte{}), record("none", nil)}
	stale := *b
	s.commit(b)
	s.equal(all(), "x=1@1 x/y=@1 ")
	stale.Records = []store.Record{record("z", []byte("1"))}
	_, err := s.e.Commit(background, &stale)
	s.refused(mail.KindConflict, err)
	for _, bad := range [][]store.Record{
		{record("a", []byte{}), record("a", nil)}, {{Key: "a", Value: []byte{}}}, {{Kind: "a\x00b", Key: "a", Value: []byte{}}},
		{record("a", make([]byte, 1<<20+1))},
	} {
		wrong := *l.Batch()
		wrong.Records = append([]store.Record{record("w", []byte{})}, bad...)
		_, err := s.e.Commit(background, &wrong)
		s.refused(mail.KindServerBug, err)
		l.Head.ModSeq = s.account(1).Account.ModSeq // nothing was done
	}
	s.equal(all(), "x=1@1 x/y=@1 ")
	b = l.Batch()
	b.Records = []store.Record{record("x", []byte("2")), record("x/y", nil)}
	s.commit(b)
	s.equal(all(), "x=2@1 ")
	if s.opt.Reopen != nil {
		s.e = s.opt.Reopen(s.T, s.e)
		s.equal(all(), "x=2@1 ")
	}
	// They are not the account's: they go when its removal says so.
	s.commit(&store.Batch{Remove: true, Expect: l.Head.ModSeq, Account: store.AccountRecord{ID: 1}, Records: []store.Record{record("last", []byte("3")), record("x", nil)}})
	s.equal(all(), "last=3@1 ")
}

func (s *suite) copies() {
	l, m := s.start(1)
	l.mailboxes[m].record.Keywords = []string{"One", "Two"}
	for range 3 {
		l.Deliver(m, 100)
	}
	s.commit(l.Batch())
	l.Expunge(m, 3)
	b := l.Batch()
	b.Threads = []store.ThreadLink{{Key: key(50), Thread: 1}}
	record := store.Record{Kind: "k", Key: "k", Value: []byte("value")}
	s.commit(b)
	s.equal(s.e.PutRecords(background, []store.Record{record}), nil)
	want, err := Everything(s.e, 1)
	s.equal(err, nil)

	l.Deliver(m, 50)
	b = l.Batch()
	s.commit(b)
	before, err := Everything(s.e, 1)
	s.equal(err, nil)
	s.equal(reflect.DeepEqual(want, before), false)
	clear(b.Emails[0].Body)
	clear(b.Emails[0].Summary)
	clear(b.Emails[0].Text)
	clear(b.Emails[0].Filter)
	clear(b.Mailboxes[0].Keywords)
	clear(b.Messages[0].Entries)
	clear(record.Value)
	a := s.account(1)
	clear(a.Mailboxes[0].Keywords)
	clear(s.index(1, m, 0))
	uids, _, _ := s.e.Vanished(background, 1, m, 0)
	clear(uids)
	records, _ := s.e.Records(background, "k", "")
	clear(records[0].Value)
	after, err := Everything(s.e, 1)
	s.equal(err, nil)
	s.equal(reflect.DeepEqual(before, after), true)
	records, _ = s.e.Records(background, "k", "")
	s.equal(string(records[0].Value), "value")
}
