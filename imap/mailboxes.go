package imap

import (
	"errors"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

func formatUint(n uint64) string { return strconv.FormatUint(n, 10) }

// mailbox consumes a mailbox name and gives it as the store keeps it. What cannot
// be a name is the command's error.
func (s *session) mailboxName() string {
	name := s.dec.Mailbox()
	if s.dec.Err() != nil {
		return ""
	}
	clean, err := cleanName(name)
	s.dec.Fail(err)
	return clean
}

// cleanName is store.CleanName for a name as a client writes it: one delimiter at its end
// is passed over, which CREATE has to do (RFC 3501, 6.3.3) and Thunderbird puts behind other
// names, too (docs/compatibility.md).
func cleanName(name string) (string, error) {
	return store.CleanName(strings.TrimSuffix(name, store.Delimiter))
}

// oneMailbox reads arguments that are a mailbox name alone.
func (s *session) oneMailbox() (string, error) {
	s.dec.SP()
	name := s.mailboxName()
	s.dec.End()
	return name, s.dec.Err()
}

// create is CREATE (RFC 3501, 6.3.3; RFC 6154, 5.3; RFC 8474, 4.1). A delimiter at
// the end only says that mailboxes will come below.
//
//	create       = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]
//	create-param = "USE" SP "(" [use-attr *(SP use-attr)] ")"
func (s *session) create(r *request) error {
	d := s.dec
	var uses []string
	d.SP()
	name := d.Mailbox()
	if d.TrySP() {
		params := 0
		d.List(func() {
			params++
			if !d.TryWord("USE") {
				d.Bad("This parameter is not known.")
			}
			d.SP()
			d.List(func() { uses = append(uses, d.Use()) })
		})
		if params == 0 {
			d.Bad("A list of parameters is not empty.")
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	given := strings.TrimSuffix(d.Given(), store.Delimiter)
	name, err := cleanName(name)
	if err != nil {
		return err
	}
	p, err := s.place(name)
	if err != nil {
		return err
	}
	use, err := s.specialUse(uses)
	if err == nil && use != "" && p.Foreign() {
		err = mail.Errorf(mail.KindCannot, "A special use is for one's own mailboxes.")
	}
	if err != nil {
		return withCode("USEATTR", err)
	}
	record, err := p.CreateMailbox(s.ctx, p.name, use)
	if err != nil {
		return err
	}
	s.tellName(name, given)
	r.code = "MAILBOXID (" + objectIDIn(p.Visit, record.ID.String()) + ")"
	return nil
}

// specialUse gives the one attribute that a mailbox is created with.
func (s *session) specialUse(uses []string) (string, error) {
	use := ""
	for _, u := range uses {
		canonical, ok := store.SpecialUse(u)
		switch {
		case !ok:
			return "", mail.Errorf(mail.KindCannot, "No mailbox can be created with that attribute.")
		case use != "" && use != canonical:
			return "", mail.Errorf(mail.KindCannot, "A mailbox has one special use.")
		}
		use = canonical
	}
	if use == "" {
		return "", nil
	}
	for _, m := range s.account.Mailboxes() {
		if m.SpecialUse == use {
			return "", mail.Errorf(mail.KindCannot, "Another mailbox has that special use.")
		}
	}
	return use, nil
}

// deleteMailbox is DELETE (RFC 3501, 6.3.4). The client's own selected mailbox is
// closed first; other sessions that have it selected end (see errMailboxDeleted).
//
//	delete = "DELETE" SP mailbox
func (s *session) deleteMailbox(*request) error {
	s.dec.SP()
	name := s.mailboxName()
	given := s.dec.Given()
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	p, err := s.place(name)
	if err != nil {
		return err
	}
	if err := p.DeleteMailbox(s.ctx, p.name); err != nil {
		return err
	}
	if s.mailbox != nil && s.mailbox.Account() == p.Account() && s.mailbox.Deleted() {
		s.leaveMailbox()
		s.enc.Status(wire.OK, "CLOSED", "The mailbox was deleted.")
	}
	s.tellName(name, given)
	return nil
}

// rename is RENAME (RFC 3501, 6.3.5).
//
//	rename = "RENAME" SP mailbox SP mailbox
func (s *session) rename(r *request) error {
	s.dec.SP()
	from := s.mailboxName()
	given := s.dec.Given()
	s.dec.SP()
	to := s.dec.Mailbox()
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	to, err := cleanName(to)
	if err != nil {
		return err
	}
	p, err := s.place(from)
	var q place
	if err == nil {
		q, err = s.place(to)
	}
	if errors.Is(err, errElsewhere) {
		return s.referredRename(from, to)
	}
	if err != nil {
		return err
	}
	if p.Account() != q.Account() {
		if err := p.May(p.name, mail.RightDelete); err != nil {
			return err
		}
		return mail.Errorf(mail.KindCannot, "A mailbox stays in its account.")
	}
	work := s.toil(r, 0) // INBOX gives its messages away
	err = p.RenameMailbox(s.ctx, p.name, q.name)
	work.stop()
	if err != nil {
		return err
	}
	if from != store.Inbox {
		s.tellName(to, given)
	}
	return nil
}

// subscribe is SUBSCRIBE (RFC 3501, 6.3.6). The name need not exist.
func (s *session) subscribe(*request) error {
	name, err := s.oneMailbox()
	if err != nil {
		return err
	}
	return s.account.Subscribe(s.ctx, name)
}

// unsubscribe is UNSUBSCRIBE (RFC 3501, 6.3.7).
func (s *session) unsubscribe(*request) error {
	name, err := s.oneMailbox()
	if err != nil {
		return err
	}
	return s.account.Unsubscribe(s.ctx, name)
}
