package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// What is expunged can be brought back for a while. A change that expunges leaves the emails
// their references, and writes records in its batch that say which messages went from where,
// when, and who did it. No mailbox leads to them, so that no client sees or counts them. To
// bring one back is one change too: the message gets a new UID, and its entry in the record
// goes. So it is in a mailbox or recoverable, once, whoever asks for it at the same time and
// whenever the server ends. When its time is up the entry goes with its reference, and the
// engine gives back the space as it always does.
//
// A message that goes into another mailbox of the account is none that was expunged. One that
// is moved into another account is: it is not the owner's any more. Its annotations, and
// guests' own flags, are not brought back.

const (
	// recoverableKind is the kind of the records. The key is account/hour/MODSEQ/part, with
	// 8, 16 and 4 hexadecimal digits, where the hour since 1970 is that of the change.
	recoverableKind = "recoverable"
	// recoverableSince is the kind of the records that say which accounts have any, and
	// since when: what is looked through for those whose time is up. The key is account/.
	recoverableSince = "recoverablesince"

	// recoverableGroup is how many messages a record has at most, and about how many are
	// brought back or forgotten in one change.
	recoverableGroup = 256
	// maxRecoverable is how many messages of an account can be brought back; then the
	// oldest go.
	maxRecoverable = 250_000
	// sweepEvery is how often it is looked for what is to be forgotten.
	sweepEvery = 5 * time.Minute
	// sweepLater is how long it may take after that, so that it is not one change for each
	// message. Nobody is shown meanwhile what is to be forgotten.
	sweepLater = time.Hour

	recoverableLayout = 1
	secondsAnHour     = 3600
	// maxHours is how many hours are looked through one by one; of more, all records of
	// the account are read at once.
	maxHours = 10_000
)

// Recovery says for how long expunged messages can be brought back.
type Recovery struct {
	Retention time.Duration // whole seconds; 0: they cannot
	Quota     int64         // bytes of them in an account, before the oldest go; 0: no bound
}

// Keep is a Recovery in which an account's own bounds are 0 where those of the store hold,
// and -1 for none: nothing is kept, or no bound.
type Keep struct{ Retention, Quota int64 } // seconds, bytes

// SetRecovery says what holds from now on, for changes that are not under way. The first
// time it says what held all along; later what has no place any more goes soon.
func (s *Store) SetRecovery(r Recovery) {
	old := s.recovery.Swap(&r)
	if s.sweeping.told.Swap(true) && *old != r {
		s.sweepSoon(true)
	}
}

// of gives what holds for an account; Retention 0 is that nothing is kept.
func (r *Recovery) of(a *AccountRecord) Recovery {
	out := *r
	switch {
	case a.Retention > 0:
		out.Retention = time.Duration(a.Retention) * time.Second
	case a.Retention < 0:
		out.Retention = 0
	}
	switch {
	case a.RecoverableQuota > 0:
		out.Quota = a.RecoverableQuota
	case a.RecoverableQuota < 0:
		out.Quota = 0
	}
	return out
}

// crowded tells whether the oldest that an account has recoverable are to go.
func (r Recovery) crowded(a *AccountRecord) bool {
	return r.Quota > 0 && a.RecoverableBytes > r.Quota || a.Recoverable > maxRecoverable
}

// actorKey is the key of By in a context.
type actorKey struct{}

