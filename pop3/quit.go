package pop3

import (
	"context"

	"github.com/postern-mail/postern/mail"
)

// quit = "QUIT" (RFC 1939, 4 and 6). The marked messages go now, all or none; when
// that fails the client is told, and finds them all in its next session.
func (x *session) quit(ctx context.Context, _ string) {
	x.over = true
	x.conn.Part(x.lines.Buffered())
	if x.drop == nil {
		x.ok("Goodbye")
		return
	}
	if doomed := x.drop.doomed(); len(doomed) > 0 {
		removed, _, err := x.drop.mailbox.Remove(ctx, doomed)
		if err != nil {
			x.conn.Log().Error("deleted messages not removed", "error", err)
			x.fail(&mail.Error{Kind: mail.KindUnavailable, Text: "The deleted messages could not be removed; none is.", Cause: err})
			return
		}
		x.drop.read = x.drop.read.Subtract(doomed)
		x.conn.Log().Info("messages removed", "messages", removed.Len())
	}
	// The next session may begin as soon as the client has the answer.
	x.closeDrop(ctx)
	x.ok("Goodbye")
}
