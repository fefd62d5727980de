package imap

import (
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
)

// state is a set of the states of RFC 3501, 3.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected

	loggedIn = authenticated | selected
	anyState = notAuthenticated | loggedIn
)

// command is a row of the table: adding a command is one row and one file.
type command struct {
	name   string
	states state // in which it is allowed
	uid    bool  // there is a UID form too
	// holds: it uses message sequence numbers, so no EXPUNGE may be sent before its
	// tagged answer (RFC 3501, 7.4.1). Never for the UID form.
	holds bool
	login bool // it is a way to log in
	// changes: it always changes the account, so a session that may only read is
	// refused before its arguments are read. What changes a mailbox that may be open
	// for reading alone asks writable.
	changes bool
	// quiet: its arguments are not logged as they stand; it says itself what is.
	quiet bool
	// run reads all arguments, checks the decoder's Err, and only then acts. It
	// writes untagged responses; the session writes the tagged one.
	run func(s *session, r *request) error

	uidName string // "UID FETCH"
}

// request is the command under way.
type request struct {
	tag  string
	name string // of the table
	uid  bool   // the UID form

	// Set by the command.
	code  string // response code of the tagged OK, without brackets
	text  string // text of the tagged OK; "" is "<name> completed."
	holds bool   // no EXPUNGE may be sent before the tagged answer, whatever the row says
	// bare: no updates are sent before the tagged answer; it went out already, or
	// the mailbox is another one now.
	bare bool
	done bool // the tagged answer was written
	// limited is the lowest UID that was processed when the limit left messages out,
	// 0 when it did not; see messagelimit.go.
	limited mail.UID

	// Set by the session.
	row   *command // nil when there is no such command, or it cannot be used
	began time.Time
	told  time.Time // when the client was last told of progress
	known bool      // the client had logged in before it

	// For the protocol log.
	outcome protolog.Outcome
	logged  string // instead of the arguments
}

// table lists the commands.
var table = []command{
	{name: "CAPABILITY", states: anyState, run: (*session).capability},
	{name: "NOOP", states: anyState, run: (*session).noop},
	{name: "LOGOUT", states: anyState, run: (*session).logout},
	{name: "ID", states: anyState, quiet: true, run: (*session).id},

	{name: "LANGUAGE", states: anyState, run: (*session).languageCommand},
	{name: "STARTTLS", states: notAuthenticated, run: (*session).startTLS},
	{name: "AUTHENTICATE", states: notAuthenticated, login: true, quiet: true, run: (*session).authenticate},
	{name: "LOGIN", states: notAuthenticated, login: true, quiet: true, run: (*session).login},

	{name: "COMPRESS", states: loggedIn, run: (*session).compress},
	{name: "UNAUTHENTICATE", states: loggedIn, run: (*session).unauthenticate},
	{name: "ENABLE", states: loggedIn, run: (*session).enable},
	{name: "SELECT", states: loggedIn, run: (*session).selectMailbox},
	{name: "EXAMINE", states: loggedIn, run: (*session).examine},
	{name: "CREATE", states: loggedIn, changes: true, run: (*session).create},
	{name: "DELETE", states: loggedIn, changes: true, run: (*session).deleteMailbox},
	{name: "RENAME", states: loggedIn, changes: true, run: (*session).rename},
	{name: "SUBSCRIBE", states: loggedIn, changes: true, run: (*session).subscribe},
	{name: "UNSUBSCRIBE", states: loggedIn, changes: true, run: (*session).unsubscribe},
	{name: "LIST", states: loggedIn, run: (*session).list},
	{name: "LSUB", states: loggedIn, run: (*session).lsub},
	{name: "NAMESPACE", states: loggedIn, run: (*session).namespace},
	{name: "GETJMAPACCESS", states: loggedIn, run: (*session).jmapAccess},
	{name: "STATUS", states: loggedIn, run: (*session).status},
	{name: "SETACL", states: loggedIn, changes: true, run: (*session).setACL},
	{name: "DELETEACL", states: loggedIn, changes: true, run: (*session).deleteACL},
	{name: "GETACL", states: loggedIn, run: (*session).getACL},
	{name: "LISTRIGHTS", states: loggedIn, run: (*session).listRights},
	{name: "MYRIGHTS", states: loggedIn, run: (*session).myRights},
	{name: "GETQUOTA", states: loggedIn, run: (*session).getQuota},
	{name: "GETQUOTAROOT", states: loggedIn, run: (*session).getQuotaRoot},
	{name: "SETQUOTA", states: loggedIn, run: (*session).setQuota},
	{name: "GETMETADATA", states: loggedIn, run: (*session).getMetadata},
	{name: "SETMETADATA", states: loggedIn, changes: true, run: (*session).setMetadata},
	{name: "NOTIFY", states: loggedIn, run: (*session).notifyCommand},
	{name: "APPEND", states: loggedIn, changes: true, run: (*session).append},
	{name: "RESETKEY", states: loggedIn, changes: true, run: (*session).resetKey},
	{name: "GENURLAUTH", states: loggedIn, changes: true, run: (*session).genURLAuth},
	{name: "URLFETCH", states: loggedIn, quiet: true, run: (*session).urlFetch},
	{name: "ESEARCH", states: loggedIn, run: (*session).multiSearch},
	{name: "IDLE", states: loggedIn, run: (*session).idle},

	{name: "CONVERSIONS", states: loggedIn, run: (*session).conversions},
	{name: "RLIST", states: loggedIn, run: (*session).rlist},
	{name: "RLSUB", states: loggedIn, run: (*session).rlsub},

	{name: "COMPARATOR", states: loggedIn, run: (*session).comparatorCommand},

	{name: "CHECK", states: selected, run: (*session).noop},
	{name: "FETCH", states: selected, uid: true, holds: true, run: (*session).fetch},
	{name: "CONVERT", states: selected, uid: true, holds: true, run: (*session).convert},
	{name: "SEARCH", states: selected, uid: true, holds: true, run: (*session).search},
	{name: "CANCELUPDATE", states: selected, run: (*session).cancelUpdate},
	{name: "SORT", states: selected, uid: true, holds: true, run: (*session).sort},
	{name: "THREAD", states: selected, uid: true, holds: true, run: (*session).thread},
	{name: "UIDBATCHES", states: selected, run: (*session).uidBatches},
	{name: "STORE", states: selected, uid: true, holds: true, changes: true, run: (*session).storeFlags},
	{name: "COPY", states: selected, uid: true, changes: true, run: (*session).copy},
	{name: "MOVE", states: selected, uid: true, changes: true, run: (*session).move},
	{name: "REPLACE", states: selected, uid: true, changes: true, run: (*session).replace},
	{name: "EXPUNGE", states: selected, uid: true, changes: true, run: (*session).expunge},
	{name: "CLOSE", states: selected, run: (*session).close},
	{name: "UNSELECT", states: selected, run: (*session).unselect},
}

// commands finds a row by its name in upper case.
var commands = func() map[string]*command {
	m := make(map[string]*command, len(table))
	for i := range table {
		table[i].uidName = "UID " + table[i].name
		m[table[i].name] = &table[i]
	}
	return m
}()
