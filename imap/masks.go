package imap

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/settings"
)

// Capabilities can be switched off: for the service, for a mailbox and for some
// clients. What is off is neither named nor enabled, and what stands in this table
// with it is answered as if it were not known. Untagged data and response codes that
// the client did not ask for are not held back: every client must be able to pass
// over those (RFC 9051, 7.1). Of what IMAP4rev2 comprises, each keeps its own name.
var masks = []struct {
	capability string
	commands   []string
	words      []string // each behind the command in which it stands
}{
	{"ACL", []string{"SETACL", "DELETEACL", "GETACL", "LISTRIGHTS", "MYRIGHTS"}, nil},
	{"ANNOTATE-EXPERIMENT-1", nil, []string{"FETCH ANNOTATION", "STORE ANNOTATION", "APPEND ANNOTATION", "REPLACE ANNOTATION",
		"SEARCH ANNOTATION", "SORT ANNOTATION", "SELECT ANNOTATE", "EXAMINE ANNOTATE"}},
	{"APPENDLIMIT", nil, []string{"STATUS APPENDLIMIT", "LIST APPENDLIMIT"}},
	{"BINARY", nil, []string{"FETCH BINARY", "FETCH BINARY.PEEK", "FETCH BINARY.SIZE"}},
	{"CATENATE", nil, []string{"APPEND CATENATE", "REPLACE CATENATE"}},
	{"COMPARATOR", []string{"COMPARATOR"}, nil},
	{"COMPRESS=DEFLATE", []string{"COMPRESS"}, nil},
	{"CONDSTORE", nil, []string{"FETCH MODSEQ", "FETCH CHANGEDSINCE", "STORE UNCHANGEDSINCE", "SELECT CONDSTORE", "EXAMINE CONDSTORE",
		"STATUS HIGHESTMODSEQ", "LIST HIGHESTMODSEQ", "SEARCH MODSEQ"}},
	{"CONTEXT=SEARCH", nil, []string{"SEARCH UPDATE", "SEARCH CONTEXT"}},
	{"CONTEXT=SORT", nil, []string{"SORT UPDATE", "SORT CONTEXT"}},
	{"CONVERT", []string{"CONVERT", "CONVERSIONS"}, nil},
	{"CREATE-SPECIAL-USE", nil, []string{"CREATE USE"}},
	{"ENABLE", []string{"ENABLE"}, nil},
	{"ESEARCH", nil, []string{"SEARCH RETURN"}},
	{"ESORT", nil, []string{"SORT RETURN"}},
	{"FILTERS", nil, []string{"SEARCH FILTER"}},
	{"ID", []string{"ID"}, nil},
	{"IDLE", []string{"IDLE"}, nil},
	{"JMAPACCESS", []string{"GETJMAPACCESS"}, nil},
	{"LANGUAGE", []string{"LANGUAGE"}, nil},
	{"LIST-EXTENDED", nil, []string{"LIST RETURN", "LIST SUBSCRIBED", "LIST REMOTE", "LIST RECURSIVEMATCH"}},
	{"LIST-METADATA", nil, []string{"LIST METADATA"}},
	{"LIST-MYRIGHTS", nil, []string{"LIST MYRIGHTS"}},
	{"LIST-STATUS", nil, []string{"LIST STATUS"}},
	{"MAILBOX-REFERRALS", []string{"RLIST", "RLSUB"}, nil},
	{"MESSAGELIMIT", nil, []string{"SEARCH UIDAFTER", "SEARCH UIDBEFORE"}},
	{"METADATA", []string{"GETMETADATA", "SETMETADATA"}, nil},
	{"MOVE", []string{"MOVE"}, nil},
	{"MULTISEARCH", []string{"ESEARCH"}, nil},
	{"NAMESPACE", []string{"NAMESPACE"}, nil},
	{"NOTIFY", []string{"NOTIFY"}, nil},
	{"OBJECTID", nil, []string{"FETCH EMAILID", "FETCH THREADID", "SEARCH EMAILID", "SEARCH THREADID", "STATUS MAILBOXID", "LIST MAILBOXID"}},
	{"PARTIAL", nil, []string{"SEARCH PARTIAL", "FETCH PARTIAL"}},
	{"PREVIEW", nil, []string{"FETCH PREVIEW"}},
	{"QRESYNC", nil, []string{"FETCH VANISHED", "SELECT QRESYNC", "EXAMINE QRESYNC"}},
	{"QUOTA", []string{"GETQUOTA", "GETQUOTAROOT", "SETQUOTA"}, []string{"STATUS DELETED-STORAGE", "LIST DELETED-STORAGE"}},
	{"QUOTASET", []string{"SETQUOTA"}, nil},
	{"REPLACE", []string{"REPLACE"}, nil},
	{"SAVEDATE", nil, []string{"FETCH SAVEDATE", "SEARCH SAVEDBEFORE", "SEARCH SAVEDON", "SEARCH SAVEDSINCE", "SEARCH SAVEDATESUPPORTED"}},
	{"SEARCHRES", nil, []string{"SEARCH SAVE"}},
	{"SEARCH=FUZZY", nil, []string{"SEARCH FUZZY"}},
	{"SORT", []string{"SORT"}, nil},
	{"SORT=DISPLAY", nil, []string{"SORT DISPLAYFROM", "SORT DISPLAYTO"}},
	{"SPECIAL-USE", nil, []string{"LIST SPECIAL-USE"}},
	{"STATUS=SIZE", nil, []string{"STATUS SIZE", "LIST SIZE"}},
	{"THREAD", []string{"THREAD"}, nil},
	{"UIDBATCHES", []string{"UIDBATCHES"}, nil},
	{"UNAUTHENTICATE", []string{"UNAUTHENTICATE"}, nil},
	{"UNSELECT", []string{"UNSELECT"}, nil},
	{"URLAUTH", []string{"GENURLAUTH", "RESETKEY", "URLFETCH"}, nil},
	{"WITHIN", nil, []string{"SEARCH OLDER", "SEARCH YOUNGER"}},
}

