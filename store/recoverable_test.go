package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

const day = 24 * time.Hour

// clock is a clock that a test turns.
type clock struct{ seconds atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.seconds.Store(1_800_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.Unix(c.seconds.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }
func (c *clock) sweep(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
}

// openKeeping is open with a retention time of 14 days.
func openKeeping(t *testing.T, e store.Engine) (*store.Store, *store.Account, *clock) {
	t.Helper()
	c := newClock()
	s, err := store.Open(e, store.Options{Recovery: store.Recovery{Retention: 14 * day}, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s, account(t, s, id), c
}

var carol = mail.Actor{User: "alice", ActedBy: "carol", Mechanism: "SCRAM-SHA-256", AppPassword: "phone", Protocol: "IMAP4", Client: "Mutt 2.2", Address: "192.0.2.7", Session: "IMAP4-5"}

// byCarol is the context of changes that carol makes.
func byCarol() context.Context { return store.By(ctx, func() mail.Actor { return carol }) }

// recoverable gives what can be brought back.
func recoverable(t *testing.T, a *store.Account, f store.RecoverableFilter) []store.RecoverableItem {
	t.Helper()
	list, more, err := a.Recoverable(ctx, f)
	if err != nil || more {
		t.Fatal(more, err)
	}
	return list
}

func idsOf(list []store.RecoverableItem) (ids []store.RecoverableID) {
	for _, item := range list {
		ids = append(ids, item.ID)
	}
	return ids
}

// gone expunges messages as a client does.
func gone(t *testing.T, m *store.Mailbox, uids ...mail.UID) {
	t.Helper()
	set := mail.UIDSet(uids...)
	if _, err := m.StoreFlags(ctx, set, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted}, nil); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := m.Expunge(byCarol(), &set); err != nil || removed.Len() != uint64(len(uids)) {
		t.Fatal(removed, err)
	}
}

// TestRestore: a message that was expunged comes back as it was, with a new UID, once; until
// then no client sees or counts it.
func TestRestore(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a, c := openKeeping(t, e)
		date := time.Date(2020, 5, 6, 7, 8, 9, 0, time.FixedZone("", -5400))
		body := []byte("From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@x>\r\n\r\nText\r\n")
		put(t, s, a, "INBOX", 2, 0)
		if _, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare(body), Flags: mail.Seen | mail.Flagged, Keywords: []string{"$Work", "later"}, InternalDate: date}); err != nil {
			t.Fatal(err)
		}
		m := sel(t, a, "INBOX")
		was := *m.View().At(3)
		before := a.Usage()
		c.advance(time.Hour)
		gone(t, m, 3)
		m.Poll(true)
		if m.View().Len() != 2 || a.Usage().Bytes != before.Bytes-int64(len(body)) || a.Usage().Messages != 2 {
			t.Fatal(m.View().Len(), a.Usage())
		}
		list := recoverable(t, a, store.RecoverableFilter{})
		if len(list) != 1 {
			t.Fatal(list)
		}
		item := list[0]
		if item.Subject != "Grüße" || !strings.Contains(item.From, "Jörg") || item.Folder != "INBOX" || item.By != carol || item.UID != 3 || item.Size != uint32(len(body)) ||
			!item.Deleted.Equal(c.now()) || !item.Until.Equal(c.now().Add(14*day)) || !slices.Equal(item.Keywords, []string{"$Work", "later"}) || !item.Flags.Has(mail.Deleted|mail.Seen) {
			t.Fatalf("%+v", item)
		}
		if k := a.Kept(); k.Messages != 1 || k.Bytes != int64(len(body)) {
			t.Fatal(k)
		}
		if found := damages(t, s, a.ID()); len(found) > 0 {
			t.Fatal(found)
		}
		for _, f := range []store.RecoverableFilter{{Folder: "Sent"}, {Subject: "grüsse"}, {From: c.now().Add(time.Second)}, {Until: c.now()}, {IDs: []store.RecoverableID{"0-0"}}} {
			if list := recoverable(t, a, f); len(list) > 0 {
				t.Errorf("%+v: %+v", f, list)
			}
		}
		for _, f := range []store.RecoverableFilter{{Folder: "INBOX"}, {Subject: "grÜße"}, {From: c.now(), Until: c.now().Add(time.Second)}, {IDs: []store.RecoverableID{item.ID}}, {Most: 1}} {
			if list := recoverable(t, a, f); len(list) != 1 {
				t.Errorf("%+v: %+v", f, list)
			}
		}
		c.advance(time.Hour)
		done, err := a.Restore(ctx, "", item.ID)
		if err != nil || len(done) != 1 || done[0] != (store.Restored{ID: item.ID, Email: was.Email, Mailbox: "INBOX", UID: 4}) {
			t.Fatalf("%+v, %v", done, err)
		}
		if c := m.Poll(true); !c.Exists || m.View().Len() != 3 {
			t.Fatal(c)
		}
		is := *m.View().At(3)
		if is.Email != was.Email || is.Thread != was.Thread || is.InternalDate != was.InternalDate || is.Zone != was.Zone || is.Size != was.Size || is.Flags != was.Flags || is.Saved != c.now().Unix() {
			t.Fatalf("%+v, and was %+v", is, was)
		}
		if names := (is.Flags &^ mail.SystemFlags).AppendNames(nil, m.Record().Keywords); !slices.Equal(names, []string{"$Work", "later"}) {
			t.Fatal(names)
		}
		if a.Usage() != before || a.Kept() != (store.Kept{}) {
			t.Fatal(a.Usage(), before, a.Kept())
		}
		if again, err := a.Restore(ctx, "", item.ID); err != nil || len(again) > 0 {
			t.Fatal(again, err)
		}
		if n, err := a.Forget(ctx, item.ID); err != nil || n > 0 {
			t.Fatal(n, err)
		}
		for _, bad := range []store.RecoverableID{"", "x", "1-2-3-4", item.ID + "0000000000", "00000000-0000000000000000-0000-0", "../../-0000000000000000-0000-1"} {
			_, err := a.Restore(ctx, "", bad)
			kind(t, err, mail.KindBadArgument)
		}
		if found := damages(t, s, a.ID()); len(found) > 0 {
			t.Fatal(found)
		}
	})
}

