package imap

import (
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

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

// maxComparators bounds the arguments of COMPARATOR, and maxCollation the bytes of
// one (RFC 4790, 3.2).
const (
	maxComparators = 50
	maxCollation   = 255
)

// collationOrder is a comparator with a direction (RFC 4790, 3.3).
type collationOrder struct {
	*comparator
	descending bool
}

// matches tells whether the comparator is one of those that a pattern means, in which
// "*" stands for any characters.
//
//	collation-wild = ("*" / (ALPHA ["*"])) *(collation-char ["*"])
func (c *comparator) matches(pattern string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(c.name, first)
	if !wild || !ok {
		return ok && name == ""
	}
	for {
		var part string
		if part, rest, wild = strings.Cut(rest, "*"); !wild {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
}

// comparatorCommand is COMPARATOR (RFC 5255, 4.7). The first argument that means a
// comparator that there is decides; without one it says which is active.
//
//	comparator-cmd   = "COMPARATOR" *(SP comp-order-quoted)
//	collation-order  = [ "+" / "-" ] collation-wild
//	comparator-data  = "COMPARATOR" SP comp-sel-quoted [SP "(" comp-id-quoted *(SP comp-id-quoted) ")"]
func (s *session) comparatorCommand(*request) error {
	d := s.dec
	var wanted []string
	for d.TrySP() {
		w := strings.ToLower(d.AString())
		if len(wanted) == maxComparators || len(w) > maxCollation {
			d.Fail(mail.Errorf(mail.KindLimit, "At most %d collations can be asked for at once, each of at most %d characters.", maxComparators, maxCollation))
			break
		}
		if w == "" {
			d.Bad("expected a collation")
		}
		wanted = append(wanted, w)
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	var active collationOrder
	matched := map[*comparator]bool{}
	for _, w := range wanted {
		var found collationOrder
		if w == "default" {
			w = comparators[0].name
		}
		if w[0] == '+' || w[0] == '-' {
			found.descending = w[0] == '-'
			w = w[1:]
		}
		for _, c := range comparators {
			if !c.matches(w) {
				continue
			}
			matched[c] = true
			if found.comparator == nil {
				found.comparator = c
			}
		}
		if active.comparator == nil {
			active = found
		}
	}
	switch {
	case len(wanted) == 0:
	case active.comparator == nil:
		return withCode("BADCOMPARATOR", mail.Errorf(mail.KindCannot, "None of these collations is known here."))
	default:
		s.collation = active
	}
	e := s.enc
	e.Untagged().Const("COMPARATOR ")
	name := s.collation.name
	if s.collation.descending {
		name = "-" + name
	}
	e.AString(name)
	if len(matched) > 1 {
		e.Const(" (")
		first := true
		for _, c := range comparators {
			if matched[c] {
				if !first {
					e.SP()
				}
				first = false
				e.AString(c.name)
			}
		}
		e.Close()
	}
	e.CRLF()
	return nil
}
