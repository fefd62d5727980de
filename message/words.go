package message

import "bytes"

// encodedWord is =?charset?encoding?text?= (RFC 2047, 2).
type encodedWord struct {
	charset, text []byte
	encoding      byte // 'b' or 'q'
}

// maxCharset bounds the name of a charset.
const maxCharset = 64

// readWord reads the encoded word that s begins with; n is its length. When there
// is none, n is how many bytes are certain to begin none, at least 1.
func readWord(s []byte) (w encodedWord, n int, ok bool) {
	i := 2
	for i < len(s) && i < maxCharset+2 && s[i] > ' ' && s[i] != '?' && s[i] < 0x7f {
		i++
	}
	if i == 2 || i+3 > len(s) || s[i] != '?' || s[i+2] != '?' {
		return w, 1, false
	}
	w.charset = s[2:i]
	if star := bytes.IndexByte(w.charset, '*'); star >= 0 {
		w.charset = w.charset[:star] // RFC 2231, 5: a language follows
	}
	w.encoding = lower[s[i+1]]
	start := i + 3
	end := bytes.IndexByte(s[start:], '?')
	if end < 0 {
		return w, len(s), false
	}
	end += start
	if end+1 >= len(s) || s[end+1] != '=' || w.encoding != 'b' && w.encoding != 'q' {
		return w, max(end-1, 1), false
	}
	w.text = s[start:end]
	return w, end + 2, true
}

// appendWords appends s, which is unfolded, in UTF-8 with encoded words decoded.
func appendWords(dst, s []byte) []byte {
	if !bytes.Contains(s, []byte("=?")) {
		if dst == nil {
			return toUTF8(nil, s)
		}
		return append(dst, toUTF8(nil, s)...)
	}
	eachWord(s, func(charset, b []byte) { dst = append(dst, toUTF8(charset, b)...) })
	return dst
}

// eachWord gives do the pieces of s, which is unfolded: what is no encoded word as it
// stands, with charset nil, and of encoded words the decoded bytes. White space
// between encoded words does not count (RFC 2047, 6.2). Neighbours of one charset
// are given together, since some senders split characters. b is valid until do
// returns.
func eachWord(s []byte, do func(charset, b []byte)) {
	plain := 0 // start of the text that was not yet given
	var raw []byte
	var charset []byte
	flush := func() {
		if charset != nil {
			do(charset, raw)
			raw, charset = raw[:0], nil
		}
	}
	for i := 0; ; {
		j := bytes.Index(s[i:], []byte("=?"))
		if j < 0 {
			break
		}
		i += j
		w, n, ok := readWord(s[i:])
		if !ok {
			i += n
			continue
		}
		between := s[plain:i]
		if charset == nil || len(trim(between)) > 0 {
			flush()
			do(nil, between)
		} else if !equalFold(charset, w.charset) {
			flush()
		}
		charset = w.charset
		if w.encoding == 'b' {
			raw = new(base64State).append(raw, w.text, true)
		} else {
			raw = appendQ(raw, w.text)
		}
		i += n
		plain = i
	}
	flush()
	do(nil, s[plain:])
}

// appendQ decodes the Q encoding (RFC 2047, 4.2).
func appendQ(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			dst = append(dst, ' ')
		case c == '=' && i+2 < len(s) && unhex[s[i+1]] >= 0 && unhex[s[i+2]] >= 0:
			dst = append(dst, byte(unhex[s[i+1]]<<4|unhex[s[i+2]]))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