// By gives a context whose changes are made by whom who tells. It is asked, by the goroutine
// that makes the change, where that is written down.
func By(ctx context.Context, who func() mail.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// actorOf gives who makes changes with ctx, the zero Actor when it is not known.
func actorOf(ctx context.Context) mail.Actor {
	if who, ok := ctx.Value(actorKey{}).(func() mail.Actor); ok {
		return who()
	}
	return mail.Actor{}
}

// discard takes m out of its mailbox, as expunge does, for somebody who wants it to be gone.
func (c *change) discard(bc *boxChange, m *Message) {
	c.takeOut(bc, m)
	c.letGo(bc, m)
}

// letGo makes m, which leaves its mailbox, recoverable, or takes its reference.
func (c *change) letGo(bc *boxChange, m *Message) {
	if !c.asked {
		c.asked, c.keeps = true, c.a.recovery().Retention > 0
	}
	if c.keeps {
		bc.discarded = append(bc.discarded, m)
	} else {
		c.refer(m.Email, -1)
	}
}

// recovery gives what holds for the account; a.mu is held.
func (a *Account) recovery() Recovery { return a.store.recovery.Load().of(&a.head) }

// finishRecoverable writes down what was discarded.
func (c *change) finishRecoverable(ctx context.Context) {
	part := 0
	for _, bc := range c.boxes {
		if len(bc.discarded) == 0 {
			continue
		}
		g := recoverable{at: c.now.Unix(), mailbox: bc.box.id, folder: bc.was.name, by: actorOf(ctx)}
		for _, m := range bc.discarded {
			c.account.RecoverableBytes += int64(m.Size)
		}
		c.account.Recoverable += int64(len(bc.discarded))
		for some := range slices.Chunk(bc.discarded, recoverableGroup) {
			var flags mail.Flags
			for _, m := range some {
				flags |= m.Flags
			}
			g.keywords = keywordsOf(flags, bc.box.record.Keywords)
			key := fmt.Sprintf("%s%016x/%04x", c.a.recoverableHour(g.at), uint64(c.seq), part)
			c.batch.Records = append(c.batch.Records, Record{Kind: recoverableKind, Key: key, Value: g.append(nil, some)})
			part++
		}
		if since := c.account.RecoverableSince; since == 0 || g.at < since {
			c.recoverableFrom(g.at)
		}
	}
}

// keywordsOf gives the beginning of a table that says what flags mean.
func keywordsOf(flags mail.Flags, table []string) []string {
	n := 0
	for i := range table {
		if flags&mail.Keyword(i) != 0 {
			n = i + 1
		}
	}
	return table[:n]
}

// recoverableFrom says that nothing recoverable of the account went before at; 0 is that there
// is nothing.
func (c *change) recoverableFrom(at int64) {
	r := Record{Kind: recoverableSince, Key: c.a.id.String() + "/"}
	if c.account.RecoverableSince = at; at != 0 {
		r.Value = binary.AppendVarint(binary.AppendVarint(nil, at), c.account.Retention)
	}
	c.touched = true
	c.batch.Records = append(slices.DeleteFunc(c.batch.Records, func(x Record) bool { return x.Kind == recoverableSince }), r)
}

// recoverableOf is how the keys of the account's records begin.
func (a *Account) recoverableOf() string { return a.id.String() + "/" }

// recoverableHour is how the keys of its records begin that were written in the hour of a time.
func (a *Account) recoverableHour(at int64) string {
	return fmt.Sprintf("%s%08x/", a.recoverableOf(), uint32(max(at, 0)/secondsAnHour))
}

// recoverable is a record: messages that one change took out of one mailbox.
type recoverable struct {
	key      string
	at       int64 // Unix seconds
	mailbox  mail.MailboxID
	folder   string // what the mailbox was called
	keywords []string
	by       mail.Actor
	entries  []Message // without ModSeq and Annotated
}

// append gives the value of the record, with entries instead of its own.
func (g *recoverable) append(dst []byte, entries []*Message) []byte {
	text := func(s string) { dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...) }
	dst = append(dst, recoverableLayout)
	dst = binary.AppendVarint(dst, g.at)
	dst = binary.AppendUvarint(dst, uint64(g.mailbox))
	text(g.folder)
	dst = binary.AppendUvarint(dst, uint64(len(g.keywords)))
	for _, k := range g.keywords {
		text(k)
	}
	for _, s := range actorTexts(&g.by) {
		text(*s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	var last Message
	for _, m := range entries {
		dst = binary.AppendVarint(dst, int64(m.UID)-int64(last.UID))
		dst = binary.AppendUvarint(dst, uint64(m.Size))
		dst = binary.AppendUvarint(dst, uint64(m.Flags))
		dst = binary.AppendVarint(dst, int64(m.Email-last.Email))
		dst = binary.AppendVarint(dst, int64(mail.EmailID(m.Thread)-m.Email))
		dst = binary.AppendVarint(dst, m.InternalDate-last.InternalDate)
		dst = binary.AppendVarint(dst, m.Saved-m.InternalDate)
		dst = binary.AppendVarint(dst, int64(m.Zone))
		last = *m
	}
	return dst
}

// actorTexts are what a record has of who did it, in its order.
func actorTexts(a *mail.Actor) []*string {
	return []*string{&a.User, &a.ActedBy, &a.Mechanism, &a.AppPassword, &a.Protocol, &a.Client, &a.Address, &a.Session}
}

// readRecoverable reads a record; KindCorrupt.
func readRecoverable(r Record) (*recoverable, error) {
	b, bad := r.Value, false
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if bad = bad || size <= 0; bad {
			return 0
		}
		b = b[size:]
		return n
	}
	signed := func() int64 {
		n := number()
		return int64(n>>1) ^ -int64(n&1)
	}
	text := func() string {
		n := number()
		if bad = bad || n > uint64(len(b)); bad {
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	if len(b) > 0 && b[0] == recoverableLayout {
		b = b[1:]
	} else {
		bad = true
	}
	g := &recoverable{key: r.Key, at: signed(), mailbox: mail.MailboxID(number()), folder: text()}
	for range min(number(), mail.MaxKeywords) {
		g.keywords = append(g.keywords, text())
	}
	for _, s := range actorTexts(&g.by) {
		*s = text()
	}
	count := number()
	var last Message
	for len(b) > 0 && !bad {
		m := Message{UID: mail.UID(int64(last.UID) + signed()), Size: uint32(number()), Flags: mail.Flags(number()), Email: last.Email + mail.EmailID(signed())}
		m.Thread = mail.ThreadID(m.Email + mail.EmailID(signed()))
		m.InternalDate = last.InternalDate + signed()
		m.Saved = m.InternalDate + signed()
		m.Zone = int16(signed())
		bad = bad || m.UID == 0 || m.Email == 0
		g.entries, last = append(g.entries, m), m
	}
	if bad || count == 0 || uint64(len(g.entries)) != count {
		return nil, mail.Errorf(mail.KindCorrupt, "the record %s of expunged messages is damaged in the store", r.Key)
	}
	return g, nil
}

// RecoverableID names a message that can be brought back: it is its own, and of no use in
// another account.
type RecoverableID string

// id gives the id of an entry.
func (g *recoverable) id(m *Message) RecoverableID {
	_, key, _ := strings.Cut(g.key, "/")
	return RecoverableID(strings.ReplaceAll(key, "/", "-") + "-" + strconv.FormatUint(uint64(m.UID), 10))
}

// cutRecoverableID gives the key of the record that an id is of, below the account's, and the
// UID; KindBadArgument.
func cutRecoverableID(id RecoverableID) (key string, uid mail.UID, err error) {
	parts := strings.Split(string(id), "-")
	if len(parts) == 4 && len(parts[0]) == 8 && len(parts[1]) == 16 && len(parts[2]) == 4 &&
		strings.Trim(strings.Join(parts[:3], ""), "0123456789abcdef") == "" {
		if n, err := strconv.ParseUint(parts[3], 10, 32); err == nil && n > 0 {
			return strings.Join(parts[:3], "/"), mail.UID(n), nil
		}
	}
	return "", 0, mail.Errorf(mail.KindBadArgument, "%q does not name a recoverable message.", string(id))
}

// RecoverableItem is a message that was expunged and can be brought back.
type RecoverableItem struct {
	ID       RecoverableID
	Message  // as it was; without ModSeq and Annotated
	Mailbox  mail.MailboxID
	Folder   string // what the mailbox was called when the message went
	Keywords []string
	Subject  string // in UTF-8, the sender's own words, at most maxShown bytes
	From     string // as Subject: the field as it stands
	Deleted  time.Time
	Until    time.Time // when its time is up, as things stand
	By       mail.Actor
}

// maxShown bounds the texts of an item, in bytes.
const maxShown = 400

// RecoverableFilter says which items are wanted; the zero value is all.
type RecoverableFilter struct {
	IDs         []RecoverableID // nil: any
	Folder      string          // of this name; "": any
	Subject     string          // a part of the subject, in any case
	From, Until time.Time       // it was deleted then or later, and before; zero: any time
	Most        int             // how many at most; 0: all
	// Progress is told how many of how many were looked through, unless there are IDs; nil:
	// nobody is.
	Progress func(done, all int)
}

// Recoverable lists what can be brought back, what was deleted last first. more tells that
// there is more than Most.
func (a *Account) Recoverable(ctx context.Context, f RecoverableFilter) (list []RecoverableItem, more bool, err error) {
	records, err := a.recoverableRecords(ctx, f.IDs)
	if err != nil {
		return nil, false, err
	}
	a.mu.Lock()
	if a.removed {
		a.mu.Unlock()
		return nil, false, mail.Errorf(mail.KindNotFound, "The account was removed.")
	}
	retention, all := a.recovery().Retention, int(a.head.Recoverable)
	// What was read is not told before it is durable.
	if err := a.settle(); err != nil {
		return nil, false, err
	}
	wanted, now := map[RecoverableID]bool{}, a.store.opt.Clock()
	for _, id := range f.IDs {
		wanted[id] = true
	}
	subject, done := strings.ToLower(f.Subject), 0
	for _, r := range slices.Backward(records) {
		if err := ctx.Err(); err != nil {
			return nil, false, mail.Wrap(mail.KindUnavailable, err)
		}
		g, err := readRecoverable(r)
		if err != nil {
			a.store.opt.Log.Error("expunged messages cannot be listed", "account", a.id, "error", err)
			continue
		}
		if done += len(g.entries); f.Progress != nil && len(f.IDs) == 0 {
			f.Progress(done, max(done, all))
		}
		at := time.Unix(g.at, 0).UTC()
		if f.Folder != "" && g.folder != f.Folder || !f.From.IsZero() && at.Before(f.From) || !f.Until.IsZero() && !at.Before(f.Until) || !now.Before(at.Add(retention)) {
			continue
		}
		items, ids := make([]RecoverableItem, 0, len(g.entries)), make([]mail.EmailID, 0, len(g.entries))
		for i := range slices.Backward(g.entries) {
			m := &g.entries[i]
			if id := g.id(m); len(wanted) == 0 || wanted[id] {
				items = append(items, RecoverableItem{ID: id, Message: *m, Mailbox: g.mailbox, Folder: g.folder,
					Keywords: (m.Flags &^ mail.SystemFlags).AppendNames(nil, g.keywords), Deleted: at, Until: at.Add(retention), By: g.by})
				ids = append(ids, m.Email)
			}
		}
		gone := make([]bool, len(items))
		show := func(from int, ids []mail.EmailID) error {
			return a.store.engine.Summaries(ctx, a.id, ids, func(i int, b []byte) error {
				// One that is nil was forgotten meanwhile.
				if gone[from+i] = b == nil; b != nil {
					items[from+i].Subject, items[from+i].From = shownOf(message.Summary(b))
				}
				return nil
			})
		}
		err = show(0, ids)
		for i := 0; i < len(ids) && err != nil && mail.KindOf(err) == mail.KindCorrupt; i++ {
			// One that is damaged has no subject, and hides no other.
			if bad := show(i, ids[i:i+1]); bad != nil && mail.KindOf(bad) != mail.KindCorrupt {
				err = bad
			} else if i == len(ids)-1 {
				err = nil
			}
		}
		if err != nil {
			return nil, false, err
		}
		for i, item := range items {
			if gone[i] || subject != "" && !strings.Contains(strings.ToLower(item.Subject), subject) {
				continue
			}
			if f.Most > 0 && len(list) == f.Most {
				return list, true, nil
			}
			list = append(list, item)
		}
	}
	return list, false, nil
}

// recoverableRecords reads the account's records, with ids those that have them.
func (a *Account) recoverableRecords(ctx context.Context, ids []RecoverableID) (records []Record, err error) {
	if len(ids) == 0 {
		return a.store.engine.Records(ctx, recoverableKind, a.recoverableOf())
	}
	var keys []string
	for _, id := range ids {
		if key, _, err := cutRecoverableID(id); err == nil { // what is none names nothing
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		some, err := a.store.engine.Records(ctx, recoverableKind, a.recoverableOf()+key)
		if err != nil {
			return nil, err
		}
		records = append(records, some...)
	}
	return records, nil
}

// shownOf gives subject and sender of a message.
func shownOf(sum message.Summary) (subject, from string) {
	header, whole := sum.KeptHeader()
	if !whole {
		return bounded(sum.BaseSubject()), ""
	}
	first := func(name string) string {
		for value := range message.DecodedField(header, name) {
			return bounded(value)
		}
		return ""
	}
	return first("Subject"), first("From")
}

// bounded cuts a text at maxShown bytes, between characters.
func bounded(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "")
}

// Restored says where a message was brought back to.
type Restored struct {
	ID      RecoverableID
	Email   mail.EmailID
	Mailbox string // its name
	UID     mail.UID
}

// Restore brings messages back, with date, flags but \Deleted, and keywords: into the mailbox
// called target, which is made if it is not there and clean; or for "" into the one where they
// were, or else one that is called as that was, or else RecoveredMailbox. It gives those that
// it brought back, in no order; the others are not there any more, as they were brought back
// or forgotten by somebody else. Each change is all or nothing; with an error what it gives
// came back before. KindBadArgument for what is no id, KindOverQuota, KindLimit.
func (a *Account) Restore(ctx context.Context, target string, ids ...RecoverableID) (done []Restored, err error) {
	err = a.eachRecoverable(ctx, ids, func(wanted map[string]mail.NumSet) error {
		var some []Restored
		_, err := a.change(ctx, func(c *change) error {
			some = nil
			return c.takeRecoverable(ctx, wanted, true, func(g *recoverable, taken []Message) error {
				var bytes int64
				for i := range taken {
					bytes += int64(taken[i].Size)
				}
				if err := c.quota(bytes, int64(len(taken))); err != nil {
					return err
				}
				to, err := c.restoreTo(g, target)
				if err != nil {
					return err
				}
				for _, m := range taken {
					keywords, err := c.keywords(to, (m.Flags&^mail.SystemFlags).AppendNames(nil, g.keywords), true)
					if err != nil && mail.KindOf(err) == mail.KindLimit {
						// Without those for which there is no room.
						keywords, err = c.keywords(to, (m.Flags&^mail.SystemFlags).AppendNames(nil, g.keywords), false)
					}
					if err != nil {
						return err
					}
					m.Flags = m.Flags&mail.SystemFlags&^mail.Deleted | keywords
					uid, err := c.append(to, m)
					if err != nil {
						return err
					}
					some = append(some, Restored{g.id(&m), m.Email, to.record.Name, uid})
				}
				return nil
			})
		})
		if err == nil {
			done = append(done, some...)
		}
		return err
	})
	return done, err
}

// Forget removes recoverable messages for good, and says how many were there.
func (a *Account) Forget(ctx context.Context, ids ...RecoverableID) (n int, err error) {
	err = a.eachRecoverable(ctx, ids, func(wanted map[string]mail.NumSet) error {
		some := 0
		_, err := a.change(ctx, func(c *change) error {
			some = 0
			return c.forget(ctx, wanted, func(n int) { some += n })
		})
		if err == nil {
			n += some
		}
		return err
	})
	return n, err
}

// forget removes entries for good and tells how many of each record were there.
func (c *change) forget(ctx context.Context, wanted map[string]mail.NumSet, removed func(n int)) error {
	return c.takeRecoverable(ctx, wanted, false, func(_ *recoverable, taken []Message) error {
		for i := range taken {
			c.refer(taken[i].Email, -1)
		}
		removed(len(taken))
		return nil
	})
}

// eachRecoverable reads ids and calls each with about recoverableGroup of them at a time: the
// UIDs by the keys of their records.
func (a *Account) eachRecoverable(ctx context.Context, ids []RecoverableID, each func(wanted map[string]mail.NumSet) error) error {
	type place struct {
		key string
		uid mail.UID
	}
	places := make([]place, len(ids))
	for i, id := range ids {
		var err error
		if places[i].key, places[i].uid, err = cutRecoverableID(id); err != nil {
			return err
		}
	}
	slices.SortFunc(places, func(x, y place) int { return cmp.Or(strings.Compare(x.key, y.key), cmp.Compare(x.uid, y.uid)) })
	for some := range slices.Chunk(places, recoverableGroup) {
		if err := ctx.Err(); err != nil {
			return mail.Wrap(mail.KindUnavailable, err)
		}
		wanted := map[string]mail.NumSet{}
		for _, p := range some {
			set := wanted[p.key]
			set.Add(uint32(p.uid))
			wanted[p.key] = set
		}
		if err := each(wanted); err != nil {
			return err
		}
	}
	return nil
}

// takeRecoverable takes entries out of their records and gives them to each, which does what
// is to be done with their references. With inTime those are passed over whose time is up.
func (c *change) takeRecoverable(ctx context.Context, wanted map[string]mail.NumSet, inTime bool, each func(g *recoverable, taken []Message) error) error {
	end := c.now.Add(-c.a.recovery().Retention).Unix()
	keys := make([]string, 0, len(wanted))
	for key := range wanted {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		records, err := c.a.store.engine.Records(ctx, recoverableKind, c.a.recoverableOf()+key)
		if err != nil {
			return err
		}
		for _, r := range records {
			g, err := readRecoverable(r)
			if err != nil {
				return err
			}
			if inTime && g.at <= end {
				continue
			}
			if err := c.takeFrom(g, wanted[key], each); err != nil {
				return err
			}
		}
	}
	if c.account.Recoverable == 0 && c.account.RecoverableSince != 0 {
		c.recoverableFrom(0)
	}
	return nil
}

// takeFrom takes entries out of one record.
func (c *change) takeFrom(g *recoverable, uids mail.NumSet, each func(g *recoverable, taken []Message) error) error {
	var taken []Message
	var rest []*Message
	for i := range g.entries {
		if m := &g.entries[i]; uids.Contains(uint32(m.UID)) {
			taken = append(taken, *m)
			c.account.RecoverableBytes -= int64(m.Size)
		} else {
			rest = append(rest, m)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	c.account.Recoverable -= int64(len(taken))
	c.touched = true
	r := Record{Kind: recoverableKind, Key: g.key}
	if len(rest) > 0 {
		r.Value = g.append(nil, rest)
	}
	c.batch.Records = append(c.batch.Records, r)
	return each(g, taken)
}

// restoreTo gives the mailbox that messages are brought back to.
func (c *change) restoreTo(g *recoverable, target string) (*boxChange, error) {
	if target == "" {
		if b := c.a.boxes[g.mailbox]; b != nil {
			return c.use(b), nil
		}
		if bc, err := c.named(g.folder); err == nil {
			return bc, nil
		}
		target = RecoveredMailbox
	}
	if _, err := c.named(target); err != nil && len(c.a.boxes) >= MaxMailboxes {
		return nil, mail.Errorf(mail.KindLimit, "An account has at most %d mailboxes.", MaxMailboxes)
	}
	return c.namedOrNew(target), nil
}

// namedOrNew gives the mailbox of a name, which is made, and subscribed to, if it is not there.
func (c *change) namedOrNew(name string) *boxChange {
	if bc, err := c.named(name); err == nil {
		return bc
	}
	bc := c.create(name, "")
	c.subscriptions = insertName(c.subscriptions, name)
	c.batch.Subscribe = append(c.batch.Subscribe, name)
	return bc
}

// Kept is what an account has recoverable, and the bounds that are its own.
type Kept struct {
	Messages, Bytes int64
	Own             Keep
}

// Kept gives the account's recoverable messages and its own bounds for them.
func (a *Account) Kept() Kept {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Kept{a.head.Recoverable, a.head.RecoverableBytes, Keep{a.head.Retention, a.head.RecoverableQuota}}
}

// SetKeep sets the account's own bounds. What is there and has no place any more goes soon.
func (a *Account) SetKeep(ctx context.Context, own Keep) error {
	if own.Retention < -1 || own.Quota < -1 {
		return mail.Errorf(mail.KindBadArgument, "A bound is not negative.")
	}
	_, err := a.change(ctx, func(c *change) error {
		if (own == Keep{c.account.Retention, c.account.RecoverableQuota}) {
			return nil
		}
		c.account.Retention, c.account.RecoverableQuota, c.touched = own.Retention, own.Quota, true
		if c.account.RecoverableSince != 0 {
			c.recoverableFrom(c.account.RecoverableSince)
		}
		return nil
	})
	if err == nil {
		a.store.crowd(a.id)
	}
	return err
}

// sweeping is what the goroutine that forgets is to look at.
type sweeping struct {
	ctx     context.Context         // until the store is closed
	began   atomic.Bool             // there is the goroutine
	told    atomic.Bool             // SetRecovery was called
	soon    chan struct{}           // something of the rest
	crowded map[mail.AccountID]bool // that have too much; guarded by Store.mu
	all     bool                    // every account is to be looked at; guarded by Store.mu
}

// sweepLeft begins the goroutine if anything is recoverable.
func (s *Store) sweepLeft(ctx context.Context) error {
	left, err := s.engine.Records(ctx, recoverableSince, "")
	if err == nil && len(left) > 0 {
		s.beginSweeping()
	}
	return err
}

// beginSweeping begins the goroutine unless there is one.
func (s *Store) beginSweeping() {
	if s.sweeping.began.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.sweeping.began.Swap(true) {
		s.later.Go(func() { s.sweeps(s.sweeping.ctx) })
	}
}

// kept looks after what an account, whose head is told, keeps since a change.
func (s *Store) kept(a *AccountRecord) {
	s.beginSweeping()
	if s.recovery.Load().of(a).crowded(a) {
		s.crowd(a.ID)
	}
}

// crowd has an account looked at soon.
func (s *Store) crowd(id mail.AccountID) {
	s.mu.Lock()
	s.sweeping.crowded[id] = true
	s.mu.Unlock()
	s.sweepSoon(false)
}

// sweepSoon has the goroutine look now, at every account with all.
func (s *Store) sweepSoon(all bool) {
	s.mu.Lock()
	s.sweeping.all = s.sweeping.all || all
	s.mu.Unlock()
	s.beginSweeping()
	select {
	case s.sweeping.soon <- struct{}{}:
	default:
	}
}

// sweeps forgets messages whose time is up, and the oldest where there are too many, until
// ctx ends.
func (s *Store) sweeps(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.sweeping.soon:
		}
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.opt.Log.Error("expunged messages whose time is up cannot be forgotten", "error", err)
		}
	}
}

// sweep looks through the accounts once.
func (s *Store) sweep(ctx context.Context) error {
	s.mu.Lock()
	crowded, all := s.sweeping.crowded, s.sweeping.all
	s.sweeping.crowded, s.sweeping.all = map[mail.AccountID]bool{}, false
	s.mu.Unlock()
	records, err := s.engine.Records(ctx, recoverableSince, "")
	if err != nil {
		return err
	}
	now := s.opt.Clock()
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(r.Key, "/"), 16, 64)
		id := mail.AccountID(n)
		if err != nil {
			continue
		}
		// A damaged value is taken for one whose time is up: the account knows better.
		since, size := binary.Varint(r.Value)
		own, _ := binary.Varint(r.Value[max(size, 0):])
		keep := s.recovery.Load().of(&AccountRecord{Retention: own})
		due := time.Unix(since, 0).Add(keep.Retention)
		if !all {
			due = due.Add(min(sweepLater, keep.Retention/24))
		}
		if !crowded[id] && now.Before(due) {
			if !all {
				continue
			}
			st, err := s.engine.Account(ctx, id)
			if err != nil || !s.recovery.Load().of(&st.Account).crowded(&st.Account) {
				continue
			}
		}
		a, err := s.Account(ctx, id)
		if err == nil {
			err = a.forgetOld(ctx)
			a.Close()
		}
		// One that cannot be read keeps nobody else's.
		if err != nil && mail.KindOf(err) != mail.KindNotFound && ctx.Err() == nil {
			s.opt.Log.Error("expunged messages whose time is up cannot be forgotten", "account", id, "error", err)
		}
	}
	return nil
}

