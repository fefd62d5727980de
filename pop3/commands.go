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
}

// commands is the table of all commands.
var commands = [...]command{
	{"CAPA", authorization | transaction, none, (*session).capa},
	{"USER", authorization, some, (*session).userName},
	{"PASS", authorization, maybe, (*session).pass},
	{"AUTH", authorization, maybe, (*session).auth},
	{"STLS", authorization, none, (*session).stls},
	{"UTF8", authorization, none, (*session).utf8Mode},
	{"LANG", authorization | transaction, maybe, (*session).lang},
	{"STAT", transaction, none, (*session).stat},
	{"LIST", transaction, maybe, (*session).list},
	{"UIDL", transaction, maybe, (*session).uidl},
	{"RETR", transaction, some, (*session).retr},
	{"TOP", transaction, some, (*session).top},
	{"DELE", transaction, some, (*session).dele},
	{"RSET", transaction, none, (*session).rset},
	{"NOOP", transaction, none, (*session).noop},
	{"QUIT", authorization | transaction, none, (*session).quit},
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
