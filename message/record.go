package message

import (
	"encoding/binary"
	"strings"
)

// tree is the section of a Summary that holds the parts: their number in 32 bits,
// recordSize bytes for each in order of appearance, and then their strings.
type tree []byte

const (
	recordSize  = 40
	maxRecorded = 255 // bytes of each string of a part
	maxNames    = 100
)

// record is one part of a tree.
type record struct {
	headerStart, bodyStart, bodyEnd int64
	lines, next, strings            uint32
	kind                            partKind
}

// appendTree appends the tree.
func (m *Message) appendTree(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.parts)))
	at := len(dst)
	dst = append(dst, make([]byte, recordSize*len(m.parts))...)
	texts := len(dst)
	for i := range m.parts {
		p := &m.parts[i]
		r := dst[at+i*recordSize:]
		le := binary.LittleEndian
		le.PutUint64(r, uint64(p.headerStart))
		le.PutUint64(r[8:], uint64(p.bodyStart))
		le.PutUint64(r[16:], uint64(p.bodyEnd))
		le.PutUint32(r[24:], clamp32(p.lines))
		le.PutUint32(r[28:], uint32(p.next))
		le.PutUint32(r[32:], clamp32(len(dst)-texts))
		r[36] = byte(p.kind)
		half := min(len(p.mediaType), maxRecorded/2)
		rest := min(len(p.subtype), maxRecorded-1-half)
		dst = append(dst, byte(half+1+rest))
		dst = appendLower(dst, p.mediaType[:half])
		dst = append(dst, '/')
		dst = appendLower(dst, p.subtype[:rest])
		e := bounded(m.encoding(p), maxRecorded)
		dst = appendLower(append(dst, byte(len(e))), e)
		c := bounded(p.charset, maxRecorded)
		dst = append(append(dst, byte(len(c))), c...)
		f := cutUTF8(m.filename(p), maxRecorded)
		dst = append(append(dst, byte(len(f))), f...)
	}
	return dst
}

func appendLower(dst, s []byte) []byte {
	for _, c := range s {
		dst = append(dst, lower[c])
	}
	return dst
}

// filename gives a part's file name in UTF-8: filename of its disposition, else
// name of its type (RFC 2183, 2.3).
func (m *Message) filename(p *part) []byte {
	if p.kind == multipart || p.kind == opaque {
		return nil
	}
	if _, params := m.disposition(p); params != nil {
		if f := paramValue(params, "filename"); len(f) > 0 {
			return f
		}
	}
	if v, ok := m.field(p, slotType); ok {
		if _, _, rest, ok := mediaType(v); ok && len(rest) > 0 {
			return paramValue(appendParams(nil, rest), "name")
		}
	}
	return nil
}

// appendAttachmentNames appends the file names on a line each, and tells whether
// there is an attachment.
func (m *Message) appendAttachmentNames(dst []byte) ([]byte, bool) {
	attached, names := false, 0
	for i := range m.parts {
		p := &m.parts[i]
		if p.kind == multipart {
			continue
		}
		f := cutUTF8(m.filename(p), maxRecorded)
		d, _ := m.disposition(p)
		attached = attached || p.kind == nested && i > 0 || equalFold(d, "attachment") ||
			len(f) > 0 && !equalFold(p.mediaType, "text") && !equalFold(d, "inline") && !hasFoldSuffix(p.subtype, "-signature")
		if len(f) == 0 || names == maxNames {
			continue
		}
		if names > 0 {
			dst = append(dst, '\n')
		}
		names++
		for _, c := range f {
			if c < ' ' || c == 0x7f {
				c = ' '
			}
			dst = append(dst, c)
		}
	}
	return dst, attached
}

// tree gives the parts, or nil when they cannot be there.
func (s Summary) tree() tree {
	t := tree(s.section(secTree))
	if len(t) < 4 || t.count() < 1 || t.count() > (len(t)-4)/recordSize {
		return nil
	}
	return t
}

func (t tree) count() int { return int(binary.LittleEndian.Uint32(t)) }

// record gives part i, a part that contains nothing when there is none.
func (t tree) record(i int) record {
	if i < 0 || i >= t.count() {
		return record{}
	}
	b := t[4+i*recordSize:]
	le := binary.LittleEndian
	return record{
		int64(le.Uint64(b)), int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:])),
		le.Uint32(b[24:]), le.Uint32(b[28:]), le.Uint32(b[32:]), partKind(b[36]),
	}
}

// child gives the index of the n-th part, from 1, in part i.
func (t tree) child(i, n int) (int, bool) {
	end := min(int(t.record(i).next), t.count())
	for c := i + 1; c < end; n-- {
		if n == 1 {
			return c, true
		}
		next := int(t.record(c).next)
		if next <= c {
			break
		}
		c = next
	}
	return 0, false
}

// part gives part i, which exists.
func (t tree) part(i int) Part {
	r := t.record(i)
	texts := t[4+t.count()*recordSize:]
	texts = texts[min(int(r.strings), len(texts)):]
	var s [4]string
	for i := range s {
		if len(texts) == 0 {
			break
		}
		n := min(int(texts[0]), len(texts)-1)
		s[i], texts = string(texts[1:1+n]), texts[1+n:]
	}
	if s[1] == "" {
		s[1] = "7bit"
	}
	return Part{
		Type: s[0], Encoding: s[1], Charset: s[2], Filename: strings.ToValidUTF8(s[3], "\uFFFD"),
		Header: Range{r.headerStart, r.bodyStart},
		Body:   Range{r.bodyStart, r.bodyEnd},
		Lines:  int(r.lines),
	}
}
