package mail

import (
	"errors"
	"fmt"
)

// Kind says what sort of thing went wrong; the table in this file says what each
// protocol answers.
type Kind int

// The kinds. The comment says when a kind is right; Answers says the rest.
const (
	// KindServerBug is a fault of ours; also what an error without a kind is.
	KindServerBug Kind = iota
	// KindBadArgument: the request is well-formed but its value is not acceptable.
	KindBadArgument
	// KindNotFound: the named thing does not exist, or the asker may not know it.
	KindNotFound
	// KindAlreadyExists: a thing of that name exists.
	KindAlreadyExists
	// KindNoPermission: known, and not allowed for this identity.
	KindNoPermission
	// KindAuthenticationFailed: name, password or proof are wrong; says no more.
	KindAuthenticationFailed
	// KindPrivacyRequired: the login policy forbids this without TLS.
	KindPrivacyRequired
	// KindDisabled: the account or its access over this protocol is switched off.
	KindDisabled
	// KindInUse: a lock is held, or a limit on concurrent use is reached.
	KindInUse
	// KindOverQuota: the account would exceed its quota.
	KindOverQuota
	// KindTooBig: a message or argument is larger than is accepted at all.
	KindTooBig
	// KindLimit: some other bound is reached.
	KindLimit
	// KindUnavailable: a part (disk, directory, engine) does not work now; again later.
	KindUnavailable
	// KindConflict: what the change was computed from has changed meanwhile.
	KindConflict
	// KindCannot: the operation is not possible in general (rename onto itself, …).
	KindCannot
	// KindHasChildren: the mailbox has inferiors and cannot be deleted so.
	KindHasChildren
	// KindUnknownCharset: a search or conversion names an unknown charset.
	KindUnknownCharset
	// KindUnknownCTE: BINARY was asked of a part whose encoding is unknown (RFC 3516, 4.3).
	KindUnknownCTE
	// KindCorrupt: stored data did not pass its checksum.
	KindCorrupt
	// KindExpunged: the message is gone and the session was not yet told.
	KindExpunged
	// KindAuthorizationFailed: the proof was right, but this identity may not act
	// as the one it asked for (RFC 5530, 3).
	KindAuthorizationFailed
	// KindExpired: the proof was right, and is accepted no more until the password is
	// another one.
	KindExpired
	// KindNoSpace: the server's disk is full; again when there is room.
	KindNoSpace
)

// Answer is what each protocol says to a kind of error. An empty code means none.
type Answer struct {
	Kind Kind
	Name string // the identifier in logs and the management API
	IMAP string // response code (RFC 5530 and the extensions'), without brackets
	POP3 string // response code (RFC 2449, RFC 3206), without brackets
	LMTP int    // reply code (RFC 5321, 4.2)
	ESC  string // enhanced status code (RFC 3463)
	HTTP int    // status of the management API
	Text string // what is said when the error has no text of its own
}

