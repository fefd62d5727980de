package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// A large body is written once, into a file in which bodies stand one behind the
// other, and Pebble is told where. In Pebble it would be written to the log, to a
// memtable, to a blob file and again by each compaction.
//
// A body is durable before the change that refers to it is made, so no reference
// leads nowhere; a body without a reference (its change failed, the power was cut, it
// was expunged) is waste, which reclaim gives back: it moves what is needed of a file
// to another and removes the file. Files are only appended to, and after a restart
// not even that.
const (
	bodyFolder = "bodies"
	bodySuffix = ".body"
	// defaultFileFrom is from how many bytes on a body is large. A smaller one costs
	// less in the log, where it shares a sync with its index entry.
	defaultFileFrom = 32 << 10
	// maxBodyFile is the size at which a file gets no more bodies, in bytes.
	maxBodyFile = 64 << 20
	// bodyPart is of how much of a body there is one checksum.
	bodyPart = 64 << 10
	// bodyHead is the length of a body's head without its checksums.
	bodyHead  = 4 + 8 + 8 + 8 + 4
	bodyMagic = "PoB1"
	// maxOpenFiles are kept open to be read.
	maxOpenFiles = 256
	// bodyLayout follows a size of 0, which no value has that holds a body, in the
	// value of a body that stands in a file.
	bodyLayout byte = 1
	// maxSpot bounds such a value, in bytes.
	maxSpot = 2 + 3*binary.MaxVarintLen64
)

// spot is where a large body stands.
type spot struct {
	file   uint32
	offset int64 // of its head
	size   int64 // of the body
}

// parts gives how many checksums a body of size bytes has.
func parts(size int64) int { return int((size + bodyPart - 1) / bodyPart) }

// length is how many bytes of its file the body takes.
func (s spot) length() int64 { return bodyHead + 4*int64(parts(s.size)) + s.size }

func (s spot) append(dst []byte) []byte {
	dst = append(dst, 0, bodyLayout)
	dst = binary.AppendUvarint(dst, uint64(s.file))
	dst = binary.AppendUvarint(dst, uint64(s.offset))
	return binary.AppendUvarint(dst, uint64(s.size))
}

// decodeSpot tells whether v, piece 0 of a body, says where it stands; ok is false
// when v is damaged.
func decodeSpot(v []byte) (s spot, is, ok bool) {
	if len(v) < 2 || v[0] != 0 {
		return spot{}, false, true
	}
	x := scanner{b: v, at: 2}
	s = spot{x.uint32(), int64(x.uvarint()), int64(x.uvarint())}
	return s, true, v[1] == bodyLayout && !x.bad && len(x.rest()) == 0 && s.offset >= 0 && s.size > 0 && s.size < 1<<32
}

// head makes the head of a body.
func head(id mail.AccountID, m mail.EmailID, body []byte) []byte {
	b := make([]byte, 0, bodyHead+4*parts(int64(len(body))))
	b = append(b, bodyMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(id))
	b = binary.BigEndian.AppendUint64(b, uint64(m))
	b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	b = binary.BigEndian.AppendUint32(b, 0)
	for part := range slices.Chunk(body, bodyPart) {
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(part, castagnoli))
	}
	binary.BigEndian.PutUint32(b[bodyHead-4:], crc32.Checksum(b, castagnoli))
	return b
}

// headed is a head that was read.
type headed struct {
	account mail.AccountID
	email   mail.EmailID
	size    int64
	sums    []byte // 4 bytes for each part
}

