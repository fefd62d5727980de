package manage

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/probe"
	"github.com/postern-mail/postern/settings"
)

// Bounds of a connectivity test.
const (
	probeTime    = 30 * time.Second
	maxProbeTime = 90 * time.Second // within runTimeout
)

// testConnectivity shows one object a step of a mail program's way.
func testConnectivity(s settings.Service) func(context.Context, *Call) (func(context.Context) error, error) {
	return func(ctx context.Context, c *Call) (func(context.Context) error, error) {
		p := &probe.Probe{Service: s, TrustAny: c.Bool("TrustAnySSLCertificate")}
		connection := TLS
		if c.Given("ConnectionType") {
			var err error
			if connection, err = c.connection(); err != nil {
				return nil, err
			}
		}
		p.Encryption = map[Connection]probe.Encryption{Plaintext: probe.None, TLS: probe.StartTLS, SSL: probe.Implicit}[connection]
		timeout := probeTime
		if c.Given("Timeout") {
			timeout = time.Duration(min(c.Number("Timeout"), int64(maxProbeTime/time.Second)+1)) * time.Second
			if timeout <= 0 || timeout > maxProbeTime {
				return nil, wrong("Timeout", "Timeout is 1 to %d seconds", maxProbeTime/time.Second)
			}
		}
		if !c.Bool("LightMode") {
			p.Name, p.Password = c.Text("MailboxCredential"), string(c.Secret("Password"))
			if p.Name == "" || p.Password == "" {
				return nil, about("MailboxCredential", hinted(mail.Errorf(mail.KindBadArgument, "%s needs -MailboxCredential and -Password", c.Cmdlet.Name),
					"With -LightMode it does not sign in."))
			}
		}
		own, err := c.target(p, connection)
		if err != nil {
			return nil, err
		}
		if own {
			p.Deliver = func(ctx context.Context, message []byte) error { return c.Access.Deliver(ctx, p.Name, message) }
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c.Log.InfoContext(ctx, "connectivity test", "who", c.Caller.Name, "service", s, "address", p.Address)
		for _, step := range p.Run(ctx) {
			c.Add(Object{{"Scenario", step.Scenario}, {"Result", string(step.Outcome)}, {"Latency", float64(step.Latency.Round(100*time.Microsecond).Microseconds()) / 1000}, {"Mechanism", step.Mechanism}, {"Error", step.Error}})
			if step.Outcome == probe.Failure {
				c.result.ExitCode = 1
				if step.Scenario == "TLS" && !p.TrustAny {
					c.Note("-TrustAnySSLCertificate does not check the certificate.")
				}
			}
		}
		return nil, nil
	}
}

// connection reads -ConnectionType.
func (c *Call) connection() (Connection, error) {
	for _, k := range []Connection{Plaintext, TLS, SSL} {
		if strings.EqualFold(string(k), c.Text("ConnectionType")) {
			return k, nil
		}
	}
	return "", wrong("ConnectionType", "ConnectionType is Plaintext, Tls or Ssl, not %q", c.Text("ConnectionType"))
}

// target says where the test connects to, and whether that is this server. Who
// may only look may test what this server offers to everybody; any other address
// takes somebody who could connect from this host anyway.
func (c *Call) target(p *probe.Probe, k Connection) (own bool, err error) {
	host, port := c.Text("ClientAccessServer"), c.Number("PortClientAccessServer")
	if port > 65535 {
		return false, wrong("PortClientAccessServer", "PortClientAccessServer is 1 to 65535")
	}
	name := settings.X509CertificateName.Of(c.Settings.Current(p.Service))
	if name == "" {
		name = c.Settings.Server()
	}
	own = host == "" || strings.EqualFold(host, "localhost") || strings.EqualFold(host, c.Settings.Server()) || strings.EqualFold(host, name)
	if own {
		addr, err := c.Access.Address(p.Service, k)
		if err == nil && (port == 0 || int64(addr.Port()) == port) {
			p.Address, p.ServerName = addr.String(), name
			return true, nil
		}
		if port == 0 {
			return true, err
		}
	}
	if err := c.permit(c.Caller, &Cmdlet{Name: c.Cmdlet.Name + " of another host or port", Role: ServerAdministrator, Local: true}); err != nil {
		return false, err
	}
	if port == 0 {
		port = map[settings.Service]map[Connection]int64{
			settings.POP3:  {Plaintext: 110, TLS: 110, SSL: 995},
			settings.IMAP4: {Plaintext: 143, TLS: 143, SSL: 993},
		}[p.Service][k]
	}
	p.ServerName = host
	if own {
		p.ServerName, host = name, "localhost"
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		host = addr.String()
	} else if strings.ContainsAny(host, "/:[]@ ") {
		return false, wrong("ClientAccessServer", "ClientAccessServer is a host name or an address, not %q", host)
	}
	p.Address = net.JoinHostPort(host, strconv.FormatInt(port, 10))
	return own, nil
}
