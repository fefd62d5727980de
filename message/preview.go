package message

import (
	"unicode"
	"unicode/utf8"
)

// previewBytes bounds what is decoded of a part to find a preview. HTML parts
// begin with styles.
const previewBytes = 64 << 10

// appendPreview appends the beginning of the first text/plain part that has text,
// else of the first text/html part, on one line. Attachments do not count, nor do
// messages inside the message unless there is nothing else (RFC 8970, 3.2).
func (m *Message) appendPreview(dst []byte) []byte {
	start := len(dst)
	for _, inner := range [...]bool{false, true} {
		for _, subtype := range [...]string{"plain", "html"} {
			tried := 0
			for i := 0; i < len(m.parts) && tried < 8; i++ {
				p := &m.parts[i]
				if p.kind == nested && !inner {
					i = p.next - 1
					continue
				}
				if !p.isText() || !equalFold(p.subtype, subtype) || p.bodyStart == p.bodyEnd {
					continue
				}
				if d, _ := m.disposition(p); equalFold(d, "attachment") {
					continue
				}
				tried++
				// Most often the first bytes do.
				for _, n := range [...]int{2 << 10, previewBytes} {
					if subtype == "plain" || n > 2<<10 {
						text, _ := m.partText(p, n, nil)
						dst = appendLine(dst, text, PreviewChars)
					}
					if len(dst) > start {
						return dst
					}
				}
			}
		}
	}
	return dst
}

// appendLine appends at most n characters of text, with each run of white space
// and control characters as one space.
func appendLine(dst, text []byte, n int) []byte {
	space, begun := false, false
	for len(text) > 0 && n > 0 {
		r, size := rune(text[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text)
		}
		text = text[size:]
		switch {
		case r <= ' ' || r >= utf8.RuneSelf && unicode.IsSpace(r) || r == 0x7f:
			space = true
			continue
		case r >= utf8.RuneSelf && (unicode.Is(unicode.Cf, r) && r != 0x200d || unicode.IsControl(r)):
			continue // invisible: marks, joiners, byte order
		}
		if space && begun {
			dst = append(dst, ' ')
			if n--; n == 0 {
				return dst[:len(dst)-1]
			}
		}
		dst = utf8.AppendRune(dst, r)
		space, begun = false, true
		n--
	}
	return dst
}
