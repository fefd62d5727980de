package lmtp

import (
	"context"
	"fmt"
	"strings"

	"github.com/postern-mail/postern/listener"
)

// when says what a command needs to have gone before.
type when int

const (
	always  when = iota
	greeted      // LHLO
	inMail       // MAIL
)

// command is a row of the table.
type command struct {
	name  string
	after when
	args  bool
	do    func(x *session, ctx context.Context, args string)
}

// commands is the table of all commands (RFC 5321, 4.1; RFC 2033, 4.1).
var commands = [...]command{
	{"LHLO", always, true, (*session).lhlo},
	{"MAIL", greeted, true, (*session).mail},
	{"RCPT", inMail, true, (*session).rcpt},
	{"DATA", inMail, false, (*session).data},
	{"BDAT", always, true, (*session).bdat}, // its chunk follows even when it is refused
	{"RSET", always, false, (*session).rset},
	{"NOOP", always, true, (*session).noop},
	{"VRFY", always, true, (*session).vrfy},
	{"STARTTLS", greeted, false, (*session).startTLS},
	{"QUIT", always, false, (*session).quit},
}

// find gives the row of a verb in any case, or nil. HELO and EHLO are not there:
// they must fail, so that no SMTP client takes this for SMTP (RFC 2033, 4.1).
func find(verb string) *command {
	for i := range commands {
		if strings.EqualFold(commands[i].name, verb) {
			return &commands[i]
		}
	}
	return nil
}

// lhlo = "LHLO" SP ( Domain / address-literal )
func (x *session) lhlo(_ context.Context, args string) {
	if args == "" || len(args) > 255 || strings.ContainsFunc(args, func(r rune) bool {
		return r < 0x80 && !strings.ContainsRune(".:-_[]", r) && !isAlphanumeric(r)
	}) {
		x.fault(501, "5.5.4", "LHLO needs the client's name")
		return
	}
	x.reset()
	x.client = args
	x.conn.SetClient(args, "")
	extensions := []string{
		x.Hostname, "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING",
		fmt.Sprintf("SIZE %d", x.limit()),
	}
	if x.conn.CanStartTLS() {
		extensions = append(extensions, "STARTTLS")
	}
	for i, e := range extensions {
		mark := '-'
		if i == len(extensions)-1 {
			mark = ' '
		}
		fmt.Fprintf(x.lines, "250%c%s\r\n", mark, e)
	}
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// limit is the largest message that is accepted, in bytes.
func (x *session) limit() int64 { return max(x.Store.MaxMessage()-traceRoom, 1) }

func (x *session) rset(context.Context, string) {
	x.reset()
	x.reply(250, "2.0.0", "OK")
}

func (x *session) noop(context.Context, string) { x.reply(250, "2.0.0", "OK") }

// vrfy tells nothing about who exists (RFC 5321, 7.3).
func (x *session) vrfy(context.Context, string) {
	x.reply(252, "2.5.0", "Send the mail and you will see")
}

// startTLS = "STARTTLS" (RFC 3207): everything said before is forgotten.
func (x *session) startTLS(ctx context.Context, _ string) {
	if !x.conn.CanStartTLS() {
		x.fault(502, "5.5.1", "TLS is not available, or is there already")
		return
	}
	x.reset()
	x.client = ""
	if x.lines.Flush() != nil || x.conn.StartTLS(ctx, "220 2.0.0 Begin TLS\r\n", x.lines.Buffered()) != nil {
		x.over, x.failed, x.detail = true, true, "TLS failed"
		return
	}
	x.replies.count(220)
	x.detail = x.conn.TLSDetail()
	x.conn.SetClient("", "")
	x.lines = listener.NewLines(x.conn)
}

func (x *session) quit(context.Context, string) {
	x.reply(221, "2.0.0", "Goodbye")
	x.over = true
}
