package pop3

import (
	"context"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
)

// userName = "USER" SP name (RFC 1939, 7). Where the policy wants TLS for a
// password it is refused here, before the password is on its way; else every name
// is accepted, known or not.
func (x *session) userName(ctx context.Context, name string) {
	x.user, x.logged = "", protolog.Masked
	if err := x.Auth.RefusePassword(ctx, x.who()); err != nil {
		x.failedLogin(err)
		return
	}
	x.user = name
	x.ok("Send the password")
}

// pass = "PASS" SP string (RFC 1939, 7). Everything behind the one blank is the
// password, further blanks too.
func (x *session) pass(ctx context.Context, password string) {
	name := x.user
	x.user, x.logged = "", protolog.Masked
	c := x.who()
	if err := x.Auth.PasswordAllowed(c).Err(); err == nil && name == "" {
		x.fault("Say USER first")
		return
	}
	id, err := x.Auth.Password(ctx, c, name, password)
	x.loggedIn(ctx, id, err)
}

// loggedIn ends a login of whatever kind.
func (x *session) loggedIn(ctx context.Context, id *auth.Identity, err error) {
	if err == nil {
		x.mask(id.Entry.DisabledCapabilities)
		if err = x.openDrop(ctx, id); err != nil {
			x.mask(nil)
		}
	}
	if err != nil {
		x.failedLogin(err)
		return
	}
	x.state = transaction
	x.conn.SetMechanism(id.Mechanism, id.AppPassword)
	x.conn.SetActedBy(id.ActedBy)
	x.conn.Expire(id.Expires)
	x.conn.SetState("Transaction", "")
	x.numbers("+OK ", int64(x.drop.left), x.drop.bytes)
}

// failedLogin answers, and ends a session that fails too often.
func (x *session) failedLogin(err error) {
	if x.failures++; x.failures >= maxLogins {
		x.over = true
	}
	if x.over {
		x.conn.Log().Warn("too many failed logins; the connection is closed", "last", mail.KindOf(err).String())
	}
	x.fail(err)
}
