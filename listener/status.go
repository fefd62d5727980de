package listener

import (
	"cmp"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
)

// Status is what is known of a connection, for administrators who look at it. Its
// texts may be the client's own.
type Status struct {
	Mechanism string // how the user has logged in: "SCRAM-SHA-256", "LOGIN"; "" before
	// AppPassword is the name of the one that was used, "" for none.
	AppPassword string
	// ActedBy is who has logged in to act for the user, "" for the user itself.
	ActedBy string
	State   string // the protocol's word for it: "Selected"; "" when it has none
	Mailbox string // the selected one, "" for none
	// Client and Version are what the client calls itself, "" when it did not say.
	Client, Version string
	// Command is the one under way, "" while the next is awaited.
	Command string
	// Idle is since when the next command, or the end of IMAP's IDLE, is awaited; zero
	// while one is read or done.
	Idle time.Time
}

// status is what the session says of itself.
type status struct {
	mu                                      sync.Mutex
	mechanism, app, actedBy, state, mailbox string
}

// SetState says in which state the session is, and which mailbox is selected.
func (c *Conn) SetState(state, mailbox string) {
	c.status.mu.Lock()
	c.status.state, c.status.mailbox = state, mailbox
	c.status.mu.Unlock()
}

// SetMechanism says how the user of SetUser has logged in, and with which app
// password, "" for none.
func (c *Conn) SetMechanism(name, appPassword string) {
	c.status.mu.Lock()
	c.status.mechanism, c.status.app = name, appPassword
	c.status.mu.Unlock()
}

// SetActedBy says who acts for the user of SetUser, "" for the user itself.
func (c *Conn) SetActedBy(name string) {
	c.status.mu.Lock()
	c.status.actedBy = name
	c.status.mu.Unlock()
	if name != "" {
		_, user := c.User()
		c.protocol.User(user + " (" + name + ")")
	}
}

// Doing says which command is under way: a row's name, that stays as it is; nil for
// none. It is cheap.
func (c *Conn) Doing(command *string) { c.command.Store(command) }

// Status tells what the session is about.
func (c *Conn) Status() Status {
	c.status.mu.Lock()
	st := Status{Mechanism: c.status.mechanism, AppPassword: c.status.app, ActedBy: c.status.actedBy, State: c.status.state, Mailbox: c.status.mailbox}
	c.status.mu.Unlock()
	if client := c.client.Load(); client != nil {
		st.Client, st.Version = client.name, client.version
	}
	if name := c.command.Load(); name != nil {
		st.Command = *name
	}
	d := &c.deadlines
	d.mu.Lock()
	if d.phase == Idle && !d.fresh {
		st.Idle = d.since
	}
	d.mu.Unlock()
	return st
}

// Name is the session's name in logs and cmdlets: "IMAP4-123".
func (c *Conn) Name() string { return protolog.SessionID(c.service.Name, c.id) }

// ProtocolLog is the connection's part of its service's protocol log; for the
// handler's goroutine.
func (c *Conn) ProtocolLog() *protolog.Session { return &c.protocol }

// logBegin writes the beginning of a session to the protocol log; failed is why the
// TLS handshake failed.
func (c *Conn) logBegin(failed error) {
	if !c.protocol.On() {
		return
	}
	var o protolog.Outcome
	switch {
	case failed != nil:
		o.Detail = "TLS failed: " + causeOf(failed)
	case c.TLS() != nil:
		o.Detail = c.TLSDetail()
	}
	if proxy := c.ProxyDetail(); proxy != "" {
		o.Detail = strings.TrimPrefix(o.Detail+";"+proxy, ";")
	}
	in, out := c.Bytes()
	c.protocol.Event("OpenSession", o, time.Since(c.accepted), in, out)
}

// logEnd writes its end, with the reason when it was not the client's or the
// protocol's.
func (c *Conn) logEnd() {
	if !c.protocol.On() {
		return
	}
	var o protolog.Outcome
	var known *mail.Error
	switch cut := cmp.Or(c.deadlines.cutBy(), c.writeErr, c.readErr); {
	case cut == nil:
	case errors.As(cut, &known):
		o.Detail = "Reason=" + mail.TextOf(known)
	default:
		o.Detail = "Reason=The client closed the connection."
	}
	in, out := c.Bytes()
	c.protocol.Event("CloseSession", o, time.Since(c.accepted), in, out)
}

// TLSDetail describes the connection's TLS for the protocol log, "" without.
func (c *Conn) TLSDetail() string {
	state := c.TLS()
	if state == nil {
		return ""
	}
	version, cipher := c.TLSNames()
	detail := "TLS=" + version + ";Cipher=" + cipher
	if state.DidResume {
		detail += ";Resumed"
	}
	return detail
}

// causeOf gives the reason behind an error, for the log.
func causeOf(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Cause != nil {
		return e.Cause.Error()
	}
	return mail.TextOf(err)
}

// Bounds of an Actor's texts, in bytes.
const (
	actorName   = 200
	actorClient = 200
)

// Actor tells who is connected, for what is written down of its changes.
func (c *Conn) Actor() mail.Actor {
	_, user := c.User()
	st := c.Status()
	a := mail.Actor{
		User: protolog.Printable(user, actorName), ActedBy: protolog.Printable(st.ActedBy, actorName),
		Mechanism: st.Mechanism, AppPassword: protolog.Printable(st.AppPassword, actorName),
		Protocol: c.service.Name, Client: protolog.Printable(strings.TrimSpace(st.Client+" "+st.Version), actorClient),
		Session: c.Name(),
	}
	if remote := c.Remote(); remote.IsValid() {
		a.Address = remote.Addr().Unmap().WithZone("").String()
	}
	return a
}
