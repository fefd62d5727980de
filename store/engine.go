package store

import (
	"context"
	"io"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Engine keeps records and bodies durably and knows nothing of mail's rules: the
// Store above it decides names, UIDs, MODSEQs, flags and quota and hands over
// finished changes. The cut is made so that an engine may be a file on this host
// or a database across a network that several servers share:
//
//   - a change of one account is one Batch, one round trip, all or nothing;
//   - a Batch says from which head it was computed (Batch.Expect), so a change
//     that another server made first is answered with KindConflict and the Store
//     computes again: no lock is held across a network;
//   - reads come in bulk (a whole mailbox index, many summaries), never one
//     record at a time;
//   - what other servers changed arrives as Announcements.
//
// Methods are called from many goroutines. The Store never has two Commits of
// one account under way at once in one process. Errors are *mail.Error:
// KindNotFound (the account or mailbox does not exist), KindConflict,
// KindUnavailable (again later; also for an ended context and a closed engine),
// KindNoSpace, KindCorrupt. storetest.Run is the definition of an Engine.
type Engine interface {
	// Account reads an account's head with all its mailboxes and subscriptions.
	// KindNotFound when there is none.
	Account(ctx context.Context, id mail.AccountID) (AccountState, error)

	// Accounts lists the ids of all accounts, ascending.
	Accounts(ctx context.Context) ([]mail.AccountID, error)

	// Messages reads the index of a mailbox: every message whose ModSeq is above
	// since (0: all), ascending by UID. The slice belongs to the caller. With KindCorrupt,
	// and a since of 0, it has those that can still be read.
	Messages(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) ([]Message, error)

	// Vanished gives the UIDs that were expunged from a mailbox by changes above
	// since, as far as the engine remembers; complete tells whether it remembers
	// all of them.
	Vanished(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (uids mail.NumSet, complete bool, err error)

	// Summaries reads what was computed at delivery for each of ids and calls
	// each in the order of ids. The bytes are valid until each returns. An email
	// that is gone is given as nil. It stops at the first error of each and
	// returns it.
	Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, summary []byte) error) error

	// Texts reads the search text of each of ids like Summaries; an email without
	// text is given as nil too. each may open the body.
	Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, text []byte) error) error

	// Filters reads the search filter of each of ids like Summaries; an email without
	// a filter is given as nil too.
	Filters(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, filter []byte) error) error

	// PutFilters gives emails that came without a filter one. Those that are gone are
	// passed over. A filter only spares work, so a power cut may take it back, and it
	// changes no MODSEQ.
	PutFilters(ctx context.Context, id mail.AccountID, filters []EmailFilter) error

	// References gives how often each email that is kept is counted, as Delta, ascending by
	// Email: once for each time that it is in a mailbox, or recoverable. It is for checks and
	// reads much.
	References(ctx context.Context, id mail.AccountID) ([]Reference, error)

	// Body opens a message's content for reading. KindExpunged when it is gone,
	// with its account or not.
	// A Body that was opened stays readable until it is closed even when the
	// message is expunged meanwhile.
	Body(ctx context.Context, id mail.AccountID, email mail.EmailID) (Body, error)

	// Threads gives the conversation that each key was stored with, 0 for none.
	Threads(ctx context.Context, id mail.AccountID, keys []ThreadKey) ([]mail.ThreadID, error)

	// Commit applies a batch, all or nothing, its parts in the order of the
	// fields of Batch, DeletedMailboxes last. When it returns without error the
	// change is visible to this engine's reads and ordered after every Commit
	// that returned before; it is durable when wait has returned nil. Waits of
	// concurrent commits share one sync. An error of wait means that durability
	// is unknown: the engine then refuses every later Commit with
	// KindUnavailable (KindNoSpace while a disk is full) until it is opened again. It may do
	// that by itself and announces All then: what was not durable is there or is not. wait
	// may be called more than once.
	// An error of Commit itself, KindConflict apart, may hide that the change was
	// made (an answer that was lost): the next one is then a KindConflict.
	Commit(ctx context.Context, b *Batch) (wait func() error, err error)

	// Records reads the records of a kind whose key begins with prefix, ascending
	// by key.
	Records(ctx context.Context, kind, prefix string) ([]Record, error)

	// PutRecords writes records durably, all or nothing; a nil Value removes.
	// KindConflict when a record's stored Revision is not the one given (0: it
	// does not exist, or was removed). The stored Revision is the given one plus
	// one. KindBadArgument for an empty kind, a NUL in it, or a record that is
	// named twice; KindTooBig for a Value above 1 MiB.
	PutRecords(ctx context.Context, records []Record) error

	// Announcements delivers changes that other servers made on the same store,
	// nil for an engine to which nothing happens but what this process does. A gap (a
	// lost connection, a disk that failed) is announced as Announcement{All: true}.
	Announcements() <-chan Announcement

	// Close ends all work and releases the store. Bodies that are still open
	// must be closed before.
	Close() error
}