// forgetOld forgets what is to be forgotten of the account, the oldest first and some
// messages at a time. It rests between for as long as it worked, so that it is never what
// others wait for.
func (a *Account) forgetOld(ctx context.Context) error {
	a.mu.Lock()
	head, keep, now := a.head, a.recovery(), a.store.opt.Clock()
	a.mu.Unlock()
	if head.RecoverableSince == 0 {
		return nil
	}
	end := now.Add(-keep.Retention).Unix()
	// Some more than needed, so that it is not all to be done again with the next message.
	var bytes, messages int64 // that are too many
	if keep.Quota > 0 && head.RecoverableBytes > keep.Quota {
		bytes = head.RecoverableBytes - keep.Quota/10*9
	}
	if head.Recoverable > maxRecoverable {
		messages = head.Recoverable - maxRecoverable/10*9
	}
	var old []*recoverable
	n := 0 // messages in old
	next := now.Add(-24 * time.Hour).Unix()
	err := a.eachOld(ctx, head.RecoverableSince, now.Unix(), func(g *recoverable) (more bool, err error) {
		if g.at > end && bytes <= 0 && messages <= 0 {
			next = min(next, g.at)
			return false, nil
		}
		for i := range g.entries {
			bytes -= int64(g.entries[i].Size)
		}
		messages -= int64(len(g.entries))
		old, n = append(old, g), n+len(g.entries)
		if n >= recoverableGroup {
			err = a.forgetAll(ctx, old)
			old, n = nil, 0
		}
		return err == nil, err
	})
	if err == nil {
		err = a.forgetAll(ctx, old)
	}
	if err != nil || ctx.Err() != nil {
		return err
	}
	_, err = a.change(ctx, func(c *change) error {
		// Not quite up to now: what goes while a clock is set back goes before.
		if since := c.account.RecoverableSince; since != 0 && since < next {
			c.recoverableFrom(next)
		}
		return nil
	})
	return err
}

