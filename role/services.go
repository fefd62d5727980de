package role

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// service is a listener.Service with what is to be said of it.
type service struct {
	*listener.Service
	bindings func() listener.Bindings // as configured

	mu      sync.Mutex
	state   manage.State
	problem string
}

// Renew has idle sessions wait on new stacks: see listener.Service.Renew.
func (s *Server) Renew() (n int) {
	for _, name := range settings.Services {
		if svc := s.service(name); svc != nil {
			n += svc.Renew()
		}
	}
	return n
}

func (s *service) set(state manage.State, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.problem = state, problem
}

// start opens the configured bindings. Those that cannot be opened are left out as
// long as one can: a host without IPv6 still serves IPv4.
func (s *service) start(log *slog.Logger) error {
	if s.Running() {
		return nil
	}
	s.set(manage.Starting, "")
	b := s.bindings()
	err := s.Service.Start(b)
	if err == nil {
		s.serves("", log)
		return nil
	}
	usable, problems := s.usable(b)
	if len(usable.Clear)+len(usable.SSL)+len(usable.Unix) > 0 {
		if again := s.Service.Start(usable); again == nil {
			s.serves(strings.Join(problems, " "), log)
			for _, p := range problems {
				event.BindingNotOpen.Log(context.Background(), log, "service", s.Name, "reason", p)
			}
			return nil
		}
	}
	s.set(manage.Stopped, mail.TextOf(err))
	return err
}

// serves notes that the service runs.
func (s *service) serves(problem string, log *slog.Logger) {
	s.set(manage.Running, problem)
	event.ServiceStarted.Log(context.Background(), log, "service", s.Name, "listening", s.listening())
}

// listening gives the open addresses for people.
func (s *service) listening() []string {
	var list []string
	a := s.Addrs()
	for _, addr := range a.Clear {
		list = append(list, addr.String())
	}
	for _, addr := range a.SSL {
		list = append(list, addr.String()+" (SSL)")
	}
	return append(list, a.Unix...)
}

// usable tries the addresses one by one and gives those that open.
func (s *service) usable(b listener.Bindings) (ok listener.Bindings, problems []string) {
	try := func(one listener.Bindings) bool {
		_, cancel, err := s.Service.Prepare(one)
		if err != nil {
			problems = append(problems, mail.TextOf(err))
			return false
		}
		cancel()
		return true
	}
	for _, a := range b.Clear {
		if try(listener.Bindings{Clear: []netip.AddrPort{a}}) {
			ok.Clear = append(ok.Clear, a)
		}
	}
	for _, a := range b.SSL {
		if try(listener.Bindings{SSL: []netip.AddrPort{a}}) {
			ok.SSL = append(ok.SSL, a)
		}
	}
	for _, p := range b.Unix {
		if try(listener.Bindings{Unix: []string{p}}) {
			ok.Unix = append(ok.Unix, p)
		}
	}
	return ok, problems
}

// prepare opens new bindings for a change of the settings. A service that stands
// still because its old bindings could not be opened starts with the new ones;
// for one that was stopped they are only tried.
func (s *service) prepare(b listener.Bindings, log *slog.Logger) (commit, cancel func(), err error) {
	opened, cancel, err := s.Service.Prepare(b)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	failed := s.state == manage.Stopped && s.problem != ""
	s.mu.Unlock()
	return func() {
		opened()
		switch {
		case failed:
			if err := s.start(log); err != nil {
				event.CannotStart.Log(context.Background(), log, "service", s.Name, "error", err)
			}
		case s.Running():
			s.serves("", log)
		}
	}, cancel, nil
}

func (s *service) stop(ctx context.Context) error {
	s.set(manage.Stopping, "")
	err := s.Service.Stop(ctx)
	problem := ""
	if err != nil {
		problem = mail.TextOf(err)
	}
	s.set(manage.Stopped, problem)
	return err
}

func sameBindings(a, b listener.Bindings) bool {
	return slices.Equal(a.Clear, b.Clear) && slices.Equal(a.SSL, b.SSL) && slices.Equal(a.Unix, b.Unix)
}

// service finds a service, nil for one that this server's roles do not have.
func (s *Server) service(name settings.Service) *service {
	switch name {
	case settings.POP3:
		return s.pop3
	case settings.IMAP4:
		return s.imap4
	case settings.LMTP:
		return s.lmtp
	case settings.Console:
		return s.console
	}
	return nil
}

// services is the server as the management API sees it.
type services struct{ *Server }

// Status implements manage.Services.
func (s services) Status(name settings.Service) manage.ServiceStatus {
	svc := s.service(name)
	if svc == nil {
		return manage.ServiceStatus{State: manage.Stopped, Problem: "This server does not have the role of this service."}
	}
	svc.mu.Lock()
	out := manage.ServiceStatus{State: svc.state, Problem: svc.problem}
	svc.mu.Unlock()
	out.Connections, out.Listening, out.SSL = len(svc.Conns()), svc.listening(), svc.Addrs().SSL
	return out
}

// Start implements manage.Services.
func (s services) Start(_ context.Context, name settings.Service) error {
	svc := s.service(name)
	if svc == nil {
		return mail.Errorf(mail.KindCannot, "This server does not have the role of this service.")
	}
	return svc.start(s.log)
}

// Stop implements manage.Services. A request that came over the console cannot stop
// the console: it would wait for itself, and nobody would hear how it went.
func (s services) Stop(ctx context.Context, name settings.Service) error {
	svc := s.service(name)
	if svc == nil {
		return nil
	}
	if name == settings.Console && listener.ConnOf(ctx) != nil {
		return mail.Errorf(mail.KindCannot, "The console cannot stop itself: use the shell on the server.")
	}
	ctx, cancel := context.WithTimeout(ctx, listener.DrainTimeout)
	defer cancel()
	err := svc.stop(ctx)
	event.ServiceStopped.Log(ctx, s.log, "service", name)
	return err
}
