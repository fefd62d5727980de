package pop3

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// xclient = "XCLIENT" 1*(SP name "=" value)
//
// Not of an RFC: Dovecot's proxy says so for whom it speaks (ADDR, PORT) and what it calls
// the session (SESSION), before the login. Further names (TTL, FORWARD) are passed over.
// Only who is trusted is believed.
func (x *session) xclient(_ context.Context, args string) {
	x.user = ""
	if !x.conn.MayForward() {
		x.conn.Log().Info("the client said for whom it speaks and may not")
		x.fail(mail.Errorf(mail.KindNoPermission, "You may not say for whom you speak."))
		return
	}
	var client netip.Addr
	var port uint64
	var session string
	var err error
	for _, pair := range strings.Fields(args) {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok:
			x.fault("XCLIENT takes NAME=value")
			return
		case strings.EqualFold(name, "ADDR"):
			client, err = netip.ParseAddr(strings.TrimPrefix(strings.ToUpper(value), "IPV6:"))
		case strings.EqualFold(name, "PORT"):
			port, err = strconv.ParseUint(value, 10, 16)
		case strings.EqualFold(name, "SESSION"):
			session = value
		}
		if err != nil {
			x.fault("XCLIENT has an address or port that is none")
			return
		}
	}
	if err := x.conn.Forward(netip.AddrPortFrom(client, uint16(port)), session); err != nil {
		x.over = mail.KindOf(err) == mail.KindLimit
		x.fail(err)
		return
	}
	x.detail = x.conn.ProxyDetail()
	x.ok("Updated")
}
