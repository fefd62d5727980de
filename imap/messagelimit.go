package imap

import (
	"strconv"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// MESSAGELIMIT and SAVELIMIT (RFC 9738): an administrator may bound how many messages
// one command works on. FETCH, SEARCH, STORE, MOVE and UID EXPUNGE take the newest of
// them, by UID, and say down to which UID; COPY and APPEND are done whole or not at all.
// SORT and THREAD are refused where they would look at more, since a part of an order
// or of a thread is wrong (3.3); ESEARCH, which RFC 9738 does not name, has its
// own bound, that of time.
//
// What a command works on are, of FETCH with CHANGEDSINCE, the messages that changed,
// of UID EXPUNGE those with \Deleted, of a search those that its UIDs and sequence
// numbers leave, whether or not they match. A client for which the capability is
// switched off has no limit: so the old ones can be spared, which would take it
// for a mailbox that lacks messages (4.2).

// messageLimit gives how many messages a command may work on, 0 for any number.
func (s *session) messageLimit() int {
	if n := settings.MaxMessagesPerCommand.Of(s.server.settings()); n != settings.Unlimited && !s.off("MESSAGELIMIT") {
		return n
	}
	return 0
}

// saveLimit gives how many messages COPY and APPEND may bring, 0 for any number. Where
// MESSAGELIMIT holds there is no SAVELIMIT (RFC 9738, 3).
func (s *session) saveLimit() int {
	if n := s.messageLimit(); n > 0 {
		return n
	}
	if n := settings.MaxMessagesPerCopy.Of(s.server.settings()); n != settings.Unlimited && !s.off("SAVELIMIT") {
		return n
	}
	return 0
}

// messageLimits gives the value of MESSAGELIMIT.
//
//	capability =/ "MESSAGELIMIT=" message-limit / "SAVELIMIT=" message-limit
func messageLimits(s *session) []string { return limitNames(s.messageLimit()) }

// saveLimits gives the value of SAVELIMIT.
func saveLimits(s *session) []string {
	if s.messageLimit() > 0 {
		return nil
	}
	return limitNames(s.saveLimit())
}

func limitNames(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{strconv.Itoa(n)}
}

// limitCode gives the response code; last is the lowest UID that was processed, 0: not
// known.
//
//	resp-text-code =/ "MESSAGELIMIT" SP message-limit [SP uniqueid]
func limitCode(limit int, last mail.UID) string {
	code := "MESSAGELIMIT " + strconv.Itoa(limit)
	if last != 0 {
		code += " " + formatUint(uint64(last))
	}
	return code
}

// newest gives of the sequence numbers seqs those of the newest messages that the limit
// admits, and notes in r when these are not all. counts, which may be nil, tells the
// messages that the command works on.
func (s *session) newest(r *request, seqs mail.NumSet, counts func(m *store.Message) bool) mail.NumSet {
	limit := s.messageLimit()
	if limit == 0 || seqs.Len() <= uint64(limit) {
		return seqs
	}
	view := s.mailbox.View()
	over := -limit
	view.EachSeq(seqs, func(_ uint32, m *store.Message) bool {
		if !m.Gone && (counts == nil || counts(m)) {
			over++
		}
		return true
	})
	if over <= 0 {
		return seqs
	}
	lowest := uint32(0)
	view.EachSeq(seqs, func(seq uint32, m *store.Message) bool {
		if m.Gone || counts != nil && !counts(m) {
			return true
		}
		if over > 0 {
			over--
			return true
		}
		lowest, r.limited = seq, m.UID
		return false
	})
	return seqs.Intersect(mail.NumSet{{First: lowest, Last: mail.MaxNum}})
}

// searched gives the sequence numbers that a search looks at.
func (s *session) searched(r *request, q *searching, view *store.Snapshot) (mail.NumSet, error) {
	all := view.All()
	limit := s.messageLimit()
	if limit == 0 || r.name == "ESEARCH" {
		return all, nil
	}
	seqs := s.newest(r, q.key.within(all), nil)
	if r.limited != 0 && r.name != "SEARCH" {
		r.limited = 0
		return nil, errTooMany(limit, 0)
	}
	return seqs, nil
}

// errTooMany refuses a command whole; last is down to which UID it would be allowed, 0:
// not known.
func errTooMany(limit int, last mail.UID) error {
	return withCode(limitCode(limit, last), mail.Errorf(mail.KindLimit, "A command takes at most %d messages; please ask for fewer.", limit))
}

// mayCopy refuses to copy more messages than the limit admits (RFC 9738, 3.1).
func (s *session) mayCopy(uids mail.NumSet) error {
	limit := s.saveLimit()
	if limit == 0 || uids.Len() <= uint64(limit) {
		return nil
	}
	first := partialRange{a: uint32(limit), b: uint32(limit), newest: true}.of(uids)
	return errTooMany(limit, mail.UID(first[0].First))
}

// tellLimit says that a command took the newest messages alone: in the tagged answer,
// or before it in a NO where that has another code (RFC 9738, 3.1).
func (s *session) tellLimit(r *request, err error) {
	if r.limited == 0 {
		return
	}
	switch mail.KindOf(err) {
	case mail.KindExpunged, mail.KindCorrupt, mail.KindUnknownCTE:
		// Some messages were passed over, and the others are done.
	default:
		if err != nil {
			return
		}
	}
	code := limitCode(s.messageLimit(), r.limited)
	if err == nil && r.code == "" {
		r.code = code
		r.text = "Only the newest messages were taken."
		return
	}
	s.enc.Status(wire.NO, code, s.language.say("Only the newest messages were taken."))
}

// within gives those of the sequence numbers seqs that can match k, as far as its own
// numbers tell.
func (k *searchKey) within(seqs mail.NumSet) mail.NumSet {
	switch k.op {
	case opSeqs:
		return seqs.Intersect(k.seqs)
	case opAnd:
		for _, sub := range k.keys {
			seqs = sub.within(seqs)
		}
	}
	return seqs
}

// afterKey reads what follows UIDAFTER (RFC 9738, 3.2).
//
//	search-key =/ "UIDAFTER" SP uniqueid / "UIDBEFORE" SP uniqueid
func afterKey(p *searchReader) *searchKey {
	p.d.SP()
	k := &searchKey{op: opSeqs, uids: true}
	if uid := p.d.NZNumber(); uid < mail.MaxNum {
		k.set.Set = mail.NumSet{{First: uid + 1, Last: mail.MaxNum}}
	}
	return k
}

// beforeKey reads what follows UIDBEFORE.
func beforeKey(p *searchReader) *searchKey {
	p.d.SP()
	k := &searchKey{op: opSeqs, uids: true}
	if uid := p.d.NZNumber(); uid > 1 {
		k.set.Set = mail.NumSet{{First: 1, Last: uid - 1}}
	}
	return k
}
