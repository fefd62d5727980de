package imap

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// forwarding is for whom a proxy says, in ID before the login, that it speaks, as Dovecot's
// does: x-originating-ip, x-originating-port, x-session-id. Its other fields (x-connected-ip,
// x-proxy-ttl, x-forward-…) say nothing that is needed here.
type forwarding struct{ address, port, session string }

// field takes a field of ID.
func (f *forwarding) field(name, value string) {
	switch strings.ToLower(name) {
	case "x-originating-ip":
		f.address = value
	case "x-originating-port":
		f.port = value
	case "x-session-id":
		f.session = value
	}
}

// client reads the address.
func (f *forwarding) client() (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(f.address)
	port, portErr := strconv.ParseUint(f.port, 10, 16)
	if f.port == "" {
		portErr = nil
	}
	return netip.AddrPortFrom(a, uint16(port)), err == nil && portErr == nil
}

// forward takes the word of a proxy that is trusted. What anybody else says counts for
// nothing, and the command is answered as ever.
func (s *session) forward(r *request, f forwarding) error {
	if f.address == "" || s.account != nil {
		return nil
	}
	client, ok := f.client()
	if !s.conn.MayForward() || !ok {
		s.conn.Log().Info("the client said for whom it speaks; that counts for nothing", "trusted", s.conn.MayForward())
		return nil
	}
	err := s.conn.Forward(client, f.session)
	if mail.KindOf(err) == mail.KindLimit && err != nil {
		s.over = true
		return err
	}
	r.outcome.Detail = s.conn.ProxyDetail()
	return nil
}
