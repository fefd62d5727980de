package message

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"unicode/utf8"
)

// SortField is something of a message that SORT and THREAD look at (RFC 5256, 3;
// RFC 5957, 4). It is made of the header once and then compared often.
type SortField uint8

const (
	// SortDate is the time of the Date field: 8 bytes, seconds since 1970 with the
	// sign turned, so that the order of the bytes is that of the dates; nothing when
	// there is no date.
	SortDate SortField = iota
	// SortSubject is the base subject as a sort text (SortText), behind one byte: 1
	// when it is that of a reply or a forwarded message, else 0.
	SortSubject
	// SortFrom, SortTo and SortCc are the mailbox of the first address, as a sort text.
	SortFrom
	SortTo
	SortCc
	// SortDisplayFrom and SortDisplayTo are the name of the first address, without one
	// the address itself, as a sort text.
	SortDisplayFrom
	SortDisplayTo
	// SortReferences are digests of Message-IDs, 8 bytes each: the message's own, 0
	// when it has none, and then those that it refers to, oldest first. They are the
	// same for the life of the process and mean nothing in another one.
	SortReferences
	NumSortFields
)

// MaxSortText bounds a sort text, in bytes.
//
// DEVIATES: RFC 5256, 2.1: of a base subject or a name no more than this is
// compared, so that giant ones cannot fill the memory of a server that sorts them.
const MaxSortText = 400

// A sort text is UTF-8, or failedText and then bytes of a charset that cannot be
// read, which stand behind all others and are compared as they are (RFC 5255, 4.6).
const failedText = 0xff

// SortText tells whether b, a sort text, is UTF-8 that a collation orders. Otherwise
// it is to be compared byte by byte; it is greater than each that is.
func SortText(b []byte) bool { return len(b) == 0 || b[0] != failedText }

// AppendSortField appends f of a message whose header block, or its kept fields, is
// header. It takes time linear in header.
func AppendSortField(dst []byte, f SortField, header []byte) []byte {
	switch f {
	case SortDate:
		if v, ok := firstField(header, "Date"); ok {
			if t, ok := ParseDate(string(bounded(trim(v), 256))); ok {
				dst = binary.BigEndian.AppendUint64(dst, uint64(t.Unix())^(1<<63))
			}
		}
	case SortSubject:
		return appendSortSubject(dst, header)
	case SortFrom:
		return appendSortAddress(dst, header, "From", false)
	case SortTo:
		return appendSortAddress(dst, header, "To", false)
	case SortCc:
		return appendSortAddress(dst, header, "Cc", false)
	case SortDisplayFrom:
		return appendSortAddress(dst, header, "From", true)
	case SortDisplayTo:
		return appendSortAddress(dst, header, "To", true)
	case SortReferences:
		return appendReferences(dst, header)
	}
	return dst
}

// SortDate appends what AppendSortField gives for SortDate.
func (s Summary) SortDate(dst []byte) []byte {
	if !s.flag(flagSent) {
		return dst
	}
	return binary.BigEndian.AppendUint64(dst, binary.LittleEndian.Uint64(s[24:])^(1<<63))
}

// firstField gives the value of the first field called name, as it stands.
func firstField(header []byte, name string) (value []byte, ok bool) {
	for off := 0; off < len(header); {
		f := nextField(header, off)
		if isBlank(header, off, f.end) {
			break
		}
		if f.nameEnd-f.start == len(name) && equalFold(header[f.start:f.nameEnd], name) {
			return header[f.value:f.end], true
		}
		off = f.end
	}
	return nil, false
}

// appendSortText appends v, unfolded, as a sort text. Encoded words are decoded
// where words is set.
func appendSortText(dst, v []byte, words bool, edit func([]byte) []byte) []byte {
	text, ok := v, true
	if words {
		text, ok = decodeStrictly(v)
	} else {
		text = toUTF8(nil, v)
	}
	if edit != nil {
		text = edit(text)
	}
	if !ok {
		dst = append(dst, failedText)
		return append(dst, bounded(text, MaxSortText-1)...)
	}
	return append(dst, cutUTF8(text, MaxSortText)...)
}

// decodeStrictly decodes v like appendWords. When an encoded word has a charset that
// is not known, or is no text in it, it gives the decoded bytes as they are and false.
func decodeStrictly(v []byte) (text []byte, ok bool) {
	if bytes.Contains(v, []byte("=?")) && !wordsConvert(v) {
		return appendRawWords(nil, v), false
	}
	return appendWords(nil, v), true
}

// wordsConvert tells whether every encoded word of v is text in a charset that is
// known, those of one charset that stand together taken as one.
func wordsConvert(v []byte) bool {
	good := true
	eachWord(v, func(charset, raw []byte) {
		switch {
		case !good || charset == nil:
		case equalFold(charset, "utf-8"), equalFold(charset, "utf8"):
			good = utf8.Valid(raw)
		case equalFold(charset, "us-ascii"):
			good = isASCII(raw)
		case isASCII(raw) && asciiCompatible(charset):
		default:
			text, err := ConvertCharset(string(charset), raw)
			good = err == nil && !bytes.ContainsRune([]byte(text), utf8.RuneError)
		}
	})
	return good
}

