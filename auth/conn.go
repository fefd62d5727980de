package auth

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// serviceRow is what differs between the services.
type serviceRow struct {
	startTLS string // the command
	password string // the way to sign in without SASL
	enabled  func(directory.Entry) bool
}

func rowOf(s settings.Service) serviceRow {
	switch s {
	case settings.POP3:
		return serviceRow{"STLS", "USER command", func(e directory.Entry) bool { return e.PopEnabled }}
	case settings.IMAP4:
		return serviceRow{"STARTTLS", "LOGIN command", func(e directory.Entry) bool { return e.ImapEnabled }}
	case settings.Console:
		// Who may do what there, and whether anything, is the roles' to say.
		return serviceRow{"HTTPS", "console sign-in", func(directory.Entry) bool { return true }}
	}
	return serviceRow{"STARTTLS", "password", func(directory.Entry) bool { return false }}
}

// Conn is what auth knows of a connection. A session makes one anew for every
// question, so that a change of LoginType acts at once.
type Conn struct {
	Service   settings.Service
	LoginType mail.LoginType // as it is now

	// TLS is nil on a connection that is not encrypted.
	TLS *tls.ConnectionState
	// Certificate is the one that this server showed on the connection; nil takes
	// the tls-server-end-point channel binding away.
	Certificate *x509.Certificate

	Remote netip.AddrPort
	// TLSPort is the port with TLS from the first byte, to be named to a client
	// that must use TLS; "" when there is none.
	TLSPort string
}

// Link is a connection between a client and a service: a listener.Conn.
type Link interface {
	TLS() *tls.ConnectionState
	Certificate() *x509.Certificate
	Remote() netip.AddrPort
}

// Over describes a connection to the service that v is of, as it is now.
func Over(l Link, v *settings.Values) Conn {
	c := Imagined(v, false)
	c.TLS, c.Certificate, c.Remote = l.TLS(), l.Certificate(), l.Remote()
	return c
}

// Imagined describes a connection that nobody made, encrypted or not, for Explain.
func Imagined(v *settings.Values, encrypted bool) Conn {
	c := Conn{Service: v.Service(), LoginType: settings.LoginType.Of(v)}
	if encrypted {
		c.TLS = new(tls.ConnectionState)
	}
	if ssl := settings.SSLBindings.Of(v); len(ssl) > 0 && ssl[0].Port() != 0 {
		c.TLSPort = strconv.Itoa(int(ssl[0].Port()))
	}
	return c
}

// decide asks Permits and adds what to do.
func (c Conn) decide(class sasl.Class) Decision {
	d := Permits(c.LoginType, class, c.TLS != nil)
	if d.OK {
		return d
	}
	row := rowOf(c.Service)
	switch {
	case d.Rule == RuleDefault:
		d.Text = "This way of signing in is not permitted here."
	case c.TLSPort == "":
		d.Text = fmt.Sprintf("This server requires TLS: use %s.", row.startTLS)
	default:
		d.Text = fmt.Sprintf("This server requires TLS: use %s or port %s.", row.startTLS, c.TLSPort)
	}
	return d
}

// server is the connection's part of what a mechanism may use.
func (c Conn) server() sasl.Server {
	s := sasl.Server{TLS: c.TLS, Certificate: c.Certificate}
	s.PlusOffered = c.decide(sasl.TLSOnly).OK && sasl.Binds(s)
	return s
}

// network is the part of the remote address that one customer holds: /32 of IPv4,
// /64 of IPv6.
func (c Conn) network() netip.Prefix {
	addr := c.Remote.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
