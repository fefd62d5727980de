package memory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// account is everything of one account. shared.mu guards it.
type account struct {
	head          store.AccountRecord
	mailboxes     map[mail.MailboxID]*mailboxIndex
	subscriptions map[string]bool
	emails        map[mail.EmailID]*email
	threads       map[store.ThreadKey]mail.ThreadID
}

type mailboxIndex struct {
	mailbox   store.MailboxRecord
	index     []store.Message  // ascending by UID
	vanished  []store.Expunged // ascending by ModSeq
	forgotten mail.ModSeq      // Expunged up to this one are no longer in vanished
}

// email has content that is never changed, only references.
type email struct {
	references          int
	body, summary, text []byte
	filter              []byte
}

func newAccount() *account {
	return &account{
		mailboxes:     map[mail.MailboxID]*mailboxIndex{},
		subscriptions: map[string]bool{},
		emails:        map[mail.EmailID]*email{},
		threads:       map[store.ThreadKey]mail.ThreadID{},
	}
}

func (a *account) state() store.AccountState {
	s := store.AccountState{Account: a.head}
	for _, id := range sortedKeys(a.mailboxes) {
		s.Mailboxes = append(s.Mailboxes, ownMailbox(a.mailboxes[id].mailbox))
	}
	if len(a.subscriptions) > 0 {
		s.Subscriptions = sortedKeys(a.subscriptions)
	}
	return s
}

// check finds what b asks that a caller must not ask. It changes nothing.
func (a *account) check(b *store.Batch) error {
	bug := func(format string, args ...any) error {
		return mail.Errorf(mail.KindServerBug, format, args...)
	}
	if b.Account.ModSeq <= b.Expect || b.Account.ID == 0 {
		return bug("a batch must have an account and raise its modification sequence above %d", b.Expect)
	}
	written := map[mail.MailboxID]bool{}
	for _, m := range b.Mailboxes {
		if m.ID == 0 || written[m.ID] {
			return bug("mailbox %v written twice or without an id", m.ID)
		}
		written[m.ID] = true
	}
	put := map[mail.MailboxID]map[mail.UID]bool{}
	for _, m := range b.Messages {
		if a.mailboxes[m.Mailbox] == nil && !written[m.Mailbox] {
			return bug("messages of mailbox %v, which does not exist", m.Mailbox)
		}
		if put[m.Mailbox] != nil {
			return bug("messages of mailbox %v twice", m.Mailbox)
		}
		put[m.Mailbox] = map[mail.UID]bool{}
		last := mail.UID(0)
		for _, x := range m.Entries {
			if x.UID <= last || x.Gone {
				return bug("message %d of mailbox %v is out of order or gone", x.UID, m.Mailbox)
			}
			last = x.UID
			put[m.Mailbox][x.UID] = true
		}
	}
	for _, x := range b.Expunged {
		m := a.mailboxes[x.Mailbox]
		if m == nil || len(x.UIDs) == 0 {
			return bug("expunge of nothing or from mailbox %v, which does not exist", x.Mailbox)
		}
		for uid := range x.UIDs.All() {
			if _, ok := m.find(mail.UID(uid)); !ok || put[x.Mailbox][mail.UID(uid)] {
				return bug("expunge of message %d of mailbox %v, which does not exist or is written too", uid, x.Mailbox)
			}
		}
	}
	fresh := map[mail.EmailID]bool{}
	for _, m := range b.Emails {
		if m.ID == 0 || a.emails[m.ID] != nil || fresh[m.ID] {
			return bug("email %v is not new", m.ID)
		}
		fresh[m.ID] = true
	}
	last := mail.EmailID(0)
	for _, r := range b.References {
		if r.Email <= last {
			return bug("reference to email %v is out of order", r.Email)
		}
		last = r.Email
		switch m := a.emails[r.Email]; {
		case m == nil && (!fresh[r.Email] || r.Delta <= 0):
			return bug("reference to email %v, which does not exist", r.Email)
		case m != nil && m.references+r.Delta < 0:
			return bug("email %v would have fewer than no references", r.Email)
		}
	}
	for _, m := range b.Rewritten {
		if a.emails[m.ID] == nil {
			return bug("email %v, which does not exist, is written again", m.ID)
		}
	}
	for _, id := range b.DeletedMailboxes {
		if a.mailboxes[id] == nil {
			return bug("deletion of mailbox %v, which does not exist", id)
		}
	}
	return nil
}

