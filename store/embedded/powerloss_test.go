package embedded

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// amount gives how much of something a test does: usual, less with -short, or what the
// environment's variable says.
func amount(t testing.TB, variable string, usual int) int {
	if s := os.Getenv(variable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q", variable, s)
		}
		return n
	}
	if testing.Short() {
		return usual / 10
	}
	return usual
}

// digest is of all that an engine has of an account.
func digest(e store.Engine, id mail.AccountID) ([32]byte, error) {
	all, err := storetest.Everything(e, id)
	if err != nil {
		return [32]byte{}, err
	}
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(h, "%s=%v\n", k, all[k])
	}
	return [32]byte(h.Sum(nil)), nil
}

// clock tells, by a variable of the environment in seconds, when a long form that is done in
// parts (test/prove) has done its part. The zero value has no end.
type clock struct{ end time.Time }

func clockOf(t testing.TB, variable string) clock {
	if os.Getenv(variable) == "" {
		return clock{}
	}
	return clock{time.Now().Add(time.Duration(amount(t, variable, 0)) * time.Second)}
}

func (c clock) over() bool { return !c.end.IsZero() && time.Now().After(c.end) }

// trace is what happens to one account.
type trace struct {
	id     mail.AccountID
	ledger *storetest.Ledger
	acked  atomic.Int64

	mu      sync.Mutex
	batches []*store.Batch
	model   *memory.Engine // has the first at of them
	at      int64
	digests map[int64][32]byte // of the account after so many changes, of those that were asked for
}

func newTrace(id mail.AccountID) *trace {
	return &trace{id: id, ledger: storetest.NewLedger(id), model: memory.New(), digests: map[int64][32]byte{}}
}

// next makes the next change. It is one that was made when it is given.
func (x *trace) next(r *rand.Rand) *store.Batch {
	b := smallChange(x.ledger, r)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.batches = append(x.batches, b)
	return b
}

// made is how many changes were made.
func (x *trace) made() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return int64(len(x.batches))
}

// after gives the digest of the account after n of the changes that were made.
func (x *trace) after(n int64) ([32]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d, ok := x.digests[n]; ok {
		return d, nil
	}
	if n < x.at {
		x.model, x.at = memory.New(), 0
	}
	for {
		// Who asks for one asks for those around it, too.
		if n-x.at < 8 {
			d, err := digest(x.model, x.id)
			if err != nil {
				return d, err
			}
			x.digests[x.at] = d
		}
		if x.at == n {
			return x.digests[n], nil
		}
		wait, err := x.model.Commit(context.Background(), x.batches[x.at])
		if err == nil {
			err = wait()
		}
		if err != nil {
			return [32]byte{}, err
		}
		x.at++
	}
}

// smallChange is some of everything, so that an account stays small and a thousand changes
// are seen in a second.
func smallChange(l *storetest.Ledger, r *rand.Rand) *store.Batch {
	boxes := l.Mailboxes()
	if len(boxes) == 0 {
		l.Mailbox("INBOX")
		l.Mailbox("Sent")
		return l.Batch()
	}
	m := boxes[r.IntN(len(boxes))]
	uids := l.UIDs(m)
	one := func() mail.UID { return uids[r.IntN(len(uids))] }
	sizes := []int{0, 1, 90, 99, 150, 700, 4100, 20_000}
	switch n := r.IntN(20); {
	case len(uids) > 8 || n < 4 && len(uids) > 1:
		some := uids[:1+r.IntN(len(uids)/2+1)]
		if r.IntN(2) == 0 {
			l.Keep(m, some...)
		} else {
			l.Expunge(m, some...)
		}
	case n == 4:
		l.Forget()
	case n < 7 && len(uids) > 0:
		l.Flag(m, one(), mail.Flags(r.Uint64()))
	case n < 9 && len(uids) > 0 && len(boxes) > 1:
		l.Copy(m, one(), boxes[(slices.Index(boxes, m)+1)%len(boxes)])
	case n == 9 && len(boxes) < 4:
		l.Mailbox(fmt.Sprintf("Box/%d", l.Head.NextMailbox))
	case n == 10 && len(boxes) > 2:
		l.Delete(m)
	case n == 11:
		l.Subscribe(fmt.Sprint("Name ", r.IntN(3)), r.IntN(2) == 0)
	case n == 12:
		for range 4 {
			l.Deliver(m, r.IntN(120))
		}
	default:
		l.Deliver(m, sizes[r.IntN(len(sizes))])
	}
	return l.Batch()
}

// cut is the disk after the power was cut, and what was acknowledged before.
type cut struct {
	fs     *vfs.MemFS
	where  string
	acked  []int64
	record int64
	again  bool // also while it is opened
}

// powerLoss plays a trace and cuts the power in many ways at its changes of the disk.
type powerLoss struct {
	t       *testing.T
	seed    uint64
	fs      *vfs.MemFS
	traces  []*trace
	records atomic.Int64 // acknowledged
	every   float64      // states for each change of the disk
	clock   clock

	r       *rand.Rand // under gate.mu
	due     float64
	changes int64
	cuts    chan cut

	states, different, failures atomic.Int64

	mu    sync.Mutex
	known map[uint64]*look // by what the disk holds
}

