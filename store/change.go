package store

import (
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/postern-mail/postern/mail"
)

// maxTries bounds how often a change is computed again because another server was
// faster.
const maxTries = 20

// tryAgain tells whether a change that failed is computed again, try is how often it was
// before. Who was late several times waits for a random while first, up to 32 ms, so that
// servers that all change one account get through in turn.
func tryAgain(err error, try int) bool {
	if err == nil || mail.KindOf(err) != mail.KindConflict || try >= maxTries {
		return false
	}
	if try > 1 {
		time.Sleep(rand.N(time.Millisecond << min(try-1, 5)))
	}
	return true
}

// change is one change of an account while it is computed. It works on copies;
// the head moves when the engine has taken the batch.
type change struct {
	a       *Account
	seq     mail.ModSeq
	now     time.Time
	account AccountRecord
	touched bool // the account's own record changed
	naming  bool // names or subscriptions changed

	boxes         []*boxChange // in the order of first use
	subscriptions []string
	batch         Batch
	news          []Event // beside what becomes of boxes
	refs          map[mail.EmailID]int
	asked, keeps  bool                        // whether what is discarded can be brought back
	threads       map[ThreadKey]mail.ThreadID // of batch.Threads, while messages follow
}

// boxChange is what a change does to one mailbox.
type boxChange struct {
	box      *box
	was      was
	record   MailboxRecord
	instead  string // created: the name of the mailbox of which it is the renamed one
	created  bool
	deleted  bool
	touched  bool
	appended []Message
	changed  []Message // ascending by UID
	removed  mail.NumSet
	bared    mail.NumSet // those of removed that have annotations
	// discarded are those that can be brought back.
	discarded []*Message

	// What a guest does to its own flags.
	guest    mail.AccountID // 0: nobody did
	keywords []string       // its table
	marked   []mark         // ascending by UID
	marks    *marks         // what comes of it

	next *boxState // what is to be published
}

// change runs compute under the account's lock, commits what it asked for, waits
// until it is durable and publishes it. compute runs again when another server
// changed the account first, so it only alters c. An error of compute leaves
// everything as it was. The result is the change's MODSEQ, 0 when there was
// nothing to change.
func (a *Account) change(ctx context.Context, compute func(c *change) error) (mail.ModSeq, error) {
	c, wait, err := a.commit(ctx, compute)
	if c == nil || err != nil {
		return 0, err
	}
	if err := wait(); err != nil {
		return 0, err
	}
	return c.seq, nil
}

// commit does change's work up to the engine's Commit; wait does the rest. c is
// nil when there was nothing to change and everything before is durable.
func (a *Account) commit(ctx context.Context, compute func(c *change) error) (c *change, wait func() error, err error) {
	a.mu.Lock()
	// Whoever panics in here ends with its session, and the account goes on.
	held := true
	defer func() {
		if held {
			a.mu.Unlock()
		}
	}()
	for try := 0; ; try++ {
		if a.removed {
			return nil, nil, mail.Errorf(mail.KindNotFound, "The account was removed.")
		}
		c = &change{a: a, seq: a.head.ModSeq + 1, now: a.store.opt.Clock().Round(0).UTC(), account: a.head, subscriptions: a.subscriptions}
		err := compute(c)
		if err == nil {
			err = c.finishAnnotations(ctx)
		}
		if err == nil && c.keeps {
			c.finishRecoverable(ctx)
		}
		if err != nil {
			return nil, nil, err
		}
		if !c.finish() {
			// What made this a change of nothing may itself be on its way to disk.
			held = false
			return nil, nil, c.settle()
		}
		durable, err := a.store.engine.Commit(context.WithoutCancel(ctx), &c.batch)
		if err != nil {
			if tryAgain(err, try) {
				if err = a.reload(ctx); err == nil {
					continue
				}
			}
			return nil, nil, err
		}
		t := c.apply()
		p := &pending{done: make(chan struct{}), err: errUnfinished}
		a.last = p
		return c, func() error {
			func() {
				defer close(p.done)
				p.err = durable()
			}()
			if p.err == nil {
				c.publish(t)
				a.tell(ctx, c.events)
				if c.keeps {
					a.store.kept(&c.account)
				}
			}
			return p.err
		}, nil
	}
}

