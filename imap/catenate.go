package imap

import (
	"slices"

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
	parts  int   // of all messages of the command
	opened int64 // bytes of the messages that parts were taken of

	// The mailbox that was opened last, nil for none.
	from *store.Mailbox
	name string // as the URL had it
}

func (c *catenating) close() {
	if c.from != nil {
		c.from.Close()
		c.from = nil
	}
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

// readURL puts what a URL means behind body. What the client may not read is answered as
// what does not exist is: BADURL.
func (a *appending) readURL(body []byte, text string) ([]byte, error) {
	bad := func(why string) error {
		return withCode("BADURL "+text[:min(len(text), maxURL)], mail.Errorf(mail.KindNotFound, "%s", why))
	}
	u, ok := parseURL(text)
	if !ok {
		return body, bad("The URL is not one of a message on this server, or of a part of it.")
	}
	if err := a.open(u.mailbox); err != nil {
		switch mail.KindOf(err) {
		case mail.KindNotFound, mail.KindNoPermission, mail.KindCannot:
			return body, bad("The mailbox of the URL cannot be read.")
		}
		return body, err
	}
	if u.uidValidity != 0 && u.uidValidity != a.from.Record().UIDValidity {
		return body, bad("The UIDVALIDITY of the URL is another one.")
	}
	seq, ok := a.from.View().Seq(u.uid)
	if !ok {
		return body, bad("There is no message with the UID of the URL.")
	}
	body, found, err := a.take(body, a.from.View().At(seq), &u)
	switch {
	case err != nil && mail.KindOf(err) == mail.KindExpunged:
		return body, bad("There is no message with the UID of the URL.")
	case err == nil && !found:
		return body, bad("The message has no such part.")
	}
	return body, err
}

// open opens the mailbox of a URL, without taking its \Recent.
func (a *appending) open(name string) error {
	if a.from != nil && a.name == name {
		return nil
	}
	a.catenating.close()
	clean, err := store.CleanName(name)
	if err != nil {
		return err
	}
	p, err := a.session.place(clean)
	if err != nil {
		return err
	}
	if a.from, err = p.Select(a.session.ctx, p.name, true); err != nil {
		a.from = nil
		return err
	}
	a.catenating.name = name
	return nil
}

// take puts the bytes of m that u means behind body, just as they are kept (RFC 4469, 3).
// found is false when m has no such section.
func (a *appending) take(body []byte, m *store.Message, u *messageURL) (_ []byte, found bool, err error) {
	content, err := a.from.Body(a.session.ctx, m.Email)
	if err != nil {
		return body, false, err
	}
	defer content.Close()
	// A part of a few bytes may cost the reading of the whole message.
	if a.opened += content.Size(); a.opened > 4*a.session.server.Store.MaxMessage() {
		return body, false, withCode("LIMIT", mail.Errorf(mail.KindLimit, "The messages that parts are taken of are too large together."))
	}
	span := message.Range{Start: 0, End: content.Size()}
	if s := u.part.section; s.Kind != message.Whole || len(s.Path) > 0 {
		sum, err := a.summary(m, content)
		if err != nil {
			return body, false, err
		}
		if span, found = sum.Locate(s); !found {
			return body, false, nil
		}
		if s.Kind == message.HeaderFields || s.Kind == message.HeaderFieldsNot {
			block, err := readSpan(content, span)
			if err != nil {
				return body, false, err
			}
			fields := message.AppendFields(nil, block, s.Names, s.Kind == message.HeaderFieldsNot)
			span = u.part.cut(message.Range{Start: 0, End: int64(len(fields))})
			if body, err = a.room(body, span.Len()); err == nil {
				body = append(body, fields[span.Start:span.End]...)
			}
			return body, true, err
		}
	}
	span = u.part.cut(span)
	if body, err = a.room(body, span.Len()); err != nil {
		return body, true, err
	}
	at := len(body)
	body = body[:at+int(span.Len())]
	if n, err := content.ReadAt(body[at:], span.Start); int64(n) < span.Len() {
		return body, true, mail.Wrap(mail.KindCorrupt, err)
	}
	return body, true, nil
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

// summary gives the summary of a message of a.from whose content is open.
func (a *appending) summary(m *store.Message, content store.Body) (sum message.Summary, err error) {
	err = a.from.Summaries(a.session.ctx, []mail.EmailID{m.Email}, func(_ int, s message.Summary) error {
		sum = slices.Clone(s)
		return nil
	})
	if err == nil && len(sum.BodyStructure()) == 0 {
		// Of another version, or damaged: it is made anew.
		var raw []byte
		if raw, err = wholeBody(content); err == nil {
			sum = message.Parse(raw, message.DefaultLimits).Summary()
		}
	}
	if err == nil && content.Size() < sum.Size() {
		err = mail.Errorf(mail.KindCorrupt, "A stored message is shorter than its summary says.")
	}
	return sum, err
}
