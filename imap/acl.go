package imap

import (
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// identifier is an identifier of an access control list.
type identifier struct {
	text     string // as the client wrote it
	negative bool   // "-" stood before it
}

// written gives the identifier as the client wrote it.
func (id identifier) written() string {
	if id.negative {
		return "-" + id.text
	}
	return id.text
}

// readIdentifier consumes an identifier. Whom it names is asked later.
func (s *session) readIdentifier() identifier {
	text := s.dec.AString()
	name, negative := strings.CutPrefix(text, "-")
	if s.dec.Err() == nil && name == "" {
		s.dec.Bad("An identifier is not empty.")
	}
	return identifier{name, negative}
}

// grantee gives whom an identifier names. What cannot be one is a fault (RFC 4314, 3).
func (s *session) grantee(id identifier) (mail.Grantee, error) {
	g, err := s.server.Auth.Grantee(s.ctx, id.text)
	if err != nil && mail.KindOf(err) == mail.KindBadArgument {
		return g, &wire.SyntaxError{Text: mail.TextOf(err)}
	}
	return g, err
}

// setACL is SETACL (RFC 4314, 3.1).
//
//	setacl     = "SETACL" SP mailbox SP identifier SP mod-rights
//	mod-rights = astring  ; ["+" / "-"] *right
func (s *session) setACL(*request) error {
	d := s.dec
	d.SP()
	name := s.mailboxName()
	d.SP()
	id := s.readIdentifier()
	d.SP()
	text := d.AString()
	op := store.GrantSet
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		op, text = store.GrantAdd, rest
	} else if rest, ok := strings.CutPrefix(text, "-"); ok {
		op, text = store.GrantRemove, rest
	}
	rights, err := mail.ParseRights(text)
	if d.Err() == nil && err != nil {
		d.Bad(mail.TextOf(err))
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	return s.grant(name, op, id, rights)
}

// deleteACL is DELETEACL (RFC 4314, 3.2).
//
//	deleteacl = "DELETEACL" SP mailbox SP identifier
func (s *session) deleteACL(*request) error {
	d := s.dec
	d.SP()
	name := s.mailboxName()
	d.SP()
	id := s.readIdentifier()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	return s.grant(name, store.GrantSet, id, 0)
}

// granted finds a mailbox whose rights the client may administer, and whom an
// identifier names. Who may not do that does not learn whether there is such a person
// either.
func (s *session) granted(name string, id identifier) (place, mail.Grantee, error) {
	p, err := s.place(name)
	if err == nil {
		_, err = p.Grants(p.name)
	}
	if err != nil {
		return place{}, mail.Grantee{}, err
	}
	g, err := s.grantee(id)
	return p, g, err
}

// grant changes the rights of whom an identifier names.
func (s *session) grant(name string, op store.GrantOp, id identifier, rights mail.Rights) error {
	p, g, err := s.granted(name, id)
	if err != nil {
		return err
	}
	before, after, err := p.SetGrant(s.ctx, p.name, op, mail.Grant{Grantee: g, Negative: id.negative, Rights: rights})
	if err == nil && before != after {
		s.server.Auth.RightsChanged(s.ctx, auth.RightsChanged{
			User: s.name, Remote: s.conn.Remote(), Owner: p.Account().ID(), Mailbox: p.name, Identifier: id.written(), Before: before, After: after,
		})
	}
	return err
}

// getACL is GETACL (RFC 4314, 3.3). The owner stands first, and has all rights. Rights of
// accounts that nobody has any more are passed over.
//
//	getacl = "GETACL" SP mailbox
func (s *session) getACL(*request) error {
	name, p, err := s.onePlace()
	if err != nil {
		return err
	}
	grants, err := p.Grants(p.name)
	if err != nil {
		return err
	}
	owner := mail.Grant{Grantee: mail.Grantee{Account: p.Account().ID()}, Rights: mail.AllRights}
	type entry struct{ identifier, rights string }
	var entries []entry
	for _, g := range append([]mail.Grant{owner}, grants...) {
		id, err := s.server.Auth.Identifier(s.ctx, g.Grantee)
		if err != nil {
			return err
		}
		if id == "" {
			continue
		}
		if g.Negative {
			id = "-" + id
		}
		entries = append(entries, entry{id, g.Rights.WithVirtual()})
	}
	s.enc.Untagged().Const("ACL ").Mailbox(name)
	for _, e := range entries {
		s.enc.SP().AString(e.identifier).SP().AString(e.rights)
	}
	s.enc.CRLF()
	return nil
}

// listRights is LISTRIGHTS (RFC 4314, 3.7): the owner has all rights always, to others
// each can be given alone.
//
//	listrights = "LISTRIGHTS" SP mailbox SP identifier
func (s *session) listRights(*request) error {
	d := s.dec
	d.SP()
	name := s.mailboxName()
	d.SP()
	id := s.readIdentifier()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	p, g, err := s.granted(name, id)
	if err != nil {
		return err
	}
	e := s.enc.Untagged().Const("LISTRIGHTS ").Mailbox(name).SP().AString(id.written()).SP()
	if g.Account == p.Account().ID() {
		e.AString(mail.AllRights.WithVirtual()).CRLF()
		return nil
	}
	e.Const(`""`)
	for _, right := range mail.AllRights.WithVirtual() {
		e.SP().AString(string(right))
	}
	e.CRLF()
	return nil
}

// myRights is MYRIGHTS (RFC 4314, 3.5).
//
//	myrights = "MYRIGHTS" SP mailbox
func (s *session) myRights(*request) error {
	name, p, err := s.onePlace()
	if err != nil {
		return err
	}
	_, rights, ok := p.Mailbox(p.name)
	if !ok || !mayKnow(rights) {
		return errNoMailbox
	}
	s.writeMyRights(name, rights)
	return nil
}

// mayKnow tells whether rights permit to ask for them (RFC 4314, 4).
func mayKnow(r mail.Rights) bool {
	const any = mail.RightLookup | mail.RightRead | mail.RightInsert | mail.RightCreate | mail.RightDelete | mail.RightAdmin
	return r&any != 0
}

func (s *session) writeMyRights(name string, r mail.Rights) {
	s.enc.Untagged().Const("MYRIGHTS ").Mailbox(name).SP().AString(r.WithVirtual()).CRLF()
}
