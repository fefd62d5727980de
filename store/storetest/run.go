package storetest

import (
	"context"
	"math"
	"reflect"
	"slices"
	"strings"
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
		{"Filters", (*suite).filters},
		{"Bodies", (*suite).bodies},
		{"BodyOutlivesExpunge", (*suite).bodyOutlivesExpunge},
		{"References", (*suite).references},
		{"Rewritten", (*suite).rewritten},
		{"Threads", (*suite).threads},
		{"DeleteMailbox", (*suite).deleteMailbox},
		{"RemoveAccount", (*suite).removeAccount},
		{"Records", (*suite).recordsTest},
		{"RecordsOfBatches", (*suite).recordsOfBatches},
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
		Bytes: math.MaxInt64, Messages: 5, QuotaBytes: 6, QuotaMessages: math.MaxInt64, Shared: true,
		Annotations: 7, AnnotationBytes: math.MaxInt64,
		Recoverable: 8, RecoverableBytes: math.MaxInt64, RecoverableSince: math.MinInt64, Retention: -1, RecoverableQuota: math.MaxInt64,
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
		Grants: []mail.Grant{
			{Grantee: mail.Grantee{Account: math.MaxUint64}, Rights: mail.AllRights},
			{Grantee: mail.Grantee{Group: `corp\sales & more`}, Rights: mail.RightRead, Negative: true},
			{Rights: mail.RightLookup},
		},
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
	s.equal(got[1].Grants, []mail.Grant(nil))
	full.Name, full.Keywords, full.Grants = "B", nil, nil
	b = l.Batch()
	b.Mailboxes = []store.MailboxRecord{full}
	s.commit(b)
	s.equal(s.account(1).Mailboxes[2].Name, "B")
	s.equal(s.account(1).Mailboxes[2].Grants, []mail.Grant(nil))
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

// copies checks that neither side can change what the other has.
// readersSeeWholeBatches has an index whose messages all change in each batch.
