package imap

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: so many searches at once and no more, each lets others go first from time to
// time, and one whose client is gone waits no longer.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		most := 2 * runtime.GOMAXPROCS(0)
		var wg sync.WaitGroup
		var mu sync.Mutex
		now, peak := 0, 0
		begin := time.Now()
		for range 3 * most {
			wg.Go(func() {
				own := turn{of: &all}
				ctx, done := own.start(t.Context(), spellOf(time.Hour))
				defer done()
				if err := own.begin(ctx); err != nil {
					t.Error(err)
				}
				for range 4 {
					mu.Lock()
					now++
					peak = max(peak, now)
					mu.Unlock()
					time.Sleep(turnTime)
					mu.Lock()
					now--
					mu.Unlock()
					if err := own.goOn(ctx); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); peak != most || took != 12*turnTime {
			t.Errorf("%d at once, want %d; %v", peak, most, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		held, giveBack := takeAll(t, ctx, &all)
		late := turn{of: &all}
		lateCtx, done := late.start(ctx, spellOf(time.Hour))
		time.AfterFunc(time.Second, cancel)
		if err := late.begin(lateCtx); err == nil || err == errSearchTurn || time.Since(begin) != 12*turnTime+time.Second {
			t.Errorf("one turn too many: %v", err)
		}
		if err := held[0].goOn(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		done()
		giveBack()
		if len(all.taken) != 0 {
			t.Errorf("%d turns were not ended", len(all.taken))
		}
	})
}

// takeAll takes all turns that there are.
func takeAll(t *testing.T, ctx context.Context, all *turns) (held []*turn, giveBack func()) {
	t.Helper()
	var ends []func()
	for range 2 * runtime.GOMAXPROCS(0) {
		own := &turn{of: all}
		ctx, done := own.start(ctx, spellOf(time.Hour))
		if err := own.begin(ctx); err != nil {
			t.Fatal(err)
		}
		held, ends = append(held, own), append(ends, done)
	}
	return held, func() {
		for _, end := range ends {
			end()
		}
	}
}

// TestTurnsTime: the time in which a search waits for others is none in which it works, and has
// a bound of its own.
func TestTurnsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		held, giveBack := takeAll(t, t.Context(), &all)
		began := time.Now()
		own, left := turn{of: &all}, &spell{work: 3 * time.Second, wait: 10 * time.Second}
		ctx, done := own.start(t.Context(), left)
		time.Sleep(time.Second) // of its work
		time.AfterFunc(8*time.Second, held[0].end)
		if err := own.begin(ctx); err != nil || ctx.Err() != nil || time.Since(began) != 9*time.Second {
			t.Fatalf("%v, %v after %v", err, ctx.Err(), time.Since(began))
		}
		time.Sleep(2*time.Second - 1)
		if synctest.Wait(); ctx.Err() != nil {
			t.Error("waiting counts as work")
		}
		time.Sleep(1)
		if synctest.Wait(); context.Cause(ctx) != errSearchTime {
			t.Errorf("its time is over: %v", context.Cause(ctx))
		}
		done()
		if left.work != 0 || left.wait != 2*time.Second {
			t.Errorf("%+v is left", *left)
		}

		if err := held[0].begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		own, left = turn{of: &all}, &spell{work: 3 * time.Second, wait: 10 * time.Second}
		ctx, done = own.start(t.Context(), left)
		if err := own.begin(ctx); err != errSearchTurn || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		done()
		if left.work != 3*time.Second || left.wait != 0 {
			t.Errorf("%+v is left", *left)
		}
		giveBack()
		if len(all.taken) != 0 {
			t.Errorf("%d turns were not ended", len(all.taken))
		}
	})
}
