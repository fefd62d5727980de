package imap

import (
	"strings"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// maxPatterns is how many patterns one LIST may have.
	maxPatterns = 100
	// maxPatternBytes is how many bytes they may have together: each byte is work for
	// every mailbox. So many may the patterns of a FETCH of annotations have, too.
	maxPatternBytes = 4 << 10
)

// listing is a LIST with what it selects and returns (RFC 5258; RFC 5819; RFC 6154; RFC 9590).
type listing struct {
	extended  bool // the syntax of RFC 5258 was used
	reference string
	patterns  []string

	// Selection.
	subscribed     bool
	specialUse     bool
	recursiveMatch bool
	remote         bool // mailboxes on other servers, too

	// What is returned besides. Children and special use always are: they cost
	// nothing, and RFC 3348 and RFC 6154, 2 permit it.
	returnSubscribed bool
	status           []*statusItem
	myRights         bool     // RFC 8440
	metadata         []string // entries (RFC 9590)
}

// list is LIST (RFC 3501, 6.3.8).
func (s *session) list(*request) error {
	l := s.readList()
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	return s.writeList(l)
}

// writeList answers LIST and RLIST.
func (s *session) writeList(l *listing) error {
	if !l.extended && l.patterns[0] == "" {
		// RFC 3501, 6.3.8: asks for the delimiter and the root.
		s.enc.Untagged().Const(`LIST (\Noselect) "/" ""`).CRLF()
		return nil
	}
	patterns := make([]*wire.Pattern, 0, len(l.patterns))
	for _, text := range l.patterns {
		if text == "" {
			continue // RFC 5258, 3
		}
		p, err := wire.Compile(l.reference+text, store.Delimiter[0])
		if err != nil {
			return err
		}
		patterns = append(patterns, p)
	}
	s.enableFor(l.status)
	t, err := s.mailboxTree(l.subscribed, reachShared(l.reference, l.patterns...))
	if err != nil {
		return err
	}
	if l.remote {
		s.addRemote(t)
	} else {
		s.withoutRemote(t)
	}
	if l.specialUse || l.subscribed {
		t.mark(func(n *node) bool {
			return (!l.subscribed || n.subscribed) && (!l.specialUse || n.specialUse() != "")
		})
	} else {
		t.mark(func(*node) bool { return true })
	}
	end := time.Now().Add(s.searchTime())
	for i, n := range t.nodes {
		n.matches = matchesAny(patterns, n.name)
		if i%256 == 255 && time.Now().After(end) {
			return errSearchTime
		}
	}
	t.findUntold()
	for _, n := range t.nodes {
		if !n.matches || !n.met && !(l.recursiveMatch && n.untold) {
			continue
		}
		if err := s.writeListed(l, n); err != nil {
			return err
		}
	}
	return nil
}

// reachShared tells whether a pattern could match a name in another namespace: who asks
// for its own mailboxes does not wait for those of others.
func reachShared(reference string, patterns ...string) bool {
	for _, p := range patterns {
		fixed, _, wild := strings.Cut(strings.ReplaceAll(reference+p, "%", "*"), "*")
		for _, ns := range []string{othersNamespace, sharedNamespace} {
			if strings.HasPrefix(fixed, ns) || wild && strings.HasPrefix(ns, fixed) || fixed+store.Delimiter == ns {
				return true
			}
		}
	}
	return false
}

func matchesAny(patterns []*wire.Pattern, name string) bool {
	for _, p := range patterns {
		if p.Match(name) {
			return true
		}
	}
	return false
}

// readList reads the arguments of LIST.
//
//	list             = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat
//	                   [SP "RETURN" SP "(" [return-option *(SP return-option)] ")"]
//	list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")"
//	mbox-or-pat      = list-mailbox / "(" list-mailbox *(SP list-mailbox) ")"
//	list-select-opt  = "SUBSCRIBED" / "REMOTE" / "RECURSIVEMATCH" / "SPECIAL-USE"
//	return-option    = "SUBSCRIBED" / "CHILDREN" / "SPECIAL-USE" /
//	                   "STATUS" SP "(" status-att *(SP status-att) ")" / "MYRIGHTS" /
//	                   "METADATA" SP "(" entry *(SP entry) ")"
func (s *session) readList() *listing {
	d := s.dec
	l := new(listing)
	d.SP()
	if d.Peek() == '(' {
		l.extended = true
		d.List(func() {
			switch string(d.Word()) {
			case "SUBSCRIBED":
				l.subscribed, l.returnSubscribed = true, true
			case "SPECIAL-USE":
				l.specialUse = true
			case "RECURSIVEMATCH":
				l.recursiveMatch = true
			case "REMOTE":
				l.remote = true
			default:
				d.Bad("This selection option is not known.")
			}
		})
		if l.recursiveMatch && !l.subscribed && !l.specialUse {
			d.Bad("RECURSIVEMATCH needs another selection option.") // RFC 5258, 3.1
		}
		d.SP()
	}
	l.reference = d.MailboxOrEmpty()
	d.SP()
	if d.Peek() == '(' {
		l.extended = true
		bytes := 0
		d.List(func() {
			if len(l.patterns) == maxPatterns {
				d.Fail(mail.Errorf(mail.KindLimit, "A LIST has at most %d patterns.", maxPatterns))
			}
			text := d.ListMailbox()
			if bytes += len(l.reference) + len(text); bytes > maxPatternBytes {
				d.Fail(mail.Errorf(mail.KindLimit, "The patterns of a LIST have at most %d bytes together.", maxPatternBytes))
			}
			l.patterns = append(l.patterns, text)
		})
		if len(l.patterns) == 0 {
			d.Bad("A pattern is expected.")
		}
	} else {
		l.patterns = []string{d.ListMailbox()}
	}
	if !d.TrySP() {
		return l
	}
	l.extended = true
	if !d.TryWord("RETURN") {
		d.Bad("RETURN is expected.")
	}
	d.SP()
	d.List(func() {
		switch string(d.Word()) {
		case "SUBSCRIBED":
			l.returnSubscribed = true
		case "CHILDREN", "SPECIAL-USE":
		case "STATUS":
			d.SP()
			l.status = s.readStatusItems()
		case "MYRIGHTS":
			l.myRights = true
		case "METADATA":
			d.SP()
			l.metadata = s.readEntries()
		default:
			d.Bad("This return option is not known.")
		}
	})
	return l
}

