package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

// TestProof: the last change before a rest is not lost in silence either.
func TestProof(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 5))
	disk := vfs.NewCrashableMem()
	opt := small(disk)
	opt.MemTableBytes = 64 << 20 // one file of the log
	e := open(t, "store", opt)
	h := &history{ledger: storetest.NewLedger(1)}
	for range 5 {
		b := h.ledger.Random(r)
		h.batches = append(h.batches, b)
		storetest.Commit(t, e, b)
	}
	e.ahead.prove()
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	log := named(t, after, "store", logSuffix)[0]
	whole := readFile(t, after, log)
	starts := recordsOf(whole)
	for range 30 {
		from, to := starts[len(starts)-2], starts[len(starts)-1]
		copied := after.CrashClone(vfs.CrashCloneCfg{})
		b := bytes.Clone(whole)
		b[from+r.IntN(to-from)] ^= 1 << r.IntN(8)
		writeFile(t, copied, log, b)
		_, err := Open("store", small(copied))
		refused(t, err, mail.KindCorrupt, "store", "log")
	}
	e = open(t, "store", small(after))
	h.check(t, e, len(h.batches))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// recordsOf gives where the records of a file of the log begin.
func recordsOf(b []byte) (starts []int) {
	for at := 0; at+recordHead <= len(b) && !bytes.Equal(b[at:at+recordHead], make([]byte, recordHead)); {
		starts = append(starts, at)
		at += recordHead + int(binary.BigEndian.Uint32(b[at+4:]))
	}
	return starts
}

// item is what can be read of an account one by one, or why not.
type item struct {
	value string
	err   error
}

// items reads all that there is of accounts, whatever fails.
func items(e store.Engine, states map[mail.AccountID]store.AccountState) map[string]item {
	ctx := context.Background()
	all := map[string]item{}
	put := func(value any, err error, format string, args ...any) {
		all[fmt.Sprintf(format, args...)] = item{fmt.Sprint(value), err}
	}
	ids, err := e.Accounts(ctx)
	put(ids, err, "accounts")
	records, err := e.Records(ctx, "kind", "")
	put(records, err, "records")
	for id, was := range states {
		s, err := e.Account(ctx, id)
		put(s, err, "account %v", id)
		for _, m := range was.Mailboxes {
			list, err := e.Messages(ctx, id, m.ID, 0)
			put(list, err, "messages of %v in %v", m.ID, id)
			gone, complete, err := e.Vanished(ctx, id, m.ID, 0)
			put(fmt.Sprint(gone, complete), err, "vanished of %v in %v", m.ID, id)
		}
		for m := mail.EmailID(1); m < was.Account.NextEmail; m++ {
			for name, read := range map[string]func(context.Context, mail.AccountID, []mail.EmailID, func(int, []byte) error) error{"summary": e.Summaries, "text": e.Texts, "filter": e.Filters} {
				var v []byte
				err := read(ctx, id, []mail.EmailID{m}, func(_ int, b []byte) error {
					v = bytes.Clone(b)
					return nil
				})
				put(fmt.Sprintf("%q", v), err, "%s %v in %v", name, m, id)
			}
			body, err := wholeBody(e, id, m)
			put(body, err, "body %v in %v", m, id)
		}
	}
	return all
}

func wholeBody(e store.Engine, id mail.AccountID, m mail.EmailID) (string, error) {
	b, err := e.Body(context.Background(), id, m)
	if err != nil {
		return "", err
	}
	defer b.Close()
	p := make([]byte, b.Size())
	if n, err := b.ReadAt(p, 0); n < len(p) {
		return "", err
	}
	return string(p), nil
}

