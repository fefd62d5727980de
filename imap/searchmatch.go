package imap

import (
	"bytes"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// verdict is whether a key matches, as far as is known.
type verdict uint8

const (
	unknown verdict = iota // more must be read of the message
	no
	yes
)

func verdictOf(match bool) verdict {
	if match {
		return yes
	}
	return no
}

// candidate is a message that is compared with the keys. It is looked at up to
// four times: with its index entry alone, with its filter, its summary, its text.
type candidate struct {
	seq uint32
	m   *store.Message

	memo []verdict // of the keys that were answered; nil before any could be

	filter  message.Filter  // nil when it is not at hand
	bare    bool            // it has none
	summary message.Summary // nil when it is not at hand
	gone    bool            // expunged meanwhile

	text []byte // folded; nil when it is not at hand
	read bool   // text is at hand, even if it is nil
}

// searcher compares messages with keys.
type searcher struct {
	mailbox *store.Mailbox
	scratch []byte
}

// match compares c with k. A key in it is looked at only where cheaper ones leave it
// open. Where c has its summary or text, what needs no more than that is decided.
func (s *searcher) match(k *searchKey, c *candidate) verdict {
	switch k.op {
	case opAnd:
		v := yes
		for _, sub := range k.keys {
			switch s.match(sub, c) {
			case no:
				return no
			case unknown:
				v = unknown
			}
		}
		return v
	case opOr:
		v := no
		for _, sub := range k.keys {
			switch s.match(sub, c) {
			case yes:
				return yes
			case unknown:
				v = unknown
			}
		}
		return v
	case opNot:
		switch s.match(k.keys[0], c) {
		case yes:
			return no
		case no:
			return yes
		}
		return unknown
	case opSentBefore, opSentSince, opField:
		return s.matchMemo(k, c)
	case opText, opBody:
		switch {
		case c.memo != nil && c.memo[k.memo] != unknown:
			return c.memo[k.memo]
		case c.filter != nil && !c.filter.MayHaveText(k.needle):
			c.memo[k.memo] = no
			return no
		case !c.read:
			return unknown
		}
		return verdictOf(bytes.Contains(message.SearchBody(c.text), k.text) ||
			k.op == opText && bytes.Contains(message.SearchHeader(c.text), k.text))
	}
	return verdictOf(s.matchIndex(k, c))
}

// matchIndex compares with a key that the index answers.
func (s *searcher) matchIndex(k *searchKey, c *candidate) bool {
	m := c.m
	switch k.op {
	case opSeqs:
		return k.seqs.Contains(c.seq)
	case opFlags, opKeyword:
		return k.flags != 0 && m.Flags.Has(k.flags)
	case opRecent:
		return s.mailbox.Recent(m.UID)
	case opBefore:
		return localDay(m) < k.day
	case opSince:
		return localDay(m) >= k.day
	case opSaveBefore:
		return days(m.Saved) < k.day
	case opSaveSince:
		return days(m.Saved) >= k.day
	case opLarger:
		return uint64(m.Size) > k.number
	case opSmaller:
		return uint64(m.Size) < k.number
	case opModSeq:
		return uint64(m.ModSeq) >= k.number
	case opEmail:
		return m.Email == mail.EmailID(k.number) && ownerOf(s.mailbox.Visit()) == k.owner
	case opThread:
		return m.Thread == mail.ThreadID(k.number) && ownerOf(s.mailbox.Visit()) == k.owner
	case opOlder:
		return m.InternalDate <= k.target
	case opYounger:
		return m.InternalDate >= k.target
	}
	return false
}

// localDay is the day of the internal date where it was received: searches
// disregard time and zone (RFC 3501, 6.4.4).
func localDay(m *store.Message) int64 { return days(m.InternalDate + int64(m.Zone)*60) }

// matchMemo compares with a key that the summary answers, mostly: of unusual and of
// very long headers only the text tells.
func (s *searcher) matchMemo(k *searchKey, c *candidate) verdict {
	kept := k.cost == costSummary
	if c.memo != nil && c.memo[k.memo] != unknown {
		return c.memo[k.memo]
	}
	v := unknown
	switch {
	case c.filter != nil && k.op == opField && k.denied(c.filter):
		v = no
		c.memo[k.memo] = v
	case kept && c.summary != nil:
		v = s.matchSummary(k, c.summary)
		c.memo[k.memo] = v
	case c.read && k.op == opField:
		v = verdictOf(fieldInText(message.SearchHeader(c.text), k.name, k.text))
	case c.read:
		v = no // a message whose summary cannot be read
	}
	return v
}

func (s *searcher) matchSummary(k *searchKey, sum message.Summary) verdict {
	if k.op != opField {
		// A message without a Date field was sent on no day.
		t, ok := sum.Sent()
		if !ok {
			return no
		}
		_, zone := t.Zone()
		day := days(t.Unix() + int64(zone))
		return verdictOf(k.op == opSentBefore && day < k.day || k.op == opSentSince && day >= k.day)
	}
	header, ok := sum.KeptHeader()
	if !ok {
		return unknown
	}
	for value := range message.DecodedField(header, k.name) {
		s.scratch = message.Fold(s.scratch[:0], value)
		if bytes.Contains(s.scratch, k.text) {
			return yes
		}
	}
	return no
}

// denied tells whether a filter says that no field called name contains text.
func (k *searchKey) denied(f message.Filter) bool {
	if message.FilterHasField(k.name) {
		return !f.MayHaveField(k.needle)
	}
	return !f.MayHaveText(k.needle)
}

// fieldInText tells whether the header part of a search text has a field called
// name that contains text.
func fieldInText(header []byte, name string, text []byte) bool {
	for len(header) > 0 {
		line := header
		if i := bytes.IndexByte(header, '\n'); i >= 0 {
			line, header = header[:i], header[i+1:]
		} else {
			header = nil
		}
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if value := line[len(name)+1:]; bytes.Contains(bytes.TrimPrefix(value, []byte(" ")), text) {
				return true
			}
		}
	}
	return false
}
