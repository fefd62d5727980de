// Package storetest has the suite that every engine passes and that defines what
// an engine is; a random test that plays the same changes on two engines; and a
// driver that fails on purpose.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Ledger makes the valid batches of one account, as a Store would. The content of
// an email follows from its account and number alone. It is not safe for
// concurrent use.
type Ledger struct {
	Head      store.AccountRecord
	mailboxes map[mail.MailboxID]*shelf
	emails    map[mail.EmailID]int // references
	kept      []kept               // what Keep kept, the oldest first
	next      *store.Batch
	deltas    map[mail.EmailID]int // of next.References
}

// shelf is a mailbox in a Ledger.
type shelf struct {
	record   store.MailboxRecord
	messages map[mail.UID]store.Message
}

// kept are emails that are in a record and no mailbox.
type kept struct {
	key    string
	emails []mail.EmailID
	bytes  int64
}

// keptKind is the kind of the records that Keep writes; keys begin with the account.
const keptKind = "kept"

// NewLedger begins the account id; the first batch creates it.
func NewLedger(id mail.AccountID) *Ledger {
	return &Ledger{
		Head:      store.AccountRecord{ID: id, NextMailbox: 1, NextEmail: 1, NextUIDValidity: 1, QuotaBytes: 1 << 40, QuotaMessages: int64(id)},
		mailboxes: map[mail.MailboxID]*shelf{},
		emails:    map[mail.EmailID]int{},
	}
}

// begin starts the next batch, unless it is begun.
func (l *Ledger) begin() *store.Batch {
	if l.next == nil {
		l.next = &store.Batch{Create: l.Head.ModSeq == 0, Expect: l.Head.ModSeq}
		l.deltas = map[mail.EmailID]int{}
		l.Head.ModSeq++
	}
	return l.next
}

