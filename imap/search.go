package imap

import (
	"context"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

const (
	// searchBatch is how many messages are looked into at once.
	searchBatch = 256
	// searchCharsets are the charsets that BADCHARSET names (RFC 3501, 7.1). Others
	// may be known too.
	searchCharsets = "BADCHARSET (UTF-8 US-ASCII)"
	// maxSearchTime bounds one search.
	maxSearchTime = 2 * time.Minute
)

// errSearchTime ends a search that takes longer.
var errSearchTime = mail.Errorf(mail.KindLimit, "The search takes too long; please ask for less.")

// searching is a SEARCH as the client wrote it.
type searching struct {
	results searchResults
	key     *searchKey
	memos   int  // how many keys need a place in candidate.memo
	modSeq  bool // MODSEQ is among the keys
	seqs    bool // sequence numbers are
}

// readSearch reads the arguments of SEARCH and UID SEARCH.
//
//	search = "SEARCH" [search-return-opts] SP search-program
//	search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
//
// badCharset is set when all is well but a charset that is not known here.
func readSearch(d *wire.Decoder) (q *searching, badCharset, err error) {
	q = &searching{}
	p := &searchReader{d: d}
	d.SP()
	if d.TryWord("RETURN") {
		q.results = readResults(d)
		d.SP()
	}
	if d.TryWord("CHARSET") {
		d.SP()
		p.charset = d.AString()
		d.SP()
		if _, err := message.ConvertCharset(p.charset, nil); err != nil {
			p.unknown = err
		}
	}
	q.key = p.readKeys()
	d.End()
	if err := d.Err(); err != nil {
		return nil, nil, err
	}
	p.arrange(q.key)
	q.memos, q.modSeq, q.seqs = p.memos, p.modSeq, p.seqs
	return q, p.unknown, nil
}

// search is SEARCH and UID SEARCH (RFC 3501, 6.4.4).
func (s *session) search(r *request) (err error) {
	q, badCharset, err := readSearch(s.dec)
	if err != nil {
		return err
	}
	if s.rev2 && !q.results.extended {
		q.results = searchResults{extended: true, all: true} // RFC 9051, 6.4.4
	}
	// No EXPUNGE while the client thinks in sequence numbers (RFC 7162, 3.2.10.2).
	r.holds = q.seqs
	if err := s.resolve(q); err != nil {
		return err
	}
	defer func() {
		if err != nil && q.results.save {
			// RFC 5182, 2.1.
			s.saved = nil
		}
	}()
	if badCharset != nil {
		return withCode(searchCharsets, badCharset)
	}
	if q.modSeq {
		s.enableCondstore()
	}
	found := newFindings(s.mailbox.View())
	if err := s.find(q, found); err != nil {
		return err
	}
	s.writeFound(r, q, found)
	return nil
}

// resolve puts sequence numbers and keyword bits into the keys.
func (s *session) resolve(q *searching) error {
	var fault error
	keywords := s.mailbox.Record().Keywords
	q.key.walk(func(k *searchKey) {
		switch k.op {
		case opSeqs:
			seqs, err := s.seqsOf(k.set, k.uids)
			if err != nil && fault == nil {
				fault = err
			}
			k.seqs = seqs
		case opKeyword:
			if i := mail.KeywordIndex(keywords, string(k.text)); i >= 0 {
				k.flags = mail.Keyword(i)
			}
		}
	})
	return fault
}

// find finds the messages that match. The index decides first, for all messages;
// what it leaves open is read in batches.
func (s *session) find(q *searching, found *findings) error {
	w := &searcher{mailbox: s.mailbox}
	view := s.mailbox.View()
	if q.key.cost == costIndex {
		view.EachSeq(view.All(), func(seq uint32, m *store.Message) bool {
			if !m.Gone && w.match(q.key, &candidate{seq: seq, m: m}) == yes {
				found.add(seq)
			}
			return true
		})
		return nil
	}
	ctx, done := s.conn.Attend(s.ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, maxSearchTime, errSearchTime)
	defer cancel()
	b := newSearchRun(w, q, found)
	var err error
	view.EachSeq(view.All(), func(seq uint32, m *store.Message) bool {
		if m.Gone {
			return true
		}
		switch w.match(q.key, &candidate{seq: seq, m: m}) {
		case yes:
			found.add(seq)
		case unknown:
			b.add(seq, m)
			if len(b.candidates) == searchBatch {
				err = b.run(ctx)
			}
		}
		return err == nil
	})
	if err == nil {
		err = b.run(ctx)
	}
	if err != nil && context.Cause(ctx) == errSearchTime {
		return errSearchTime
	}
	return err
}

// searchRun is a run of messages of which more than the index must be read.
type searchRun struct {
	*searcher
	q          *searching
	found      *findings
	candidates []candidate
	ids        []mail.EmailID
	memos      []verdict
	open       []int // places of candidates that only their text decides
}

func newSearchRun(w *searcher, q *searching, found *findings) *searchRun {
	return &searchRun{searcher: w, q: q, found: found, memos: make([]verdict, searchBatch*q.memos)}
}

func (b *searchRun) add(seq uint32, m *store.Message) {
	n := len(b.candidates)
	memo := b.memos[n*b.q.memos : (n+1)*b.q.memos]
	clear(memo)
	b.candidates = append(b.candidates, candidate{seq: seq, m: m, memo: memo})
	b.ids = append(b.ids, m.Email)
}

// run decides over the batch and empties it.
func (b *searchRun) run(ctx context.Context) error {
	defer func() { b.candidates, b.ids, b.open = b.candidates[:0], b.ids[:0], b.open[:0] }()
	if len(b.ids) == 0 {
		return nil
	}
	if b.q.memos == 0 {
		for i := range b.candidates {
			b.open = append(b.open, i)
		}
	} else {
		err := b.mailbox.Summaries(ctx, b.ids, func(i int, sum message.Summary) error {
			c := &b.candidates[i]
			if sum == nil {
				return nil // expunged meanwhile
			}
			c.summary = sum
			b.decide(i)
			c.summary = nil
			return nil
		})
		if err != nil || len(b.open) == 0 {
			return err
		}
		for i, place := range b.open {
			b.ids[i] = b.ids[place]
		}
		b.ids = b.ids[:len(b.open)]
	}
	open := b.open
	return b.mailbox.Texts(ctx, b.ids, func(i int, text []byte) error {
		c := &b.candidates[open[i]]
		c.text, c.read = text, true
		if b.match(b.q.key, c) == yes {
			b.found.add(c.seq)
		}
		c.text = nil
		return nil
	})
}

// decide compares the candidate at place and notes what came of it.
func (b *searchRun) decide(place int) {
	c := &b.candidates[place]
	switch b.match(b.q.key, c) {
	case yes:
		b.found.add(c.seq)
	case unknown:
		b.open = append(b.open, place)
	}
}
