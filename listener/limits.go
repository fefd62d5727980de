package listener

import (
	"net/netip"
	"time"

	"github.com/postern-mail/postern/settings"
)

// Bounds that are not settings.
const (
	// HandshakeTimeout bounds a TLS handshake.
	HandshakeTimeout = 10 * time.Second
	// maxHandshake bounds what a client sends in a TLS handshake, in bytes; a hello has 2 KiB.
	// crypto/tls would gather 64 KiB, and 256 KiB of a certificate that nobody asked for.
	maxHandshake = 16 << 10
	// maxHandshakeAsked is maxHandshake where clients are asked for a certificate: with it, and
	// in the ticket of a session that had it, come those of its issuers.
	maxHandshakeAsked = 64 << 10
	// CommandTimeout bounds a command line from its first byte to its last, and
	// one step of a SASL exchange.
	CommandTimeout = 30 * time.Second
	// WriteTimeout bounds the writing of each 64 KiB.
	WriteTimeout = 60 * time.Second
	// LiteralRate is how many bytes a second a literal or message must bring,
	// after a start of CommandTimeout.
	LiteralRate = 1024
	// DrainTimeout is what Stop's caller should give live sessions to end.
	DrainTimeout = 10 * time.Second

	// maxSilence bounds a pause within a literal, however fast it came before.
	maxSilence = 5 * time.Minute
	// lingerTimeout is how long a closed connection still takes what the client
	// sends, so that the last answer is not lost to a reset.
	lingerTimeout = 500 * time.Millisecond
	lingerBytes   = 256 << 10
	// refuseTimeout bounds telling a client that it is refused.
	refuseTimeout = time.Second
	// maxRefusals bounds the clients being told so at once; others are just closed.
	maxRefusals = 64
	// endTimeout is how long Stop waits for handlers after it has closed their
	// connections.
	endTimeout = 10 * time.Second
	// maxWaiting is Service.MaxWaiting when that is 0.
	maxWaiting = 4096
	// writeChunk is how much is written under one deadline.
	writeChunk = 64 << 10
)

// limits are the settings that connections obey, read out of one snapshot.
type limits struct {
	from *settings.Values

	connections, perAddress, perUser int
	authenticated, preAuthenticated  time.Duration
	certificate                      string
	proxies, xclients                []netip.Prefix
	proxyTLS                         bool
}

func limitsOf(v *settings.Values) *limits {
	l := &limits{
		from:             v,
		connections:      settings.Unlimited,
		perAddress:       settings.Unlimited,
		perUser:          settings.Unlimited,
		authenticated:    30 * time.Minute,
		preAuthenticated: time.Minute,
	}
	if v == nil {
		return l
	}
	// A service that lacks a setting (LMTP) keeps the value above.
	for _, n := range []struct {
		to *int
		of int
	}{
		{&l.connections, settings.MaxConnections.Of(v)},
		{&l.perAddress, settings.MaxConnectionFromSingleIP.Of(v)},
		{&l.perUser, settings.MaxConnectionsPerUser.Of(v)},
	} {
		if n.of > 0 {
			*n.to = n.of
		}
	}
	if d := settings.AuthenticatedConnectionTimeout.Of(v); d > 0 {
		l.authenticated = d
	}
	if d := settings.PreAuthenticatedConnectionTimeout.Of(v); d > 0 {
		l.preAuthenticated = d
	}
	l.certificate = settings.X509CertificateName.Of(v)
	l.proxies, l.proxyTLS = settings.ProxyProtocolNetworks.Of(v), settings.ProxyProtocolTls.Of(v)
	l.xclients = settings.XClientNetworks.Of(v)
	return l
}

// limits gives those of the current settings. It is called for every command,
// so a snapshot is read out once.
func (s *Service) limits() *limits {
	var v *settings.Values
	if s.Settings != nil {
		v = s.Settings()
	}
	if l := s.read.Load(); l != nil && l.from == v {
		return l
	}
	l := limitsOf(v)
	s.read.Store(l)
	return l
}
