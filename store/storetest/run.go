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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Run is the definition of an engine: open gives an empty one, for each of the
// tests anew, and all of them pass.
func Run(t *testing.T, open func(t testing.TB) store.Engine, opt Options) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"Accounts", (*suite).accounts},
		{"Expect", (*suite).expect},
		{"AllOrNothing", (*suite).allOrNothing},
		{"Mailboxes", (*suite).mailboxes},
		{"Subscriptions", (*suite).subscriptions},
		{"Messages", (*suite).messages},
		{"ManyMessages", (*suite).manyMessages},
		{"Vanished", (*suite).vanished},
		{"VanishedIsBounded", (*suite).vanishedIsBounded},
		{"Summaries", (*suite).summaries},
		{"Bodies", (*suite).bodies},
		{"BodyOutlivesExpunge", (*suite).bodyOutlivesExpunge},
		{"References", (*suite).references},
		{"Threads", (*suite).threads},
		{"DeleteMailbox", (*suite).deleteMailbox},
		{"RemoveAccount", (*suite).removeAccount},
		{"Records", (*suite).recordsTest},
		{"Copies", (*suite).copies},
		{"ManyAccountsAtOnce", (*suite).manyAccountsAtOnce},
		{"OneOfManyWins", (*suite).oneOfManyWins},
		{"ReadersSeeWholeBatches", (*suite).readersSeeWholeBatches},
		{"Cancelled", (*suite).cancelled},
		{"Closed", (*suite).closed},
		{"Reopen", (*suite).reopen},
	} {
		if c.name == "Reopen" && opt.Reopen == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, opt: opt, e: open(t)}
			defer func() {
				if err := s.e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			c.test(s)
		})
	}
}

// suite is one test and its engine.
type suite struct {
	*testing.T
	opt Options
	e   store.Engine
}

var background = context.Background()

func (s *suite) commit(b *store.Batch) {
	s.Helper()
	Commit(s.T, s.e, b)
}

// refused checks that err is of a kind.
func (s *suite) refused(kind mail.Kind, err error) {
	s.Helper()
	if err == nil || mail.KindOf(err) != kind {
		s.Fatalf("%v, not %v", err, kind)
	}
}

func (s *suite) equal(got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Fatalf("%.500v\nis not\n%.500v", got, want)
	}
}

func (s *suite) account(id mail.AccountID) store.AccountState {
	s.Helper()
	a, err := s.e.Account(background, id)
	if err != nil {
		s.Fatalf("Account: %v", err)
	}
	return a
}

func (s *suite) index(id mail.AccountID, m mail.MailboxID, since mail.ModSeq) []store.Message {
	s.Helper()
	list, err := s.e.Messages(background, id, m, since)
	if err != nil {
		s.Fatalf("Messages: %v", err)
	}
	return list
}

// expectIndex compares a mailbox's index with the ledger's.
func (s *suite) expectIndex(l *Ledger, m mail.MailboxID, since mail.ModSeq) {
	s.Helper()
	var want []store.Message
	for _, uid := range l.UIDs(m) {
		if x := l.mailboxes[m].messages[uid]; x.ModSeq > since {
			want = append(want, x)
		}
	}
	got := s.index(l.Head.ID, m, since)
	if len(got) != len(want) {
		s.Fatalf("%d messages since %d, not %d", len(got), since, len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			s.Fatalf("%d: %+v, not %+v", i, got[i], want[i])
		}
	}
}

// start makes an account with one mailbox.
func (s *suite) start(id mail.AccountID) (*Ledger, mail.MailboxID) {
	s.Helper()
	l := NewLedger(id)
	m := l.Mailbox("INBOX")
	s.commit(l.Batch())
	return l, m
}

