package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/s2"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// few is how many summaries are looked up one by one, with bloom filters,
	// rather than by an iterator.
	few = 4
	// near is how many keys an iterator passes to reach the next wanted one
	// before it seeks.
	near = 8
	// zipAbove is from how many bytes on a text is compressed. Below, Pebble's
	// own compression of whole blocks does as well for less.
	zipAbove = 4 << 10
	// maxText bounds a text that is compressed, and what a damaged one can unpack to.
	maxText = 64 << 20
	// pieceSize is how much of a body is in one value, in bytes.
	pieceSize = 256 << 10
)

// The first byte of a text's value.
const (
	textPlain byte = 0
	textS2    byte = 1
)

// Summaries implements store.Engine.
func (e *Engine) Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, summary []byte) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	return e.contents(ctx, zoneSummaries, id, ids, each)
}

// Texts implements store.Engine. An email without text is given as nil too.
func (e *Engine) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, text []byte) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	var buf []byte
	return e.contents(ctx, zoneTexts, id, ids, func(i int, v []byte) error {
		if v == nil {
			return each(i, nil)
		}
		text, err := decodeText(buf[:0], v)
		if err != nil {
			return damaged("the text of message %v of account %v", ids[i], id)
		}
		if v[0] != textPlain && cap(text) <= pieceSize {
			buf = text
		}
		return each(i, text)
	})
}

// Filters implements store.Engine.
func (e *Engine) Filters(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, filter []byte) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	return e.contents(ctx, zoneFilters, id, ids, each)
}

// PutFilters implements store.Engine.
func (e *Engine) PutFilters(ctx context.Context, id mail.AccountID, filters []store.EmailFilter) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	if err := e.refused(); err != nil {
		return err
	}
	// What is expunged meanwhile must not get one: nobody would remove it.
	sh := e.shard(id)
	sh.Lock()
	defer sh.Unlock()
	c := &change{engine: e, id: id, batch: e.db.NewBatch()}
	for _, f := range filters {
		found, err := e.get(contentKey(zoneSummaries, id, f.Email), func([]byte) error { return nil })
		if err != nil {
			c.batch.Close()
			return err
		}
		if found {
			c.set(contentKey(zoneFilters, id, f.Email), f.Filter)
		}
	}
	if c.err != nil || c.batch.Empty() {
		c.batch.Close()
		return c.err
	}
	_, err := e.apply(c.batch)
	return err
}

// appendText makes the value of a text, which is not empty. S2 takes a quarter of
// zstd's time to write and to read, for half as much space again.
func appendText(dst, text []byte) []byte {
	if len(text) >= zipAbove && len(text) <= maxText {
		n := len(dst) + 1
		dst = slices.Grow(append(dst, textS2), s2.MaxEncodedLen(len(text)))
		size := len(s2.Encode(dst[n:cap(dst)], text))
		if size < len(text)-len(text)/8 {
			return dst[:n+size]
		}
		dst = dst[:n-1]
	}
	return append(append(dst, textPlain), text...)
}

// decodeText gives the text, in dst or in v.
func decodeText(dst, v []byte) ([]byte, error) {
	if len(v) > 0 {
		switch v[0] {
		case textPlain:
			return v[1:], nil
		case textS2:
			if n, err := s2.DecodedLen(v[1:]); err != nil || n > maxText {
				return nil, errors.New("a compressed text of no size that can be")
			}
			return s2.Decode(dst[:cap(dst)], v[1:])
		}
	}
	return nil, errors.New("unknown form of text")
}