// forgetAll forgets what records have now, in one change, and rests.
func (a *Account) forgetAll(ctx context.Context, old []*recoverable) error {
	if len(old) == 0 {
		return nil
	}
	begun := time.Now()
	all := mail.NumSet{{First: 1, Last: mail.MaxNum}}
	wanted := make(map[string]mail.NumSet, len(old))
	for _, g := range old {
		wanted[strings.TrimPrefix(g.key, a.recoverableOf())] = all
	}
	_, err := a.change(ctx, func(c *change) error { return c.forget(ctx, wanted, func(int) {}) })
	select {
	case <-ctx.Done():
	case <-time.After(time.Since(begun)):
	}
	return err
}

// eachOld calls each with the account's records that were written from since until now, the
// oldest first, until it returns false or ctx ends.
func (a *Account) eachOld(ctx context.Context, since, now int64, each func(g *recoverable) (more bool, err error)) error {
	prefixes := func(yield func(string) bool) {
		if now-since > maxHours*secondsAnHour {
			yield(a.recoverableOf())
			return
		}
		for hour := max(since, 0) / secondsAnHour; hour <= now/secondsAnHour; hour++ {
			if !yield(a.recoverableHour(hour * secondsAnHour)) {
				return
			}
		}
	}
	for prefix := range prefixes {
		records, err := a.store.engine.Records(ctx, recoverableKind, prefix)
		if err != nil {
			return err
		}
		for _, r := range records {
			if ctx.Err() != nil {
				return nil
			}
			g, err := readRecoverable(r)
			if err != nil {
				// It is for Repair.
				a.store.opt.Log.Error("expunged messages cannot be forgotten", "account", a.id, "error", err)
				continue
			}
			if more, err := each(g); err != nil || !more {
				return err
			}
		}
	}
	return nil
}