func (s *suite) accounts() {
	ids, err := s.e.Accounts(background)
	s.equal(len(ids), 0)
	s.equal(err, nil)
	_, err = s.e.Account(background, 7)
	s.refused(mail.KindNotFound, err)

	head := store.AccountRecord{
		ID: math.MaxUint64, ModSeq: math.MaxInt64, NextMailbox: math.MaxUint32, NextEmail: math.MaxUint64, NextUIDValidity: math.MaxUint32,
		Bytes: math.MaxInt64, Messages: 5, QuotaBytes: 6, QuotaMessages: math.MaxInt64,
	}
	s.commit(&store.Batch{Create: true, Account: head})
	s.equal(s.account(math.MaxUint64), store.AccountState{Account: head})
	for _, id := range []mail.AccountID{300, 2, 1} {
		s.commit(&store.Batch{Create: true, Account: store.AccountRecord{ID: id, ModSeq: 1}})
	}
	ids, err = s.e.Accounts(background)
	s.equal(err, nil)
	s.equal(ids, []mail.AccountID{1, 2, 300, math.MaxUint64})
	s.refused(mail.KindAlreadyExists, commit(s.e, &store.Batch{Create: true, Account: store.AccountRecord{ID: 2, ModSeq: 9}}))
	s.equal(s.account(2).Account.ModSeq, mail.ModSeq(1))
}

func (s *suite) expect() {
	s.refused(mail.KindNotFound, commit(s.e, &store.Batch{Account: store.AccountRecord{ID: 1, ModSeq: 1}}))
	l, m := s.start(1)
	l.Deliver(m, 10)
	b := l.Batch()
	for _, wrong := range []mail.ModSeq{0, l.Head.ModSeq, 99} {
		x := *b
		x.Expect = wrong
		x.Account.ModSeq = 100
		s.refused(mail.KindConflict, commit(s.e, &x))
		s.refused(mail.KindConflict, commit(s.e, &store.Batch{Remove: true, Expect: wrong, Account: store.AccountRecord{ID: 1}}))
	}
	s.equal(len(s.index(1, m, 0)), 0)
	s.commit(b)
	s.refused(mail.KindConflict, commit(s.e, b))
	s.expectIndex(l, m, 0)
}

func (s *suite) allOrNothing() {
	l, m := s.start(1)
	before := s.account(1)
	uid, email := l.Deliver(m, 10)
	l.Subscribe("x", true)
	b := l.Batch()
	b.Expect = 77
	b.Account.ModSeq = 78
	s.refused(mail.KindConflict, commit(s.e, b))
	s.equal(s.account(1), before)
	_, err := s.e.Body(background, 1, email)
	s.refused(mail.KindExpunged, err)
	t, err := s.e.Threads(background, 1, []store.ThreadKey{key(uint64(email))})
	s.equal(t, []mail.ThreadID{0})
	s.equal(err, nil)
	s.equal(uid, mail.UID(1))
}

func (s *suite) mailboxes() {
	l, _ := s.start(1)
	full := store.MailboxRecord{
		ID: math.MaxUint32, Name: "Ablage/" + strings.Repeat("ü", 200), UIDValidity: math.MaxUint32, SpecialUse: `\Drafts`,
		Created: time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600)), UIDNext: math.MaxUint32, HighestModSeq: math.MaxInt64,
		RecentFrom: 4, Keywords: make([]string, mail.MaxKeywords), Messages: math.MaxUint32, Unseen: 5, Deleted: 6, Bytes: math.MaxInt64,
	}
	full.Keywords[55] = "$Forwarded"
	empty := store.MailboxRecord{ID: 2, Created: time.Time{}, Keywords: []string{}}
	b := l.Batch()
	b.Mailboxes = append(b.Mailboxes, full, empty)
	s.commit(b)
	got := s.account(1).Mailboxes
	s.equal(len(got), 3)
	s.equal([]mail.MailboxID{got[0].ID, got[1].ID, got[2].ID}, []mail.MailboxID{1, 2, math.MaxUint32})
	if !got[2].Created.Equal(full.Created) || got[2].Created.Location() != time.UTC || !got[1].Created.IsZero() {
		s.Fatalf("created %v, %v", got[2].Created, got[1].Created)
	}
	full.Created = got[2].Created
	s.equal(got[2], full)
	s.equal(len(got[1].Keywords), 0)
	full.Name, full.Keywords = "B", nil
	b = l.Batch()
	b.Mailboxes = []store.MailboxRecord{full}
	s.commit(b)
	s.equal(s.account(1).Mailboxes[2].Name, "B")
	for _, m := range []mail.MailboxID{3, 0} {
		_, err := s.e.Messages(background, 1, m, 0)
		s.refused(mail.KindNotFound, err)
		_, _, err = s.e.Vanished(background, 1, m, 0)
		s.refused(mail.KindNotFound, err)
	}
	_, err := s.e.Messages(background, 2, 1, 0)
	s.refused(mail.KindNotFound, err)
}

