package deflate

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// attached is how many Writers of a Compressors may keep what they have sent in
	// mind. A compressor has 0.8 MiB, so these are 13 MiB together.
	attached = 16
	// chunk is how much is compressed before it is sent: no compressor waits for a client.
	chunk = 32 << 10
	// longBase64 is from how many bytes on a piece is looked at for being base64.
	longBase64 = 4 << 10
)

// Compressors lends compressors to Writers. The ones that wrote last keep theirs from
// one Write to the next, so that a response can refer to those before it; the others
// begin anew. The zero value is ready.
type Compressors struct {
	mu   sync.Mutex
	held []*Writer // that have one, who wrote last behind the others
	free sync.Pool // *compressor
	huff sync.Pool // *compressor, Huffman codes only
	bufs sync.Pool // *bytes.Buffer
}

// compressor writes to whatever its out is at the moment.
type compressor struct {
	flate *flate.Writer
	out   *bytes.Buffer
}

func newCompressor(level int) *compressor {
	z := new(compressor)
	z.flate, _ = flate.NewWriter(z, level)
	return z
}

func (z *compressor) Write(p []byte) (int, error) { return z.out.Write(p) }

// pack appends piece to out, compressed and flushed.
func (z *compressor) pack(out *bytes.Buffer, piece []byte) {
	z.out = out
	z.flate.Write(piece) // the errors are those of a buffer: none
	z.flate.Flush()
	z.out = nil
}

// Writer compresses to dst. Each Write is flushed: the client can read all of it, and
// it ends with a byte, so that anything may follow. Belongs to one goroutine.
type Writer struct {
	owner *Compressors
	dst   io.Writer
	taken int64

	// Guarded by owner.mu.
	compressor *compressor // nil: it begins anew
	busy       bool        // it is at work
}

// Writer gives a Writer; call its Close.
func (c *Compressors) Writer(dst io.Writer) *Writer { return &Writer{owner: c, dst: dst} }

// Taken is how many bytes were given to Write so far.
func (w *Writer) Taken() int64 { return w.taken }

// Close gives the compressor back. Nothing is written.
func (w *Writer) Close() {
	c := w.owner
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeBack(w)
}

// Write compresses and sends p. Errors are those of dst.
func (w *Writer) Write(p []byte) (int, error) {
	c := w.owner
	out, _ := c.bufs.Get().(*bytes.Buffer)
	if out == nil {
		out = new(bytes.Buffer)
	}
	defer c.bufs.Put(out)
	for done := 0; done < len(p); {
		piece := p[done:min(len(p), done+chunk)]
		w.pack(out, piece)
		_, err := w.dst.Write(out.Bytes())
		clear(out.Bytes())
		out.Reset()
		if err != nil {
			return done, err
		}
		done += len(piece)
		w.taken += int64(len(piece))
	}
	return len(p), nil
}

// pack compresses piece.
//
// A large piece of base64 is an attachment, in which nothing repeats: there the
// compressor finds nothing and lets it be, while Huffman codes alone take off a
// quarter, for 1.8 µs a KiB.
func (w *Writer) pack(out *bytes.Buffer, piece []byte) {
	c := w.owner
	if len(piece) >= longBase64 && isBase64(piece) {
		w.Close() // it would count distances without this piece
		z, _ := c.huff.Get().(*compressor)
		if z == nil {
			z = newCompressor(flate.HuffmanOnly)
		} else {
			z.flate.Reset(z)
		}
		z.pack(out, piece)
		c.huff.Put(z)
		return
	}
	z := c.lend(w)
	z.pack(out, piece)
	c.mu.Lock()
	if w.busy = false; w.compressor == nil {
		c.free.Put(z)
	}
	c.mu.Unlock()
}

// lend gives w its compressor, or one that begins anew. w keeps it unless all that may
// be kept are at work.
func (c *Compressors) lend(w *Writer) *compressor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.compressor != nil {
		i := slices.Index(c.held, w)
		copy(c.held[i:], c.held[i+1:])
		c.held[len(c.held)-1] = w
		w.busy = true
		return w.compressor
	}
	if len(c.held) == attached {
		if i := slices.IndexFunc(c.held, func(w *Writer) bool { return !w.busy }); i >= 0 {
			c.takeBack(c.held[i])
		}
	}
	z, _ := c.free.Get().(*compressor)
	if z == nil {
		z = newCompressor(flate.BestSpeed)
	} else {
		z.flate.Reset(z)
	}
	if len(c.held) < attached {
		c.held = append(c.held, w)
		w.compressor, w.busy = z, true
	}
	return z
}

// takeBack takes the compressor that w keeps; mu is held.
func (c *Compressors) takeBack(w *Writer) {
	if w.compressor == nil {
		return
	}
	c.held = slices.DeleteFunc(c.held, func(other *Writer) bool { return other == w })
	c.free.Put(w.compressor)
	w.compressor = nil
}

// isBase64 looks at the beginning of piece, the middle and the end.
func isBase64(piece []byte) bool {
	const look = 200
	for _, at := range [...]int{0, len(piece) / 2, len(piece) - look} {
		for _, b := range piece[at : at+look] {
			switch {
			case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9',
				b == '+', b == '/', b == '=', b == '\r', b == '\n':
			default:
				return false
			}
		}
	}
	return true
}
