package mail

import (
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
)

// NumSet is a set of UIDs or message sequence numbers, kept as disjoint, ordered,
// non-adjacent intervals and never expanded: "1:*" costs eight bytes. The zero
// value is the empty set. A NumSet that was handed to someone is not changed
// afterwards.
type NumSet []NumRange

// NumRange is the interval First..Last, both included, 1 ≤ First ≤ Last.
type NumRange struct{ First, Last uint32 }

// MaxNum stands for "*" until the set is resolved against a mailbox.
const MaxNum = math.MaxUint32

// NumSetOf gives the set of nums, in any order.
func NumSetOf(nums ...uint32) NumSet {
	var s NumSet
	for _, n := range nums {
		s.AddRange(n, n)
	}
	return s
}

// UIDSet gives the set of uids, in any order.
func UIDSet(uids ...UID) NumSet {
	var s NumSet
	for _, u := range uids {
		s.AddRange(uint32(u), uint32(u))
	}
	return s
}

// Add puts n into the set. Adding in ascending order is cheap.
func (s *NumSet) Add(n uint32) { s.AddRange(n, n) }

// AddRange puts a..b or b..a, whichever way round (RFC 3501, 9 seq-range), into
// the set.
func (s *NumSet) AddRange(a, b uint32) {
	if a > b {
		a, b = b, a
	}
	t := *s
	if n := len(t); n == 0 || a > t[n-1].Last && a-1 > t[n-1].Last {
		*s = append(t, NumRange{a, b})
		return
	} else if t[n-1].Last+1 == a { // the next one in order: nearly always
		t[n-1].Last = b
		return
	}
	// i is the first range that a..b touches or precedes; j the first beyond it.
	i := sort.Search(len(t), func(i int) bool { return t[i].Last >= a || t[i].Last+1 == a })
	j := i
	for j < len(t) && (t[j].First <= b || t[j].First-1 == b) {
		a, b = min(a, t[j].First), max(b, t[j].Last)
		j++
	}
	*s = slices.Replace(t, i, j, NumRange{a, b})
}

// Contains tells whether n is in the set.
func (s NumSet) Contains(n uint32) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Last >= n })
	return i < len(s) && s[i].First <= n
}

// Len is how many numbers the set has.
func (s NumSet) Len() uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// All yields the numbers in ascending order. Intersect a set from the network
// with what exists before calling it: 1:* has four thousand million numbers.
func (s NumSet) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, r := range s {
			for n := r.First; ; n++ {
				if !yield(n) {
					return
				}
				if n == r.Last {
					break
				}
			}
		}
	}
}

// Intersect gives the numbers that are in both sets.
func (s NumSet) Intersect(t NumSet) NumSet {
	var out NumSet
	for i, j := 0, 0; i < len(s) && j < len(t); {
		a, b := max(s[i].First, t[j].First), min(s[i].Last, t[j].Last)
		if a <= b {
			out = append(out, NumRange{a, b})
		}
		if s[i].Last < t[j].Last {
			i++
		} else {
			j++
		}
	}
	return out
}

// Subtract gives the numbers of s that are not in t.
func (s NumSet) Subtract(t NumSet) NumSet {
	var out NumSet
	j := 0
	for _, r := range s {
		first := r.First
		for j < len(t) && t[j].Last < first {
			j++
		}
		done := false
		for k := j; k < len(t) && t[k].First <= r.Last; k++ {
			if t[k].First > first {
				out = append(out, NumRange{first, t[k].First - 1})
			}
			if t[k].Last >= r.Last {
				done = true
				break
			}
			first = t[k].Last + 1
		}
		if !done {
			out = append(out, NumRange{first, r.Last})
		}
	}
	return out
}

// Union gives the numbers that are in either set.
func (s NumSet) Union(t NumSet) NumSet {
	out := slices.Clone(s)
	for _, r := range t {
		out.AddRange(r.First, r.Last)
	}
	return out
}

// AppendText appends the set in IMAP's form, such as 2,4:7,9 (RFC 3501, 9
// sequence-set), to dst. MaxNum is printed as *.
func (s NumSet) AppendText(dst []byte) []byte {
	num := func(n uint32) {
		if n == MaxNum {
			dst = append(dst, '*')
		} else {
			dst = strconv.AppendUint(dst, uint64(n), 10)
		}
	}
	for i, r := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		num(r.First)
		if r.Last != r.First {
			dst = append(dst, ':')
			num(r.Last)
		}
	}
	return dst
}

// String gives IMAP's form.
func (s NumSet) String() string { return string(s.AppendText(nil)) }
