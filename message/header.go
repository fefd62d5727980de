package message

import (
	"bytes"
	"iter"
)

// field is one header field inside a block: its name is block[start:nameEnd],
// empty when the line is not a field at all; its value block[value:end], with
// the line breaks of folding and the last one still in it.
type field struct{ start, nameEnd, value, end int }

// nextField reads the field, or the line that is none, that starts at off < len(b).
// A line that begins with white space belongs to what stands before it (RFC 5322, 2.2.3).
func nextField(b []byte, off int) field {
	end := lineEnd(b, off)
	f := splitField(b, off, end)
	for end < len(b) && (b[end] == ' ' || b[end] == '\t') {
		end = lineEnd(b, end)
	}
	f.end = end
	return f
}

// lineEnd gives the offset after the line that starts at off.
func lineEnd(b []byte, off int) int {
	if i := bytes.IndexByte(b[off:], '\n'); i >= 0 {
		return off + i + 1
	}
	return len(b)
}

// splitField finds name and value in the line b[off:end]. White space before the
// colon is allowed (RFC 5322, 4.5).
func splitField(b []byte, off, end int) field {
	i := off
	for i < end && b[i] > ' ' && b[i] < 0x7f && b[i] != ':' {
		i++
	}
	f := field{start: off, nameEnd: i, end: end}
	for i < end && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	if i == end || b[i] != ':' || f.nameEnd == off {
		f.nameEnd, f.value = off, off
		return f
	}
	f.value = i + 1
	return f
}

// isBlank tells whether the line b[off:end] is empty.
func isBlank(b []byte, off, end int) bool {
	return b[off] == '\n' || end-off == 2 && b[off] == '\r' && b[off+1] == '\n'
}

// trim cuts white space and line breaks from both ends of a value.
func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// appendUnfolded appends v without the line breaks of folding (RFC 5322, 2.2.3).
func appendUnfolded(dst, v []byte) []byte {
	for len(v) > 0 {
		i := bytes.IndexByte(v, '\n')
		if i < 0 {
			return append(dst, v...)
		}
		line := v[:i]
		if i > 0 && line[i-1] == '\r' {
			line = line[:i-1]
		}
		dst = append(dst, line...)
		v = v[i+1:]
	}
	return dst
}

// unfolded is v itself when it is on one line.
func unfolded(v []byte) []byte {
	if bytes.IndexByte(v, '\n') < 0 {
		return v
	}
	return appendUnfolded(make([]byte, 0, len(v)), v)
}

// AppendFields appends to dst the fields of a header block whose names are among
// names (HEADER.FIELDS), or with not those whose names are not among them
// (HEADER.FIELDS.NOT), as they stand, in their order, and the empty line at the
// end (RFC 3501, 6.4.5). Lines that are no fields at all count as fields of
// another name. The block may end in its own empty line or not.
func AppendFields(dst, header []byte, names []string, not bool) []byte {
	matches := matcher(names)
	for off := 0; off < len(header); {
		f := nextField(header, off)
		if isBlank(header, off, f.end) {
			break
		}
		if name := header[f.start:f.nameEnd]; (len(name) > 0 && matches(name)) != not {
			dst = append(dst, header[f.start:f.end]...)
			if header[f.end-1] != '\n' {
				dst = append(dst, "\r\n"...)
			}
		}
		off = f.end
	}
	return append(dst, "\r\n"...)
}

// matcher tells whether a field's name is among names. Many of them are not compared
// one by one: a client may name thousands, and a header may have millions of fields.
func matcher(names []string) func(name []byte) bool {
	if len(names) <= 16 {
		return func(name []byte) bool {
			for _, n := range names {
				if equalFold(name, n) {
					return true
				}
			}
			return false
		}
	}
	set := make(map[string]bool, len(names))
	longest := 0
	for _, n := range names {
		set[string(appendLower(nil, []byte(n)))] = true
		longest = max(longest, len(n))
	}
	scratch := make([]byte, 0, longest)
	return func(name []byte) bool {
		if len(name) > longest {
			return false
		}
		scratch = appendLower(scratch[:0], name)
		return set[string(scratch)]
	}
}

// DecodedField yields the values of the fields called name, in any case, of a
// header block: unfolded, trimmed and with encoded words decoded (RFC 2047), in
// UTF-8.
func DecodedField(header []byte, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for off := 0; off < len(header); {
			f := nextField(header, off)
			if isBlank(header, off, f.end) {
				return
			}
			if f.nameEnd > f.start && equalFold(header[f.start:f.nameEnd], name) {
				if !yield(string(decodedValue(header[f.value:f.end]))) {
					return
				}
			}
			off = f.end
		}
	}
}

// decodedValue gives a field's value unfolded, trimmed and decoded.
func decodedValue(v []byte) []byte { return appendWords(nil, unfolded(trim(v))) }