// TestWaysToDelete: whatever takes a message out of an account leaves it recoverable; what
// only goes to another mailbox does not.
func TestWaysToDelete(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a, c := openKeeping(t, e)
		id, err := s.CreateAccount(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		other := account(t, s, id)
		if _, _, err := other.Own().SetGrant(ctx, "INBOX", store.GrantSet, mail.Grant{Grantee: mail.Grantee{Account: a.ID()}, Rights: mail.AllRights}); err != nil {
			t.Fatal(err)
		}
		guest := other.Visit(mail.Person{Account: a.ID()})
		if _, err := a.CreateMailbox(ctx, "Old/Letters", ""); err != nil {
			t.Fatal(err)
		}
		for box, n := range map[string]int{"INBOX": 8, "Old/Letters": 3} {
			put(t, s, a, box, n, 0, box)
		}
		in := sel(t, a, "INBOX")
		if err := second(in.Move(byCarol(), mail.UIDSet(1), "Archive")); err != nil {
			t.Fatal(err)
		}
		if err := a.RenameMailbox(byCarol(), "Archive", "Attic"); err != nil {
			t.Fatal(err)
		}
		if list := recoverable(t, a, store.RecoverableFilter{}); len(list) > 0 {
			t.Fatal(list)
		}
		for _, err := range []error{
			func() error { _, _, err := in.Remove(byCarol(), mail.UIDSet(2)); return err }(),
			second(in.Replace(byCarol(), 3, a.Own(), "INBOX", store.Arrival{Prepared: s.Prepare([]byte("Subject: new\r\n\r\n"))})),
			second(in.Replace(byCarol(), 4, guest, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("Subject: new\r\n\r\n"))})),
			second(in.MoveTo(byCarol(), mail.UIDSet(5), guest, "INBOX")),
			a.DeleteMailbox(byCarol(), "Old/Letters"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		gone(t, in, 6)
		list := recoverable(t, a, store.RecoverableFilter{})
		var found []string
		for _, item := range list {
			found = append(found, fmt.Sprintf("%s %d", item.Folder, item.UID))
			if item.By != carol {
				t.Errorf("%s %d went by %+v", item.Folder, item.UID, item.By)
			}
		}
		slices.Sort(found)
		if want := "INBOX 2,INBOX 3,INBOX 4,INBOX 5,INBOX 6,Old/Letters 1,Old/Letters 2,Old/Letters 3"; strings.Join(found, ",") != want {
			t.Fatal(found)
		}
		if list := recoverable(t, other, store.RecoverableFilter{}); len(list) > 0 {
			t.Fatal(list)
		}
		// Of another account no id leads anywhere.
		if done, err := other.Restore(ctx, "", idsOf(list)...); err != nil || len(done) > 0 {
			t.Fatal(done, err)
		}
		if n, err := other.Forget(ctx, idsOf(list)...); err != nil || n > 0 {
			t.Fatal(n, err)
		}
		// What was in a folder that is gone goes to Recovered, or into a new one of its name.
		if err := a.RenameMailbox(ctx, "INBOX", "Before"); err != nil {
			t.Fatal(err)
		}
		letters := recoverable(t, a, store.RecoverableFilter{Folder: "Old/Letters"})
		if done, err := a.Restore(ctx, "", letters[0].ID); err != nil || len(done) != 1 || done[0].Mailbox != store.RecoveredMailbox {
			t.Fatal(done, err)
		}
		if _, err := a.CreateMailbox(ctx, "Old/Letters", ""); err != nil {
			t.Fatal(err)
		}
		if done, err := a.Restore(ctx, "", letters[1].ID); err != nil || len(done) != 1 || done[0].Mailbox != "Old/Letters" {
			t.Fatal(done, err)
		}
		if done, err := a.Restore(ctx, "Back/Here", letters[2].ID, list[0].ID); err != nil || len(done) != 2 || done[0].Mailbox != "Back/Here" || done[1].Mailbox != "Back/Here" {
			t.Fatal(done, err)
		}
		if !slices.Contains(a.Subscriptions(), "Back/Here") {
			t.Error(a.Subscriptions())
		}
		// A folder is followed by whatever name.
		if err := a.DeleteMailbox(ctx, "Attic"); err != nil {
			t.Fatal(err)
		}
		put(t, s, a, "Sent", 1, 0)
		gone(t, sel(t, a, "Sent"), 1)
		if err := a.RenameMailbox(ctx, "Sent", "Sent before"); err != nil {
			t.Fatal(err)
		}
		sent := recoverable(t, a, store.RecoverableFilter{Folder: "Sent"})
		if done, err := a.Restore(ctx, "", idsOf(sent)...); err != nil || len(done) != 1 || done[0].Mailbox != "Sent before" {
			t.Fatal(done, err)
		}
		for _, x := range []*store.Account{a, other} {
			if found := damages(t, s, x.ID()); len(found) > 0 {
				t.Fatal(found)
			}
		}
		// All of it goes with the account.
		id = a.ID()
		if err := s.RemoveAccount(ctx, id); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"recoverable", "recoverablesince"} {
			if left, err := s.Records(ctx, kind, ""); err != nil || len(left) > 0 {
				t.Fatal(left, err)
			}
		}
		c.advance(30 * day)
		c.sweep(t, s)
	})
}

