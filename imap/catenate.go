package imap

import (
	"errors"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

const (
	// maxParts is how many parts one command may put together.
	maxParts = 500
	// maxURL is how many bytes of a URL BADURL gives back.
	maxURL = 1000
)

// catenating puts messages together from texts and from parts of messages that are here
// (RFC 4469).
type catenating struct {
	parts int // of all messages of the command
	urls  urlReader
}

// readParts consumes what follows CATENATE and gives the message. The parts are read in
// their order, so that a URL which is wrong is answered before the client sends more.
//
//	catenate     = "CATENATE" SP "(" cat-part *(SP cat-part) ")"
//	cat-part     = text-literal / url / utf8-literal ; the last of RFC 6855, 4
//	text-literal = "TEXT" SP (literal / literal8)
//	url          = "URL" SP astring
func (a *appending) readParts() (body []byte) {
	d := a.session.dec
	from := a.parts
	d.SP()
	d.List(func() {
		if a.parts++; a.parts > maxParts {
			d.Fail(withCode("LIMIT", mail.Errorf(mail.KindLimit, "At most %d parts can be put together at once.", maxParts)))
			return
		}
		switch {
		case d.TryWord("TEXT"):
			d.SP()
			if c := d.Peek(); c != '{' && c != '~' {
				d.Bad("expected a literal")
				return
			}
			body = a.readText(body, true)
		case d.TryWord("URL"):
			d.SP()
			url := d.AString()
			if d.Err() != nil {
				return
			}
			var err error
			body, err = a.readURL(body, url)
			d.Fail(err)
		case a.session.utf8 && d.Peek()|0x20 == 'u':
			body = a.readText(body, true)
		default:
			d.Bad("expected TEXT or URL")
		}
	})
	switch {
	case d.Err() != nil:
	case a.parts == from:
		d.Bad("expected TEXT or URL")
	case len(body) == 0:
		d.Fail(errEmpty)
	}
	return body
}

// readURL puts what a URL means behind body, just as it is kept (RFC 4469, 3). What the
// client may not read is answered as what does not exist is: BADURL.
func (a *appending) readURL(body []byte, text string) ([]byte, error) {
	p, err := a.urls.find(text)
	if err != nil {
		var bad badURL
		if errors.As(err, &bad) {
			err = withCode("BADURL "+text[:min(len(text), maxURL)], bad.error)
		}
		return body, err
	}
	defer p.content.Close()
	section := p.item.section
	span, _ := p.summary.Locate(section)
	if section.Kind == message.HeaderFields || section.Kind == message.HeaderFieldsNot {
		block, err := store.ReadSpan(p.content, span)
		if err != nil {
			return body, err
		}
		fields := message.AppendFields(nil, block, section.Names, section.Kind == message.HeaderFieldsNot)
		span = p.item.cut(message.Range{Start: 0, End: int64(len(fields))})
		if body, err = a.room(body, span.Len()); err == nil {
			body = append(body, fields[span.Start:span.End]...)
		}
		return body, err
	}
	span = p.item.cut(span)
	if body, err = a.room(body, span.Len()); err != nil {
		return body, err
	}
	at := len(body)
	body = body[:at+int(span.Len())]
	if n, err := p.content.ReadAt(body[at:], span.Start); int64(n) < span.Len() {
		return body, mail.Wrap(mail.KindCorrupt, err)
	}
	return body, nil
}

// room gives body room for just so much more, if that may come.
func (a *appending) room(body []byte, more int64) ([]byte, error) {
	if err := a.admit(int64(len(body)), more); err != nil {
		return body, err
	}
	if want := int64(len(body)) + more; want > int64(cap(body)) {
		if err := a.reserve(want - int64(cap(body))); err != nil {
			return body, err
		}
		grown := make([]byte, len(body), want)
		copy(grown, body)
		body = grown
	}
	return body, nil
}
