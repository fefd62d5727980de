package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
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
					if k := mail.KindOf(err); k != mail.KindUnavailable && k != mail.KindNoSpace {
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
	met   atomic.Bool // one has failed
}

func (f *faults) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFilePreallocate, errorfs.OpGetDiskUsage:
		return nil
	}
	if n := f.count.Add(1); f.first > 0 && n >= f.first && n <= f.last {
		f.met.Store(true)
		return fmt.Errorf("%s: %w", op.Path, f.err)
	}
	return nil
}

func (f *faults) String() string { return "faults" }

// faulty has a store be made, changed, closed and opened again while f makes operations
// fail: what fails says so, and afterwards everything that was acknowledged is there. It
// gives how many operations there were.
func faulty(t testing.TB, seed uint64, f *faults) (operations int64) {
	opt := small(errorfs.Wrap(vfs.NewMem(), f))
	opt.MemTableBytes = 128 << 10
	told := func(what string, err error) bool {
		if k := mail.KindOf(err); err != nil && (f.first == 0 || k != mail.KindUnavailable && k != mail.KindCorrupt) {
			t.Fatalf("fault %d: %s: %v", f.first, what, err)
		}
		return err == nil
	}
	var all []*history
	for _, what := range []string{"Open", "opening again"} {
		e, err := Open("store", opt)
		if !told(what, err) {
			continue
		}
		if all == nil {
			all = storm(e, seed, 2, 12)
		}
		// Reading goes on or is refused; it never panics.
		for _, h := range all {
			_, err := storetest.Everything(e, h.ledger.Head.ID)
			told("reading", err)
		}
		_ = e.Close()
	}
	operations = f.count.Load()
	f.first = 0
	e := open(t, "store", opt)
	for _, h := range all {
		h.check(t, e, h.acked)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return operations
}

// TestFaults lets file operations fail, one or all from some moment on: nothing
// panics, what fails is KindUnavailable or KindCorrupt, and after opening again
// everything that was acknowledged is there. With POSTERN_EVERY_FAULT each does.
func TestFaults(t *testing.T) {
	seed := storetest.Seed(t)
	total := faulty(t, seed, &faults{})
	var tried atomic.Int64
	try := func(t testing.TB, n, last int64, err error) {
		f := &faults{first: n, last: last, err: err}
		if faulty(t, seed, f); f.met.Load() {
			tried.Add(1)
		}
	}
	if os.Getenv("POSTERN_EVERY_FAULT") != "" {
		var next atomic.Int64
		t.Run("every", func(t *testing.T) {
			for i := range runtime.GOMAXPROCS(0) {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					// Accounts change at once: it is not the same number each time.
					for n := next.Add(1); n <= total+total/10; n = next.Add(1) {
						try(t, n, n, syscall.EIO)
						try(t, n, n, syscall.ENOSPC)
						try(t, n, total*100, syscall.ENOSPC)
					}
				})
			}
		})
	} else {
		r := rand.New(rand.NewPCG(seed, 0))
		deadline := time.Now().Add(3 * time.Second)
		for n := int64(1); n <= total && time.Now().Before(deadline); n += 1 + r.Int64N(max(1, total/40)) {
			if tried.Load()%2 == 0 {
				try(t, n, n, syscall.EIO)
			} else {
				try(t, n, total*100, syscall.ENOSPC)
			}
		}
	}
	t.Logf("prove: file operations made to fail: %d", tried.Load())
	t.Logf("of %d operations", total)
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
	if err == nil || mail.KindOf(err) != mail.KindNoSpace {
		t.Fatal(err)
	}
	l.Expunge(m, 1)
	storetest.Commit(t, e, l.Batch())
}