// appendRawWords appends v with its encoded words decoded and no charset converted.
func appendRawWords(dst, v []byte) []byte {
	eachWord(v, func(_, b []byte) { dst = append(dst, b...) })
	return dst
}

// appendSortSubject appends SortSubject.
func appendSortSubject(dst, header []byte) []byte {
	v, _ := firstField(header, "Subject")
	at := len(dst)
	dst = append(dst, 0)
	return appendSortText(dst, unfolded(trim(cutUTF8(v, maxSubject))), true, func(decoded []byte) []byte {
		base, reply := splitSubject(decoded)
		if reply {
			dst[at] = 1
		}
		return base
	})
}

// appendSortAddress appends the mailbox of the first address of the fields called
// field, or what RFC 5957, 3 shows of it. Of From one field counts, of others all.
func appendSortAddress(dst, header []byte, field string, display bool) []byte {
	for off := 0; off < len(header); {
		f := nextField(header, off)
		if isBlank(header, off, f.end) {
			break
		}
		off = f.end
		if f.nameEnd-f.start != len(field) || !equalFold(header[f.start:f.nameEnd], field) {
			continue
		}
		a := addressReader{rest: header[f.value:f.end]}
		if !a.next() {
			if field == "From" {
				break
			}
			continue
		}
		mailbox := a.mailbox
		if a.kind == groupStart {
			// ENVELOPE names a group where others have the mailbox, and no host.
			return appendSortText(dst, unfolded(a.name), false, nil)
		}
		if display {
			at := len(dst)
			if dst = appendSortText(dst, unfolded(a.name), true, nil); len(dst) > at {
				return dst
			}
			mailbox = append(append(bytes.Clone(mailbox), '@'), a.host...)
		}
		return appendSortText(dst, unfolded(mailbox), false, nil)
	}
	return dst
}

// digests makes them differ from those of other processes: nobody can send
// identifiers that have the same digest.
var digests = maphash.MakeSeed()

// appendReferences appends SortReferences: those of References or, where there are
// none, the first of In-Reply-To (RFC 5256, 3).
//
// DEVIATES: RFC 5256, 3: of more than MaxReferences references the last ones count.
func appendReferences(dst, header []byte) []byte {
	own := uint64(0)
	var r idReader
	if v, ok := firstField(header, "Message-ID"); ok {
		if id := r.read(v).next(); id != nil {
			own = maphash.Bytes(digests, id)
		}
	}
	dst = binary.LittleEndian.AppendUint64(dst, own)
	v, _ := firstField(header, "References")
	r.read(v)
	var ring [MaxReferences]uint64
	n := 0
	for id := r.next(); id != nil; id = r.next() {
		ring[n%MaxReferences] = maphash.Bytes(digests, id)
		n++
	}
	if n == 0 {
		v, _ = firstField(header, "In-Reply-To")
		if id := r.read(v).next(); id != nil {
			ring[0], n = maphash.Bytes(digests, id), 1
		}
	}
	for i := max(0, n-MaxReferences); i < n; i++ {
		dst = binary.LittleEndian.AppendUint64(dst, ring[i%MaxReferences])
	}
	return dst
}

// maxUnclosed is how many identifiers of a field may not be closed: for each the rest of
// the field is read once more.
const maxUnclosed = 10

// idReader reads the msg-ids of a field.
type idReader struct {
	rest     []byte
	id       []byte // the one that was read last
	unclosed int
}

// read begins with a field's value.
func (r *idReader) read(v []byte) *idReader {
	r.rest, r.unclosed = v, 0
	return r
}

// next gives the next valid msg-id, without brackets, quoting and white space (RFC 5256,
// 3), until it is called again; nil at the end.
//
//	msg-id  = "<" id-left "@" id-right ">"
//	id-left = dot-atom-text / quoted-string
func (r *idReader) next() []byte {
	for v := r.rest; ; {
		open := bytes.IndexByte(v, '<')
		if open < 0 || r.unclosed > maxUnclosed {
			r.rest = nil
			return nil
		}
		v = v[open+1:]
		id, at, quoted := r.id[:0], -1, false
		i := 0
	reading:
		for ; i < len(v); i++ {
			c := v[i]
			switch {
			case c == '\\' && quoted && i+1 < len(v):
				i++
				c = v[i]
			case c == '"':
				quoted = !quoted
				continue
			case quoted:
			case c == '>' || c == '<':
				break reading
			case isSpace(c):
				continue
			case c == '@':
				at = len(id)
			}
			if len(id) <= maxID {
				id = append(id, c)
			}
		}
		r.id = id
		switch {
		case i == len(v):
			// Not closed, or a quotation mark too many: what follows it is looked at anew.
			r.unclosed++
		case v[i] == '>' && at > 0 && at < len(id)-1 && len(id) <= maxID:
			r.rest = v[i+1:]
			return id
		default:
			v = v[i:]
		}
	}
}
