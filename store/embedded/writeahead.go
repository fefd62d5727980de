package embedded

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The write-ahead log is ours, and Pebble's is off: Pebble has its log written by a
// goroutine of its own, and each change then pays for being handed there and back
// (docs/decisions/embedded.md). Here whoever waits for its change first writes for all
// who have come meanwhile.
//
// A change is a record: a Pebble batch with a number, one more than that of the change
// before. The batch itself sets numberKey to that number, so Pebble's tables always
// say up to which change they are: opening replays the records behind it, and nothing
// twice. What Pebble has in tables may be ahead of the log, never the other way round.
//
// A file of the log is given back when all its changes are in tables, and used again, but
// never before a later record is durable, also when the store is closed: so the log always
// knows up to which change the tables must be, and a list of tables (Pebble's manifest)
// that lost its end is found out.
//
//	record = checksum(4) length(4) number(8) durable(8) batch
//
// checksum is of all that follows; durable is up to which change all was durable when
// the record was made. So a damage is told from an end: behind a damaged record none
// is whole that knows it durable, unless the disk lost it. The last change before a rest
// is followed by one that does nothing but know it durable (prove): only what was written
// within proveAfter of a power cut is known by nothing behind it.
//
// number and durable are masked with what nobody outside knows. A message stands in the
// log as it was sent, and one that holds a record would otherwise be taken for one where
// a file that was used before, or a record that was cut off, is looked through.
const (
	logSuffix  = ".journal"
	recordHead = 4 + 4 + 8 + 8
	numberAt   = 4 + 4
	// maxAhead bounds how many changes the log may be ahead of the tables.
	maxAhead = 1 << 32
	// maxPending bounds what nobody waits for, and the memory that is kept, in bytes.
	maxPending = 1 << 20
	// maxSpare files are kept to be used again.
	maxSpare = 2
	// proveAfter is how long nothing is written before the last change is proved.
	proveAfter = time.Second
	// nodeBytes is about what an entry takes in a memtable besides key and value.
	nodeBytes = 64
)

// writeAhead is the log of a data folder.
type writeAhead struct {
	engine *Engine
	upTo   uint64 // as of Options
	most   int    // bytes in Pebble's memory of the changes of one file, about
	mask   [16]byte

	// order is held while a change gets its number and becomes visible.
	order  sync.Mutex
	number uint64 // of the last change
	weight int    // of the changes since the last file was full

	durable atomic.Uint64 // the change up to which all are

	mu      sync.Mutex
	pending []byte // records that are not written yet
	unused  []byte // memory for the next pending
	last    uint64 // number of the last record in pending
	full    bool   // the file is to be changed for another
	next    *group // who waits for pending
	writing bool
	spare   []uint64 // files to use again

	// Only who writes touches these.
	file vfs.File
	name uint64 // of file

	old  chan retired
	stop chan struct{}
	done chan struct{} // nil until started
}

// group are those whose changes are written together.
type group struct {
	waiting int           // guarded by writeAhead.mu
	over    bool          // guarded by writeAhead.mu
	lead    chan struct{} // has a token for the one who is to write
	done    chan struct{} // closed when it is written
}

func newGroup() *group { return &group{lead: make(chan struct{}, 1), done: make(chan struct{})} }

// retired are files that are not needed when flushed is closed; nil is closed. last is
// the last change in them.
type retired struct {
	files   []uint64
	last    uint64
	flushed <-chan struct{}
}

var (
	numberKey = []byte{zoneFormat, 'n'}
	maskKey   = []byte{zoneFormat, 'm'} // before format 6 there was none, and nothing masked
)

func (l *writeAhead) path(name uint64) string {
	return l.engine.disk.PathJoin(l.engine.dir, fmt.Sprintf("%06d%s", name, logSuffix))
}