// readHead reads the head at an offset of a body of size bytes, or of any size when
// that is 0, that takes at most room bytes; ok is false when there is none.
func readHead(f io.ReaderAt, offset, size, room int64) (h headed, ok bool, err error) {
	all := make([]byte, bodyHead+4*parts(size))
	if ok, err := readFull(f, all, offset); !ok {
		return headed{}, false, err
	}
	h = headed{
		account: mail.AccountID(binary.BigEndian.Uint64(all[4:])),
		email:   mail.EmailID(binary.BigEndian.Uint64(all[12:])),
		size:    int64(binary.BigEndian.Uint64(all[20:])),
	}
	if string(all[:4]) != bodyMagic || h.size <= 0 || h.size >= 1<<32 || size > 0 && h.size != size || (spot{size: h.size}).length() > room {
		return headed{}, false, nil
	}
	if size == 0 {
		all = append(all, make([]byte, 4*parts(h.size))...)
		if ok, err := readFull(f, all[bodyHead:], offset+bodyHead); !ok {
			return headed{}, false, err
		}
	}
	want := binary.BigEndian.Uint32(all[bodyHead-4:])
	binary.BigEndian.PutUint32(all[bodyHead-4:], 0)
	h.sums = all[bodyHead:]
	return h, crc32.Checksum(all, castagnoli) == want, nil
}

// readFull fills p; ok is false when the file ends before.
func readFull(f io.ReaderAt, p []byte, offset int64) (ok bool, err error) {
	n, err := f.ReadAt(p, offset)
	if n == len(p) {
		return true, nil
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return false, err
}

// bodyFile is a file of bodies.
type bodyFile struct {
	number  uint32
	size    int64 // that is spoken for
	wasted  int64 // as far as this process knows
	pending int   // bodies that are being written, or whose change is being made
	damaged bool  // reclaim leaves it alone

	out     vfs.File // nil when nothing is written any more
	in      vfs.File // nil when it is not open
	readers int
	gone    bool // removed; in is closed by the last reader

	syncs syncs
}

// syncs lets those who wait for a sync of a file share one.
type syncs struct {
	mu          sync.Mutex
	ended       sync.Cond // signalled when one ended
	begun, done uint64
	running     bool
}

// wait returns after a sync that began after wait was called.
func (s *syncs) wait(f vfs.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.L == nil {
		s.ended.L = &s.mu
	}
	for want := s.begun + 1; s.done < want; {
		if s.running {
			s.ended.Wait()
			continue
		}
		s.running = true
		s.begun++
		n := s.begun
		s.mu.Unlock()
		err := f.SyncData()
		s.mu.Lock()
		s.running, s.done = false, n
		s.ended.Broadcast()
		if err != nil { // a disk that fails is frozen, and tells others so
			return err
		}
	}
	return nil
}

// bodyFiles are the files of a data folder.
type bodyFiles struct {
	engine *Engine
	dir    string
	from   int // bytes of a body that is large
	most   int64

	cancel  context.CancelFunc // nil until started
	done    chan struct{}
	buffers sync.Pool // of *[bodyPart]byte

	mu      sync.Mutex
	files   map[uint32]*bodyFile
	current *bodyFile // nil until something is written
	next    uint32
	open    int
	unknown bool // something was removed of which no file knows: all are to be looked at
}

func bodyFileKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{zoneBodyFiles}, number)
}

func (b *bodyFiles) name(number uint32) string {
	return b.engine.disk.PathJoin(b.dir, fmt.Sprintf("%06d%s", number, bodySuffix))
}

