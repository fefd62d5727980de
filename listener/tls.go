package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
)

// tlsConfig makes a service's one tls.Config, and with it its ticket keys.
type tlsConfig struct {
	once   sync.Once
	config *tls.Config
}

// aead are the TLS 1.2 suites that authenticate what they encrypt; those of
// TLS 1.3 all do.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func (s *Service) tls() *tls.Config {
	s.config.once.Do(func() {
		c := &tls.Config{
			MinVersion:   tls.VersionTLS12,
			CipherSuites: aead,
			// Small first records show a web page sooner; here they only cost.
			DynamicRecordSizingDisabled: true,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				pair, err := s.Certificates.pick(hello, s.limits().certificate)
				if c, ok := hello.Context().Value(connKey{}).(*Conn); ok && err == nil {
					c.shown.Store(pair.Leaf)
				}
				return pair, err
			},
		}
		switch {
		case s.Challenge != nil:
			c.GetConfigForClient = s.challenged
		case s.ClientAuthorities != nil:
			c.GetConfigForClient = s.asking
		}
		if s.ALPN != "" {
			c.NextProtos = []string{s.ALPN}
		}
		s.config.config = c
	})
	return s.config.config
}

// asking gives the configuration that asks clients for a certificate, nil while no
// authority is trusted. One that does not fit does not end the handshake: the client
// may have another way to log in.
func (s *Service) asking(*tls.ClientHelloInfo) (*tls.Config, error) {
	pool := s.ClientAuthorities()
	if pool == nil {
		return nil, nil
	}
	c := s.config.config.Clone()
	c.ClientAuth, c.ClientCAs = tls.RequestClientCert, pool
	return c, nil
}

// Trusted gives a client's certificate, the first of those that it has shown, when an
// authority that is trusted issued it for clients, it is valid now and not revoked.
// Else it gives nil, and the reason unless nothing was shown or asked for.
func (s *Service) Trusted(shown []*x509.Certificate) (*x509.Certificate, error) {
	if len(shown) == 0 || s.ClientAuthorities == nil {
		return nil, nil
	}
	pool := s.ClientAuthorities()
	if pool == nil {
		return nil, nil
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, err
	}
	if s.Revoked == nil {
		return shown[0], nil
	}
	for _, chain := range chains {
		if err = s.Revoked(chain); err == nil {
			return shown[0], nil
		}
	}
	return nil, &revokedError{err}
}

// revokedError says why a certificate of a trusted authority does not count.
type revokedError struct{ error }

func (e *revokedError) Unwrap() error { return e.error }

// ClientCertificate is the client's, when the handshake found that an authority that is
// trusted issued it; else nil.
func (c *Conn) ClientCertificate() *x509.Certificate { return c.proved.Load() }

// challengeALPN is the name of TLS-ALPN-01 (RFC 8737, 4).
const challengeALPN = "acme-tls/1"

// challenged gives the configuration for a challenge, nil for every other client.
func (s *Service) challenged(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != challengeALPN || len(hello.ServerName) > maxServerName {
		return nil, nil
	}
	pair := s.Challenge(strings.ToLower(hello.ServerName))
	if pair == nil {
		return nil, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: aead, NextProtos: []string{challengeALPN},
		Certificates: []tls.Certificate{*pair}, SessionTicketsDisabled: true,
	}, nil
}

// CanStartTLS tells whether StartTLS can be offered: the service has a
// certificate and TLS has not begun.
func (c *Conn) CanStartTLS() bool {
	return c.service.Certificates != nil && c.tls.Load() == nil && c.service.Certificates.Usable("") == nil
}

// TLS describes the connection's TLS session, nil without one.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls.Load() }

// Certificate is the one that the client was shown, for channel binding; nil
// without TLS, or in a resumed session, which shows none.
func (c *Conn) Certificate() *x509.Certificate { return c.shown.Load() }

// connKey is the key of the *Conn in the context of its handshake.
type connKey struct{}

