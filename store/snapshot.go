package store

import (
	"slices"
	"sort"
	"sync"

	"github.com/postern-mail/postern/mail"
)

// Snapshot is a mailbox's index at one moment, ascending by UID. It never changes:
// all sessions that know the same state share one. Snapshots of neighbouring
// moments share every chunk in which nothing happened, so a change of one message
// of a million costs one chunk, and what two snapshots differ in is found by
// looking at the chunks that they do not share.
type Snapshot struct {
	// Mailbox is the mailbox's record at that moment.
	Mailbox MailboxRecord

	chunks []chunk   // full; each non-empty
	tail   []Message // the newest; grows in place beyond what older snapshots see
	gone   int       // how many messages have Gone set
}

// chunk is a run of messages.
type chunk struct {
	before   int // how many messages stand before it
	messages []Message
	facts    *facts // nil of the tail
}

// facts say of a chunk whether it is worth looking at: SELECT of a large mailbox passes by
// what was read, QRESYNC by what is as it was. They are found when they are first asked for.
type facts struct {
	once   sync.Once
	unseen int         // how many are without \Seen
	top    mail.ModSeq // the highest
}

func newChunk(before int, messages []Message) chunk { return chunk{before, messages, new(facts)} }

func (c chunk) know() *facts {
	f := c.facts
	f.once.Do(func() {
		for i := range c.messages {
			if c.messages[i].Flags&mail.Seen == 0 {
				f.unseen++
			}
			f.top = max(f.top, c.messages[i].ModSeq)
		}
	})
	return f
}

// chunkSize is the largest chunk. A flag change copies one chunk, a lookup
// searches the chunks and then one of them.
const chunkSize = 512

// newSnapshot cuts messages, which it keeps, into chunks.
func newSnapshot(box MailboxRecord, messages []Message) *Snapshot {
	s := &Snapshot{Mailbox: box}
	n := 0
	for ; len(messages)-n > chunkSize; n += chunkSize {
		s.chunks = append(s.chunks, newChunk(n, messages[n:n+chunkSize:n+chunkSize]))
	}
	// The tail gets its own memory: it will grow.
	s.tail = slices.Clone(messages[n:])
	return s
}

// Len is the number of messages, which is also the highest sequence number.
func (s *Snapshot) Len() int { return s.tailStart() + len(s.tail) }

// Gone is how many of the messages have Gone set.
func (s *Snapshot) Gone() int { return s.gone }

func (s *Snapshot) tailStart() int {
	if n := len(s.chunks); n > 0 {
		last := s.chunks[n-1]
		return last.before + len(last.messages)
	}
	return 0
}

// piece gives the i-th chunk, or behind the last the tail, of which no facts are kept.
func (s *Snapshot) piece(i int) chunk {
	if i < len(s.chunks) {
		return s.chunks[i]
	}
	return chunk{before: s.tailStart(), messages: s.tail}
}

// at finds the 0-based i-th message, which must exist.
func (s *Snapshot) at(i int) *Message {
	if t := s.tailStart(); i >= t {
		return &s.tail[i-t]
	}
	c := sort.Search(len(s.chunks), func(c int) bool { return s.chunks[c].before > i }) - 1
	return &s.chunks[c].messages[i-s.chunks[c].before]
}

// At gives the message with sequence number seq, nil when there is none. The
// message is not to be changed.
func (s *Snapshot) At(seq uint32) *Message {
	if seq == 0 || int64(seq) > int64(s.Len()) {
		return nil
	}
	return s.at(int(seq) - 1)
}

// FirstUnseen gives the sequence number of the first message without \Seen, 0 when
// there is none.
func (s *Snapshot) FirstUnseen() uint32 {
	for i := range len(s.chunks) + 1 {
		c := s.piece(i)
		if c.facts != nil && c.know().unseen == 0 {
			continue
		}
		for j := range c.messages {
			if c.messages[j].Flags&mail.Seen == 0 {
				return uint32(c.before + j + 1)
			}
		}
	}
	return 0
}

// search gives the 0-based place of the first message with a UID of at least uid.
func (s *Snapshot) search(uid mail.UID) int {
	in := func(m []Message) int {
		return sort.Search(len(m), func(i int) bool { return m[i].UID >= uid })
	}
	c := sort.Search(len(s.chunks), func(c int) bool {
		m := s.chunks[c].messages
		return m[len(m)-1].UID >= uid
	})
	if c < len(s.chunks) {
		return s.chunks[c].before + in(s.chunks[c].messages)
	}
	return s.tailStart() + in(s.tail)
}

// Seq gives the sequence number of uid.
func (s *Snapshot) Seq(uid mail.UID) (uint32, bool) {
	i := s.search(uid)
	if i < s.Len() && s.at(i).UID == uid {
		return uint32(i + 1), true
	}
	return 0, false
}

