package imap

import (
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// replace is REPLACE and UID REPLACE (RFC 8508): APPEND of one message and removal of
// another in one change. APPENDUID comes in an untagged OK before the EXPUNGE responses,
// which are the session's (RFC 8508, 4.3).
//
//	replace = "REPLACE" SP seq-number SP mailbox append-message
func (s *session) replace(r *request) error {
	d := s.dec
	a := newAppending(s)
	defer a.release()
	d.SP()
	set := d.SeqNumber()
	a.readMailbox()
	var old *store.Message
	if d.Err() == nil {
		var err error
		if old, err = s.replaced(set, r.uid); err != nil {
			d.Fail(err)
		} else if a.place.Account() == s.mailbox.Account() {
			a.leavingBytes, a.leavingMessages = int64(old.Size), 1
		}
	}
	a.readMessage()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	done, err := s.mailbox.Replace(s.ctx, old.UID, a.place.Visit, a.place.name, a.arrivals[0])
	if err != nil {
		return tryCreate(err)
	}
	s.bring(a.place.Visit, done.Mailbox, done.UIDs)
	s.tellName(a.name, a.given)
	s.enc.Status(wire.OK, appendUID(done), "Replacement message ready.")
	if s.condstore {
		r.code = highestModSeq(done.ModSeq)
	}
	return nil
}

// replaced finds the one message that a client named to be replaced, of a sequence
// number or (uid) of a UID, if it may be removed: what cannot be is known before the
// client is asked for its successor.
func (s *session) replaced(set wire.SeqSet, uid bool) (*store.Message, error) {
	seqs, err := s.seqsOf(set, uid)
	if err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	if !s.mailbox.Rights().Has(mail.RightTrash | mail.RightExpunge) {
		return nil, mail.Errorf(mail.KindNoPermission, "You do not have the right to remove messages of this mailbox.")
	}
	var old *store.Message
	s.mailbox.View().EachSeq(seqs, func(_ uint32, m *store.Message) bool {
		old = m
		return false
	})
	switch {
	case old == nil:
		return nil, mail.Errorf(mail.KindNotFound, "There is no such message.")
	case old.Gone:
		return nil, errGone
	}
	return old, nil
}
