package lmtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Bounds of a session.
const (
	// maxLine bounds a command line in bytes (RFC 5321, 4.5.3.1.4, with room for
	// what extensions add).
	maxLine = 4096
	// maxRecipients bounds one transaction; a client sends the rest in another
	// (RFC 5321, 4.5.3.1.10).
	maxRecipients = 1000
	// maxFaults ends a session that does not speak the protocol.
	maxFaults = 20
	// deliveries is how many accounts get one message at a time; what they wait
	// for is a sync that they share.
	deliveries = 16
	// traceRoom is kept for the lines of trace out of the store's MaxMessage.
	traceRoom = 4096
)

// Server has the parts that a session works with. Hand Serve to a
// listener.Service that has NoLogin set.
type Server struct {
	Store     *store.Store
	Directory directory.Directory
	// Hostname is the name in the greeting and in Received.
	Hostname string
	// Observe is told of each message that was, or was not, put into a mailbox, from
	// the session's goroutine; nil is nobody.
	Observe func(Delivery)
	// Now is time.Now when nil.
	Now func() time.Time
}

// Delivery is one message for one mailbox.
type Delivery struct {
	Conn  *listener.Conn
	Bytes int64 // of the message as it is kept; 0 when it never came whole
	Began time.Time
	Took  time.Duration // until it was on disk
	Err   error         // nil: it is in the mailbox
}

// ALPN is what LMTP is called in TLS (RFC 7301), of which no name is registered: a client
// that has come for another protocol is refused.
const ALPN = "lmtp"

// Refuse is the listener.Service.Refuse of LMTP.
func Refuse(err error) string {
	return fmt.Sprintf("421 4.3.2 %s\r\n", clean(mail.TextOf(err)))
}

// session is one connection. Only its own goroutine touches it.
type session struct {
	*Server
	conn   *listener.Conn
	lines  *listener.Lines
	client string // what LHLO said, "" before
	faults int
	count  int // transactions, for the id in Received
	over   bool
	waited bool // for the next command, before the session was parked
	failed bool // the command under way had an answer that it failed

	// Of the command under way, for the protocol log.
	faulty  bool // it was not understood
	replies replies
	detail  string

	// The transaction, from MAIL to its end.
	envelope *envelope
}

// Serve speaks LMTP on c until the session is over.
func (s *Server) Serve(ctx context.Context, c *listener.Conn) {
	x := &session{Server: s, conn: c, lines: listener.NewLines(c)}
	c.Parks()
	x.reply(220, "", s.Hostname+" LMTP service is ready")
	x.converse(ctx)
}

// converse reads and answers until the session is over or parked.
func (x *session) converse(ctx context.Context) {
	parked := false
	defer func() {
		if !parked {
			x.reset()
		}
	}()
	for !x.over {
		if !x.waited {
			x.lines.Next()
		}
		x.waited = false
		before, _ := x.traffic()
		line, err := x.lines.Line(maxLine)
		switch {
		case errors.Is(err, listener.ErrPark):
			parked, x.waited = true, true
			x.conn.Park(func() { x.converse(ctx) })
			return
		case errors.Is(err, listener.ErrLineTooLong):
			x.beginLog(before)
			x.fault(500, "5.5.2", "The line is too long")
			x.endLog(nil, "")
			continue
		case err != nil:
			x.leave(err)
			continue
		}
		if x.client == "" && listener.HTTPRequest(string(line)) {
			return
		}
		x.beginLog(before)
		x.command(ctx, string(line))
	}
	x.lines.Flush()
}

// command does one command line.
func (x *session) command(ctx context.Context, line string) {
	began := time.Now()
	verb, args, _ := strings.Cut(line, " ")
	c := find(verb)
	name := ""
	if c != nil {
		name = c.name
		x.conn.Doing(&c.name)
	}
	x.failed = false
	switch {
	case strings.ContainsFunc(line, control):
		x.fault(501, "5.5.2", "The command has control characters")
	case c == nil:
		x.fault(500, "5.5.1", "The command is not known")
	case c.after == greeted && x.client == "":
		x.fault(503, "5.5.1", "Say LHLO first")
	case c.after == inMail && x.envelope == nil:
		x.fault(503, "5.5.1", "Say MAIL first")
	case !c.args && strings.TrimSpace(args) != "":
		x.fault(501, "5.5.4", verb+" takes no arguments")
	default:
		c.do(x, ctx, strings.TrimSpace(args))
	}
	x.conn.Doing(nil)
	x.endLog(c, args)
	x.conn.Command(name, began, !x.failed)
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// reset ends the transaction.
func (x *session) reset() {
	if x.envelope != nil {
		x.envelope.close()
		x.envelope = nil
	}
}

// leave ends the session because no more can be read; a client that is still there
// hears why.
func (x *session) leave(err error) {
	var known *mail.Error
	if errors.As(err, &known) {
		x.reply(421, "4.3.2", known.Text)
	}
	x.over = true
}

// reply writes one line; esc is an enhanced status code (RFC 2034) or "".
func (x *session) reply(code int, esc, text string) {
	x.failed = x.failed || code >= 400
	x.replies.count(code)
	if esc != "" {
		esc += " "
	}
	fmt.Fprintf(x.lines, "%d %s%s\r\n", code, esc, clean(text))
}

// fault answers what the client did wrong, and ends the session when that is
// often.
func (x *session) fault(code int, esc, text string) {
	x.faulty = true
	x.reply(code, esc, text)
	if x.faults++; x.faults >= maxFaults {
		x.reply(421, "4.7.0", "Too many faults")
		x.over = true
	}
}

// answer replies to a recipient or transaction with what befell it.
func (x *session) answer(who string, err error) {
	a := mail.KindOf(err).Answer()
	x.reply(a.LMTP, a.ESC, who+mail.TextOf(err))
}

// clean keeps what came from outside from making lines of its own, or from being read
// backwards in the log of who hears it.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, text)
}

func (x *session) now() time.Time {
	if x.Now != nil {
		return x.Now()
	}
	return time.Now()
}
