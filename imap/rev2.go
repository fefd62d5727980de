package imap

import "github.com/postern-mail/postern/mail"

// IMAP4rev2 (RFC 9051) stands beside IMAP4rev1: a client that says ENABLE IMAP4rev2
// gets what the two differ in. What rev2 no longer names (CHECK, LSUB, the RFC822
// items, STATUS RECENT, SEARCH NEW) still works for who asks (RFC 9051, A).
//
//   - Strings, mailbox names and texts are UTF-8 (5.1, 7.1); modified UTF-7 is no more.
//   - SEARCH is answered with ESEARCH (6.4.4).
//   - RECENT, \Recent and UNSEEN are not sent (E, 11 and 12).
//   - SELECT and EXAMINE send LIST (6.3.2); a name that was written otherwise than
//     it is kept is told with OLDNAME (6.3.9.7), and so is RENAME.
//   - Every FETCH response that was not asked for has the UID (E, 21).

// enableRev2 is what ENABLE IMAP4rev2 does (RFC 9051, 6.3.1).
func (s *session) enableRev2() {
	s.rev2 = true
	s.acceptUTF8()
}

// acceptUTF8 makes strings and names of both directions UTF-8.
func (s *session) acceptUTF8() {
	s.dec.SetUTF8(true)
	s.enc.SetUTF8(true)
}

// isRecent tells whether the client is to be told that a message is \Recent.
func (s *session) isRecent(uid mail.UID) bool { return !s.rev2 && s.mailbox.Recent(uid) }

// tellRecent writes RECENT.
func (s *session) tellRecent() {
	if !s.rev2 {
		s.enc.Count(uint64(s.recent), "RECENT")
	}
}

// tellName tells a client of IMAP4rev2 the name under which a mailbox is kept when
// that is not given, the one that it wrote (RFC 9051, 6.3.9.7).
func (s *session) tellName(name, given string) {
	if s.rev2 && name != given {
		s.writeName(name, given)
	}
}

// writeName writes the LIST response for a mailbox, or for one that is deleted, with
// OLDNAME where given is another name.
//
//	oldname-extended-item = "OLDNAME" SP "(" mailbox ")"
func (s *session) writeName(name, given string) {
	t, err := s.mailboxTree(true, inNamespace(name))
	if err != nil {
		t = new(tree)
	}
	s.writeNode(s.nodeNamed(t, name), name, given, false)
}

// nodeNamed finds what has a name, also a mailbox that lists leave out; nil for nothing.
func (s *session) nodeNamed(t *tree, name string) *node {
	if n := t.byName[name]; n != nil {
		return n
	}
	if p, err := s.place(name); err == nil {
		if record, rights, ok := p.Mailbox(p.name); ok && rights.Has(mail.RightLookup) {
			if p.Foreign() {
				record.SpecialUse = ""
			}
			return &node{name: name, record: &record}
		}
	}
	return nil
}

// writeNode is writeName for what was found; barred says that the client may not open it
// (RFC 5465, 3.1).
//
//	mbx-list-oflag =/ "\NoAccess"
func (s *session) writeNode(n *node, name, given string, barred bool) {
	e := s.enc
	e.Untagged().Const("LIST (")
	if barred {
		e.Const(`\NoAccess `)
	}
	if n != nil {
		s.writeAttributes(n, n.place.Account() != nil || n.subscribed)
	} else {
		e.Const(`\NonExistent`)
	}
	e.Const(`) "/" `).Mailbox(name)
	if name != given {
		e.Const(` ("OLDNAME" (`).Mailbox(given).Const("))")
	}
	e.CRLF()
}
