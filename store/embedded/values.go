package embedded

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Values are sequences of varints and length-prefixed strings; the first byte of
// heads, mailboxes and chunks is their layout's number. Nothing read from disk is
// trusted: what does not decode exactly is KindCorrupt.

// layout is the first byte of the values that may grow fields.
const layout byte = 1

// damaged is the error of a value that does not decode.
func damaged(format string, args ...any) error {
	e := mail.Errorf(mail.KindCorrupt, format, args...)
	e.Text += " is damaged in the store"
	return e
}

// scanner takes values from b; after a fault bad is set and all are zero. It counts
// and does not cut b, because storing pointers costs more than reading varints.
type scanner struct {
	b   []byte
	at  int // of b is read
	bad bool
}

func (s *scanner) fail() {
	s.at, s.bad = len(s.b), true
}

// rest is what is not read yet.
func (s *scanner) rest() []byte { return s.b[s.at:] }

func (s *scanner) uvarint() uint64 {
	if s.at < len(s.b) && s.b[s.at] < 0x80 {
		s.at++
		return uint64(s.b[s.at-1])
	}
	v, n := binary.Uvarint(s.b[s.at:])
	if n <= 0 {
		s.fail()
		return 0
	}
	s.at += n
	return v
}

func (s *scanner) uint32() uint32 {
	v := s.uvarint()
	if v > math.MaxUint32 {
		s.fail()
		return 0
	}
	return uint32(v)
}