// add makes batch visible and gives it its place in the log. The group is who waits
// with it.
func (l *writeAhead) add(batch *pebble.Batch) (*group, error) {
	op := batch.SetDeferred(len(numberKey), 8)
	copy(op.Key, numberKey)
	if err := op.Finish(); err != nil {
		return nil, err
	}
	l.order.Lock()
	defer l.order.Unlock()
	l.number++
	repr := batch.Repr()
	binary.BigEndian.PutUint64(repr[len(repr)-8:], l.number)
	l.weight += len(repr) + nodeBytes*int(batch.Count())
	full := l.weight >= l.most
	if full {
		l.weight = 0
	}
	// A large batch's memory is Pebble's after Apply.
	g := l.push(l.number, repr, full)
	return g, l.engine.guard(func() error { return l.engine.db.Apply(batch, pebble.NoSync) })
}

// push makes a record of what is to be written.
func (l *writeAhead) push(number uint64, repr []byte, full bool) *group {
	var head [recordHead]byte
	binary.BigEndian.PutUint32(head[4:], uint32(len(repr)))
	binary.BigEndian.PutUint64(head[8:], number)
	binary.BigEndian.PutUint64(head[16:], l.durable.Load())
	subtle.XORBytes(head[8:], head[8:], l.mask[:])
	sum := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, repr)
	binary.BigEndian.PutUint32(head[:], sum)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(append(l.pending, head[:]...), repr...)
	l.last = number
	l.full = l.full || full
	return l.next
}

// crowded tells that much is pending.
func (l *writeAhead) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) > maxPending
}

// wait returns when the changes of g are durable, or the disk is broken.
func (l *writeAhead) wait(g *group) {
	l.mu.Lock()
	if g.over {
		l.mu.Unlock()
		return
	}
	lead := !l.writing
	if lead {
		l.writing = true
	} else {
		g.waiting++
	}
	l.mu.Unlock()
	if !lead {
		select {
		case <-g.done:
			return
		case <-g.lead:
		}
	}
	l.write()
}

// write writes what is pending; the caller has made writing true, or was handed it.
func (l *writeAhead) write() {
	l.mu.Lock()
	g, out, last, full := l.next, l.pending, l.last, l.full
	l.next, l.pending, l.unused, l.full = newGroup(), l.unused[:0], nil, false
	l.mu.Unlock()
	written := false
	defer func() {
		if !written { // a panic: what is written is not known
			l.engine.disk.freeze(errors.New("the log broke down"))
		}
		l.mu.Lock()
		if cap(out) <= 2*maxPending {
			l.unused = out[:0]
		}
		g.over = true
		if l.next.waiting > 0 {
			l.next.lead <- struct{}{}
		} else {
			l.writing = false
		}
		l.mu.Unlock()
		close(g.done)
	}()
	// The disk keeps errors to itself, and is asked by those who wait.
	l.file.Write(out)
	l.file.SyncData()
	if l.engine.disk.broken() == nil {
		l.durable.Store(last)
	}
	if full {
		l.change(last)
	}
	written = true
}

// change goes on in another file, and has Pebble write tables of what is in this one, up
// to last.
func (l *writeAhead) change(last uint64) {
	before := l.name
	l.file.Close()
	l.create()
	l.order.Lock()
	flushed, err := l.flush()
	l.order.Unlock()
	if err == nil {
		l.old <- retired{[]uint64{before}, last, flushed}
	}
}

// flush has Pebble write all that is visible into tables; order is held.
func (l *writeAhead) flush() (flushed <-chan struct{}, err error) {
	err = l.engine.guard(func() error {
		flushed, err = l.engine.db.AsyncFlush()
		return err
	})
	return flushed, err
}

