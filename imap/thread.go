package imap

import (
	"hash/maphash"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// maxThreadNesting bounds how deep the parentheses of a THREAD response nest.
//
// DEVIATES: RFC 5256, 4: where a thread splits up more often, what is below comes as
// one line of descendants: a hostile thread would make clients that read nested lists
// by recursion fail.
const maxThreadNesting = 200

// threadAlgorithm is a row of the table of threading algorithms.
type threadAlgorithm struct {
	name   string
	fields []message.SortField // that it looks at, ascending
	// grow makes the forest of messages of which columns has the fields; one with err is
	// not whole.
	grow func(s *session, messages []*store.Message, columns []store.Column) *forest
}

// threadAlgorithms is the table (RFC 5256, 3; draft-ietf-morg-inthread, 4).
var threadAlgorithms = []threadAlgorithm{
	{"ORDEREDSUBJECT", []message.SortField{message.SortDate, message.SortSubject}, (*session).growOrderedSubject},
	{"REFERENCES", []message.SortField{message.SortDate, message.SortSubject, message.SortReferences}, (*session).growReferences},
	{"REFS", []message.SortField{message.SortDate, message.SortReferences}, (*session).growRefs},
}

// readThread reads the arguments of THREAD and UID THREAD.
//
//	thread = ["UID" SP] "THREAD" SP thread-alg SP search-criteria
func readThread(d *wire.Decoder, named *filters) (algorithm *threadAlgorithm, q *searching, refused, err error) {
	d.SP()
	word := d.Word()
	for i := range threadAlgorithms {
		if threadAlgorithms[i].name == string(word) {
			algorithm = &threadAlgorithms[i]
		}
	}
	if algorithm == nil {
		d.Bad("unknown threading algorithm")
	}
	d.SP()
	q = &searching{}
	refused, err = q.readCriteria(d, named)
	return algorithm, q, refused, err
}

// thread is THREAD and UID THREAD (RFC 5256, 3).
func (s *session) thread(r *request) error {
	algorithm, q, refused, err := readThread(s.dec, s.filters())
	if err != nil {
		return err
	}
	return s.lookFor(r, q, refused, func(found *findings) error {
		messages, seqs := found.messages()
		columns, err := s.columns(r, messages, algorithm.fields)
		if err != nil {
			return err
		}
		if err := s.claim(s.ctx, int64(len(messages))*forestMemory); err != nil {
			return err
		}
		f := algorithm.grow(s, messages, columns)
		if f.err != nil {
			return f.err
		}
		s.enc.Untagged().Const("THREAD")
		if len(f.roots) > 0 {
			s.enc.SP()
		}
		f.write(s.enc, func(i int32) uint32 {
			if r.uid {
				return uint32(messages[i].UID)
			}
			return seqs[i]
		})
		s.enc.CRLF()
		return nil
	})
}

// byDate gives the messages in the order of their sent dates.
func byDate(messages []*store.Message, sent *store.Column) []uint32 {
	c := sortColumn{heads: make([]uint64, len(messages))}
	sentDates(c.heads, messages, sent)
	return sortKeys{c}.sorted(len(messages))
}

// subjects are the base subjects of messages: digests, 0 for an empty one, of how the
// comparator sees them.
type subjects struct {
	rows    *store.Column
	by      *comparator
	seed    maphash.Seed
	scratch []byte
}

func (s *session) subjects(rows *store.Column) *subjects {
	return &subjects{rows: rows, by: s.collation.comparator, seed: maphash.MakeSeed()}
}

func (u *subjects) of(i int32) uint64 {
	row := u.rows.Row(int(i))
	if len(row) <= 1 {
		return 0
	}
	u.scratch = u.by.sortKey(u.scratch[:0], row[1:])
	return maphash.Bytes(u.seed, u.scratch) | 1
}

// reply tells whether the i-th message is a reply or forwarded, by its subject.
func (u *subjects) reply(i int32) bool {
	row := u.rows.Row(int(i))
	return len(row) > 0 && row[0] == 1
}

// growOrderedSubject is ORDEREDSUBJECT: messages with the same base subject are
// children of the first of them.
func (s *session) growOrderedSubject(messages []*store.Message, columns []store.Column) *forest {
	f := newForest(len(messages), byDate(messages, &columns[0]))
	subjects := s.subjects(&columns[1])
	first := make(map[uint64]int32, len(messages)/2)
	for _, i := range f.order {
		subject := subjects.of(int32(i))
		if root, ok := first[subject]; ok {
			f.parent[i] = root
		} else {
			first[subject] = int32(i)
		}
	}
	f.arrange()
	return f
}

// growReferences is REFERENCES.
func (s *session) growReferences(messages []*store.Message, columns []store.Column) *forest {
	f := newForest(len(messages), byDate(messages, &columns[0]))
	f.more = s.claimMore
	if f.link(&columns[2]); f.err != nil {
		return f
	}
	f.prune()
	f.arrange() // (4)
	f.mergeSubjects(s.subjects(&columns[1]))
	f.arrange() // (6)
	return f
}

// growRefs is REFS: REFERENCES without the subjects, the thread with the message that
// arrived last at the end.
func (s *session) growRefs(messages []*store.Message, columns []store.Column) *forest {
	f := newForest(len(messages), byDate(messages, &columns[0]))
	f.more = s.claimMore
	if f.link(&columns[1]); f.err != nil {
		return f
	}
	f.prune()
	f.arrange()
	f.latestLast(messages)
	return f
}

// write writes the thread-lists of a THREAD response, iteratively: a thread may be as
// deep as the mailbox is long.
//
//	thread-list    = "(" (thread-members / thread-nested) ")"
//	thread-members = nz-number *(SP nz-number) [SP thread-nested]
//	thread-nested  = 2*thread-list
func (f *forest) write(e *wire.Encoder, number func(i int32) uint32) {
	var open []int32 // for each list that is open, the sibling that follows it, or none
	for _, root := range f.roots {
		at := root
		e.Open()
		open = append(open[:0], none)
		for len(open) > 0 {
			if at == none {
				// The list is complete.
				e.Close()
				last := len(open) - 1
				if at, open = open[last], open[:last]; at != none {
					e.Open()
					open = append(open, f.next[at])
				}
				continue
			}
			if int(at) < f.n {
				e.Number(uint64(number(at)))
			}
			child := f.child[at]
			switch {
			case child == none:
				at = none
			case f.next[child] == none:
				e.SP()
				at = child
			case len(open) >= maxThreadNesting:
				f.each(at, func(i int32) { e.SP().Number(uint64(number(i))) })
				at = none
			default:
				if int(at) < f.n {
					e.SP()
				}
				e.Open()
				open = append(open, f.next[child])
				at = child
			}
		}
	}
}

// each calls do for the descendants of a node, parents before children.
func (f *forest) each(top int32, do func(i int32)) {
	for at := f.child[top]; at != none; {
		do(at)
		if f.child[at] != none {
			at = f.child[at]
			continue
		}
		for at != top && f.next[at] == none {
			at = f.parent[at]
		}
		if at == top {
			return
		}
		at = f.next[at]
	}
}

// latestLast sorts the threads by the newest internal date in each; threads of the
// same date stay as they are.
func (f *forest) latestLast(messages []*store.Message) {
	c := sortColumn{heads: make([]uint64, len(f.roots))}
	for n, root := range f.roots {
		newest := uint64(0)
		see := func(i int32) { newest = max(newest, ordered(messages[i].InternalDate)) }
		if int(root) < f.n {
			see(root)
		}
		f.each(root, see)
		c.heads[n] = newest
	}
	roots := make([]int32, len(f.roots))
	for n, place := range (sortKeys{c}).sorted(len(roots)) {
		roots[n] = f.roots[place]
	}
	f.roots = roots
}
