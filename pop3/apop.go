package pop3

import (
	"context"

	"github.com/postern-mail/postern/protolog"
)

// apop = "APOP" SP name SP digest (RFC 1939, 7). It answers the timestamp of the greeting,
// which is there when the login policy permits APOP then; the first APOP uses it up.
func (x *session) apop(ctx context.Context, args string) {
	x.user, x.logged = "", protolog.Masked
	c := x.who()
	x.timestamp = ""
	id, err := x.Auth.APOP(ctx, c, args)
	x.loggedIn(ctx, id, err)
}