// look is what a disk was found to have when a store was opened on it.
type look struct {
	done    chan struct{} // closed when the rest is known
	whole   bool          // all could be read, and is as it was after so many changes
	changes []int64       // of each account
	record  int64         // revision; 0 is none
}

func (p *powerLoss) options(fs vfs.FS) Options {
	opt := small(fs)
	opt.MemTableBytes, opt.fileSize = 64<<10, 16<<10
	return opt
}

// before cuts the power before a change of the disk.
func (p *powerLoss) before(what, name string, _ int) (int, error) {
	p.changes++
	if p.clock.over() {
		return 0, nil
	}
	for p.due += p.every; p.due >= 1; p.due-- {
		c := cut{where: fmt.Sprintf("before %s %s, the %dth change of the disk", what, name, p.changes), record: p.records.Load(), again: p.r.IntN(8) == 0}
		for _, x := range p.traces {
			c.acked = append(c.acked, x.acked.Load())
		}
		c.fs = p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.r.IntN(5) * 25, RNG: p.r})
		p.cuts <- c
	}
	return 0, nil
}

// play changes accounts and records, all at once, operations times in all.
func (p *powerLoss) play(seed uint64, operations int) {
	g := &gate{FS: p.fs, before: p.before}
	e := open(p.t, "store", p.options(g))
	var work sync.WaitGroup
	each := operations / (len(p.traces) + 1)
	for i, x := range p.traces {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range each {
				storetest.Commit(p.t, e, x.next(r))
				x.acked.Add(1)
			}
		})
	}
	work.Go(func() {
		for n := range uint64(each) {
			if err := e.PutRecords(context.Background(), []store.Record{{Kind: "power", Key: "n", Value: strconv.AppendUint(nil, n+1, 10), Revision: n}}); err != nil {
				p.t.Error(err)
				return
			}
			p.records.Add(1)
		}
	})
	work.Wait()
	if err := e.Close(); err != nil {
		p.t.Error(err)
	}
}

// fail notes what is wrong.
func (p *powerLoss) fail(c cut, format string, args ...any) {
	if p.failures.Add(1) <= 5 {
		p.t.Errorf("trace %d, power cut "+c.where+": "+format, append([]any{p.seed}, args...)...)
	}
}

// check looks at what the power left. Most changes of the disk leave few ways in which it can
// be cut, so many disks hold what another one held: that is opened and read once, and asked
// again only whether it has what was acknowledged since. One of eight is opened each time.
func (p *powerLoss) check(c cut) {
	p.states.Add(1)
	key := contentOf(c.fs)
	p.mu.Lock()
	l, known := p.known[key]
	if !known {
		l = &look{done: make(chan struct{})}
		p.known[key] = l
		p.different.Add(1)
	}
	p.mu.Unlock()
	var inner []cut
	switch {
	case !known:
		inner = p.read(c, l)
		close(l.done)
	case c.again:
		l = &look{}
		inner = p.read(c, l)
	default:
		if <-l.done; !l.whole {
			p.fail(c, "its disk is one that was wrong before")
		}
	}
	for _, d := range inner {
		p.check(d)
	}
	if !l.whole {
		return
	}
	for i, x := range p.traces {
		if n := l.changes[i]; n < c.acked[i] {
			p.fail(c, "account %v has %d changes; %d were acknowledged", x.id, n, c.acked[i])
		}
	}
	if l.record < c.record {
		p.fail(c, "a record is at revision %d, and was written %d times", l.record, c.record)
	}
}

// read opens a store after the power was cut and reads all of it. It gives what is left where
// the power was cut again meanwhile.
func (p *powerLoss) read(c cut, l *look) (inner []cut) {
	var fs vfs.FS = c.fs
	if c.again {
		r := rand.New(rand.NewPCG(p.seed+uint64(p.states.Load()), 3))
		left := r.IntN(12)
		fs = &gate{FS: c.fs, before: func(what, name string, _ int) (int, error) {
			if left--; left == 0 {
				d := c
				d.again, d.where = false, c.where+", and again when it was opened, before "+what+" "+name
				d.fs = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(3) * 50, RNG: r})
				inner = append(inner, d)
			}
			return 0, nil
		}}
	}
	e, err := Open("store", p.options(fs))
	if err != nil {
		// Before the store was made there is nothing, and it is made anew.
		p.fail(c, "it does not open: %v", err)
		return inner
	}
	l.whole = true
	wrong := func(format string, args ...any) {
		l.whole = false
		p.fail(c, format, args...)
	}
	defer func() {
		if err := e.Close(); err != nil {
			wrong("closing: %v", err)
		}
	}()
	for _, x := range p.traces {
		n := int64(0)
		a, err := e.Account(context.Background(), x.id)
		if err == nil {
			n = int64(a.Account.ModSeq)
		} else if mail.KindOf(err) != mail.KindNotFound {
			wrong("%v", err)
		}
		l.changes = append(l.changes, n)
		if made := x.made(); n > made {
			wrong("account %v has %d changes, of %d that were made", x.id, n, made)
			continue
		}
		have, err := digest(e, x.id)
		if err != nil {
			wrong("%v", err)
			continue
		}
		want, err := x.after(n)
		if err != nil {
			wrong("%v", err)
		} else if have != want {
			wrong("account %v is not what it was after %d changes", x.id, n)
		}
	}
	list, err := e.Records(context.Background(), "power", "n")
	switch {
	case err != nil:
		wrong("records: %v", err)
	case len(list) == 1:
		if l.record = int64(list[0].Revision); string(list[0].Value) != strconv.FormatInt(l.record, 10) {
			wrong("a record is %q at revision %d", list[0].Value, l.record)
		}
	}
	return inner
}