// Batch ends what was begun and gives it.
func (l *Ledger) Batch() *store.Batch {
	b := l.begin()
	b.Account = l.Head
	for _, id := range slices.Sorted(maps.Keys(l.deltas)) {
		b.References = append(b.References, store.Reference{Email: id, Delta: l.deltas[id]})
		if l.emails[id] == 0 {
			delete(l.emails, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.mailboxes)) {
		if m := l.mailboxes[id]; m.record.HighestModSeq == l.Head.ModSeq {
			m.record.Messages = uint32(len(m.messages))
			r := m.record
			r.Keywords = slices.Clone(r.Keywords)
			b.Mailboxes = append(b.Mailboxes, r)
		}
	}
	for i := range b.Messages {
		slices.SortFunc(b.Messages[i].Entries, func(x, y store.Message) int { return int(int64(x.UID) - int64(y.UID)) })
	}
	l.next = nil
	return b
}

// Mailbox makes a mailbox.
func (l *Ledger) Mailbox(name string) mail.MailboxID {
	l.begin()
	id := l.Head.NextMailbox
	l.Head.NextMailbox++
	l.mailboxes[id] = &shelf{
		record: store.MailboxRecord{
			ID: id, Name: name, UIDValidity: l.Head.NextUIDValidity, UIDNext: 1, RecentFrom: 1,
			SpecialUse: []string{"", `\Sent`}[id%2], Created: time.Unix(1_700_000_000+int64(id), int64(id)).UTC(),
			HighestModSeq: l.Head.ModSeq,
		},
		messages: map[mail.UID]store.Message{},
	}
	l.Head.NextUIDValidity++
	return id
}

// content gives bytes that follow from what they are for.
func content(account mail.AccountID, email mail.EmailID, part string, size int) []byte {
	text := fmt.Appendf(nil, "%s of %v in %v. ", part, email, account)
	out := bytes.Repeat(text, size/len(text)+1)[:size]
	// Some that does not compress.
	r := rand.New(rand.NewPCG(uint64(account), uint64(email)))
	for i := 64; i < size; i += 1 + r.IntN(64) {
		out[i] = byte(r.Uint32())
	}
	return out
}

// Email gives an email with a body of size bytes.
func (l *Ledger) Email(id mail.EmailID, size int) store.Email {
	m := store.Email{ID: id, Body: content(l.Head.ID, id, "body", size)}
	m.Summary = content(l.Head.ID, id, "summary", 40+int(id*37%900))
	if id%5 != 0 {
		m.Text = content(l.Head.ID, id, "text", 1+int(id*991%9000))
		m.Filter = content(l.Head.ID, id, "filter", 1+int(id*991%3000))
	}
	return m
}

func (l *Ledger) entries(m mail.MailboxID) *[]store.Message {
	b := l.begin()
	for i := range b.Messages {
		if b.Messages[i].Mailbox == m {
			return &b.Messages[i].Entries
		}
	}
	b.Messages = append(b.Messages, store.Messages{Mailbox: m})
	return &b.Messages[len(b.Messages)-1].Entries
}

// add puts x into m with the next UID.
func (l *Ledger) add(m mail.MailboxID, x store.Message) mail.UID {
	s := l.mailboxes[m]
	x.UID, x.ModSeq = s.record.UIDNext, l.Head.ModSeq
	s.record.UIDNext++
	s.record.HighestModSeq = l.Head.ModSeq
	s.record.Bytes += int64(x.Size)
	s.messages[x.UID] = x
	l.Head.Messages++
	l.Head.Bytes += int64(x.Size)
	if x.Annotated {
		l.Head.Annotations++
		l.Head.AnnotationBytes += int64(x.Size)
	}
	e := l.entries(m)
	*e = append(*e, x)
	return x.UID
}

// Deliver puts a new email with a body of size bytes into a mailbox.
func (l *Ledger) Deliver(m mail.MailboxID, size int) (mail.UID, mail.EmailID) {
	b := l.begin()
	id := l.Head.NextEmail
	l.Head.NextEmail++
	l.emails[id] = 1
	x := l.Email(id, size)
	b.Emails = append(b.Emails, x)
	b.Threads = append(b.Threads, store.ThreadLink{Key: key(uint64(id)), Thread: mail.ThreadID(id / 3)})
	return l.add(m, store.Message{
		Size: uint32(size), Email: id, Thread: mail.ThreadID(id / 3), Flags: mail.Flags(id) << 3,
		InternalDate: 1_600_000_000 - int64(id)*977, Saved: 1_700_000_000 + int64(id), Zone: int16(id%27)*60 - 720,
		Annotated: id%7 == 0,
	}), id
}

func key(n uint64) (k store.ThreadKey) {
	copy(k[:], fmt.Sprintf("%016x", n*0x9e3779b97f4a7c15))
	return k
}

// Copy puts a message into another mailbox too.
func (l *Ledger) Copy(from mail.MailboxID, uid mail.UID, to mail.MailboxID) mail.UID {
	l.begin()
	x := l.mailboxes[from].messages[uid]
	l.emails[x.Email]++
	l.deltas[x.Email]++
	return l.add(to, x)
}

// Flag sets a message's flags.
func (l *Ledger) Flag(m mail.MailboxID, uid mail.UID, f mail.Flags) {
	l.begin()
	s := l.mailboxes[m]
	x := s.messages[uid]
	x.Flags, x.ModSeq = f, l.Head.ModSeq
	s.messages[uid] = x
	s.record.HighestModSeq = l.Head.ModSeq
	e := l.entries(m)
	if i := slices.IndexFunc(*e, func(y store.Message) bool { return y.UID == uid }); i >= 0 {
		(*e)[i] = x
	} else {
		*e = append(*e, x)
	}
}

// Expunge takes messages, which this batch did not write, out of a mailbox.
func (l *Ledger) Expunge(m mail.MailboxID, uids ...mail.UID) {
	b := l.begin()
	s := l.mailboxes[m]
	for _, uid := range uids {
		l.drop(s.messages[uid])
		s.record.Bytes -= int64(s.messages[uid].Size)
		delete(s.messages, uid)
	}
	s.record.HighestModSeq = l.Head.ModSeq
	b.Expunged = append(b.Expunged, store.Expunged{Mailbox: m, ModSeq: l.Head.ModSeq, UIDs: mail.UIDSet(uids...)})
}

func (l *Ledger) drop(x store.Message) {
	l.emails[x.Email]--
	l.deltas[x.Email]--
	l.leave(x)
}

// leave counts a message that is in its mailbox no more.
func (l *Ledger) leave(x store.Message) {
	l.Head.Messages--
	l.Head.Bytes -= int64(x.Size)
	if x.Annotated {
		l.Head.Annotations--
		l.Head.AnnotationBytes -= int64(x.Size)
	}
}

// Keep is Expunge that leaves the emails their references and writes a record of them, as a
// Store does with what can be brought back.
func (l *Ledger) Keep(m mail.MailboxID, uids ...mail.UID) {
	b := l.begin()
	s := l.mailboxes[m]
	k := kept{key: fmt.Sprintf("%v/%08x/%v", l.Head.ID, uint64(l.Head.ModSeq), m)}
	for _, uid := range uids {
		x := s.messages[uid]
		l.leave(x)
		s.record.Bytes -= int64(x.Size)
		delete(s.messages, uid)
		k.emails = append(k.emails, x.Email)
		k.bytes += int64(x.Size)
	}
	l.Head.Recoverable += int64(len(k.emails))
	l.Head.RecoverableBytes += k.bytes
	l.Head.RecoverableSince = 1
	l.kept = append(l.kept, k)
	s.record.HighestModSeq = l.Head.ModSeq
	b.Expunged = append(b.Expunged, store.Expunged{Mailbox: m, ModSeq: l.Head.ModSeq, UIDs: mail.UIDSet(uids...)})
	b.Records = append(b.Records, store.Record{Kind: keptKind, Key: k.key, Value: fmt.Append(nil, k.emails)})
}

// Forget takes the oldest of what Keep kept, if it kept any before this batch.
func (l *Ledger) Forget() {
	b := l.begin()
	if len(l.kept) == 0 || slices.ContainsFunc(b.Records, func(r store.Record) bool { return r.Key == l.kept[0].key }) {
		return
	}
	k := l.kept[0]
	l.kept = l.kept[1:]
	for _, id := range k.emails {
		l.emails[id]--
		l.deltas[id]--
	}
	l.Head.Recoverable -= int64(len(k.emails))
	l.Head.RecoverableBytes -= k.bytes
	if len(l.kept) == 0 {
		l.Head.RecoverableSince = 0
	}
	b.Records = append(b.Records, store.Record{Kind: keptKind, Key: k.key})
}

// Delete deletes a mailbox.
func (l *Ledger) Delete(m mail.MailboxID) {
	b := l.begin()
	for _, x := range l.mailboxes[m].messages {
		l.drop(x)
	}
	delete(l.mailboxes, m)
	b.DeletedMailboxes = append(b.DeletedMailboxes, m)
}

// Subscribe changes whether a name is subscribed.
func (l *Ledger) Subscribe(name string, yes bool) {
	b := l.begin()
	if yes {
		b.Subscribe = append(b.Subscribe, name)
	} else {
		b.Unsubscribe = append(b.Unsubscribe, name)
	}
}

// UIDs gives the UIDs of a mailbox, ascending.
func (l *Ledger) UIDs(m mail.MailboxID) []mail.UID {
	return slices.Sorted(maps.Keys(l.mailboxes[m].messages))
}

// Mailboxes gives the ids of the mailboxes, ascending.
func (l *Ledger) Mailboxes() []mail.MailboxID { return slices.Sorted(maps.Keys(l.mailboxes)) }

// Random fills the next batch with some of everything and gives it.
func (l *Ledger) Random(r *rand.Rand) *store.Batch {
	if l.Head.ModSeq == 0 {
		for _, name := range []string{"INBOX", "Sent", "Entwürfe"} {
			l.Mailbox(name)
		}
		return l.Batch()
	}
	sizes := []int{0, 1, 700, 5000, 5000, 40_000, 262_143, 262_144, 262_145, 700_000}
	boxes := l.Mailboxes()
	touched := map[mail.MailboxID]bool{}
	for range 1 + r.IntN(3) {
		i := r.IntN(len(boxes))
		m := boxes[i]
		if touched[m] {
			continue
		}
		touched[m] = true
		uids := l.UIDs(m)
		some := func() []mail.UID {
			r.Shuffle(len(uids), func(i, j int) { uids[i], uids[j] = uids[j], uids[i] })
			return uids[:min(len(uids), 1+r.IntN(1+len(uids)/2))]
		}
		switch n := r.IntN(20); {
		case n < 6:
			l.Deliver(m, sizes[r.IntN(len(sizes))])
		case n < 8:
			for range r.IntN(300) {
				l.Deliver(m, r.IntN(200))
			}
		case n < 11 && len(uids) > 0:
			for _, uid := range some() {
				l.Flag(m, uid, mail.Flags(r.Uint64()))
			}
		case n < 13 && len(uids) > 0:
			l.Expunge(m, some()...)
		case n < 15 && len(uids) > 0:
			l.Keep(m, some()...)
		case n == 19 && len(l.kept) > 0:
			l.Forget()
		case n < 17 && len(uids) > 0:
			if to := boxes[(i+1)%len(boxes)]; !touched[to] {
				touched[to] = true
				for _, uid := range some() {
					l.Copy(m, uid, to)
				}
			}
		case n == 17:
			l.Mailbox(fmt.Sprintf("Box/%d", r.IntN(1000)))
		case n == 18 && len(boxes) > 2 && len(touched) == 1:
			l.Delete(m)
			return l.Batch()
		default:
			l.Subscribe(fmt.Sprintf("Name %d", r.IntN(9)), r.IntN(3) > 0)
		}
	}
	return l.Batch()
}

// Commit commits a batch and waits for it.
func Commit(t testing.TB, e store.Engine, b *store.Batch) {
	t.Helper()
	if err := commit(e, b); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func commit(e store.Engine, b *store.Batch) error {
	wait, err := e.Commit(context.Background(), b)
	if err != nil {
		return err
	}
	return wait()
}
