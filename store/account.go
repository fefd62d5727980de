package store

import (
	"container/list"
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/postern-mail/postern/mail"
)

// Account is the mail of one account, in use. All handles to one account are the
// same Account; each is to be closed.
type Account struct {
	store *Store
	id    mail.AccountID

	// Guarded by Store.mu.
	uses int
	idle *list.Element // when uses is 0

	maildrop atomic.Bool // POP3's lock
	watched  watches
	leaving  sync.RWMutex // held while messages go from here into another account; by who moves them within it, for reading

	// mu orders the changes of the account. The head is what the next change is
	// computed from: it may be ahead of what is durable and published.
	mu            sync.Mutex
	loaded        bool
	removed       bool
	head          AccountRecord
	boxes         map[mail.MailboxID]*box
	names         []treeName // of boxes, ascending; replaced, never altered
	subscriptions []string   // ascending; replaced, never altered
	last          *pending   // the newest change, nil when there was none

	published atomic.Pointer[tree]
}

// tree is what is known of an account besides the contents of its mailboxes: a
// published, immutable state.
type tree struct {
	seq           mail.ModSeq
	names         []treeName // ascending by name
	subscriptions []string
}

type treeName struct {
	name string
	box  *box
}

// box is one mailbox in memory.
type box struct {
	id mail.MailboxID

	// The head; guarded by Account.mu.
	record  MailboxRecord
	index   *Snapshot                 // nil while nobody needed it
	marks   map[mail.AccountID]*marks // of the guests who opened it; replaced, never altered
	deleted bool
	latest  *boxState // of the last change, which may not be shown yet; nil when it is

	published  atomic.Pointer[boxState]
	recentFrom atomic.Uint32 // a UID: see Mailbox.claimRecent

	mu       sync.Mutex
	sessions map[*Mailbox]struct{}
	views    map[mail.AccountID]*guestView // of guests with sessions
}

// boxState is a published, immutable state of a mailbox.
type boxState struct {
	seq     mail.ModSeq
	record  MailboxRecord
	index   *Snapshot // nil while nobody needed it
	marks   map[mail.AccountID]*marks
	deleted bool
}

// state gives the head of b as it is to be published; Account.mu is held.
func (b *box) state(seq mail.ModSeq) *boxState {
	return &boxState{seq: seq, record: b.record, index: b.index, marks: b.marks}
}

// gone is state for a mailbox that is deleted.
func (b *box) gone(seq mail.ModSeq) *boxState {
	st := b.state(seq)
	st.deleted = true
	return st
}

// pending is a change on its way to the disk.
type pending struct {
	done chan struct{} // closed when err is known
	err  error
}

