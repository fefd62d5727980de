package wire

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// Inbox is how the name of INBOX is given, in whatever case it was written
// (RFC 9051, 5.1).
const Inbox = "INBOX"

// Mailbox consumes a mailbox name, an astring, and gives it in UTF-8; INBOX in any
// case is "INBOX". Names are modified UTF-7 (RFC 3501, 5.1.3) until SetUTF8.
// The fault is KindCannot, for NO, with what is an astring but no name: modified
// UTF-7 that is not canonical, 8-bit where it is not UTF-8, the empty name, and the
// characters that RFC 9051, 5.1 excludes.
func (d *Decoder) Mailbox() string {
	b := d.astringBytes()
	if equalFold(b, Inbox) {
		if d.given = Inbox; string(b) != Inbox {
			d.given = string(b)
		}
		return Inbox
	}
	if len(b) == 0 {
		d.noName("The mailbox name is empty.")
		return ""
	}
	d.given = d.name(b)
	return d.given
}

// Given is what Mailbox consumed last as it was written, in UTF-8: "inbox" where
// Mailbox gave "INBOX".
func (d *Decoder) Given() string { return d.given }

// MailboxOrEmpty is Mailbox that takes the empty name too: the reference of LIST,
// or the server's name in GETMETADATA.
func (d *Decoder) MailboxOrEmpty() string {
	b := d.astringBytes()
	if equalFold(b, Inbox) {
		return Inbox
	}
	return d.name(b)
}

// noMatch is a pattern that no mailbox name matches.
const noMatch = "\x00"

// ListMailbox consumes a list-mailbox: a pattern, of at most 1 KiB, with the
// wildcards * and %, in UTF-8. It may be empty. What could not be a part of a name
// is no fault: it becomes a pattern that nothing matches (RFC 5258, 3).
func (d *Decoder) ListMailbox() string {
	b := d.pattern("expected a mailbox pattern")
	if d.err != nil {
		return ""
	}
	name, why := d.decodeName(b)
	if why != "" {
		return noMatch
	}
	return name
}

// EntryMatch consumes an entry-match (RFC 5257, 5), which has the grammar of a
// list-mailbox, and gives it as it stands; at most 1 KiB.
func (d *Decoder) EntryMatch() string { return string(d.pattern("expected the name of an entry")) }

// pattern consumes 1*list-char or a string.
func (d *Decoder) pattern(what string) (b []byte) {
	switch d.Peek() {
	case '"', '{':
		b = d.stringBytes()
	default:
		b = d.run(inPattern, what)
	}
	if len(b) > maxPattern {
		d.limit(mail.KindLimit, "The mailbox pattern is too long.")
		return nil
	}
	return b
}

func (d *Decoder) noName(why string) { d.Fail(mail.Errorf(mail.KindCannot, "%s", why)) }

func (d *Decoder) name(b []byte) string {
	if d.err != nil {
		return ""
	}
	name, why := d.decodeName(b)
	if why != "" {
		d.noName(why)
	}
	return name
}