// load finds the files. Those that no record names are left over from a crash and go;
// a file that is missing is an error.
func (b *bodyFiles) load() error {
	e := b.engine
	b.dir = e.disk.PathJoin(e.dir, bodyFolder)
	b.files, b.next, b.unknown = map[uint32]*bodyFile{}, 1, true
	if err := e.disk.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	if err := b.syncFolder(e.dir); err != nil {
		return err
	}
	known := map[uint32]bool{}
	if err := e.scan(context.Background(), []byte{zoneBodyFiles}, []byte{zoneBodyFiles + 1}, func(k, _ []byte) (bool, error) {
		if len(k) != 5 {
			return false, damaged("the list of files with bodies")
		}
		known[binary.BigEndian.Uint32(k[1:])] = true
		return true, nil
	}); err != nil {
		return err
	}
	names, err := e.disk.List(b.dir)
	if err != nil && e.disk.broken() == nil {
		return err
	}
	for _, name := range names {
		text, ok := strings.CutSuffix(name, bodySuffix)
		n, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil {
			continue
		}
		number := uint32(n)
		b.next = max(b.next, number+1)
		if !known[number] {
			if err := e.disk.Remove(b.name(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		delete(known, number)
		info, err := e.disk.Stat(b.name(number))
		if err != nil {
			return err
		}
		b.files[number] = &bodyFile{number: number, size: info.Size()}
	}
	for number := range known {
		return &damagedBlob{b.name(number), "is missing"}
	}
	return nil
}

func (b *bodyFiles) syncFolder(name string) error {
	f, err := b.engine.disk.OpenDir(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if x := f.Close(); err == nil {
		err = x
	}
	return err
}

// reserve gives room for a body with its head at the end of the current file, or of a
// new one, which pending keeps. It writes the head: all heads before one that is
// durable are durable, so that a file can be read from head to head.
func (b *bodyFiles) reserve(head []byte, size int64) (*bodyFile, int64, error) {
	length := int64(len(head)) + size
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.current; f != nil && f.size > 0 && f.size+length > b.most {
		b.current = nil
		b.seal(f)
	}
	if b.current == nil {
		f := &bodyFile{number: b.next}
		out, err := b.engine.disk.Create(b.name(f.number), vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, 0, err
		}
		if err := b.syncFolder(b.dir); err != nil {
			out.Close()
			return nil, 0, err
		}
		// In the log before any reference to it.
		if err := b.engine.guard(func() error { return b.engine.db.Set(bodyFileKey(f.number), nil, pebble.NoSync) }); err != nil {
			out.Close()
			return nil, 0, err
		}
		b.next++
		f.out = out
		b.files[f.number], b.current = f, f
	}
	f := b.current
	at := f.size
	if _, err := f.out.WriteAt(head, at); err != nil {
		return nil, 0, err
	}
	f.size += length
	f.pending++
	return f, at, nil
}

// seal closes what is written to when nobody writes any more; the caller holds mu.
func (b *bodyFiles) seal(f *bodyFile) {
	if f != b.current && f.pending == 0 && f.out != nil {
		f.out.Close()
		f.out = nil
	}
}

// written is a body that is in a file and waits for its change.
type written struct {
	file *bodyFile
	spot
}

// release says that the change of what was written is made, or failed.
func (b *bodyFiles) release(all []written) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range all {
		if w.file != nil {
			w.file.pending--
			b.seal(w.file)
		}
	}
}

// write puts those of emails whose bodies have at least from bytes into files and makes
// them durable. It gives as
// many as there are emails, those without a file for the small; release is to be
// called, also after an error.
func (b *bodyFiles) write(id mail.AccountID, emails []store.Email, from int) (all []written, err error) {
	for i := range emails {
		m := &emails[i]
		if len(m.Body) < max(1, from) || uint64(len(m.Body)) > 1<<32-1 {
			continue
		}
		if all == nil {
			all = make([]written, len(emails))
		}
		top := head(id, m.ID, m.Body)
		f, at, err := b.reserve(top, int64(len(m.Body)))
		if err != nil {
			return all, b.engine.readError(err)
		}
		all[i] = written{f, spot{f.number, at, int64(len(m.Body))}}
		if _, err := f.out.WriteAt(m.Body, at+int64(len(top))); err != nil {
			return all, b.engine.readError(err)
		}
	}
	return all, b.sync(all)
}

// sync makes what was written durable.
func (b *bodyFiles) sync(all []written) error {
	var last *bodyFile
	for _, w := range all {
		if w.file != nil && w.file != last {
			last = w.file
			if err := last.syncs.wait(last.out); err != nil {
				return err
			}
		}
	}
	if b.engine.disk.broken() != nil {
		return b.engine.unavailable()
	}
	return nil
}

// reader opens a file to read; returned gives it back. A file that is not there,
// or not any more, is nil.
func (b *bodyFiles) reader(number uint32) (*bodyFile, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.files[number]
	if f == nil {
		return nil, nil
	}
	if f.in == nil {
		if b.open >= maxOpenFiles {
			for _, x := range b.files {
				if x.in != nil && x.readers == 0 {
					x.in.Close()
					x.in = nil
					b.open--
					break
				}
			}
		}
		in, err := b.engine.disk.Open(b.name(number))
		if err != nil {
			return nil, b.engine.readError(err)
		}
		f.in = in
		b.open++
	}
	f.readers++
	return f, nil
}

func (b *bodyFiles) returned(f *bodyFile) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.readers--; f.readers == 0 && f.gone {
		f.in.Close()
		f.in = nil
		b.open--
	}
}

// waste says that a body is not needed any more.
func (b *bodyFiles) waste(s spot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.files[s.file]; f != nil {
		f.wasted += s.length()
	}
}

// wasteUnknown says that many are not needed any more, nobody knows which.
func (b *bodyFiles) wasteUnknown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unknown = true
}

// openBody opens a body that stands at s.
func (e *Engine) openBody(id mail.AccountID, m mail.EmailID, s spot) (store.Body, error) {
	f, err := e.bodyFiles.reader(s.file)
	if f == nil || err != nil {
		return nil, err
	}
	h, ok, err := readHead(f.in, s.offset, s.size, s.length())
	if err == nil && (!ok || h.account != id || h.email != m || h.size != s.size) {
		err = damaged("message %v of account %v", m, id)
	}
	if err != nil {
		e.bodyFiles.returned(f)
		return nil, e.readError(err)
	}
	e.bodyOpened()
	return &filedBody{account: id, email: m, spot: s, sums: h.sums, file: f, engine: e, number: -1}, nil
}

// partBuffer gives memory for a part; all bodies that are read one after the other
// have the same.
func (b *bodyFiles) partBuffer() []byte {
	if p, ok := b.buffers.Get().(*[bodyPart]byte); ok {
		return p[:]
	}
	return make([]byte, bodyPart)
}

// filedBody reads from a file, and holds the part that was read last.
type filedBody struct {
	account mail.AccountID
	email   mail.EmailID
	spot
	sums   []byte
	file   *bodyFile // nil when closed
	engine *Engine
	number int64 // of part, -1 none
	part   []byte
}

func (b *filedBody) Size() int64   { return b.size }
func (b *filedBody) Bytes() []byte { return nil }

// read reads part n, which p is as long as, and checks it.
func (b *filedBody) read(p []byte, n int64) error {
	at := b.offset + bodyHead + int64(len(b.sums)) + n*bodyPart
	if k, err := b.file.in.ReadAt(p, at); k < len(p) {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return b.engine.readError(err)
		}
	} else if crc32.Checksum(p, castagnoli) == binary.BigEndian.Uint32(b.sums[4*n:]) {
		return nil
	}
	return damaged("message %v of account %v", b.email, b.account)
}