// variety makes a store with every kind of file, whose log is not all in tables, as it is
// when the power was cut.
func variety(t *testing.T) (fs *vfs.MemFS, states map[mail.AccountID]store.AccountState) {
	fs = vfs.NewCrashableMem()
	opt := small(fs)
	opt.fileFrom, opt.MemTableBytes, opt.fileSize = 8000, 1<<20, 64<<10
	e := open(t, "store", opt)
	states = map[mail.AccountID]store.AccountState{}
	deliver := func(l *storetest.Ledger, box mail.MailboxID, sizes ...int) {
		for _, n := range sizes {
			l.Deliver(box, n)
			storetest.Commit(t, e, l.Batch())
		}
	}
	var ledgers []*storetest.Ledger
	for id := range mail.AccountID(4) {
		l := storetest.NewLedger(id + 1)
		box := l.Mailbox("INBOX")
		l.Mailbox("Sent")
		deliver(l, box, 100, 2000, 9000, 12_000, 3000, 70_000, 5000, 1200)
		ledgers = append(ledgers, l)
	}
	if err := e.PutRecords(t.Context(), []store.Record{{Kind: "kind", Key: "a", Value: []byte("value")}}); err != nil {
		t.Fatal(err)
	}
	e.bodyFiles.packAfter = 1
	if err := errors.Join(e.bodyFiles.reclaim(t.Context(), 0), e.db.Flush()); err != nil {
		t.Fatal(err)
	}
	e.bodyFiles.packAfter = forever
	for _, l := range ledgers {
		box := l.Mailboxes()[0]
		deliver(l, box, 50, 10_000, 1500)
		l.Expunge(box, l.UIDs(box)[0])
		storetest.Commit(t, e, l.Batch())
	}
	e.ahead.prove()
	for _, l := range ledgers {
		s, err := e.Account(t.Context(), l.Head.ID)
		if err != nil {
			t.Fatal(err)
		}
		states[l.Head.ID] = s
	}
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return after, states
}

// kindOf says of which kind a file of the folder is.
func kindOf(name string) string {
	base := path.Base(name)
	for _, kind := range []string{"MANIFEST", "OPTIONS", "marker", "LOCK", pidName} {
		if strings.HasPrefix(base, kind) {
			return kind
		}
	}
	return path.Ext(base)
}

// TestDamage flips bits, overwrites parts and cuts off ends of every kind of file of a
// store: it is not opened and says which file, or what is read is what was written or
// KindCorrupt; nothing panics and nobody gets another's mail.
// POSTERN_DAMAGES says how often for each file, POSTERN_DAMAGE_TIME for how many seconds at most.
func TestDamage(t *testing.T) {
	times := amount(t, "POSTERN_DAMAGES", 16)
	clock, seed := clockOf(t, "POSTERN_DAMAGE_TIME"), storetest.Seed(t)
	fs, states := variety(t)
	opt := func(fs vfs.FS) Options {
		opt := small(fs)
		opt.fileFrom = 8000
		return opt
	}
	clone := func() *vfs.MemFS { return fs.CrashClone(vfs.CrashCloneCfg{}) }
	e := open(t, "store", opt(clone()))
	truth := items(e, states)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for k, x := range truth {
		if x.err != nil && mail.KindOf(x.err) != mail.KindExpunged {
			t.Fatal(k, x.err)
		}
	}
	var files []string
	for _, dir := range []string{"store", "store/bodies"} {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := fs.Stat(dir + "/" + name); err == nil && !info.IsDir() && info.Size() > 0 {
				files = append(files, dir+"/"+name)
			}
		}
	}
	type tally struct{ tried, refused, hit, unharmed, items, lost int }
	tallies := map[string]*tally{} // by the kind of file
	wholes := map[string][]byte{}
	for _, name := range files {
		tallies[kindOf(name)], wholes[name] = &tally{}, readFile(t, fs, name)
	}
	var mu sync.Mutex
	harm := func(name string, r *rand.Rand) {
		whole, count := wholes[name], tally{}
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			sum := tallies[kindOf(name)]
			*sum = tally{sum.tried + count.tried, sum.refused + count.refused, sum.hit + count.hit, sum.unharmed + count.unharmed, sum.items + count.items, sum.lost + count.lost}
		}()
		b := bytes.Clone(whole)
		what, end := "", len(b)
		how := r.IntN(4)
		if kindOf(name) == logSuffix {
			// What is cut off from the end of the log, and not only overwritten, is as
			// after a power cut: nothing knows of it.
			starts := recordsOf(whole)
			end, how = starts[len(starts)-1], r.IntN(3)
		}
		switch at := r.IntN(end); how {
		case 0, 1:
			b[at] ^= 1 << r.IntN(8)
			what = fmt.Sprintf("a bit of byte %d of %s", at, name)
		case 2:
			n := min(end-at, 1+r.IntN(600))
			for i := range n {
				b[at+i] = byte(r.Uint32())
			}
			what = fmt.Sprintf("%d bytes from %d of %s", n, at, name)
		default:
			b = b[:at]
			what = fmt.Sprintf("%s cut off at %d", name, at)
		}
		disk := clone()
		if err := disk.Remove(name); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		writeFile(t, disk, name, b)
		count.tried++
		e, err := Open("store", opt(disk))
		if err != nil {
			count.refused++
			if k := mail.KindOf(err); k != mail.KindCorrupt && k != mail.KindUnavailable || !strings.Contains(mail.TextOf(err), "store") || strings.Contains(mail.TextOf(err), "\n") {
				t.Errorf("%s: Open: %v", what, err)
			}
			return
		}
		bad := 0
		for k, x := range items(e, states) {
			want := truth[k]
			switch {
			case x.err == nil && want.err == nil && x.value == want.value:
			case x.err != nil && want.err != nil && mail.KindOf(x.err) == mail.KindOf(want.err):
			case x.err != nil && mail.KindOf(x.err) == mail.KindCorrupt:
				bad++
			default:
				t.Errorf("%s: %s is %.100q, %v; not %.100q, %v", what, k, x.value, x.err, want.value, want.err)
			}
		}
		count.items += len(truth)
		count.lost += bad
		if bad > 0 {
			count.hit++
		} else {
			count.unharmed++
		}
		if err := e.Close(); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
	}
	var work sync.WaitGroup
	var begun, rounds atomic.Int64
	for i := range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, 13+uint64(i)))
			for n := begun.Add(1); n <= int64(times) && !clock.over(); n = begun.Add(1) {
				for _, name := range files {
					// Each block that is damaged costs seconds there: Pebble looks for the bit.
					if k := kindOf(name); n%8 != 1 && (k == ".sst" || k == blobSuffix) {
						continue
					}
					harm(name, r)
				}
				rounds.Add(1)
			}
		})
	}
	work.Wait()
	all, found := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(tallies)) {
		c := tallies[kind]
		all, found = all+c.tried, found+c.refused+c.hit
		share := 0.0
		if c.hit > 0 {
			share = 100 * float64(c.lost) / float64(c.hit*len(truth))
		}
		t.Logf("%-9s %4d damages: %4d not opened, %4d found when read (then %.1f %% could not be read), %4d without harm", kind, c.tried, c.refused, c.hit, share, c.unharmed)
	}
	t.Logf("prove: rounds of damage to every file: %d", rounds.Load())
	t.Logf("prove: files damaged: %d", all)
	t.Logf("prove: damages found and named: %d", found)
}