// Checkpointer is an Engine that keeps what it has in files, and can tell which of them
// it is at one moment.
type Checkpointer interface {
	// Checkpoint gives the files of a moment between its call and its return: every
	// change whose wait returned nil before is in them, and of those after it some or
	// none, in the order in which they were made. Changes go on meanwhile. KindInUse
	// while there is another; KindUnavailable, KindNoSpace as for Commit.
	Checkpoint(ctx context.Context) (Checkpoint, error)
}

// Checkpoint are the files of an engine at one moment. They stay as they are until Close.
type Checkpoint interface {
	// Store names the store, by what stays when it is moved, or put back from such files.
	Store() string
	// Files lists them, ascending by name.
	Files() []CheckpointFile
	// Open opens one to be read; what is behind CheckpointFile.Size is no part of it, and
	// it may end before.
	Open(name string) (io.ReadSeekCloser, error)
	Close() error
}

// CheckpointFile is a file of a Checkpoint.
type CheckpointFile struct {
	Name string // with "/" between its folders
	Size int64
	// Version is another one in another Checkpoint of the store when the file has another
	// content there; "" when only reading it tells.
	Version string
}

// AccountState is what a server holds in memory of an account that is in use.
type AccountState struct {
	Account       AccountRecord
	Mailboxes     []MailboxRecord // ascending by ID
	Subscriptions []string        // mailbox names, ascending; may name what does not exist
}

// AccountRecord is the head of an account: small, and rewritten by every change.
type AccountRecord struct {
	ID mail.AccountID

	// Changed by every Batch.
	ModSeq mail.ModSeq // of the last change; Batch.Expect compares it

	// Counters; each is the next one to give out.
	NextMailbox     mail.MailboxID
	NextEmail       mail.EmailID
	NextUIDValidity mail.UIDValidity

	// Use and its bounds. 0 in a bound means none.
	Bytes         int64 // sum of Size over all mailboxes' messages
	Messages      int64
	QuotaBytes    int64
	QuotaMessages int64

	// Annotations of messages, whosever they are, and the sum of the bytes of their values.
	Annotations     int64
	AnnotationBytes int64

	// Messages that were expunged and can be brought back (see recoverable.go), which are
	// not among Messages and Bytes. Of the account's own bounds 0 means the store's, -1 none.
	Recoverable      int64
	RecoverableBytes int64
	RecoverableSince int64 // Unix seconds: none went before; 0 when there are none
	Retention        int64 // seconds; -1: nothing is kept
	RecoverableQuota int64 // bytes; -1: no bound

	Shared bool // it belongs to nobody: see Account.SetShared
}

// MailboxRecord is what is kept of a mailbox. Its counters make STATUS and SELECT answerable
// without reading the index.
type MailboxRecord struct {
	ID          mail.MailboxID
	Name        string // UTF-8, NFC, "/" between levels; INBOX in capitals
	UIDValidity mail.UIDValidity
	SpecialUse  string    // RFC 6154 attribute such as `\Sent`, or ""
	Created     time.Time // UTC

	UIDNext       mail.UID
	HighestModSeq mail.ModSeq
	RecentFrom    mail.UID // messages from this UID on were not yet seen by a session (\Recent)
	Keywords      []string // bit mail.KeywordBit+i belongs to Keywords[i]; "" is free

	Messages uint32
	Unseen   uint32 // without \Seen
	Deleted  uint32 // with \Deleted
	Bytes    int64

	// Grants are the rights that others than the owner have (RFC 4314); nil when none do.
	Grants []mail.Grant
}

