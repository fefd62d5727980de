package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/postern-mail/postern/mail"
)

// A guest's own flags in a mailbox, its marks, are kept apart from the messages: \Seen
// and keywords are what each person has for itself, the other system flags belong to
// the message. The owner's stand in the messages, so that a mailbox which is not shared
// costs nothing. Marks are changed by batches of the owner's account and take their
// MODSEQ from its counter: the MODSEQ of a message as a guest sees it is the higher of
// the message's and the mark's, the HIGHESTMODSEQ the higher of the mailbox's and the
// marks', and no change of either gets a number that somebody was told already.

const (
	// marksKind is the kind of the records of marks. Their key is
	// account/mailbox/guest/ and the number of a chunk, or "-" for the head.
	marksKind = "marks"

	// ownFlags are those that each person has for itself.
	ownFlags = mail.Seen | ^mail.Flags(1<<mail.KeywordBit-1)
	// commonFlags are those of the message, the same for all.
	commonFlags = mail.SystemFlags &^ mail.Seen

	// marksChunk is how many UIDs the marks of one record are of.
	marksChunk = 256
)

// mark is what a guest has of one message.
type mark struct {
	uid    mail.UID
	flags  mail.Flags // within ownFlags
	modSeq mail.ModSeq
}

// marks are what a guest has of a mailbox: a state that never changes.
type marks struct {
	modSeq   mail.ModSeq // of the last change
	keywords []string    // bit mail.KeywordBit+i of a mark belongs to keywords[i]
	chunks   []markChunk // ascending
}

type markChunk struct {
	number uint32 // UIDs from number*marksChunk on
	marks  []mark // ascending, never empty
}

// from gives the place of the first chunk with at least that number.
func (k *marks) from(number uint32) int {
	return sort.Search(len(k.chunks), func(i int) bool { return k.chunks[i].number >= number })
}

// of gives the mark of a message, which is of no flags where there is none.
func (k *marks) of(uid mail.UID) mark {
	n := uint32(uid) / marksChunk
	if i := k.from(n); i < len(k.chunks) && k.chunks[i].number == n {
		list := k.chunks[i].marks
		j := sort.Search(len(list), func(j int) bool { return list[j].uid >= uid })
		if j < len(list) && list[j].uid == uid {
			return list[j]
		}
	}
	return mark{uid: uid}
}

// same tells whether k and o have the very same chunks for the UIDs first to last.
func (k *marks) same(o *marks, first, last mail.UID) bool {
	a, b := uint32(first)/marksChunk, uint32(last)/marksChunk+1
	x, y := k.chunks[k.from(a):k.from(b)], o.chunks[o.from(a):o.from(b)]
	return slices.EqualFunc(x, y, func(x, y markChunk) bool { return x.number == y.number && &x.marks[0] == &y.marks[0] })
}

// with gives k with changed, ascending by UID, and what must be written for it under
// prefix. Marks of messages that there are no more are left out where a chunk is
// written anyway; there tells which ones there are.
func (k *marks) with(seq mail.ModSeq, keywords []string, changed []mark, there func(mail.UID) bool, prefix string) (*marks, []Record) {
	n := &marks{modSeq: seq, keywords: keywords, chunks: slices.Clone(k.chunks)}
	records := []Record{{Kind: marksKind, Key: prefix + "-", Value: n.appendHead(nil)}}
	for len(changed) > 0 {
		number := uint32(changed[0].uid) / marksChunk
		end := sort.Search(len(changed), func(i int) bool { return uint32(changed[i].uid)/marksChunk > number })
		i := n.from(number)
		var old []mark
		if i < len(n.chunks) && n.chunks[i].number == number {
			old = n.chunks[i].marks
		} else {
			n.chunks = slices.Insert(n.chunks, i, markChunk{number: number})
		}
		list := merged(old, changed[:end], there)
		record := Record{Kind: marksKind, Key: fmt.Sprintf("%s%08x", prefix, number)}
		if len(list) > 0 {
			n.chunks[i].marks = list
			record.Value = appendMarks(nil, list)
		} else {
			n.chunks = slices.Delete(n.chunks, i, i+1)
		}
		records = append(records, record)
		changed = changed[end:]
	}
	return n, records
}

// merged gives old with changed in it, without those that are not there any more.
func merged(old, changed []mark, there func(mail.UID) bool) []mark {
	list := make([]mark, 0, len(old)+len(changed))
	for len(old)+len(changed) > 0 {
		var m mark
		switch {
		case len(changed) == 0 || len(old) > 0 && old[0].uid < changed[0].uid:
			m, old = old[0], old[1:]
			if !there(m.uid) {
				continue
			}
		case len(old) > 0 && old[0].uid == changed[0].uid:
			old = old[1:]
			fallthrough
		default:
			m, changed = changed[0], changed[1:]
		}
		list = append(list, m)
	}
	return list
}

// appendHead is the value of the head: MODSEQ and keywords.
func (k *marks) appendHead(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(k.modSeq))
	for _, w := range k.keywords {
		dst = append(binary.AppendUvarint(dst, uint64(len(w))), w...)
	}
	return dst
}

// appendMarks is the value of a chunk.
func appendMarks(dst []byte, list []mark) []byte {
	for _, m := range list {
		dst = binary.AppendUvarint(dst, uint64(m.uid))
		dst = binary.AppendUvarint(dst, uint64(m.flags))
		dst = binary.AppendUvarint(dst, uint64(m.modSeq))
	}
	return dst
}

