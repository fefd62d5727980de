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
	{"APPENDLIMIT", nil, []string{"STATUS APPENDLIMIT", "LIST APPENDLIMIT"}},
	{"BINARY", nil, []string{"FETCH BINARY", "FETCH BINARY.PEEK", "FETCH BINARY.SIZE"}},
	{"CATENATE", nil, []string{"APPEND CATENATE", "REPLACE CATENATE"}},
	{"COMPRESS=DEFLATE", []string{"COMPRESS"}, nil},
	{"CONDSTORE", nil, []string{"FETCH MODSEQ", "FETCH CHANGEDSINCE", "FETCH VANISHED", "STORE UNCHANGEDSINCE", "SELECT CONDSTORE",
		"EXAMINE CONDSTORE", "SELECT QRESYNC", "EXAMINE QRESYNC", "STATUS HIGHESTMODSEQ", "LIST HIGHESTMODSEQ", "SEARCH MODSEQ"}},
	{"CONTEXT=SEARCH", []string{"CANCELUPDATE"}, []string{"SEARCH UPDATE", "SEARCH CONTEXT"}},
	{"CONTEXT=SORT", nil, []string{"SORT UPDATE", "SORT CONTEXT"}},
	{"CREATE-SPECIAL-USE", nil, []string{"CREATE USE"}},
	{"ENABLE", []string{"ENABLE"}, nil},
	{"ESEARCH", nil, []string{"SEARCH RETURN"}},
	{"ESORT", nil, []string{"SORT RETURN"}},
	{"FILTERS", nil, []string{"SEARCH FILTER"}},
	{"I18NLEVEL", []string{"COMPARATOR"}, nil},
	{"ID", []string{"ID"}, nil},
	{"IDLE", []string{"IDLE"}, nil},
	{"LANGUAGE", []string{"LANGUAGE"}, nil},
	{"LIST-EXTENDED", nil, []string{"LIST RETURN", "LIST SUBSCRIBED", "LIST REMOTE", "LIST RECURSIVEMATCH"}},
	{"LIST-MYRIGHTS", nil, []string{"LIST MYRIGHTS"}},
	{"LIST-STATUS", nil, []string{"LIST STATUS"}},
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
	{"WITHIN", nil, []string{"SEARCH OLDER", "SEARCH YOUNGER"}},
}

// rests names what a capability is nothing without.
var rests = map[string]string{
	"QRESYNC": "CONDSTORE", "SEARCHRES": "ESEARCH", "MULTISEARCH": "ESEARCH", "PARTIAL": "ESEARCH", "CONTEXT=SEARCH": "ESEARCH",
	"RIGHTS": "ACL", "LIST-MYRIGHTS": "LIST-EXTENDED", "LIST-STATUS": "LIST-EXTENDED", "SORT=DISPLAY": "SORT", "ESORT": "SORT", "CONTEXT=SORT": "SORT",
}

// errMasked is the answer to what is switched off.
var errMasked = &wire.SyntaxError{Text: "This is not known here."}

// mask finds out what is switched off for this client as it is known now: when it
// connects, when it says what it is, when it signs in.
func (s *session) mask() {
	v := s.server.settings()
	s.masked = settings.MaskedCapabilities(v, settings.IMAP4, s.conn.Remote().Addr(), clientName(s.conn.Client(), s.conn.ClientVersion()), s.disabled)
	if s.masked == nil {
		s.dec.Deny(nil)
		return
	}
	s.dec.Deny(func(word string) error {
		in := s.request.name + " " + word
		as := in
		if searches(s.request.name, word) {
			as = "SEARCH " + word
		}
		for _, m := range masks {
			if s.masked[m.capability] && (slices.Contains(m.words, in) || slices.Contains(m.words, as)) {
				return errMasked
			}
		}
		return nil
	})
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
	if s.masked[capability] || s.masked[rests[capability]] {
		return true
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
	if uid && name == "EXPUNGE" {
		return s.masked["UIDPLUS"]
	}
	for _, m := range masks {
		if s.masked[m.capability] && slices.Contains(m.commands, name) {
			return true
		}
	}
	return false
}
