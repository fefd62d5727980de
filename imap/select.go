package imap

import (
	"iter"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// resync is the QRESYNC parameter of SELECT (RFC 7162, 3.2.5).
type resync struct {
	uidValidity mail.UIDValidity
	modSeq      mail.ModSeq
	known       mail.NumSet // UIDs that the client has; nil: not said
	matchSeqs   mail.NumSet // seq-match-data: pairs that the client remembers
	matchUIDs   mail.NumSet
}

func (s *session) selectMailbox(r *request) error { return s.open(r, s.readOnly) }
func (s *session) examine(r *request) error       { return s.open(r, true) }

// open is SELECT and EXAMINE (RFC 3501, 6.3.1 and 6.3.2).
func (s *session) open(r *request, readOnly bool) error {
	name, annotate, condstore, sync, err := s.readSelect()
	if err != nil && mail.KindOf(err) != mail.KindCannot {
		return err
	}
	r.bare = true
	if s.mailbox != nil {
		s.leaveMailbox()
		s.enc.Status(wire.OK, "CLOSED", "The previous mailbox is closed.")
	}
	if err != nil {
		return err // no name, so that no mailbox can be selected
	}
	given := s.dec.Given()
	if name, err = cleanName(name); err != nil {
		return err
	}
	p, err := s.place(name)
	if err != nil {
		return err
	}
	m, err := p.Select(s.ctx, p.name, readOnly)
	if err != nil {
		return err
	}
	if condstore {
		s.condstore = true
	}
	s.mailbox, s.mailboxAs, s.annotate = m, name, annotate
	s.conn.SetState("Selected", name)
	s.writeSelected()
	if s.rev2 {
		s.writeName(name, given)
	}
	if sync != nil && sync.uidValidity == m.Record().UIDValidity {
		if err := s.writeResync(sync); err != nil {
			s.leaveMailbox()
			return err
		}
	}
	r.code = "READ-WRITE"
	if readOnly || readsOnly(m.Rights()) {
		r.code = "READ-ONLY"
	}
	return nil
}

// readSelect reads the arguments of SELECT and EXAMINE.
//
//	select        = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]
//	select-param  = "CONDSTORE" / "QRESYNC" SP "(" uidvalidity SP mod-sequence-value
//	                [SP known-uids] [SP seq-match-data] ")" / "ANNOTATE"
func (s *session) readSelect() (name string, annotate, condstore bool, sync *resync, err error) {
	d := s.dec
	d.SP()
	name = d.Mailbox()
	if d.TrySP() {
		params := 0
		d.List(func() {
			params++
			switch string(d.Word()) {
			case "ANNOTATE":
				annotate = true
			case "CONDSTORE":
				condstore = true
			case "QRESYNC":
				if !s.qresync {
					d.Bad("QRESYNC must be enabled first.")
				}
				if sync != nil {
					d.Bad("QRESYNC stands there twice.")
				}
				d.SP()
				sync = s.readResync()
			default:
				d.Bad("This parameter is not known.")
			}
		})
		if params == 0 {
			d.Bad("A list of parameters is not empty.")
		}
	}
	d.End()
	return name, annotate, condstore, sync, d.Err()
}

// readResync reads the value of QRESYNC.
//
//	seq-match-data = "(" known-sequence-set SP known-uid-set ")"
func (s *session) readResync() *resync {
	d := s.dec
	q := new(resync)
	d.Open()
	q.uidValidity = mail.UIDValidity(d.NZNumber())
	d.SP()
	if q.modSeq = d.ModSeq(); q.modSeq == 0 {
		d.Bad("A mod-sequence is not 0.")
	}
	more := d.TrySP()
	if more && d.Peek() != '(' {
		q.known = d.KnownSet()
		more = d.TrySP()
	}
	if more {
		d.Open()
		q.matchSeqs = d.KnownSet()
		d.SP()
		q.matchUIDs = d.KnownSet()
		d.Close()
		if s.uidOnly {
			d.Fail(errUIDRequired)
		}
		if q.matchSeqs.Len() != q.matchUIDs.Len() {
			d.Bad("The two sets are not of the same size.")
		}
	}
	d.Close()
	return q
}

// writeSelected writes what a client is told of a newly selected mailbox.
func (s *session) writeSelected() {
	e, view, record := s.enc, s.mailbox.View(), s.mailbox.Record()
	s.writeFlagTable()
	e.Count(uint64(view.Len()), "EXISTS")
	s.recent = s.mailbox.RecentCount()
	s.tellRecent()
	if record.Unseen > 0 && !s.rev2 && !s.uidOnly {
		if seq := view.FirstUnseen(); seq > 0 {
			e.Untagged().Const("OK [UNSEEN ").Number(uint64(seq)).Const("] First unseen.").CRLF()
		}
	}
	e.Untagged().Const("OK [UIDVALIDITY ").Number(uint64(record.UIDValidity)).Const("] UIDs valid.").CRLF()
	e.Untagged().Const("OK [UIDNEXT ").Number(uint64(record.UIDNext)).Const("] Predicted next UID.").CRLF()
	s.writeHighestModSeq()
	e.Status(wire.OK, "MAILBOXID ("+s.objectID(record.ID.String())+")", "Object id.")
	s.writeAnnotationsCode()
	if code := s.urlMechanisms(); code != "" {
		e.Status(wire.OK, code, "For URLs.")
	}
}

// writeResync tells a client that knew the mailbox as of q.modSeq what happened
// since (RFC 7162, 3.2.5): first what vanished, then what changed or came.
func (s *session) writeResync(q *resync) error {
	if q.modSeq >= s.mailbox.Record().HighestModSeq {
		return nil
	}
	view := s.mailbox.View()
	vanished, err := s.mailbox.Vanished(s.ctx, q.modSeq)
	if err != nil {
		return err
	}
	if q.known != nil {
		vanished = vanished.Intersect(q.known)
	}
	if match := q.matching(view); match > 0 {
		vanished = vanished.Subtract(mail.NumSet{{First: 1, Last: match}})
	}
	if len(vanished) > 0 {
		s.enc.Untagged().Const("VANISHED (EARLIER) ").NumSet(vanished).CRLF()
	}
	view.EachSince(q.modSeq, func(seq uint32, m *store.Message) bool {
		if q.known == nil || q.known.Contains(uint32(m.UID)) {
			s.writeFlags(seq, m, true)
		}
		return s.enc.Err() == nil
	})
	return nil
}

// matching gives the highest UID below which, to go by the seq-match-data, the
// client knows every removal: where sequence number and UID still belong together
// nothing before them was removed (RFC 7162, 3.2.5.2). 0 when there is none.
func (q *resync) matching(view *store.Snapshot) (uid uint32) {
	next, stop := iter.Pull(q.matchUIDs.All())
	defer stop()
	for seq := range q.matchSeqs.All() {
		known, ok := next()
		m := view.At(seq)
		if !ok || m == nil || uint32(m.UID) != known {
			break // once shifted, the rest is too
		}
		uid = known
	}
	return uid
}

// enableQresync is what ENABLE QRESYNC does; it is CONDSTORE too (RFC 7162, 3.2.3).
func (s *session) enableQresync() {
	s.qresync = true
	s.enableCondstore()
}

// leaveMailbox goes back to the authenticated state.
func (s *session) leaveMailbox() {
	if s.mailbox != nil {
		s.mailbox.Close()
		s.conn.SetState("Authenticated", "")
	}
	s.mailbox, s.saved, s.contexts, s.converted = nil, nil, nil, nil
	s.held, s.vanished, s.made = 0, false, nil
	s.annotate, s.annotated = false, 0
}

// close is CLOSE (RFC 3501, 6.4.2): what has \Deleted goes, untold.
func (s *session) close(r *request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	// Without e it expunges nothing, and says nothing of it (RFC 4314, 4).
	if !s.mailbox.ReadOnly() && s.mailbox.Rights().Has(mail.RightExpunge) {
		// The client is not told the new HIGHESTMODSEQ: it was not told of others'
		// changes before it either (RFC 7162, 3.2.8).
		p := s.toil(r, uint64(s.mailbox.View().Len()))
		_, _, err := s.mailbox.Expunge(s.ctx, nil)
		p.stop()
		if err != nil {
			return err
		}
	}
	s.leaveMailbox()
	return nil
}

// unselect is UNSELECT (RFC 3691).
func (s *session) unselect(*request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	s.leaveMailbox()
	return nil
}