// writeListed writes the LIST response for a mailbox, and the other responses that go
// with it unless it is only there for what stands below it (RFC 5819, 2).
//
// Where a name does not exist \Noselect stands beside \NonExistent, which says the
// same to clients that do not know RFC 5258.
func (s *session) writeListed(l *listing, n *node) error {
	e := s.enc
	var status *statusAnswer
	if len(l.status) > 0 && n.record != nil && n.met {
		var err error
		status, err = s.readStatus(n.place, n.name, l.status)
		if err != nil && !passedOver(err) {
			return err
		}
		n.closed = err != nil // RFC 5819, 2
	}
	e.Untagged().Const("LIST (")
	s.writeAttributes(n, l.returnSubscribed)
	e.Const(`) "/" `).Mailbox(n.name)
	if l.recursiveMatch && n.metBelow {
		e.Const(` ("CHILDINFO" (`)
		if l.subscribed {
			e.Const(`"SUBSCRIBED"`)
		}
		if l.subscribed && l.specialUse {
			e.SP()
		}
		if l.specialUse {
			e.Const(`"SPECIAL-USE"`)
		}
		e.Const("))")
	}
	e.CRLF()
	if n.record == nil || !n.met {
		return nil
	}
	if l.myRights {
		// Nothing where it was deleted at this moment (RFC 8440, 3).
		if _, rights, ok := n.place.Mailbox(n.place.name); ok {
			s.writeMyRights(n.name, rights)
		}
	}
	if len(l.metadata) > 0 {
		list, err := s.metadata(n.place, gettingMetadata{maxSize: -1, entries: l.metadata})
		if err != nil && !passedOver(err) {
			return err
		}
		s.writeMetadata(n.name, list)
	}
	if status != nil {
		s.sendStatus(status)
	}
	return nil
}

// passedOver tells whether a LIST says nothing of what it could not find out: of a mailbox
// that was deleted at this moment, or of which the client may not know it (RFC 5819, 2;
// RFC 9590, 3).
func passedOver(err error) bool {
	return mail.KindOf(err) == mail.KindNotFound || mail.KindOf(err) == mail.KindNoPermission
}

func (s *session) writeAttributes(n *node, subscribed bool) {
	e := s.enc
	switch {
	case n.remote:
		e.Const(`\Remote `)
	case n.record == nil:
		e.Const(`\NonExistent \Noselect `)
	case n.closed || n.place.Foreign() && n.place.May(n.place.name, mail.RightRead) != nil:
		e.Const(`\Noselect `)
	}
	if subscribed && n.subscribed {
		e.Const(`\Subscribed `)
	}
	if n.children {
		e.Const(`\HasChildren`)
	} else {
		e.Const(`\HasNoChildren`)
	}
	if use := n.specialUse(); use != "" {
		e.SP().RawString(use)
	}
}

// lsub is LSUB (RFC 3501, 6.3.9). A name that is not subscribed is given, as
// \Noselect, when a subscribed one below it is passed over by %; so is a subscribed one
// that is no mailbox: some clients ask LSUB alone and offer to open what it gives.
//
//	lsub = "LSUB" SP mailbox SP list-mailbox
func (s *session) lsub(*request) error { return s.listSubscribed(false) }

// listSubscribed answers LSUB, and RLSUB, which names mailboxes on other servers, too.
func (s *session) listSubscribed(remote bool) error {
	reference, text, err := s.readReference()
	if err != nil {
		return err
	}
	pattern, err := wire.Compile(reference+text, store.Delimiter[0])
	if err != nil {
		return err
	}
	t, err := s.mailboxTree(true, reachShared(reference, text))
	if err != nil {
		return err
	}
	if !remote {
		s.withoutRemote(t)
	}
	t.mark(func(n *node) bool { return n.subscribed })
	for _, n := range t.nodes {
		n.matches = pattern.Match(n.name)
	}
	t.findUntold()
	for _, n := range t.nodes {
		away := false
		if remote && n.record == nil {
			_, _, away = s.away(n.name)
		}
		switch {
		case !n.matches:
			continue
		case n.met && (n.record != nil || away):
			s.enc.Untagged().Const(`LSUB () "/" `)
		case n.met, n.untold && strings.Contains(text, "%"):
			s.enc.Untagged().Const(`LSUB (\Noselect) "/" `)
		default:
			continue
		}
		s.enc.Mailbox(n.name).CRLF()
	}
	return nil
}