// Message is one entry of a mailbox's index. It has no pointers, so that an index
// of 100,000 is one block of memory.
type Message struct {
	UID          mail.UID
	Size         uint32 // bytes of the body, at most 4 GiB - 1
	Flags        mail.Flags
	ModSeq       mail.ModSeq
	Email        mail.EmailID
	Thread       mail.ThreadID
	InternalDate int64 // Unix seconds
	Saved        int64 // Unix seconds: when it came into this mailbox (RFC 8514)
	Zone         int16 // InternalDate's offset from UTC in minutes
	Annotated    bool  // it has, or had, annotations (RFC 5257)
	Gone         bool  // only in a session's view: expunged, not yet told. Engines neither keep nor see it set.
}

// Email is a message's immutable content, held once however many mailboxes of the
// account it is in.
type Email struct {
	ID      mail.EmailID
	Body    []byte // as it arrived; not kept by the engine after Commit returns
	Summary []byte // message.Summary
	Text    []byte // message.SearchText; nil: it can be made from Body
	Filter  []byte // message.Filter, or nil
}

// EmailFilter is the search filter of an email that is there already.
type EmailFilter struct {
	Email  mail.EmailID
	Filter []byte // message.Filter
}

// ThreadKey is a digest of a Message-ID by which answers find their conversation.
type ThreadKey [16]byte

// ThreadLink says that messages with this key belong to Thread.
type ThreadLink struct {
	Key    ThreadKey
	Thread mail.ThreadID
}

// Body reads a message's content; one goroutine at a time. Bytes, when not nil, is the
// whole content without copying, valid until Close. Part gives the content from off on,
// as much as is at hand and at least one byte, without copying, valid until the next
// Part or ReadAt; io.EOF at the end.
type Body interface {
	ReadAt(p []byte, off int64) (int, error)
	Part(off int64) ([]byte, error)
	Size() int64
	Bytes() []byte
	Close() error
}

// Batch is one change of one account, all or nothing.
type Batch struct {
	// Create makes the account; KindAlreadyExists when it is there.
	Create bool
	// Expect is the stored Account.ModSeq that the change was computed from;
	// KindConflict when it differs. 0 with Create.
	Expect  mail.ModSeq
	Account AccountRecord // the new head; its ModSeq is above Expect

	Mailboxes []MailboxRecord // written, new or changed
	Messages  []Messages      // written, new or changed
	Expunged  []Expunged      // removed from their mailboxes and remembered as vanished
	Emails    []Email         // new content, with one reference each
	// References changes how many mailbox entries, or recoverable ones, point to an email. One that
	// comes down to 0 is removed. Ascending by Email, no email twice, none that
	// is new in Emails of this Batch unless Delta > 0.
	References []Reference
	Threads    []ThreadLink
	// Rewritten emails are there already and get another Summary, Text and Filter, of
	// which those that are empty stay; Body is not looked at.
	Rewritten []Email

	// DeletedMailboxes go with index and memory of the vanished. References of
	// their messages are in References.
	DeletedMailboxes []mail.MailboxID
	Subscribe        []string
	Unsubscribe      []string

	// Records are written with the change, a nil Value removes. Their kinds are no
	// other's: what is stored is replaced whatever its Revision, which is not looked at
	// and is 1 from then on. No record twice; bounds as for PutRecords, KindServerBug
	// beyond them.
	Records []Record

	// Remove deletes the account with all that it has; nothing else is set then
	// but Account.ID, Expect and Records.
	Remove bool
}

// Messages are entries of one mailbox, ascending by UID.
type Messages struct {
	Mailbox mail.MailboxID
	Entries []Message
}

// Expunged are UIDs that one change took out of one mailbox.
type Expunged struct {
	Mailbox mail.MailboxID
	ModSeq  mail.ModSeq
	UIDs    mail.NumSet // each of them exists
}

// Reference is a change of an email's count of mailbox entries.
type Reference struct {
	Email mail.EmailID
	Delta int
}

// Record is a small named thing that is not mail: a setting, a directory entry,
// an administrator. Key and Value are the owner's; Value is at most 1 MiB.
type Record struct {
	Kind     string // such as "setting", "account", "certificate"
	Key      string
	Value    []byte
	Revision uint64
}

// Announcement says what another server changed.
type Announcement struct {
	All     bool           // something may have been missed: look at everything in use
	Account mail.AccountID // 0 when Kind is set
	Kind    string         // of changed Records
	ModSeq  mail.ModSeq
}
