package store

import (
	"context"
	"io"
	"slices"
	"sync/atomic"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// Mailbox is a mailbox as one session has it selected. It is used by one goroutine
// at a time and is to be closed.
type Mailbox struct {
	account  *Account
	box      *box
	readOnly bool
	visit    Visit          // who has it selected
	guest    mail.AccountID // of visit; 0 for the owner. It stays, so that other sessions may read it

	view   *Snapshot // what the session knows
	seen   *Snapshot // the published snapshot that view was made from
	recent mail.NumSet

	changed atomic.Bool // since the last Poll
	told    func()      // of OnChange; guarded by box.mu
}

// Select opens the mailbox called name. A session that is not readOnly takes over
// the messages that are \Recent; readOnly hinders nothing else here.
func (a *Account) Select(ctx context.Context, name string, readOnly bool) (*Mailbox, error) {
	return a.selectMailbox(ctx, name, readOnly, a.Own())
}

func (a *Account) selectMailbox(ctx context.Context, name string, readOnly bool, v Visit) (*Mailbox, error) {
	a.mu.Lock()
	if a.removed {
		a.mu.Unlock()
		return nil, mail.Errorf(mail.KindNotFound, "The account was removed.")
	}
	b, err := a.find(name)
	if err == nil {
		err = v.may(&b.record, mail.RightRead)
	}
	if err == nil {
		err = a.open(ctx, b)
	}
	if err == nil && v.guest != nil {
		_, err = a.marksIn(ctx, b, v.guest.Account)
	}
	if err != nil {
		a.mu.Unlock()
		return nil, err
	}
	st := b.state(a.head.ModSeq)
	if err := a.settle(); err != nil {
		return nil, err
	}
	b.publish(st)
	m := &Mailbox{account: a, box: b, readOnly: readOnly, visit: v}
	if v.guest != nil {
		m.guest = v.guest.Account
	}
	b.mu.Lock()
	b.sessions[m] = struct{}{}
	b.mu.Unlock()
	m.seen = m.newest(b.published.Load())
	m.view = m.seen
	m.claimRecent(m.view.Mailbox.UIDNext)

	a.store.mu.Lock()
	a.uses++ // the mailbox holds its account
	a.store.mu.Unlock()
	return m, nil
}

// Close ends the session's interest.
func (m *Mailbox) Close() {
	m.box.mu.Lock()
	delete(m.box.sessions, m)
	if m.guest != 0 {
		alone := true
		for o := range m.box.sessions {
			alone = alone && o.guest != m.guest
		}
		if alone {
			delete(m.box.views, m.guest)
		}
	}
	m.box.mu.Unlock()
	if !m.readOnly && m.visit.guest == nil {
		m.keepRecent()
	}
	m.account.Close()
}

// newest gives a published state's index as the session sees it.
func (m *Mailbox) newest(st *boxState) *Snapshot {
	if m.visit.guest == nil {
		return st.index
	}
	return m.box.seenBy(m.visit.guest.Account, st)
}

// Visit says whose account the mailbox is in and who uses it.
func (m *Mailbox) Visit() Visit { return m.visit }

// SetGuest says anew who the guest is, of the same account, with the groups of now: from
// the next call on. It is not for the owner.
func (m *Mailbox) SetGuest(p mail.Person) { m.visit.guest = &p }

// Rights gives what the session may do with the mailbox now; none when it is gone.
func (m *Mailbox) Rights() mail.Rights {
	if m.visit.guest == nil {
		return mail.AllRights
	}
	st := m.box.published.Load()
	if st.deleted {
		return 0
	}
	return m.visit.rights(&st.record)
}

// Deleted tells whether the mailbox is gone.
func (m *Mailbox) Deleted() bool { return m.box.published.Load().deleted }

// claimRecent makes the session the one that is told of the messages below next
// as \Recent, as far as no other was. A read-only session sees what is recent but
// leaves it so (RFC 3501, 6.3.2).
func (m *Mailbox) claimRecent(next mail.UID) {
	if m.visit.guest != nil {
		return // \Recent is for the owner's sessions
	}
	for {
		from := m.box.recentFrom.Load()
		if from >= uint32(next) {
			return
		}
		if m.readOnly || m.box.recentFrom.CompareAndSwap(from, uint32(next)) {
			m.recent.AddRange(from, uint32(next)-1)
			return
		}
	}
}

// keepRecent writes down up to where \Recent was claimed. Nobody waits for it: if
// it is lost some messages are \Recent once more.
func (m *Mailbox) keepRecent() {
	from := mail.UID(m.box.recentFrom.Load())
	if m.box.published.Load().record.RecentFrom >= from {
		return
	}
	_, wait, err := m.account.commit(context.Background(), func(c *change) error {
		if !m.box.deleted && m.box.record.RecentFrom < from {
			c.use(m.box).touched = true
		}
		return nil
	})
	if err == nil && wait != nil {
		m.account.store.later.Go(func() { wait() })
	}
}

// Recent tells whether a message is \Recent in this session.
func (m *Mailbox) Recent(uid mail.UID) bool { return m.recent.Contains(uint32(uid)) }

// RecentCount is how many messages of the view are \Recent in this session.
func (m *Mailbox) RecentCount() int {
	n := 0
	m.view.EachUID(m.recent, func(uint32, *Message) bool { n++; return true })
	return n
}

// Account is the account that the mailbox is in.
func (m *Mailbox) Account() *Account { return m.account }

// ReadOnly tells how the mailbox was selected.
func (m *Mailbox) ReadOnly() bool { return m.readOnly }

// View is what the session knows; only Poll changes it.
func (m *Mailbox) View() *Snapshot { return m.view }

// Newest is what View would be after a Poll that leaves out what is gone. It tells of nothing
// and changes nothing.
func (m *Mailbox) Newest() *Snapshot {
	st := m.box.published.Load()
	if st.deleted {
		return m.view
	}
	return m.newest(st)
}

// Record is the mailbox's record as of the view.
func (m *Mailbox) Record() MailboxRecord { return m.view.Mailbox }

// OnChange has told called when Poll may have something to tell: at once if that is so
// already, then once after each Poll, by whoever changes the mailbox. It must not wait. nil
// is nobody; when OnChange returns, the function of before is not called any more.
func (m *Mailbox) OnChange(told func()) {
	m.box.mu.Lock()
	defer m.box.mu.Unlock()
	m.told = told
	if told != nil && m.changed.Load() {
		told()
	}
}

// wake tells of a change. The caller holds box.mu.
func (m *Mailbox) wake() {
	if !m.changed.Swap(true) && m.told != nil {
		m.told()
	}
}

// Changes are what a session must tell its client after a Poll, in the order of
// the fields.
type Changes struct {
	Deleted  bool        // the mailbox is gone; nothing else is set
	Expunged []uint32    // sequence numbers in the old view, descending: to be sent in this order
	Vanished mail.NumSet // the UIDs of Expunged
	Exists   bool        // messages came: View().Len() is the new number
	Recent   bool        // some of them are \Recent
	Keywords bool        // the table of keywords grew
	Changed  []uint32    // sequence numbers in the new view, ascending, whose flags or MODSEQ changed; for a guest only if flags did, or there are annotations
}

// Poll moves the view to the newest published state and says what differs. Without
// expunge, messages that were removed stay at their places with Gone set until a
// Poll with it (RFC 3501, 7.4.1).
func (m *Mailbox) Poll(expunge bool) Changes {
	m.changed.Store(false)
	st := m.box.published.Load()
	if st.deleted {
		return Changes{Deleted: true}
	}
	newest := m.newest(st)
	if newest == m.seen && (!expunge || m.view.gone == 0) {
		return Changes{}
	}
	old := m.view
	d := old.compare(newest)
	c := Changes{
		Exists:   d.appended > 0,
		Keywords: len(newest.Mailbox.Keywords) > len(old.Mailbox.Keywords),
	}
	m.seen = newest
	switch {
	case len(d.expunged) == 0:
		m.view = newest
	case expunge:
		m.view = newest
		c.Expunged = make([]uint32, 0, len(d.expunged))
		for _, place := range d.expunged {
			c.Expunged = append(c.Expunged, uint32(place+1))
			c.Vanished.Add(uint32(old.at(place).UID))
		}
		slices.Reverse(c.Expunged)
	default:
		m.view = old.withGone(newest, d)
	}
	gone := 0
	for _, place := range d.changed {
		if m.guest != 0 && toldNothing(old, newest, place) {
			continue // of the owner's own flags
		}
		if expunge {
			for gone < len(d.expunged) && d.expunged[gone] < place {
				gone++
			}
		}
		c.Changed = append(c.Changed, uint32(place-gone+1))
	}
	if d.appended > 0 {
		before := len(m.recent)
		was := m.recent.Len()
		m.claimRecent(newest.Mailbox.UIDNext)
		c.Recent = len(m.recent) != before || m.recent.Len() != was
	}
	return c
}

// toldNothing tells whether a guest sees nothing of a change of the message at a place of
// old, which newer has too: it has the same flags there, and no annotations.
func toldNothing(old, newer *Snapshot, place int) bool {
	was := old.at(place)
	seq, _ := newer.Seq(was.UID)
	is := newer.At(seq)
	return is.Flags == was.Flags && !is.Annotated
}

// Summaries reads what was computed at delivery for each of ids, which are the
// Email of messages in the view, in their order. The bytes are valid until each
// returns; one that is gone is nil.
func (m *Mailbox) Summaries(ctx context.Context, ids []mail.EmailID, each func(i int, s message.Summary) error) error {
	return m.account.store.engine.Summaries(ctx, m.account.id, ids, func(i int, b []byte) error {
		return each(i, message.Summary(b))
	})
}

// Texts reads search texts (message.SearchText) like Summaries. Those that are not
// kept are made from their messages.
func (m *Mailbox) Texts(ctx context.Context, ids []mail.EmailID, each func(i int, text []byte) error) error {
	return m.account.store.engine.Texts(ctx, m.account.id, ids, func(i int, text []byte) error {
		if text == nil {
			var err error
			if text, err = m.text(ctx, ids[i]); err != nil {
				return err
			}
		}
		return each(i, text)
	})
}

// text makes the search text of a message; nil when it is gone.
func (m *Mailbox) text(ctx context.Context, id mail.EmailID) ([]byte, error) {
	body, err := m.Body(ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindExpunged {
			err = nil
		}
		return nil, err
	}
	defer body.Close()
	if body.Bytes() == nil { // it is read into memory, and so are those that others search
		s := m.account.store
		n := min(body.Size(), s.opt.Memory)
		if err := s.texts.Acquire(ctx, n); err != nil {
			return nil, mail.Wrap(mail.KindUnavailable, err)
		}
		defer s.texts.Release(n)
	}
	raw, err := ReadSpan(body, message.Range{End: body.Size()})
	if err != nil {
		return nil, err
	}
	return message.Parse(raw, message.DefaultLimits).SearchText(), nil
}

// Filters reads search filters like Summaries; one that is not kept is nil.
func (m *Mailbox) Filters(ctx context.Context, ids []mail.EmailID, each func(i int, f message.Filter) error) error {
	return m.account.store.engine.Filters(ctx, m.account.id, ids, func(i int, b []byte) error { return each(i, message.Filter(b)) })
}

// PutFilters keeps filters of messages that were delivered without.
func (m *Mailbox) PutFilters(ctx context.Context, filters []EmailFilter) error {
	return m.account.store.engine.PutFilters(ctx, m.account.id, filters)
}

// Body opens the content of a message of the view. KindExpunged when it is gone.
func (m *Mailbox) Body(ctx context.Context, id mail.EmailID) (Body, error) {
	return m.account.store.engine.Body(ctx, m.account.id, id)
}

// ReadSpan gives a part of a message's content, which is not to be altered. It is valid
// until the body is closed.
func ReadSpan(body Body, span message.Range) ([]byte, error) {
	if all := body.Bytes(); all != nil {
		return slices.Clip(all[span.Start:span.End]), nil
	}
	b := make([]byte, span.Len())
	n, err := body.ReadAt(b, span.Start)
	if int64(n) == span.Len() {
		return b, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, mail.Wrap(mail.KindCorrupt, err)
}

// Vanished gives the UIDs that were expunged by changes above since and are not in
// the view (RFC 7162, 3.2.10). When too much time has passed it is every UID that
// was once given out and is not in the view.
func (m *Mailbox) Vanished(ctx context.Context, since mail.ModSeq) (mail.NumSet, error) {
	gone, complete, err := m.account.store.engine.Vanished(ctx, m.account.id, m.box.id, since)
	if err != nil {
		return nil, err
	}
	if !complete {
		gone = nil
		if next := m.view.Mailbox.UIDNext; next > 1 {
			gone.AddRange(1, uint32(next)-1)
		}
	}
	return m.view.without(gone), nil
}

// without gives the UIDs of set that are not in the snapshot.
func (s *Snapshot) without(set mail.NumSet) mail.NumSet {
	var there mail.NumSet
	s.EachUID(set, func(_ uint32, m *Message) bool {
		there.Add(uint32(m.UID))
		return true
	})
	return set.Subtract(there)
}
