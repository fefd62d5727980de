package pop3

import (
	"context"
	"strings"
)

// arguments says what stands behind a keyword.
type arguments int

const (
	none arguments = iota
	some
	maybe
)

// command is a row of the table.
type command struct {
	name   string
	states state
	args   arguments
	do     func(x *session, ctx context.Context, args string)
	// quiet: its arguments are not logged as they stand; it says itself what is.
	quiet bool
	// changes: it leads to a change of the maildrop, so a session that may only read is
	// refused.
	changes bool
}

// commands is the table of all commands.
var commands = [...]command{
	{"CAPA", authorization | transaction, none, (*session).capa, false, false},
	{"USER", authorization, some, (*session).userName, true, false},
	{"PASS", authorization, maybe, (*session).pass, true, false},
	{"APOP", authorization, some, (*session).apop, true, false},
	{"AUTH", authorization, maybe, (*session).auth, true, false},
	{"STLS", authorization, none, (*session).stls, false, false},
	{"UTF8", authorization, none, (*session).utf8Mode, false, false},
	{"XCLIENT", authorization, some, (*session).xclient, true, false},
	{"LANG", authorization | transaction, maybe, (*session).lang, false, false},
	{"STAT", transaction, none, (*session).stat, false, false},
	{"LIST", transaction, maybe, (*session).list, false, false},
	{"UIDL", transaction, maybe, (*session).uidl, false, false},
	{"RETR", transaction, some, (*session).retr, false, false},
	{"TOP", transaction, some, (*session).top, false, false},
	{"DELE", transaction, some, (*session).dele, false, true},
	{"RSET", transaction, none, (*session).rset, false, false},
	{"NOOP", transaction, none, (*session).noop, false, false},
	{"QUIT", authorization | transaction, none, (*session).quit, false, false},
}

// find gives the row of a keyword in any case, or nil.
func find(keyword string) *command {
	for i := range commands {
		if strings.EqualFold(commands[i].name, keyword) {
			return &commands[i]
		}
	}
	return nil
}
