package history

import (
	"fmt"
	"math"
	"strings"
)

// Kind is what a client did.
type Kind string

// The kinds of operations that change something.
const (
	Deliver    Kind = "LMTP delivery"
	Append     Kind = "APPEND"
	Replace    Kind = "REPLACE"
	Copy       Kind = "COPY"
	Move       Kind = "MOVE"
	Store      Kind = "STORE"
	FetchBody  Kind = "FETCH BODY[]"
	Expunge    Kind = "EXPUNGE"
	UIDExpunge Kind = "UID EXPUNGE"
	Close      Kind = "CLOSE"
	Create     Kind = "CREATE"
	Delete     Kind = "DELETE"
	Rename     Kind = "RENAME"
	Retr       Kind = "POP3 RETR"
	Quit       Kind = "POP3 QUIT"

	// Of values that each write replaces.
	SetMetadata Kind = "SETMETADATA"
	Annotate    Kind = "STORE ANNOTATION"
	Grant       Kind = "SETACL"

	// Of guests: what they do in the mailbox of its owner, and Arrive, which is the end of a
	// MOVE in the guest's own account.
	Enter  Kind = "SELECT by a guest"
	Peek   Kind = "FETCH by a guest"
	Leave  Kind = "MOVE to another account"
	Arrive Kind = "MOVE from another account"
)

// Outcome is how an operation was answered.
type Outcome int

// The outcomes.
const (
	Unanswered Outcome = iota // it happened or not
	Done
	Refused // it did not happen
)

// forever is the end of an operation that was not answered: it may still happen.
const forever = math.MaxInt64

// place is where a copy of a message is: a UIDVALIDITY, which no two mailboxes of an
// account share, and a UID.
type place struct{ box, uid uint32 }

func (p place) String() string { return fmt.Sprintf("%d/%d", p.box, p.uid) }

// op is one operation of one client on one account. Times are of History's clock, which
// counts what clients send and hear: what ended before another began came before it.
type op struct {
	kind       Kind
	client     string
	start, end int64
	outcome    Outcome

	box  uint32   // the selected mailbox
	uids []uint32 // there: what it was asked for, of COPY and MOVE what COPYUID says
	sure []uint32 // of EXPUNGE and CLOSE: those that the client knew to be \Deleted; of FETCH BODY[]: that become \Seen

	name, newName string   // the mailbox named; RENAME has two
	to            uint32   // where messages came to, 0 when not said
	toUIDs        []uint32 // as belong to uids, or to ids
	ids           []string // of the messages sent

	set, clear flags
	since      map[uint32]uint64 // UNCHANGEDSINCE by UID; nil: without
	told       map[uint32]uint64 // the MODSEQ told after it, by UID

	doomed []string // unique-ids that QUIT removes

	values map[string]string // of SetMetadata, Annotate and Grant: what is written, by entry; "" is none

	bytes, count int64 // what it would bring into the account
	full         bool  // it was refused for the quota

	needs  string // the right that a guest needs for it
	denied bool   // it was refused for want of a right
	twin   *op    // of Arrive: the Leave that brings it
}

func (o *op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", o.client, o.kind)
	if o.box != 0 {
		fmt.Fprintf(&b, " in %d of %v", o.box, o.uids)
	}
	if o.name != "" {
		fmt.Fprintf(&b, " %s", strings.TrimSpace(o.name+" "+o.newName))
	}
	if o.to != 0 {
		fmt.Fprintf(&b, " to %d/%v", o.to, o.toUIDs)
	}
	if len(o.ids) > 0 {
		fmt.Fprintf(&b, " of %v", o.ids)
	}
	if o.set|o.clear != 0 {
		fmt.Fprintf(&b, " +(%v) -(%v)", o.set, o.clear)
	}
	if len(o.doomed) > 0 {
		fmt.Fprintf(&b, " of %v", o.doomed)
	}
	if len(o.values) > 0 {
		fmt.Fprintf(&b, " %q", o.values)
	}
	end := fmt.Sprint(o.end)
	if o.end == forever {
		end = "…"
	}
	fmt.Fprintf(&b, " [%d, %s] %s", o.start, end, [...]string{"not answered", "done", "refused"}[o.outcome])
	return b.String()
}

// flags are those that the clients use, a bit each.
type flags uint8

const (
	seen flags = 1 << iota
	answered
	flagged
	draft
	deleted
	forwarded
	keyword

	allFlags = 1<<7 - 1
)

var flagNames = [...]string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, `$Forwarded`, `History`}

// String gives the names with spaces between.
func (f flags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// flagsOf reads names in any case; others are left out.
func flagsOf(names []string) flags {
	var f flags
	for _, n := range names {
		for i, name := range flagNames {
			if strings.EqualFold(n, name) {
				f |= 1 << i
			}
		}
	}
	return f
}

// Fault is something that no order of the operations explains.
type Fault struct {
	Kind    string // such as "lost", "duplicate", "flags"
	Account string
	Text    string
	History []string // the operations that have to do with it
}

func (f Fault) String() string {
	s := fmt.Sprintf("%s: %s: %s", f.Account, f.Kind, f.Text)
	for _, h := range f.History {
		s += "\n\t" + h
	}
	return s
}
