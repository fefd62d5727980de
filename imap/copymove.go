package imap

import (
	"strconv"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// copy is COPY and UID COPY (RFC 3501, 6.4.7).
func (s *session) copy(r *request) error {
	copied, err := s.transfer(r, false)
	if err != nil {
		return err
	}
	r.code = copyUID(copied)
	return nil
}

// move is MOVE and UID MOVE (RFC 6851). COPYUID comes in an untagged OK before the
// EXPUNGE responses, which are the session's (RFC 6851, 4.3).
func (s *session) move(r *request) error {
	copied, err := s.transfer(r, true)
	if err != nil {
		return err
	}
	if code := copyUID(copied); code != "" {
		s.enc.Status(wire.OK, code, "Moved.")
		if s.condstore {
			r.code = highestModSeq(copied.ModSeq)
		}
	}
	return nil
}

// transfer reads the arguments of COPY or MOVE and does it.
//
//	copy = "COPY" SP sequence-set SP mailbox
//	move = "MOVE" SP sequence-set SP mailbox
func (s *session) transfer(r *request, move bool) (store.Copied, error) {
	d := s.dec
	d.SP()
	set := d.SequenceSet()
	d.SP()
	name := d.Mailbox()
	d.End()
	if err := d.Err(); err != nil {
		return store.Copied{}, err
	}
	seqs, err := s.seqsOf(set, r.uid)
	if err != nil {
		return store.Copied{}, err
	}
	if move {
		if err := s.writable(); err != nil {
			return store.Copied{}, err
		}
	}
	name, err = cleanName(name)
	if err != nil {
		return store.Copied{}, err
	}
	p, err := s.place(name)
	if err != nil {
		return store.Copied{}, tryCreate(err)
	}
	// Also where nothing is copied: an OK would tell of a mailbox that is hidden.
	switch err := p.May(p.name, mail.RightInsert); {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		return store.Copied{}, tryCreate(errNoMailbox)
	case err != nil:
		return store.Copied{}, err
	}
	if move {
		seqs = s.newest(r, seqs, nil)
	}
	uids, gone := s.present(seqs)
	if gone && !r.uid {
		// All or nothing (RFC 3501, 6.4.7).
		return store.Copied{}, errGone
	}
	if len(uids) == 0 {
		return store.Copied{}, nil
	}
	do := s.mailbox.CopyTo
	if move {
		do = s.mailbox.MoveTo
	} else if err := s.mayCopy(uids); err != nil {
		return store.Copied{}, err
	}
	work := s.toil(r, uids.Len())
	defer work.stop()
	copied, err := do(s.ctx, uids, p.Visit, p.name)
	s.bring(p.Visit, copied.Mailbox, copied.To)
	return copied, tryCreate(err)
}

// present gives the UIDs of those messages of seqs that still exist as far as the
// view tells, and whether some do not.
func (s *session) present(seqs mail.NumSet) (uids mail.NumSet, gone bool) {
	s.mailbox.View().EachSeq(seqs, func(_ uint32, m *store.Message) bool {
		if m.Gone {
			gone = true
		} else {
			uids.Add(uint32(m.UID))
		}
		return true
	})
	return uids, gone
}

// copyUID gives the response code of RFC 4315, 3, "" when nothing was copied.
// Both sets ascend, so that they belong together pairwise.
func copyUID(c store.Copied) string {
	if len(c.From) == 0 {
		return ""
	}
	b := append([]byte(nil), "COPYUID "...)
	b = strconv.AppendUint(b, uint64(c.UIDValidity), 10)
	b = append(b, ' ')
	b = mail.UIDSet(c.From...).AppendText(b)
	b = append(b, ' ')
	return string(mail.UIDSet(c.To...).AppendText(b))
}

// highestModSeq gives the response code that tells up to where a client knows the
// mailbox (RFC 7162, 3.1.2.1).
func highestModSeq(n mail.ModSeq) string {
	return "HIGHESTMODSEQ " + strconv.FormatUint(uint64(n), 10)
}
