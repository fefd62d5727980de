package deflate

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/postern-mail/postern/mail"
)

const (
	window    = 32 << 10 // as far as a match reaches back (RFC 1951, 3.2.5)
	workspace = 55 << 10 // with what else work holds, 64 KiB
	longest   = 258      // bytes of a match
	smallRead = 128
	largeRead = 8 << 10
)

const (
	// Slack is how many bytes may be unpacked however few have come: a message of one byte again
	// and again is no bomb. It is no memory (what is unpacked is given on before more is) but
	// the processor's time, and only who has logged in may compress.
	Slack = 16 << 20
	// MaxRatio is how many bytes each byte that has come may stand for beyond Slack.
	// Text is packed to a twentieth at best, a bomb to a thousandth.
	MaxRatio = 100
)

// What a Reader ends with.
var (
	ErrCorrupt = mail.Errorf(mail.KindBadArgument, "The compressed data is damaged.")
	ErrBomb    = mail.Errorf(mail.KindLimit, "The compressed data stands for too much.")
)

// stage is what comes next in the stream.
type stage uint8

const (
	blockHeader stage = iota
	storedLength
	storedBytes
	codeCounts
	codeLengths
	symbolLengths
	symbols
	finished // behind the last block
)

// Reader decompresses what src gives. Read gives what has arrived, be it flushed with
// Z_SYNC_FLUSH, Z_PARTIAL_FLUSH or cut anywhere: it waits for src only when there is
// nothing to give. (compress/flate waits for the end of a block.) While it waits
// between blocks it holds as much as a match may refer to, at most 32 KiB, and about
// 300 bytes. Belongs to one goroutine.
type Reader struct {
	src   io.Reader
	err   error // of src, or what is wrong with the stream
	chunk []byte
	in    []byte // of chunk, not yet taken
	bits  uint64 // taken, not yet used: the n lowest
	n     uint

	stage   stage
	last    bool // the block under way is the last
	flushed bool // the last block was an empty one, with which a flush ends
	left    int  // of storedBytes
	codes   *[2]huffman

	work    *work  // nil while nothing is under way
	history []byte // the end of what was given, while work is nil

	taken, given int64
	small        [smallRead]byte
}

// work is what decompressing needs, lent by a pool.
type work struct {
	buf  [workspace]byte
	r, w int // buf[r:w] is to be given; what stands before is history
	high int // buf[:high] was written to

	codes             [2]huffman
	lengths           [maxSymbols + 32]byte
	have, lits, dists int
	order             huffman
	clens             int
}

var (
	workPool  = sync.Pool{New: func() any { return new(work) }}
	chunkPool = sync.Pool{New: func() any { return new([largeRead]byte) }}
)

// NewReader gives a Reader of src; first is what was read of it before.
func NewReader(src io.Reader, first []byte) *Reader {
	return &Reader{src: src, in: first, taken: int64(len(first))}
}

// Given is how many bytes Read has given so far.
func (r *Reader) Given() int64 { return r.given }

// Read gives at least one byte. Errors are those of src, ErrCorrupt, ErrBomb, and
// io.EOF when the client ended its stream.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if w := r.work; w != nil && w.r < w.w {
			n := copy(p, w.buf[w.r:w.w])
			w.r += n
			r.given += int64(n)
			return n, nil
		}
		if err := r.advance(); err != nil {
			r.rest()
			return 0, err
		}
	}
}

// advance decompresses what is there, or else waits for more. All output was given.
func (r *Reader) advance() error {
	switch {
	case r.err != nil:
		return r.err
	case r.stage == finished:
		return io.EOF
	}
	if r.n > 0 || len(r.in) > 0 {
		r.begin()
		if err := r.decode(); err != nil {
			r.err = err
			if r.work.r == r.work.w {
				return err
			}
		}
		if r.given+int64(r.work.w-r.work.r) > Slack+MaxRatio*r.taken {
			r.err = ErrBomb
			r.work.r = r.work.w
			return r.err
		}
		if r.work.r < r.work.w || r.stage == finished {
			return nil
		}
	}
	return r.more()
}

// more waits for src. Everything that has come was taken.
func (r *Reader) more() error {
	r.rest()
	for range 100 {
		to := r.small[:]
		if r.chunk != nil {
			to = r.chunk
		}
		n, err := r.src.Read(to)
		if n > 0 {
			r.in = to[:n]
			r.taken += int64(n)
			if n == smallRead && r.chunk == nil {
				// More is coming.
				r.chunk = chunkPool.Get().(*[largeRead]byte)[:]
			}
			return nil
		}
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) { // reading goes on after that
				r.err = err
			}
			return err
		}
	}
	r.err = io.ErrNoProgress
	return r.err
}

