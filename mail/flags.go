package mail

import "strings"

// Flags is a set of a message's flags as bits. The low bits are the system flags
// of RFC 3501, 2.3.2; bit KeywordBit+i is the i-th keyword of the mailbox that
// the message is in, so the same bits mean other keywords in another mailbox.
type Flags uint64

// The system flags. \Recent is not among them: it belongs to a session, not to a
// message (RFC 3501, 2.3.2).
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

const (
	// KeywordBit is the bit of a mailbox's first keyword.
	KeywordBit = 8
	// MaxKeywords is how many different keywords one mailbox can hold. When all
	// are taken PERMANENTFLAGS no longer shows \* and new ones get a KindLimit.
	MaxKeywords = 64 - KeywordBit
	// MaxKeywordLen bounds one keyword, in bytes.
	MaxKeywordLen = 100
	// SystemFlags has every system flag.
	SystemFlags = Seen | Answered | Flagged | Deleted | Draft
)

// systemNames is in the order in which flags are listed.
var systemNames = []struct {
	flag Flags
	name string
}{
	{Answered, `\Answered`}, {Flagged, `\Flagged`}, {Deleted, `\Deleted`}, {Seen, `\Seen`}, {Draft, `\Draft`},
}

// Keyword gives the flag of a mailbox's i-th keyword, 0 ≤ i < MaxKeywords.
func Keyword(i int) Flags { return 1 << (KeywordBit + i) }

// Has tells whether f holds every flag of g.
func (f Flags) Has(g Flags) bool { return f&g == g }

// AppendNames appends the names of f's flags to dst, system flags first, then
// keywords in the order of the mailbox's table.
func (f Flags) AppendNames(dst []string, keywords []string) []string {
	for _, s := range systemNames {
		if f&s.flag != 0 {
			dst = append(dst, s.name)
		}
	}
	if f>>KeywordBit == 0 {
		return dst
	}
	for i, k := range keywords {
		if f&Keyword(i) != 0 {
			dst = append(dst, k)
		}
	}
	return dst
}

// AppendText appends f as IMAP prints a flag list, without parentheses and
// separated by single spaces, to dst.
func (f Flags) AppendText(dst []byte, keywords []string) []byte {
	n := len(dst)
	for _, s := range systemNames {
		if f&s.flag != 0 {
			if len(dst) > n {
				dst = append(dst, ' ')
			}
			dst = append(dst, s.name...)
		}
	}
	if f>>KeywordBit == 0 {
		return dst
	}
	for i, k := range keywords {
		if f&Keyword(i) != 0 {
			if len(dst) > n {
				dst = append(dst, ' ')
			}
			dst = append(dst, k...)
		}
	}
	return dst
}

// KeywordIndex finds name among keywords without regard to ASCII case
// (RFC 3501, 2.3.2), or gives -1.
func KeywordIndex(keywords []string, name string) int {
	for i, k := range keywords {
		if strings.EqualFold(k, name) {
			return i
		}
	}
	return -1
}

// ValidKeyword tells whether name is a flag-keyword, an atom of printable ASCII
// (RFC 3501, 9), of at most MaxKeywordLen bytes.
func ValidKeyword(name string) bool {
	if name == "" || len(name) > MaxKeywordLen {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}