// Account opens the mail of an account. KindNotFound when there is none.
func (s *Store) Account(ctx context.Context, id mail.AccountID) (*Account, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, mail.Errorf(mail.KindUnavailable, "The server is shutting down.")
	}
	a := s.live[id]
	if a == nil {
		a = &Account{store: s, id: id, boxes: map[mail.MailboxID]*box{}}
		s.live[id] = a
	}
	if a.idle != nil {
		s.idle.remove(a)
	}
	a.uses++
	s.mu.Unlock()

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		a.Close()
		return nil, mail.Errorf(mail.KindNotFound, "There is no such account.")
	}
	if !a.loaded {
		if err := a.load(ctx); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// Close gives the handle back.
func (a *Account) Close() {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.uses--; a.uses > 0 || s.closed {
		return
	}
	// Nobody else holds a, so its lock is free or will be at once.
	if !a.loaded || a.removed {
		if s.live[a.id] == a {
			delete(s.live, a.id)
		}
		return
	}
	s.idle.add(a)
	for s.idle.bytes > s.opt.Cache {
		old := s.idle.oldest()
		s.idle.remove(old)
		delete(s.live, old.id)
	}
}

// idleList holds the accounts that nobody uses, oldest first, and what they weigh.
type idleList struct {
	list  list.List
	bytes int64
}

type idleAccount struct {
	account *Account
	bytes   int64
}

func (l *idleList) add(a *Account) {
	e := idleAccount{a, a.weight()}
	a.idle = l.list.PushBack(e)
	l.bytes += e.bytes
}

func (l *idleList) remove(a *Account) {
	l.bytes -= l.list.Remove(a.idle).(idleAccount).bytes
	a.idle = nil
}

func (l *idleList) oldest() *Account { return l.list.Front().Value.(idleAccount).account }

// weight is about how many bytes the account takes in memory.
func (a *Account) weight() int64 {
	n := int64(1 << 10)
	for _, t := range a.published.Load().names {
		n += 512
		if st := t.box.published.Load(); st.index != nil {
			n += int64(st.index.Len()) * int64(unsafe.Sizeof(Message{}))
		}
	}
	return n
}

// load reads the account; a.mu is held.
func (a *Account) load(ctx context.Context) error {
	st, err := a.store.engine.Account(ctx, a.id)
	if err != nil {
		return err
	}
	a.head, a.subscriptions = st.Account, st.Subscriptions
	for _, r := range st.Mailboxes {
		a.boxes[r.ID] = newBox(r, st.Account.ModSeq)
	}
	a.publishTree(a.buildTree())
	a.loaded = true
	return nil
}

func newBox(r MailboxRecord, seq mail.ModSeq) *box {
	b := &box{id: r.ID, record: r, sessions: map[*Mailbox]struct{}{}}
	b.recentFrom.Store(uint32(r.RecentFrom))
	b.published.Store(&boxState{seq: seq, record: r})
	return b
}

// buildTree orders the head's names anew and gives the tree; a.mu is held.
func (a *Account) buildTree() *tree {
	a.names = make([]treeName, 0, len(a.boxes))
	for _, b := range a.boxes {
		a.names = append(a.names, treeName{b.record.Name, b})
	}
	slices.SortFunc(a.names, func(x, y treeName) int { return strings.Compare(x.name, y.name) })
	return &tree{seq: a.head.ModSeq, names: a.names, subscriptions: a.subscriptions}
}

// lookup finds a name among the ascending names.
func lookup(names []treeName, name string) (*box, bool) {
	i := sort.Search(len(names), func(i int) bool { return names[i].name >= name })
	if i < len(names) && names[i].name == name {
		return names[i].box, true
	}
	return nil, false
}

// publishTree shows t unless something newer is shown already.
func (a *Account) publishTree(t *tree) {
	for {
		old := a.published.Load()
		if old != nil && old.seq > t.seq || a.published.CompareAndSwap(old, t) {
			return
		}
	}
}

// publish shows st unless something newer is shown already, and wakes sessions.
func (b *box) publish(st *boxState) {
	for {
		old := b.published.Load()
		// Between two changes an index is opened and marks are read, never the reverse.
		if old.seq > st.seq || old.seq == st.seq && (st.index == nil || len(st.marks) < len(old.marks)) {
			return
		}
		if b.published.CompareAndSwap(old, st) {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for m := range b.sessions {
		m.wake()
	}
}

// ID is the account's id.
func (a *Account) ID() mail.AccountID { return a.id }

// Usage is what an account holds and may hold; a bound of 0 means none.
type Usage struct {
	Bytes, Messages           int64
	QuotaBytes, QuotaMessages int64
	Mailboxes                 int64 // at most MaxMailboxes
	AnnotationBytes           int64 // at most MaxAnnotationBytes
}

// Usage gives the account's use and quota.
func (a *Account) Usage() Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Usage{a.head.Bytes, a.head.Messages, a.head.QuotaBytes, a.head.QuotaMessages, int64(len(a.boxes)), a.head.AnnotationBytes}
}

// SetQuota sets the account's bounds; 0 means none. What is there stays even when
// it is more.
func (a *Account) SetQuota(ctx context.Context, bytes, messages int64) error {
	if bytes < 0 || messages < 0 {
		return mail.Errorf(mail.KindBadArgument, "A quota is not negative.")
	}
	_, err := a.change(ctx, func(c *change) error {
		c.account.QuotaBytes, c.account.QuotaMessages = bytes, messages
		c.touched = true
		return nil
	})
	return err
}

// Shared tells whether the account is one of SetShared.
func (a *Account) Shared() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head.Shared
}

// SetShared says that an account belongs to nobody but those who have rights in it: its
// mailboxes stand in the shared namespace and not among other users' (RFC 2342).
func (a *Account) SetShared(ctx context.Context, shared bool) error {
	_, err := a.change(ctx, func(c *change) error {
		if c.account.Shared != shared {
			c.account.Shared, c.touched = shared, true
		}
		return nil
	})
	return err
}

// Mailboxes gives the records of all mailboxes, ascending by name.
func (a *Account) Mailboxes() []MailboxRecord {
	t := a.published.Load()
	out := make([]MailboxRecord, 0, len(t.names))
	for _, n := range t.names {
		out = append(out, n.record())
	}
	return out
}

func (n treeName) record() MailboxRecord {
	r := n.box.published.Load().record
	r.Name = n.name
	return r
}

// Mailbox gives the record of the mailbox that is called name (see CleanName).
func (a *Account) Mailbox(name string) (MailboxRecord, bool) {
	b, ok := lookup(a.published.Load().names, name)
	if !ok {
		return MailboxRecord{}, false
	}
	return treeName{name, b}.record(), true
}

// Subscriptions gives the names that are subscribed to, ascending, whether they
// exist or not (RFC 3501, 6.3.6). The slice is not to be changed.
func (a *Account) Subscriptions() []string { return a.published.Load().subscriptions }

// LockMaildrop takes the account's POP3 lock (RFC 1939, 4). KindInUse when
// somebody has it. It is no hindrance to IMAP and delivery: a POP3 session works
// on its own snapshot and removes by UID.
func (a *Account) LockMaildrop() (unlock func(), err error) {
	if !a.maildrop.CompareAndSwap(false, true) {
		return nil, mail.Errorf(mail.KindInUse, "Another POP3 session has the maildrop open.")
	}
	var once sync.Once
	return func() { once.Do(func() { a.maildrop.Store(false) }) }, nil
}

// find gives the mailbox of that name in the head; a.mu is held.
func (a *Account) find(name string) (*box, error) {
	if b, ok := lookup(a.names, name); ok {
		return b, nil
	}
	return nil, noMailbox(name)
}

func noMailbox(name string) error {
	return mail.Errorf(mail.KindNotFound, "There is no mailbox %q.", name)
}

// open makes sure that the head of b has an index; a.mu is held.
func (a *Account) open(ctx context.Context, b *box) error {
	if b.index != nil {
		return nil
	}
	messages, err := a.store.engine.Messages(ctx, a.id, b.id, 0)
	if err != nil {
		return err
	}
	if len(messages) != int(b.record.Messages) {
		// Serve what is there; the counters are what is wrong.
		a.store.opt.Log.Error("the index and the count of a mailbox differ",
			"account", a.id, "mailbox", b.id, "index", len(messages), "count", b.record.Messages)
	}
	b.index = newSnapshot(b.record, messages)
	return nil
}

// settle waits until every change up to now is durable. a.mu is held, and is
// given back.
func (a *Account) settle() error {
	last := a.last
	a.mu.Unlock()
	if last == nil {
		return nil
	}
	<-last.done
	return last.err
}

// remove deletes the account.
func (a *Account) remove(ctx context.Context) error {
	a.mu.Lock()
	for try := 0; ; try++ {
		if a.removed {
			a.mu.Unlock()
			return mail.Errorf(mail.KindNotFound, "There is no such account.")
		}
		batch := &Batch{Remove: true, Expect: a.head.ModSeq, Account: AccountRecord{ID: a.id}}
		wait, err := func() (func() error, error) {
			if err := a.store.useUpUIDValidity(ctx, a.head.NextUIDValidity); err != nil {
				return nil, err
			}
			c := &change{a: a, account: a.head}
			for _, b := range a.boxes {
				c.grant(c.use(b), nil)
			}
			for _, kind := range []string{marksKind, metadataKind, urlKeysKind, annotationKind, recoverableKind, recoverableSince} {
				if err := c.dropRecords(ctx, kind, a.id.String()+"/"); err != nil {
					return nil, err
				}
			}
			batch.Records = c.batch.Records
			return a.store.engine.Commit(context.WithoutCancel(ctx), batch)
		}()
		if tryAgain(err, try) {
			if err = a.reload(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			a.mu.Unlock()
			return err
		}
		a.removed = true
		boxes := a.boxes
		seq := a.head.ModSeq + 1
		a.mu.Unlock()
		if err := wait(); err != nil {
			return err
		}
		for _, b := range boxes {
			b.publish(b.gone(seq))
		}
		a.tell(ctx, func() (gone []Event) {
			for _, b := range boxes {
				gone = append(gone, a.lost(b))
			}
			return gone
		})
		a.store.columns.forgetAccount(a.id)
		a.store.mu.Lock()
		// A new account of this id cannot come, but a later look-up must ask the engine.
		if a.store.live[a.id] == a {
			delete(a.store.live, a.id)
		}
		a.store.mu.Unlock()
		return nil
	}
}
