package imap

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

const (
	// maxSearchDepth bounds how deep search keys may nest, by parentheses, NOT and OR.
	maxSearchDepth = 50
	// maxSearchKeys bounds the keys of one SEARCH.
	maxSearchKeys = 500
)

// searchOp is what a search key looks at.
type searchOp uint8

const (
	opAnd searchOp = iota // keys: all of them; none is ALL
	opOr                  // keys: one of them
	opNot                 // keys: not the only one

	// Answered from the index.
	opSeqs       // seqs has the sequence number
	opFlags      // has all of flags
	opKeyword    // has the keyword text
	opRecent     // is \Recent
	opBefore     // INTERNALDATE is before day
	opSince      // INTERNALDATE is day or after it
	opSaveBefore // SAVEDATE is before day
	opSaveSince  // SAVEDATE is day or after it
	opLarger     // has more bytes than number
	opSmaller    // has fewer bytes than number
	opModSeq     // MODSEQ is number or above
	opEmail      // EMAILID is number
	opThread     // THREADID is number
	opOlder      // INTERNALDATE is number seconds ago or longer
	opYounger    // INTERNALDATE is number seconds ago or less

	opAnnotation // an annotation of note contains text; see annotate.go

	// Answered from the summary.
	opSentBefore // the Date field's day is before day
	opSentSince  // the Date field's day is day or after it
	opField      // a header field called name contains text

	// Answered from the search text.
	opText // header or body contains text
	opBody // body contains text
)

// cost is what a search key must read of a message.
type cost uint8

const (
	costIndex cost = iota
	costSummary
	costText
)

// searchKey is a search-key (RFC 3501, 6.4.4), made ready to be compared.
type searchKey struct {
	op     searchOp
	cost   cost
	memo   int // of what costs more than the index: place in candidate.memo
	keys   []*searchKey
	set    wire.SeqSet // of opSeqs, as written
	uids   bool        // set is of UIDs
	seqs   mail.NumSet // of opSeqs, resolved
	flags  mail.Flags  // of opFlags
	number uint64
	owner  mail.AccountID // of opEmail and opThread: whose id it is, 0 for the client's own
	target int64          // of opOlder, opYounger: now less number, in Unix seconds
	day    int64          // days since 1970-01-01
	name   string         // of opField
	text   []byte         // folded; of opKeyword, the name
	plain  []byte         // of which text is the folded form
	exact  []byte         // plain as the comparator sees it, where that is not the default one
	needle message.Needle // of text, where filters can deny it
	fuzzy  *message.Fuzzy // of text, in FUZZY; nil: text itself is looked for
	note   *noteKey       // of opAnnotation
}

// searchWords is the table of search keys by name, those apart that have keys in them: the functions
// read what follows the name (RFC 3501, 6.4.4; RFC 7162, 3.1.5; RFC 8474, 6;
// RFC 8514, 4.3; RFC 5032, 3; RFC 9738, 3.2).
var searchWords = map[string]func(p *searchReader) *searchKey{
	"ALL":        constantKey(searchKey{op: opAnd}),
	"ANSWERED":   flagKey(mail.Answered),
	"DELETED":    flagKey(mail.Deleted),
	"DRAFT":      flagKey(mail.Draft),
	"FLAGGED":    flagKey(mail.Flagged),
	"SEEN":       flagKey(mail.Seen),
	"UNANSWERED": negated(flagKey(mail.Answered)),
	"UNDELETED":  negated(flagKey(mail.Deleted)),
	"UNDRAFT":    negated(flagKey(mail.Draft)),
	"UNFLAGGED":  negated(flagKey(mail.Flagged)),
	"UNSEEN":     negated(flagKey(mail.Seen)),
	"KEYWORD":    keywordKey,
	"UNKEYWORD":  negated(keywordKey),
	"RECENT":     constantKey(searchKey{op: opRecent}),
	"OLD":        negated(constantKey(searchKey{op: opRecent})),
	"NEW": func(p *searchReader) *searchKey {
		return &searchKey{op: opAnd, keys: []*searchKey{
			{op: opRecent},
			{op: opNot, keys: []*searchKey{{op: opFlags, flags: mail.Seen}}},
		}}
	},
	"BEFORE":            dateKey(opBefore),
	"SINCE":             dateKey(opSince),
	"ON":                dayKey(opSince, opBefore),
	"SENTBEFORE":        dateKey(opSentBefore),
	"SENTSINCE":         dateKey(opSentSince),
	"SENTON":            dayKey(opSentSince, opSentBefore),
	"SAVEDBEFORE":       dateKey(opSaveBefore),
	"SAVEDSINCE":        dateKey(opSaveSince),
	"SAVEDON":           dayKey(opSaveSince, opSaveBefore),
	"SAVEDATESUPPORTED": constantKey(searchKey{op: opAnd}),
	"OLDER":             intervalKey(opOlder),
	"YOUNGER":           intervalKey(opYounger),
	"LARGER":            numberKey(opLarger),
	"SMALLER":           numberKey(opSmaller),
	"BCC":               fieldKey("Bcc"),
	"CC":                fieldKey("Cc"),
	"FROM":              fieldKey("From"),
	"SUBJECT":           fieldKey("Subject"),
	"TO":                fieldKey("To"),
	"HEADER": func(p *searchReader) *searchKey {
		p.d.SP()
		return fieldKey(p.d.AString())(p)
	},
	"TEXT": textKey(opText),
	"BODY": textKey(opBody),
	"UID": func(p *searchReader) *searchKey {
		p.d.SP()
		return &searchKey{op: opSeqs, set: p.d.SequenceSet(), uids: true}
	},
	"UIDAFTER":   afterKey,
	"UIDBEFORE":  beforeKey,
	"MODSEQ":     modSeqKey,
	"EMAILID":    objectKey(opEmail, mail.EmailID(0).String()[:1]),
	"THREADID":   objectKey(opThread, mail.ThreadID(0).String()[:1]),
	"ANNOTATION": annotationKey,
}

