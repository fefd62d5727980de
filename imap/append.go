package imap

import (
	"io"
	"time"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// maxArrivals is how many messages one APPEND may bring: as many as the lowest
	// limit that can be set admits (RFC 9738, 3). Together they have no more
	// bytes than the largest message may have: they are in memory until they are kept.
	maxArrivals = 1000
	// firstPiece is how many bytes of a message get memory before they have come. More
	// follows what has come: who announces much and sends little takes nothing away
	// from the deliveries of others.
	firstPiece = 128 << 10
)

// append is APPEND (RFC 3501, 6.3.11; RFC 3502; RFC 4469; RFC 4315; RFC 3516, 4.4; RFC 7889). A
// message is refused before the client is asked for it wherever that can be known, and
// with it all others of the command; OK means that they are durable.
//
//	append         = "APPEND" SP mailbox 1*append-message
//	append-message = [SP flag-list] [SP date-time] [SP att-annotate] SP
//	                 (literal / literal8 / utf8-literal / catenate)
//	utf8-literal   = "UTF8" SP "(" literal8 ")" ; of RFC 6855, 4; gone in RFC 9755
func (s *session) append(r *request) error {
	d := s.dec
	a := newAppending(s)
	defer a.release()
	a.readMailbox()
	for {
		a.readMessage()
		if d.AtEnd() || s.off("MULTIAPPEND") {
			break
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	done, err := a.place.Append(s.ctx, a.place.name, a.arrivals...)
	if err != nil {
		return tryCreate(err)
	}
	s.bring(a.place.Visit, done.Mailbox, done.UIDs)
	s.tellName(a.name, a.given)
	r.code = appendUID(done)
	return nil
}

// appendUID gives the response code of RFC 4315, 3.
func appendUID(done store.Appended) string {
	return "APPENDUID " + formatUint(uint64(done.UIDValidity)) + " " + mail.UIDSet(done.UIDs...).String()
}

// appending is an APPEND or REPLACE under way.
type appending struct {
	session *session

	// The mailbox.
	name  string
	given string // the name as the client wrote it
	place place

	catenating

	arrivals []store.Arrival
	bytes    int64    // of all arrivals
	reserved []func() // give back their memory

	// What leaves the account in the same change.
	leavingBytes, leavingMessages int64
}

func newAppending(s *session) *appending {
	return &appending{session: s, catenating: catenating{urls: urlReader{s: s}}}
}

func (a *appending) release() {
	a.urls.close()
	for _, release := range a.reserved {
		release()
	}
}

// readMailbox consumes the name of the mailbox that messages are for.
func (a *appending) readMailbox() {
	d := a.session.dec
	d.SP()
	a.name = a.session.mailboxName()
	if d.Err() == nil {
		var err error
		if a.place, err = a.session.place(a.name); err != nil {
			d.Fail(tryCreate(err))
		}
	}
	a.given = d.Given()
}

// readMessage consumes an append-message.
func (a *appending) readMessage() {
	s := a.session
	d := s.dec
	var arrival store.Arrival
	d.SP()
	if d.Peek() == '(' {
		arrival.Flags, arrival.Keywords = d.FlagList()
		d.SP()
	}
	if d.Peek() == '"' {
		arrival.InternalDate = d.DateTime().Truncate(time.Second)
		d.SP()
	}
	var annotating *annotating
	if d.TryWord("ANNOTATION") {
		d.SP()
		annotating = a.readAnnotations()
		arrival.Annotations = annotating.Annotations
		d.SP()
	}
	var body []byte
	if d.TryWord("CATENATE") {
		body = a.readParts()
	} else {
		body = a.readText(nil, false)
	}
	if d.Err() != nil {
		return
	}
	arrival.Prepared = a.session.server.Store.Prepare(body)
	if annotating != nil && lacksPart(arrival.Summary(), annotating.parts) {
		d.Fail(errNoPart)
		return
	}
	a.arrivals = append(a.arrivals, arrival)
	a.bytes += int64(len(body))
}

// readAnnotations consumes the annotations of a message, which are refused before the client
// is asked for the rest (RFC 5257, 4.7).
func (a *appending) readAnnotations() *annotating {
	d := a.session.dec
	x := readAnnotating(d)
	if d.Err() != nil {
		return x
	}
	needed := mail.Rights(0)
	if len(x.Shared) > 0 {
		needed |= mail.RightAnnotate
	}
	if len(x.Private) > 0 {
		needed |= mail.RightRead
	}
	if err := a.place.May(a.place.name, needed); err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			err = tryCreate(errNoMailbox)
		}
		d.Fail(err)
	}
	return x
}