func (b *filedBody) Part(off int64) ([]byte, error) {
	if err := partAt(b.file == nil, off, b.size); err != nil {
		return nil, err
	}
	if i := off / bodyPart; i != b.number {
		if b.part == nil {
			b.part = b.engine.bodyFiles.partBuffer()
		}
		b.part, b.number = b.part[:min(bodyPart, b.size-i*bodyPart)], -1
		if err := b.read(b.part, i); err != nil {
			return nil, err
		}
		b.number = i
	}
	return b.part[off%bodyPart:], nil
}

func (b *filedBody) ReadAt(p []byte, off int64) (int, error) { return readParts(p, off, b.Part) }

func (b *filedBody) Close() error {
	if b.file == nil {
		return nil
	}
	b.engine.bodyFiles.returned(b.file)
	if b.part != nil {
		b.engine.bodyFiles.buffers.Put((*[bodyPart]byte)(b.part[:bodyPart]))
	}
	b.file, b.part = nil, nil
	b.engine.bodyClosed()
	return nil
}

const (
	// reclaimEvery is how often reclaim looks for files with waste.
	reclaimEvery = time.Minute
	// reclaimPause is between two files that it only looks at, so that a large store
	// is not read at once.
	reclaimPause = time.Second
	// worthIt: a file with a third of waste is worth moving the rest.
	worthIt = 3
)