// settle is Account.settle for a change of nothing. What made it so may be durable and not
// shown yet: who did it is still on the way to that. So it is shown here, or the answer
// would tell of what was before.
func (c *change) settle() error {
	var latest []*boxState
	for _, bc := range c.boxes {
		latest = append(latest, bc.box.latest)
	}
	if err := c.a.settle(); err != nil {
		return err
	}
	for i, st := range latest {
		if b := c.boxes[i].box; st != nil && b.published.Load().seq < st.seq {
			b.publish(st)
		}
	}
	return nil
}

// errUnfinished is what others hear of a change whose session broke down while it
// waited for the disk.
var errUnfinished = mail.Errorf(mail.KindServerBug, "A change before this one may be lost.")

// use gives the change's copy of a mailbox.
func (c *change) use(b *box) *boxChange {
	for _, bc := range c.boxes {
		if bc.box == b {
			return bc
		}
	}
	bc := &boxChange{box: b, was: wasOf(&b.record), record: b.record}
	c.boxes = append(c.boxes, bc)
	return bc
}

// named gives the change's copy of the mailbox of that name.
func (c *change) named(name string) (*boxChange, error) {
	for _, bc := range c.boxes {
		if bc.record.Name == name && !bc.deleted {
			return bc, nil
		}
	}
	b, err := c.a.find(name)
	if err != nil {
		return nil, err
	}
	bc := c.use(b)
	if bc.deleted || bc.record.Name != name {
		return nil, noMailbox(name)
	}
	return bc, nil
}

// create adds a mailbox.
func (c *change) create(name, specialUse string) *boxChange {
	r := MailboxRecord{
		ID: c.account.NextMailbox, Name: name, UIDValidity: c.account.NextUIDValidity, SpecialUse: specialUse,
		Created: c.now, UIDNext: 1, HighestModSeq: c.seq, RecentFrom: 1,
	}
	c.account.NextMailbox++
	c.account.NextUIDValidity++
	bc := &boxChange{box: newBox(r, 0), record: r, created: true, touched: true}
	bc.box.index = newSnapshot(r, nil)
	c.boxes = append(c.boxes, bc)
	c.naming = true
	return bc
}

// remove deletes a mailbox with what is in it; its index is open.
func (c *change) remove(bc *boxChange) {
	bc.box.index.EachSeq(bc.box.index.All(), func(_ uint32, m *Message) bool {
		c.account.Bytes -= int64(m.Size)
		c.account.Messages--
		c.letGo(bc, m)
		return true
	})
	c.grant(bc, nil)
	bc.deleted, bc.touched, c.naming = true, true, true
}

// keywords gives the bits of names in bc's table; new ones are entered when enter
// is set and left out otherwise. KindLimit when the table is full.
func (c *change) keywords(bc *boxChange, names []string, enter bool) (mail.Flags, error) {
	n := len(bc.record.Keywords)
	f, err := keywordsIn(&bc.record.Keywords, names, enter)
	bc.touched = bc.touched || len(bc.record.Keywords) > n
	return f, err
}

// keywordsIn is keywords for any table, which is replaced when it grows.
func keywordsIn(table *[]string, names []string, enter bool) (mail.Flags, error) {
	var f mail.Flags
	for _, name := range names {
		i := mail.KeywordIndex(*table, name)
		if i < 0 {
			if !enter {
				continue
			}
			if len(*table) >= mail.MaxKeywords {
				return 0, mail.Errorf(mail.KindLimit, "The mailbox has %d keywords already; no more can be added.", mail.MaxKeywords)
			}
			if !mail.ValidKeyword(name) {
				return 0, mail.Errorf(mail.KindBadArgument, "%q cannot be a keyword.", name)
			}
			i = len(*table)
			*table = append(slices.Clip(*table), mail.SpelledKeyword(name))
		}
		f |= mail.Keyword(i)
	}
	return f, nil
}

