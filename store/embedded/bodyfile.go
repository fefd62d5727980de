package embedded

import (
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

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/zstd"

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
	// bodyAhead is how much room is taken on the disk before it is needed: a sync then
	// finds it taken.
	bodyAhead = 4 << 20
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
	maxSpot = 2 + 4*binary.MaxVarintLen64
)

// spot is where a large body stands.
type spot struct {
	file   uint32
	offset int64 // of its head
	size   int64 // of the body
	stored int64 // of a packed body, as it stands in the file; else 0
}

// parts gives how many checksums a body of size bytes has.
func parts(size int64) int { return int((size + bodyPart - 1) / bodyPart) }

// length is how many bytes of its file the body takes.
func (s spot) length() int64 {
	if s.stored > 0 {
		return bodyHead + 8*int64(parts(s.size)) + s.stored
	}
	return bodyHead + 4*int64(parts(s.size)) + s.size
}

func (s spot) append(dst []byte) []byte {
	layout := bodyLayout
	if s.stored > 0 {
		layout = packedLayout
	}
	dst = append(dst, 0, layout)
	dst = binary.AppendUvarint(dst, uint64(s.file))
	dst = binary.AppendUvarint(dst, uint64(s.offset))
	dst = binary.AppendUvarint(dst, uint64(s.size))
	if s.stored > 0 {
		dst = binary.AppendUvarint(dst, uint64(s.stored))
	}
	return dst
}

// decodeSpot tells whether v, piece 0 of a body, says where it stands; ok is false
// when v is damaged.
func decodeSpot(v []byte) (s spot, is, ok bool) {
	if len(v) < 2 || v[0] != 0 {
		return spot{}, false, true
	}
	x := scanner{b: v, at: 2}
	s = spot{file: x.uint32(), offset: int64(x.uvarint()), size: int64(x.uvarint())}
	ok = v[1] == bodyLayout
	if v[1] == packedLayout {
		s.stored = int64(x.uvarint())
		ok = s.stored > 0 && s.stored <= s.size
	}
	return s, true, ok && !x.bad && len(x.rest()) == 0 && s.offset >= 0 && s.size > 0 && s.size < 1<<32
}

// head makes the head of a body.
func head(id mail.AccountID, m mail.EmailID, body []byte) []byte {
	b := startHead(bodyMagic, id, m, len(body))
	for part := range slices.Chunk(body, bodyPart) {
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(part, castagnoli))
	}
	return finishHead(b)
}

// startHead makes a head up to what is said of each part.
func startHead(magic string, id mail.AccountID, m mail.EmailID, size int) []byte {
	b := make([]byte, 0, bodyHead+4*parts(int64(size)))
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, uint64(id))
	b = binary.BigEndian.AppendUint64(b, uint64(m))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	return binary.BigEndian.AppendUint32(b, 0)
}

// finishHead puts in the head's own checksum.
func finishHead(b []byte) []byte {
	binary.BigEndian.PutUint32(b[bodyHead-4:], crc32.Checksum(b, castagnoli))
	return b
}

// headed is a head that was read.
type headed struct {
	account mail.AccountID
	email   mail.EmailID
	size    int64
	stored  int64  // as in spot
	sums    []byte // 4 bytes for each part
	lengths []byte // of a packed body: 4 bytes for each part
}