// create opens the next file. Its name is durable when it returns.
func (l *writeAhead) create() {
	l.name++
	name := l.path(l.name)
	l.mu.Lock()
	again := uint64(0)
	if n := len(l.spare); n > 0 {
		again, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	l.mu.Unlock()
	d := l.engine.disk
	// The disk gives a file that keeps nothing when it is broken.
	if again != 0 {
		l.file, _ = d.ReuseForWrite(l.path(again), name, vfs.WriteCategoryUnspecified)
	} else {
		l.file, _ = d.Create(name, vfs.WriteCategoryUnspecified)
	}
	if err := syncFolder(d, l.engine.dir); err != nil {
		d.freeze(err)
	}
}

// run gives files back when they are not needed any more.
func (l *writeAhead) run() {
	defer close(l.done)
	tick := time.NewTicker(proveAfter)
	defer tick.Stop()
	seen, proved := uint64(0), l.durable.Load()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			n := l.durable.Load()
			if n == seen && n != proved {
				l.prove()
				n = l.durable.Load()
				proved = n
			}
			seen = n
		case r := <-l.old:
			if r.flushed != nil {
				select {
				case <-l.stop:
					return
				case <-r.flushed:
				}
			}
			if len(r.files) > 0 && l.durable.Load() <= r.last {
				l.prove() // or nothing would be left that knows of what was in them
			}
			for _, name := range r.files {
				l.giveBack(name)
			}
		}
	}
}

// prove makes a change that changes nothing: its record knows that all before it was
// durable.
func (l *writeAhead) prove() {
	if l.engine.refused() == nil {
		if wait, err := l.engine.apply(l.engine.db.NewBatch()); err == nil {
			wait() // the disk tells others if it failed
		}
	}
}

func (l *writeAhead) giveBack(name uint64) {
	l.mu.Lock()
	keep := len(l.spare) < maxSpare
	if keep {
		l.spare = append(l.spare, name)
	}
	l.mu.Unlock()
	if !keep {
		l.engine.disk.Remove(l.path(name))
	}
}

// open replays what the tables have not, and begins a new file.
func (l *writeAhead) open(e *Engine, memTable, upTo uint64) error {
	l.engine, l.most, l.next, l.upTo = e, int(memTable/8*7), newGroup(), upTo
	if _, err := e.get(numberKey, func(v []byte) error {
		if len(v) != 8 {
			return damaged("the number of the last change")
		}
		l.number = binary.BigEndian.Uint64(v)
		return nil
	}); err != nil {
		return err
	}
	masked, err := e.get(maskKey, func(v []byte) error {
		if copy(l.mask[:], v) != len(l.mask) || len(v) != len(l.mask) {
			return damaged("what the log is masked with")
		}
		return nil
	})
	if err != nil {
		return err
	}
	names, err := l.files()
	if err != nil {
		return err
	}
	before := l.number
	records, noise := 0, false
	needed := names
	if masked {
		if needed, err = l.needed(names); err != nil {
			return err
		}
	}
	for _, name := range needed {
		n, other, err := l.replay(name, e.applyAgain)
		if err != nil {
			return err
		}
		records, noise = records+n, noise || other
		l.name = name
	}
	if !masked {
		if records == 0 && noise {
			return damaged("what the log is masked with")
		}
		if err := l.beginMask(); err != nil {
			return err
		}
	}
	l.durable.Store(l.number)
	l.old, l.stop, l.done = make(chan retired, 64), make(chan struct{}), make(chan struct{})
	go l.run()
	l.create()
	var flushed <-chan struct{}
	if l.number != before {
		if flushed, err = l.flush(); err != nil {
			return err
		}
	}
	l.old <- retired{names, l.number, flushed}
	return nil
}

// beginMask makes the mask, when all that was written without it is in tables.
func (l *writeAhead) beginMask() error {
	rand.Read(l.mask[:])
	e := l.engine
	err := e.guard(func() error {
		if err := e.db.Set(maskKey, l.mask[:], pebble.NoSync); err != nil {
			return err
		}
		return e.db.Flush()
	})
	if err == nil {
		err = e.disk.broken()
	}
	return err
}

