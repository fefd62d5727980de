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
}

// commands is the table of all commands.
var commands = [...]command{
	{"CAPA", authorization | transaction, none, (*session).capa, false},
	{"USER", authorization, some, (*session).userName, true},
	{"PASS", authorization, maybe, (*session).pass, true},
	{"AUTH", authorization, maybe, (*session).auth, true},
	{"STLS", authorization, none, (*session).stls, false},
	{"UTF8", authorization, none, (*session).utf8Mode, false},
	{"LANG", authorization | transaction, maybe, (*session).lang, false},
	{"STAT", transaction, none, (*session).stat, false},
	{"LIST", transaction, maybe, (*session).list, false},
	{"UIDL", transaction, maybe, (*session).uidl, false},
	{"RETR", transaction, some, (*session).retr, false},
	{"TOP", transaction, some, (*session).top, false},
	{"DELE", transaction, some, (*session).dele, false},
	{"RSET", transaction, none, (*session).rset, false},
	{"NOOP", transaction, none, (*session).noop, false},
	{"QUIT", authorization | transaction, none, (*session).quit, false},
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
