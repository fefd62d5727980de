package pop3

import (
	"context"

	"github.com/postern-mail/postern/listener"
)

// stls = "STLS" (RFC 2595, 4). What was said before is forgotten, but not how many
// logins failed.
func (x *session) stls(ctx context.Context, _ string) {
	switch {
	case x.conn.TLS() != nil:
		x.fault("TLS is active already")
		return
	case !x.conn.CanStartTLS():
		x.fault("TLS is not available")
		return
	}
	if x.lines.Flush() != nil || x.conn.StartTLS(ctx, "+OK Begin TLS negotiation\r\n", x.lines.Buffered()) != nil {
		x.over, x.failed, x.detail = true, true, "TLS failed"
		return
	}
	x.detail = x.conn.TLSDetail()
	x.lines = listener.NewLines(x.conn)
	x.user, x.utf8, x.words, x.heard = "", false, nil, false
}
