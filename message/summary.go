package message

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Summary is what is kept of a message so that listing it does not need its
// bytes. It is one self-contained blob: the accessors slice it and neither copy
// nor parse. The zero Summary, a damaged one and one of another version answer
// everything with the zero value; Valid tells.
//
// The encoding, all numbers little-endian:
//
//	 0  'P'           magic
//	 1  version
//	 2  flags         16 bits
//	 4  checksum      CRC-32C of everything else
//	 8  size          64 bits
//	16  lines         32 bits
//	20  zone          minutes east of UTC, 16 bits, and 16 bits of zero
//	24  sent          seconds since 1970, 64 bits
//	32  offsets       numSections+1 times 32 bits, from the start of the blob
//	    sections
type Summary []byte

// SummaryVersion is the encoding that Summary writes. A store that finds another
// parses the message again.
const SummaryVersion = 1

const summaryMagic = 'P'

type section int

const (
	secEnvelope section = iota
	secStructure
	secBody
	secKept
	secPreview
	secSubject
	secNames
	secTree
	numSections
)

const (
	offsetsAt  = 32
	sectionsAt = offsetsAt + 4*(int(numSections)+1)
)

const (
	flagNUL uint16 = 1 << iota
	flagKeptAll
	flagSent
	flagAttachment
	flagLooked // what follows is known, which in summaries from before it is not
	flagInternationalized
	flagGlobal
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Summary computes the summary. It does the work every time it is called.
func (m *Message) Summary() Summary {
	b := make([]byte, sectionsAt, sectionsAt+2048+2*len(m.kept))
	b[0], b[1] = summaryMagic, SummaryVersion
	var flags uint16
	if bytes.IndexByte(m.raw, 0) >= 0 {
		flags |= flagNUL
	}
	if m.keptAll {
		flags |= flagKeptAll
	}
	if v, ok := m.field(&m.parts[0], slotDate); ok {
		if t, ok := ParseDate(string(bounded(v, 256))); ok {
			_, zone := t.Zone()
			flags |= flagSent
			binary.LittleEndian.PutUint16(b[20:], uint16(int16(zone/60)))
			binary.LittleEndian.PutUint64(b[24:], uint64(t.Unix()))
		}
	}
	binary.LittleEndian.PutUint64(b[8:], uint64(len(m.raw)))
	binary.LittleEndian.PutUint32(b[16:], clamp32(m.lines))

	flags |= flagLooked
	if m.internationalized() {
		flags |= flagInternationalized
	}
	for i := range m.parts {
		if m.parts[i].global() {
			flags |= flagGlobal
		}
	}

	o := &output{b: b}
	begin := func(s section) {
		binary.LittleEndian.PutUint32(o.b[offsetsAt+4*int(s):], clamp32(len(o.b)))
		o.budget = MaxStructureBytes
	}
	begin(secEnvelope)
	m.envelope(o, 0)
	begin(secStructure)
	m.structure(o, 0, true)
	begin(secBody)
	m.structure(o, 0, false)
	begin(secKept)
	o.b = append(o.b, m.kept...)
	begin(secPreview)
	o.b = m.appendPreview(o.b)
	begin(secSubject)
	if v, ok := m.field(&m.parts[0], slotSubject); ok {
		o.b = appendBaseSubject(o.b, cutUTF8(v, maxSubject))
	}
	begin(secNames)
	var attached bool
	o.b, attached = m.appendAttachmentNames(o.b)
	if attached {
		flags |= flagAttachment
	}
	begin(secTree)
	o.b = m.appendTree(o.b)
	begin(numSections)
	binary.LittleEndian.PutUint16(o.b[2:], flags)
	binary.LittleEndian.PutUint32(o.b[4:], checksum(o.b))
	return o.b
}

// checksum covers everything but itself.
func checksum(s Summary) uint32 {
	return crc32.Update(crc32.Checksum(s[:4], castagnoli), castagnoli, s[8:])
}

// bounded cuts v to n bytes.
func bounded(v []byte, n int) []byte { return v[:min(len(v), n)] }

func clamp32(n int) uint32 { return uint32(min(uint64(n), math.MaxUint32)) }

// Version gives the version byte, 0 when s is no summary at all.
func (s Summary) Version() int {
	if len(s) < 2 || s[0] != summaryMagic {
		return 0
	}
	return int(s[1])
}

// Valid checks the whole blob: KindCorrupt when it is damaged, or not of this
// SummaryVersion.
func (s Summary) Valid() error {
	switch {
	case s.Version() != SummaryVersion:
		return mail.Errorf(mail.KindCorrupt, "The stored summary has version %d, not %d.", s.Version(), SummaryVersion)
	case len(s) < sectionsAt:
		return mail.Errorf(mail.KindCorrupt, "The stored summary is cut short.")
	case checksum(s) != binary.LittleEndian.Uint32(s[4:]):
		return mail.Errorf(mail.KindCorrupt, "The stored summary does not match its checksum.")
	}
	end := sectionsAt
	for i := section(0); i <= numSections; i++ {
		off := s.offset(i)
		if off < end || off > len(s) {
			return mail.Errorf(mail.KindCorrupt, "The stored summary has sections out of place.")
		}
		end = off
	}
	if s.tree() == nil {
		return mail.Errorf(mail.KindCorrupt, "The stored summary has no parts.")
	}
	return nil
}

// ours tells whether the fixed fields may be read.
func (s Summary) ours() bool {
	return len(s) >= sectionsAt && s[0] == summaryMagic && s[1] == SummaryVersion
}

func (s Summary) offset(i section) int {
	return int(binary.LittleEndian.Uint32(s[offsetsAt+4*int(i):]))
}

func (s Summary) section(i section) []byte {
	if !s.ours() {
		return nil
	}
	start, end := s.offset(i), s.offset(i+1)
	if start < sectionsAt || end < start || end > len(s) {
		return nil
	}
	return s[start:end:end]
}

func (s Summary) flag(f uint16) bool {
	return s.ours() && binary.LittleEndian.Uint16(s[2:])&f != 0
}

// Envelope gives the ENVELOPE, a parenthesized list ready to be sent
// (RFC 3501, 7.4.2). Strings that are not 7-bit are literals.
func (s Summary) Envelope() []byte { return s.section(secEnvelope) }

// BodyStructure gives the BODYSTRUCTURE ready to be sent (RFC 3501, 7.4.2).
func (s Summary) BodyStructure() []byte { return s.section(secStructure) }

// Body gives the BODY ready to be sent: the body structure without extension data.
func (s Summary) Body() []byte { return s.section(secBody) }

// Fields answers BODY[HEADER.FIELDS (names)] with exactly the bytes that
// FilterFields makes of the header. ok is false when the summary cannot tell,
// because a name is not Kept or the fields of this message exceed MaxKeptBytes;
// then the header must be read.
func (s Summary) Fields(names []string) (fields []byte, ok bool) {
	return s.AppendFields(nil, names)
}

// AppendFields appends what Fields gives to dst, and nothing when it is not ok.
func (s Summary) AppendFields(dst []byte, names []string) (fields []byte, ok bool) {
	if !s.flag(flagKeptAll) {
		return dst, false
	}
	for _, n := range names {
		if !Kept(n) {
			return dst, false
		}
	}
	kept := s.section(secKept)
	return AppendFields(slices.Grow(dst, len(kept)+2), kept, names, false), true
}

// KeptHeader gives the kept fields of the message as they stand, for DecodedField.
// ok is false when there are too many of them; see Fields.
func (s Summary) KeptHeader() (header []byte, ok bool) {
	return s.section(secKept), s.flag(flagKeptAll)
}

// Preview gives the beginning of the text, at most PreviewChars characters of
// UTF-8 on one line, empty when there is none (RFC 8970).
func (s Summary) Preview() string { return string(s.section(secPreview)) }

// BaseSubject gives the base subject in UTF-8 (RFC 5256, 2.1).
func (s Summary) BaseSubject() string { return string(s.section(secSubject)) }

// Size gives the message's size in bytes.
func (s Summary) Size() int64 {
	if !s.ours() {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(s[8:]))
}

// HeaderSize gives the size of the message's header block with its empty line.
func (s Summary) HeaderSize() int64 {
	r, _ := s.Locate(Section{Kind: Header})
	return r.Len()
}

// Lines gives the number of line feeds in the message.
func (s Summary) Lines() int {
	if !s.ours() {
		return 0
	}
	return int(binary.LittleEndian.Uint32(s[16:]))
}

// Sent gives the time of the Date field in its own zone, or false when there is
// none that can be read.
func (s Summary) Sent() (time.Time, bool) {
	if !s.flag(flagSent) {
		return time.Time{}, false
	}
	zone := int16(binary.LittleEndian.Uint16(s[20:]))
	t := time.Unix(int64(binary.LittleEndian.Uint64(s[24:])), 0)
	if zone == 0 {
		return t.UTC(), true
	}
	return t.In(time.FixedZone("", int(zone)*60)), true
}

// HasNUL tells whether the message has NUL bytes, which no IMAP literal but a
// literal8 can hold (RFC 3516, 4.3).
func (s Summary) HasNUL() bool { return s.flag(flagNUL) }

// Internationalized tells whether the message has a surrogate for clients that cannot
// read UTF-8 in header fields: Message.Surrogate. Of a summary from before that was
// noted it goes by what the summary has of the header.
func (s Summary) Internationalized() bool {
	if s.flag(flagLooked) {
		return s.flag(flagInternationalized)
	}
	return hasUTF8(s.Envelope()) || hasUTF8(s.BodyStructure()) || hasUTF8(s.section(secKept))
}

// HasGlobal tells whether the message has a message/global part whose structure
// Message.ShowGlobal shows.
func (s Summary) HasGlobal() bool { return s.flag(flagGlobal) }

// HasAttachment tells whether a part is an attachment: by its disposition, or
// because it has a file name and is no text, or is a message.
func (s Summary) HasAttachment() bool { return s.flag(flagAttachment) }

// AttachmentNames gives the file names of the parts in UTF-8, at most 100.
func (s Summary) AttachmentNames() []string {
	b := s.section(secNames)
	if len(b) == 0 {
		return nil
	}
	var names []string
	for _, n := range bytes.Split(b, newline) {
		names = append(names, string(n))
	}
	return names
}