func (b *bodyFiles) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan struct{})
	go func() {
		defer close(b.done)
		tick := time.NewTicker(reclaimEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := b.reclaim(ctx, reclaimPause); err != nil && ctx.Err() == nil {
				b.engine.log.Error("space of expunged messages cannot be given back", "folder", b.dir, "error", err)
			}
		}
	}()
}

// stop waits for the goroutine.
func (b *bodyFiles) stop() {
	if b.cancel != nil {
		b.cancel()
		<-b.done
	}
}

// close closes the files.
func (b *bodyFiles) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.files {
		if f.out != nil {
			f.out.Close()
		}
		if f.in != nil {
			f.in.Close()
		}
		f.out, f.in = nil, nil
	}
}

// candidates gives the files to look at, those with the most waste first. Those that
// are written to, and those whose changes are not made yet, are not among them.
func (b *bodyFiles) candidates() []*bodyFile {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*bodyFile
	for _, f := range b.files {
		if f != b.current && f.pending == 0 && !f.damaged && (b.unknown || f.wasted*worthIt >= f.size) {
			list = append(list, f)
		}
	}
	b.unknown = false
	slices.SortFunc(list, func(x, y *bodyFile) int {
		return cmp.Or(cmp.Compare(y.wasted, x.wasted), cmp.Compare(x.number, y.number))
	})
	return list
}

// reclaim looks at the files that may have waste and gives it back.
func (b *bodyFiles) reclaim(ctx context.Context, pause time.Duration) error {
	for _, f := range b.candidates() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.clean(ctx, f); err != nil {
			return err
		}
		if pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
	return nil
}

// needed is a body that a key still leads to.
type needed struct {
	head headed
	at   spot
}

// survey reads the heads of a file and gives the bodies that are needed.
func (b *bodyFiles) survey(ctx context.Context, f *bodyFile) (list []needed, err error) {
	for at := int64(0); at < f.size; {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		h, ok, err := readHead(f.in, at, 0, f.size-at)
		if err != nil {
			return nil, b.engine.readError(err)
		}
		if !ok {
			// It is what was not durable yet when the power was cut, and needed by
			// nobody; or it is damaged. The keys know.
			return b.surveyKeys(ctx, f)
		}
		s := spot{f.number, at, h.size}
		leads, err := b.leads(h.account, h.email, s)
		if err != nil {
			return nil, err
		}
		if leads {
			list = append(list, needed{h, s})
		}
		at += s.length()
	}
	return list, nil
}

