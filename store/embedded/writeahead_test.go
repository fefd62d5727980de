package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

// named gives the names in a folder that end in suffix.
func named(t testing.TB, fs vfs.FS, dir, suffix string) (out []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			out = append(out, dir+"/"+name)
		}
	}
	return out
}

// life is a history whose end can be forgotten: each change comes from a seed of its own.
type life struct {
	history
	seed  uint64
	seeds []uint64
	next  uint64
}

func (l *life) change() *store.Batch {
	l.next++
	return l.do(l.next)
}

func (l *life) do(seed uint64) *store.Batch {
	b := l.ledger.Random(rand.New(rand.NewPCG(l.seed, seed)))
	l.batches, l.seeds = append(l.batches, b), append(l.seeds, seed)
	return b
}

// forget goes back to the first n changes.
func (l *life) forget(n int) {
	seeds := l.seeds[:n]
	l.ledger, l.batches, l.seeds = storetest.NewLedger(1), nil, nil
	for _, seed := range seeds {
		l.do(seed)
	}
}

// TestCrashAgain cuts the power again and again, also when what was cut off before was
// just taken in, and goes on each time.
func TestCrashAgain(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 7))
	fs := vfs.NewCrashableMem()
	l := &life{seed: seed, history: history{ledger: storetest.NewLedger(1)}}
	cut := func(e *Engine) *vfs.MemFS {
		fs := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(3) * 50, RNG: r})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	for range 25 {
		opt := small(fs)
		opt.MemTableBytes = uint64(64<<10) << r.IntN(4)
		e := open(t, "store", opt)
		for range r.IntN(12) {
			wait, err := e.Commit(context.Background(), l.change())
			if err != nil {
				t.Fatal(err)
			}
			if r.IntN(3) == 0 {
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				l.acked = len(l.batches)
			}
		}
		fs = cut(e)
		e = open(t, "store", small(fs))
		l.check(t, e, l.acked)
		n := 0
		if a, err := e.Account(context.Background(), 1); err == nil {
			n = int(a.Account.ModSeq)
		}
		l.forget(n)
		l.acked = n
		fs = cut(e)
	}
	t.Logf("%d changes, %d of them stayed", l.next, len(l.batches))
}