// held is how many emails an engine keeps of an account.
func held(t *testing.T, e store.Engine, a *store.Account) int {
	t.Helper()
	refs, err := e.References(ctx, a.ID())
	if err != nil {
		t.Fatal(err)
	}
	return len(refs)
}

// TestRetention: when its time is up a message goes for good, with its content; what came
// later stays. No client is told, and no mailbox changes by it.
func TestRetention(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a, c := openKeeping(t, e)
		put(t, s, a, "INBOX", 1000, 0)
		m := sel(t, a, "INBOX")
		var first []mail.UID
		for uid := range mail.UID(700) {
			first = append(first, uid+1)
		}
		gone(t, m, first...)
		c.advance(5 * time.Hour)
		gone(t, m, 701)
		c.advance(day)
		gone(t, m, 702, 703)
		m.Poll(true)
		before, _ := a.Mailbox("INBOX")
		list := recoverable(t, a, store.RecoverableFilter{})
		if len(list) != 703 || held(t, e, a) != 1000 {
			t.Fatal(len(list), held(t, e, a))
		}
		if some, more, err := a.Recoverable(ctx, store.RecoverableFilter{Most: 5}); err != nil || !more || len(some) != 5 || some[0].UID != 703 || some[4].UID != 699 {
			t.Fatal(some, more, err)
		}
		c.sweep(t, s)
		c.advance(13*day - 6*time.Hour)
		c.sweep(t, s)
		if n := len(recoverable(t, a, store.RecoverableFilter{})); n != 703 {
			t.Fatal(n)
		}
		c.advance(time.Hour)
		// Their time is up, whether they were forgotten or not.
		if n := len(recoverable(t, a, store.RecoverableFilter{})); n != 3 {
			t.Fatal(n)
		}
		if done, err := a.Restore(ctx, "", list[702].ID, list[2].ID); err != nil || len(done) != 1 || done[0].ID != list[2].ID {
			t.Fatal(done, err)
		}
		c.advance(time.Hour)
		c.sweep(t, s)
		if k := a.Kept(); k.Messages != 2 || held(t, e, a) != 300 {
			t.Fatal(k, held(t, e, a))
		}
		if found := damages(t, s, a.ID()); len(found) > 0 {
			t.Fatal(found)
		}
		c.advance(30 * day)
		c.sweep(t, s)
		if k := a.Kept(); k != (store.Kept{}) || held(t, e, a) != 298 {
			t.Fatal(k, held(t, e, a))
		}
		for _, kind := range []string{"recoverable", "recoverablesince"} {
			if left, err := s.Records(ctx, kind, ""); err != nil || len(left) > 0 {
				t.Fatal(left, err)
			}
		}
		if after, _ := a.Mailbox("INBOX"); after.UIDNext != before.UIDNext+1 || after.Messages != before.Messages+1 || after.UIDValidity != before.UIDValidity {
			t.Fatal(before, after)
		}
		if found := damages(t, s, a.ID()); len(found) > 0 {
			t.Fatal(found)
		}
	})
}