func (s *suite) subscriptions() {
	l, _ := s.start(1)
	other, _ := s.start(2)
	for _, name := range []string{"b", "a/\x00", "Ä", "a"} {
		l.Subscribe(name, true)
	}
	l.Subscribe("not there", false)
	s.commit(l.Batch())
	s.equal(s.account(1).Subscriptions, []string{"a", "a/\x00", "b", "Ä"})
	l.Subscribe("a", false)
	l.Subscribe("b", true)
	s.commit(l.Batch())
	s.equal(s.account(1).Subscriptions, []string{"a/\x00", "b", "Ä"})
	s.equal(len(s.account(other.Head.ID).Subscriptions), 0)
}

func (s *suite) messages() {
	l, m := s.start(1)
	other := l.Mailbox("Other")
	s.commit(l.Batch())
	s.equal(len(s.index(1, m, 0)), 0)
	extreme := []store.Message{
		{UID: 1},
		{UID: 2, Size: math.MaxUint32, Flags: math.MaxUint64, ModSeq: math.MaxInt64, Email: math.MaxUint64, Thread: math.MaxUint64, InternalDate: math.MaxInt64, Saved: math.MinInt64, Zone: math.MinInt16},
		{UID: 3, Thread: 1, InternalDate: math.MinInt64, Saved: math.MaxInt64, Zone: math.MaxInt16},
		{UID: math.MaxUint32, Email: 1},
	}
	b := l.Batch()
	b.Messages = []store.Messages{{Mailbox: other, Entries: extreme}}
	s.commit(b)
	s.equal(s.index(1, other, 0), extreme)
	s.equal(s.index(1, other, math.MaxInt64-1), extreme[1:2])

	for range 5 {
		l.Deliver(m, 10)
	}
	s.commit(l.Batch())
	mid := l.Head.ModSeq
	l.Flag(m, 2, mail.Seen|mail.Keyword(3))
	l.Flag(m, 4, mail.Deleted)
	l.Deliver(m, 10)
	s.commit(l.Batch())
	s.expectIndex(l, m, 0)
	s.expectIndex(l, m, mid)
	s.expectIndex(l, m, l.Head.ModSeq)
	l.Expunge(m, 1, 4)
	s.commit(l.Batch())
	s.expectIndex(l, m, 0)
	s.expectIndex(l, m, mid)
	s.equal(s.index(1, other, 0), extreme)

	list := s.index(1, m, 0)
	list[0].Flags = mail.Draft
	s.expectIndex(l, m, 0)
}

// manyMessages has enough changes that an engine which packs its index does.
func (s *suite) manyMessages() {
	l, m := s.start(1)
	for range 4 {
		for range 700 {
			l.Deliver(m, 3)
		}
		s.commit(l.Batch())
		s.expectIndex(l, m, 0)
	}
	mid := l.Head.ModSeq
	for round := range mail.UID(12) {
		uids := l.UIDs(m)
		var gone []mail.UID
		for i, uid := range uids {
			switch {
			case uid%13 == round%13:
				l.Flag(m, uid, mail.Flags(uid)<<round)
			case uid%17 == round || i < 40 || round == 5 && uid > 1000 && uid < 1900:
				gone = append(gone, uid)
			}
		}
		l.Expunge(m, gone...)
		s.commit(l.Batch())
		s.expectIndex(l, m, 0)
		s.expectIndex(l, m, mid)
	}
	l.Expunge(m, l.UIDs(m)...)
	s.commit(l.Batch())
	s.expectIndex(l, m, 0)
	l.Deliver(m, 3)
	s.commit(l.Batch())
	s.expectIndex(l, m, 0)
}

