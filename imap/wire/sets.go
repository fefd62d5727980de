package wire

import (
	"math"
	"slices"

	"github.com/postern-mail/postern/mail"
)

// SeqSet is a sequence-set as a client wrote it (RFC 9051, 9), not yet resolved
// against a mailbox.
type SeqSet struct {
	// Set has the numbers and ranges that were written without "*". Its 4294967295
	// is that number and not "*".
	Set mail.NumSet
	// Star tells that the set has "*", alone or as one end of a range.
	Star bool
	// StarFrom is, if Star, the lowest other end of a range with "*": 5 in "5:*"
	// and in "*:5"; mail.MaxNum for "*" alone.
	StarFrom uint32
	// Saved tells that "$" stands for the set: the saved result of SEARCH
	// (RFC 5182, 2.1). Set and Star are empty then.
	Saved bool
}

// Resolve gives the set in a mailbox whose largest number is max, 0 when the
// mailbox is empty. "*" is max, also where the other end of its range is above it:
// 5:* holds 3 if max is 3 (RFC 9051, 9 seq-range). Numbers that were written out
// and are above max are kept; see Beyond. "$" gives the empty set.
func (s SeqSet) Resolve(max uint32) mail.NumSet {
	if !s.Star || max == 0 {
		return s.Set
	}
	out := slices.Clone(s.Set)
	out.AddRange(min(s.StarFrom, max), max)
	return out
}

// Beyond tells whether a number was written that is above max. For message
// sequence numbers that is a fault of the client (RFC 9051, 9 seq-number), for
// UIDs it is not.
func (s SeqSet) Beyond(max uint32) bool {
	if n := len(s.Set); n > 0 && s.Set[n-1].Last > max {
		return true
	}
	return s.Star && (max == 0 || s.StarFrom != mail.MaxNum && s.StarFrom > max)
}

// String gives the set in IMAP's form, in ascending order, for logs: a written
// 4294967295 looks like "*".
func (s SeqSet) String() string {
	if s.Saved {
		return "$"
	}
	return string(s.Resolve(mail.MaxNum).AppendText(nil))
}

// SequenceSet consumes a sequence-set: numbers, "*" and ranges either way round,
// separated by commas; or "$". Its size is bounded by that of the line.
func (d *Decoder) SequenceSet() SeqSet {
	var s SeqSet
	if !d.fill() || !d.count() {
		return s
	}
	if d.TryByte('$') {
		s.Saved = true
		return s
	}
	ascending := true
	var ranges []mail.NumRange
	for {
		first, star := d.seqNumber()
		last, lastStar := first, star
		if d.TryByte(':') {
			last, lastStar = d.seqNumber()
		}
		if d.err != nil {
			return SeqSet{}
		}
		switch {
		case star || lastStar:
			from := uint32(mail.MaxNum)
			if !star {
				from = first
			} else if !lastStar {
				from = last
			}
			if !s.Star || from < s.StarFrom {
				s.Star, s.StarFrom = true, from
			}
		default:
			if first > last {
				first, last = last, first
			}
			if n := len(ranges); n > 0 && ranges[n-1].First > first {
				ascending = false
			}
			ranges = append(ranges, mail.NumRange{First: first, Last: last})
		}
		if !d.TryByte(',') {
			break
		}
	}
	// Sorted first, so that a long set in falling order does not cost its square.
	if !ascending {
		slices.SortFunc(ranges, func(a, b mail.NumRange) int {
			switch {
			case a.First < b.First:
				return -1
			case a.First > b.First:
				return 1
			}
			return 0
		})
	}
	n := 0
	for _, r := range ranges {
		if n > 0 && (r.First <= ranges[n-1].Last || r.First-1 == ranges[n-1].Last) {
			ranges[n-1].Last = max(ranges[n-1].Last, r.Last)
			continue
		}
		ranges[n] = r
		n++
	}
	s.Set = ranges[:n]
	return s
}

// KnownSet consumes a set that has neither "*" nor "$", as known-uids and
// known-sequence-set of QRESYNC (RFC 7162, 7).
func (d *Decoder) KnownSet() mail.NumSet {
	s := d.SequenceSet()
	if s.Star || s.Saved {
		d.Bad("expected a set without * and $")
		return nil
	}
	return s.Set
}

// SeqNumber consumes a seq-number, a set of one: a number, or "*".
func (d *Decoder) SeqNumber() SeqSet {
	if !d.fill() || !d.count() {
		return SeqSet{}
	}
	n, star := d.seqNumber()
	if star {
		return SeqSet{Star: true, StarFrom: n}
	}
	return SeqSet{Set: mail.NumSet{{First: n, Last: n}}}
}

func (d *Decoder) seqNumber() (n uint32, star bool) {
	if d.TryByte('*') {
		return mail.MaxNum, true
	}
	if d.Peek() == '0' {
		d.Bad("a sequence set must not have the number 0")
	}
	if d.err != nil {
		return 0, false
	}
	return uint32(d.digits(math.MaxUint32)), false
}
