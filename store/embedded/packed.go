package embedded

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postern-mail/postern/mail"
)

// Large bodies that have stood for Options.CompressAfter are compressed, by the
// goroutine that gives back waste: it moves them into packed files. New mail is read
// soon, by several devices, and costs nothing for it.
//
// A packed body has a head of its own, in which the checksums are of the parts as they
// are stored, and behind them stands how long each is. Each part of 64 KiB is
// compressed for itself, so that a body is still read from anywhere.
const (
	packedMagic = "PoB2"
	// packedLayout is bodyLayout for a body that is packed.
	packedLayout byte = 2
	// asItIs is set in the length of a part that is not compressed.
	asItIs = 1 << 31
)

// forever is the age of files that are never packed.
const forever = time.Duration(math.MaxInt64)

// encoder is made anew for each file: it takes memory, and is rarely needed. Large
// bodies are mostly base64, in which zstd finds nothing but that letters have six bits:
// it is asked to look for that too.
func encoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(bodyPart), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
}

// decoder reads all packed bodies of an engine; it is used from several goroutines.
func decoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(bodyPart), zstd.WithDecoderLowmem(true), zstd.IgnoreChecksum(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}

// pack gives the head and the parts of a packed body.
func pack(z *zstd.Encoder, id mail.AccountID, m mail.EmailID, body []byte) (head, stored []byte) {
	var sums, lengths []byte
	stored = make([]byte, 0, len(body))
	for part := range slices.Chunk(body, bodyPart) {
		at, length := len(stored), uint32(len(part))
		stored = z.EncodeAll(part, stored)
		if n := len(stored) - at; n < len(part)-len(part)/8 {
			length = uint32(n)
		} else {
			stored = append(stored[:at], part...)
			length |= asItIs
		}
		sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(stored[at:], castagnoli))
		lengths = binary.BigEndian.AppendUint32(lengths, length)
	}
	return finishHead(slices.Concat(startHead(packedMagic, id, m, len(body)), sums, lengths)), stored
}

// partStart gives where part n of a body stands behind the head, and how long it is
// there.
func (h *headed) partStart(n int64) (at, length int64, plain bool) {
	if h.lengths == nil {
		return n * bodyPart, min(bodyPart, h.size-n*bodyPart), true
	}
	for i := range n {
		at += int64(binary.BigEndian.Uint32(h.lengths[4*i:]) &^ asItIs)
	}
	l := binary.BigEndian.Uint32(h.lengths[4*n:])
	return at, int64(l &^ asItIs), l&asItIs != 0
}

// storedLength is how long all parts are.
func (h *headed) storedLength() (sum int64, ok bool) {
	for l := range slices.Chunk(h.lengths, 4) {
		n := binary.BigEndian.Uint32(l) &^ asItIs
		if n == 0 || n > bodyPart {
			return 0, false
		}
		sum += int64(n)
	}
	return sum, true
}

// due tells whether what a file has is to be packed now.
func (b *bodyFiles) due(f *bodyFile) bool {
	return !f.packed && b.packAfter < forever && time.Since(f.written) >= b.packAfter
}