// runs yields the messages from the 0-based place from to before the place to,
// in pieces that are slices of the index.
func (s *Snapshot) runs(from, to int, yield func(before int, run []Message) bool) {
	to = min(to, s.Len())
	if from >= to {
		return
	}
	c := sort.Search(len(s.chunks), func(c int) bool {
		return s.chunks[c].before+len(s.chunks[c].messages) > from
	})
	for ; c <= len(s.chunks); c++ {
		ch := s.piece(c)
		if ch.before >= to {
			return
		}
		a, b := max(from-ch.before, 0), min(to-ch.before, len(ch.messages))
		if a < b && !yield(ch.before+a, ch.messages[a:b]) {
			return
		}
	}
}

// EachSeq calls each for the messages whose sequence numbers are in set,
// ascending, until it returns false. Numbers that do not exist are passed over.
func (s *Snapshot) EachSeq(set mail.NumSet, each func(seq uint32, m *Message) bool) {
	for _, r := range set {
		if int64(r.First) > int64(s.Len()) {
			return
		}
		more := true
		s.runs(int(r.First)-1, int(min(int64(r.Last), int64(s.Len()))), func(before int, run []Message) bool {
			for i := range run {
				if more = each(uint32(before+i+1), &run[i]); !more {
					return false
				}
			}
			return true
		})
		if !more {
			return
		}
	}
}

// EachUID calls each for the messages whose UIDs are in set, ascending, until it
// returns false. UIDs that do not exist are passed over.
func (s *Snapshot) EachUID(set mail.NumSet, each func(seq uint32, m *Message) bool) {
	for _, r := range set {
		more := true
		s.runs(s.search(mail.UID(r.First)), s.Len(), func(before int, run []Message) bool {
			for i := range run {
				if run[i].UID > mail.UID(r.Last) {
					return false
				}
				if more = each(uint32(before+i+1), &run[i]); !more {
					return false
				}
			}
			return true
		})
		if !more {
			return
		}
	}
}

// EachSince calls each for the messages whose MODSEQ is above since, ascending, until it
// returns false. It passes by the chunks in which nothing happened.
func (s *Snapshot) EachSince(since mail.ModSeq, each func(seq uint32, m *Message) bool) {
	for i := range len(s.chunks) + 1 {
		c := s.piece(i)
		if c.facts != nil && c.know().top <= since {
			continue
		}
		for j := range c.messages {
			if m := &c.messages[j]; m.ModSeq > since && !each(uint32(c.before+j+1), m) {
				return
			}
		}
	}
}

// All is every message's sequence number.
func (s *Snapshot) All() mail.NumSet {
	if s.Len() == 0 {
		return nil
	}
	return mail.NumSet{{First: 1, Last: uint32(s.Len())}}
}

// UIDs gives the UIDs of set that exist and are not gone.
func (s *Snapshot) UIDs(set mail.NumSet) mail.NumSet {
	var out mail.NumSet
	s.EachUID(set, func(_ uint32, m *Message) bool {
		if !m.Gone {
			out.Add(uint32(m.UID))
		}
		return true
	})
	return out
}

// UIDsOf gives the UIDs of the messages with the sequence numbers seqs, those
// that are gone included.
func (s *Snapshot) UIDsOf(seqs mail.NumSet) mail.NumSet {
	var out mail.NumSet
	s.EachSeq(seqs, func(_ uint32, m *Message) bool {
		out.Add(uint32(m.UID))
		return true
	})
	return out
}

// Seqs gives the sequence numbers of the messages whose UIDs are in uids.
func (s *Snapshot) Seqs(uids mail.NumSet) mail.NumSet {
	var out mail.NumSet
	s.EachUID(uids, func(seq uint32, _ *Message) bool {
		out.Add(seq)
		return true
	})
	return out
}

// appended gives the snapshot with messages, whose UIDs are higher than all
// others, at its end. Only the newest snapshot of a mailbox may be grown, and by
// one goroutine at a time: the memory behind the tail is shared.
func (s *Snapshot) appended(box MailboxRecord, messages []Message) *Snapshot {
	n := &Snapshot{Mailbox: box, chunks: s.chunks, tail: s.tail, gone: s.gone}
	for len(messages) > 0 {
		if len(n.tail) >= chunkSize {
			n.chunks = append(n.chunks, newChunk(n.tailStart(), n.tail))
			n.tail = nil
		}
		k := min(len(messages), chunkSize-len(n.tail))
		n.tail = append(n.tail, messages[:k]...)
		messages = messages[k:]
	}
	return n
}

