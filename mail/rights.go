package mail

import (
	"slices"
	"strings"
)

// Rights is a set of the rights of RFC 4314, 2.1 on a mailbox.
type Rights uint16

// The rights, in the order in which they are written.
const (
	RightLookup   Rights = 1 << iota // l: LIST shows the mailbox
	RightRead                        // r: SELECT, STATUS
	RightSeen                        // s: \Seen
	RightWrite                       // w: flags other than \Seen and \Deleted
	RightInsert                      // i: APPEND, COPY into it
	RightPost                        // p: send mail to it; IMAP4 itself does not ask for it
	RightCreate                      // k: CREATE below it
	RightDelete                      // x: DELETE, RENAME
	RightTrash                       // t: \Deleted
	RightExpunge                     // e: EXPUNGE
	RightAdmin                       // a: SETACL, GETACL and the like
	RightAnnotate                    // n: shared annotations of messages (RFC 5257, 3.4)

	// AllRights are those that the owner of a mailbox has.
	AllRights Rights = 1<<iota - 1
)

// rightLetters has the letter of each right, by its bit.
const rightLetters = "lrswipkxtean"

// The virtual rights of RFC 4314, 2.1.1, which stand for several: what servers before
// it called create and delete.
const (
	virtualCreate = RightCreate | RightDelete
	virtualDelete = RightTrash | RightExpunge
)

// ParseRights reads letters of rights, c and d among them; each may come more than once.
// KindBadArgument for any other character.
func ParseRights(text string) (Rights, error) {
	var r Rights
	for _, c := range text {
		switch i := strings.IndexRune(rightLetters, c); {
		case i >= 0:
			r |= 1 << i
		case c == 'c':
			r |= virtualCreate
		case c == 'd':
			r |= virtualDelete
		default:
			return 0, Errorf(KindBadArgument, "%q is no right.", c)
		}
	}
	return r, nil
}

// Has tells whether r holds every right of s.
func (r Rights) Has(s Rights) bool { return r&s == s }

// String gives the letters of the rights.
func (r Rights) String() string {
	b := make([]byte, 0, len(rightLetters))
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			b = append(b, rightLetters[i])
		}
	}
	return string(b)
}

// WithVirtual gives the letters of the rights as responses have them: with c and d for
// clients that know nothing newer (RFC 4314, 2.1.1).
func (r Rights) WithVirtual() string {
	s := r.String()
	if r&virtualCreate != 0 {
		s += "c"
	}
	if r&virtualDelete != 0 {
		s += "d"
	}
	return s
}

// Flags gives the flags that the rights permit to change (RFC 4314, 4).
func (r Rights) Flags() Flags {
	var f Flags
	if r.Has(RightSeen) {
		f |= Seen
	}
	if r.Has(RightTrash) {
		f |= Deleted
	}
	if r.Has(RightWrite) {
		f |= ^(Seen | Deleted)
	}
	return f
}

// Grantee is whom a right is given to: an account, a group by its name, or with neither
// anyone.
type Grantee struct {
	Account AccountID
	Group   string
}

// Grant gives rights on a mailbox, or takes them away from what others give.
type Grant struct {
	Grantee
	Negative bool // RFC 4314, 2: "-" before the identifier
	Rights   Rights
}

// Person is who asks: an account, and the groups that it is in.
type Person struct {
	Account AccountID
	Groups  []string
}

// is tells whether g means p.
func (g Grantee) is(p Person) bool {
	switch {
	case g.Account != 0:
		return g.Account == p.Account
	case g.Group != "":
		return slices.Contains(p.Groups, g.Group)
	}
	return true
}

// RightsOf gives the rights that grants give to somebody who is not the owner: all that
// one of them gives, without those that a negative one takes away.
func RightsOf(grants []Grant, p Person) Rights {
	var given, taken Rights
	for _, g := range grants {
		switch {
		case !g.is(p):
		case g.Negative:
			taken |= g.Rights
		default:
			given |= g.Rights
		}
	}
	return given &^ taken
}
