package imap

import (
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
)

// partialRange is a partial-range (RFC 9394, 4; RFC 5267, 4.4): a part of a list of
// results or of messages, counted from 1, as the client wrote it. The zero value is
// none.
type partialRange struct {
	a, b   uint32 // either way round
	newest bool   // counted from the end: -1 is the last
}

// readPartial reads what follows PARTIAL.
//
//	modifier-partial = "PARTIAL" SP partial-range
//	partial-range = nz-number ":" nz-number / "-" nz-number ":" "-" nz-number
func readPartial(d *wire.Decoder) (p partialRange) {
	d.SP()
	p.newest = d.TryByte('-')
	p.a = d.NZNumber()
	d.Byte(':')
	if p.newest {
		d.Byte('-')
	}
	p.b = d.NZNumber()
	return p
}

// given tells whether there is one.
func (p partialRange) given() bool { return p.a > 0 }

// width gives how many it can name.
func (p partialRange) width() uint64 { return uint64(max(p.a, p.b)-min(p.a, p.b)) + 1 }

// write writes it as the client did.
func (p partialRange) write(e *wire.Encoder) {
	if p.newest {
		e.Const("-").Number(uint64(p.a)).Const(":-").Number(uint64(p.b))
		return
	}
	e.Number(uint64(p.a)).Const(":").Number(uint64(p.b))
}

// within gives the 0-based places from (included) to (not included) that it means in
// a list of n.
func (p partialRange) within(n uint64) (from, to uint64) {
	first, last := min(uint64(min(p.a, p.b))-1, n), min(uint64(max(p.a, p.b)), n)
	if p.newest {
		return n - last, n - first
	}
	return first, last
}

// of gives the numbers of set that it means.
func (p partialRange) of(set mail.NumSet) (out mail.NumSet) {
	from, to := p.within(set.Len())
	at := uint64(0) // place of r.First
	for _, r := range set {
		n := uint64(r.Last-r.First) + 1
		first, last := max(from, at), min(to, at+n)
		if first < last {
			out = append(out, mail.NumRange{First: r.First + uint32(first-at), Last: r.First + uint32(last-1-at)})
		}
		at += n
	}
	return out
}