// begin takes what decompressing needs.
func (r *Reader) begin() {
	if r.work == nil {
		r.work = workPool.Get().(*work)
		r.work.w = copy(r.work.buf[:], r.history)
		r.work.r = r.work.w
	}
	if w := r.work; w.w > workspace-window/2 {
		w.high = max(w.high, w.w)
		w.w = copy(w.buf[:], w.buf[w.w-window:w.w])
		w.r = w.w
	}
}

// rest gives back what is not needed while nothing comes. In the middle of a block
// with codes of its own these stay.
func (r *Reader) rest() {
	if r.chunk != nil && len(r.in) == 0 {
		clear(r.chunk)
		chunkPool.Put((*[largeRead]byte)(r.chunk))
		r.chunk = nil
	}
	w := r.work
	if w == nil || r.err == nil && (r.stage >= codeCounts && r.stage < symbols || r.stage == symbols && r.codes == &w.codes) {
		return
	}
	keep := min(w.w, window)
	if cap(r.history) < keep {
		size := 256
		for size < keep {
			size *= 2
		}
		r.history = make([]byte, 0, size)
	}
	r.history = append(r.history[:0], w.buf[w.w-keep:w.w]...)
	clear(w.buf[:max(w.high, w.w)])
	w.high, r.work = 0, nil
	workPool.Put(w)
}

// fill moves bytes to bits, of which there are 56 at least then, if so many have come.
func (r *Reader) fill() {
	if len(r.in) >= 8 {
		r.bits |= binary.LittleEndian.Uint64(r.in) << r.n
		r.in = r.in[(63-r.n)>>3:]
		r.n |= 56
		return
	}
	for r.n <= 56 && len(r.in) > 0 {
		r.bits |= uint64(r.in[0]) << r.n
		r.in = r.in[1:]
		r.n += 8
	}
}

// has tells whether n bits, at most 48, have come.
func (r *Reader) has(n uint) bool {
	if r.n < n {
		r.fill()
	}
	return r.n >= n
}

// take gives the next n bits, which have come.
func (r *Reader) take(n uint) int {
	v := int(r.bits & (1<<n - 1))
	r.drop(n)
	return v
}

func (r *Reader) drop(n uint) {
	r.bits >>= n
	r.n -= n
}

// clenOrder is in which order the lengths of the code of lengths come (RFC 1951, 3.2.7).
var clenOrder = [...]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// decode goes on until what has come is used up, the workspace is full, or there is
// something to give and the client flushed behind it: what follows need not be
// compressed any more (see End).
func (r *Reader) decode() error {
	for {
		moved, err := r.step()
		if !moved || err != nil || r.flushed && r.work.r < r.work.w {
			return err
		}
	}
}

// step does what comes next; not moved when it can not: more must come, or what is
// there be given. Every step takes all its bits or none of them.
func (r *Reader) step() (moved bool, err error) {
	w := r.work
	switch r.stage {
	case blockHeader:
		if !r.has(3) {
			return false, nil
		}
		r.flushed = false
		r.last = r.take(1) == 1
		switch r.take(2) {
		case 0:
			r.stage = storedLength
		case 1:
			r.stage, r.codes = symbols, fixed()
		case 2:
			r.stage = codeCounts
		default:
			return false, ErrCorrupt
		}
	case storedLength:
		r.drop(r.n % 8)
		if !r.has(32) {
			return false, nil
		}
		r.left = r.take(16)
		if r.take(16) != r.left^0xffff {
			return false, ErrCorrupt
		}
		if r.stage = storedBytes; r.left == 0 {
			r.flushed = true
			r.endBlock()
		}
	case storedBytes:
		for r.left > 0 && r.n > 0 && w.w < workspace {
			w.buf[w.w] = byte(r.take(8))
			w.w++
			r.left--
		}
		if r.n == 0 {
			r.bits = 0 // may hold the beginning of what is copied now
			n := copy(w.buf[w.w:], r.in[:min(r.left, len(r.in))])
			w.w += n
			r.in = r.in[n:]
			r.left -= n
		}
		if r.left > 0 {
			return false, nil
		}
		r.endBlock()
	case codeCounts:
		if !r.has(14) {
			return false, nil
		}
		w.lits, w.dists, w.clens = 257+r.take(5), 1+r.take(5), 4+r.take(4)
		if w.lits > 286 || w.dists > 30 {
			return false, ErrCorrupt
		}
		w.have, r.stage = 0, codeLengths
		clear(w.lengths[:len(clenOrder)])
	case codeLengths:
		for ; w.have < w.clens; w.have++ {
			if !r.has(3) {
				return false, nil
			}
			w.lengths[clenOrder[w.have]] = byte(r.take(3))
		}
		if !w.order.build(w.lengths[:len(clenOrder)], true) {
			return false, ErrCorrupt
		}
		w.have, r.stage = 0, symbolLengths
	case symbolLengths:
		if done, err := r.readLengths(w); !done {
			return false, err
		}
		r.stage, r.codes = symbols, &w.codes
	case symbols:
		if done, err := r.readSymbols(w); !done {
			return false, err
		}
		r.endBlock()
	case finished:
		return false, nil
	}
	return true, nil
}