// readHead reads the head at an offset of the body at s, or of any body when its size is
// 0, that takes at most room bytes; ok is false when there is none.
func readHead(f io.ReaderAt, s spot, room int64) (h headed, ok bool, err error) {
	about := func(size int64, packed bool) int {
		if packed {
			return 8 * parts(size)
		}
		return 4 * parts(size)
	}
	all := make([]byte, bodyHead+about(s.size, s.stored > 0))
	if ok, err := readFull(f, all, s.offset); !ok {
		return headed{}, false, err
	}
	h = headed{
		account: mail.AccountID(binary.BigEndian.Uint64(all[4:])),
		email:   mail.EmailID(binary.BigEndian.Uint64(all[12:])),
		size:    int64(binary.BigEndian.Uint64(all[20:])),
	}
	packed := string(all[:4]) == packedMagic
	switch {
	case !packed && string(all[:4]) != bodyMagic, h.size <= 0, h.size >= 1<<32, s.size > 0 && (h.size != s.size || packed != (s.stored > 0)),
		int64(bodyHead+about(h.size, packed)) > room, !packed && (spot{size: h.size}).length() > room:
		return headed{}, false, nil
	}
	if s.size == 0 {
		all = append(all, make([]byte, about(h.size, packed))...)
		if ok, err := readFull(f, all[bodyHead:], s.offset+bodyHead); !ok {
			return headed{}, false, err
		}
	}
	want := binary.BigEndian.Uint32(all[bodyHead-4:])
	binary.BigEndian.PutUint32(all[bodyHead-4:], 0)
	if crc32.Checksum(all, castagnoli) != want {
		return headed{}, false, nil
	}
	h.sums = all[bodyHead : bodyHead+4*parts(h.size)]
	if !packed {
		return h, true, nil
	}
	h.lengths = all[bodyHead+len(h.sums):]
	h.stored, ok = h.storedLength()
	return h, ok && (s.stored == 0 || s.stored == h.stored) && int64(len(all))+h.stored <= room, nil
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
	size    int64     // that is spoken for
	wasted  int64     // as far as this process knows
	pending int       // bodies that are being written, or whose change is being made
	damaged bool      // reclaim leaves it alone
	packed  bool      // holds packed bodies
	written time.Time // about when the last body was, in this process's clock

	ahead   int64    // up to where room is taken on the disk
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
	// packAfter is how old bodies are that are packed; forever: none.
	packAfter time.Duration
	decoder   func() *zstd.Decoder // made when the first packed body is read

	cancel  context.CancelFunc // nil until started
	done    chan struct{}
	buffers sync.Pool // of *[bodyPart]byte

	// staying is held while no file may be removed.
	staying sync.Mutex

	mu      sync.Mutex
	files   map[uint32]*bodyFile
	current *bodyFile // nil until something is written
	packing *bodyFile // current for packed bodies
	next    uint32
	open    int
	unknown bool // something was removed of which no file knows: all are to be looked at
}

func bodyFileKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{zoneBodyFiles}, number)
}