func constantKey(k searchKey) func(*searchReader) *searchKey {
	return func(*searchReader) *searchKey { c := k; return &c }
}

func flagKey(f mail.Flags) func(*searchReader) *searchKey {
	return constantKey(searchKey{op: opFlags, flags: f})
}

func negated(read func(*searchReader) *searchKey) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		return &searchKey{op: opNot, keys: []*searchKey{read(p)}}
	}
}

func keywordKey(p *searchReader) *searchKey {
	p.d.SP()
	return &searchKey{op: opKeyword, text: bytes.Clone(p.d.Atom())}
}

func dateKey(op searchOp) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		return &searchKey{op: op, day: days(p.d.Date().Unix())}
	}
}

// dayKey is a key for one day.
func dayKey(since, before searchOp) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		day := days(p.d.Date().Unix())
		return &searchKey{op: opAnd, keys: []*searchKey{{op: since, day: day}, {op: before, day: day + 1}}}
	}
}

// days gives the days since 1970-01-01 that Unix seconds fall on.
func days(unix int64) int64 {
	const day = 24 * 60 * 60
	if unix < 0 {
		return (unix+1)/day - 1
	}
	return unix / day
}

func numberKey(op searchOp) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		return &searchKey{op: op, number: uint64(p.d.Number64())}
	}
}

// intervalKey reads seconds.
func intervalKey(op searchOp) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		return &searchKey{op: op, number: uint64(p.d.NZNumber())}
	}
}

func fieldKey(name string) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		plain := p.text()
		return &searchKey{op: opField, name: name, plain: plain, text: message.Fold([]byte{}, plain)}
	}
}

func textKey(op searchOp) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		plain := p.text()
		return &searchKey{op: op, plain: plain, text: message.Fold([]byte{}, plain)}
	}
}

// modSeqKey reads what follows MODSEQ. There is one MODSEQ for a whole message, so
// the entry is passed over (RFC 7162, 3.1.5).
//
//	search-modsequence = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer
func modSeqKey(p *searchReader) *searchKey {
	d := p.d
	d.SP()
	if d.Peek() == '"' {
		if name := d.String(); !strings.HasPrefix(name, "/flags/") {
			d.Bad("unknown entry of MODSEQ")
		}
		d.SP()
		switch string(d.Word()) {
		case "PRIV", "SHARED", "ALL":
		default:
			d.Bad("unknown entry type of MODSEQ")
		}
		d.SP()
	}
	p.modSeq = true
	return &searchKey{op: opModSeq, number: uint64(d.ModSeq())}
}

// maxObjectID is how many characters an objectid has at most.
const maxObjectID = 255

func notInObjectID(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-')
}