// contents reads the values of ids in a zone of contentKeys.
func (e *Engine) contents(ctx context.Context, zone byte, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	if len(ids) > few {
		return e.contentsInOrder(ctx, zone, id, ids, each)
	}
	for i, m := range ids {
		found, err := e.get(contentKey(zone, id, m), func(v []byte) error { return each(i, v) })
		if err == nil && !found {
			err = each(i, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// contentsInOrder reads with one iterator, which is quick when ids ascend.
func (e *Engine) contentsInOrder(ctx context.Context, zone byte, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	prefix := inAccount(zone, id)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return e.readError(err)
	}
	// at gives the id that the iterator stands at.
	at := func() (mail.EmailID, error) {
		k := it.Key()
		if len(k) != accountPrefix+8 {
			return 0, damaged("the list of messages of account %v", id)
		}
		return mail.EmailID(binary.BigEndian.Uint64(k[accountPrefix:])), nil
	}
	key := contentKey(zone, id, 0)
	read := func(i int, want mail.EmailID) error {
		var here mail.EmailID
		var err error
		valid := it.Valid()
		if valid {
			if here, err = at(); err != nil {
				return err
			}
		}
		for n := 0; valid && here < want && n < near && err == nil; n++ {
			if valid = it.Next(); valid {
				here, err = at()
			}
		}
		if err == nil && (!valid || here != want) && it.Error() == nil {
			binary.BigEndian.PutUint64(key[accountPrefix:], uint64(want))
			if valid = it.SeekGE(key); valid {
				here, err = at()
			}
		}
		switch {
		case err != nil:
			return err
		case it.Error() != nil:
			return e.readError(it.Error())
		case !valid || here != want:
			return each(i, nil)
		}
		v, err := e.value(it)
		if err != nil {
			return err
		}
		if v == nil {
			v = []byte{}
		}
		return each(i, v)
	}
	for i, m := range ids {
		if err == nil && i%256 == 255 {
			err = mail.Wrap(mail.KindUnavailable, ctx.Err())
		}
		if err == nil {
			err = read(i, m)
		}
		if err != nil {
			break
		}
	}
	return e.finish(it, err)
}

// Body implements store.Engine. A large body is read part by part.
func (e *Engine) Body(ctx context.Context, id mail.AccountID, m mail.EmailID) (store.Body, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	for last := (spot{}); ; {
		v, closer, err := e.lookup(bodyKey(id, m, 0))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, mail.Errorf(mail.KindExpunged, "message %v no longer exists", m)
		}
		if err != nil {
			return nil, e.readError(err)
		}
		s, filed, ok := decodeSpot(v)
		if ok && !filed {
			return e.pebbleBody(id, m, v, closer)
		}
		if err := closer.Close(); err != nil {
			return nil, e.readError(err)
		}
		// It may be moved before its file is opened: then it stands elsewhere now.
		if !ok || s == last {
			return nil, damaged("message %v of account %v", m, id)
		}
		if b, err := e.openBody(id, m, s); b != nil || err != nil {
			return b, err
		}
		last = s
	}
}

// pebbleBody opens a body that is in Pebble; v is piece 0, held until closer is closed.
func (e *Engine) pebbleBody(id mail.AccountID, m mail.EmailID, v []byte, closer io.Closer) (store.Body, error) {
	size, content, ok := bodyStart(v)
	if !ok {
		closer.Close()
		return nil, damaged("message %v of account %v", m, id)
	}
	if int64(len(content)) == size {
		e.bodyOpened()
		return &smallBody{content: content, closer: closer, engine: e}, nil
	}
	if err := closer.Close(); err != nil {
		return nil, e.readError(err)
	}
	prefix := contentKey(zoneBodies, id, m)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, e.readError(err)
	}
	b := &largeBody{account: id, email: m, size: size, it: it, engine: e}
	// Between the two reads the message may have been expunged.
	if err := b.load(0); err != nil {
		if it.Close(); mail.KindOf(err) == mail.KindCorrupt {
			if found, x := e.get(bodyKey(id, m, 0), func([]byte) error { return nil }); x == nil && !found {
				err = mail.Errorf(mail.KindExpunged, "message %v no longer exists", m)
			}
		}
		return nil, err
	}
	e.bodyOpened()
	return b, nil
}

// bodyStart takes piece 0 of a body apart.
func bodyStart(v []byte) (size int64, content []byte, ok bool) {
	s := scanner{b: v}
	n := uint64(s.uint32())
	if s.bad || uint64(len(s.rest())) != min(n, pieceSize) {
		return 0, nil, false
	}
	return int64(n), slices.Clip(s.rest()), true
}

func (e *Engine) bodyOpened() {
	e.life.Lock()
	defer e.life.Unlock()
	e.bodies++
}

func (e *Engine) bodyClosed() {
	e.life.Lock()
	defer e.life.Unlock()
	if e.bodies--; e.bodies == 0 {
		e.idle.Broadcast()
	}
}

// smallBody is one value of Pebble, held until closer is closed.
type smallBody struct {
	content []byte
	closer  io.Closer
	engine  *Engine
}

func (b *smallBody) Size() int64   { return int64(len(b.content)) }
func (b *smallBody) Bytes() []byte { return b.content }

func (b *smallBody) Part(off int64) ([]byte, error) {
	if err := partAt(b.closer == nil, off, b.Size()); err != nil {
		return nil, err
	}
	return b.content[off:], nil
}

func (b *smallBody) ReadAt(p []byte, off int64) (int, error) {
	part, err := b.Part(off)
	n := copy(p, part)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// partAt checks where a body is read.
func partAt(closed bool, off, size int64) error {
	switch {
	case closed:
		return mail.Errorf(mail.KindServerBug, "read of a closed body")
	case off < 0:
		return mail.Errorf(mail.KindServerBug, "read at a negative offset")
	case off >= size:
		return io.EOF
	}
	return nil
}

// readParts is ReadAt by part.
func readParts(p []byte, off int64, part func(int64) ([]byte, error)) (n int, err error) {
	for n < len(p) && err == nil {
		var b []byte
		b, err = part(off + int64(n))
		n += copy(p[n:], b)
	}
	return n, err
}

func (b *smallBody) Close() error {
	if b.closer == nil {
		return nil
	}
	err := b.closer.Close()
	b.content, b.closer = nil, nil
	b.engine.bodyClosed()
	return b.engine.readError(err)
}

// largeBody reads through an iterator, which sees the store as it was when it was
// made, and holds the piece that was read last.
type largeBody struct {
	account mail.AccountID
	email   mail.EmailID
	size    int64
	it      *pebble.Iterator // nil when closed
	engine  *Engine
	number  int64  // of piece
	piece   []byte // valid until the iterator moves
}

func (b *largeBody) Size() int64   { return b.size }
func (b *largeBody) Bytes() []byte { return nil }

// load makes piece n the current one.
func (b *largeBody) load(n int64) error {
	b.piece = nil
	key := bodyKey(b.account, b.email, uint32(n))
	found := b.it.SeekGE(key) && string(b.it.Key()) == string(key)
	if err := b.it.Error(); err != nil {
		return b.engine.readError(err)
	}
	if found {
		v, err := b.engine.value(b.it)
		if err != nil {
			return err
		}
		size, want := b.size, min(b.size-n*pieceSize, pieceSize)
		ok := true
		if n == 0 {
			size, v, ok = bodyStart(v)
		}
		if ok && size == b.size && int64(len(v)) == want {
			b.number, b.piece = n, v
			return nil
		}
	}
	return damaged("message %v of account %v", b.email, b.account)
}

func (b *largeBody) Part(off int64) ([]byte, error) {
	if err := partAt(b.it == nil, off, b.size); err != nil {
		return nil, err
	}
	if i := off / pieceSize; b.piece == nil || i != b.number {
		if err := b.load(i); err != nil {
			return nil, err
		}
	}
	return b.piece[off%pieceSize:], nil
}

func (b *largeBody) ReadAt(p []byte, off int64) (int, error) { return readParts(p, off, b.Part) }

func (b *largeBody) Close() error {
	if b.it == nil {
		return nil
	}
	err := b.it.Close()
	b.it, b.piece = nil, nil
	b.engine.bodyClosed()
	return b.engine.readError(err)
}
