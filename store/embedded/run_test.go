package embedded

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// manual opens an engine that packs only when it is asked.
func manual(t testing.TB, fs vfs.FS) *Engine {
	opt := small(fs)
	opt.runFrom = 0
	e := open(t, "store", opt)
	e.repacking.stop()
	e.repacking.cancel = nil
	return e
}

// runs counts the values of runs that an account's mailbox has.
func runs(t testing.TB, e *Engine, id mail.AccountID, m mail.MailboxID) (n int) {
	t.Helper()
	err := e.scan(context.Background(), contentsKey(id, m, partRun), contentsKey(id, m, partRun+1), func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRuns changes many messages and few of them in any order, packs now and then
// and compares with the engine in memory.
func TestRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 5))
	for range 2 {
		fs := vfs.NewMem()
		e := manual(t, fs)
		right := memory.New()
		l := storetest.NewLedger(1)
		m, other := l.Mailbox("INBOX"), l.Mailbox("Other")
		commit := func() {
			t.Helper()
			b := l.Batch()
			storetest.Commit(t, e, b)
			storetest.Commit(t, right, b)
		}
		for range 1500 {
			l.Deliver(m, 1)
		}
		commit()
		if n := runs(t, e, 1, m); n != 2 {
			t.Fatalf("1,500 messages are %d values", n)
		}
		for range 25 {
			n := []int{1, 5, 63, 64, 100, 700, 1300}[r.IntN(7)]
			uids := l.UIDs(m)
			step := 1 + r.IntN(2)
			from := r.IntN(len(uids))
			switch r.IntN(6) {
			case 0, 1, 2:
				for i := from; i < len(uids) && n > 0; i += step {
					l.Flag(m, uids[i], mail.Flags(r.Uint32()))
					n--
				}
			case 3:
				var gone []mail.UID
				for i := from; i < len(uids) && len(gone) < min(n, 1+len(uids)/8); i += step {
					gone = append(gone, uids[i])
				}
				l.Expunge(m, gone...)
			case 4:
				for i := from; i < len(uids) && i < from+min(n, 200); i++ {
					l.Copy(m, uids[i], []mail.MailboxID{m, other}[r.IntN(2)])
				}
			case 5:
				if _, err := e.repack(context.Background(), place{1, m}); err != nil {
					t.Fatal(err)
				}
				if n := runs(t, e, 1, m); n > 0 {
					t.Fatalf("%d runs were left", n)
				}
				continue
			}
			commit()
			if r.IntN(8) == 0 {
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				e = manual(t, fs)
			}
			if r.IntN(4) > 0 {
				continue
			}
			if err := storetest.Compare(right, e, 1); err != nil {
				t.Fatal(err)
			}
			for since := l.Head.ModSeq; since > 0 && since+6 > l.Head.ModSeq; since-- {
				want, err := right.Messages(context.Background(), 1, m, since)
				got, err2 := e.Messages(context.Background(), 1, m, since)
				if err != nil || err2 != nil || !slices.Equal(got, want) {
					t.Fatalf("since %d: %d messages, not %d; %v %v", since, len(got), len(want), err, err2)
				}
			}
		}
		if err := storetest.Compare(right, e, 1); err != nil {
			t.Fatal(err)
		}
		// Runs go with their mailbox and their account.
		for _, uid := range l.UIDs(m) {
			l.Flag(m, uid, mail.Seen)
		}
		commit()
		if runs(t, e, 1, m) == 0 {
			t.Fatal("no runs")
		}
		l.Delete(m)
		commit()
		if n := runs(t, e, 1, m); n > 0 {
			t.Fatalf("%d runs outlive the mailbox", n)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOverlay compares overlay with a map.
func TestOverlay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		want := map[mail.UID]store.Message{}
		var lists [2][]store.Message
		for i := range lists {
			for uid := mail.UID(1); uid <= 12; uid++ {
				if r.IntN(2) == 0 {
					continue
				}
				m := store.Message{UID: uid, ModSeq: mail.ModSeq(r.IntN(4)), Size: uint32(i), Gone: r.IntN(4) == 0}
				lists[i] = append(lists[i], m)
				old, found := want[uid]
				if !found || !old.Gone && (m.Gone || m.ModSeq >= old.ModSeq) {
					want[uid] = m
				}
			}
		}
		got := overlay(slices.Clone(lists[0]), slices.Clone(lists[1]))
		if len(got) != len(want) {
			t.Fatal(lists, got)
		}
		for i, m := range got {
			if want[m.UID] != m || i > 0 && got[i-1].UID >= m.UID {
				t.Fatal(lists, got)
			}
		}
	}
}

func TestSplit(t *testing.T) {
	set := mail.NumSet{{First: 1, Last: 5}, {First: 7, Last: 7}, {First: 9, Last: 30}, {First: math.MaxUint32 - 9, Last: math.MaxUint32}}
	for n := uint64(1); n < 50; n++ {
		var all mail.NumSet
		for part := range split(set, n) {
			if part.Len() > n {
				t.Fatal(n, part)
			}
			for uid := range part.All() {
				all.Add(uid)
			}
		}
		if !slices.Equal(all, set) {
			t.Fatal(n, all)
		}
	}
}
