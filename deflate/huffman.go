package deflate

import "sync"

const (
	maxCodeLen = 15
	// fastBits is up to how many bits a code is found by one look into a table.
	fastBits   = 10
	maxSymbols = 288
)

// huffman decodes one alphabet.
type huffman struct {
	fast    [1 << fastBits]uint16 // symbol<<4 | length of its code; 0: see find
	count   [maxCodeLen + 1]uint16
	symbols [maxSymbols]uint16 // by code
}

// build makes the code whose lengths are given, 0 for a symbol that has none; false
// when they are no code. single permits a code of one symbol, or of none (RFC 1951,
// 3.2.7, of distances).
func (h *huffman) build(lengths []byte, single bool) bool {
	clear(h.fast[:])
	clear(h.count[:])
	for _, n := range lengths {
		h.count[n]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	left := 1
	var offset, next [maxCodeLen + 2]uint16
	code := uint16(0)
	for n := 1; n <= maxCodeLen; n++ {
		if left = left<<1 - int(h.count[n]); left < 0 {
			return false
		}
		code = (code + h.count[n-1]) << 1
		next[n] = code
		offset[n+1] = offset[n] + h.count[n]
	}
	if left > 0 && !(single && (used == 0 || used == 1 && h.count[1] == 1)) {
		return false
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[offset[n]] = uint16(symbol)
		offset[n]++
		if n <= fastBits {
			for at := int(reversed(next[n], n)); at < len(h.fast); at += 1 << n {
				h.fast[at] = uint16(symbol)<<4 | uint16(n)
			}
		}
		next[n]++
	}
	return true
}

// reversed gives the n lowest bits of code in the other order: codes begin with
// their highest bit.
func reversed(code uint16, n byte) (out uint16) {
	for range n {
		out = out<<1 | code&1
		code >>= 1
	}
	return out
}

// find gives the symbol that bits begin with and the length of its code, 0 when bits
// are no code.
func (h *huffman) find(bits uint64) (symbol uint16, length uint) {
	if f := h.fast[bits&(1<<fastBits-1)]; f != 0 {
		return f >> 4, uint(f & 15)
	}
	var code, first, index uint32
	for n := uint(1); n <= maxCodeLen; n++ {
		code |= uint32(bits & 1)
		bits >>= 1
		count := uint32(h.count[n])
		if code < first+count {
			return h.symbols[index+code-first], n
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0
}

// fixed gives the codes of RFC 1951, 3.2.6.
var fixed = sync.OnceValue(func() *[2]huffman {
	var lengths [maxSymbols]byte
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	codes := new([2]huffman)
	codes[0].build(lengths[:], false)
	for i := range 32 {
		lengths[i] = 5
	}
	codes[1].build(lengths[:32], false)
	return codes
})
