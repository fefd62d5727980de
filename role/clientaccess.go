package role

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/imap"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/pop3"
	"github.com/postern-mail/postern/settings"
)

// clientAccessRole is the role that serves mail clients: POP3 and IMAP4.
type clientAccessRole struct {
	pop3, imap4 *service
	revocations map[settings.Service]*revocations
}

// openClientAccess makes what the role is made of; nothing is served yet.
func (s *Server) openClientAccess(context.Context) error {
	s.revocations = map[settings.Service]*revocations{}
	pop := &pop3.Server{Store: s.store, Auth: s.auth, Settings: s.current(settings.POP3)}
	s.pop3 = s.protocol(settings.POP3, pop3.ALPN, pop.Serve, pop3.Refuse)
	im := &imap.Server{Store: s.store, Auth: s.auth, Settings: s.current(settings.IMAP4), SetQuota: s.setQuota}
	s.imap4 = s.protocol(settings.IMAP4, imap.ALPN, im.Serve, imap.Refuse)
	return nil
}

// setQuota does what SETQUOTA asks for: it runs Set-Mailbox for who asks, with its rights and
// its audit record. Who may not is not written down: everybody with a mailbox can ask.
func (s *Server) setQuota(ctx context.Context, by imap.Administrator, user string, bytes, messages int64) error {
	const cmdlet = "Set-Mailbox"
	caller, err := s.manage.MailCaller(ctx, by.Account, by.Name, by.Remote.Addr().String())
	if err == nil {
		err = s.manage.May(caller, cmdlet)
	}
	if err != nil {
		return err
	}
	limit := func(n int64) string {
		if n == 0 {
			return "unlimited"
		}
		return strconv.FormatInt(n, 10)
	}
	arguments, err := json.Marshal(map[string]string{"Identity": user, "ProhibitSendReceiveQuota": limit(bytes), "MaxMessages": limit(messages)})
	if err == nil {
		_, err = s.manage.Run(ctx, caller, cmdlet, arguments)
	}
	return err
}

// current gives a service's settings as they are at the moment.
func (s *Server) current(name settings.Service) func() *settings.Values {
	return func() *settings.Values { return s.settings.Current(name) }
}

func (s *Server) protocol(name settings.Service, alpn string, handle func(context.Context, *listener.Conn), refuse func(error) string) *service {
	trusted := &authorities{log: s.log}
	s.revocations[name] = &revocations{now: time.Now}
	return &service{
		Service: &listener.Service{
			Name: string(name), Handle: handle, Refuse: refuse, Settings: s.current(name),
			Certificates: s.certificates.Shown(), ALPN: alpn, Log: s.log,
			ClientAuthorities: func() *x509.CertPool { return trusted.of(s.settings.Current(name)) },
			Revoked: func(chain []*x509.Certificate) error {
				return s.revocations[name].check(s.settings.Current(name), chain)
			},
			ProtocolLog: s.protocolLogs[name], Observer: s.observer(name),
		},
		bindings: func() listener.Bindings { return bindingsOf(s.settings.Current(name)) },
	}
}

func bindingsOf(v *settings.Values) listener.Bindings {
	return listener.Bindings{Clear: settings.UnencryptedOrTLSBindings.Of(v), SSL: settings.SSLBindings.Of(v)}
}

// applyBindings opens new bindings before they are kept and closes old ones
// after: settings.Applier.
func (s *Server) applyBindings(_ context.Context, old, new *settings.Values) (commit, cancel func(), err error) {
	svc := s.service(new.Service())
	if svc == nil || len(old.Diff(new)) == 0 {
		return nil, nil, nil
	}
	if b := bindingsOf(new); !sameBindings(b, bindingsOf(old)) {
		return svc.prepare(b, s.log)
	}
	return nil, nil, nil
}

// imagined is the connection that a log-in would come over.
func (s *Server) imagined(l manage.Login) auth.Conn {
	c := auth.Imagined(s.settings.Current(l.Service), l.Connection != manage.Plaintext)
	c.At = l.At
	if l.From.IsValid() {
		c.Remote = netip.AddrPortFrom(l.From, 0)
	}
	return c
}

// matrix answers Get-EffectiveLoginPolicy.
func (s *Server) matrix(l manage.Login) []auth.Cell {
	return s.auth.Matrix(s.imagined(l), l.Entry, l.ForEntry)
}

// usable lists the mechanisms that somebody can use under TLS.
func (s *Server) usable(name settings.Service) []string {
	c := auth.Imagined(s.settings.Current(name), true)
	if settings.ClientCertificateAuthorities.Of(s.settings.Current(name)) != "" && s.revocationProblem(name) == "" {
		c.Client = new(x509.Certificate)
	}
	return s.auth.Usable(c)
}

// revocationProblem tells what is wrong with a service's lists of revoked certificates.
func (s *Server) revocationProblem(name settings.Service) string {
	if r := s.revocations[name]; r != nil {
		return r.problem(s.settings.Current(name))
	}
	return ""
}

// explain answers Test-Login.
func (s *Server) explain(ctx context.Context, l manage.Login) ([]manage.Step, error) {
	c := s.imagined(l)
	var out []manage.Step
	if len(l.Certificates) > 0 {
		var err error
		svc := s.service(l.Service)
		if svc == nil {
			return nil, mail.Errorf(mail.KindCannot, "This server does not have the role of this service.")
		}
		if c.Client, err = svc.Trusted(l.Certificates); err != nil {
			out = append(out, manage.Step{Step: "Certificate", Result: string(auth.Fail), Detail: "The certificate does not count: " + strings.TrimSuffix(explained(err), ".") + "."})
		} else if c.Client == nil {
			out = append(out, manage.Step{Step: "Certificate", Result: string(auth.Fail), Detail: "The certificate does not count: ClientCertificateAuthorities names nobody."})
		}
	}
	for _, step := range s.auth.ExplainFor(ctx, c, l.Identity, l.For, l.Mechanism) {
		out = append(out, manage.Step{Step: step.Step, Result: string(step.Result), Detail: step.Detail})
	}
	return out, nil
}

// explained is an error for an administrator, whoever made it.
func explained(err error) string {
	if text := mail.TextOf(err); mail.KindOf(err) != mail.KindServerBug {
		return text
	}
	return err.Error()
}