// files gives the log's files, ascending.
func (l *writeAhead) files() (out []uint64, err error) {
	names, err := l.engine.disk.List(l.engine.dir)
	for _, name := range names {
		if text, ok := strings.CutSuffix(name, logSuffix); ok {
			if n, err := strconv.ParseUint(text, 10, 62); err == nil {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out, err
}

// needed leaves out the first of the log's files, ascending, whose changes are all in tables,
// because the next begins with one that is there, or follows what is there. After a kill
// they would be read only to be passed over.
func (l *writeAhead) needed(names []uint64) ([]uint64, error) {
	first := uint64(0)
	for i, name := range names {
		next, err := l.first(name)
		if err != nil {
			return nil, err
		}
		// A file that was to be used again may still begin with what it held before.
		if next == 0 || next <= first || next > l.number+1 {
			return names[max(0, i-1):], nil
		}
		first = next
	}
	return names[max(0, len(names)-1):], nil
}

// first gives the number of a file's first record, 0 when that is not whole.
func (l *writeAhead) first(name uint64) (uint64, error) {
	f, err := l.engine.disk.Open(l.path(name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var head [recordHead]byte
	if ok, err := readFull(f, head[:], 0); !ok {
		return 0, err
	}
	r, length, ok := l.parseHead(head[:], info.Size())
	if !ok {
		return 0, nil
	}
	batch := make([]byte, length)
	if ok, err = readFull(f, batch, recordHead); !ok || !whole(head[:], batch) {
		return 0, err
	}
	return r.number, nil
}

// record is one that was read.
type record struct {
	number, durable uint64
	batch           []byte
}

// parseHead reads the head of a record; ok is false when it cannot be one that has
// room bytes for all of it, or is masked otherwise.
func (l *writeAhead) parseHead(head []byte, room int64) (r record, length int64, ok bool) {
	length = int64(binary.BigEndian.Uint32(head[4:]))
	r.number = binary.BigEndian.Uint64(head[8:]) ^ binary.BigEndian.Uint64(l.mask[:])
	r.durable = binary.BigEndian.Uint64(head[16:]) ^ binary.BigEndian.Uint64(l.mask[8:])
	return r, length, length >= 12 && recordHead+length <= room && r.durable < r.number && (r.number <= l.number || r.number-l.number <= maxAhead)
}

// whole tells whether a record is as it was written.
func whole(head, batch []byte) bool {
	return binary.BigEndian.Uint32(head) == crc32.Update(crc32.Checksum(head[4:recordHead], castagnoli), castagnoli, batch)
}

// replay has apply apply the records of a file that the tables have not, and gives how many
// it has, and whether there is anything in it. They end where one is
// not whole or does not follow the one before: there the power was cut, or a log begins
// that the file was used for before.
func (l *writeAhead) replay(name uint64, apply func(batch []byte) error) (records int, noise bool, err error) {
	f, err := l.engine.disk.Open(l.path(name))
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	size := info.Size()
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 256<<10)
	var head [recordHead]byte
	at, last, applied := int64(0), uint64(0), false
	for {
		if _, err := io.ReadFull(in, head[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			return records, false, err
		}
		noise = noise || head != [recordHead]byte{}
		r, length, ok := l.parseHead(head[:], size-at)
		if !ok || last != 0 && r.number != last+1 {
			break
		}
		r.batch = make([]byte, length)
		if _, err := io.ReadFull(in, r.batch); err != nil {
			return records, noise, err
		}
		if !whole(head[:], r.batch) {
			break
		}
		records++
		if l.upTo > 0 && r.number > l.upTo {
			return records, noise, nil
		}
		if r.number > l.number+1 {
			return records, noise, damaged("the log before the file %s, or the list of tables,", l.path(name))
		}
		if r.number == l.number+1 {
			if err := apply(r.batch); err != nil {
				return records, noise, err
			}
			l.number, applied = r.number, true
		}
		at, last = at+recordHead+length, r.number
	}
	if l.upTo == 0 {
		if err := l.checkEnd(f, at, size, last); err != nil {
			return records, noise, err
		}
	}
	if applied {
		// What a disk has in its cache alone was read, but could still be lost, and
		// the next file goes on behind it.
		return records, noise, f.SyncData()
	}
	return records, noise, nil
}

// checkEnd looks behind the end of a file's records, at, for one that is whole, not in
// the tables, and knows the change behind last to have been durable: then what stands at
// the end is damaged. A last of 0, no record at all, leaves the first that is whole to
// tell where it would have been.
func (l *writeAhead) checkEnd(f vfs.File, at, size int64, last uint64) error {
	rest := make([]byte, size-at)
	if ok, err := readFull(f, rest, at); !ok {
		return err
	}
	common := l.common(last)
	for len(rest) >= recordHead {
		skip := bytes.Index(rest[numberAt:], common)
		if skip < 0 {
			return nil
		}
		if rest = rest[skip:]; len(rest) < recordHead {
			return nil
		}
		r, length, ok := l.parseHead(rest, int64(len(rest)))
		if !ok || r.number <= last || !whole(rest, rest[recordHead:recordHead+length]) {
			rest = rest[1:]
			continue
		}
		switch {
		case last == 0:
			last = r.number - 1
		case r.durable > last && (r.durable > l.number || r.number == l.number+1):
			// Not when a file that was used before has its older records still, and behind
			// them a part of what the power cut off: that knows of nothing that is missing.
			return damaged("the log at change %d", last+1)
		}
		rest = rest[recordHead+length:]
	}
	return nil
}

// common gives what the numbers, as they stand in the log, of all records begin with that
// parseHead takes and that come behind last. Files are mostly zeros there, or what they were
// used for before: trying each byte of 14 MB took half of a start (docs/decisions/speed.md).
func (l *writeAhead) common(last uint64) []byte {
	low, high := last+1, l.number+maxAhead
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], high)
	subtle.XORBytes(b[:], b[:], l.mask[:8])
	return b[:bits.LeadingZeros64(low^high)/8]
}

// applyAgain makes a change visible that is in the log.
func (e *Engine) applyAgain(repr []byte) error {
	batch := e.db.NewBatch()
	defer batch.Close()
	if err := batch.SetRepr(repr); err != nil {
		return damaged("the log")
	}
	return e.guard(func() error { return e.db.Apply(batch, pebble.NoSync) })
}

// latest gives the group of the next write.
func (l *writeAhead) latest() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// close writes what is pending, and, when all is well, has it in tables, so that opening
// has nothing to replay, and leaves one file, that knows of it. It may be called when open
// was not.
func (l *writeAhead) close() {
	if l.done == nil {
		return
	}
	l.wait(l.latest())
	close(l.stop)
	<-l.done
	l.done = nil
	defer func() { l.file.Close() }()
	e := l.engine
	if e.insane.Load() || e.refused() != nil {
		return
	}
	l.file.Close()
	l.spare = nil // a new file is short, and read by the next start
	l.create()
	l.prove()
	if err := e.guard(e.db.Flush); err != nil || e.disk.broken() != nil {
		return
	}
	names, err := l.files()
	if err != nil {
		return
	}
	for _, name := range names {
		if name != l.name {
			e.disk.Remove(l.path(name))
		}
	}
}

// withoutPebblesLog takes in the logs that Pebble wrote for a Postern before format 5,
// and removes them.
func (e *Engine) withoutPebblesLog(opt Options) error {
	var logs []string
	names, err := e.disk.List(e.dir)
	for _, name := range names {
		if strings.HasSuffix(name, pebbleLog) {
			logs = append(logs, e.disk.PathJoin(e.dir, name))
		}
	}
	if len(logs) == 0 || err != nil {
		return err
	}
	o := e.pebbleOptions(opt)
	o.DisableWAL = false
	o.Experimental.CompactionScheduler = newScheduler()
	db, err := pebble.Open(e.dir, o)
	if err != nil {
		o.Experimental.CompactionScheduler.Unregister()
		return err
	}
	err = db.Flush()
	if x := db.Close(); err == nil {
		err = x
	}
	if err == nil {
		err = e.disk.broken()
	}
	if err != nil {
		return err
	}
	if names, err = e.disk.List(e.dir); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, pebbleLog) {
			e.disk.Remove(e.disk.PathJoin(e.dir, name))
		}
	}
	return e.disk.broken()
}
