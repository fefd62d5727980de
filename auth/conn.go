package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// serviceRow is what differs between the services.
type serviceRow struct {
	startTLS string // the command
	password string // the way to sign in without SASL
	kerberos string // the first part of its principal (RFC 4752, 4; RFC 5034, 7)
	enabled  func(directory.Entry) bool
}

func rowOf(s settings.Service) serviceRow {
	switch s {
	case settings.POP3:
		return serviceRow{"STLS", "USER command", "pop", func(e directory.Entry) bool { return e.PopEnabled }}
	case settings.IMAP4:
		return serviceRow{"STARTTLS", "LOGIN command", "imap", func(e directory.Entry) bool { return e.ImapEnabled }}
	case settings.Console:
		// Who may do what there, and whether anything, is the roles' to say.
		return serviceRow{"HTTPS", "console sign-in", "", func(directory.Entry) bool { return true }}
	}
	return serviceRow{"STARTTLS", "password", "", func(directory.Entry) bool { return false }}
}

// Conn is what auth knows of a connection. A session makes one anew for every
// question, so that a change of LoginType acts at once.
type Conn struct {
	Service settings.Service
	// Account: it leads to the pages of the console on which people change what is
	// their own, and there alone a password that must be changed is accepted.
	Account   bool
	LoginType mail.LoginType // as it is now
	// Mechanisms are the mechanisms that the service may offer; nil is every one of the
	// table that is no legacy one. The commands that carry a password are PLAIN here.
	Mechanisms []string
	// Protection says what is done about channel binding.
	Protection settings.ExtendedProtection

	// TLS is nil on a connection that is not encrypted.
	TLS *tls.ConnectionState
	// Certificate is the one that this server showed on the connection; nil takes
	// the tls-server-end-point channel binding away.
	Certificate *x509.Certificate
	// Client is the client's certificate, when an authority that the service trusts
	// issued it, else nil.
	Client *x509.Certificate

	// Timestamp is the one of POP3's greeting (Authenticator.Timestamp) until it is
	// answered, else "".
	Timestamp string

	Remote netip.AddrPort
	// Exempt are networks whose sign-ins are not slowed down, whatever fails there; what
	// fails there slows nobody down.
	Exempt []netip.Prefix
	// At is the moment of a connection that is only imagined; zero is now.
	At time.Time
	// TLSPort is the port with TLS from the first byte, to be named to a client
	// that must use TLS; "" when there is none.
	TLSPort string
}

// Link is a connection between a client and a service: a listener.Conn.
type Link interface {
	TLS() *tls.ConnectionState
	Certificate() *x509.Certificate
	ClientCertificate() *x509.Certificate
	Remote() netip.AddrPort
}

// Over describes a connection to the service that v is of, as it is now.
func Over(l Link, v *settings.Values) Conn {
	c := Imagined(v, false)
	c.TLS, c.Certificate, c.Client, c.Remote = l.TLS(), l.Certificate(), l.ClientCertificate(), l.Remote()
	return c
}

// Imagined describes a connection that nobody made, encrypted or not, for Explain.
func Imagined(v *settings.Values, encrypted bool) Conn {
	c := Conn{Service: v.Service(), LoginType: settings.LoginType.Of(v),
		Mechanisms: settings.AuthMechanisms.Of(v), Protection: settings.ExtendedProtectionPolicy.Of(v),
		Exempt: settings.ThrottleExemptNetworks.Of(v)}
	if encrypted {
		c.TLS = new(tls.ConnectionState)
	}
	if ssl := settings.SSLBindings.Of(v); len(ssl) > 0 && ssl[0].Port() != 0 {
		c.TLSPort = strconv.Itoa(int(ssl[0].Port()))
	}
	return c
}

// wanted is what is known of a sign-in on c before its name.
func (a *Authenticator) wanted(c Conn, method string, class sasl.Class) Wanted {
	w := Wanted{
		Service: c.Service, LoginType: c.LoginType, Mechanisms: c.Mechanisms, Protection: c.Protection, TLS: c.TLS != nil, From: c.Remote.Addr(), At: c.At, Method: method, Class: class,
	}
	if w.At.IsZero() {
		w.At = a.now()
	}
	return w
}

// decide asks the policy as far as it is for everyone, and adds what to do.
func (a *Authenticator) decide(c Conn, method string, class sasl.Class) Decision {
	return c.advise(a.policy.Load().Decide(a.wanted(c, method, class)))
}

// advise adds to a refusal what to do.
func (c Conn) advise(d Decision) Decision {
	if d.OK {
		return d
	}
	row := rowOf(c.Service)
	switch {
	case d.Rule == RuleBindingRequired:
		d.Text = "This server requires channel binding: use a mechanism whose name ends in -PLUS."
	case !d.Rule.needsTLS():
		d.Text = "This way of signing in is not permitted here."
	case c.TLSPort == "":
		d.Text = fmt.Sprintf("This server requires TLS: use %s.", row.startTLS)
	default:
		d.Text = fmt.Sprintf("This server requires TLS: use %s or port %s.", row.startTLS, c.TLSPort)
	}
	return d
}