// objectKey reads an objectid. One that is not of this server is no fault: it is no
// message's (RFC 8474, 6).
//
//	objectid = 1*255(ALPHA / DIGIT / "_" / "-")
func objectKey(op searchOp, letter string) func(*searchReader) *searchKey {
	return func(p *searchReader) *searchKey {
		p.d.SP()
		id := string(p.d.Atom())
		if len(id) > maxObjectID || strings.ContainsFunc(id, notInObjectID) {
			p.d.Bad("expected an object id")
		}
		digits, ours := strings.CutPrefix(id, letter)
		digits, of, foreign := strings.Cut(digits, "-")
		var owner uint64
		if foreign {
			var err error
			if owner, err = strconv.ParseUint(of, 16, 64); err != nil || mail.AccountID(owner).String() != of {
				return &searchKey{op: opOr}
			}
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		if !ours || err != nil || digits[0] == '0' || digits[0] == '+' {
			return &searchKey{op: opOr}
		}
		return &searchKey{op: op, number: n, owner: mail.AccountID(owner)}
	}
}

// searchReader reads search keys.
type searchReader struct {
	d       *wire.Decoder
	charset string   // of strings; "" is UTF-8
	unknown error    // the charset is not known
	filters *filters // nil: filters are not looked up
	refused error    // why the search is not made although it is well written

	depth   int
	keys    int
	reading []string     // the filters that are being read, each in the one before
	pending []*searchKey // what is still to come of a filter that was read
	memos   int
	sums    bool // summaries are of use
	filter  bool // filters are
	notes   bool // annotations are among the keys
	fuzzy   bool // FUZZY is among the keys
	modSeq  bool // MODSEQ is among the keys
	seqs    bool // sequence numbers are
}

// text reads a string to look for and gives it in UTF-8.
func (p *searchReader) text() []byte { return p.convert([]byte(p.d.AString())) }

// convert gives a string of the search's charset in UTF-8.
func (p *searchReader) convert(s []byte) []byte {
	if p.charset == "" || p.unknown != nil {
		return s
	}
	utf8, err := message.ConvertCharset(p.charset, s)
	if err != nil {
		p.unknown = err
	}
	return []byte(utf8)
}

// readKeys reads the keys of SEARCH up to the end of the command or of a list, all
// of which must apply.
//
//	search-key *(SP search-key)
func (p *searchReader) readKeys() *searchKey {
	all := &searchKey{op: opAnd}
	for {
		all.keys = append(all.keys, p.key())
		if p.d.Err() != nil || len(p.pending) == 0 && !p.d.TrySP() {
			break
		}
	}
	return all
}

// key reads one search-key.
//
//	search-key = "ALL" / … / sequence-set / "(" search-key *(SP search-key) ")"
func (p *searchReader) key() *searchKey {
	if len(p.pending) > 0 {
		k := p.pending[0]
		p.pending = p.pending[1:]
		return k
	}
	d := p.d
	p.depth++
	defer func() { p.depth-- }()
	if p.keys++; p.depth > maxSearchDepth || p.keys > maxSearchKeys {
		d.Fail(mail.Errorf(mail.KindLimit, "The search has too many keys, or they are nested too deep."))
	}
	if d.Err() != nil {
		return &searchKey{}
	}
	switch c := d.Peek(); {
	case c == '(':
		d.Open()
		k := p.readKeys()
		d.Close()
		return k
	case c >= '0' && c <= '9' || c == '*' || c == '$':
		p.seqs = p.seqs || c != '$'
		return &searchKey{op: opSeqs, set: d.SequenceSet()}
	}
	switch word := string(d.Word()); word {
	case "NOT":
		d.SP()
		return &searchKey{op: opNot, keys: []*searchKey{p.key()}}
	case "OR":
		d.SP()
		a := p.key()
		if len(p.pending) == 0 {
			d.SP()
		}
		return &searchKey{op: opOr, keys: []*searchKey{a, p.key()}}
	case "FILTER":
		return filterKey(p)
	case "FUZZY":
		d.SP()
		p.fuzzy = true
		return fuzzily(p.key())
	default:
		if read := searchWords[word]; read != nil {
			return read(p)
		}
	}
	d.Bad("unknown search key")
	return &searchKey{}
}

// arrange computes what k costs, and puts the cheap ones of its keys first, so that
// they may spare the others.
func (p *searchReader) arrange(k *searchKey) {
	switch k.op {
	case opAnd, opOr, opNot:
		for _, sub := range k.keys {
			p.arrange(sub)
			k.cost = max(k.cost, sub.cost)
		}
		slices.SortStableFunc(k.keys, func(a, b *searchKey) int { return int(a.cost) - int(b.cost) })
	case opAnnotation:
		k.cost, p.notes = costSummary, true
		k.memo = p.memos
		p.memos++
	case opSentBefore, opSentSince, opField, opText, opBody:
		k.cost = costSummary
		if k.op == opText || k.op == opBody || k.op == opField && !message.Kept(k.name) {
			k.cost = costText
		}
		p.sums = p.sums || k.cost == costSummary
		if k.fuzzy == nil {
			k.needle = message.NeedleOf(k.text)
		}
		p.filter = p.filter || len(k.needle) > 0
		k.memo = p.memos
		p.memos++
	}
}

// fuzzily makes the strings in k be looked for fuzzily (RFC 6203, 3). What is fuzzy
// about a word is message.Fuzzy's; dates, sizes, flags and numbers stay exact, as
// RFC 6203, 5 leaves to the server.
func fuzzily(k *searchKey) *searchKey {
	k.walk(func(k *searchKey) {
		switch k.op {
		case opField, opText, opBody:
			k.fuzzy = message.FuzzyOf(k.text)
		}
	})
	return k
}

// walk calls do for k and every key in it.
func (k *searchKey) walk(do func(*searchKey)) {
	do(k)
	for _, sub := range k.keys {
		sub.walk(do)
	}
}