// TestLogFiles: a store that is written to for long has few files of its log, and when it
// was closed one, with a record that changes nothing.
func TestLogFiles(t *testing.T) {
	fs := vfs.NewMem()
	opt := small(fs)
	opt.MemTableBytes = 128 << 10
	e := open(t, "store", inPebble(opt))
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	for range 400 {
		l.Deliver(m, 10_000)
		storetest.Commit(t, e, l.Batch())
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		names, err := e.ahead.files()
		if err != nil || len(names) == 0 || time.Now().After(deadline) {
			t.Fatal(names, err)
		}
		if last := names[len(names)-1]; last < 20 {
			t.Fatal("the log had only", last, "files")
		}
		if len(names) <= 1+maxSpare {
			break
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names := append(named(t, fs, "store", logSuffix), named(t, fs, "store", pebbleLog)...)
	if len(names) != 1 || len(recordsOf(readFile(t, fs, names[0]))) == 0 {
		t.Fatal(names)
	}
}

// TestDamagedLog flips a bit in the log of a store that was not closed: it is found,
// or what is behind it had not to be there.
func TestDamagedLog(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 5))
	disk := vfs.NewCrashableMem()
	opt := small(disk)
	opt.MemTableBytes = 64 << 20
	e := open(t, "store", opt)
	h := &history{ledger: storetest.NewLedger(1)}
	const n = 12
	for range n {
		b := h.ledger.Random(r)
		h.batches = append(h.batches, b)
		storetest.Commit(t, e, b)
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names := named(t, after, "store", logSuffix)
	if len(names) != 1 {
		t.Fatal(names)
	}
	whole := readFile(t, after, names[0])
	found, cut := 0, 0
	for range 60 {
		copied := after.CrashClone(vfs.CrashCloneCfg{})
		b := append([]byte(nil), whole...)
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		writeFile(t, copied, names[0], b)
		opt := small(copied)
		e, err := Open("store", opt)
		if err != nil {
			refused(t, err, mail.KindCorrupt, "store", "log")
			found++
			continue
		}
		h.check(t, e, n-1)
		if a, err := e.Account(context.Background(), 1); err != nil || int(a.Account.ModSeq) < n {
			cut++
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d damages of 60 found, %d cut the last change off", found, cut)
	if found == 0 {
		t.Fatal("none was found")
	}
	// The file itself is gone, but not the one after it.
	gap := after.CrashClone(vfs.CrashCloneCfg{})
	e = open(t, "store", small(gap))
	b := h.ledger.Random(r)
	storetest.Commit(t, e, b)
	gap2 := gap.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// It may have been used again already.
	if err := gap2.Remove(names[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if e, err := Open("store", small(gap2)); err == nil {
		// Its changes had come into tables.
		h.batches = append(h.batches, b)
		h.check(t, e, n+1)
		e.Close()
	} else {
		refused(t, err, mail.KindCorrupt, "store", "log")
	}
}

// TestPebblesLog opens a store of format 4 that was not closed: what stands in Pebble's
// log alone is there, and the log is not.
func TestPebblesLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	e := open(t, "store", small(fs))
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 100)
	storetest.Commit(t, e, l.Batch())
	o := e.pebbleOptions(small(fs))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range named(t, fs, "store", logSuffix) { // there was none then
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	e.disk.logless = false
	o.Lock, o.Cache, o.DisableWAL, o.MemTableSize = nil, nil, false, 1<<20
	o.Experimental.CompactionScheduler = newScheduler()
	db, err := pebble.Open("store", o)
	if err != nil {
		t.Fatal(err)
	}
	l.Head.QuotaBytes = 4711
	l.Head.ModSeq++
	for k, v := range map[string][]byte{string(formatKey): []byte("Postern 4"), string(headKey(1)): appendHead(nil, &l.Head)} {
		if err := db.Set([]byte(k), v, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Delete(numberKey, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	old := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if len(named(t, old, "store", pebbleLog)) == 0 {
		t.Fatal("Pebble has no log")
	}
	for range 2 {
		e := open(t, "store", small(old))
		a, err := e.Account(context.Background(), 1)
		if err != nil || a.Account.QuotaBytes != 4711 {
			t.Fatal(a.Account, err)
		}
		if names := named(t, old, "store", pebbleLog); len(names) > 0 {
			t.Fatal(names)
		}
		old = old.CrashClone(vfs.CrashCloneCfg{})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// unmasked makes e write its log as format 5 did.
func unmasked(t *testing.T, e *Engine) {
	t.Helper()
	if err := errors.Join(e.db.Set(formatKey, []byte("Postern 5"), pebble.NoSync), e.db.Delete(maskKey, pebble.NoSync), e.db.Flush()); err != nil {
		t.Fatal(err)
	}
	e.ahead.mask = [16]byte{}
}

// TestUnmaskedLog opens a store of format 5 that was not closed, and cuts the power again.
func TestUnmaskedLog(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 9))
	fs := vfs.NewCrashableMem()
	e := open(t, "store", small(fs))
	unmasked(t, e)
	h := &history{ledger: storetest.NewLedger(1)}
	for range 5 {
		for range 8 {
			b := h.ledger.Random(r)
			h.batches = append(h.batches, b)
			storetest.Commit(t, e, b)
		}
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(3) * 50, RNG: r})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		fs = after
		e = open(t, "store", small(fs))
		if e.ahead.mask == [16]byte{} {
			t.Fatal("the log is not masked")
		}
		h.check(t, e, len(h.batches))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestForgedRecord: a message that holds a record of the log is not taken for one when
// the record that holds it was cut off.
func TestForgedRecord(t *testing.T) {
	disk := vfs.NewCrashableMem()
	opt := inPebble(small(disk))
	e := open(t, "store", opt)
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 10)
	storetest.Commit(t, e, l.Batch())
	log := named(t, disk, "store", logSuffix)[0]
	acked := len(bytes.TrimRight(readFile(t, disk, log), "\x00"))

	var forger writeAhead // who sends it knows no mask
	forger.durable.Store(1 << 30)
	forger.push(1<<31, make([]byte, 100), false)
	l.Deliver(m, 10)
	b := l.Batch()
	b.Emails[0].Body = append(bytes.Repeat([]byte("Hello.\r\n"), 1000), forger.pending...)
	storetest.Commit(t, e, b)
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, after, log)
	clear(whole[acked : acked+64]) // as if this had not come to the disk any more
	writeFile(t, after, log, whole)
	e = open(t, "store", inPebble(small(after)))
	if list, err := e.Messages(context.Background(), 1, m, 0); err != nil || len(list) != 1 {
		t.Fatal(len(list), err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// FuzzLog replays anything as a file of the log. Applied is what a plain reading of the
// format gives, or the log is damaged. With sign the checksums are made right first.
func FuzzLog(f *testing.F) {
	var l writeAhead
	for i, size := range []int{12, 13, 100, 40, 12} {
		l.push(uint64(i+1), bytes.Repeat([]byte{byte(i)}, size), false)
		l.durable.Store(uint64(i))
	}
	log := bytes.Clone(l.pending)
	for _, sign := range []bool{false, true} {
		f.Add(log, uint8(0), sign)
		f.Add(log, uint8(3), sign)
		f.Add(append(bytes.Clone(log), make([]byte, 50)...), uint8(0), sign)
		f.Add(log[:len(log)-1], uint8(5), sign)
		f.Add(log[len(log)-4*recordHead:], uint8(0), sign)
		f.Add(slices.Concat(log[:100], make([]byte, 30), log[30:]), uint8(1), sign)
		f.Add(make([]byte, 100), uint8(0), sign)
	}
	f.Fuzz(func(t *testing.T, log []byte, before uint8, sign bool) {
		if len(log) > 16<<10 {
			return
		}
		var want [][]byte // from the beginning of the file
		first, last, at := uint64(0), uint64(0), 0
		for at+recordHead <= len(log) {
			length := int(binary.BigEndian.Uint32(log[at+4:]))
			number := binary.BigEndian.Uint64(log[at+8:])
			if length > len(log)-at-recordHead {
				break
			}
			sum := crc32.Checksum(log[at+4:at+recordHead+length], castagnoli)
			if sign {
				binary.BigEndian.PutUint32(log[at:], sum)
			}
			if length < 12 || binary.BigEndian.Uint64(log[at+16:]) >= number || number > uint64(before)+uint64(len(want))+1<<32 || last != 0 && number != last+1 || binary.BigEndian.Uint32(log[at:]) != sum {
				break
			}
			if last = number; first == 0 {
				first = number
			}
			want = append(want, log[at+recordHead:at+recordHead+length])
			at += recordHead + length
		}
		fs := vfs.NewMem()
		writeFile(t, fs, "000001"+logSuffix, log)
		l := writeAhead{engine: &Engine{disk: newDisk(fs, func(error) {})}, number: uint64(before)}
		var applied [][]byte
		records, _, err := l.replay(1, func(batch []byte) error {
			applied = append(applied, batch)
			return nil
		})
		if err != nil {
			if mail.KindOf(err) != mail.KindCorrupt {
				t.Fatal(err)
			}
			return
		}
		if records != len(want) {
			t.Fatalf("%d records are read, and %d are there", records, len(want))
		}
		if known := uint64(before) + 1; len(want) > 0 && first <= known {
			want = want[min(known-first, uint64(len(want))):]
		}
		if !slices.EqualFunc(applied, want, bytes.Equal) {
			t.Fatalf("applied are %x, and to apply were %x", applied, want)
		}
		if l.number != uint64(before)+uint64(len(want)) {
			t.Fatalf("after %d changes behind %d it is %d", len(want), before, l.number)
		}
	})
}

// TestDamageBeforeTables damages what of the log is in tables already: what is behind it
// and not in tables is not lost in silence, and nothing is said when all is there.
func TestDamageBeforeTables(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 11))
	for _, behind := range []int{0, 1} {
		disk := vfs.NewCrashableMem()
		opt := small(disk)
		opt.MemTableBytes = 64 << 20
		e := open(t, "store", opt)
		h := &history{ledger: storetest.NewLedger(1)}
		change := func(n int) {
			for range n {
				b := h.ledger.Random(r)
				h.batches = append(h.batches, b)
				storetest.Commit(t, e, b)
			}
		}
		change(6)
		if err := e.db.Flush(); err != nil {
			t.Fatal(err)
		}
		change(behind)
		after := disk.CrashClone(vfs.CrashCloneCfg{})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		log := named(t, after, "store", logSuffix)[0]
		whole := readFile(t, after, log)
		starts := []int{0}
		for range 2 {
			at := starts[len(starts)-1]
			starts = append(starts, at+recordHead+int(binary.BigEndian.Uint32(whole[at+4:])))
		}
		for _, at := range starts {
			copied := after.CrashClone(vfs.CrashCloneCfg{})
			b := bytes.Clone(whole)
			b[at] ^= 1
			writeFile(t, copied, log, b)
			e, err := Open("store", small(copied))
			if behind > 0 {
				refused(t, err, mail.KindCorrupt, "store", "log")
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			h.check(t, e, len(h.batches))
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNeeded: of the log's files those are left out whose changes are all in tables. One
// that still begins with what it held before says nothing of those before it.
func TestNeeded(t *testing.T) {
	mem := vfs.NewMem()
	e := &Engine{dir: "log", disk: newDisk(mem, func(error) {})}
	if err := mem.MkdirAll(e.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := &e.ahead
	l.engine, l.next = e, newGroup()
	copy(l.mask[:], "as good as any ")
	// 0 is a file whose first record is not whole.
	write := func(firsts ...uint64) (names []uint64) {
		for i, first := range firsts {
			name := uint64(i + 1)
			l.pending = nil
			l.push(max(1, first), make([]byte, 20), false)
			if first == 0 {
				l.pending[recordHead] ^= 1
			}
			f, err := mem.Create(l.path(name), vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(l.pending)
			f.Close()
			names = append(names, name)
		}
		return names
	}
	for _, c := range []struct {
		firsts []uint64
		tables uint64 // up to which change they are
		want   uint64 // the first file that is needed
	}{
		{[]uint64{1}, 0, 1},
		{[]uint64{1, 10, 20}, 9, 2},
		{[]uint64{1, 10, 20}, 8, 1},
		{[]uint64{1, 10, 20}, 18, 2},
		{[]uint64{1, 10, 20}, 19, 3},
		{[]uint64{1, 10, 20}, 500, 3},
		{[]uint64{1, 10, 0}, 50, 2},   // nothing is in it yet
		{[]uint64{0, 10, 20}, 50, 1},  // damaged: let replay see it
		{[]uint64{30, 40, 5}, 60, 2},  // it was used before
		{[]uint64{30, 40, 40}, 60, 2}, // cannot be
		{[]uint64{100, 200}, 3, 1},    // the tables have lost their end
	} {
		l.number = c.tables
		got, err := l.needed(write(c.firsts...))
		if err != nil || len(got) == 0 || got[0] != c.want || len(got) != len(c.firsts)-int(c.want)+1 {
			t.Errorf("%v, tables up to %d: %v, %v", c.firsts, c.tables, got, err)
		}
	}
	if got, err := l.needed(nil); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
}

// TestCommon: every record that may stand behind the last one begins so.
func TestCommon(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 9))
	var l writeAhead
	for range 10_000 {
		for i := range l.mask {
			l.mask[i] = byte(r.Uint32())
		}
		l.number = r.Uint64() >> (8 + r.IntN(56))
		last := r.Uint64N(l.number + 1)
		common := l.common(last)
		for _, number := range []uint64{last + 1, l.number, l.number + 1, l.number + maxAhead, last + 1 + r.Uint64N(l.number+maxAhead-last)} {
			if number <= last {
				continue
			}
			var head [recordHead]byte
			binary.BigEndian.PutUint32(head[4:], 12)
			binary.BigEndian.PutUint64(head[8:], number^binary.BigEndian.Uint64(l.mask[:]))
			binary.BigEndian.PutUint64(head[16:], (number-1)^binary.BigEndian.Uint64(l.mask[8:]))
			if _, _, ok := l.parseHead(head[:], 1000); !ok {
				t.Fatalf("%d behind %d is no record", number, last)
			}
			if !bytes.HasPrefix(head[numberAt:], common) {
				t.Fatalf("%d behind %d, tables up to %d: %x is not found in %x", number, last, l.number, common, head)
			}
		}
	}
	l.number = 1 << 30
	if n := len(l.common(5)); n < 3 {
		t.Errorf("only %d bytes are common", n)
	}
}
