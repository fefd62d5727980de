package imap

import (
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// errMailboxDeleted ends a session whose mailbox was deleted by another one.
//
// RFC 3501 leaves open what happens then. A session could be put back into the
// authenticated state, but no response says so to a client that does not expect
// it, and its next sequence numbers would mean nothing. So the session ends with
// BYE, as in other servers, and the client connects anew and finds out.
var errMailboxDeleted = mail.Errorf(mail.KindUnavailable, "The selected mailbox was deleted.")

// update tells the client what changed in the selected mailbox: EXPUNGE (or
// VANISHED), EXISTS, RECENT, FLAGS, FETCH. Without expunge removed messages are kept
// for later (RFC 3501, 7.4.1). Messages of which except, which may be nil, is true
// are not told of: the command has done so.
func (s *session) update(expunge bool, except func(m *store.Message) bool) {
	if s.mailbox == nil {
		return
	}
	before := s.mailbox.View()
	if s.lost() {
		return
	}
	c := s.mailbox.Poll(expunge)
	if c.Deleted {
		s.ending = errMailboxDeleted
		return
	}
	switch {
	case s.mailbox.View().Gone() == 0:
		s.held = 0
	case s.held == 0:
		s.held = before.Mailbox.HighestModSeq
	}
	if len(c.Expunged) > 0 {
		s.tellRemoved(before, c.Vanished)
		s.saved = s.saved.Subtract(c.Vanished)
		s.writeExpunged(c)
	}
	view := s.mailbox.View()
	if c.Exists {
		s.enc.Count(uint64(view.Len()), "EXISTS")
	}
	if c.Exists || len(c.Expunged) > 0 {
		// EXPUNGE does not say whether a message that was \Recent is gone.
		if n := s.mailbox.RecentCount(); c.Exists || n != s.recent {
			s.recent = n
			s.tellRecent()
		}
	}
	if c.Keywords || s.mailbox.Rights() != s.rights {
		s.writeFlagTable()
	}
	n := s.notify
	notified := n != nil && n.asked
	var annotations *store.AnnotationReader
	if notified && n.selected&onAnnotation != 0 || !notified && s.annotate {
		annotations = s.mailbox.Annotations()
	}
	for _, seq := range c.Changed {
		m := view.At(seq)
		if m == nil {
			continue
		}
		flags := (!notified || n.selected&onFlagChange != 0) && (except == nil || !except(m))
		switch entries := s.changedAnnotations(annotations, before, m); {
		case len(entries) > 0:
			s.writeChange(seq, m, flags, entries, notified)
		case flags:
			s.writeFlags(seq, m, notified) // RFC 5465, 5.1: with UID
		}
	}
	s.tellContexts(before, c)
	s.made = nil
}

// bring notes that the session itself put messages into a mailbox: if that is the
// selected one, they are not fetched as news (RFC 5465, 5.2).
func (s *session) bring(in store.Visit, mailbox mail.MailboxID, uids []mail.UID) {
	if s.mailbox != nil && s.mailbox.Account() == in.Account() && s.mailbox.Record().ID == mailbox {
		s.made = s.made.Union(mail.UIDSet(uids...))
	}
}

func (s *session) writeExpunged(c store.Changes) {
	if s.qresync || s.uidOnly {
		s.vanished = true
		s.enc.Untagged().Const("VANISHED ").NumSet(c.Vanished).CRLF()
		return
	}
	for _, seq := range c.Expunged {
		s.enc.Count(uint64(seq), "EXPUNGE")
	}
}

// tellKnown says, before the tagged answer or in it, up to where a client with
// QRESYNC knows every change: while VANISHED is kept for later this is less than a
// MODSEQ that it was told, and a connection that breaks now would hide the removal
// from it for good (RFC 7162, 3.2); after VANISHED, which has no MODSEQ, it is more. A
// session that lost its mailbox during the command was not told what that did either.
func (s *session) tellKnown(r *request, err error) {
	vanished := s.vanished
	s.vanished = false
	if n := s.notify; strings.HasPrefix(r.code, "HIGHESTMODSEQ") && (s.ending != nil || n != nil && n.asked && n.selected == 0) {
		// It was not told what came before that, nor of what it did itself (RFC 5465, 5).
		r.code = ""
	}
	if !s.qresync || s.mailbox == nil || s.held == 0 && !vanished {
		return
	}
	known := s.held
	if known == 0 {
		known = s.mailbox.Record().HighestModSeq
	}
	switch code := highestModSeq(known); {
	case err == nil && r.code == "":
		r.code = code
	case strings.HasPrefix(r.code, "HIGHESTMODSEQ"):
	default:
		s.enc.Status(wire.OK, code, "Known.")
	}
}

// writeFlags writes the FETCH response that tells of a message's flags, with UID
// and MODSEQ where the client enabled them (RFC 7162, 3.1.4.1 and 3.2.4; RFC 9051, 7.5.2) or
// withUID asks.
func (s *session) writeFlags(seq uint32, m *store.Message, withUID bool) {
	e := s.enc
	s.beginFetch(seq, m)
	if withUID && !s.uidOnly || s.tellsUID() {
		e.Const("UID ").Number(uint64(m.UID)).SP()
	}
	e.Const("FLAGS ").Flags(m.Flags, s.mailbox.Record().Keywords, s.isRecent(m.UID))
	if s.condstore {
		e.Const(" MODSEQ (").Number(uint64(m.ModSeq)).Close()
	}
	e.Close().CRLF()
}

// writeFlagTable writes FLAGS and PERMANENTFLAGS for the mailbox's keywords.
// Those that the client has no right to change are not permanent (RFC 4314, 5.1.1).
func (s *session) writeFlagTable() {
	s.rights = s.mailbox.Rights()
	may := s.rights.Flags()
	keywords := s.mailbox.Record().Keywords
	used := 0
	all := mail.SystemFlags
	for i, k := range keywords {
		if k != "" {
			used++
			all |= mail.Keyword(i)
		}
	}
	s.enc.Untagged().Const("FLAGS ").Flags(all, keywords, false).CRLF()
	s.enc.Untagged().Const("OK [PERMANENTFLAGS ")
	switch {
	case s.mailbox.ReadOnly() || may == 0:
		s.enc.Const("()] No flag can be changed.")
	case used < mail.MaxKeywords && s.rights.Has(mail.RightWrite):
		names := (all & may).AppendText([]byte{'('}, keywords)
		s.enc.Raw(names).Const(` \*)] Flags that can be changed.`)
	default:
		s.enc.Flags(all&may, keywords, false).Const("] Flags that can be changed.")
	}
	s.enc.CRLF()
}

// enableCondstore notes that the client knows MODSEQ (RFC 7162, 3.1): by ENABLE, or
// by using it. A client in a mailbox is told the mailbox's HIGHESTMODSEQ then.
func (s *session) enableCondstore() {
	if s.condstore {
		return
	}
	s.condstore = true
	if s.mailbox != nil {
		s.writeHighestModSeq()
	}
}

func (s *session) writeHighestModSeq() {
	s.enc.Untagged().Const("OK [HIGHESTMODSEQ ").Number(uint64(s.mailbox.Record().HighestModSeq)).Const("] Highest.").CRLF()
}

// writable gives an error when the mailbox was opened with EXAMINE.
func (s *session) writable() error {
	if s.mailbox.ReadOnly() {
		return mail.Errorf(mail.KindNoPermission, "The mailbox is open for reading only.")
	}
	return nil
}

// seqsOf resolves a set that a client wrote, of sequence numbers or (uid) of UIDs,
// against the view: the sequence numbers that it means. "$" is the saved result of
// SEARCH. A sequence number above the number of messages is a fault of the client
// (RFC 3501, 9 seq-number), a UID that does not exist is not.
//
// DEVIATES: RFC 3501, 9: in an empty mailbox a set with "*" is empty and no fault,
// which spares clients that ask for 1:* an error that they do not expect.
func (s *session) seqsOf(set wire.SeqSet, uid bool) (mail.NumSet, error) {
	view := s.mailbox.View()
	n := uint32(view.Len())
	switch {
	case set.Saved:
		return view.Seqs(s.saved), nil
	case n == 0 && (uid || set.Star):
		return nil, nil
	case uid:
		return view.Seqs(set.Resolve(uint32(view.At(n).UID))), nil
	case set.Beyond(n):
		return nil, &wire.SyntaxError{Text: "There is no message with such a number."}
	}
	return set.Resolve(n), nil
}