// readText consumes a literal, literal8 or utf8-literal behind what body has of the
// message. Only a part may be empty.
func (a *appending) readText(body []byte, part bool) []byte {
	s := a.session
	d := s.dec
	utf8 := s.utf8 && d.TryWord("UTF8")
	if utf8 {
		d.SP()
		d.Open()
	}
	lit := d.Literal()
	if d.Err() != nil {
		return body
	}
	if lit.Size == 0 && !part {
		lit.Refuse(errEmpty)
		return body
	}
	if err := a.admit(int64(len(body)), lit.Size); err != nil {
		lit.Refuse(err)
		return body
	}
	want := int64(len(body)) + lit.Size
	body, err := a.grow(body, want)
	if err != nil {
		lit.Refuse(err)
		return body
	}
	if lit.Accept() != nil {
		return body
	}
	s.conn.Phase(listener.Literal)
	for err == nil && int64(len(body)) < want {
		if body, err = a.grow(body, want); err == nil {
			at := len(body)
			var n int
			n, err = io.ReadFull(lit, body[at:min(int64(cap(body)), want)])
			body = body[:at+n]
		}
	}
	if err != nil {
		d.Fail(err)
		return body
	}
	s.conn.Phase(listener.Command)
	if utf8 {
		d.Close()
	}
	return body
}

var errEmpty = mail.Errorf(mail.KindCannot, "A message is not empty.")

// grow gives a message that is to have want bytes room for some more of them, unless it
// has some.
func (a *appending) grow(body []byte, want int64) ([]byte, error) {
	have := int64(cap(body))
	if have > int64(len(body)) || have >= want {
		return body, nil
	}
	next := min(max(2*have, firstPiece), want)
	if err := a.reserve(next - have); err != nil {
		return body, err
	}
	grown := make([]byte, len(body), next)
	copy(grown, body)
	return grown, nil
}

// reserve takes memory until release.
func (a *appending) reserve(n int64) error {
	release, err := a.session.server.Store.Reserve(a.session.ctx, n)
	if err == nil {
		a.reserved = append(a.reserved, release)
	}
	return err
}

// admit says whether more bytes may come to a message that has so many.
func (a *appending) admit(has, more int64) error {
	most := a.session.server.Store.MaxMessage()
	switch {
	case more > most-has:
		return mail.Errorf(mail.KindTooBig, "A message has at most %d bytes here.", most)
	case len(a.arrivals) == maxArrivals:
		code := "LIMIT"
		if s := a.session; s.saveLimit() > 0 {
			code = limitCode(maxArrivals, 0)
		}
		return withCode(code, mail.Errorf(mail.KindLimit, "At most %d messages can be appended at once.", maxArrivals))
	case a.bytes+has+more > most:
		return withCode("LIMIT", mail.Errorf(mail.KindLimit, "Messages that are appended at once have at most %d bytes together.", most))
	}
	switch err := a.place.May(a.place.name, mail.RightInsert); {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		return tryCreate(errNoMailbox)
	case err != nil:
		return err
	}
	use := a.place.Account().Usage()
	bytes, messages := a.bytes+has+more-a.leavingBytes, int64(len(a.arrivals))+1-a.leavingMessages
	if use.QuotaBytes > 0 && bytes > 0 && use.Bytes+bytes > use.QuotaBytes || use.QuotaMessages > 0 && messages > 0 && use.Messages+messages > use.QuotaMessages {
		return mail.Errorf(mail.KindOverQuota, "The message would exceed the quota.")
	}
	return nil
}
