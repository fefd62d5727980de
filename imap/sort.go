package imap

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// maxSortCriteria bounds the criteria of one SORT.
const maxSortCriteria = 20

// sortCriterion is a row of the table of sort keys: a field of the message, or a
// number of the index.
type sortCriterion struct {
	name   string
	field  message.SortField
	number func(m *store.Message) int64 // nil for a field
	score  bool                         // the score of a fuzzy search, the highest first
	note   bool                         // the value of an annotation
	// skip is how many bytes of the field's rows stand before the text.
	skip int
}

// sortCriteria is the table (RFC 5256, 3 and 5; RFC 5957, 4).
var sortCriteria = []sortCriterion{
	{name: "ANNOTATION", note: true}, // RFC 5257, 4.9
	{name: "ARRIVAL", number: func(m *store.Message) int64 { return m.InternalDate }},
	{name: "CC", field: message.SortCc},
	{name: "DATE", field: message.SortDate},
	{name: "DISPLAYFROM", field: message.SortDisplayFrom},
	{name: "DISPLAYTO", field: message.SortDisplayTo},
	{name: "FROM", field: message.SortFrom},
	{name: "RELEVANCY", score: true}, // RFC 6203, 6
	{name: "SIZE", number: func(m *store.Message) int64 { return int64(m.Size) }},
	{name: "SUBJECT", field: message.SortSubject, skip: 1},
	{name: "TO", field: message.SortTo},
}

// sortOrder is one criterion of a SORT.
type sortOrder struct {
	*sortCriterion
	reverse bool
	entry   string // of an annotation
	shared  bool
}

// repeats tells whether o compares what another criterion does.
func (o *sortOrder) repeats(other sortOrder) bool {
	return o.sortCriterion == other.sortCriterion && o.entry == other.entry && o.shared == other.shared
}

// sorting is a SORT as the client wrote it.
type sorting struct {
	searching
	orders []sortOrder
}

// readSort reads the arguments of SORT and UID SORT.
//
//	sort            = ["UID" SP] "SORT" SP sort-criteria SP search-criteria
//	extended-sort   = ["UID" SP] "SORT" search-return-opts SP sort-criteria SP search-criteria
//	search-criteria = charset 1*(SP search-key)
func readSort(d *wire.Decoder, named *filters) (q *sorting, refused, err error) {
	q = &sorting{}
	d.SP()
	if d.TryWord("RETURN") {
		q.results = readResults(d)
		d.SP()
	}
	q.orders = readOrders(d)
	d.SP()
	if refused, err = q.readCriteria(d, named); err != nil {
		return nil, nil, err
	}
	for _, o := range q.orders {
		if o.score && !q.fuzzy {
			return nil, nil, &wire.SyntaxError{Text: "RELEVANCY needs FUZZY."}
		}
	}
	return q, refused, nil
}

// readOrders reads the sort criteria.
//
//	sort-criteria  = "(" sort-criterion *(SP sort-criterion) ")"
//	sort-criterion = ["REVERSE" SP] sort-key
func readOrders(d *wire.Decoder) []sortOrder {
	var orders []sortOrder
	read := 0
	d.List(func() {
		var o sortOrder
		if read++; read > maxSortCriteria {
			d.Fail(mail.Errorf(mail.KindLimit, "A SORT has at most %d criteria.", maxSortCriteria))
		}
		word := d.Word()
		if string(word) == "REVERSE" {
			o.reverse = true
			d.SP()
			word = d.Word()
		}
		for i := range sortCriteria {
			if sortCriteria[i].name == string(word) {
				o.sortCriterion = &sortCriteria[i]
			}
		}
		switch {
		case o.sortCriterion == nil:
			d.Bad("unknown sort key")
		case o.note:
			o.readAnnotation(d)
		}
		// What was compared before is equal when it is compared again, whichever way.
		if !slices.ContainsFunc(orders, o.repeats) {
			orders = append(orders, o)
		}
	})
	if len(orders) == 0 {
		d.Bad("expected a sort key")
	}
	return orders
}