// checkRecords finds records of a batch that cannot be written.
func checkRecords(records []store.Record) error {
	seen := map[recordKey]bool{}
	for _, r := range records {
		k := recordKey{r.Kind, r.Key}
		if r.Kind == "" || strings.IndexByte(r.Kind, 0) >= 0 || seen[k] || len(r.Value) > maxRecordValue {
			return mail.Errorf(mail.KindServerBug, "record %q %q cannot be written so", r.Kind, r.Key)
		}
		seen[k] = true
	}
	return nil
}

// apply makes the changes of b, which check found good.
func (a *account) apply(b *store.Batch) {
	a.head = b.Account
	for _, m := range b.Mailboxes {
		x := a.mailboxes[m.ID]
		if x == nil {
			x = &mailboxIndex{}
			a.mailboxes[m.ID] = x
		}
		x.mailbox = ownMailbox(m)
	}
	for _, m := range b.Messages {
		a.mailboxes[m.Mailbox].put(m.Entries)
	}
	for _, x := range b.Expunged {
		a.mailboxes[x.Mailbox].expunge(x)
	}
	for _, m := range b.Emails {
		fresh := &email{references: 1, body: copied(m.Body), summary: copied(m.Summary)}
		if len(m.Text) > 0 {
			fresh.text = copied(m.Text)
		}
		if len(m.Filter) > 0 {
			fresh.filter = copied(m.Filter)
		}
		a.emails[m.ID] = fresh
	}
	for _, r := range b.References {
		m := a.emails[r.Email]
		if m.references += r.Delta; m.references == 0 {
			delete(a.emails, r.Email)
		}
	}
	for _, m := range b.Rewritten {
		old := a.emails[m.ID]
		if m.Summary != nil {
			old.summary = copied(m.Summary)
		}
		if len(m.Text) > 0 {
			old.text = copied(m.Text)
		}
		if len(m.Filter) > 0 {
			old.filter = copied(m.Filter)
		}
	}
	for _, t := range b.Threads {
		a.threads[t.Key] = t.Thread
	}
	for _, id := range b.DeletedMailboxes {
		delete(a.mailboxes, id)
	}
	for _, name := range b.Subscribe {
		a.subscriptions[name] = true
	}
	for _, name := range b.Unsubscribe {
		delete(a.subscriptions, name)
	}
}

// find gives where uid is, or belongs, in the index.
func (m *mailboxIndex) find(uid mail.UID) (int, bool) {
	return slices.BinarySearchFunc(m.index, uid, func(x store.Message, uid mail.UID) int { return cmp.Compare(x.UID, uid) })
}

func (m *mailboxIndex) put(entries []store.Message) {
	for _, x := range entries {
		if n := len(m.index); n == 0 || m.index[n-1].UID < x.UID {
			m.index = append(m.index, x)
		} else if i, ok := m.find(x.UID); ok {
			m.index[i] = x
		} else {
			m.index = slices.Insert(m.index, i, x)
		}
	}
}

func (m *mailboxIndex) expunge(x store.Expunged) {
	m.index = slices.DeleteFunc(m.index, func(y store.Message) bool { return x.UIDs.Contains(uint32(y.UID)) })
	x.UIDs = slices.Clone(x.UIDs)
	m.vanished = append(m.vanished, x)
	if n := len(m.vanished) - maxVanished; n > 0 {
		m.forgotten = m.vanished[n-1].ModSeq
		m.vanished = slices.Delete(m.vanished, 0, n)
	}
}

// ownMailbox gives m without anything shared with the caller.
func ownMailbox(m store.MailboxRecord) store.MailboxRecord {
	m.Keywords = slices.Clone(m.Keywords)
	if len(m.Keywords) == 0 {
		m.Keywords = nil
	}
	m.Grants = slices.Clone(m.Grants)
	if len(m.Grants) == 0 {
		m.Grants = nil
	}
	m.Created = time.Unix(m.Created.Unix(), int64(m.Created.Nanosecond())).UTC()
	return m
}

// copied gives a copy that is never nil.
func copied(b []byte) []byte { return append([]byte{}, b...) }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