// readMarks makes marks of the records that begin with prefix.
func readMarks(records []Record, prefix string) (*marks, error) {
	k := &marks{}
	for _, r := range records {
		b, bad := r.Value, false
		next := func() uint64 {
			v, n := binary.Uvarint(b)
			if bad = bad || n <= 0; bad {
				return 0
			}
			b = b[n:]
			return v
		}
		if r.Key == prefix+"-" {
			k.modSeq = mail.ModSeq(next())
			for len(b) > 0 && !bad {
				n := next()
				if bad = bad || n > uint64(len(b)); !bad {
					k.keywords = append(k.keywords, string(b[:n]))
					b = b[n:]
				}
			}
			bad = bad || len(k.keywords) > mail.MaxKeywords
		} else {
			var c markChunk
			for len(b) > 0 && !bad {
				m := mark{mail.UID(next()), mail.Flags(next()), mail.ModSeq(next())}
				bad = bad || len(c.marks) > 0 && m.uid <= c.marks[len(c.marks)-1].uid
				c.number = uint32(m.uid) / marksChunk
				bad = bad || len(c.marks) > 0 && c.number != uint32(c.marks[0].uid)/marksChunk
				c.marks = append(c.marks, m)
			}
			if n := len(k.chunks); n > 0 && !bad {
				bad = c.number <= k.chunks[n-1].number
			}
			if len(c.marks) > 0 {
				k.chunks = append(k.chunks, c)
			}
		}
		if bad {
			return nil, mail.Errorf(mail.KindCorrupt, "the marks %s are damaged in the store", r.Key)
		}
	}
	return k, nil
}

// marksPrefix is how the keys of the marks of a guest begin.
func marksPrefix(account mail.AccountID, mailbox mail.MailboxID, guest mail.AccountID) string {
	return marksOf(account, mailbox) + guest.String() + "/"
}

// marksOf is how the keys of all marks in a mailbox begin.
func marksOf(account mail.AccountID, mailbox mail.MailboxID) string {
	return fmt.Sprintf("%v/%08x/", account, uint32(mailbox))
}

// marksIn makes sure that the head of b has a guest's marks, and gives them; a.mu is
// held.
func (a *Account) marksIn(ctx context.Context, b *box, guest mail.AccountID) (*marks, error) {
	if k := b.marks[guest]; k != nil {
		return k, nil
	}
	prefix := marksPrefix(a.id, b.id, guest)
	records, err := a.store.engine.Records(ctx, marksKind, prefix)
	if err != nil {
		return nil, err
	}
	k, err := readMarks(records, prefix)
	if err != nil {
		return nil, err
	}
	b.setMarks(guest, k)
	return k, nil
}

// setMarks enters marks in the head, which is published with the map that it has then.
func (b *box) setMarks(guest mail.AccountID, k *marks) {
	next := maps.Clone(b.marks)
	if next == nil {
		next = map[mail.AccountID]*marks{}
	}
	next[guest] = k
	b.marks = next
}

// guestView is a mailbox as one guest sees it, made of the last state that was asked for
// and kept for the guest's other sessions and as what the next one is made of.
type guestView struct {
	from    *Snapshot
	marks   *marks
	derived *Snapshot
	pieces  map[*Message]piece // by the first message of a run of from
}

// piece is a run of messages as the guest sees it.
type piece struct {
	messages []Message
	unseen   uint32
	facts    *facts
}

// seenBy gives st's index as a guest sees it. The same state gives the same Snapshot, and
// states share what did not change.
func (b *box) seenBy(guest mail.AccountID, st *boxState) *Snapshot {
	k := st.marks[guest]
	if k == nil {
		k = &noMarks
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.views[guest]
	if old != nil && old.from == st.index && old.marks == k {
		return old.derived
	}
	if old == nil {
		old = &guestView{marks: &noMarks}
	}
	v := &guestView{from: st.index, marks: k, pieces: make(map[*Message]piece, len(st.index.chunks))}
	out := &Snapshot{Mailbox: st.index.Mailbox}
	out.Mailbox.Keywords = k.keywords
	out.Mailbox.HighestModSeq = max(out.Mailbox.HighestModSeq, k.modSeq)
	out.Mailbox.Unseen = 0
	for _, c := range st.index.chunks {
		first, last := c.messages[0].UID, c.messages[len(c.messages)-1].UID
		p, ok := old.pieces[&c.messages[0]]
		if !ok || len(p.messages) != len(c.messages) || !k.same(old.marks, first, last) {
			p = k.over(c.messages)
		}
		v.pieces[&c.messages[0]] = p
		out.chunks = append(out.chunks, chunk{c.before, p.messages, p.facts})
		out.Mailbox.Unseen += p.unseen
	}
	if len(st.index.tail) > 0 {
		p := k.over(st.index.tail)
		out.tail = p.messages
		out.Mailbox.Unseen += p.unseen
	}
	v.derived = out
	if b.views == nil {
		b.views = map[mail.AccountID]*guestView{}
	}
	b.views[guest] = v
	return out
}

var noMarks marks

// over gives a run of messages as the guest sees it.
func (k *marks) over(run []Message) piece {
	p := piece{messages: make([]Message, len(run)), facts: new(facts)}
	var c []mark // of the chunk that the last message was in
	number := ^uint32(0)
	for i := range run {
		m := run[i]
		if n := uint32(m.UID) / marksChunk; n != number {
			number, c = n, nil
			if at := k.from(n); at < len(k.chunks) && k.chunks[at].number == n {
				c = k.chunks[at].marks
			}
		}
		for len(c) > 0 && c[0].uid < m.UID {
			c = c[1:]
		}
		m.Flags &= commonFlags
		if len(c) > 0 && c[0].uid == m.UID {
			m.Flags |= c[0].flags
			m.ModSeq = max(m.ModSeq, c[0].modSeq)
		}
		if m.Flags&mail.Seen == 0 {
			p.unseen++
		}
		p.messages[i] = m
	}
	return p
}