// bodyFileValue is the value at a bodyFileKey.
func bodyFileValue(packed bool) []byte {
	if packed {
		return []byte{packedLayout}
	}
	return nil
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
	if err := syncFolder(e.disk, e.dir); err != nil {
		return err
	}
	known := map[uint32]bool{}
	if err := e.scan(context.Background(), []byte{zoneBodyFiles}, []byte{zoneBodyFiles + 1}, func(k, v []byte) (bool, error) {
		if len(k) != 5 {
			return false, damaged("the list of files with bodies")
		}
		known[binary.BigEndian.Uint32(k[1:])] = len(v) > 0
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
		packed, ok := known[number]
		if !ok {
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
		b.files[number] = &bodyFile{number: number, size: info.Size(), packed: packed, written: info.ModTime()}
	}
	for number := range known {
		return &damagedBlob{b.name(number), "is missing"}
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(d *disk, name string) error {
	f, err := d.OpenDir(name)
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
func (b *bodyFiles) reserve(head []byte, size int64, packed bool) (*bodyFile, int64, error) {
	length := int64(len(head)) + size
	b.mu.Lock()
	defer b.mu.Unlock()
	current := &b.current
	if packed {
		current = &b.packing
	}
	if f := *current; f != nil && f.size > 0 && f.size+length > b.most {
		*current = nil
		b.seal(f)
	}
	if *current == nil {
		f := &bodyFile{number: b.next, packed: packed}
		out, err := b.engine.disk.Create(b.name(f.number), vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, 0, err
		}
		if err := syncFolder(b.engine.disk, b.dir); err != nil {
			out.Close()
			return nil, 0, err
		}
		// In the log before any reference to it.
		batch := b.engine.db.NewBatch()
		batch.Set(bodyFileKey(f.number), bodyFileValue(packed), nil)
		if _, err := b.engine.apply(batch); err != nil {
			out.Close()
			return nil, 0, err
		}
		b.next++
		f.out = out
		b.files[f.number], *current = f, f
	}
	f := *current
	at := f.size
	if end := at + length; end > f.ahead {
		ahead := max(end, min(end+bodyAhead, b.most))
		f.out.Preallocate(f.ahead, ahead-f.ahead)
		f.ahead = ahead
	}
	if _, err := f.out.WriteAt(head, at); err != nil {
		return nil, 0, err
	}
	f.size += length
	f.written = time.Now()
	f.pending++
	return f, at, nil
}

// seal closes what is written to when nobody writes any more; the caller holds mu.
func (b *bodyFiles) seal(f *bodyFile) {
	if f != b.current && f != b.packing && f.pending == 0 && f.out != nil {
		b.closeOut(f)
	}
}

// closeOut ends writing to f, and gives back the room that was taken ahead.
func (b *bodyFiles) closeOut(f *bodyFile) {
	if f.ahead > f.size && b.engine.disk.broken() == nil {
		trim(f.out)
	}
	f.out.Close()
	f.out = nil
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
// them durable; with z they are packed. It gives as many as there are emails, those
// without a file for the small; release is to be called, also after an error.
func (b *bodyFiles) write(id mail.AccountID, emails []store.Email, from int, z *zstd.Encoder) (all []written, err error) {
	for i := range emails {
		m := &emails[i]
		if len(m.Body) < max(1, from) || uint64(len(m.Body)) > 1<<32-1 {
			continue
		}
		if all == nil {
			all = make([]written, len(emails))
		}
		s := spot{size: int64(len(m.Body))}
		var top, body []byte
		if z != nil {
			top, body = pack(z, id, m.ID, m.Body)
			s.stored = int64(len(body))
		} else {
			top, body = head(id, m.ID, m.Body), m.Body
		}
		f, at, err := b.reserve(top, int64(len(body)), z != nil)
		if err != nil {
			return all, b.engine.readError(err)
		}
		s.file, s.offset = f.number, at
		all[i] = written{f, s}
		if _, err := f.out.WriteAt(body, at+int64(len(top))); err != nil {
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
	h, ok, err := readHead(f.in, s, s.length())
	if err == nil && (!ok || h.account != id || h.email != m || h.size != s.size) {
		err = damaged("message %v of account %v", m, id)
	}
	if err != nil {
		e.bodyFiles.returned(f)
		return nil, e.readError(err)
	}
	e.bodyOpened()
	return &filedBody{headed: h, spot: s, file: f, engine: e, number: -1}, nil
}

// partBuffer gives memory for a part; all bodies that are read one after the other
// have the same.
func (b *bodyFiles) partBuffer() []byte {
	if p, ok := b.buffers.Get().(*[bodyPart]byte); ok {
		return p[:]
	}
	return make([]byte, bodyPart)
}

// giveBuffer gives the memory of partBuffer back.
func (b *bodyFiles) giveBuffer(p []byte) { b.buffers.Put((*[bodyPart]byte)(p[:bodyPart])) }

// filedBody reads from a file, and holds the part that was read last.
type filedBody struct {
	headed
	spot   spot
	file   *bodyFile // nil when closed
	engine *Engine
	number int64 // of part, -1 none
	part   []byte
}

func (b *filedBody) Size() int64   { return b.size }
func (b *filedBody) Bytes() []byte { return nil }

// read reads part n, which p is as long as, and checks it.
func (b *filedBody) read(p []byte, n int64) error {
	at, length, plain := b.partStart(n)
	stored := p
	if !plain {
		stored = b.engine.bodyFiles.partBuffer()[:length]
		defer b.engine.bodyFiles.giveBuffer(stored)
	}
	if int64(len(stored)) == length {
		if k, err := b.file.in.ReadAt(stored, b.spot.offset+bodyHead+int64(len(b.sums)+len(b.lengths))+at); k < len(stored) {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return b.engine.readError(err)
			}
		} else if crc32.Checksum(stored, castagnoli) == binary.BigEndian.Uint32(b.sums[4*n:]) {
			if plain {
				return nil
			}
			if out, err := b.engine.bodyFiles.decoder().DecodeAll(stored, p[:0]); err == nil && len(out) == len(p) && &out[0] == &p[0] {
				return nil
			}
		}
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
		b.engine.bodyFiles.giveBuffer(b.part)
	}
	b.file, b.part = nil, nil
	b.engine.bodyClosed()
	return nil
}

// close closes the files.
func (b *bodyFiles) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.files {
		if f.out != nil {
			b.closeOut(f)
		}
		if f.in != nil {
			f.in.Close()
		}
		f.in = nil
	}
}