// sort is SORT and UID SORT (RFC 5256, 3; RFC 5267, 3 and 4).
func (s *session) sort(r *request) error {
	q, refused, err := readSort(s.dec, s.filters())
	if err != nil {
		return err
	}
	if q.results.update && s.context(r.tag) != nil {
		return errTagReused
	}
	return s.lookFor(r, &q.searching, refused, func(found *findings) error {
		sorted, err := s.order(r, found, q.orders)
		if err != nil {
			return err
		}
		s.writeSorted(r, q, found, sorted)
		if q.results.update {
			s.followSorted(r, q, found, sorted)
		}
		return nil
	})
}

// order gives the messages that were found in the order of the criteria.
func (s *session) order(r *request, f *findings, orders []sortOrder) (order, error) {
	messages, seqs := f.messages()
	read := func(messages []*store.Message, fields []message.SortField) ([]store.Column, error) {
		return s.columns(r, messages, fields)
	}
	keys, err := sortKeysOf(messages, orders, s.collation, read, func(i int) int { return f.score(seqs[i]) }, s.noteReader())
	if err != nil {
		return order{}, err
	}
	return order{messages, seqs, keys.sorted(len(messages))}, nil
}

// order are messages with places that say in which order they are.
type order struct {
	messages []*store.Message // in the order of the mailbox
	seqs     []uint32
	places   []uint32 // of messages
}

// number gives the i-th sequence number or UID in order.
func (o *order) number(i int, uid bool) uint32 {
	if uid {
		return uint32(o.messages[o.places[i]].UID)
	}
	return o.seqs[o.places[i]]
}

// messages gives what was found, ascending, and its sequence numbers.
func (f *findings) messages() (messages []*store.Message, seqs []uint32) {
	n := f.count()
	messages, seqs = make([]*store.Message, 0, n), make([]uint32, 0, n)
	f.view.EachSeq(f.view.All(), func(seq uint32, m *store.Message) bool {
		if f.has(seq) {
			messages, seqs = append(messages, m), append(seqs, seq)
		}
		return true
	})
	return messages, seqs
}

// sortKeys are what messages are compared by, for each criterion a column.
type sortKeys []sortColumn

// sortColumn holds for each message a number, and for texts the text of which the
// number is the beginning.
type sortColumn struct {
	reverse bool
	heads   []uint64
	texts   []byte // nil for numbers
	ends    []uint32
}

func (c *sortColumn) text(i uint32) []byte {
	start := uint32(0)
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.texts[start:c.ends[i]]
}

// sortKeysOf gives the keys of messages, which are ascending; read reads fields of
// them, score gives the score of the i-th, note the value of the annotation that a
// criterion names, if one does.
func sortKeysOf(messages []*store.Message, orders []sortOrder, by collationOrder,
	read func([]*store.Message, []message.SortField) ([]store.Column, error), score func(i int) int,
	note func(m *store.Message, o *sortOrder) ([]byte, error)) (sortKeys, error) {
	var fields []message.SortField
	for _, o := range orders {
		if o.number == nil && !o.score && !o.note {
			fields = append(fields, o.field)
		}
	}
	slices.Sort(fields)
	fields = slices.Compact(fields)
	columns, err := read(messages, fields)
	if err != nil {
		return nil, err
	}
	var keys sortKeys
	for _, o := range orders {
		c := sortColumn{reverse: o.reverse, heads: make([]uint64, len(messages))}
		switch {
		case o.score:
			for i := range messages {
				c.heads[i] = ordered(-int64(score(i)))
			}
		case o.note:
			c.reverse = o.reverse != by.descending
			err := c.setNotes(messages, func(m *store.Message) ([]byte, error) { return note(m, &o) }, by.comparator)
			if err != nil {
				return nil, err
			}
		case o.number != nil:
			for i, m := range messages {
				c.heads[i] = ordered(o.number(m))
			}
		default:
			n, _ := slices.BinarySearch(fields, o.field)
			if o.field == message.SortDate {
				sentDates(c.heads, messages, &columns[n])
			} else {
				c.reverse = o.reverse != by.descending
				c.setTexts(&columns[n], o.skip, by.comparator)
			}
		}
		keys = append(keys, c)
	}
	return keys, nil
}