// Answers is the table, indexed by Kind.
var Answers = [...]Answer{
	{KindServerBug, "ServerBug", "SERVERBUG", "SYS/TEMP", 451, "4.3.0", 500, "Internal error; the administrator will find it in the log."},
	{KindBadArgument, "BadArgument", "CLIENTBUG", "", 501, "5.5.4", 400, "That value is not acceptable."},
	{KindNotFound, "NotFound", "NONEXISTENT", "", 550, "5.1.1", 404, "There is no such thing."},
	{KindAlreadyExists, "AlreadyExists", "ALREADYEXISTS", "", 550, "5.1.0", 409, "It exists already."},
	{KindNoPermission, "NoPermission", "NOPERM", "SYS/PERM", 550, "5.7.1", 403, "You are not allowed to do that."},
	{KindAuthenticationFailed, "AuthenticationFailed", "AUTHENTICATIONFAILED", "AUTH", 535, "5.7.8", 401, "Authentication failed."},
	{KindPrivacyRequired, "PrivacyRequired", "PRIVACYREQUIRED", "AUTH", 538, "5.7.11", 403, "This server requires TLS for that."},
	{KindDisabled, "Disabled", "AUTHORIZATIONFAILED", "SYS/PERM", 550, "5.2.1", 403, "Access is switched off for this account."},
	{KindInUse, "InUse", "INUSE", "IN-USE", 450, "4.2.0", 409, "It is in use."},
	{KindOverQuota, "OverQuota", "OVERQUOTA", "SYS/PERM", 452, "4.2.2", 507, "The mailbox is full."},
	{KindTooBig, "TooBig", "TOOBIG", "SYS/PERM", 552, "5.3.4", 413, "That is too big."},
	{KindLimit, "Limit", "LIMIT", "SYS/TEMP", 452, "4.5.3", 429, "A limit is reached."},
	{KindUnavailable, "Unavailable", "UNAVAILABLE", "SYS/TEMP", 451, "4.3.0", 503, "Not available at the moment; try again later."},
	{KindConflict, "Conflict", "INUSE", "SYS/TEMP", 451, "4.3.0", 409, "Somebody else changed it at the same time; try again."},
	{KindCannot, "Cannot", "CANNOT", "", 550, "5.3.0", 422, "That is not possible."},
	{KindHasChildren, "HasChildren", "HASCHILDREN", "", 550, "5.3.0", 409, "The mailbox has mailboxes below it."},
	{KindUnknownCharset, "UnknownCharset", "BADCHARSET", "", 501, "5.5.4", 400, "That charset is not known."},
	{KindUnknownCTE, "UnknownCTE", "UNKNOWN-CTE", "", 501, "5.6.1", 400, "The part's content transfer encoding is not known."},
	{KindCorrupt, "Corrupt", "CORRUPTION", "SYS/TEMP", 451, "4.3.0", 500, "Stored data is damaged."},
	{KindExpunged, "Expunged", "EXPUNGEISSUED", "", 550, "5.3.0", 410, "Some of the messages no longer exist."},
	{KindAuthorizationFailed, "AuthorizationFailed", "AUTHORIZATIONFAILED", "AUTH", 535, "5.7.8", 403, "You may not act as another user."},
	{KindExpired, "Expired", "EXPIRED", "AUTH", 535, "5.7.8", 403, "This password must be changed before it is accepted again."},
	{KindNoSpace, "NoSpace", "UNAVAILABLE", "SYS/TEMP", 452, "4.3.1", 507, "The server's disk is full; try again later."},
}

// String gives the kind's name.
func (k Kind) String() string {
	if k >= 0 && int(k) < len(Answers) {
		return Answers[k].Name
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Answer gives the kind's row.
func (k Kind) Answer() Answer {
	if k >= 0 && int(k) < len(Answers) {
		return Answers[k]
	}
	return Answers[KindServerBug]
}

// Error is Postern's one error type. Text is for the client: plain English,
// without secrets and without line breaks. Cause is for the log.
type Error struct {
	Kind  Kind
	Text  string
	Cause error

	// Format and Args are what Errorf made Text of, so that a face can say it in
	// another language; "" for a text that was made otherwise.
	Format string
	Args   []any
}

// Errorf makes an error whose text the client may read.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...), Format: format, Args: args}
}

// Wrap makes an error with a cause for the log and the kind's own text for the
// client. A cause that is an *Error already keeps its kind and text.
func Wrap(kind Kind, cause error) error {
	if cause == nil {
		return nil
	}
	var e *Error
	if errors.As(cause, &e) {
		return cause
	}
	return &Error{Kind: kind, Cause: cause}
}

// Error gives text and cause, for logs.
func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = e.Kind.Answer().Text
	}
	if e.Cause != nil {
		return e.Kind.String() + ": " + text + ": " + e.Cause.Error()
	}
	return e.Kind.String() + ": " + text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, &Error{Kind: k}) compare kinds.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Text == "" && t.Cause == nil
}

// KindOf gives the kind of err, KindServerBug when it has none. err is not nil.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindServerBug
}

// TextOf gives what a client may read of err.
func TextOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return KindOf(err).Answer().Text
}
