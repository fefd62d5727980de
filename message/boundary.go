package message

import (
	"bytes"
	"sort"
)

// boundaries holds the boundaries of the multiparts that are open, outermost
// first, and finds which of them a line begins with in time linear in the line,
// however many are open and however alike they look.
type boundaries struct {
	open   [][]byte // by level
	sorted []int    // levels, by boundary and then by level
	tried  int      // bytes looked at, for the test of linearity
}

// push opens a boundary, which is not empty.
func (s *boundaries) push(b []byte) {
	level := len(s.open)
	s.open = append(s.open, b)
	i := sort.Search(len(s.sorted), func(i int) bool { return bytes.Compare(s.open[s.sorted[i]], b) > 0 })
	s.sorted = append(s.sorted, 0)
	copy(s.sorted[i+1:], s.sorted[i:])
	s.sorted[i] = level
}

// pop closes the innermost boundary.
func (s *boundaries) pop() {
	level := len(s.open) - 1
	s.open = s.open[:level]
	for i, l := range s.sorted {
		if l == level {
			s.sorted = append(s.sorted[:i], s.sorted[i+1:]...)
			return
		}
	}
}

// match gives the level of the longest boundary that line, which begins after
// the two hyphens, starts with, the innermost one of equals, or -1; and whether
// it is the closing form. The rest of the line does not matter (RFC 2046, 5.1.1).
func (s *boundaries) match(line []byte) (level int, closing bool) {
	level = -1
	lo, hi := 0, len(s.sorted)
	length := 0
	for i := 0; lo < hi; i++ {
		// Boundaries of length i sort before the longer ones that share their i bytes.
		for lo < hi && len(s.open[s.sorted[lo]]) == i {
			level, length = s.sorted[lo], i
			lo++
		}
		if lo == hi || i == len(line) {
			break
		}
		c := line[i]
		s.tried++
		if s.open[s.sorted[lo]][i] == c && s.open[s.sorted[hi-1]][i] == c {
			continue
		}
		set := s.sorted[lo:hi]
		a := sort.Search(len(set), func(k int) bool { return s.open[set[k]][i] >= c })
		b := sort.Search(len(set), func(k int) bool { return s.open[set[k]][i] > c })
		lo, hi = lo+a, lo+b
	}
	return level, level >= 0 && bytes.HasPrefix(line[length:], []byte("--"))
}
