package imap

import (
	"context"
	"sync/atomic"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/deflate"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Server serves IMAP4 to many connections at once. Its fields are set before the
// first and stay.
type Server struct {
	Store *store.Store
	Auth  *auth.Authenticator
	// Settings gives the current values of settings.IMAP4; nil, or nil values, are
	// the defaults.
	Settings func() *settings.Values
	// SetQuota sets both limits of somebody's mailbox, in bytes and messages, 0 for none, for
	// one who asks as by. KindNoPermission when that is no administrator who may. nil: nobody
	// may, and QUOTASET is not offered.
	SetQuota func(ctx context.Context, by Administrator, user string, bytes, messages int64) error

	compressors deflate.Compressors
	first       atomic.Pointer[firstList]
	converters  converters
	claims      claims
	turns       turns
}

// ALPN is IMAP's protocol name in TLS (RFC 7301).
const ALPN = "imap"

func (s *Server) settings() *settings.Values {
	if s.Settings != nil {
		if v := s.Settings(); v != nil {
			return v
		}
	}
	return settings.Defaults(settings.IMAP4, "")
}

// Serve speaks IMAP with one client until the session is over. It is a
// listener.Service's Handle.
func (s *Server) Serve(ctx context.Context, c *listener.Conn) {
	newSession(ctx, s, c).serve()
}

// Refuse gives the line for a client that is turned away at once: a
// listener.Service's Refuse (RFC 3501, 7.1.5).
func Refuse(err error) string {
	line := "* BYE "
	if code := mail.KindOf(err).Answer().IMAP; code != "" {
		line += "[" + code + "] "
	}
	return line + mail.TextOf(err) + "\r\n"
}
