package imap

import (
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// expunge is EXPUNGE (RFC 3501, 6.4.3) and UID EXPUNGE (RFC 4315, 2.1; RFC 7162,
// 3.2.9). The session tells which messages went.
//
//	expunge = "EXPUNGE"
//	uid-expunge = "UID" SP "EXPUNGE" SP sequence-set
func (s *session) expunge(r *request) error {
	d := s.dec
	var among *mail.NumSet // nil: all
	if r.uid {
		d.SP()
		set := d.SequenceSet()
		d.End()
		if err := d.Err(); err != nil {
			return err
		}
		seqs, err := s.seqsOf(set, true)
		if err != nil {
			return err
		}
		seqs = s.newest(r, seqs, func(m *store.Message) bool { return m.Flags.Has(mail.Deleted) })
		uids := s.mailbox.View().UIDsOf(seqs)
		among = &uids
	} else {
		d.End()
		if err := d.Err(); err != nil {
			return err
		}
	}
	if err := s.writable(); err != nil {
		return err
	}
	p := s.toil(r, uint64(s.mailbox.View().Len()))
	removed, modSeq, err := s.mailbox.Expunge(s.ctx, among)
	p.stop()
	if err != nil {
		return err
	}
	if len(removed) > 0 && s.condstore {
		r.code = highestModSeq(modSeq)
	}
	return nil
}
