package imap

import (
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
)

// minUIDBatch is the smallest batch: with smaller ones a client could make itself the
// sequence numbers that UIDONLY spares (RFC 10022, 3.1.3.2).
const minUIDBatch = 500

// uidBatches is UIDBATCHES (RFC 10022, 3.1): ranges of UIDs with so many messages each,
// highest first. A batch costs two looks into the index, so neither how many there are
// nor how often a client asks has a bound of its own (3.1.1, 3.1.7).
//
//	message-batches     = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]
//	uidbatches-response = "UIDBATCHES" search-correlator [SP uid-range *("," uid-range)]
func (s *session) uidBatches(r *request) error {
	d := s.dec
	d.SP()
	size := uint64(d.NZNumber())
	first, last := uint64(1), uint64(0) // 0: all of them
	if !d.AtEnd() {
		d.SP()
		first = uint64(d.NZNumber())
		d.Byte(':')
		last = uint64(d.NZNumber())
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if last != 0 && last < first {
		return withCode("CLIENTBUG", &wire.SyntaxError{Text: "A range of batches begins with the lower number."})
	}
	if size < minUIDBatch {
		return withCode("TOOFEW", mail.Errorf(mail.KindLimit, "A batch has at least %d messages.", minUIDBatch))
	}
	view := s.mailbox.View()
	count := uint64(view.Len())
	if last == 0 {
		last = (count + size - 1) / size
	}
	e := s.enc.Untagged().Const("UIDBATCHES (TAG ").String(r.tag).Close()
	for n := first; n <= last && (n-1)*size < count; n++ {
		high, low := count-(n-1)*size, uint64(1)
		lowest := mail.UID(1) // of the last batch: it says that it is the last (3.1.4)
		if count > n*size {
			low = count - n*size + 1
			lowest = view.At(uint32(low)).UID
		}
		if n == first {
			e.SP()
		} else {
			e.Const(",")
		}
		e.Number(uint64(view.At(uint32(high)).UID)).Const(":").Number(uint64(lowest))
	}
	e.CRLF()
	return nil
}
