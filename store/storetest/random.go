package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Options say what else an engine can be asked to do.
type Options struct {
	// Reopen closes an engine and opens it again. nil: what it has goes with it.
	Reopen func(t testing.TB, e store.Engine) store.Engine
	// Steps of Random; 0 is 150.
	Steps int
}

// Seed gives the number that a random test begins with, and logs it. The
// environment's STORETEST_SEED repeats a run.
func Seed(t testing.TB) uint64 {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("STORETEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("STORETEST_SEED=%d", seed)
	return seed
}

// Random plays the same random changes on a, which is right, and b, and compares
// what can be read. It closes neither; b may be reopened by opt.Reopen, so the one
// to be closed is returned.
func Random(t testing.TB, a, b store.Engine, opt Options) store.Engine {
	r := rand.New(rand.NewPCG(Seed(t), 1))
	ctx := context.Background()
	ledgers := map[mail.AccountID]*Ledger{}
	revisions := map[string]uint64{}
	if opt.Steps == 0 {
		opt.Steps = 150
	}
	both := func(do func(e store.Engine) error) {
		t.Helper()
		x, y := do(a), do(b)
		if (x == nil) != (y == nil) || x != nil && mail.KindOf(x) != mail.KindOf(y) {
			t.Fatalf("one says %v, the other %v", x, y)
		}
	}
	for step := range opt.Steps {
		id := mail.AccountID(1 + r.IntN(3)*255)
		l := ledgers[id]
		if l == nil {
			l = NewLedger(id)
			ledgers[id] = l
		}
		switch n := r.IntN(100); {
		case n < 3 && l.Head.ModSeq > 0:
			both(func(e store.Engine) error {
				return commit(e, &store.Batch{Remove: true, Expect: l.Head.ModSeq, Account: store.AccountRecord{ID: id}})
			})
			delete(ledgers, id)
		case n < 6 && l.Head.ModSeq > 0:
			both(func(e store.Engine) error {
				return commit(e, &store.Batch{Expect: l.Head.ModSeq - 1, Account: store.AccountRecord{ID: id, ModSeq: l.Head.ModSeq}})
			})
		case n < 20:
			x := store.Record{Kind: fmt.Sprint("kind", r.IntN(2)), Key: fmt.Sprint(r.IntN(30))}
			if r.IntN(4) > 0 {
				x.Value = content(id, mail.EmailID(step), "record", r.IntN(100))
			}
			x.Revision = revisions[x.Kind+x.Key]
			if r.IntN(8) == 0 {
				x.Revision++
			}
			both(func(e store.Engine) error { return e.PutRecords(ctx, []store.Record{x}) })
			if x.Revision == revisions[x.Kind+x.Key] {
				revisions[x.Kind+x.Key]++
				if x.Value == nil {
					delete(revisions, x.Kind+x.Key)
				}
			}
		case n < 25 && opt.Reopen != nil:
			b = opt.Reopen(t, b)
		default:
			batch := l.Random(r)
			both(func(e store.Engine) error { return commit(e, batch) })
		}
		if step%10 == 9 || step == opt.Steps-1 {
			for _, id := range []mail.AccountID{1, 256, 511} {
				if err := Compare(a, b, id); err != nil {
					t.Fatalf("after step %d: %v", step, err)
				}
			}
			for _, kind := range []string{"kind0", "kind1"} {
				x, err := a.Records(ctx, kind, "1")
				y, err2 := b.Records(ctx, kind, "1")
				if err != nil || err2 != nil || len(x)+len(y) > 0 && !reflect.DeepEqual(x, y) {
					t.Fatalf("after step %d: records %v %v, not %v %v", step, y, err2, x, err)
				}
			}
		}
	}
	return b
}