func (r *Reader) endBlock() {
	r.stage, r.codes = blockHeader, nil
	if r.last {
		r.stage = finished
	}
}

// readLengths reads the codes of a block (RFC 1951, 3.2.7).
func (r *Reader) readLengths(w *work) (done bool, err error) {
	for w.have < w.lits+w.dists {
		r.has(14)
		symbol, n := w.order.find(r.bits)
		if n == 0 && r.n >= 7 {
			return false, ErrCorrupt
		}
		if n == 0 || r.n < n {
			return false, nil
		}
		extra, times, value := uint(0), 1, byte(symbol)
		switch symbol {
		case 16:
			if extra, times = 2, 3; w.have == 0 {
				return false, ErrCorrupt
			}
			value = w.lengths[w.have-1]
		case 17:
			extra, times, value = 3, 3, 0
		case 18:
			extra, times, value = 7, 11, 0
		}
		if r.n < n+extra {
			return false, nil
		}
		r.drop(n)
		times += r.take(extra)
		if w.have+times > w.lits+w.dists {
			return false, ErrCorrupt
		}
		for range times {
			w.lengths[w.have] = value
			w.have++
		}
	}
	if w.lengths[256] == 0 || !w.codes[0].build(w.lengths[:w.lits], true) ||
		!w.codes[1].build(w.lengths[w.lits:w.have], true) {
		return false, ErrCorrupt
	}
	return true, nil
}

// The lengths and distances of matches (RFC 1951, 3.2.5).
var (
	lengthBase  = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// readSymbols reads literals and matches up to the end of the block; not done and
// without error when no more has come or the workspace is full.
func (r *Reader) readSymbols(w *work) (done bool, err error) {
	codes := r.codes
	for w.w <= workspace-longest {
		r.has(48)
		symbol, used := codes[0].find(r.bits)
		if used == 0 && r.n >= maxCodeLen {
			return false, ErrCorrupt
		}
		if used == 0 || used > r.n {
			return false, nil
		}
		switch {
		case symbol < 256:
			w.buf[w.w] = byte(symbol)
			w.w++
			r.drop(used)
			continue
		case symbol == 256:
			r.drop(used)
			return true, nil
		case symbol > 285:
			return false, ErrCorrupt
		}
		bits := r.bits >> used
		extra := uint(lengthExtra[symbol-257])
		length := int(lengthBase[symbol-257]) + int(bits&(1<<extra-1))
		bits >>= extra
		used += extra
		d, n := codes[1].find(bits)
		if n == 0 && r.n >= used+maxCodeLen || d > 29 && n != 0 && r.n >= used+n {
			return false, ErrCorrupt
		}
		if n == 0 || d > 29 {
			return false, nil
		}
		used += n
		bits >>= n
		extra = uint(distExtra[d])
		distance := int(distBase[d]) + int(bits&(1<<extra-1))
		if used += extra; used > r.n {
			return false, nil
		}
		if distance > w.w || distance > window {
			return false, ErrCorrupt
		}
		r.drop(used)
		to := w.buf[w.w : w.w+length]
		from := w.buf[w.w-distance:]
		for i := range to {
			to[i] = from[i]
		}
		w.w += length
	}
	return false, nil
}

// End ends the reading behind what was given so far: at the end of the client's last
// flush, which must be Z_SYNC_FLUSH, Z_FULL_FLUSH or Z_FINISH, as only these end with
// a byte. It gives what came behind that, and waits for the flush where it has not come.
// ErrCorrupt when something else stands before it.
func (r *Reader) End() (rest []byte, err error) {
	for !r.flushed && r.stage != finished {
		if r.err != nil {
			return nil, r.err
		}
		if r.n == 0 && len(r.in) == 0 {
			if err := r.more(); err != nil {
				return nil, err
			}
		}
		r.begin()
		moved, err := r.step()
		if err != nil {
			return nil, err
		}
		if r.work.r < r.work.w {
			break
		}
		if !moved {
			if err := r.more(); err != nil {
				return nil, err
			}
		}
	}
	if w := r.work; w != nil && w.r < w.w {
		return nil, ErrCorrupt
	}
	for r.drop(r.n % 8); r.n > 0; r.drop(8) {
		rest = append(rest, byte(r.bits))
	}
	rest = append(rest, r.in...)
	r.in, r.err = nil, io.EOF
	r.rest()
	return rest, nil
}