// quota says whether so much more may come into the account. What grows by nothing may
// always.
func (c *change) quota(bytes, messages int64) error {
	if q := c.account.QuotaBytes; q > 0 && bytes > 0 && c.account.Bytes+bytes > q {
		return mail.Errorf(mail.KindOverQuota, "The quota of %d bytes would be exceeded.", q)
	}
	if q := c.account.QuotaMessages; q > 0 && messages > 0 && c.account.Messages+messages > q {
		return mail.Errorf(mail.KindOverQuota, "The quota of %d messages would be exceeded.", q)
	}
	return nil
}

// append puts m at the end of a mailbox and returns its UID. UID, ModSeq and Saved
// are set here.
func (c *change) append(bc *boxChange, m Message) (mail.UID, error) {
	if bc.record.UIDNext >= mail.MaxNum {
		return 0, mail.Errorf(mail.KindLimit, "The mailbox has used up its UIDs.")
	}
	m.UID, m.ModSeq, m.Saved, m.Gone = bc.record.UIDNext, c.seq, c.now.Unix(), false
	bc.record.UIDNext++
	bc.record.Messages++
	bc.count(&m, 1)
	bc.appended = append(bc.appended, m)
	bc.touched = true
	c.account.Bytes += int64(m.Size)
	c.account.Messages++
	return m.UID, nil
}

// count enters m into the mailbox's counters, or takes it out with -1.
func (bc *boxChange) count(m *Message, by int) {
	if m.Flags&mail.Seen == 0 {
		bc.record.Unseen += uint32(by)
	}
	if m.Flags&mail.Deleted != 0 {
		bc.record.Deleted += uint32(by)
	}
	bc.record.Bytes += int64(by) * int64(m.Size)
}

// expunge takes m, which is in the head's index, out of its mailbox, and gives back its
// reference. What somebody wants to be gone is discarded instead (recoverable.go).
func (c *change) expunge(bc *boxChange, m *Message) {
	c.takeOut(bc, m)
	c.refer(m.Email, -1)
}

// takeOut is expunge without the reference.
func (c *change) takeOut(bc *boxChange, m *Message) {
	bc.removed.Add(uint32(m.UID))
	if m.Annotated {
		bc.bared.Add(uint32(m.UID))
	}
	bc.record.Messages--
	bc.count(m, -1)
	bc.touched = true
	c.account.Bytes -= int64(m.Size)
	c.account.Messages--
}

// flag gives m, which is in the head's index, new flags. Ascending by UID.
func (c *change) flag(bc *boxChange, m *Message, flags mail.Flags) {
	n := *m
	bc.count(m, -1)
	n.Flags, n.ModSeq = flags, c.seq
	bc.count(&n, 1)
	bc.changed = append(bc.changed, n)
	bc.touched = true
}

// own gives the marks of the guest whose change this is, nil for the owner; what it does
// to them goes into bc. a.mu is held.
func (c *change) own(ctx context.Context, v Visit, bc *boxChange) (*marks, error) {
	if v.guest == nil {
		return nil, nil
	}
	k, err := c.a.marksIn(ctx, bc.box, v.guest.Account)
	if err == nil && bc.guest == 0 {
		bc.guest, bc.keywords = v.guest.Account, k.keywords
	}
	return k, err
}

// finishMarks makes the marks that come of a guest's change.
func (bc *boxChange) finishMarks(c *change) {
	k := bc.box.marks[bc.guest]
	if len(bc.marked) == 0 && len(bc.keywords) == len(k.keywords) {
		return
	}
	arrived := mail.UID(mail.MaxNum)
	if len(bc.appended) > 0 {
		arrived = bc.appended[0].UID
	}
	there := func(uid mail.UID) bool {
		if uid >= arrived || bc.box.index == nil {
			return true
		}
		_, ok := bc.box.index.Seq(uid)
		return ok
	}
	var records []Record
	bc.marks, records = k.with(c.seq, bc.keywords, bc.marked, there, marksPrefix(c.a.id, bc.box.id, bc.guest))
	c.batch.Records = append(c.batch.Records, records...)
}

