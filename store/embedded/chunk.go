package embedded

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// A chunk is a run of a mailbox's index in one value:
//
//	layout(1) CRC-32C of the rest(4, big-endian) count highest-ModSeq entry…
//
// Each entry is varints, most of them differences from the entry before, about
// 20 bytes in all. A delta is a chunk of one entry; an empty delta says expunged.
//
// A run is what one change did to many messages, in as few values as can be:
// chunks, or
//
//	layoutGone(1) CRC-32C of the rest(4, big-endian) ranges of expunged UIDs
const (
	layoutGone byte = 2
	// chunkEntries is how many entries a chunk is written with.
	chunkEntries = 256
	// runEntries is how many entries, or UIDs, a value of a run is written with.
	runEntries = 1024
	// maxChunkEntries bounds what a chunk may claim to have.
	maxChunkEntries = 4096
	// minEntryBytes is the least that an entry takes.
	minEntryBytes = 9
	// annotated is added to the zone of a message that has annotations: no zone is as large.
	annotated = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendChunk packs entries, which are ascending by UID and at most maxChunkEntries.
func appendChunk(dst []byte, entries []store.Message) []byte {
	start := len(dst)
	dst = append(dst, layout, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	var last store.Message
	var highest mail.ModSeq
	for i := range entries {
		highest = max(highest, entries[i].ModSeq)
	}
	dst = binary.AppendUvarint(dst, uint64(highest))
	for i := range entries {
		m := &entries[i]
		dst = binary.AppendUvarint(dst, uint64(m.UID-last.UID))
		dst = binary.AppendUvarint(dst, uint64(m.Flags))
		dst = binary.AppendUvarint(dst, uint64(m.Size))
		dst = binary.AppendVarint(dst, int64(m.ModSeq-last.ModSeq))
		dst = binary.AppendVarint(dst, int64(m.Email-last.Email))
		dst = binary.AppendVarint(dst, int64(m.Thread)-int64(m.Email))
		dst = binary.AppendVarint(dst, m.InternalDate-last.InternalDate)
		dst = binary.AppendVarint(dst, m.Saved-m.InternalDate)
		zone := int64(m.Zone)
		if m.Annotated {
			zone += annotated
		}
		dst = binary.AppendVarint(dst, zone)
		last = *m
	}
	binary.BigEndian.PutUint32(dst[start+1:], crc32.Checksum(dst[start+5:], castagnoli))
	return dst
}

// appendGone packs expunged UIDs, at most maxChunkEntries.
func appendGone(dst []byte, uids mail.NumSet) []byte {
	start := len(dst)
	dst = appendNumSet(append(dst, layoutGone, 0, 0, 0, 0), uids)
	binary.BigEndian.PutUint32(dst[start+1:], crc32.Checksum(dst[start+5:], castagnoli))
	return dst
}

// decodeGone appends an entry with Gone set for each UID of b to dst.
func decodeGone(dst []store.Message, b []byte) ([]store.Message, bool) {
	if len(b) < 5 || b[0] != layoutGone || binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[5:], castagnoli) {
		return dst, false
	}
	uids, ok := decodeNumSet(b[5:])
	if !ok || uids.Len() > maxChunkEntries {
		return dst, false
	}
	for uid := range uids.All() {
		dst = append(dst, store.Message{UID: mail.UID(uid), Gone: true})
	}
	return dst, true
}

// decodeChunk appends the entries of b whose ModSeq is above since (0: all) to dst.
func decodeChunk(dst []store.Message, b []byte, since mail.ModSeq) ([]store.Message, bool) {
	if len(b) < 5 || b[0] != layout || binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[5:], castagnoli) {
		return dst, false
	}
	s := scanner{b: b[5:]}
	count := s.uvarint()
	highest := mail.ModSeq(s.uvarint())
	if s.bad || count > maxChunkEntries || count*minEntryBytes > uint64(len(s.rest())) {
		return dst, false
	}
	if highest <= since && since > 0 {
		return dst, true
	}
	if n := int(count); n > cap(dst)-len(dst) {
		dst = slices.Grow(dst, max(n, len(dst)))
	}
	var m store.Message
	for range count {
		uid := uint64(m.UID) + s.uvarint()
		m.Flags = mail.Flags(s.uvarint())
		m.Size = s.uint32()
		m.ModSeq += mail.ModSeq(s.varint())
		m.Email += mail.EmailID(s.varint())
		m.Thread = mail.ThreadID(int64(m.Email) + s.varint())
		m.InternalDate += s.varint()
		m.Saved = m.InternalDate + s.varint()
		zone := s.varint()
		if m.Annotated = zone > math.MaxInt16; m.Annotated {
			zone -= annotated
		}
		if s.bad || uid <= uint64(m.UID) || uid > math.MaxUint32 || zone != int64(int16(zone)) {
			return dst, false
		}
		m.UID, m.Zone = mail.UID(uid), int16(zone)
		if since == 0 || m.ModSeq > since {
			dst = append(dst, m)
		}
	}
	return dst, s.done()
}

// merge gives entries as changed by deltas. Both are ascending by UID; a delta
// with Gone set removes. It may write into entries.
func merge(entries, deltas []store.Message) []store.Message {
	if len(deltas) == 0 {
		return entries
	}
	// Most deltas are later than all entries, or change a few of them in place.
	i, inserts := 0, 0
	for _, d := range deltas {
		for i < len(entries) && entries[i].UID < d.UID {
			i++
		}
		switch {
		case i < len(entries) && entries[i].UID == d.UID:
			entries[i] = d
		case d.Gone:
		case i == len(entries):
			entries = append(entries, d)
		default:
			inserts++
		}
	}
	if inserts > 0 {
		entries = insert(entries, deltas, inserts)
	}
	return slices.DeleteFunc(entries, func(m store.Message) bool { return m.Gone })
}

// insert puts those deltas that entries does not have between them.
func insert(entries, deltas []store.Message, inserts int) []store.Message {
	out := make([]store.Message, 0, len(entries)+inserts)
	i := 0
	for _, d := range deltas {
		for i < len(entries) && entries[i].UID < d.UID {
			out = append(out, entries[i])
			i++
		}
		if i < len(entries) && entries[i].UID == d.UID || d.Gone {
			continue
		}
		out = append(out, d)
	}
	return append(out, entries[i:]...)
}

// overlay gives the deltas of older and newer, both ascending by UID, as one list.
// Of two for a message the one with the higher ModSeq stays; expunged is final.
func overlay(older, newer []store.Message) []store.Message {
	switch {
	case len(older) == 0:
		return newer
	case len(newer) == 0:
		return older
	case older[len(older)-1].UID < newer[0].UID:
		return append(older, newer...)
	}
	out := make([]store.Message, 0, max(len(older), len(newer)))
	i := 0
	for _, m := range newer {
		for i < len(older) && older[i].UID < m.UID {
			out = append(out, older[i])
			i++
		}
		if i < len(older) && older[i].UID == m.UID {
			if older[i].Gone || !m.Gone && m.ModSeq < older[i].ModSeq {
				m = older[i]
			}
			i++
		}
		out = append(out, m)
	}
	return append(out, older[i:]...)
}
