package embedded

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

// TestRecoverableCrash expunges messages, brings them back, moves them and purges them, and
// cuts the power at changes of the disk meanwhile. Afterwards each message that was not
// purged is in a mailbox or recoverable, once, where it was last acknowledged to be or where
// it was going; all of it reads, and agrees with itself. POSTERN_RECOVERABLE_STATES says how
// many states there are, POSTERN_RECOVERABLE_TIME for how many seconds at most.
func TestRecoverableCrash(t *testing.T) {
	states := amount(t, "POSTERN_RECOVERABLE_STATES", 200)
	clock := clockOf(t, "POSTERN_RECOVERABLE_TIME")
	seed := storetest.Seed(t)
	ctx := context.Background()
	r := rand.New(rand.NewPCG(seed, 5))
	cutting := rand.New(rand.NewPCG(seed, 6)) // under gate.mu
	keep := store.Options{Recovery: store.Recovery{Retention: 14 * 24 * time.Hour}}
	type state struct {
		fs    *vfs.MemFS
		where string
		// Where each message is, by its email: a mailbox's name, "recoverable" or "purged";
		// then where a change that is under way brings some of them.
		before, after map[mail.EmailID]string
	}
	var cuts []state
	place, going := map[mail.EmailID]string{}, map[mail.EmailID]string{}
	fs := vfs.NewCrashableMem()
	rarely, playing := 1, false
	g := &gate{FS: fs, before: func(what, name string, _ int) (int, error) {
		if playing && len(cuts) < 40 && cutting.IntN(rarely) == 0 {
			cuts = append(cuts, state{fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: cutting.IntN(5) * 25, RNG: cutting}), "before " + what + " " + name, maps.Clone(place), maps.Clone(going)})
		}
		return 0, nil
	}}
	opt := func(fs vfs.FS) Options {
		o := small(fs)
		o.MemTableBytes, o.fileSize = 64<<10, 16<<10
		return o
	}
	s, err := store.Open(open(t, "store", opt(g)), keep)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Account(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	boxes := []string{store.Inbox, "Archive"}
	var selected [2]*store.Mailbox
	for i, box := range boxes {
		if selected[i], err = a.Select(ctx, box, false); err != nil {
			t.Fatal(err)
		}
	}
	deliver := func(n int) {
		for range n {
			body := fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", r.IntN(1000), make([]byte, r.IntN(20)*1000))
			out, err := a.Append(ctx, store.Inbox, store.Arrival{Prepared: s.Prepare(body), Keywords: []string{"k"}})
			if err != nil {
				t.Fatal(err)
			}
			g.mu.Lock()
			place[out.Emails[0]] = store.Inbox
			g.mu.Unlock()
		}
	}
	deliver(30)
	// read gives where each message is; nil when that cannot be told.
	read := func(c state) (found map[mail.EmailID][]string) {
		e, err := Open("store", opt(c.fs))
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
			return nil
		}
		s, err := store.Open(e, keep)
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
			return nil
		}
		defer s.Close()
		if _, err := s.Verify(ctx, id, func(d store.Damage) error {
			t.Errorf("%s: %+v", c.where, d)
			return nil
		}, nil); err != nil {
			t.Errorf("%s: %v", c.where, err)
		}
		a, err := s.Account(ctx, id)
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
			return nil
		}
		defer a.Close()
		found = map[mail.EmailID][]string{}
		for _, box := range boxes {
			m, err := a.Select(ctx, box, true)
			if err != nil {
				t.Errorf("%s: %v", c.where, err)
				return nil
			}
			m.View().EachSeq(m.View().All(), func(_ uint32, x *store.Message) bool {
				found[x.Email] = append(found[x.Email], box)
				return true
			})
			m.Close()
		}
		list, _, err := a.Recoverable(ctx, store.RecoverableFilter{})
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
		}
		for _, item := range list {
			found[item.Email] = append(found[item.Email], "recoverable")
		}
		return found
	}
	// A disk that holds what another one held is read once.
	var mu sync.Mutex
	known := map[uint64]func() map[mail.EmailID][]string{}
	check := func(c state) {
		key := contentOf(c.fs)
		mu.Lock()
		where := known[key]
		if where == nil {
			where = sync.OnceValue(func() map[mail.EmailID][]string { return read(c) })
			known[key] = where
		}
		mu.Unlock()
		found := where()
		if found == nil {
			return
		}
		for m, was := range c.before {
			is := "purged"
			if len(found[m]) > 0 {
				is = found[m][0]
			}
			if to := c.after[m]; len(found[m]) > 1 || is != was && is != to {
				t.Errorf("%s: email %v is in %v, was in %s and went to %q", c.where, m, found[m], was, to)
			}
		}
	}
	checked, steps := 0, 0
	for ; checked < states && !t.Failed() && !clock.over(); steps++ {
		clear(known) // what comes now is never as it was
		i := r.IntN(2)
		selected[0].Poll(true)
		selected[1].Poll(true)
		to := map[mail.EmailID]string{}
		var uids []mail.UID
		pick := func(box string) {
			v := selected[i].View()
			v.EachSeq(v.All(), func(_ uint32, x *store.Message) bool {
				if r.IntN(3) == 0 {
					uids = append(uids, x.UID)
					to[x.Email] = box
				}
				return true
			})
		}
		list, _, err := a.Recoverable(ctx, store.RecoverableFilter{})
		if err != nil {
			t.Fatal(err)
		}
		var ids []store.RecoverableID
		take := func(most int, box func(store.RecoverableItem) string) {
			for _, item := range list[:min(len(list), most)] {
				if r.IntN(2) == 0 {
					ids = append(ids, item.ID)
					to[item.Email] = box(item)
				}
			}
		}
		var do func() error
		switch r.IntN(7) {
		case 0, 1:
			pick("recoverable")
			do = func() error { _, _, err := selected[i].Remove(ctx, mail.UIDSet(uids...)); return err }
		case 2:
			pick(boxes[1-i])
			do = func() error { _, err := selected[i].Move(ctx, mail.UIDSet(uids...), boxes[1-i]); return err }
		case 3, 4:
			take(len(list), func(item store.RecoverableItem) string { return item.Folder })
			do = func() error { _, err := a.Restore(ctx, "", ids...); return err }
		case 5:
			take(len(list), func(store.RecoverableItem) string { return "Archive" })
			do = func() error { _, err := a.Restore(ctx, "Archive", ids...); return err }
		case 6:
			take(2, func(store.RecoverableItem) string { return "purged" })
			do = func() error { _, err := a.Forget(ctx, ids...); return err }
		}
		g.mu.Lock()
		going, playing, rarely = to, true, 1+steps%4
		g.mu.Unlock()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		g.mu.Lock()
		for m, box := range to {
			place[m] = box
		}
		some := slices.Clone(cuts)
		cuts = cuts[:0]
		g.mu.Unlock()
		var work sync.WaitGroup
		for i := range runtime.GOMAXPROCS(0) {
			work.Go(func() {
				for n := i; n < len(some); n += runtime.GOMAXPROCS(0) {
					check(some[n])
				}
			})
		}
		work.Wait()
		checked += len(some)
		if len(place) < 200 {
			deliver(1)
		}
	}
	selected[0].Close()
	selected[1].Close()
	a.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states of %d operations", checked, steps)
	t.Logf("prove: states after a power cut while messages are brought back: %d", checked)
}
