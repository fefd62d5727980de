package message

import (
	"encoding/binary"
	"math/bits"
)

// Filter tells of a message that it certainly does not have a text, without its
// SearchText: it holds which hashed trigrams (three bytes in a row) there are, in two
// sets of bits, of the fields that people look for and of the whole SearchText. The
// zero Filter, and what is none, knows nothing and answers that all may be there.
//
// The encoding:
//
//	0  version
//	1  the logarithm to base 2 of how many bits are in the set of the fields; 0: unknown
//	2  the same of the set of the text
//	3  the fields' set, a bit for each hash, the lowest first
//	   the text's set
type Filter []byte

const (
	filterVersion = 1
	filterHead    = 3
	// Sets have from 64 to 131072 bits.
	minFilterLog, maxFilterLog = 6, 17
	// Of the bits of a set at most filterFill of 256 are one, unless it is as large as
	// it can be; beyond filterFull it is of no use. With 35 % a needle with four
	// trigrams that are not in a message is read there in vain one time in 70.
	filterFill, filterFull = 90, 192
)

// soughtFields are those of a Filter's first set.
var soughtFields = [...]string{"Subject", "From", "To", "Cc", "Bcc"}

// FilterHasField tells whether MayHaveField knows the fields of a name, in any case.
func FilterHasField(name string) bool {
	for _, f := range soughtFields {
		if equalFold(f, name) {
			return true
		}
	}
	return false
}

// trigramHash gives maxFilterLog bits of the lower three bytes of w, the first one
// lowest.
func trigramHash(w uint32) uint32 { return w << 8 * 0x9E3779B1 >> (32 - maxFilterLog) }

// filterSet is a set of hashes that is filled: 1<<log bits.
type filterSet struct {
	words []uint64
	log   int
}

// newFilterSet makes a set that is large enough for n trigrams.
func newFilterSet(n int) *filterSet {
	log := min(max(bits.Len(uint(n)), minFilterLog), maxFilterLog)
	return &filterSet{make([]uint64, 1<<log/64), log}
}

func (s *filterSet) add(text []byte) {
	words, mask := s.words, uint32(1)<<s.log-1
	// Six trigrams of eight bytes at a time: nearly all of a delivered text goes this way.
	set := func(h uint32) {
		h &= mask
		if i := h / 64; i < uint32(len(words)) { // always
			words[i] |= 1 << (h % 64)
		}
	}
	for ; len(text) >= 8; text = text[6:] {
		x := binary.LittleEndian.Uint64(text)
		set(trigramHash(uint32(x)))
		set(trigramHash(uint32(x >> 8)))
		set(trigramHash(uint32(x >> 16)))
		set(trigramHash(uint32(x >> 24)))
		set(trigramHash(uint32(x >> 32)))
		set(trigramHash(uint32(x >> 40)))
	}
	for ; len(text) >= 3; text = text[1:] {
		h := trigramHash(uint32(text[0])|uint32(text[1])<<8|uint32(text[2])<<16) & mask
		words[h/64] |= 1 << (h % 64)
	}
}

// shrink halves the set while few enough of its bits are one, by laying its halves
// over each other.
func (s *filterSet) shrink() (full bool) {
	ones := 0
	for _, w := range s.words {
		ones += bits.OnesCount64(w)
	}
	full = ones*256 > filterFull<<s.log
	for s.log > minFilterLog {
		low, high := s.words[:len(s.words)/2], s.words[len(s.words)/2:]
		ones := 0
		for i := range low {
			ones += bits.OnesCount64(low[i] | high[i])
		}
		if ones*256 > filterFill<<(s.log-1) {
			break
		}
		for i := range low {
			low[i] |= high[i]
		}
		s.words, s.log = low, s.log-1
	}
	return full
}

// append appends the set's bits.
func (s *filterSet) append(dst []byte) []byte {
	for _, w := range s.words {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// FilterOf makes the Filter of a message from its Summary and its SearchText. Without
// a Summary, which is nil then, it knows nothing of the fields.
func FilterOf(sum Summary, text []byte) Filter {
	f := append(make(Filter, 0, 1024), filterVersion, 0, 0)
	if len(text) < 4 || len(SearchHeader(text)) >= MaxSearchText/2-4 {
		return f // the text may lack fields that the summary has
	}
	f = f.appendFields(sum)
	s := newFilterSet(len(text))
	s.add(text[4:])
	if !s.shrink() {
		f[2] = byte(s.log)
		f = s.append(f)
	}
	return f
}

// WithFields gives f, which was made without a Summary, with what it knows.
func (f Filter) WithFields(sum Summary) Filter {
	if !f.Valid() || f[1] != 0 {
		return f
	}
	x := append(make(Filter, 0, len(f)+256), f[:filterHead]...)
	return append(x.appendFields(sum), f[filterHead:]...)
}

// appendFields appends the set of the fields.
func (f Filter) appendFields(sum Summary) Filter {
	if kept, ok := sum.KeptHeader(); ok {
		s := newFilterSet(len(kept))
		var scratch []byte
		for off := 0; off < len(kept); {
			field := nextField(kept, off)
			if isBlank(kept, off, field.end) {
				break
			}
			if name := kept[field.start:max(field.start, field.nameEnd)]; FilterHasField(string(name)) {
				scratch = Fold(scratch[:0], decodedValue(kept[field.value:field.end]))
				s.add(scratch)
			}
			off = field.end
		}
		if !s.shrink() {
			f[1] = byte(s.log)
			f = s.append(f)
		}
	}
	return f
}

// Valid tells whether f is a Filter of this version.
func (f Filter) Valid() bool {
	if len(f) < filterHead || f[0] != filterVersion {
		return false
	}
	n := filterHead
	for _, log := range f[1:filterHead] {
		if log != 0 {
			if log < minFilterLog || log > maxFilterLog {
				return false
			}
			n += 1 << log / 8
		}
	}
	return n == len(f)
}

// MayHaveField tells whether a field that FilterHasField knows may contain what the
// needle was made of.
func (f Filter) MayHaveField(n Needle) bool {
	return !f.Valid() || f[1] == 0 || n.in(f[filterHead:], f[1])
}

// MayHaveText tells whether the SearchText may contain what the needle was made of.
// What is in a field that a Summary keeps is in the SearchText too.
func (f Filter) MayHaveText(n Needle) bool {
	if !f.Valid() || f[2] == 0 {
		return true
	}
	return n.in(f[len(f)-1<<f[2]/8:], f[2])
}

// Needle is the hashed trigrams of a text that is looked for. An empty one is in every
// Filter.
type Needle []uint32

// maxNeedle bounds the trigrams of a Needle.
const maxNeedle = 32

// NeedleOf makes the Needle of a folded text.
func NeedleOf(folded []byte) (n Needle) {
	last := len(folded) - 3 // where the last trigram begins
	for i := range min(last+1, maxNeedle) {
		at := i
		if last >= maxNeedle {
			at = i * last / (maxNeedle - 1) // spread over a long text
		}
		n = append(n, trigramHash(uint32(folded[at])|uint32(folded[at+1])<<8|uint32(folded[at+2])<<16))
	}
	return n
}

// in tells whether the set of 1<<log bits has all of it.
func (n Needle) in(set []byte, log byte) bool {
	mask := uint32(1)<<log - 1
	for _, h := range n {
		if h &= mask; set[h/8]&(1<<(h%8)) == 0 {
			return false
		}
	}
	return true
}
