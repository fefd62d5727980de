package imap

import (
	"io"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// piece is what an item of FETCH gives of one message.
type piece struct {
	none   bool          // the message has no such section: NIL
	ready  bool          // text has it
	text   []byte        // if ready
	span   message.Range // of the message, if not ready
	header bool          // span is a header block of which fields are wanted

	// Of BINARY.
	encoding string
	size     int64 // decoded
	nul      bool  // decoded there are NULs
}

// prepare finds the pieces of a message as far as its summary tells, and whether
// the message must be opened for the rest.
func (w *fetching) prepare(m *store.Message, sum message.Summary) (open bool) {
	if len(sum) > 0 && (len(sum.BodyStructure()) == 0 || w.retells.of(sum)) {
		return true
	}
	return w.prepareItems(sum)
}

// prepareItems is prepare for a message of which nothing else than sum says is given.
func (w *fetching) prepareItems(sum message.Summary) (open bool) {
	w.scratch = w.scratch[:0]
	for i := range w.items {
		item := &w.items[i]
		p := &w.pieces[i]
		*p = piece{}
		switch item.kind {
		case itemSection:
			open = w.prepareSection(item, p, sum) || open
		case itemBinary, itemBinarySize:
			open = prepareBinary(item, p, sum) || open
		}
	}
	return open
}

func (w *fetching) prepareSection(item *fetchItem, p *piece, sum message.Summary) (open bool) {
	if item.kept {
		if header, ok := sum.KeptHeader(); ok {
			from := len(w.scratch)
			w.scratch = message.AppendFields(w.scratch, header, item.section.Names, false)
			p.ready, p.text = true, item.cutText(w.scratch[from:], sum.HasNUL())
			return false
		}
	}
	span, ok := sum.Locate(item.section)
	switch {
	case !ok:
		p.none = true
		return false
	case item.section.Kind == message.HeaderFields || item.section.Kind == message.HeaderFieldsNot:
		p.header, p.span = true, span
		return true
	}
	p.span = item.cut(span)
	return p.span.Len() > 0
}

// writeFields sends the fields of a header block that item names. They are put
// together only now: a hundred such items of a giant header would fill the memory.
func (w *fetching) writeFields(item *fetchItem, p *piece, sum message.Summary, body store.Body) {
	e := w.s.enc
	block, err := store.ReadSpan(body, p.span)
	if err != nil {
		e.LiteralFrom(1, failing{err})
		return
	}
	w.block = message.AppendFields(w.block[:0], block, item.section.Names, item.section.Kind == message.HeaderFieldsNot)
	writeText(e, item.cutText(w.block, sum.HasNUL()), false)
}

// cutText gives the part of text that a partial FETCH wants, without NULs.
func (item *fetchItem) cutText(text []byte, nul bool) []byte {
	if nul {
		replaceNUL(text)
	}
	r := item.cut(message.Range{Start: 0, End: int64(len(text))})
	return text[r.Start:r.End]
}

// cut gives the part of r that a partial FETCH wants.
func (item *fetchItem) cut(r message.Range) message.Range {
	if item.partial {
		r.Start += min(item.offset, r.Len())
		r.End = r.Start + min(item.count, r.Len())
	}
	return r
}

// load reads of an opened message what must be known before its response begins:
// from then on only the bytes themselves may be missing.
func (w *fetching) load(body store.Body, sum message.Summary) error {
	if body.Size() < sum.Size() {
		return mail.Errorf(mail.KindCorrupt, "A stored message is shorter than its summary says.")
	}
	for i := range w.items {
		item, p := &w.items[i], &w.pieces[i]
		if !p.none && !p.ready && (item.kind == itemBinary || item.kind == itemBinarySize) {
			if err := w.loadBinary(item, p, body, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// writePiece writes a piece as nstring, literal8 or, for BINARY.SIZE, number.
func (w *fetching) writePiece(item *fetchItem, p *piece, sum message.Summary, body store.Body) {
	e := w.s.enc
	switch {
	case item.kind == itemBinarySize:
		e.Number(uint64(p.size))
	case p.none:
		e.Nil()
	case p.ready:
		writeText(e, p.text, p.nul)
	case p.header:
		w.writeFields(item, p, sum, body)
	case item.kind == itemBinary:
		w.writeBinary(item, p, body)
	case p.span.Len() == 0:
		e.Const(`""`)
	case sum.HasNUL():
		w.source.reset(body, p.span)
		e.LiteralFrom(p.span.Len(), withoutNUL{&w.source})
	default:
		w.source.reset(body, p.span)
		e.LiteralParts(p.span.Len(), &w.source)
	}
}

// writeText writes text that is at hand.
func writeText(e *wire.Encoder, text []byte, nul bool) {
	switch {
	case len(text) == 0:
		e.Const(`""`)
	case nul:
		e.Literal8(text)
	default:
		e.Literal(text)
	}
}

// bodySource reads a span of a message's content.
type bodySource struct {
	body store.Body
	next int64
	end  int64
}

func (r *bodySource) reset(body store.Body, span message.Range) {
	r.body, r.next, r.end = body, span.Start, span.End
}

func (r *bodySource) Read(p []byte) (int, error) {
	if r.next >= r.end {
		return 0, io.EOF
	}
	if left := r.end - r.next; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := r.body.ReadAt(p, r.next)
	r.next += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Part implements wire.Parts.
func (r *bodySource) Part() ([]byte, error) {
	if r.next >= r.end {
		return nil, io.EOF
	}
	p, err := r.body.Part(r.next)
	p = p[:min(int64(len(p)), r.end-r.next)]
	r.next += int64(len(p))
	return p, err
}

// withoutNUL replaces NULs, which no literal may hold (RFC 3501, 9 CHAR8), so that
// every other byte keeps its place. BINARY gives the message as it is.
type withoutNUL struct{ r io.Reader }

func (w withoutNUL) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	replaceNUL(p[:n])
	return n, err
}

func replaceNUL(b []byte) {
	for i, c := range b {
		if c == 0 {
			b[i] = '?'
		}
	}
}

// wholeBody gives a message's content, which is not to be altered.
func wholeBody(body store.Body) ([]byte, error) {
	return store.ReadSpan(body, message.Range{Start: 0, End: body.Size()})
}
