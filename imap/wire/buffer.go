package wire

import (
	"io"
	"sync"
)

const (
	smallBuffer  = 4 << 10
	mediumBuffer = 16 << 10
	largeBuffer  = 64 << 10
)

// The pools lend buffers to connections that have something to read or to write.
// They are caches and hold no state: what is given back is cleared.
var (
	smallPool  = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	mediumPool = sync.Pool{New: func() any { return new([mediumBuffer]byte) }}
	largePool  = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// borrow gives a buffer of at least n bytes, of unknown content.
func borrow(n int) []byte {
	switch {
	case n <= smallBuffer:
		return smallPool.Get().(*[smallBuffer]byte)[:]
	case n <= mediumBuffer:
		return mediumPool.Get().(*[mediumBuffer]byte)[:]
	case n <= largeBuffer:
		return largePool.Get().(*[largeBuffer]byte)[:]
	}
	return make([]byte, n)
}

// giveBack returns what borrow gave, in its full length. used is how far it was
// written to; that part is cleared, because it may hold passwords and mail.
func giveBack(b []byte, used int) {
	clear(b[:used])
	switch len(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b))
	case mediumBuffer:
		mediumPool.Put((*[mediumBuffer]byte)(b))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b))
	}
}

// grow replaces the read buffer by one of at least n bytes. Unread bytes move to
// its front.
func (d *Decoder) grow(n int) {
	b := borrow(n)
	kept := copy(b, d.buf[d.next:d.w])
	d.drop()
	d.buf, d.next, d.w, d.high = b, 0, kept, kept
}

// drop gives the read buffer back, and with it all unread bytes. Of what was read nothing stays,
// because it may be a password.
func (d *Decoder) drop() {
	switch {
	case d.buf == nil:
	case &d.buf[0] != &d.small[0]:
		giveBack(d.buf, d.high)
	default:
		clear(d.small[:d.high])
	}
	d.buf, d.next, d.w, d.high = d.small[:], 0, 0, 0
}

// more reads at least one byte behind those that are unread. No segment is loaded
// when it is called; slices into the buffer are void afterwards.
func (d *Decoder) more() error {
	if d.next == d.w {
		d.next, d.w = 0, 0
	}
	if d.w == len(d.buf) {
		// The inline buffer is left as soon as it was filled: the client pipelines
		// or sends long lines.
		if d.next > 0 && len(d.buf) > len(d.small) {
			copy(d.buf, d.buf[d.next:d.w])
			d.w -= d.next
			d.next = 0
		} else {
			d.grow(2 * len(d.buf))
		}
	}
	for range 100 {
		n, err := d.r.Read(d.buf[d.w:])
		if n < 0 || n > len(d.buf)-d.w {
			return io.ErrNoProgress
		}
		d.w += n
		d.high = max(d.high, d.w)
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
