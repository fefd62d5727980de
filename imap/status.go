package imap

import (
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// statusItem is a row of the table: what STATUS can tell of a mailbox.
type statusItem struct {
	name  string
	value func(s *session, in place, record *store.MailboxRecord) (uint64, error)
	// write is for what is no number; value is nil then.
	write func(s *session, in place, record *store.MailboxRecord)
	// condstore: asking for it enables CONDSTORE (RFC 7162, 3.1).
	condstore bool
}

// count makes the value of an item that stands in the record.
func count(of func(record *store.MailboxRecord) uint64) func(*session, place, *store.MailboxRecord) (uint64, error) {
	return func(_ *session, _ place, record *store.MailboxRecord) (uint64, error) { return of(record), nil }
}

// statusItems lists them.
var statusItems = []statusItem{
	{name: "MESSAGES", value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.Messages) })},
	{name: "RECENT", value: (*session).recentOf},
	{name: "UIDNEXT", value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.UIDNext) })},
	{name: "UIDVALIDITY", value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.UIDValidity) })},
	{name: "UNSEEN", value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.Unseen) })},
	{name: "DELETED", value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.Deleted) })},
	{name: "DELETED-STORAGE", value: (*session).deletedStorage},
	{name: "SIZE", value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.Bytes) })},
	{name: "HIGHESTMODSEQ", condstore: true,
		value: count(func(m *store.MailboxRecord) uint64 { return uint64(m.HighestModSeq) })},
	{name: "APPENDLIMIT", value: func(s *session, _ place, _ *store.MailboxRecord) (uint64, error) {
		return uint64(s.server.Store.MaxMessage()), nil
	}},
	{name: "MAILBOXID", write: func(s *session, in place, m *store.MailboxRecord) {
		s.enc.Open().Atom(objectIDIn(in.Visit, m.ID.String())).Close()
	}},
}

// recentOf counts the messages that are \Recent for this session, if it has the
// mailbox selected, or else for who selects it next.
func (s *session) recentOf(in place, record *store.MailboxRecord) (uint64, error) {
	if s.mailbox != nil && s.mailbox.Account() == in.Account() && s.mailbox.Record().ID == record.ID {
		return uint64(s.mailbox.RecentCount()), nil
	}
	if record.Messages == 0 || record.RecentFrom >= record.UIDNext {
		return 0, nil
	}
	m, err := in.Select(s.ctx, in.name, true)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	return uint64(m.RecentCount()), nil
}

// readStatusItems consumes "(" status-att *(SP status-att) ")".
func (s *session) readStatusItems() []*statusItem {
	d := s.dec
	var items []*statusItem
	d.List(func() {
		name := d.Word()
		i := slices.IndexFunc(statusItems, func(row statusItem) bool { return row.name == string(name) })
		if i < 0 {
			d.Bad("This status item is not known.")
			return
		}
		if item := &statusItems[i]; !slices.Contains(items, item) {
			items = append(items, item)
		}
	})
	if len(items) == 0 {
		d.Bad("A status item is expected.")
	}
	return items
}

// status is STATUS (RFC 3501, 6.3.10; RFC 7162, 3.1.7; RFC 8438; RFC 8474, 4.3;
// RFC 7889; RFC 9051, 6.3.11 for DELETED; RFC 9208, 4.1.4). It is answered from the mailbox's record.
//
//	status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"
func (s *session) status(*request) error {
	d := s.dec
	d.SP()
	name := s.mailboxName()
	d.SP()
	items := s.readStatusItems()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	p, err := s.place(name)
	if err != nil {
		return err
	}
	if err := p.May(p.name, mail.RightRead); err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			err = errNoMailbox
		}
		return err
	}
	s.enableFor(items)
	return s.writeStatus(p, name, items)
}

// enableFor enables CONDSTORE if one of items does.
func (s *session) enableFor(items []*statusItem) {
	for _, item := range items {
		if item.condstore {
			s.enableCondstore()
		}
	}
}

// statusAnswer is a STATUS response that can be written.
type statusAnswer struct {
	in     place
	name   string // as the client knows it
	items  []*statusItem
	record store.MailboxRecord
	values []uint64 // of the items that are numbers
}

// writeStatus writes a STATUS response for the mailbox that the client knows as name. On
// error nothing was written.
func (s *session) writeStatus(in place, name string, items []*statusItem) error {
	a, err := s.readStatus(in, name, items)
	if err == nil {
		s.sendStatus(a)
	}
	return err
}

// readStatus finds out what a STATUS response says.
func (s *session) readStatus(in place, name string, items []*statusItem) (*statusAnswer, error) {
	record, err := in.Status(s.ctx, in.name)
	if err != nil {
		return nil, err
	}
	a := &statusAnswer{in, name, items, record, make([]uint64, len(items))}
	for i, item := range items {
		if item.value == nil {
			continue
		}
		if a.values[i], err = item.value(s, in, &a.record); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// sendStatus writes a STATUS response.
func (s *session) sendStatus(a *statusAnswer) {
	s.enc.Untagged().Const("STATUS ").Mailbox(a.name).Const(" (")
	for i, item := range a.items {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.RawString(item.name).SP()
		if item.value != nil {
			s.enc.Number(a.values[i])
		} else {
			item.write(s, a.in, &a.record)
		}
	}
	s.enc.Close().CRLF()
}
