package imap

import "github.com/postern-mail/postern/message"

// comparator is a row of the table of collations (RFC 4790): how SORT and THREAD
// compare, and what SEARCH takes for the same.
type comparator struct {
	name string
	// key appends text, which is UTF-8, so that the order of the bytes is the order of
	// the collation, equal texts are equal bytes, and a part of a text is a part of its
	// bytes.
	key func(dst, text []byte) []byte
}

// comparators lists those that there are, the default first.
var comparators = []*comparator{
	{"i;unicode-casemap", message.Titlecase[[]byte]},                           // RFC 5051
	{"i;ascii-casemap", upperASCII},                                            // RFC 4790, 9.2
	{"i;octet", func(dst, text []byte) []byte { return append(dst, text...) }}, // RFC 4790, 9.3
}

func upperASCII(dst, text []byte) []byte {
	for _, c := range text {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// sortKey appends a sort text (message.SortText) as it is compared: what could not be
// converted stands as it is behind all others (RFC 5255, 4.6).
func (c *comparator) sortKey(dst, text []byte) []byte {
	if !message.SortText(text) {
		return append(dst, text...)
	}
	return c.key(dst, text)
}
