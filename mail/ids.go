package mail

import (
	"fmt"
	"strconv"
)

// AccountID names an account inside one store. It is never zero, never used
// again, and says nothing about the person: names live in a directory.
type AccountID uint64

// MailboxID names a mailbox inside its account. It survives RENAME, is never
// zero and never used again in the account (RFC 8474, 4).
type MailboxID uint32

// EmailID names a message's immutable content inside its account. A copy in
// another mailbox keeps it (RFC 8474, 5.1).
type EmailID uint64

// ThreadID names the conversation that a message belongs to inside its account
// (RFC 8474, 5.2). Zero means unknown.
type ThreadID uint64

// UID is a message's unique identifier in a mailbox, 1 to 4294967295, strictly
// ascending in order of arrival (RFC 3501, 2.3.1.1). Zero means none.
type UID uint32

// UIDValidity tells one incarnation of a mailbox name from another
// (RFC 3501, 2.3.1.1). It is never zero.
type UIDValidity uint32

// ModSeq is a modification sequence, 1 to 2^63-1 (RFC 7162, 3.1). In Postern one
// counter serves all mailboxes of an account, so changes in different mailboxes
// are ordered too. Zero means none.
type ModSeq uint64

// String gives the form of RFC 8474 objectids: a letter and the number, so that
// ids of different kinds never look alike.
func (id MailboxID) String() string { return "F" + strconv.FormatUint(uint64(id), 10) }

// String gives the objectid of RFC 8474, 5.1.
func (id EmailID) String() string { return "M" + strconv.FormatUint(uint64(id), 10) }

// String gives the objectid of RFC 8474, 5.2.
func (id ThreadID) String() string { return "T" + strconv.FormatUint(uint64(id), 10) }

// String gives 16 hexadecimal digits.
func (id AccountID) String() string { return fmt.Sprintf("%016x", uint64(id)) }