// edited gives the snapshot in which the messages of changed (ascending by UID,
// all present) are replaced and those of removed are left out.
func (s *Snapshot) edited(box MailboxRecord, changed []Message, removed mail.NumSet) *Snapshot {
	n := &Snapshot{Mailbox: box, gone: s.gone}
	n.chunks = make([]chunk, 0, len(s.chunks))
	edit := func(run []Message) []Message {
		first, last := run[0].UID, run[len(run)-1].UID
		touched := len(changed) > 0 && changed[0].UID <= last
		i := sort.Search(len(removed), func(i int) bool { return removed[i].Last >= uint32(first) })
		drop := i < len(removed) && removed[i].First <= uint32(last)
		if !touched && !drop {
			return run
		}
		out := make([]Message, 0, len(run))
		for _, m := range run {
			if drop && removed.Contains(uint32(m.UID)) {
				continue
			}
			if len(changed) > 0 && changed[0].UID == m.UID {
				m, changed = changed[0], changed[1:]
			}
			out = append(out, m)
		}
		return out
	}
	before := 0
	add := func(run []Message) {
		if len(run) == 0 {
			return
		}
		// Two small neighbours become one, or many removals would leave crumbs.
		if k := len(n.chunks); k > 0 && len(n.chunks[k-1].messages)+len(run) <= chunkSize/2 {
			last := &n.chunks[k-1]
			*last = newChunk(last.before, slices.Concat(last.messages, run))
		} else {
			n.chunks = append(n.chunks, newChunk(before, run))
		}
		before += len(run)
	}
	for _, c := range s.chunks {
		run := edit(c.messages)
		if len(run) == len(c.messages) && &run[0] == &c.messages[0] && len(run) > chunkSize/2 {
			n.chunks = append(n.chunks, chunk{before, run, c.facts})
			before += len(run)
			continue
		}
		add(run)
	}
	if len(s.tail) > 0 {
		n.tail = edit(s.tail)
	}
	return n
}

// difference is what a session that knows one snapshot must be told to know
// another. Numbers are 0-based places.
type difference struct {
	expunged []int // in the old snapshot, ascending
	changed  []int // in the old snapshot, ascending; flags or modseq differ
	appended int   // messages at the end of the new one
}

// compare finds what differs between s, the older, and newer. Messages that are
// Gone in s count as expunged.
func (s *Snapshot) compare(newer *Snapshot) difference {
	var d difference
	if s == newer {
		return d
	}
	a, b := cursor{s: s}, cursor{s: newer}
	for {
		ra, rb := a.run(), b.run()
		switch {
		case len(ra) == 0:
			for ; len(rb) > 0; rb = b.run() {
				d.appended += len(rb)
				b.skip(len(rb))
			}
			return d
		case len(rb) == 0:
			for ; len(ra) > 0; ra = a.run() {
				for i := range ra {
					d.expunged = append(d.expunged, a.place+i)
				}
				a.skip(len(ra))
			}
			return d
		}
		if &ra[0] == &rb[0] { // the same memory: the shared length is the same
			n := min(len(ra), len(rb))
			a.skip(n)
			b.skip(n)
			continue
		}
		i, j := 0, 0
		for i < len(ra) && j < len(rb) {
			x, y := &ra[i], &rb[j]
			switch {
			case x.UID == y.UID:
				if x.ModSeq != y.ModSeq {
					d.changed = append(d.changed, a.place+i)
				}
				i++
				j++
			case x.UID < y.UID:
				d.expunged = append(d.expunged, a.place+i)
				i++
			default: // cannot be: nothing arrives below what is known
				j++
			}
		}
		a.skip(i)
		b.skip(j)
	}
}

// cursor walks a snapshot run by run.
type cursor struct {
	s      *Snapshot
	chunk  int
	offset int
	place  int
}

func (c *cursor) run() []Message {
	for c.chunk <= len(c.s.chunks) {
		m := c.s.tail
		if c.chunk < len(c.s.chunks) {
			m = c.s.chunks[c.chunk].messages
		}
		if c.offset < len(m) {
			return m[c.offset:]
		}
		c.chunk++
		c.offset = 0
	}
	return nil
}

func (c *cursor) skip(n int) { c.offset += n; c.place += n }

// withGone gives newer with the messages that d says are expunged kept at their
// places and marked Gone: what a session sees that may not be told of an EXPUNGE
// yet. Their flags stay as s has them.
func (s *Snapshot) withGone(newer *Snapshot, d difference) *Snapshot {
	all := make([]Message, 0, newer.Len()+len(d.expunged))
	place := 0
	put := func(m Message) { m.Gone = true; all = append(all, m) }
	newer.runs(0, newer.Len(), func(_ int, run []Message) bool {
		for _, m := range run {
			for place < len(d.expunged) && s.at(d.expunged[place]).UID < m.UID {
				put(*s.at(d.expunged[place]))
				place++
			}
			all = append(all, m)
		}
		return true
	})
	for ; place < len(d.expunged); place++ {
		put(*s.at(d.expunged[place]))
	}
	out := newSnapshot(newer.Mailbox, all)
	out.gone = len(d.expunged)
	return out
}