// surveyKeys is survey for a file that cannot be read from head to head.
func (b *bodyFiles) surveyKeys(ctx context.Context, f *bodyFile) (list []needed, err error) {
	it, err := b.engine.db.NewIter(&pebble.IterOptions{LowerBound: []byte{zoneBodies}, UpperBound: []byte{zoneBodies + 1}})
	if err != nil {
		return nil, b.engine.readError(err)
	}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		k := it.Key()
		// Bodies that are in Pebble are not read.
		if small := it.LazyValue(); small.Len() > maxSpot || len(k) != accountPrefix+8+4 {
			continue
		}
		var v []byte
		if v, err = b.engine.value(it); err != nil {
			break
		}
		if s, is, ok := decodeSpot(v); is && ok && s.file == f.number {
			id, m := mail.AccountID(binary.BigEndian.Uint64(k[1:])), mail.EmailID(binary.BigEndian.Uint64(k[accountPrefix:]))
			h, ok, x := readHead(f.in, s.offset, s.size, s.length())
			if err = x; err == nil && (!ok || h.account != id || h.email != m) {
				err = damaged("message %v of account %v", m, id)
			}
			list = append(list, needed{h, s})
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	err = b.engine.finish(it, err)
	return list, err
}

// leads tells whether the key of a body leads to s.
func (b *bodyFiles) leads(id mail.AccountID, m mail.EmailID, s spot) (yes bool, err error) {
	_, err = b.engine.get(bodyKey(id, m, 0), func(v []byte) error {
		now, is, ok := decodeSpot(v)
		yes = is && ok && now == s
		return nil
	})
	return yes, err
}

// clean moves what is needed of f elsewhere and removes f, if it has waste enough.
func (b *bodyFiles) clean(ctx context.Context, f *bodyFile) error {
	if r, err := b.reader(f.number); r == nil || err != nil {
		return err
	}
	defer b.returned(f)
	list, err := b.survey(ctx, f)
	if err != nil {
		return b.leave(f, err)
	}
	live := int64(0)
	for _, n := range list {
		live += n.at.length()
	}
	b.mu.Lock()
	f.wasted = f.size - live
	b.mu.Unlock()
	if (f.size-live)*worthIt < f.size {
		return nil
	}
	for len(list) > 0 {
		some, size := 0, int64(0)
		for ; some < len(list) && (some == 0 || size < 4<<20); some++ {
			size += list[some].at.size
		}
		if !b.room(size) {
			return nil
		}
		if err := b.move(ctx, f, list[:some]); err != nil {
			return b.leave(f, err)
		}
		list = list[some:]
	}
	return b.remove(f)
}

// room tells whether the disk has room to move size bytes: moving must not be what fills
// it. A file of which nothing is needed goes without.
func (b *bodyFiles) room(size int64) bool {
	e := b.engine
	use, err := e.disk.GetDiskUsage(e.dir)
	return err != nil || e.reserve < 0 || use.AvailBytes > uint64(2*size+e.reserve/2)
}

// leave lets reclaim leave a damaged file alone from now on.
func (b *bodyFiles) leave(f *bodyFile, err error) error {
	if mail.KindOf(err) == mail.KindCorrupt {
		b.mu.Lock()
		defer b.mu.Unlock()
		f.damaged = true
	}
	return err
}

// move writes bodies of f anew and makes their keys lead there.
func (b *bodyFiles) move(ctx context.Context, f *bodyFile, list []needed) error {
	e := b.engine
	emails := map[mail.AccountID][]store.Email{}
	from := map[mail.EmailID]spot{}
	for _, n := range list {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		body := &filedBody{account: n.head.account, email: n.head.email, spot: n.at, sums: n.head.sums, file: f, engine: e, number: -1}
		p := make([]byte, n.at.size)
		if _, err := body.ReadAt(p, 0); err != nil {
			return err
		}
		emails[n.head.account] = append(emails[n.head.account], store.Email{ID: n.head.email, Body: p})
	}
	for id, emails := range emails {
		clear(from)
		for _, n := range list {
			if n.head.account == id {
				from[n.head.email] = n.at
			}
		}
		if err := b.moveAccount(id, emails, from); err != nil {
			return err
		}
	}
	return nil
}

func (b *bodyFiles) moveAccount(id mail.AccountID, emails []store.Email, from map[mail.EmailID]spot) error {
	e := b.engine
	all, err := b.write(id, emails, 0)
	defer func() { b.release(all) }()
	if err != nil {
		return err
	}
	batch := e.db.NewBatch()
	sh := e.shard(id)
	sh.Lock()
	for i := range emails {
		leads, err := b.leads(id, emails[i].ID, from[emails[i].ID])
		if err == nil && leads {
			err = batch.Set(bodyKey(id, emails[i].ID, 0), all[i].spot.append(nil), nil)
		}
		if err != nil {
			sh.Unlock()
			batch.Close()
			return err
		}
		if !leads {
			b.waste(all[i].spot)
		}
	}
	wait, err := e.apply(batch)
	sh.Unlock()
	if err != nil {
		return err
	}
	return wait()
}

// remove removes a file to which no key leads.
func (b *bodyFiles) remove(f *bodyFile) error {
	e := b.engine
	batch := e.db.NewBatch()
	if err := batch.Delete(bodyFileKey(f.number), nil); err != nil {
		return err
	}
	wait, err := e.apply(batch)
	if err == nil {
		err = wait()
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.files, f.number)
	f.gone = true
	b.mu.Unlock()
	return e.disk.Remove(b.name(f.number))
}
