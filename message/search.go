package message

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// SearchText gives the folded text that searches look at, at most MaxSearchText
// bytes. SearchHeader and SearchBody give its two parts:
//
//   - the fields of the message's header, on a line each, as name, colon, space
//     and value, unfolded and with encoded words decoded;
//   - for each part its header in the same form, and for text parts and parts
//     without a type what they say, in UTF-8, of HTML the text without the tags.
//
// All of it is folded with Fold; a query is folded the same way and then looked
// for with bytes.Contains. The contents of other parts are not in it.
//
// DEVIATES: RFC 3501, 6.4.4: BODY and TEXT find what a person reads, decoded: not
// the tags of HTML, not attachments' bytes, and nothing beyond MaxSearchText.
func (m *Message) SearchText() []byte { return m.SearchTextBy(Fold[[]byte], true) }

// SearchTextBy is SearchText with another fold, which appends a text so that a part
// of it is a part of what it appends; folds tells whether it does to ASCII what Fold
// does.
func (m *Message) SearchTextBy(fold func(dst, text []byte) []byte, folds bool) []byte {
	root := &m.parts[0]
	size := root.bodyStart + root.bodyStart/8 + 64
	for i := range m.parts {
		if p := &m.parts[i]; p.isText() {
			size += p.bodyEnd - p.bodyStart + 256
		}
	}
	dst := make([]byte, 4, min(size, 1<<20))
	// Half for the header, so that a giant one leaves room for the text.
	dst = m.appendHeaderText(dst, root, MaxSearchText/2, fold, folds)
	binary.LittleEndian.PutUint32(dst, uint32(len(dst)-4))
	var scratch []byte
	for i := range m.parts {
		p := &m.parts[i]
		if i > 0 {
			dst = m.appendHeaderText(dst, p, MaxSearchText, fold, folds)
		}
		if !p.isText() {
			continue
		}
		left := MaxSearchText - len(dst)
		if left <= 0 {
			break
		}
		var text []byte
		text, scratch = m.partText(p, left, scratch)
		dst = fold(dst, text)
		if len(dst) > MaxSearchText-1 {
			dst = cutUTF8(dst, MaxSearchText-1)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// isText tells the parts that people read.
func (p *part) isText() bool { return p.kind == leaf && equalFold(p.mediaType, "text") }

// SearchHeader gives the part of a SearchText that comes from the message's header.
func SearchHeader(text []byte) []byte {
	if len(text) < 4 {
		return nil
	}
	n := min(uint64(binary.LittleEndian.Uint32(text)), uint64(len(text)-4))
	return text[4 : 4+n]
}

// SearchBody gives the part of a SearchText that comes from what follows the
// message's header.
func SearchBody(text []byte) []byte {
	if len(text) < 4 {
		return nil
	}
	return text[4+len(SearchHeader(text)):]
}

// appendHeaderText appends the fields of a part's header until dst has limit bytes.
func (m *Message) appendHeaderText(dst []byte, p *part, limit int, fold func(dst, text []byte) []byte, folds bool) []byte {
	header := m.raw[p.headerStart:p.bodyStart]
	for off := 0; off < len(header) && len(dst) < limit; {
		f := nextField(header, off)
		off = f.end
		if f.nameEnd > f.start {
			dst = appendLower(dst, header[f.start:f.nameEnd])
			dst = append(dst, ": "...)
		} else if isBlank(header, f.start, f.end) {
			break
		}
		v := trim(cutUTF8(header[f.value:f.end], max(limit-len(dst), 0)))
		if folds && simple(v) {
			dst = appendFoldedLines(dst, v)
		} else {
			dst = fold(dst, appendWords(nil, unfolded(v)))
			if len(dst) > limit {
				dst = cutUTF8(dst, limit)
			}
		}
		dst = append(dst, '\n')
	}
	if len(dst) > limit {
		dst = cutUTF8(dst, limit)
	}
	return dst
}

// simple tells whether v is ASCII without encoded words.
func simple(v []byte) bool {
	return isASCII(v) && !bytes.Contains(v, []byte("=?"))
}

// appendFoldedLines appends ASCII text in lower case and without line breaks.
func appendFoldedLines(dst, v []byte) []byte {
	n := len(dst)
	dst = appendUnfolded(dst, v)
	for i, c := range dst[n:] {
		dst[n+i] = lower[c]
	}
	return dst
}

// partText gives the text of a text part in UTF-8, at most about limit bytes, of
// HTML without the tags. It may be part of the message, or of scratch.
func (m *Message) partText(p *part, limit int, scratch []byte) (text, used []byte) {
	raw := m.raw[p.bodyStart:p.bodyEnd]
	b := raw
	switch e := m.encoding(p); {
	case equalFold(e, "base64"):
		b = bounded(b, limit+limit/2+1024)
		scratch = new(base64State).append(scratch[:0], b, true)
		b = scratch
	case equalFold(e, "quoted-printable"):
		b = bounded(b, 3*limit+1024)
		scratch = new(quotedState).append(scratch[:0], b, true)
		b = scratch
	}
	b = bounded(b, limit)
	isHTML := equalFold(p.subtype, "html")
	charset := p.charset
	if isHTML && len(charset) == 0 && !isASCII(b) && !utf8.Valid(b) {
		charset = metaCharset(b)
	}
	if len(b) == limit && (len(charset) == 0 || equalFold(charset, "utf-8")) {
		b = validTail(b)
	}
	b = toUTF8(charset, b)
	if isHTML {
		b = appendHTMLText(make([]byte, 0, len(b)/2), b)
	}
	return b, scratch
}
