package imap

import (
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/store"
)

// UIDONLY (RFC 9586): once it is enabled there are no sequence numbers. FETCH responses
// become UIDFETCH, EXPUNGE becomes VANISHED, and who writes a sequence number, or a
// command that has a UID form without it, is answered with BAD [UIDREQUIRED].

// enableUIDOnly is what ENABLE UIDONLY does (RFC 9586, 3.1). Searches that were to be
// followed by sequence numbers no longer can be.
func (s *session) enableUIDOnly() {
	if s.uidOnly {
		return
	}
	s.uidOnly = true
	for _, c := range s.contexts {
		if !c.uid {
			s.refuseUpdates(c.tag, "The search is no longer followed: it has sequence numbers.")
			s.endContext(c.tag) // a new slice
		}
	}
}

// errUIDRequired is the answer to sequence numbers (RFC 9586, 3).
var errUIDRequired = withCode("UIDREQUIRED", &wire.SyntaxError{Text: "Only UIDs are used here, since UIDONLY was enabled."})

// beginFetch begins a FETCH response: "* 5 FETCH (".
//
//	message-data =/ uniqueid SP "UIDFETCH" SP msg-att ; RFC 9586, 4
func (s *session) beginFetch(seq uint32, m *store.Message) *wire.Encoder {
	if s.uidOnly {
		return s.enc.Untagged().Number(uint64(m.UID)).Const(" UIDFETCH (")
	}
	return s.enc.Untagged().Number(uint64(seq)).Const(" FETCH (")
}

// tellsUID tells whether a FETCH response that was not asked for has the UID in its
// list.
func (s *session) tellsUID() bool { return (s.qresync || s.rev2) && !s.uidOnly }
