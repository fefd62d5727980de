package imap

import (
	"cmp"
	"context"
	"slices"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// CONTEXT=SORT (RFC 5267, 4): a SORT whose results the client follows. ADDTO and
// REMOVEFROM name places, so the order in which the client has the results is kept.

// maxRanked bounds the results of all sorts together that a session follows: of each
// four bytes are kept.
const maxRanked = 500_000

// errTooManyRanked ends the following of a SORT.
var errTooManyRanked = mail.Errorf(mail.KindLimit, "Too many sorted results are followed.")

// ranking is the order in which the client of a SORT has its results.
type ranking struct {
	orders    []sortOrder
	collation collationOrder // of when the SORT was answered
	uids      []mail.UID
	scores    []uint8 // of uids, in a fuzzy search
}

// placed are results that leave a ranking, or come into it, side by side: at which
// place, counted from 1, and in their order.
type placed struct {
	at   int
	uids []mail.UID
}

// followSorted is follow for a SORT.
func (s *session) followSorted(r *request, q *sorting, found *findings, sorted order) {
	total := len(sorted.places)
	for _, c := range s.contexts {
		if c.ranking != nil {
			total += len(c.ranking.uids)
		}
	}
	switch {
	case total > maxRanked:
		s.refuseUpdates(r.tag, mail.TextOf(errTooManyRanked))
		return
	case slices.ContainsFunc(q.orders, func(o sortOrder) bool { return o.note }):
		// Their values change, and with them the place of a message that stays.
		s.refuseUpdates(r.tag, "Results in the order of annotations are not followed.")
		return
	}
	c := s.follow(r, &q.searching, found, nil)
	if c == nil {
		return
	}
	k := &ranking{orders: q.orders, collation: s.collation, uids: make([]mail.UID, len(sorted.places))}
	if found.scores != nil {
		k.scores = make([]uint8, len(k.uids))
	}
	for i, place := range sorted.places {
		k.uids[i] = sorted.messages[place].UID
		if k.scores != nil {
			k.scores[i] = uint8(found.score(sorted.seqs[place]))
		}
	}
	c.ranking = k
}

// remove takes results out, and says where they were: each run after those before it
// are gone (RFC 5267, 4.3.4).
func (k *ranking) remove(gone mail.NumSet) (runs []placed) {
	if len(gone) == 0 {
		return nil
	}
	left, last := 0, -1
	for i, uid := range k.uids {
		if gone.Contains(uint32(uid)) {
			if last != i-1 || runs == nil {
				runs = append(runs, placed{at: left + 1})
			}
			run := &runs[len(runs)-1]
			run.uids = append(run.uids, uid)
			last = i
			continue
		}
		k.uids[left] = uid
		if k.scores != nil {
			k.scores[left] = k.scores[i]
		}
		left++
	}
	k.uids = k.uids[:left]
	if k.scores != nil {
		k.scores = k.scores[:left]
	}
	return runs
}

// addRanked takes in results of the selected mailbox's view, of which found has the
// scores, and says where they come: each run when those before it are there (RFC 5267,
// 4.3.3). It gives errSearchTime when that takes too long.
func (s *session) addRanked(k *ranking, come mail.NumSet, found *findings) (runs []placed, err error) {
	if len(come) == 0 {
		return nil, nil
	}
	if uint64(len(k.uids))+come.Len() > maxRanked {
		return nil, errTooManyRanked
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, maxFollowTime, errSearchTime)
	defer cancel()
	f := rankFinder{ranking: k, found: found, read: func(messages []*store.Message, fields []message.SortField) ([]store.Column, error) {
		return s.mailbox.Columns(ctx, messages, fields...)
	}}
	found.view.EachUID(come, func(_ uint32, m *store.Message) bool {
		f.come = append(f.come, m)
		return true
	})
	if err := f.find(); err != nil {
		if context.Cause(ctx) == errSearchTime {
			err = errSearchTime
		}
		return nil, err
	}
	for i, m := range f.come {
		if i == 0 || f.at[i] != f.at[i-1] {
			runs = append(runs, placed{at: f.at[i] + i + 1})
		}
		run := &runs[len(runs)-1]
		run.uids = append(run.uids, m.UID)
	}
	k.insert(f.come, f.at, found)
	return runs, nil
}

// insert puts messages, in their order, before the results at these places, counted
// from 0. It begins at the end, so that each result moves once.
func (k *ranking) insert(come []*store.Message, at []int, found *findings) {
	end := len(k.uids)
	k.uids = append(k.uids, make([]mail.UID, len(come))...)
	if k.scores != nil {
		k.scores = append(k.scores, make([]uint8, len(come))...)
	}
	for i := len(come) - 1; i >= 0; i-- {
		copy(k.uids[at[i]+i+1:], k.uids[at[i]:end])
		k.uids[at[i]+i] = come[i].UID
		if k.scores != nil {
			copy(k.scores[at[i]+i+1:], k.scores[at[i]:end])
			k.scores[at[i]+i] = found.scoreOf(come[i].UID)
		}
		end = at[i]
	}
}

// scoreOf is score by UID.
func (f *findings) scoreOf(uid mail.UID) uint8 {
	seq, _ := f.view.Seq(uid)
	return uint8(f.score(seq))
}

// rankFinder finds where messages come into a ranking: each halves the results until
// its place is left, and what all of them look at next is read at once. So a message
// that arrives in a mailbox of 100,000 costs the fields of 17, and not a sort.
type rankFinder struct {
	*ranking
	found *findings
	read  func(messages []*store.Message, fields []message.SortField) ([]store.Column, error)

	come []*store.Message // ascending by UID, and in their order after find
	at   []int            // before which result each of them comes
}

func (f *rankFinder) find() error {
	keys, err := f.keys(f.come, nil)
	if err != nil {
		return err
	}
	ordered := make([]*store.Message, len(f.come))
	for i, place := range keys.sorted(len(f.come)) {
		ordered[i] = f.come[place]
	}
	f.come = ordered
	// What is expunged and not told yet is no more to be compared with.
	view := f.found.view
	var live []int
	for i, uid := range f.uids {
		if seq, ok := view.Seq(uid); ok && !view.At(seq).Gone {
			live = append(live, i)
		}
	}
	low, high := make([]int, len(f.come)), make([]int, len(f.come))
	for i := range high {
		high[i] = len(live)
	}
	for {
		// All that is compared now, ascending.
		var messages []*store.Message
		var scores map[mail.UID]uint8
		if f.scores != nil {
			scores = map[mail.UID]uint8{}
		}
		for i, m := range f.come {
			if low[i] == high[i] {
				continue
			}
			middle := live[(low[i]+high[i])/2]
			seq, _ := view.Seq(f.uids[middle])
			messages = append(messages, m, view.At(seq))
			if scores != nil {
				scores[m.UID], scores[f.uids[middle]] = f.found.scoreOf(m.UID), f.scores[middle]
			}
		}
		if len(messages) == 0 {
			break
		}
		byUID := func(a, b *store.Message) int { return cmp.Compare(a.UID, b.UID) }
		slices.SortFunc(messages, byUID)
		messages = slices.CompactFunc(messages, func(a, b *store.Message) bool { return a.UID == b.UID })
		place := func(m *store.Message) uint32 {
			n, _ := slices.BinarySearchFunc(messages, m, byUID)
			return uint32(n)
		}
		if keys, err = f.keys(messages, scores); err != nil {
			return err
		}
		for i, m := range f.come {
			if low[i] == high[i] {
				continue
			}
			middle := (low[i] + high[i]) / 2
			seq, _ := view.Seq(f.uids[live[middle]])
			other := view.At(seq)
			way := keys.compare(place(m), place(other))
			if way == 0 {
				way = byUID(m, other)
			}
			if way < 0 {
				high[i] = middle
			} else {
				low[i] = middle + 1
			}
		}
	}
	f.at = low
	for i, n := range low {
		if f.at[i] = len(f.uids); n < len(live) {
			f.at[i] = live[n]
		}
	}
	return nil
}

// keys gives what messages are compared by; scores are those of the messages, nil: as
// found has them.
func (f *rankFinder) keys(messages []*store.Message, scores map[mail.UID]uint8) (sortKeys, error) {
	return sortKeysOf(messages, f.orders, f.collation, f.read, func(i int) int {
		if scores == nil {
			return int(f.found.scoreOf(messages[i].UID))
		}
		return int(scores[messages[i].UID])
	}, nil)
}

// tellRanked writes which results left the order and which came, and where.
//
//	ret-data-removefrom = "REMOVEFROM" SP "(" context-position SP sequence-set
//	                      *(SP context-position SP sequence-set) ")"
//	ret-data-addto      = "ADDTO" SP "(" context-position SP sequence-set
//	                      *(SP context-position SP sequence-set) ")"
func (c *searchContext) tellRanked(e *wire.Encoder, view *store.Snapshot, gone, come []placed) {
	if len(gone) == 0 && len(come) == 0 {
		return
	}
	writeCorrelator(e, c.tag, c.from, c.uid)
	write := func(name string, runs []placed) {
		if len(runs) == 0 {
			return
		}
		e.RawString(name)
		for i, run := range runs {
			if i > 0 {
				e.SP()
			}
			e.Number(uint64(run.at)).SP()
			writeSequence(e, 0, len(run.uids), func(i int) uint32 {
				if c.uid {
					return uint32(run.uids[i])
				}
				seq, _ := view.Seq(run.uids[i])
				return seq
			})
		}
		e.Close()
	}
	write(" REMOVEFROM (", gone)
	write(" ADDTO (", come)
	e.CRLF()
}
