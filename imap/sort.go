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
	// skip is how many bytes of the field's rows stand before the text.
	skip int
}

// sortCriteria is the table (RFC 5256, 3 and 5; RFC 5957, 4).
var sortCriteria = []sortCriterion{
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
func readSort(d *wire.Decoder) (q *sorting, badCharset, err error) {
	q = &sorting{}
	d.SP()
	if d.TryWord("RETURN") {
		q.results = readResults(d)
		d.SP()
	}
	if q.results.update {
		d.Bad("UPDATE is for SEARCH alone")
	}
	q.orders = readOrders(d)
	d.SP()
	if badCharset, err = q.readCriteria(d); err != nil {
		return nil, nil, err
	}
	for _, o := range q.orders {
		if o.score && !q.fuzzy {
			return nil, nil, &wire.SyntaxError{Text: "RELEVANCY needs FUZZY."}
		}
	}
	return q, badCharset, nil
}

// readOrders reads the sort criteria.
//
//	sort-criteria  = "(" sort-criterion *(SP sort-criterion) ")"
//	sort-criterion = ["REVERSE" SP] sort-key
func readOrders(d *wire.Decoder) []sortOrder {
	var orders []sortOrder
	d.List(func() {
		var o sortOrder
		if len(orders) == maxSortCriteria {
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
		if o.sortCriterion == nil {
			d.Bad("unknown sort key")
		}
		orders = append(orders, o)
	})
	if len(orders) == 0 {
		d.Bad("expected a sort key")
	}
	return orders
}

// sort is SORT and UID SORT (RFC 5256, 3; RFC 5267, 3).
func (s *session) sort(r *request) error {
	q, badCharset, err := readSort(s.dec)
	if err != nil {
		return err
	}
	return s.lookFor(r, &q.searching, badCharset, func(found *findings) error {
		sorted, err := s.order(found, q.orders)
		if err == nil {
			s.writeSorted(r, q, found, sorted)
		}
		return err
	})
}

// order gives the messages that were found in the order of the criteria.
func (s *session) order(f *findings, orders []sortOrder) (order, error) {
	messages, seqs := f.messages()
	keys, err := s.sortKeys(messages, orders, func(i int) int { return f.score(seqs[i]) })
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

// sortKeys gives the keys of messages, which are ascending; score gives the score of
// the i-th.
func (s *session) sortKeys(messages []*store.Message, orders []sortOrder, score func(i int) int) (sortKeys, error) {
	var fields []message.SortField
	for _, o := range orders {
		if o.number == nil && !o.score {
			fields = append(fields, o.field)
		}
	}
	slices.Sort(fields)
	fields = slices.Compact(fields)
	columns, err := s.columns(messages, fields)
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
		case o.number != nil:
			for i, m := range messages {
				c.heads[i] = ordered(o.number(m))
			}
		default:
			n, _ := slices.BinarySearch(fields, o.field)
			if o.field == message.SortDate {
				sentDates(c.heads, messages, &columns[n])
			} else {
				c.reverse = o.reverse != s.collation.descending
				c.setTexts(&columns[n], o.skip, s.collation.comparator)
			}
		}
		keys = append(keys, c)
	}
	return keys, nil
}

// columns reads fields of messages, with the bounds of a search.
func (s *session) columns(messages []*store.Message, fields []message.SortField) ([]store.Column, error) {
	ctx, done := s.conn.Attend(s.ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, maxSearchTime, errSearchTime)
	defer cancel()
	columns, err := s.mailbox.Columns(ctx, messages, fields...)
	if err != nil && context.Cause(ctx) == errSearchTime {
		err = errSearchTime
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
	c.ends = make([]uint32, len(c.heads))
	c.texts = make([]byte, 0, 32*len(c.heads))
	for i := range c.heads {
		start := len(c.texts)
		if row := rows.Row(i); len(row) > skip {
			c.texts = by.sortKey(c.texts, row[skip:])
		}
		c.ends[i] = uint32(len(c.texts))
		var head [8]byte
		copy(head[:], c.texts[start:])
		c.heads[i] = binary.BigEndian.Uint64(head[:])
	}
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
	e.Untagged().Const("ESEARCH (TAG ").String(r.tag).Close()
	if r.uid {
		e.Const(" UID")
	}
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
		s.writeSequence(sorted, 0, n, r.uid)
	}
	if o.partial.given() {
		e.Const(" PARTIAL (")
		o.partial.write(e)
		e.SP()
		if from < to {
			s.writeSequence(sorted, from, to, r.uid)
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

// writeSequence writes the from-th to the one before the to-th in order, as a
// sequence-set whose ranges ascend (RFC 5267, 3.2).
func (s *session) writeSequence(sorted order, from, to int, uid bool) {
	e := s.enc
	for i := from; i < to; {
		first := sorted.number(i, uid)
		last := first
		for i++; i < to && sorted.number(i, uid) == last+1; i++ {
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
