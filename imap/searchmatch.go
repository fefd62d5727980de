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

// candidate is a message that is compared with the keys. It is looked at up to five
// times: with its index entry alone, with its annotations, filter, summary, text.
type candidate struct {
	seq uint32
	m   *store.Message

	memo   []verdict // of the keys that were answered; nil before any could be
	scores []uint8   // of the keys that were looked for fuzzily; nil without any

	notes store.Annotations // while they are at hand
	noted bool              // they are, or were

	filter  message.Filter  // nil when it is not at hand
	bare    bool            // it has none
	summary message.Summary // nil when it is not at hand
	gone    bool            // expunged meanwhile

	text []byte // folded; nil when it is not at hand
	read bool   // text is at hand, even if it is nil

	exact   []byte // text as the comparator sees it; nil when it is not at hand
	exactly bool   // exact is at hand
}

// searcher compares messages with keys.
type searcher struct {
	mailbox *store.Mailbox
	turn    turn
	// by is the comparator, where it is not the default one: the filters and texts are
	// folded for that, so what is not in them is nowhere, and what is must be looked
	// for once more.
	by      *comparator
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
	case opAnnotation:
		return s.matchNote(k, c)
	case opSentBefore, opSentSince, opField:
		return s.matchMemo(k, c)
	case opText, opBody:
		switch {
		case c.memo != nil && c.memo[k.memo] != unknown:
			return c.memo[k.memo]
		case c.filter != nil && !c.filter.MayHaveText(k.needle):
			c.memo[k.memo] = no
			return no
		case c.exactly:
			return verdictOf(k.inText(c.exact, k.exact))
		case !c.read:
			return unknown
		}
		return s.matchText(k, c)
	}
	return verdictOf(s.matchIndex(k, c))
}

// matchText compares with a key that only the text answers.
func (s *searcher) matchText(k *searchKey, c *candidate) verdict {
	if k.fuzzy == nil {
		return s.folded(k.inText(c.text, k.text))
	}
	// What stands in the header says more of a message than what is in the body.
	score := k.fuzzy.Score(message.SearchBody(c.text)) * 4 / 5
	if k.op == opText {
		score = max(score, k.fuzzy.Score(message.SearchHeader(c.text)))
	}
	c.scores[k.memo] = uint8(score)
	if c.memo != nil {
		c.memo[k.memo] = verdictOf(score > 0) // the text is not at hand again
	}
	return verdictOf(score > 0)
}

// score gives how well c matches k, which it does, from 1 to 100 (RFC 6203, 4): of
// several keys the mean, of OR the best; 0 when nothing in k is fuzzy.
func (c *candidate) score(k *searchKey) int {
	sum, n, best := 0, 0, 0
	switch k.op {
	case opAnd, opOr:
		for _, sub := range k.keys {
			if x := c.score(sub); x > 0 {
				sum, n, best = sum+x, n+1, max(best, x)
			}
		}
		if k.op == opOr || n == 0 {
			return best
		}
		return sum / n
	case opField, opText, opBody:
		if k.fuzzy != nil {
			return int(c.scores[k.memo])
		}
	}
	return 0
}

// inText tells whether a search text has text where opText or opBody looks for it.
func (k *searchKey) inText(searchText, text []byte) bool {
	return bytes.Contains(message.SearchBody(searchText), text) ||
		k.op == opText && bytes.Contains(message.SearchHeader(searchText), text)
}

// folded is what is known when the folded text matches or not.
func (s *searcher) folded(match bool) verdict {
	if match && s.by != nil {
		return unknown
	}
	return verdictOf(match)
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
		v = s.matchSummary(k, c)
		c.memo[k.memo] = v
	case c.exactly && k.op == opField:
		v = no
		fieldInText(message.SearchHeader(c.exact), k.name, func(value []byte) bool {
			v = verdictOf(k.has(c, value, k.exact))
			return v == no
		})
	case c.read && k.op == opField:
		v = no
		fieldInText(message.SearchHeader(c.text), k.name, func(value []byte) bool {
			if k.has(c, value, k.text) {
				v = yes
			}
			return v == no || k.fuzzy != nil
		})
		switch {
		case k.fuzzy == nil:
			v = s.folded(v == yes)
		case c.memo != nil:
			c.memo[k.memo] = v // the text is not at hand again
		}
	case c.read:
		v = no // a message whose summary cannot be read
	}
	return v
}

// has tells whether a field's value has what k looks for, both folded the same way,
// and notes how well.
func (k *searchKey) has(c *candidate, value, text []byte) bool {
	if k.fuzzy == nil {
		return bytes.Contains(value, text)
	}
	score := uint8(k.fuzzy.Score(value))
	c.scores[k.memo] = max(c.scores[k.memo], score)
	return score > 0
}

func (s *searcher) matchSummary(k *searchKey, c *candidate) verdict {
	sum := c.summary
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
	v, text, exactly := no, k.text, s.by != nil && k.fuzzy == nil
	if exactly {
		text = k.exact
	}
	for value := range message.DecodedField(header, k.name) {
		if exactly {
			s.scratch = s.by.key(s.scratch[:0], []byte(value))
		} else {
			s.scratch = message.Fold(s.scratch[:0], value)
		}
		if k.has(c, s.scratch, text) {
			if v = yes; k.fuzzy == nil {
				break
			}
		}
	}
	return v
}

// denied tells whether a filter says that no field called name contains text.
func (k *searchKey) denied(f message.Filter) bool {
	if message.FilterHasField(k.name) {
		return !f.MayHaveField(k.needle)
	}
	return !f.MayHaveText(k.needle)
}

// fieldInText calls do for the values of the fields called name in the header part of
// a search text, until it returns false.
func fieldInText(header []byte, name string, do func(value []byte) bool) {
	for len(header) > 0 {
		line := header
		if i := bytes.IndexByte(header, '\n'); i >= 0 {
			line, header = header[:i], header[i+1:]
		} else {
			header = nil
		}
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if !do(bytes.TrimPrefix(line[len(name)+1:], []byte(" "))) {
				return
			}
		}
	}
}