// permitted asks the policy again once it is known whose proof was seen. Who may not
// sign in hears what a wrong password would: that it was right is not said.
func (a *Authenticator) permitted(ctx context.Context, s *signIn, e *directory.Entry) error {
	w := a.wanted(s.conn, s.mechanism, s.class)
	w.User, w.Legacy, w.Secret = e.Name, e.LegacyMechanisms, s.secret
	var err error
	if w.Groups, err = a.groupsOf(ctx, e); err != nil {
		return err
	}
	d := a.policy.Load().Decide(w)
	if d.OK {
		return nil
	}
	a.policyRefused(s, e.Name, d)
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: d.cause()}
}

// groupsOf gives e's groups in external directories when a rule is for one. A directory
// that cannot say them now keeps everybody out: a rule may be for them.
func (a *Authenticator) groupsOf(ctx context.Context, e *directory.Entry) ([]string, error) {
	if !a.policy.Load().NamesDirectories() {
		return nil, nil
	}
	groups, err := directory.Groups(ctx, a.directory, e)
	if err != nil {
		return nil, refused(err)
	}
	return groups, nil
}

// inGroups gives e with the groups that groupsOf gives.
func (a *Authenticator) inGroups(ctx context.Context, e *directory.Entry) (*directory.Entry, error) {
	in := *e
	var err error
	in.Groups, err = a.groupsOf(ctx, e)
	return &in, err
}

func (a *Authenticator) policyRefused(s *signIn, user string, d Decision) {
	event.PolicyRefused.Log(context.Background(), a.log, "service", s.conn.Service, "user", user, "remote", s.conn.Remote.Addr().String(),
		"mechanism", s.mechanism, "reason", d.Why())
}

// SetPolicy makes the rules hold from the next question on; sessions go on. p is not
// changed any more.
func (a *Authenticator) SetPolicy(p *Policy) { a.policy.Store(p) }

// server is the connection's part of what a mechanism may use.
func (a *Authenticator) server(c Conn) sasl.Server {
	s := sasl.Server{TLS: c.TLS, Certificate: c.Certificate, Protection: c.protection(), Host: a.host, Timestamp: c.Timestamp, Now: a.now}
	if d, ok := a.directory.(directory.Chained); ok {
		s.Issuer = func(authzid string) (string, string) {
			name, err := directory.PrepareName(authzid)
			if err != nil {
				name = ""
			}
			return d.Issuer(name)
		}
	}
	return s
}

// offersPlus tells whether a -PLUS mechanism of m's kind is offered on c.
func (a *Authenticator) offersPlus(c Conn, m sasl.Mechanism, s sasl.Server) bool {
	return slices.ContainsFunc(sasl.Mechanisms, func(other sasl.Mechanism) bool {
		return other.Plus() && other.Kin(m) && a.offers(c, other, s)
	})
}

// offers tells whether a mechanism is offered on c, and accepted.
func (a *Authenticator) offers(c Conn, m sasl.Mechanism, s sasl.Server) bool {
	has := a.means(c.Service)
	if m.Needs&sasl.NeedsBinding != 0 && sasl.Binds(s) {
		has |= sasl.NeedsBinding
	}
	if c.TLS != nil && c.Client != nil {
		has |= sasl.NeedsCertificate
	}
	if c.Service == settings.POP3 && c.Timestamp != "" {
		has |= sasl.NeedsTimestamp
	}
	return m.Needs&^has == 0 && a.decide(c, m.Name, m.Class).OK
}

// Terms are what Offered and PasswordAllowed depend on besides the settings that a Conn
// is made of. They are compared.
type Terms struct {
	policy                        *Policy
	tls, binds, client, timestamp bool
	means                         sasl.Means
}

// Terms gives those of c; false while there are rules, which look at more: the address,
// the hour.
func (a *Authenticator) Terms(c Conn) (Terms, bool) {
	t := Terms{policy: a.policy.Load(), tls: c.TLS != nil, client: c.Client != nil, timestamp: c.Timestamp != "", means: a.means(c.Service)}
	if c.TLS != nil {
		t.binds = sasl.Binds(a.server(c))
	}
	return t, len(t.policy.Rules) == 0
}

// means is what the server has for mechanisms on every connection of a service.
func (a *Authenticator) means(service settings.Service) sasl.Means {
	var has sasl.Means
	if a.ntlm != nil {
		has |= sasl.NeedsNTLM
	}
	if r, ok := a.directory.(directory.Readable); ok && r.HasReadable() {
		has |= sasl.NeedsReadable
	}
	d, ok := a.directory.(directory.Chained)
	if !ok {
		return has | sasl.NeedsKeys
	}
	if d.HasKeys() {
		has |= sasl.NeedsKeys
	}
	if d.HasTokens() {
		has |= sasl.NeedsTokens
	}
	if d.HasTickets(rowOf(service).kerberos) {
		has |= sasl.NeedsTickets
	}
	return has
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