// columns reads fields of messages, with the bounds of a search, and claims the memory
// for them and for sorting.
func (s *session) columns(r *request, messages []*store.Message, fields []message.SortField) ([]store.Column, error) {
	p := s.toil(r, uint64(len(messages)))
	defer p.stop()
	ctx, done := s.conn.Attend(s.ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, s.searchTime(), errSearchTime)
	defer cancel()
	if err := s.claim(ctx, int64(len(messages))*messageMemory); err != nil {
		return nil, err
	}
	columns, err := s.mailbox.Columns(ctx, messages, fields...)
	if err != nil && context.Cause(ctx) == errSearchTime {
		err = errSearchTime
	}
	bytes := int64(0)
	for i := range columns {
		bytes += 2 * columns[i].Bytes() // and once more as the comparator sees it
	}
	if err == nil {
		err = s.claimMore(bytes)
	}
	return columns, err
}

// ordered turns the sign, so that the order of unsigned numbers is that of signed ones.
func ordered(n int64) uint64 { return uint64(n) ^ (1 << 63) }

// sentDates sets dates to the sent dates (RFC 5256, 2.2), with the sign turned.
func sentDates(dates []uint64, messages []*store.Message, sent *store.Column) {
	for i, m := range messages {
		if row := sent.Row(i); len(row) == 8 {
			dates[i] = binary.BigEndian.Uint64(row)
		} else {
			dates[i] = ordered(m.InternalDate)
		}
	}
}

// setTexts takes the texts of rows, as the comparator compares them.
func (c *sortColumn) setTexts(rows *store.Column, skip int, by *comparator) {
	c.makeTexts()
	for i := range c.heads {
		start := len(c.texts)
		if row := rows.Row(i); len(row) > skip {
			c.texts = by.sortKey(c.texts, row[skip:])
		}
		c.endText(i, start)
	}
}

// makeTexts makes room for texts.
func (c *sortColumn) makeTexts() {
	c.ends = make([]uint32, len(c.heads))
	c.texts = make([]byte, 0, 32*len(c.heads))
}

// endText makes what texts has from start on that of the i-th message.
func (c *sortColumn) endText(i, start int) {
	c.ends[i] = uint32(len(c.texts))
	var head [8]byte
	copy(head[:], c.texts[start:])
	c.heads[i] = binary.BigEndian.Uint64(head[:])
}

// compare says which of two messages comes first, 0 when no criterion tells.
func (k sortKeys) compare(a, b uint32) int {
	for i := range k {
		c := &k[i]
		way := 0
		switch x, y := c.heads[a], c.heads[b]; {
		case x < y:
			way = -1
		case x > y:
			way = 1
		case c.texts != nil:
			way = bytes.Compare(c.text(a), c.text(b))
		}
		if way != 0 {
			if c.reverse {
				return -way
			}
			return way
		}
	}
	return 0
}

// sorted gives the places of n messages in their order; those that are equal stay in
// the order of the mailbox.
func (k sortKeys) sorted(n int) []uint32 {
	// The first number stands beside the place: most comparisons need no more.
	type entry struct {
		head  uint64
		place uint32
	}
	entries := make([]entry, n)
	turn := uint64(0)
	if k[0].reverse {
		turn = ^turn
	}
	for i := range entries {
		entries[i] = entry{k[0].heads[i] ^ turn, uint32(i)}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		switch {
		case a.head < b.head:
			return -1
		case a.head > b.head:
			return 1
		}
		if len(k) > 1 || k[0].texts != nil {
			if way := k.compare(a.place, b.place); way != 0 {
				return way
			}
		}
		return int(a.place) - int(b.place)
	})
	places := make([]uint32, n)
	for i := range entries {
		places[i] = entries[i].place
	}
	return places
}

