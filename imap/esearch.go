package imap

import (
	"iter"
	"math/bits"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// searchResults are the result options of SEARCH RETURN (RFC 4731, 3.1; RFC 5182,
// 2.4; RFC 9394, 3.1; RFC 5267, 4).
type searchResults struct {
	extended             bool // RETURN was given
	min, max, count, all bool
	partial              partialRange
	relevancy            bool // scores are told (RFC 6203, 4)
	save                 bool
	update               bool   // the client follows the results
	fetch                *fetch // of new messages that become results (RFC 5465, 7); nil: nothing
}

// readResults reads the result options (RFC 4466, 2.6.1). CONTEXT is a hint that is
// not needed here.
//
//	search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
//	search-return-opt  = "MIN" / "MAX" / "ALL" / "COUNT" / "SAVE" / "CONTEXT" / "UPDATE" /
//	                     "RELEVANCY" / "PARTIAL" SP partial-range
//	modifier-update    = "UPDATE" [SP "(" fetch-att *(SP fetch-att) ")"]
//
// The grammar of RFC 5465, 8 has no space there, its example has one.
func readResults(d *wire.Decoder) searchResults {
	o := searchResults{extended: true}
	n := 0
	mayFetch := false // UPDATE came last
	d.SP()
	d.List(func() {
		if mayFetch && d.Peek() == '(' {
			mayFetch, o.fetch = false, &fetch{}
			o.fetch.readItems(d)
			return
		}
		n++
		word := string(d.Word())
		mayFetch = word == "UPDATE"
		switch word {
		case "MIN":
			o.min = true
		case "MAX":
			o.max = true
		case "COUNT":
			o.count = true
		case "ALL":
			o.all = true
		case "SAVE":
			o.save = true
		case "RELEVANCY":
			o.relevancy = true
		case "CONTEXT":
		case "UPDATE":
			o.update = true
			if d.Peek() == '(' {
				mayFetch, o.fetch = false, &fetch{}
				o.fetch.readItems(d)
			}
		case "PARTIAL":
			if o.partial.given() {
				d.Bad("PARTIAL is given twice")
			}
			o.partial = readPartial(d)
		default:
			d.Bad("unknown result option of SEARCH")
		}
	})
	if n == 0 {
		o.all = true
	}
	if o.all && o.partial.given() {
		d.Bad("ALL and PARTIAL exclude each other")
	}
	return o
}

// told tells whether a result is to be sent: not when it is only to be saved
// (RFC 5182, 2.1).
func (o *searchResults) told() bool {
	return !o.save || o.min || o.max || o.count || o.all || o.update || o.relevancy || o.partial.given()
}

// keeps tells whether SAVE and these options save the whole result, and not only
// what MIN, MAX and PARTIAL name (RFC 5182, 2.4; RFC 9394, 3.2).
func (o *searchResults) keeps() bool {
	return o.all || o.count || !o.min && !o.max && !o.partial.given()
}

// findings are the sequence numbers that a search found, entered in any order.
type findings struct {
	view   *store.Snapshot
	bits   []uint64
	scores []uint8 // by sequence number, of a fuzzy search; nil: all are 100

	progress *progress // of the search, nil when nobody waits for long
}

func newFindings(view *store.Snapshot) *findings {
	return &findings{view: view, bits: make([]uint64, view.Len()/64+1)}
}

func (f *findings) add(seq uint32) { f.bits[seq/64] |= 1 << (seq % 64) }

func (f *findings) has(seq uint32) bool { return f.bits[seq/64]&(1<<(seq%64)) != 0 }

func (f *findings) count() int {
	n := 0
	for _, b := range f.bits {
		n += bits.OnesCount64(b)
	}
	return n
}

// score gives how relevant what was found is, from 1 to 100 (RFC 6203, 4): 100 where
// nothing fuzzy decided.
func (f *findings) score(seq uint32) int {
	if f.scores == nil || f.scores[seq] == 0 {
		return 100
	}
	return int(f.scores[seq])
}

// writeScores writes RELEVANCY.
//
//	search-return-data =/ "RELEVANCY" SP "(" [score *(SP score)] ")"
func (f *findings) writeScores(e *wire.Encoder, seqs iter.Seq[uint32]) {
	e.Const(" RELEVANCY (")
	some := false
	for seq := range seqs {
		if some {
			e.SP()
		}
		some = true
		e.Number(uint64(f.score(seq)))
	}
	e.Close()
}

// each calls do for what was found, ascending.
func (f *findings) each(do func(seq uint32)) {
	for i, b := range f.bits {
		for ; b != 0; b &= b - 1 {
			do(uint32(i*64 + bits.TrailingZeros64(b)))
		}
	}
}

// ends gives the lowest and the highest sequence number, 0 when nothing was found.
func (f *findings) ends() (first, last uint32) {
	f.each(func(seq uint32) {
		if first == 0 {
			first = seq
		}
		last = seq
	})
	return first, last
}

// set gives the sequence numbers as a set.
func (f *findings) set() mail.NumSet {
	var s mail.NumSet
	f.each(func(seq uint32) { s.Add(seq) })
	return s
}

// numbers gives the sequence numbers seqs, or their UIDs.
func (f *findings) numbers(seqs mail.NumSet, uid bool) mail.NumSet {
	if uid {
		return f.view.UIDsOf(seqs)
	}
	return seqs
}

// number gives the sequence number or UID.
func (f *findings) number(seq uint32, uid bool) uint32 {
	if uid {
		return uint32(f.view.At(seq).UID)
	}
	return seq
}

// highestModSeq gives the highest MODSEQ of the messages with the sequence numbers
// seqs.
func (f *findings) highestModSeq(seqs mail.NumSet) (highest mail.ModSeq) {
	f.view.EachSeq(seqs, func(_ uint32, m *store.Message) bool {
		highest = max(highest, m.ModSeq)
		return true
	})
	return highest
}

// writeFound writes the SEARCH or ESEARCH response and saves what is to be saved.
func (s *session) writeFound(r *request, q *searching, f *findings) {
	switch {
	case !q.results.extended:
		s.writeSearch(r, q, f)
	default:
		named := s.writeESearch(r, q, f, nil)
		if q.results.save {
			s.saved = f.numbers(named, true)
		}
	}
}

// writeSearch writes the SEARCH response (RFC 3501, 7.2.5; RFC 7162, 3.1.6).
func (s *session) writeSearch(r *request, q *searching, f *findings) {
	e := s.enc
	some := false
	e.Untagged().Const("SEARCH")
	f.each(func(seq uint32) {
		some = true
		e.SP().Number(uint64(f.number(seq, r.uid)))
	})
	if q.modSeq && some {
		e.Const(" (MODSEQ ").Number(uint64(f.highestModSeq(f.set()))).Close()
	}
	e.CRLF()
}

// writeESearch writes the ESEARCH response, unless nobody wants it, and gives the
// sequence numbers that SAVE saves (RFC 4731, 3.1 and 3.2; RFC 9394, 3.1 and 3.2).
func (s *session) writeESearch(r *request, q *searching, f *findings, from *origin) (named mail.NumSet) {
	o, e := &q.results, s.enc
	first, last := f.ends()
	var all, part mail.NumSet
	if o.keeps() || o.partial.given() {
		all = f.set()
	}
	if o.partial.given() {
		part = o.partial.of(all)
	}
	switch {
	case o.keeps():
		named = all
	default:
		named = append(named, part...)
		if o.min && first != 0 {
			named.Add(first)
		}
		if o.max && first != 0 {
			named.Add(last)
		}
	}
	if !o.told() {
		return named
	}
	writeCorrelator(e, r.tag, from, r.uid)
	if o.min && first != 0 {
		e.Const(" MIN ").Number(uint64(f.number(first, r.uid)))
	}
	if o.max && first != 0 {
		e.Const(" MAX ").Number(uint64(f.number(last, r.uid)))
	}
	if o.count {
		e.Const(" COUNT ").Number(uint64(f.count()))
	}
	if o.all && first != 0 {
		e.Const(" ALL ").NumSet(f.numbers(all, r.uid))
	}
	if o.partial.given() {
		e.Const(" PARTIAL (")
		o.partial.write(e)
		e.SP()
		if len(part) > 0 {
			e.NumSet(f.numbers(part, r.uid))
		} else {
			e.Nil()
		}
		e.Close()
	}
	if scored := all; o.relevancy {
		if o.partial.given() {
			scored = part
		} else if scored == nil {
			scored = f.set()
		}
		if len(scored) > 0 {
			f.writeScores(e, scored.All())
		}
	}
	if q.modSeq && len(named) > 0 {
		// Of MIN, MAX and PARTIAL alone, the MODSEQ of what they name.
		e.Const(" MODSEQ ").Number(uint64(f.highestModSeq(named)))
	}
	e.CRLF()
	return named
}
