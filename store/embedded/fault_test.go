package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// history is what was done to one account: its batches, how many were begun and
// how many were said to be durable.
type history struct {
	ledger  *storetest.Ledger
	batches []*store.Batch
	acked   int
}

// replayed gives a memory engine with the first n batches.
func (h *history) replayed(t testing.TB, n int) *memory.Engine {
	m := memory.New()
	for _, b := range h.batches[:n] {
		storetest.Commit(t, m, b)
	}
	return m
}

// check compares an account after a crash with its history: it has all that was
// acknowledged, perhaps some more, and whole batches only.
func (h *history) check(t testing.TB, e store.Engine, acked int) {
	t.Helper()
	id := h.ledger.Head.ID
	n := 0
	a, err := e.Account(context.Background(), id)
	switch {
	case err == nil:
		n = int(a.Account.ModSeq)
	case mail.KindOf(err) != mail.KindNotFound:
		t.Fatal(err)
	}
	if n < acked || n > len(h.batches) {
		t.Fatalf("account %v has %d changes, %d were acknowledged and %d made", id, n, acked, len(h.batches))
	}
	if err := storetest.Compare(h.replayed(t, n), e, id); err != nil {
		t.Fatalf("after %d changes: %v", n, err)
	}
}

// storm commits random batches to accounts at once until each made n or had an
// error.
func storm(e *Engine, seed uint64, accounts, n int) []*history {
	all := make([]*history, accounts)
	var work sync.WaitGroup
	for i := range all {
		h := &history{ledger: storetest.NewLedger(mail.AccountID(i + 1))}
		all[i] = h
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range n {
				b := h.ledger.Random(r)
				h.batches = append(h.batches, b)
				wait, err := e.Commit(context.Background(), b)
				if err == nil {
					err = wait()
				}
				if err != nil {
					if mail.KindOf(err) != mail.KindUnavailable {
						panic(err)
					}
					return
				}
				h.acked++
			}
		})
	}
	work.Wait()
	return all
}

// crash is the disk as it was when the power was cut, and how many changes of each
// account were acknowledged before.
type crash struct {
	fs    *vfs.MemFS
	acked []int
}

// crashing changes accounts n times each, all at once, and cuts the power at random
// moments, after one of rarely changes.
func crashing(t *testing.T, seed uint64, e *Engine, fs *vfs.MemFS, accounts, n, rarely int) (all []*history, crashes []crash) {
	r := rand.New(rand.NewPCG(seed, 99))
	var mu sync.Mutex
	acked := make([]atomic.Int32, accounts)
	all = make([]*history, accounts)
	var work sync.WaitGroup
	for i := range all {
		h := &history{ledger: storetest.NewLedger(mail.AccountID(i + 1))}
		all[i] = h
		work.Go(func() {
			r2 := rand.New(rand.NewPCG(seed, uint64(i)))
			for range n {
				b := h.ledger.Random(r2)
				h.batches = append(h.batches, b)
				storetest.Commit(t, e, b)
				acked[i].Add(1)
				mu.Lock()
				if r.IntN(rarely) == 0 {
					var c crash
					for i := range acked {
						c.acked = append(c.acked, int(acked[i].Load()))
					}
					c.fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(3) * 50, RNG: r})
					crashes = append(crashes, c)
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return all, crashes
}

// TestCrash cuts the power at random moments while many accounts change.
func TestCrash(t *testing.T) {
	seed := storetest.Seed(t)
	fs := vfs.NewCrashableMem()
	e := open(t, "store", small(fs))
	all, crashes := crashing(t, seed, e, fs, 4, 25, 16)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range crashes {
		e := open(t, "store", small(c.fs))
		for i, h := range all {
			h.check(t, e, c.acked[i])
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d crashes", len(crashes))
}

// faults makes operations of the file system fail from the first on, as many as
// are told.
type faults struct {
	count atomic.Int64
	first int64 // 0: none
	last  int64
	err   error
}

func (f *faults) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFilePreallocate, errorfs.OpGetDiskUsage:
		return nil
	}
	if n := f.count.Add(1); f.first > 0 && n >= f.first && n <= f.last {
		return fmt.Errorf("%s: %w", op.Path, f.err)
	}
	return nil
}

func (f *faults) String() string { return "faults" }

// TestFaults lets file operations fail, one or all from some moment on: nothing
// panics, what fails is KindUnavailable or KindCorrupt, and after opening again
// everything that was acknowledged is there.
func TestFaults(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	work := func(f *faults, fs vfs.FS) {
		opt := small(errorfs.Wrap(fs, f))
		opt.MemTableBytes = 128 << 10
		e, err := Open("store", opt)
		if err != nil {
			if k := mail.KindOf(err); k != mail.KindUnavailable && k != mail.KindCorrupt {
				t.Fatalf("fault %d: Open: %v", f.first, err)
			}
			return
		}
		all := storm(e, seed, 2, 12)
		if f.first > 0 {
			// Reading goes on or is refused; it never panics.
			for _, h := range all {
				if _, err := storetest.Everything(e, h.ledger.Head.ID); err != nil {
					if k := mail.KindOf(err); k != mail.KindUnavailable && k != mail.KindCorrupt {
						t.Fatalf("fault %d: reading: %v", f.first, err)
					}
				}
			}
		}
		_ = e.Close()
		f.first = 0
		e = open(t, "store", opt)
		for _, h := range all {
			h.check(t, e, h.acked)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	clean := &faults{}
	work(clean, vfs.NewMem())
	total := clean.count.Load()
	deadline := time.Now().Add(3 * time.Second)
	tried := 0
	for n := int64(1); n <= total && time.Now().Before(deadline); n += 1 + r.Int64N(max(1, total/40)) {
		f := &faults{first: n, last: n, err: syscall.EIO}
		if tried%2 == 1 {
			f.last, f.err = total*100, syscall.ENOSPC
		}
		work(f, vfs.NewMem())
		tried++
	}
	t.Logf("%d of %d operations failed", tried, total)
}

// TestFull refuses new mail, and only that, when the disk has little room left.
func TestFull(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	e := open(t, "store", small(fs))
	defer e.Close()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 100)
	storetest.Commit(t, e, l.Batch())
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 31})
	e.spaceChecked = time.Time{}
	_, err := e.Commit(context.Background(), &store.Batch{Expect: l.Head.ModSeq, Account: l.Head, Emails: []store.Email{l.Email(9, 10)}})
	if !errors.Is(err, &mail.Error{Kind: mail.KindUnavailable}) && mail.KindOf(err) != mail.KindUnavailable {
		t.Fatal(err)
	}
	l.Expunge(m, 1)
	storetest.Commit(t, e, l.Batch())
}