// TestRecoverableQuota: the oldest go first when there is too much, and an account may have
// other bounds than the store.
func TestRecoverableQuota(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a, c := openKeeping(t, e)
		arrived := put(t, s, a, "INBOX", 60, 0)
		m := sel(t, a, "INBOX")
		size := int64(m.View().At(60).Size)
		s.SetRecovery(store.Recovery{Retention: 14 * day})
		s.SetRecovery(store.Recovery{Retention: 14 * day, Quota: 20 * size})
		for _, uid := range arrived.UIDs[:20] {
			gone(t, m, uid)
			c.advance(time.Minute)
		}
		c.sweep(t, s)
		if n := a.Kept().Messages; n < 20 {
			t.Fatal(n)
		}
		c.advance(3 * time.Hour)
		for _, uid := range arrived.UIDs[20:30] {
			gone(t, m, uid)
			c.advance(time.Hour)
		}
		// Whoever looks first: the goroutine that was told of it, or this.
		for until := time.Now().Add(30 * time.Second); a.Kept().Bytes > 20*size && time.Now().Before(until); {
			c.sweep(t, s)
			time.Sleep(time.Millisecond)
		}
		list := recoverable(t, a, store.RecoverableFilter{})
		if n := len(list); n < 15 || n > 20 || list[0].UID != 30 || list[n-1].UID != mail.UID(31-n) {
			t.Fatal(n, list[0].UID, list[n-1].UID)
		}
		// Bounds of its own.
		for _, x := range []struct {
			own  store.Keep
			want int64
		}{{store.Keep{Quota: -1}, 10}, {store.Keep{Quota: 5 * size}, 5}, {store.Keep{Retention: int64(2 * time.Hour / time.Second), Quota: -1}, 2}, {store.Keep{Retention: -1}, 0}} {
			if err := a.SetKeep(ctx, x.own); err != nil {
				t.Fatal(err)
			}
			for until := time.Now().Add(30 * time.Second); a.Kept().Messages > x.want && x.want < 10 && time.Now().Before(until); {
				c.sweep(t, s)
				time.Sleep(time.Millisecond)
			}
			if k := a.Kept(); k.Own != x.own || x.want < 10 && k.Messages > x.want || x.want == 10 && k.Messages < 10 {
				t.Fatalf("%+v: %+v", x, k)
			}
		}
		before := held(t, e, a)
		gone(t, m, arrived.UIDs[40])
		if a.Kept().Messages != 0 || held(t, e, a) != before-1 {
			t.Fatal(a.Kept(), held(t, e, a), before)
		}
		_, err := a.Restore(ctx, "", list[0].ID)
		if err != nil || a.SetKeep(ctx, store.Keep{Retention: -2}) == nil {
			t.Fatal(err)
		}
		if found := damages(t, s, a.ID()); len(found) > 0 {
			t.Fatal(found)
		}
		// What does not fit into the account stays recoverable.
		if err := a.SetKeep(ctx, store.Keep{}); err != nil {
			t.Fatal(err)
		}
		gone(t, m, arrived.UIDs[41], arrived.UIDs[42])
		if err := a.SetQuota(ctx, a.Usage().Bytes+size, 0); err != nil {
			t.Fatal(err)
		}
		ids := idsOf(recoverable(t, a, store.RecoverableFilter{}))
		done, err := a.Restore(ctx, "", ids...)
		kind(t, err, mail.KindOverQuota)
		if len(done) > 0 || a.Kept().Messages != 2 {
			t.Fatal(done, a.Kept())
		}
		if done, err := a.Restore(ctx, "", ids[0]); err != nil || len(done) != 1 {
			t.Fatal(done, err)
		}
	})
}