// StartTLS answers STLS or STARTTLS: it writes reply, the protocol's positive
// answer with CRLF, and does the handshake within HandshakeTimeout. buffered is
// how many bytes the handler has read behind the command: when there are any they
// were sent in the clear by who knows whom (CVE-2011-0411), and the connection is
// closed without the reply. After any error the handler must return without
// another word. After success it must begin with a new reader and forget what it
// heard before, but not the number of failed logins.
func (c *Conn) StartTLS(ctx context.Context, reply string, buffered int) error {
	c.ahead.mu.Lock()
	if c.ahead.full {
		buffered++
	}
	c.ahead.mu.Unlock()
	if buffered == 0 {
		buffered = c.unread()
	}
	if buffered > 0 {
		c.Log().Warn("bytes were sent behind the command that begins TLS; the connection is closed", "bytes", buffered)
		c.deadlines.cut(c, ErrInjected)
		return ErrInjected
	}
	if !c.CanStartTLS() {
		return mail.Errorf(mail.KindCannot, "TLS is not available here.")
	}
	if _, err := c.Write([]byte(reply)); err != nil {
		return err
	}
	if err := c.handshake(ctx); err != nil {
		c.Log().Info("TLS handshake failed", "error", err)
		c.deadlines.cut(c, err)
		return err
	}
	c.forget()
	return nil
}

// unread tells whether bytes wait in the socket that nobody has read: 1 when there are, else
// 0. Whoever was asked nothing yet has sent them too early, wherever our buffer ended.
func (c *Conn) unread() int {
	socket, ok := c.raw.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	raw.Control(func(fd uintptr) { // an error is the next Read's too
		var b [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return max(n, 0)
}

// handshaking is the network connection under TLS: until the handshake is over it gives a
// bounded number of bytes.
type handshaking struct {
	net.Conn
	left int // bytes that may still come; negative: as many as come
}

var errLongHandshake = errors.New("listener: the client sends too much before TLS begins")

func (h *handshaking) Read(p []byte) (int, error) {
	switch {
	case h.left < 0:
		return h.Conn.Read(p)
	case h.left == 0:
		return 0, errLongHandshake
	}
	n, err := h.Conn.Read(p[:min(len(p), h.left)])
	h.left -= max(n, 0)
	return n, err
}

// handshake begins TLS. It counts into the time before login.
func (c *Conn) handshake(ctx context.Context) error {
	end := time.Now().Add(HandshakeTimeout)
	c.deadlines.handshake(c, end)
	ctx, cancel := context.WithDeadline(context.WithValue(ctx, connKey{}, c), end)
	defer cancel()
	raw := &handshaking{c.raw, maxHandshake}
	if s := c.service; s.Challenge == nil && s.ClientAuthorities != nil && s.ClientAuthorities() != nil {
		raw.left = maxHandshakeAsked
	}
	session := tls.Server(raw, c.service.tls())
	if err := session.HandshakeContext(ctx); err != nil {
		if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
			return c.reason(ErrTimeout)
		}
		return c.reason(mail.Wrap(mail.KindBadArgument, err))
	}
	raw.left = -1
	state := session.ConnectionState()
	proved, err := c.service.Trusted(state.PeerCertificates)
	if errors.As(err, new(*revokedError)) { // any stranger can show others
		event.ClientRevoked.Log(ctx, c.Log(), "service", c.service.Name, "subject", state.PeerCertificates[0].Subject.String(), "reason", err)
	}
	c.proved.Store(proved)
	c.tls.Store(&state)
	c.stream = session
	return nil
}

// handshake sets both deadlines to end, or to the end of the time before login.
func (d *deadlines) handshake(c *Conn, end time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why != nil {
		return
	}
	if !d.total.IsZero() && d.total.Before(end) {
		end = d.total
	}
	d.armedRead, d.armedOut, d.fresh = end, end, true
	c.raw.SetDeadline(end)
}

// HTTPRequest tells whether a session's first line is that of an HTTP request: a
// browser was tricked into speaking to a mail server (ALPACA). The connection is
// then closed without an answer, which might be executed as a script.
func HTTPRequest(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "CONNECT", "TRACE", "PRI":
		return true
	case "DELETE": // DELE is POP3's, DELETE IMAP's behind a tag
		return strings.HasPrefix(rest, "/")
	}
	return false
}