// rests names what a capability is nothing without; LIST-METADATA is nothing without
// METADATA, too, and both contexts are nothing without PARTIAL. COMPARATOR is what I18NLEVEL=2
// has beyond I18NLEVEL=1 (RFC 5255, 4.3), and METADATA-SERVER the half of METADATA that has no
// mailbox (RFC 5464, 1): both are named so in settings alone.
var rests = map[string]string{
	"QRESYNC": "CONDSTORE", "SEARCHRES": "ESEARCH", "MULTISEARCH": "ESEARCH", "PARTIAL": "ESEARCH", "CONTEXT=SEARCH": "ESEARCH",
	"COMPARATOR": "I18NLEVEL", "I18NLEVEL=2": "COMPARATOR", "METADATA": "METADATA-SERVER",
	"JMAPACCESS": "OBJECTID", "CONVERT": "BINARY", "URLAUTH=BINARY": "URLAUTH",
	"RIGHTS": "ACL", "QUOTASET": "QUOTA", "FILTERS": "METADATA", "LIST-METADATA": "LIST-EXTENDED", "LIST-MYRIGHTS": "LIST-EXTENDED", "LIST-STATUS": "LIST-EXTENDED", "SORT=DISPLAY": "SORT", "ESORT": "SORT", "CONTEXT=SORT": "ESORT",
}

// errMasked is the answer to what is switched off.
var errMasked = &wire.SyntaxError{Text: "This is not known here."}

// mask finds out what is switched off for this client as it is known now: when it
// connects, when it says what it is, when it signs in.
func (s *session) mask() {
	v := s.server.settings()
	s.masked = settings.MaskedCapabilities(v, settings.IMAP4, s.conn.Remote().Addr(), clientName(s.conn.Client(), s.conn.ClientVersion()), s.disabled)
	s.mute = s.off("MAILBOX-REFERRALS")
	if s.masked == nil {
		s.dec.Deny(nil)
		return
	}
	s.dec.Deny(s.denied)
}

// denied gives an error for a word of the command under way that belongs to what is
// switched off.
func (s *session) denied(word string) error {
	command := s.request.name
	in := []string{command + " " + word}
	if searches(command, word) {
		in = append(in, "SEARCH "+word)
	}
	if command == "NOTIFY" || searches(command, word) || command == "SEARCH" {
		in = append(in, "FETCH "+word) // of new messages
	}
	for _, m := range masks {
		if s.off(m.capability) && slices.ContainsFunc(in, func(w string) bool { return slices.Contains(m.words, w) }) {
			return errMasked
		}
	}
	return nil
}

// searches tells whether a word of another command means what it means in SEARCH: in
// SORT and THREAD that are its keys and some options, for which they have no capability
// of their own.
func searches(command, word string) bool {
	switch command {
	case "ESEARCH":
		return true
	case "SORT", "THREAD":
		return word != "RETURN" && word != "UPDATE" && word != "CONTEXT"
	}
	return false
}

// off tells whether a capability is switched off; family names end before "=".
func (s *session) off(capability string) bool {
	if s.masked == nil {
		return false
	}
	switch {
	case capability == "LIST-METADATA" && s.off("METADATA"):
		return true
	case strings.HasPrefix(capability, "CONTEXT=") && s.off("PARTIAL"): // RFC 5267, 4.4
		return true
	}
	for c := capability; c != ""; c = rests[c] {
		if s.masked[c] {
			return true
		}
	}
	family, _, _ := strings.Cut(capability, "=")
	switch family {
	case "APPENDLIMIT", "THREAD", "I18NLEVEL", "RIGHTS", "QUOTA", "MESSAGELIMIT", "SAVELIMIT":
		return s.masked[family]
	}
	return false
}

// commandOff tells whether a command, in its UID form or not, belongs to what is
// switched off.
func (s *session) commandOff(name string, uid bool) bool {
	if s.masked == nil {
		return false
	}
	switch {
	case uid && name == "EXPUNGE":
		return s.masked["UIDPLUS"]
	case name == "CANCELUPDATE": // of both
		return s.off("CONTEXT=SEARCH") && s.off("CONTEXT=SORT")
	}
	for _, m := range masks {
		if s.off(m.capability) && slices.Contains(m.commands, name) {
			return true
		}
	}
	return false
}
