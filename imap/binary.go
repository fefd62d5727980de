package imap

import (
	"bytes"
	"io"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// binaryAtHand is up to how many encoded bytes a part is decoded in memory. A
// larger one is decoded twice, to know its size and to send it.
const binaryAtHand = 128 << 10

// prepareBinary finds the part that BINARY or BINARY.SIZE names (RFC 3516, 4.2). A
// multipart has no content of its own to decode; it is given as it stands.
func prepareBinary(item *fetchItem, p *piece, sum message.Summary) (open bool) {
	part, ok := sum.Part(item.section.Path)
	if !ok {
		// BINARY.SIZE has no NIL.
		p.none = true
		return false
	}
	p.span = part.Body
	if !part.Multipart() {
		p.encoding = part.Encoding
	}
	if item.kind == itemBinarySize && identity(p.encoding) {
		p.size = p.span.Len()
		p.ready = true
		return false
	}
	return true
}

// identity tells the content transfer encodings that encode nothing.
func identity(encoding string) bool {
	switch encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// loadBinary decodes a part, or finds out how large it is decoded. KindUnknownCTE.
func (w *fetching) loadBinary(item *fetchItem, p *piece, body store.Body, sum message.Summary) error {
	if identity(p.encoding) && !sum.HasNUL() {
		p.size = p.span.Len()
		return nil
	}
	r, err := p.decoder(body)
	if err != nil {
		return err
	}
	if p.span.Len() > binaryAtHand {
		c := counter{}
		_, err = io.Copy(&c, r)
		p.size, p.nul = c.n, c.nul
		return err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	p.size = int64(len(text))
	cut := item.cut(message.Range{Start: 0, End: p.size})
	p.ready, p.text = true, text[cut.Start:cut.End]
	p.nul = bytes.IndexByte(text, 0) >= 0
	return nil
}

// decoder reads a part without its content transfer encoding.
func (p *piece) decoder(body store.Body) (io.Reader, error) {
	if all := body.Bytes(); all != nil {
		return message.Decode(p.encoding, bytes.NewReader(all[p.span.Start:p.span.End]))
	}
	source := &bodySource{}
	source.reset(body, p.span)
	return message.Decode(p.encoding, source)
}

// writeBinary sends a part that was not decoded in memory. The part is a literal
// unless it has NULs, by which the client knows (RFC 3516, 4.3).
func (w *fetching) writeBinary(item *fetchItem, p *piece, body store.Body) {
	e := w.s.enc
	cut := item.cut(message.Range{Start: 0, End: p.size})
	if cut.Len() == 0 {
		e.Const(`""`)
		return
	}
	r, err := p.decoder(body)
	if err == nil {
		_, err = io.CopyN(io.Discard, r, cut.Start)
	}
	if err != nil {
		r = failing{err}
	}
	if p.nul {
		e.Literal8From(cut.Len(), r)
	} else {
		e.LiteralFrom(cut.Len(), r)
	}
}

// counter counts bytes and looks for NULs.
type counter struct {
	n   int64
	nul bool
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.nul = c.nul || bytes.IndexByte(p, 0) >= 0
	return len(p), nil
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, mail.Wrap(mail.KindUnavailable, f.err) }
