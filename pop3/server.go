package pop3

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/language"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Bounds of a session that are not settings.
const (
	// maxSASLLine bounds a line of a SASL exchange and an AUTH command, in bytes.
	maxSASLLine = 12 << 10
	// maxFaults ends a session that does not speak the protocol, maxLogins one
	// that guesses.
	maxFaults = 20
	maxLogins = 10
	// maxResponse bounds the first line of a response, in bytes (RFC 2449, 4).
	maxResponse = 510
)

// ALPN is POP3's protocol name in TLS (RFC 7301).
const ALPN = "pop3"

// Server has the parts that a session works with. Serve is for a
// listener.Service with this ALPN.
type Server struct {
	Store *store.Store
	Auth  *auth.Authenticator
	// Settings gives the service's current values.
	Settings func() *settings.Values

	logins logins
}

// Refuse is the listener.Service.Refuse of POP3.
func Refuse(err error) string { return string(negative(err)) }

// state of a session (RFC 1939, 3).
type state int

const (
	authorization state = 1 << iota
	transaction
)

// session is one connection. Only its own goroutine touches it.
type session struct {
	*Server
	conn  *listener.Conn
	lines *listener.Lines
	state state
	over  bool

	heard    bool // a first line came, of this TLS session when there is one
	waited   bool // for the next command, before the session was parked
	failed   bool // the command under way was answered with -ERR
	faults   int
	failures int // logins that failed; a new TLS session does not make them undone

	// Of the command under way, for the protocol log.
	faulty bool   // it was not understood
	code   string // the response code
	detail string
	logged string // instead of the arguments

	user string // from USER; "" before
	// timestamp is the one that the greeting had, until APOP answers it.
	timestamp string
	utf8      bool           // RFC 6856, 2.1
	words     language.Words // of the language that LANG chose; nil is English
	// masked are the capabilities that are switched off for this client, nil for none.
	masked map[string]bool
	drop   *maildrop
}

// Serve speaks POP3 on c until the session is over.
func (s *Server) Serve(ctx context.Context, c *listener.Conn) {
	ctx = store.By(ctx, c.Actor)
	x := &session{Server: s, conn: c, lines: listener.NewLines(c), state: authorization}
	x.mask(nil)
	c.SetState("Authorization", "")
	c.Parks()
	x.greet()
	x.converse(ctx)
}

// converse reads and answers until the session is over or parked.
func (x *session) converse(ctx context.Context) {
	parked := false
	defer func() {
		if !parked {
			x.closeDrop(ctx)
		}
	}()
	for !x.over {
		before, _ := x.traffic()
		line, err := x.read()
		switch {
		case errors.Is(err, listener.ErrPark):
			parked, x.waited = true, true
			x.conn.Park(func() { x.converse(ctx) })
			return
		case errors.Is(err, listener.ErrLineTooLong):
			x.beginLog(before)
			x.fault("The command is too long")
			x.endLog(nil, "", false)
		case errors.Is(err, listener.ErrTimeout):
			return // without a response (RFC 1939, 3)
		case err != nil:
			var known *mail.Error
			if errors.As(err, &known) {
				x.fail(err)
				x.lines.Flush()
			}
			return
		default:
			x.beginLog(before)
			x.command(ctx, line)
		}
	}
	x.lines.Flush()
}

// read reads a command line. AUTH may be longer than other commands, because of
// its initial response (RFC 5034, 4).
func (x *session) read() (string, error) {
	if !x.waited {
		x.lines.Next()
	}
	x.waited = false
	bound := settings.MaxCommandSize.Of(x.Settings())
	if x.state == authorization {
		bound = max(bound, maxSASLLine)
	}
	bytes, err := x.lines.Line(bound)
	if err != nil {
		return "", err
	}
	line := string(bytes)
	keyword, _, _ := strings.Cut(line, " ")
	// The setting as it is now, not as it was when the wait began.
	if len(line) > settings.MaxCommandSize.Of(x.Settings()) && !strings.EqualFold(keyword, "AUTH") {
		return "", listener.ErrLineTooLong
	}
	return line, nil
}

// command does one command line.
//
//	command = keyword *(SP argument)      ; RFC 1939, 3
func (x *session) command(ctx context.Context, line string) {
	if !x.heard && listener.HTTPRequest(line) {
		x.over = true // without a word
		return
	}
	x.heard = true
	began := time.Now()
	keyword, args, has := strings.Cut(line, " ")
	c := find(keyword)
	name := ""
	if c != nil {
		name = c.name
		x.conn.Doing(&c.name)
	}
	x.failed = false
	known := x.state == transaction
	switch {
	case strings.ContainsFunc(line, control):
		x.fault("The command has control characters")
	case c == nil, x.masked[c.name]:
		x.fault("The command is not known")
	case c.states&x.state == 0 && x.state == authorization:
		x.fault("Log in first")
	case c.states&x.state == 0:
		x.fault("You are logged in already")
	case has && c.args == none && strings.TrimSpace(args) != "":
		x.fault("The command takes no arguments")
	case c.args == some && args == "":
		x.fault("The command needs an argument")
	case c.changes && x.drop.readOnly:
		x.fail(mail.Errorf(mail.KindNoPermission, "This password is for reading only"))
	default:
		c.do(x, ctx, args)
	}
	x.conn.Doing(nil)
	x.endLog(c, args, known)
	x.conn.Command(name, began, !x.failed)
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// greet sends the greeting (RFC 1939, 4), with a timestamp when APOP would be accepted (7);
// a banner never looks as if it had one. A proxy that is trusted sees from it that it may say
// for whom it speaks, as Dovecot's looks for it.
func (x *session) greet() {
	line, banner := "+OK ", settings.Banner.Of(x.Settings())
	if x.conn.MayForward() {
		line += "[XCLIENT] "
	}
	if x.timestamp = x.Auth.Timestamp(x.who()); x.timestamp != "" {
		banner = banner[:min(len(banner), maxResponse-len(line)-1-len(x.timestamp))] + " " + x.timestamp
	}
	x.respond(appendText([]byte(line), banner, false))
}

// who is the connection as auth sees it, with the LoginType of this moment.
func (x *session) who() auth.Conn {
	c := auth.Over(x.conn, x.Settings())
	c.Timestamp = x.timestamp
	return c
}