// contentSeed is of contentOf.
var contentSeed = maphash.MakeSeed()

// contentOf gives a number of all names and bytes that a disk holds.
func contentOf(fs *vfs.MemFS) uint64 {
	var h maphash.Hash
	h.SetSeed(contentSeed)
	var add func(dir string)
	add = func(dir string) {
		names, err := fs.List(dir)
		if err != nil {
			panic(err) // it is in memory
		}
		slices.Sort(names)
		for _, name := range names {
			path := fs.PathJoin(dir, name)
			h.WriteString(path)
			if info, err := fs.Stat(path); err == nil && info.IsDir() {
				h.WriteString("/")
				add(path)
				continue
			}
			content, err := fs.UnsafeGetFileDataBuffer(path)
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(&h, " %d ", len(content))
			h.Write(content)
		}
	}
	add("/")
	return h.Sum64()
}

// TestPowerLoss cuts the power before every change of the disk of a thousand operations,
// in many ways: of what was not synced nothing, some or all is there, block by block and
// name by name. Then the store opens, has what was acknowledged, once, perhaps what was
// under way, and nothing else; each message reads as it was written. POSTERN_CRASH_STATES
// says how many states there are in all: those of many such traces, some at each change, and
// POSTERN_CRASH_TIME for how many seconds at most.
func TestPowerLoss(t *testing.T) {
	states := amount(t, "POSTERN_CRASH_STATES", 2000)
	clock := clockOf(t, "POSTERN_CRASH_TIME")
	seed := storetest.Seed(t)
	const operations, most = 1000, 8 // states at a change: more of one trace would be the same
	run := func(n uint64, every float64) *powerLoss {
		p := &powerLoss{t: t, seed: seed + n, fs: vfs.NewCrashableMem(), every: every, clock: clock, r: rand.New(rand.NewPCG(seed+n, 77)), cuts: make(chan cut, 16), known: map[uint64]*look{}}
		for id := range 3 {
			p.traces = append(p.traces, newTrace(mail.AccountID(id+1)))
		}
		var work sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			work.Go(func() {
				for c := range p.cuts {
					p.check(c)
				}
			})
		}
		p.play(p.seed, operations)
		close(p.cuts)
		work.Wait()
		return p
	}
	changes := run(0, 0).changes
	traces := max(1, (int64(states)+most*changes-1)/(most*changes))
	tried, different, cutAt := int64(0), int64(0), int64(0)
	for n := range traces {
		if t.Failed() || clock.over() {
			break
		}
		p := run(uint64(n), float64(states)/float64(traces*changes))
		tried, different, cutAt = tried+p.states.Load(), different+p.different.Load(), cutAt+p.changes
	}
	t.Logf("%d states after the power was cut at %d changes of the disk, of %d operations each time", tried, cutAt, operations)
	t.Logf("prove: states after a power cut: %d", tried)
	t.Logf("prove: states of them that differ from each other: %d", different)
	if tried < int64(states)*2/3 && !clock.over() {
		t.Errorf("only %d states", tried)
	}
}

// TestPowerLossOpening cuts the power at each change of the disk while a folder is made and
// while one that was closed is opened, in many ways: it opens afterwards, and has its mail.
func TestPowerLossOpening(t *testing.T) {
	ways := amount(t, "POSTERN_CRASH_WAYS", 20)
	r := rand.New(rand.NewPCG(storetest.Seed(t), 78))
	fs := vfs.NewCrashableMem()
	states := 0
	for round := range 3 {
		var cuts []cut
		g := &gate{FS: fs, before: func(what, name string, _ int) (int, error) {
			for range ways {
				cuts = append(cuts, cut{where: what + " " + name, fs: fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(5) * 25, RNG: r})})
			}
			return 0, nil
		}}
		e := open(t, "store", small(g))
		g.mu.Lock()
		g.before = func(string, string, int) (int, error) { return 0, nil }
		g.mu.Unlock()
		if round == 0 {
			l := storetest.NewLedger(1)
			l.Mailbox("INBOX")
			storetest.Commit(t, e, l.Batch())
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range cuts {
			states++
			e, err := Open("store", small(c.fs))
			if err != nil {
				t.Errorf("round %d, before %s: %v", round, c.where, err)
				continue
			}
			if _, err := e.Account(context.Background(), 1); (err == nil) != (round > 0) {
				t.Errorf("round %d, before %s: %v", round, c.where, err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("prove: states after a power cut: %d", states)
}
