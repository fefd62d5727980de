package imap

import (
	"math/bits"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// searchResults are the result options of SEARCH RETURN (RFC 4731, 3.1; RFC 5182,
// 2.4).
type searchResults struct {
	extended             bool // RETURN was given
	min, max, count, all bool
	save                 bool
}

// readResults reads the result options.
//
//	search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
func readResults(d *wire.Decoder) searchResults {
	o := searchResults{extended: true}
	n := 0
	d.SP()
	d.List(func() {
		n++
		switch string(d.Word()) {
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
		default:
			d.Bad("unknown result option of SEARCH")
		}
	})
	if n == 0 {
		o.all = true
	}
	return o
}

// findings are the sequence numbers that a search found, entered in any order.
type findings struct {
	view *store.Snapshot
	bits []uint64
}

func newFindings(view *store.Snapshot) *findings {
	return &findings{view: view, bits: make([]uint64, view.Len()/64+1)}
}

func (f *findings) add(seq uint32) { f.bits[seq/64] |= 1 << (seq % 64) }

func (f *findings) count() int {
	n := 0
	for _, b := range f.bits {
		n += bits.OnesCount64(b)
	}
	return n
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

// set gives the sequence numbers or UIDs as a set.
func (f *findings) set(uid bool) mail.NumSet {
	var s mail.NumSet
	f.each(func(seq uint32) { s.Add(f.number(seq, uid)) })
	return s
}

// number gives the sequence number or UID.
func (f *findings) number(seq uint32, uid bool) uint32 {
	if uid {
		return uint32(f.view.At(seq).UID)
	}
	return seq
}

// modSeq gives the highest MODSEQ of the messages with these sequence numbers.
func (f *findings) modSeq(seqs ...uint32) (highest mail.ModSeq) {
	for _, seq := range seqs {
		highest = max(highest, f.view.At(seq).ModSeq)
	}
	return highest
}

func (f *findings) highestModSeq() (highest mail.ModSeq) {
	f.each(func(seq uint32) { highest = max(highest, f.view.At(seq).ModSeq) })
	return highest
}

// writeFound writes the SEARCH or ESEARCH response and saves what is to be saved.
func (s *session) writeFound(r *request, q *searching, f *findings) {
	o := q.results
	first, last := f.ends()
	if o.save {
		s.saved = nil
		switch {
		case first == 0:
		case o.all || o.count || !o.min && !o.max:
			s.saved = f.set(true)
		default:
			// RFC 5182, 2.4: what MIN and MAX name.
			if o.min {
				s.saved.Add(f.number(first, true))
			}
			if o.max {
				s.saved.Add(f.number(last, true))
			}
		}
	}
	switch {
	case !o.extended:
		s.writeSearch(r, q, f, first != 0)
	case o.min || o.max || o.count || o.all:
		s.writeESearch(r, q, f, first, last)
	}
}

// writeSearch writes the SEARCH response (RFC 3501, 7.2.5; RFC 7162, 3.1.6).
func (s *session) writeSearch(r *request, q *searching, f *findings, some bool) {
	e := s.enc
	e.Untagged().Const("SEARCH")
	f.each(func(seq uint32) { e.SP().Number(uint64(f.number(seq, r.uid))) })
	if q.modSeq && some {
		e.Const(" (MODSEQ ").Number(uint64(f.highestModSeq())).Close()
	}
	e.CRLF()
}

// writeESearch writes the ESEARCH response (RFC 4731, 3.1 and 3.2).
func (s *session) writeESearch(r *request, q *searching, f *findings, first, last uint32) {
	o, e := q.results, s.enc
	e.Untagged().Const("ESEARCH (TAG ").String(r.tag).Close()
	if r.uid {
		e.Const(" UID")
	}
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
		e.Const(" ALL ").NumSet(f.set(r.uid))
	}
	if q.modSeq && first != 0 {
		// Of MIN and MAX alone, the MODSEQ of these messages (RFC 4731, 3.2).
		highest := mail.ModSeq(0)
		switch {
		case o.all || o.count:
			highest = f.highestModSeq()
		case o.min && o.max:
			highest = f.modSeq(first, last)
		case o.min:
			highest = f.modSeq(first)
		default:
			highest = f.modSeq(last)
		}
		e.Const(" MODSEQ ").Number(uint64(highest))
	}
	e.CRLF()
}