// decodeName gives a name in UTF-8, or says why it is none.
func (d *Decoder) decodeName(b []byte) (name, why string) {
	s := string(b)
	if d.utf8 || d.wide && !ascii(s) {
		if !utf8.ValidString(s) {
			return "", "The mailbox name is not UTF-8."
		}
	} else {
		decoded, err := DecodeUTF7(s)
		if err != nil {
			return "", "The mailbox name is not canonical modified UTF-7."
		}
		s = decoded
	}
	for _, r := range s {
		if r < 0x20 || 0x7f <= r && r <= 0x9f || r == 0x2028 || r == 0x2029 {
			return "", "The mailbox name has a control character."
		}
	}
	return s, ""
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Flag consumes a flag that a client may set: a system flag other than \Recent,
// whose bit it gives, or a keyword (see mail.ValidKeyword), which it gives as
// written. Other names that begin with \ are reserved and a syntax fault.
func (d *Decoder) Flag() (system mail.Flags, keyword string) {
	if !d.TryByte('\\') {
		b := d.Atom()
		if len(b) > mail.MaxKeywordLen {
			d.limit(mail.KindLimit, "The keyword is too long.")
			return 0, ""
		}
		return 0, string(b)
	}
	b := d.Atom()
	if d.err != nil {
		return 0, ""
	}
	for i := range clientFlags {
		if equalFold(b, clientFlags[i].name) {
			return clientFlags[i].flag, ""
		}
	}
	d.Bad("unknown system flag")
	return 0, ""
}

var clientFlags = [...]struct {
	name string
	flag mail.Flags
}{
	{"Seen", mail.Seen}, {"Deleted", mail.Deleted}, {"Answered", mail.Answered},
	{"Flagged", mail.Flagged}, {"Draft", mail.Draft},
}

// FlagList consumes a flag-list: "(" [flag *(SP flag)] ")". Keywords come as
// written and in order, each once without regard to case; at most
// mail.MaxKeywords.
func (d *Decoder) FlagList() (system mail.Flags, keywords []string) {
	d.List(func() { d.addFlag(&system, &keywords) })
	if d.err != nil {
		return 0, nil
	}
	return system, keywords
}

// Flags consumes the flags of STORE: flag-list / (flag *(SP flag)).
func (d *Decoder) Flags() (system mail.Flags, keywords []string) {
	if d.Peek() == '(' {
		return d.FlagList()
	}
	for {
		d.addFlag(&system, &keywords)
		if d.err != nil {
			return 0, nil
		}
		if !d.TrySP() {
			return system, keywords
		}
	}
}

func (d *Decoder) addFlag(system *mail.Flags, keywords *[]string) {
	f, k := d.Flag()
	*system |= f
	if k == "" || mail.KeywordIndex(*keywords, k) >= 0 {
		return
	}
	if len(*keywords) == mail.MaxKeywords {
		d.limit(mail.KindLimit, "Too many keywords.")
		return
	}
	*keywords = append(*keywords, k)
}

// Use consumes a use-attr of CREATE-SPECIAL-USE or the like: "\" atom. It is given
// as written, with the backslash (RFC 6154, 6).
func (d *Decoder) Use() string {
	d.Byte('\\')
	b := d.Atom()
	if d.err != nil {
		return ""
	}
	return `\` + string(b)
}

// DateTime consumes a date-time, such as "17-Jul-1996 02:44:25 -0700" in quotes;
// its day may be written with a space before one digit, and, as some clients do,
// with one digit alone. The zone is kept.
func (d *Decoder) DateTime() time.Time {
	if d.Peek() != '"' {
		d.Bad("expected a quoted date and time")
		return time.Time{}
	}
	b := d.quoted()
	if len(b) == 25 {
		b = append([]byte{'0'}, b...)
	}
	t, ok := parseDateTime(b)
	if !ok {
		d.Bad("expected a date and time such as \"17-Jul-1996 02:44:25 -0700\"")
		return time.Time{}
	}
	return t
}

// Date consumes a date, such as 1-Feb-1994, with quotes or without, and gives its
// midnight in UTC.
func (d *Decoder) Date() time.Time {
	var b []byte
	if d.Peek() == '"' {
		b = d.quoted()
	} else {
		b = d.Atom()
	}
	if len(b) == 10 { // one digit for the day
		var two [11]byte
		two[0] = '0'
		copy(two[1:], b)
		b = two[:]
	}
	y, m, day, ok := parseDay(b)
	if !ok {
		d.Bad("expected a date such as 1-Feb-1994")
		return time.Time{}
	}
	return time.Date(y, m, day, 0, 0, 0, 0, time.UTC)
}

// months has the names at three times the month's number less three.
const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// parseDay reads dd-Mon-yyyy.
func parseDay(b []byte) (year int, month time.Month, day int, ok bool) {
	if len(b) != 11 || b[2] != '-' || b[6] != '-' {
		return 0, 0, 0, false
	}
	day, ok1 := decimal(b[0:2])
	year, ok2 := decimal(b[7:11])
	for i := 0; i < len(months); i += 3 {
		if equalFold(b[3:6], months[i:i+3]) {
			month = time.Month(i/3 + 1)
		}
	}
	if !ok1 || !ok2 || month == 0 || day == 0 || day > daysIn(year, month) {
		return 0, 0, 0, false
	}
	return year, month, day, true
}

func daysIn(year int, m time.Month) int {
	return time.Date(year, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parseDateTime reads dd-Mon-yyyy hh:mm:ss +zzzz.
func parseDateTime(b []byte) (t time.Time, ok bool) {
	if len(b) != 26 || b[11] != ' ' || b[14] != ':' || b[17] != ':' || b[20] != ' ' {
		return t, false
	}
	if b[0] == ' ' {
		b[0] = '0'
	}
	y, mon, day, ok := parseDay(b[:11])
	hh, ok1 := decimal(b[12:14])
	mm, ok2 := decimal(b[15:17])
	ss, ok3 := decimal(b[18:20])
	zh, ok4 := decimal(b[22:24])
	zm, ok5 := decimal(b[24:26])
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 || !ok5 ||
		hh > 23 || mm > 59 || ss > 60 || zh > 23 || zm > 59 {
		return t, false
	}
	offset := (zh*60 + zm) * 60
	switch b[21] {
	case '+':
	case '-':
		offset = -offset
	default:
		return t, false
	}
	zone := time.UTC
	if offset != 0 {
		zone = time.FixedZone("", offset)
	}
	return time.Date(y, mon, day, hh, mm, ss, 0, zone), true
}

func decimal(b []byte) (int, bool) {
	v := 0
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

// validAtom tells whether s is 1*ATOM-CHAR.
func validAtom(s string) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&inAtom == 0 {
			return false
		}
	}
	return s != ""
}

// plainAString tells whether s may stand as an astring without quotes. NIL may by
// the grammar, but clients take it for none.
func plainAString(s string) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&inAString == 0 {
			return false
		}
	}
	return s != "" && !strings.EqualFold(s, "NIL")
}