// TestFolderFull fills the disk while sessions are open: changes are refused and say why,
// everything is read, by new sessions too, nothing is seen that was not acknowledged, and
// when there is room it goes on by itself.
func TestFolderFull(t *testing.T) { folderFails(t, true) }

// TestFolderFailed: after an error of the disk the same holds, but it is not written to
// again before the folder is opened again.
func TestFolderFailed(t *testing.T) { folderFails(t, false) }

func folderFails(t *testing.T, full bool) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 21))
		disk := vfs.NewMem()
		var failing error
		left := 0
		g := &gate{FS: disk, before: func(what, name string, n int) (int, error) {
			if failing == nil {
				return 0, nil
			}
			if left--; left >= 0 {
				return 0, nil
			}
			return n / 2, failing
		}}
		fail := func(err error, after int) {
			g.mu.Lock()
			defer g.mu.Unlock()
			failing, left = err, after
		}
		opt := small(g)
		opt.MemTableBytes = 64 << 10
		f, err := OpenFolder("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(f, store.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.CreateAccount(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Account(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		told := map[mail.UID]string{} // what clients know
		n := 0
		add := func() error {
			n++
			text := fmt.Sprintf("Message-ID: <%d@x>\r\nSubject: %d\r\n\r\n%s", n, n, strings.Repeat("text ", r.IntN(100)))
			out, err := a.Append(t.Context(), store.Inbox, store.Arrival{Prepared: s.Prepare([]byte(text))})
			if err == nil {
				if told[out.UIDs[0]] != "" {
					t.Fatalf("UID %d was given twice", out.UIDs[0])
				}
				told[out.UIDs[0]] = text
			}
			return err
		}
		for range 10 {
			if err := add(); err != nil {
				t.Fatal(err)
			}
		}
		check := func() {
			t.Helper()
			m, err := a.Select(t.Context(), store.Inbox, false)
			// The store hears of it in a moment.
			for deadline := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				m, err = a.Select(t.Context(), store.Inbox, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			list := m.View()
			if list.Len() < len(told) {
				t.Fatalf("%d messages of %d", list.Len(), len(told))
			}
			list.EachSeq(list.All(), func(_ uint32, x *store.Message) bool {
				b, err := wholeBody(f, id, x.Email)
				if err != nil {
					t.Fatal(err)
				}
				if want := told[x.UID]; want == "" {
					told[x.UID] = b // it was under way, and is there: clients see it now
				} else if b != want {
					t.Fatalf("UID %d is %q, not %q", x.UID, b, want)
				}
				return true
			})
		}
		cause := error(errors.New("input/output error"))
		kind := mail.KindUnavailable
		if full {
			cause, kind = errNoSpace, mail.KindNoSpace
		}
		held, err := f.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fail(cause, r.IntN(6))
		var refusal error
		for i := 0; refusal == nil && i < 20; i++ {
			refusal = add()
		}
		if refusal == nil || mail.KindOf(refusal) != kind {
			t.Fatalf("%v, not %v", refusal, kind)
		}
		for range 3 {
			check()
			if err := add(); err == nil || mail.KindOf(err) != kind {
				t.Fatalf("%v, not %v", err, kind)
			}
		}
		fail(nil, 0)
		if full {
			for deadline := time.Now().Add(60 * time.Second); add() != nil; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it does not go on when there is room")
				}
			}
			check()
			if err := add(); err != nil {
				t.Fatal(err)
			}
		} else {
			time.Sleep(20 * time.Millisecond)
			if err := add(); err == nil {
				t.Fatal("it went on after the disk had lost something")
			}
		}
		// A checkpoint of the engine before stays whole, and there is no other meanwhile.
		if _, err := f.Checkpoint(t.Context()); mail.KindOf(err) != mail.KindInUse {
			t.Fatal(err)
		}
		copied(t, held)
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		if full {
			if held, err = f.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			copied(t, held)
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
		}
		a.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// On a full disk it is opened to be read.
		fail(errNoSpace, 0)
		f, err = OpenFolder("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = store.Open(f, store.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		if a, err = s.Account(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		check()
		if err := add(); err == nil || mail.KindOf(err) != mail.KindNoSpace {
			t.Fatal(err)
		}
		fail(nil, 0)
		for deadline := time.Now().Add(60 * time.Second); add() != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it does not go on when there is room")
			}
		}
		check()
		a.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// errNoSpace is what a full disk says.
