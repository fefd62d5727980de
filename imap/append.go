package imap

import (
	"io"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// maxArrivals is how many messages one APPEND may bring. Together they have no more
	// bytes than the largest message may have: they are in memory until they are kept.
	maxArrivals = 500
	// firstPiece is how many bytes of a message get memory before they have come. More
	// follows what has come: who announces much and sends little takes nothing away
	// from the deliveries of others.
	firstPiece = 128 << 10
)

// append is APPEND (RFC 3501, 6.3.11; RFC 3502; RFC 4315; RFC 3516, 4.4; RFC 7889). A
// message is refused before the client is asked for it wherever that can be known, and
// with it all others of the command; OK means that they are durable.
//
//	append         = "APPEND" SP mailbox 1*append-message
//	append-message = [SP flag-list] [SP date-time] SP (literal / literal8 / utf8-literal)
//	utf8-literal   = "UTF8" SP "(" literal8 ")" ; of RFC 6855, 4; gone in RFC 9755
func (s *session) append(r *request) error {
	d := s.dec
	a := appending{session: s}
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

	arrivals []store.Arrival
	bytes    int64    // of all arrivals
	reserved []func() // give back their memory

	// What leaves the account in the same change.
	leavingBytes, leavingMessages int64
}

func (a *appending) release() {
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
	utf8 := s.utf8 && d.TryWord("UTF8")
	if utf8 {
		d.SP()
		d.Open()
	}
	lit := d.Literal()
	if d.Err() != nil {
		return
	}
	if err := a.admit(lit.Size); err != nil {
		lit.Refuse(err)
		return
	}
	if lit.Accept() != nil {
		return
	}
	a.session.conn.Phase(listener.Literal)
	body, err := a.read(lit)
	if err != nil {
		d.Fail(err)
		return
	}
	if utf8 {
		d.Close()
	}
	if err := s.refuseWide(body); err != nil {
		d.Fail(err)
		return
	}
	a.session.conn.Phase(listener.Command)
	arrival.Prepared = a.session.server.Store.Prepare(body)
	a.arrivals = append(a.arrivals, arrival)
	a.bytes += lit.Size
}

// read reads a message.
func (a *appending) read(lit *wire.Literal) ([]byte, error) {
	body := make([]byte, min(lit.Size, firstPiece))
	for at := 0; ; {
		n, err := io.ReadFull(lit, body[at:])
		if at += n; err != nil || int64(at) == lit.Size {
			return body, err
		}
		next := min(2*int64(at), lit.Size)
		if err := a.reserve(next - int64(at)); err != nil {
			return nil, err
		}
		grown := make([]byte, next)
		copy(grown, body)
		body = grown
	}
}

// reserve takes memory until release.
func (a *appending) reserve(n int64) error {
	release, err := a.session.server.Store.Reserve(a.session.ctx, n)
	if err == nil {
		a.reserved = append(a.reserved, release)
	}
	return err
}

// admit says whether a message of size bytes may come, and takes the memory for its
// beginning.
func (a *appending) admit(size int64) error {
	s := a.session
	if size == 0 {
		return mail.Errorf(mail.KindCannot, "A message is not empty.")
	}
	most := s.server.Store.MaxMessage()
	switch {
	case size > most:
		return mail.Errorf(mail.KindTooBig, "A message has at most %d bytes here.", most)
	case len(a.arrivals) == maxArrivals:
		return withCode("LIMIT", mail.Errorf(mail.KindLimit, "At most %d messages can be appended at once.", maxArrivals))
	case a.bytes+size > most:
		return withCode("LIMIT", mail.Errorf(mail.KindLimit, "Messages that are appended at once have at most %d bytes together.", most))
	}
	switch err := a.place.May(a.place.name, mail.RightInsert); {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		return tryCreate(errNoMailbox)
	case err != nil:
		return err
	}
	use := a.place.Account().Usage()
	bytes, messages := a.bytes+size-a.leavingBytes, int64(len(a.arrivals))+1-a.leavingMessages
	if use.QuotaBytes > 0 && bytes > 0 && use.Bytes+bytes > use.QuotaBytes || use.QuotaMessages > 0 && messages > 0 && use.Messages+messages > use.QuotaMessages {
		return mail.Errorf(mail.KindOverQuota, "The message would exceed the quota.")
	}
	return a.reserve(min(size, firstPiece))
}