func (s *scanner) varint() int64 {
	v := s.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (s *scanner) string() string {
	n := s.uvarint()
	if n > uint64(len(s.rest())) {
		s.fail()
		return ""
	}
	s.at += int(n)
	return string(s.b[s.at-int(n) : s.at])
}

func (s *scanner) byte() byte {
	if s.at == len(s.b) {
		s.fail()
		return 0
	}
	s.at++
	return s.b[s.at-1]
}

// done tells whether all was there and nothing is left.
func (s *scanner) done() bool { return !s.bad && s.at == len(s.b) }

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendHead(dst []byte, a *store.AccountRecord) []byte {
	dst = append(dst, layout)
	dst = binary.AppendUvarint(dst, uint64(a.ModSeq))
	dst = binary.AppendUvarint(dst, uint64(a.NextMailbox))
	dst = binary.AppendUvarint(dst, uint64(a.NextEmail))
	dst = binary.AppendUvarint(dst, uint64(a.NextUIDValidity))
	dst = binary.AppendVarint(dst, a.Bytes)
	dst = binary.AppendVarint(dst, a.Messages)
	dst = binary.AppendVarint(dst, a.QuotaBytes)
	dst = binary.AppendVarint(dst, a.QuotaMessages)
	// Most accounts end here; of what others have bits tell: 1 for one that is nobody's
	// alone, 2 for annotations, 4 for what can be brought back.
	var more byte
	if a.Shared {
		more |= 1
	}
	if a.Annotations != 0 || a.AnnotationBytes != 0 {
		more |= 2
	}
	if a.Recoverable != 0 || a.RecoverableBytes != 0 || a.RecoverableSince != 0 || a.Retention != 0 || a.RecoverableQuota != 0 {
		more |= 4
	}
	if more != 0 {
		dst = append(dst, more)
	}
	if more&2 != 0 {
		dst = binary.AppendVarint(dst, a.Annotations)
		dst = binary.AppendVarint(dst, a.AnnotationBytes)
	}
	if more&4 != 0 {
		dst = binary.AppendVarint(dst, a.Recoverable)
		dst = binary.AppendVarint(dst, a.RecoverableBytes)
		dst = binary.AppendVarint(dst, a.RecoverableSince)
		dst = binary.AppendVarint(dst, a.Retention)
		dst = binary.AppendVarint(dst, a.RecoverableQuota)
	}
	return dst
}

func decodeHead(id mail.AccountID, b []byte) (store.AccountRecord, error) {
	s := scanner{b: b}
	v := s.byte()
	a := store.AccountRecord{
		ID:              id,
		ModSeq:          mail.ModSeq(s.uvarint()),
		NextMailbox:     mail.MailboxID(s.uint32()),
		NextEmail:       mail.EmailID(s.uvarint()),
		NextUIDValidity: mail.UIDValidity(s.uint32()),
		Bytes:           s.varint(),
		Messages:        s.varint(),
		QuotaBytes:      s.varint(),
		QuotaMessages:   s.varint(),
	}
	if !s.bad && s.at < len(s.b) {
		more := s.byte()
		a.Shared = more&1 != 0
		if more&2 != 0 {
			a.Annotations, a.AnnotationBytes = s.varint(), s.varint()
		}
		if more&4 != 0 {
			a.Recoverable, a.RecoverableBytes, a.RecoverableSince = s.varint(), s.varint(), s.varint()
			a.Retention, a.RecoverableQuota = s.varint(), s.varint()
		}
		if more == 0 || more > 7 {
			s.fail()
		}
	}
	if v != layout || !s.done() {
		return store.AccountRecord{}, damaged("the head of account %v", id)
	}
	return a, nil
}

func appendMailbox(dst []byte, m *store.MailboxRecord) []byte {
	dst = append(dst, layout)
	dst = appendString(dst, m.Name)
	dst = binary.AppendUvarint(dst, uint64(m.UIDValidity))
	dst = appendString(dst, m.SpecialUse)
	dst = binary.AppendVarint(dst, m.Created.Unix())
	dst = binary.AppendUvarint(dst, uint64(m.Created.Nanosecond()))
	dst = binary.AppendUvarint(dst, uint64(m.UIDNext))
	dst = binary.AppendUvarint(dst, uint64(m.HighestModSeq))
	dst = binary.AppendUvarint(dst, uint64(m.RecentFrom))
	dst = binary.AppendUvarint(dst, uint64(len(m.Keywords)))
	for _, k := range m.Keywords {
		dst = appendString(dst, k)
	}
	dst = binary.AppendUvarint(dst, uint64(m.Messages))
	dst = binary.AppendUvarint(dst, uint64(m.Unseen))
	dst = binary.AppendUvarint(dst, uint64(m.Deleted))
	dst = binary.AppendVarint(dst, m.Bytes)
	// A mailbox that nobody else has rights on ends here, as every one did before there
	// were rights.
	for _, g := range m.Grants {
		dst = binary.AppendUvarint(dst, uint64(g.Account))
		dst = appendString(dst, g.Group)
		rights := uint64(g.Rights) << 1
		if g.Negative {
			rights |= 1
		}
		dst = binary.AppendUvarint(dst, rights)
	}
	return dst
}

func decodeMailbox(id mail.MailboxID, b []byte) (store.MailboxRecord, error) {
	s := scanner{b: b}
	v := s.byte()
	m := store.MailboxRecord{
		ID:          id,
		Name:        s.string(),
		UIDValidity: mail.UIDValidity(s.uint32()),
		SpecialUse:  s.string(),
	}
	seconds, nanoseconds := s.varint(), s.uvarint()
	m.UIDNext = mail.UID(s.uint32())
	m.HighestModSeq = mail.ModSeq(s.uvarint())
	m.RecentFrom = mail.UID(s.uint32())
	n := s.uvarint()
	if v != layout || nanoseconds >= 1e9 || n > uint64(len(s.rest())) {
		s.fail()
	}
	for i := uint64(0); i < n && !s.bad; i++ {
		m.Keywords = append(m.Keywords, s.string())
	}
	m.Messages = s.uint32()
	m.Unseen = s.uint32()
	m.Deleted = s.uint32()
	m.Bytes = s.varint()
	for !s.bad && s.at < len(s.b) {
		g := mail.Grant{Grantee: mail.Grantee{Account: mail.AccountID(s.uvarint()), Group: s.string()}}
		rights := s.uvarint()
		if g.Rights, g.Negative = mail.Rights(rights>>1), rights&1 != 0; rights>>1 > uint64(mail.AllRights) {
			s.fail()
		}
		m.Grants = append(m.Grants, g)
	}
	if !s.done() {
		return store.MailboxRecord{}, damaged("mailbox %v", id)
	}
	m.Created = time.Unix(seconds, int64(nanoseconds)).UTC()
	return m, nil
}

func appendNumSet(dst []byte, set mail.NumSet) []byte {
	last := uint32(0)
	for _, r := range set {
		dst = binary.AppendUvarint(dst, uint64(r.First-last))
		dst = binary.AppendUvarint(dst, uint64(r.Last-r.First))
		last = r.Last
	}
	return dst
}

// decodeNumSet reads what appendNumSet made: ranges that ascend and do not touch.
func decodeNumSet(b []byte) (mail.NumSet, bool) {
	s := scanner{b: b}
	var set mail.NumSet
	last := uint64(0)
	for s.at < len(s.b) {
		gap := uint64(s.uint32())
		first := last + gap
		last = first + uint64(s.uint32())
		if gap == 0 || gap == 1 && len(set) > 0 || last > math.MaxUint32 {
			s.fail()
		}
		if s.bad {
			return nil, false
		}
		set = append(set, mail.NumRange{First: uint32(first), Last: uint32(last)})
	}
	return set, !s.bad
}

// stored is the value in kindEmails. A body has at least one piece.
type stored struct{ references, pieces uint32 }

func (x stored) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(x.references))
	return binary.AppendUvarint(dst, uint64(x.pieces))
}

func decodeStored(b []byte) (stored, bool) {
	s := scanner{b: b}
	x := stored{s.uint32(), s.uint32()}
	return x, s.done() && x.references > 0 && x.pieces > 0 && x.pieces <= math.MaxUint32/pieceSize+1
}

func decodeUvarint(b []byte) (uint64, bool) {
	s := scanner{b: b}
	v := s.uvarint()
	return v, s.done()
}

// appendRecord is a Record's value: its revision, then what the owner gave.
func appendRecord(dst []byte, revision uint64, value []byte) []byte {
	return append(binary.AppendUvarint(dst, revision), value...)
}

func decodeRecord(b []byte) (revision uint64, value []byte, ok bool) {
	s := scanner{b: b}
	revision = s.uvarint()
	return revision, s.rest(), !s.bad && revision > 0
}
