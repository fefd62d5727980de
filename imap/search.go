package imap

import (
	"context"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

const (
	// searchBatch is how many messages are looked into at once.
	searchBatch = 256
	// searchCharsets are the charsets that BADCHARSET names (RFC 3501, 7.1). Others
	// may be known too.
	searchCharsets = "BADCHARSET (UTF-8 US-ASCII)"
)

// errSearchTime ends a search that takes longer.
var errSearchTime = mail.Errorf(mail.KindLimit, "The search takes too long; please ask for less.")

// searchTime bounds one search.
func (s *session) searchTime() time.Duration {
	return settings.MaxCommandTime.Of(s.server.settings())
}

// errCharsetNamed refuses a charset where all is UTF-8 (RFC 9755, 3).
var errCharsetNamed = &wire.SyntaxError{Text: "After ENABLE UTF8=ACCEPT a search names no charset."}

// searching is a SEARCH as the client wrote it.
type searching struct {
	by      *comparator // nil for the default one; see compare
	results searchResults
	key     *searchKey
	memos   int  // how many keys need a place in candidate.memo
	sums    bool // keys are answered by summaries
	filter  bool // keys may be denied by filters
	notes   bool // keys are answered by annotations
	modSeq  bool // MODSEQ is among the keys
	seqs    bool // sequence numbers are
	charset bool // CHARSET was given
	fuzzy   bool // FUZZY is among the keys: there are scores

	// What a context must look at again: the keys depend on flags, MODSEQ or
	// keywords; on what "*" means; on the time.
	flags, star, ages bool
}

// readSearch reads the arguments of SEARCH and UID SEARCH.
//
//	search = "SEARCH" [search-return-opts] SP search-program
//	search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
//
// refused is set when all is well written and cannot be searched for: with a charset that
// is not known here, or a filter.
func readSearch(d *wire.Decoder, named *filters) (q *searching, refused, err error) {
	d.SP()
	return readProgram(d, named)
}

// readProgram reads the result options and what is searched for, to the end of the
// command.
func readProgram(d *wire.Decoder, named *filters) (q *searching, refused, err error) {
	q = &searching{}
	p := &searchReader{d: d, filters: named}
	if d.TryWord("RETURN") {
		q.results = readResults(d)
		d.SP()
	}
	if d.TryWord("CHARSET") {
		d.SP()
		q.charset = true
		p.readCharset()
	}
	refused, err = q.readKeys(p)
	return q, refused, err
}

// readCriteria reads what SORT and THREAD search for, to the end of the command.
//
//	search-criteria = charset 1*(SP search-key)
func (q *searching) readCriteria(d *wire.Decoder, named *filters) (refused, err error) {
	p := &searchReader{d: d, filters: named}
	p.readCharset()
	return q.readKeys(p)
}

// readCharset reads the charset and the space before the keys.
func (p *searchReader) readCharset() {
	p.charset = p.d.AString()
	p.d.SP()
	if _, err := message.ConvertCharset(p.charset, nil); err != nil {
		p.unknown = err
	}
}

// readKeys reads search keys to the end of the command.
func (q *searching) readKeys(p *searchReader) (refused, err error) {
	q.key, q.fuzzy = p.readKeys(), p.fuzzy
	if q.results.relevancy && !q.fuzzy {
		p.d.Bad("RELEVANCY needs FUZZY")
	}
	p.d.End()
	if err := p.d.Err(); err != nil {
		return nil, err
	}
	p.arrange(q.key)
	q.memos, q.sums, q.filter, q.notes, q.modSeq, q.seqs = p.memos, p.sums, p.filter, p.notes, p.modSeq, p.seqs
	q.key.walk(func(k *searchKey) {
		switch k.op {
		case opFlags, opKeyword, opModSeq, opAnnotation:
			q.flags = true
		case opSeqs:
			q.star = q.star || k.uids && k.set.Star
		case opOlder, opYounger:
			q.ages = true
		}
	})
	if p.unknown != nil {
		p.refuse(withCode(searchCharsets, p.unknown))
	}
	return p.refused, nil
}

// search is SEARCH and UID SEARCH (RFC 3501, 6.4.4).
func (s *session) search(r *request) (err error) {
	q, refused, err := readSearch(s.dec, s.filters())
	if err != nil {
		return err
	}
	if q.charset && s.utf8 && !s.rev2 {
		return errCharsetNamed
	}
	if s.rev2 && !q.results.extended {
		q.results = searchResults{extended: true, all: true} // RFC 9051, 6.4.4
	}
	if q.results.update && s.context(r.tag) != nil {
		return errTagReused
	}
	return s.lookFor(r, q, refused, func(found *findings) error {
		s.writeFound(r, q, found)
		if q.results.update {
			s.follow(r, q, found, nil)
		}
		return nil
	})
}

// lookFor finds what q says and hands it to use, unless it is refused.
func (s *session) lookFor(r *request, q *searching, refused error, use func(found *findings) error) (err error) {
	if q.seqs && s.uidOnly {
		return errUIDRequired
	}
	// No EXPUNGE while the client thinks in sequence numbers (RFC 7162, 3.2.10.2).
	r.holds = q.seqs
	defer func() {
		if err != nil && q.results.save {
			// RFC 5182, 2.1.
			s.saved = nil
		}
	}()
	if refused != nil {
		return refused
	}
	if q.modSeq {
		s.enableCondstore()
	}
	q.compare(s.collation.comparator)
	q.resolve(s.mailbox.View(), s.saved, s.server.Store.Now())
	found := newFindings(s.mailbox.View())
	seqs, err := s.searched(r, q, found.view)
	if err != nil {
		return err
	}
	if err := s.find(r, q, seqs, found); err != nil {
		return err
	}
	return use(found)
}

// compare says by which comparator texts match.
func (q *searching) compare(by *comparator) {
	if by == comparators[0] {
		return // the texts are folded for it
	}
	q.by = by
	q.key.walk(func(k *searchKey) {
		if k.op == opField || k.op == opText || k.op == opBody || k.op == opAnnotation {
			k.exact = by.key([]byte{}, k.plain)
		}
	})
}

// resolve puts the sequence numbers, keyword bits and times of now into the keys.
// Numbers that do not exist are no fault here (RFC 7377, 2).
func (q *searching) resolve(view *store.Snapshot, saved mail.NumSet, now time.Time) {
	q.key.walk(func(k *searchKey) {
		switch n := uint32(view.Len()); {
		case k.op != opSeqs:
		case k.set.Saved:
			k.seqs = view.Seqs(saved)
		case k.uids:
			k.seqs = view.Seqs(k.set.Resolve(uint32(lastUID(view))))
		default:
			k.seqs = k.set.Resolve(n)
		}
	})
	q.refer(view.Mailbox.Keywords, now)
}

// refer puts keyword bits and times into the keys.
func (q *searching) refer(keywords []string, now time.Time) {
	q.key.walk(func(k *searchKey) {
		switch k.op {
		case opKeyword:
			k.flags = 0
			if i := mail.KeywordIndex(keywords, string(k.text)); i >= 0 {
				k.flags = mail.Keyword(i)
			}
		case opOlder, opYounger:
			k.target = now.Unix() - int64(k.number)
		}
	})
}

// find finds those of the messages seqs that match for a client that waits for it.
func (s *session) find(r *request, q *searching, seqs mail.NumSet, found *findings) error {
	ctx, done := s.ctx, func() {}
	if q.key.cost > costIndex {
		ctx, done = s.conn.Attend(s.ctx)
		found.progress = s.toil(r, seqs.Len())
		defer found.progress.stop()
	}
	defer done()
	return s.server.find(ctx, s.mailbox, q, seqs, found, spellOf(s.searchTime()))
}

// find finds those of the messages seqs of a mailbox's view that match, which are
// added to found. The index decides first, for all messages; what it leaves open is
// read in batches. It gives errSearchTime when left is over, and errSearchTurn when others leave it
// no turn.
func (s *Server) find(ctx context.Context, mailbox *store.Mailbox, q *searching, seqs mail.NumSet, found *findings, left *spell) error {
	w := &searcher{mailbox: mailbox, turn: turn{of: &s.turns}, by: q.by}
	if q.key.cost == costIndex {
		found.view.EachSeq(seqs, func(seq uint32, m *store.Message) bool {
			if !m.Gone && w.match(q.key, &candidate{seq: seq, m: m}) == yes {
				found.add(seq)
			}
			return true
		})
		return nil
	}
	ctx, done := w.turn.start(ctx, left)
	defer done()
	b := newSearchRun(w, q, found)
	var err error
	looked := uint32(0)
	found.view.EachSeq(seqs, func(seq uint32, m *store.Message) bool {
		looked++
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
				found.progress.reached(looked)
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
	memos      []verdict
	scores     []uint8 // nil without FUZZY

	annotations *store.AnnotationReader // nil when no key is about them

	// What is not decided yet: candidates, as places, and their emails.
	open []int
	ids  []mail.EmailID

	unfiltered []store.EmailFilter // texts were read of these, which had no filter
}

func newSearchRun(w *searcher, q *searching, found *findings) *searchRun {
	b := &searchRun{searcher: w, q: q, found: found, memos: make([]verdict, searchBatch*q.memos)}
	if q.notes {
		b.annotations = w.mailbox.Annotations()
	}
	if q.fuzzy {
		b.scores = make([]uint8, searchBatch*q.memos)
		found.scores = make([]uint8, found.view.Len()+1)
	}
	return b
}

func (b *searchRun) add(seq uint32, m *store.Message) {
	n := len(b.candidates)
	memo := b.memos[n*b.q.memos : (n+1)*b.q.memos]
	clear(memo)
	c := candidate{seq: seq, m: m, memo: memo}
	if b.scores != nil {
		c.scores = b.scores[n*b.q.memos : (n+1)*b.q.memos]
		clear(c.scores)
	}
	b.candidates = append(b.candidates, c)
	b.open = append(b.open, n)
	b.ids = append(b.ids, m.Email)
}

// run decides over the batch and empties it.
func (b *searchRun) run(ctx context.Context) error {
	if len(b.ids) == 0 {
		return nil
	}
	defer func() { b.candidates, b.ids, b.open = b.candidates[:0], b.ids[:0], b.open[:0] }()
	if err := b.decide(ctx); err != nil {
		return err
	}
	return b.keepFilters(ctx)
}

// decide waits for its turn. It reads what costs least first: filters are 1/10 of a text,
// summaries 1/4, and some texts are made from their messages.
func (b *searchRun) decide(ctx context.Context) error {
	if err := b.turn.begin(ctx); err != nil {
		return err
	}
	defer b.turn.end()
	if b.q.notes {
		if err := b.step(ctx, func(each func(int, func(*candidate)) error) error { return b.readAnnotations(ctx, each) }); err != nil {
			return err
		}
	}
	if b.q.filter {
		if err := b.step(ctx, func(each func(int, func(*candidate)) error) error {
			return b.mailbox.Filters(ctx, b.ids, func(i int, f message.Filter) error {
				return each(i, func(c *candidate) { c.filter, c.bare = f, !f.Valid() })
			})
		}); err != nil {
			return err
		}
	}
	if b.q.sums {
		if err := b.step(ctx, func(each func(int, func(*candidate)) error) error {
			return b.mailbox.Summaries(ctx, b.ids, func(i int, sum message.Summary) error {
				return each(i, func(c *candidate) { c.summary, c.gone = sum, sum == nil })
			})
		}); err != nil {
			return err
		}
	}
	if err := b.step(ctx, func(each func(int, func(*candidate)) error) error {
		return b.mailbox.Texts(ctx, b.ids, func(i int, text []byte) error {
			return each(i, func(c *candidate) {
				c.text, c.read = text, true
				if c.bare && text != nil {
					b.unfiltered = append(b.unfiltered, store.EmailFilter{Email: c.m.Email, Filter: message.FilterOf(nil, text)})
				}
			})
		})
	}); err != nil {
		return err
	}
	if b.by == nil {
		return nil
	}
	return b.step(ctx, func(each func(int, func(*candidate)) error) error { return b.readExactly(ctx, each) })
}

// readAnnotations reads the annotations of the candidates that are open.
func (b *searchRun) readAnnotations(ctx context.Context, each func(int, func(*candidate)) error) error {
	for i := range b.ids {
		notes, err := b.annotations.Of(ctx, b.candidates[b.open[i]].m)
		if gone := mail.KindOf(err) == mail.KindExpunged; err == nil || gone {
			err = each(i, func(c *candidate) { c.notes, c.noted, c.gone = notes, true, gone })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readExactly reads the messages themselves, for a comparator that the kept texts are
// not folded for.
func (b *searchRun) readExactly(ctx context.Context, each func(int, func(*candidate)) error) error {
	for i, id := range b.ids {
		err := func() error {
			body, err := b.mailbox.Body(ctx, id)
			if err != nil {
				if mail.KindOf(err) == mail.KindExpunged {
					return each(i, func(c *candidate) { c.gone = true })
				}
				return err
			}
			defer body.Close()
			raw, err := wholeBody(body)
			if err != nil {
				return err
			}
			text := message.Parse(raw, message.DefaultLimits).SearchTextBy(b.by.key, false)
			return each(i, func(c *candidate) { c.exact, c.exactly, c.read = text, true, true })
		}()
		if err == nil {
			err = mail.Wrap(mail.KindUnavailable, ctx.Err())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step reads something of the candidates that are open and closes those that it
// decides. read has each called for their places in b.ids, ascending, with a function
// that gives a candidate what was read, which is valid until each returns.
func (b *searchRun) step(ctx context.Context, read func(each func(i int, give func(*candidate)) error) error) error {
	if len(b.ids) == 0 {
		return nil
	}
	left := 0
	err := read(func(i int, give func(*candidate)) error {
		// Hundreds of keys and texts of megabytes are much between two looks at the clock.
		if err := ctx.Err(); err != nil {
			return mail.Wrap(mail.KindUnavailable, err)
		}
		if err := b.turn.goOn(ctx); err != nil {
			return err
		}
		place := b.open[i]
		c := &b.candidates[place]
		give(c)
		if c.gone {
			return nil
		}
		switch b.match(b.q.key, c) {
		case yes:
			b.found.add(c.seq)
			if c.scores != nil {
				b.found.scores[c.seq] = uint8(c.score(b.q.key))
			}
		case unknown:
			b.open[left] = place
			left++
		}
		c.filter, c.summary, c.text, c.exact, c.notes = nil, nil, nil, nil, store.Annotations{}
		return nil
	})
	b.open = b.open[:left]
	b.ids = b.ids[:0]
	for _, place := range b.open {
		b.ids = append(b.ids, b.candidates[place].m.Email)
	}
	return err
}

// keepFilters gives the messages filters that came before there were any. It only
// spares work later, so that it fails is no fault.
func (b *searchRun) keepFilters(ctx context.Context) error {
	if len(b.unfiltered) == 0 {
		return nil
	}
	ids := make([]mail.EmailID, len(b.unfiltered))
	for i := range ids {
		ids[i] = b.unfiltered[i].Email
	}
	err := b.mailbox.Summaries(ctx, ids, func(i int, sum message.Summary) error {
		f := &b.unfiltered[i].Filter
		*f = message.Filter(*f).WithFields(sum)
		return nil
	})
	if err == nil {
		_ = b.mailbox.PutFilters(ctx, b.unfiltered)
	}
	b.unfiltered = b.unfiltered[:0]
	return err
}