// TestRestoreAtOnce: what several administrators, on several servers, restore and purge at
// once is dealt with once.
func TestRestoreAtOnce(t *testing.T) {
	e := memory.New()
	s, a, c := openKeeping(t, e)
	put(t, s, a, "INBOX", 600, 0)
	m := sel(t, a, "INBOX")
	if _, _, err := m.Remove(byCarol(), all()); err != nil {
		t.Fatal(err)
	}
	ids := idsOf(recoverable(t, a, store.RecoverableFilter{}))
	second, err := store.Open(e.Server(), store.Options{Recovery: store.Recovery{Retention: 14 * day}, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	accounts := []*store.Account{a, account(t, second, a.ID()), a, account(t, second, a.ID())}
	var mu sync.Mutex
	times := map[store.RecoverableID]int{}
	forgotten := 0
	var work sync.WaitGroup
	for i, x := range accounts {
		work.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			mine := slices.Clone(ids)
			r.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			if i == 3 {
				mine = mine[:100]
			}
			for some := range slices.Chunk(mine, 1+r.IntN(90)) {
				if i == 3 {
					n, err := x.Forget(ctx, some...)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					forgotten += n
					mu.Unlock()
					continue
				}
				done, err := x.Restore(ctx, "", some...)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, d := range done {
					times[d.ID]++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was brought back %d times", id, n)
		}
	}
	put(t, s, a, "INBOX", 1, 0) // which looks at what the other server did
	if len(times)+forgotten != 600 || a.Kept().Messages != 0 {
		t.Fatal(len(times), forgotten, a.Kept())
	}
	m.Poll(true)
	if m.View().Len() != len(times)+1 {
		t.Fatal(m.View().Len(), len(times))
	}
	if found := damages(t, s, a.ID()); len(found) > 0 {
		t.Fatal(found)
	}
}

// TestRecoverableFailing plays random operations while calls of the engine fail, before or
// after they worked: every message is in a mailbox or recoverable, once, unless somebody
// purged it.
func TestRecoverableFailing(t *testing.T) {
	checked := 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		trouble := false
		plan := storetest.Randomly(seed, 0.1, storetest.Before, storetest.After, storetest.Conflict)
		below := memory.New()
		s, a, c := openKeeping(t, storetest.NewFailing(below, func(c storetest.Call) storetest.Fault {
			if !trouble {
				return storetest.Works
			}
			return plan(c)
		}))
		emails := map[mail.EmailID]bool{}
		for _, id := range put(t, s, a, "INBOX", 40, 0, "a", "b").Emails {
			emails[id] = true
		}
		in, archive := sel(t, a, "INBOX"), sel(t, a, "Archive")
		trouble = true
		forget := map[mail.EmailID]bool{} // may be gone
		for range 200 {
			m := []*store.Mailbox{in, archive}[r.IntN(2)]
			m.Poll(true)
			var uids []mail.UID
			m.View().EachSeq(m.View().All(), func(_ uint32, x *store.Message) bool {
				if r.IntN(6) == 0 {
					uids = append(uids, x.UID)
				}
				return true
			})
			list, _, err := a.Recoverable(ctx, store.RecoverableFilter{})
			if err != nil {
				continue
			}
			var some []store.RecoverableItem
			for _, item := range list {
				if r.IntN(3) == 0 {
					some = append(some, item)
				}
			}
			switch r.IntN(8) {
			case 0, 1, 2:
				m.Remove(byCarol(), mail.UIDSet(uids...))
			case 3, 4:
				a.Restore(ctx, []string{"", "Archive"}[r.IntN(2)], idsOf(some)...)
			case 5:
				m.Move(ctx, mail.UIDSet(uids...), []string{"INBOX", "Archive"}[r.IntN(2)])
			case 6:
				some = some[:min(len(some), 1)]
				for _, item := range some {
					forget[item.Email] = true
				}
				a.Forget(ctx, idsOf(some)...)
			case 7:
				c.advance(time.Hour)
				s.Sweep(ctx)
			}
		}
		trouble = false
		put(t, s, a, "INBOX", 1, 0)
		fresh, err := store.Open(below.Server(), store.Options{Recovery: store.Recovery{Retention: 14 * day}, Clock: c.now})
		if err != nil {
			t.Fatal(err)
		}
		truth := account(t, fresh, a.ID())
		if a.Usage() != truth.Usage() || a.Kept() != truth.Kept() {
			t.Fatal(a.Usage(), truth.Usage(), a.Kept(), truth.Kept())
		}
		if found := damages(t, fresh, a.ID()); len(found) > 0 {
			t.Fatal(seed, found)
		}
		times := map[mail.EmailID]int{}
		for _, box := range []string{"INBOX", "Archive"} {
			m := sel(t, truth, box)
			m.View().EachSeq(m.View().All(), func(_ uint32, x *store.Message) bool { times[x.Email]++; return true })
		}
		for _, item := range recoverable(t, truth, store.RecoverableFilter{}) {
			times[item.Email]++
		}
		for id := range emails {
			checked++
			if n := times[id]; n != 1 && !(n == 0 && forget[id]) {
				t.Errorf("seed %d: email %v is there %d times", seed, id, n)
			}
		}
	}
	t.Logf("prove: messages expunged and brought back while calls fail: %d", checked)
}

// TestRepairRecoverable damages what is kept of expunged messages, and mends it.
func TestRepairRecoverable(t *testing.T) {
	e := newSpoiling()
	s, a, _ := openKeeping(t, e)
	put(t, s, a, "INBOX", 9, 0)
	m := sel(t, a, "INBOX")
	for uid := range mail.UID(6) {
		gone(t, m, uid+1)
	}
	list := recoverable(t, a, store.RecoverableFilter{})
	e.content["summary"] = map[mail.EmailID]bool{list[0].Email: true}
	if found := damages(t, s, a.ID()); !slices.Equal(found, []string{"Summary INBOX 6"}) {
		t.Fatal(found)
	}
	if done, err := s.Repair(ctx, a.ID(), nil); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	// A record that cannot be read, and one that is missing with its count.
	records, err := s.Records(ctx, "recoverable", "")
	if err != nil || len(records) != 6 {
		t.Fatal(records, err)
	}
	if err := s.PutRecords(ctx, []store.Record{
		{Kind: "recoverable", Key: records[1].Key, Value: records[1].Value[:20], Revision: records[1].Revision},
		{Kind: "recoverable", Key: records[2].Key, Revision: records[2].Revision},
	}); err != nil {
		t.Fatal(err)
	}
	if found := damages(t, s, a.ID()); !slices.Equal(found, []string{"Recoverable  0"}) {
		t.Fatal(found)
	}
	if n := len(recoverable(t, a, store.RecoverableFilter{})); n != 4 {
		t.Fatal(n)
	}
	done, err := s.Repair(ctx, a.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range done {
		t.Logf("%s %s %d lost=%v: %s", r.Part, r.Mailbox, r.UID, r.Lost, r.Detail)
	}
	if found := damages(t, s, a.ID()); len(found) > 0 {
		t.Fatal(found)
	}
	if k, r := a.Kept(), sel(t, a, store.RecoveredMailbox); k.Messages != 4 || r.View().Len() != 2 {
		t.Fatal(k, r.View().Len())
	}
	// One whose content cannot be read is named, and goes with the time.
	list = recoverable(t, a, store.RecoverableFilter{})
	e.bodies[list[0].Email] = true
	if found := damages(t, s, a.ID()); !slices.Equal(found, []string{"Body INBOX 6"}) {
		t.Fatal(found)
	}
	if _, err := s.Repair(ctx, a.ID(), nil); err != nil || a.Kept().Messages != 4 {
		t.Fatal(a.Kept(), err)
	}
}

// TestClockOfRecoverable: a clock that was ahead when a message went keeps it longer, and
// never less than its time.
func TestClockOfRecoverable(t *testing.T) {
	s, a, c := openKeeping(t, memory.New())
	put(t, s, a, "INBOX", 4, 0)
	m := sel(t, a, "INBOX")
	c.advance(20 * day)
	gone(t, m, 1)
	c.advance(-20 * day)
	gone(t, m, 2)
	c.advance(14*day + time.Hour)
	c.sweep(t, s)
	if list := recoverable(t, a, store.RecoverableFilter{}); len(list) != 1 || list[0].UID != 1 {
		t.Fatal(list)
	}
	gone(t, m, 3)
	c.advance(20 * day)
	c.sweep(t, s)
	if list := recoverable(t, a, store.RecoverableFilter{}); len(list) != 0 || a.Kept() != (store.Kept{}) {
		t.Fatal(list, a.Kept())
	}
	if found := damages(t, s, a.ID()); len(found) > 0 {
		t.Fatal(found)
	}
}