func (s *suite) vanished() {
	l, m := s.start(1)
	expect := func(since mail.ModSeq, want string) {
		s.Helper()
		uids, complete, err := s.e.Vanished(background, 1, m, since)
		if err != nil || !complete || uids.String() != want {
			s.Fatalf("%v %v %v, not %v", uids, complete, err, want)
		}
	}
	for range 20 {
		l.Deliver(m, 1)
	}
	s.commit(l.Batch())
	expect(0, "")
	l.Expunge(m, 3, 4, 5, 20)
	s.commit(l.Batch())
	first := l.Head.ModSeq
	l.Expunge(m, 6, 8)
	s.commit(l.Batch())
	expect(0, "3:6,8,20")
	expect(first-1, "3:6,8,20")
	expect(first, "6,8")
	expect(l.Head.ModSeq, "")
	expect(math.MaxUint64, "")
}

func (s *suite) vanishedIsBounded() {
	l, m := s.start(1)
	const n = 5500
	for range n {
		l.Deliver(m, 1)
	}
	s.commit(l.Batch())
	start := l.Head.ModSeq
	for uid := range mail.UID(n) {
		l.Expunge(m, uid+1)
		if wait, err := s.e.Commit(background, l.Batch()); err != nil {
			s.Fatal(err)
		} else if uid == n-1 {
			s.equal(wait(), nil)
		}
	}
	for _, back := range []mail.ModSeq{1, 1000, 4000, n} {
		since := l.Head.ModSeq - back
		uids, complete, err := s.e.Vanished(background, 1, m, since)
		if err != nil {
			s.Fatal(err)
		}
		// What is remembered is right, and what is said to be complete is.
		want := mail.NumSet{{First: uint32(since-start) + 1, Last: n}}
		if back < 4096 && !complete || complete && !slices.Equal(uids, want) || len(uids.Subtract(want)) > 0 {
			s.Fatalf("%d back: %v %v", back, uids, complete)
		}
	}
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
		emails[i].Summary, emails[i].Text = nil, nil
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
	present := func(want ...bool) {
		s.Helper()
		for i, w := range want {
			id := mail.EmailID(i + 1)
			_, err := readBody(s.e, 1, id)
			if w != (err == nil) {
				s.Fatalf("email %v: %v", id, err)
			}
			n := 0
			for _, read := range []func(context.Context, mail.AccountID, []mail.EmailID, func(int, []byte) error) error{s.e.Summaries, s.e.Texts} {
				s.equal(read(background, 1, []mail.EmailID{id}, func(_ int, v []byte) error {
					if v != nil {
						n++
					}
					return nil
				}), nil)
			}
			if w != (n == 2) {
				s.Fatalf("email %v: %d of summary and text", id, n)
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

func (s *suite) deleteMailbox() {
	l, m := s.start(1)
	n := l.Mailbox("Next")
	l.Deliver(n, 5)
	for range 600 {
		l.Deliver(m, 5)
	}
	s.commit(l.Batch())
	l.Expunge(m, 1, 2)
	s.commit(l.Batch())
	l.Copy(m, 3, n)
	s.commit(l.Batch())
	l.Delete(m)
	s.commit(l.Batch())
	_, err := s.e.Messages(background, 1, m, 0)
	s.refused(mail.KindNotFound, err)
	_, _, err = s.e.Vanished(background, 1, m, 0)
	s.refused(mail.KindNotFound, err)
	s.equal(len(s.account(1).Mailboxes), 1)
	s.expectIndex(l, n, 0)
	for id, gone := range map[mail.EmailID]bool{1: false, 2: true, 4: false, 5: true, 601: true} {
		if _, err := readBody(s.e, 1, id); (err != nil) != gone {
			s.Fatalf("email %v: %v", id, err)
		}
	}
}

func (s *suite) removeAccount() {
	var ledgers []*Ledger
	for _, id := range []mail.AccountID{1, 2, 3} {
		l, m := s.start(id)
		for range 50 {
			l.Deliver(m, 300)
		}
		l.Subscribe("x", true)
		s.commit(l.Batch())
		ledgers = append(ledgers, l)
	}
	kept, err := Everything(s.e, 3)
	s.equal(err, nil)
	s.commit(&store.Batch{Remove: true, Expect: ledgers[1].Head.ModSeq, Account: store.AccountRecord{ID: 2}})
	_, err = s.e.Account(background, 2)
	s.refused(mail.KindNotFound, err)
	_, err = s.e.Body(background, 2, 1)
	s.refused(mail.KindExpunged, err)
	ids, err := s.e.Accounts(background)
	s.equal(err, nil)
	s.equal(ids, []mail.AccountID{1, 3})
	got, err := Everything(s.e, 3)
	s.equal(err, nil)
	s.equal(got, kept)
	s.refused(mail.KindNotFound, commit(s.e, &store.Batch{Remove: true, Expect: ledgers[1].Head.ModSeq, Account: store.AccountRecord{ID: 2}}))
	l, m := s.start(2)
	l.Deliver(m, 1)
	s.commit(l.Batch())
	s.expectIndex(l, m, 0)
	s.equal(len(s.account(2).Subscriptions), 0)
	t, err := s.e.Threads(background, 2, []store.ThreadKey{key(40)})
	s.equal(err, nil)
	s.equal(t, []mail.ThreadID{0})
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

// copies checks that neither side can change what the other has.
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

func (s *suite) manyAccountsAtOnce() {
	const accounts, changes = 16, 30
	ledgers := make([]*Ledger, accounts)
	var work sync.WaitGroup
	for i := range ledgers {
		l := NewLedger(mail.AccountID(i + 1))
		ledgers[i] = l
		work.Go(func() {
			m := l.Mailbox("INBOX")
			for n := range changes {
				l.Deliver(m, 500+n)
				if n%4 == 3 {
					l.Expunge(m, l.UIDs(m)[0])
				}
				if err := commit(s.e, l.Batch()); err != nil {
					s.Error(err)
					return
				}
				// What a Commit made is visible when it returned.
				if list, err := s.e.Messages(background, l.Head.ID, m, l.Head.ModSeq-1); err != nil || len(list) != 1 {
					s.Error(len(list), err)
					return
				}
			}
		})
	}
	work.Wait()
	for _, l := range ledgers {
		s.expectIndex(l, 1, 0)
	}
}

func (s *suite) oneOfManyWins() {
	l, m := s.start(1)
	for range 20 {
		l.Deliver(m, 10)
		b := l.Batch()
		var won, lost atomic.Int32
		var work sync.WaitGroup
		for range 8 {
			work.Go(func() {
				switch err := commit(s.e, b); {
				case err == nil:
					won.Add(1)
				case mail.KindOf(err) == mail.KindConflict:
					lost.Add(1)
				default:
					s.Error(err)
				}
			})
		}
		work.Wait()
		if won.Load() != 1 || lost.Load() != 7 {
			s.Fatal(won.Load(), lost.Load())
		}
	}
	s.expectIndex(l, m, 0)
	record := store.Record{Kind: "k", Key: "k", Value: []byte{}}
	for range 10 {
		var won atomic.Int32
		var work sync.WaitGroup
		for range 4 {
			work.Go(func() {
				if err := s.e.PutRecords(background, []store.Record{record}); err == nil {
					won.Add(1)
				} else if mail.KindOf(err) != mail.KindConflict {
					s.Error(err)
				}
			})
		}
		work.Wait()
		s.equal(won.Load(), int32(1))
		record.Revision++
	}
}

// readersSeeWholeBatches has an index whose messages all change in each batch.
func (s *suite) readersSeeWholeBatches() {
	l, m := s.start(1)
	for range 200 {
		l.Deliver(m, 10)
	}
	s.commit(l.Batch())
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := s.e.Account(background, 1)
				if err != nil || a.Mailboxes[0].HighestModSeq != a.Account.ModSeq {
					s.Error("account", a, err)
					return
				}
				list, err := s.e.Messages(background, 1, m, 0)
				if err != nil || len(list) == 0 || list[0].ModSeq < a.Account.ModSeq {
					s.Error("index", len(list), err)
					return
				}
				for _, x := range list {
					if x.ModSeq != list[0].ModSeq {
						s.Error("half a batch", x, list[0])
						return
					}
				}
			}
		})
	}
	for n := range 60 {
		uids := l.UIDs(m)
		l.Expunge(m, uids[0])
		for _, uid := range uids[1:] {
			l.Flag(m, uid, mail.Flags(n))
		}
		l.Deliver(m, 10)
		s.commit(l.Batch())
	}
	close(stop)
	work.Wait()
}

func (s *suite) cancelled() {
	l, m := s.start(1)
	l.Deliver(m, 10)
	b := l.Batch()
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := s.e.Commit(ctx, b)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Account(ctx, 1)
	s.refused(mail.KindUnavailable, err)
	s.equal(s.account(1).Account.ModSeq, b.Expect)
	ctx, cancel = context.WithCancel(background)
	wait, err := s.e.Commit(ctx, b)
	cancel()
	s.equal(err, nil)
	s.equal(wait(), nil)
	s.equal(wait(), nil)
	s.expectIndex(l, m, 0)
}

func (s *suite) closed() {
	l, m := s.start(1)
	l.Deliver(m, 10)
	s.commit(l.Batch())
	l.Deliver(m, 10)
	s.equal(s.e.Close(), nil)
	_, err := s.e.Account(background, 1)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Accounts(background)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Messages(background, 1, m, 0)
	s.refused(mail.KindUnavailable, err)
	_, _, err = s.e.Vanished(background, 1, m, 0)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Body(background, 1, 1)
	s.refused(mail.KindUnavailable, err)
	none := func(int, []byte) error { return nil }
	s.refused(mail.KindUnavailable, s.e.Summaries(background, 1, []mail.EmailID{1}, none))
	s.refused(mail.KindUnavailable, s.e.Texts(background, 1, []mail.EmailID{1}, none))
	_, err = s.e.Threads(background, 1, []store.ThreadKey{key(1)})
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Records(background, "a", "")
	s.refused(mail.KindUnavailable, err)
	s.refused(mail.KindUnavailable, s.e.PutRecords(background, []store.Record{{Kind: "a", Key: "a", Value: []byte{}}}))
	_, err = s.e.Commit(background, l.Batch())
	s.refused(mail.KindUnavailable, err)
}

func (s *suite) reopen() {
	l, m := s.start(1)
	sent := l.Mailbox("Sent")
	for range 600 {
		l.Deliver(m, 100)
	}
	l.Deliver(m, 600_000)
	l.Subscribe("Name", true)
	s.commit(l.Batch())
	l.Copy(m, 601, sent)
	l.Expunge(m, 1, 2)
	s.commit(l.Batch())
	s.equal(s.e.PutRecords(background, []store.Record{{Kind: "a", Key: "k", Value: []byte("v")}}), nil)
	want, err := Everything(s.e, 1)
	s.equal(err, nil)
	for range 2 {
		s.e = s.opt.Reopen(s.T, s.e)
		got, err := Everything(s.e, 1)
		s.equal(err, nil)
		s.equal(got, want)
		records, err := s.e.Records(background, "a", "")
		s.equal(err, nil)
		s.equal(records, []store.Record{{Kind: "a", Key: "k", Value: []byte("v"), Revision: 1}})
	}
	l.Expunge(m, 601)
	s.commit(l.Batch())
	if _, err := readBody(s.e, 1, 601); err != nil {
		s.Fatal("the copy's content went with the original", err)
	}
	l.Expunge(sent, 1)
	s.commit(l.Batch())
	_, err = readBody(s.e, 1, 601)
	s.refused(mail.KindExpunged, err)
}