// writeSorted writes the SORT or ESEARCH response and saves what is to be saved.
func (s *session) writeSorted(r *request, q *sorting, f *findings, sorted order) {
	if q.results.extended {
		named := s.writeESort(r, q, f, sorted)
		if q.results.save {
			s.saved = f.numbers(named, true)
		}
		return
	}
	e := s.enc
	e.Untagged().Const("SORT")
	for i := range sorted.places {
		e.SP().Number(uint64(sorted.number(i, r.uid)))
	}
	if q.modSeq && len(sorted.places) > 0 {
		e.Const(" (MODSEQ ").Number(uint64(f.highestModSeq(f.set()))).Close()
	}
	e.CRLF()
}

// writeESort writes the ESEARCH response to a SORT, unless nobody wants it, and gives
// the sequence numbers that SAVE saves (RFC 5267, 3.1 and 4.4; RFC 9394, 3.1).
func (s *session) writeESort(r *request, q *sorting, f *findings, sorted order) (named mail.NumSet) {
	o, n, e := &q.results, len(sorted.places), s.enc
	var from, to int // what PARTIAL means
	if o.partial.given() {
		a, b := o.partial.within(uint64(n))
		from, to = int(a), int(b)
	}
	switch {
	case o.keeps():
		named = f.set()
	default:
		var seqs []uint32
		for i := from; i < to; i++ {
			seqs = append(seqs, sorted.number(i, false))
		}
		if o.min && n > 0 {
			seqs = append(seqs, sorted.number(0, false))
		}
		if o.max && n > 0 {
			seqs = append(seqs, sorted.number(n-1, false))
		}
		slices.Sort(seqs) // a set grows cheaply at its end alone
		named = mail.NumSetOf(seqs...)
	}
	if !o.told() {
		return named
	}
	writeCorrelator(e, r.tag, nil, r.uid)
	number := func(i int) uint32 { return sorted.number(i, r.uid) }
	if o.min && n > 0 {
		e.Const(" MIN ").Number(uint64(sorted.number(0, r.uid)))
	}
	if o.max && n > 0 {
		e.Const(" MAX ").Number(uint64(sorted.number(n-1, r.uid)))
	}
	if o.count {
		e.Const(" COUNT ").Number(uint64(n))
	}
	if o.all && n > 0 {
		e.Const(" ALL ")
		writeSequence(e, 0, n, number)
	}
	if o.partial.given() {
		e.Const(" PARTIAL (")
		o.partial.write(e)
		e.SP()
		if from < to {
			writeSequence(e, from, to, number)
		} else {
			e.Nil()
		}
		e.Close()
	}
	if !o.partial.given() {
		to = n
	}
	if o.relevancy && from < to {
		f.writeScores(e, func(yield func(uint32) bool) {
			for i := from; i < to && yield(sorted.number(i, false)); i++ {
			}
		})
	}
	if q.modSeq && len(named) > 0 {
		// Of MIN, MAX and PARTIAL alone, the MODSEQ of what they name.
		e.Const(" MODSEQ ").Number(uint64(f.highestModSeq(named)))
	}
	e.CRLF()
	return named
}

// writeSequence writes the from-th to the one before the to-th number in order, as a
// sequence-set whose ranges ascend (RFC 5267, 3.2).
func writeSequence(e *wire.Encoder, from, to int, number func(i int) uint32) {
	for i := from; i < to; {
		first := number(i)
		last := first
		for i++; i < to && number(i) == last+1; i++ {
			last++
		}
		e.Number(uint64(first))
		if last > first {
			e.Const(":").Number(uint64(last))
		}
		if i < to {
			e.Const(",")
		}
	}
}
