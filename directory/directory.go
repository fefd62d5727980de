// Package directory says who exists and where their mail lives: the contract that
// every directory (our own, LDAP, OpenID Connect, …) fulfils. Its drivers are its
// children and are imported by package role alone. directorytest.Run is the
// definition of a Directory.
package directory

import (
	"context"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Entry is a person or function that has an account.
type Entry struct {
	Name    string   // the sign-in name and primary address, prepared by PrepareName
	Aliases []string // further addresses that reach the account
	// Account is where the mail is; 0 for somebody of an external directory who has
	// none yet: Provide makes it.
	Account mail.AccountID

	// Directory is the name of the external directory that owns the entry, "" for
	// Postern's own; ID is Person.ID there.
	Directory, ID string
	// HomeServer and the quotas are as an external directory says them; nil is not
	// at all, a quota of 0 none.
	HomeServer                string
	QuotaBytes, QuotaMessages *int64
	// Groups are those that an external directory said with the entry, each as
	// directory\group; Groups gives all.
	Groups []string
	// Gone says that the external directory does not know the person any more: the
	// mail is still here, and nobody gets in.
	Gone bool

	DisplayName string
	Enabled     bool // false: no sign-in and no delivery
	PopEnabled  bool
	ImapEnabled bool

	// ResetPassword: the password opens nothing but the page where its owner changes it.
	// It stays whatever password is set, until Change takes it away.
	ResetPassword bool

	Created time.Time
	// LegacyMechanisms are those of sasl.Legacy that are switched on for the entry.
	LegacyMechanisms []string
	// ReadablePassword says that the directory keeps the password so that the server can
	// read it, because one of LegacyMechanisms needs that.
	ReadablePassword bool

	// DisabledCapabilities are those of settings.Capabilities, of either service, that
	// are switched off for the entry.
	DisabledCapabilities []string

	// ImapReferralURL is where IMAP clients are sent once they have signed in, because the
	// mailbox is on that server now (see settings.ReferralURL); "" when it is here.
	ImapReferralURL string

	// PasswordChanged is zero when there is no password. Every password that is set
	// has its own time, so that what was proved of an older one can be told. An
	// external directory that cannot promise that gives zero.
	PasswordChanged time.Time
}

// Hash names the hash function of a SCRAM family: "SHA-1", "SHA-256" or "SHA-512".
type Hash string

// ScramKeys are the stored secrets of RFC 5802, 3 for one hash: neither allows to
// sign in elsewhere, and the password cannot be read from them.
type ScramKeys struct {
	Hash       Hash
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Directory answers who exists. Methods are called from many goroutines, obey
// their context, and return *mail.Error: KindNotFound, KindAuthenticationFailed,
// KindUnavailable ("cannot say now": never taken for a wrong password).
type Directory interface {
	// Lookup finds the entry that a sign-in name or an address means; aliases
	// count. name was prepared by PrepareName.
	Lookup(ctx context.Context, name string) (*Entry, error)

	// CheckPassword tells whether password is name's; both were prepared, by
	// PrepareName and PreparePassword. It takes as long for an unknown name, or one
	// without a password, as for a wrong password, and all give
	// KindAuthenticationFailed. An empty password never matches. Whether the entry
	// is enabled is not asked here.
	CheckPassword(ctx context.Context, name, password string) (*Entry, error)

	// ScramKeys gives the keys of name for hash. For an unknown name, or one
	// without keys, it gives keys that no password matches, with the salt and
	// iterations always the same for that name, and no error and a nil entry, so
	// that the whole exchange is played before it fails. The slices are shared and
	// are not to be changed. KindBadArgument for an unknown hash.
	ScramKeys(ctx context.Context, name string, hash Hash) (*Entry, ScramKeys, error)
}

// Named is a Directory that knows whose an account is.
type Named interface {
	// NameOf gives the sign-in name that whoever has the account has now, "" when nobody
	// has it. It asks nobody outside. KindUnavailable.
	NameOf(ctx context.Context, account mail.AccountID) (string, error)
}

// Writable is a Directory whose entries Postern manages. What a method wrote is
// durable, and seen by every call that begins after it returned. A name given to
// Change, SetPassword and Remove may be an alias; KindNotFound when it is unknown.
type Writable interface {
	Directory

	// List gives all entries, ascending by Name.
	List(ctx context.Context) ([]Entry, error)

	// Create adds an entry; password may be "" for none, and need not be prepared.
	// PasswordChanged is the directory's; a zero Created is now. KindAlreadyExists
	// when its name or an alias is anybody's name or alias, KindBadArgument when
	// one of them is not prepared or is there twice, when the password is not
	// acceptable or Account is zero.
	Create(ctx context.Context, e Entry, password string) error

	// Change reads the entry, lets change alter it and writes it; Name, Account,
	// Created, PasswordChanged and ReadablePassword stay whatever change does to
	// them. It runs change again when somebody else was faster. An error of change
	// is returned and nothing is written. change must not write to the directory
	// itself. A readable password is forgotten when no LegacyMechanisms needs it any
	// more; KindCannot when one would and the directory can keep none.
	Change(ctx context.Context, name string, change func(*Entry) error) error

	// SetPassword replaces the password, or removes it when it is "". It need not
	// be prepared. KindBadArgument when it is not acceptable. It is kept readable,
	// too, when LegacyMechanisms need it, and only then.
	SetPassword(ctx context.Context, name, password string) error

	// Remove deletes the entry; the mail stays until the store removes it. Its
	// name and aliases are free then.
	Remove(ctx context.Context, name string) error
}

// Readable is a Directory that keeps some passwords so that the server can read them,
// for mechanisms that need it (CRAM-MD5, APOP).
type Readable interface {
	Directory

	// CheckAnswer tells whether right says yes to name's readable password, in its
	// prepared form. right is asked once; of a name that is unknown or has none it is
	// asked about one that nobody knows, and whatever it says is
	// KindAuthenticationFailed. It neither keeps nor changes its argument.
	CheckAnswer(ctx context.Context, name string, right func(password []byte) bool) (*Entry, error)

	// HasReadable tells whether any password could be readable.
	HasReadable() bool
}