var errNoSpace error = syscall.ENOSPC

// TestWrittenAgain: a key that could not be read is read again when it was written anew.
func TestWrittenAgain(t *testing.T) {
	e := open(t, "store", small(vfs.NewMem()))
	defer e.Close()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	var ids []mail.EmailID
	for range 3 {
		_, id := l.Deliver(m, 20)
		ids = append(ids, id)
	}
	storetest.Commit(t, e, l.Batch())
	for _, id := range ids {
		e.spoiled.add(contentKey(zoneSummaries, 1, id), errors.New("a damaged block"), e.spoiled.writes.Load())
	}
	summary := func(id mail.EmailID) (got string, err error) {
		err = e.Summaries(context.Background(), 1, []mail.EmailID{id}, func(_ int, b []byte) error {
			got = string(b)
			return nil
		})
		return got, err
	}
	before := e.spoiled.writes.Load()
	b := l.Batch()
	b.Rewritten = []store.Email{{ID: ids[1], Summary: []byte("new")}}
	storetest.Commit(t, e, b)
	if _, err := summary(ids[0]); err == nil {
		t.Error("what is damaged was read")
	}
	if got, err := summary(ids[1]); err != nil || got != "new" {
		t.Errorf("%q, %v", got, err)
	}
	e.spoiled.add(contentKey(zoneSummaries, 1, ids[1]), errors.New("read before"), before)
	if got, err := summary(ids[1]); err != nil || got != "new" {
		t.Errorf("%q, %v", got, err)
	}
	storetest.Commit(t, e, &store.Batch{Remove: true, Expect: l.Head.ModSeq, Account: store.AccountRecord{ID: 1, ModSeq: l.Head.ModSeq + 1}})
	if got, err := summary(ids[0]); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}