// refer changes how many entries point to an email.
func (c *change) refer(id mail.EmailID, delta int) {
	if c.refs == nil {
		c.refs = map[mail.EmailID]int{}
	}
	c.refs[id] += delta
}

// finish makes the batch; false means that there is nothing to do.
func (c *change) finish() bool {
	b := &c.batch
	for _, bc := range c.boxes {
		if bc.guest != 0 && !bc.deleted {
			bc.finishMarks(c)
		}
		if !bc.touched || bc.created && bc.deleted {
			continue
		}
		c.touched = true
		if bc.deleted {
			b.DeletedMailboxes = append(b.DeletedMailboxes, bc.box.id)
			continue
		}
		bc.record.RecentFrom = max(bc.record.RecentFrom, mail.UID(bc.box.recentFrom.Load()))
		if len(bc.appended)+len(bc.changed)+len(bc.removed) > 0 {
			bc.record.HighestModSeq = c.seq
		}
		b.Mailboxes = append(b.Mailboxes, bc.record)
		if len(bc.changed)+len(bc.appended) > 0 {
			// The common cases have one or the other, and are not copied.
			entries := bc.changed
			switch {
			case len(bc.changed) == 0:
				entries = bc.appended
			case len(bc.appended) > 0:
				entries = slices.Concat(bc.changed, bc.appended)
			}
			b.Messages = append(b.Messages, Messages{bc.box.id, entries})
		}
		if len(bc.removed) > 0 {
			b.Expunged = append(b.Expunged, Expunged{bc.box.id, c.seq, bc.removed})
		}
	}
	if !c.touched && !c.naming && len(b.Records) == 0 {
		return false
	}
	c.account.ModSeq = c.seq
	b.Expect, b.Account = c.a.head.ModSeq, c.account
	for id, delta := range c.refs {
		if delta != 0 {
			b.References = append(b.References, Reference{id, delta})
		}
	}
	slices.SortFunc(b.References, func(x, y Reference) int {
		if x.Email < y.Email {
			return -1
		}
		return 1
	})
	return true
}

// apply moves the head on; a.mu is held. The tree is nil when it stays.
func (c *change) apply() *tree {
	a := c.a
	a.head = c.account
	a.subscriptions = c.subscriptions
	for _, bc := range c.boxes {
		b := bc.box
		if bc.marks != nil {
			b.setMarks(bc.guest, bc.marks)
			bc.next = b.state(c.seq)
		}
		if !bc.touched {
			continue
		}
		if bc.deleted {
			b.deleted = true
			delete(a.boxes, b.id)
			bc.next = b.gone(c.seq)
			continue
		}
		b.record = bc.record
		if b.index != nil {
			if len(bc.changed)+len(bc.removed) > 0 {
				b.index = b.index.edited(bc.record, bc.changed, bc.removed)
			}
			b.index = b.index.appended(bc.record, bc.appended)
		}
		if bc.created {
			a.boxes[b.id] = b
		}
		bc.next = b.state(c.seq)
	}
	for _, bc := range c.boxes {
		if bc.next != nil {
			bc.box.latest = bc.next
		}
	}
	if c.naming {
		return a.buildTree()
	}
	return nil
}

// publish shows the change, now durable, to everybody.
func (c *change) publish(t *tree) {
	for _, bc := range c.boxes {
		if bc.next != nil {
			bc.box.publish(bc.next)
		}
	}
	if t != nil {
		c.a.publishTree(t)
	}
}

// insertName puts name into the ascending names.
func insertName(names []string, name string) []string {
	i := sort.SearchStrings(names, name)
	if i < len(names) && names[i] == name {
		return names
	}
	return slices.Insert(slices.Clone(names), i, name)
}

// removeName takes name out of the ascending names.
func removeName(names []string, name string) []string {
	i := sort.SearchStrings(names, name)
	if i == len(names) || names[i] != name {
		return names
	}
	return slices.Delete(slices.Clone(names), i, i+1)
}
