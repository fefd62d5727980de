package role

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/lmtp"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/metrics"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/tracing"
)

// observation is what sees the server work.
type observation struct {
	statistics *statistics.History
	metrics    *metrics.Metrics
	traces     *tracing.Tracer // nil: off
	sessions   sync.Map        // *listener.Conn to *tracing.Session, of those that are traced

	stopping    atomic.Bool
	probe       probe
	metricsAddr string
}

// openObservation makes it; nothing is observed yet.
func (s *Server) openObservation() (err error) {
	s.traces, err = tracing.Open(tracing.Options{Endpoint: s.config.Traces, Sample: s.config.TracesSample, Server: s.config.Name, Log: s.log})
	if err != nil {
		return err
	}
	s.metrics = metrics.New()
	s.statistics = statistics.Open(statistics.Options{
		Path: filepath.Join(s.config.Data, "statistics", "statistics.json.gz"),
		Read: func(name settings.Service) (statistics.Reading, bool) {
			svc := s.service(name)
			if svc == nil {
				return statistics.Reading{}, false
			}
			in, out := svc.Bytes()
			open, _ := svc.Open()
			return statistics.Reading{Connections: open, BytesIn: in, BytesOut: out}, true
		},
		Log: s.log,
	})
	return nil
}

// closeObservation writes and sends what is left, when the services have stopped.
func (s *Server) closeObservation() {
	if err := s.statistics.Close(); err != nil {
		s.log.Warn("the statistics cannot be written", "error", err)
	}
	if err := s.traces.Close(); err != nil {
		s.log.Warn("the last traces could not be sent", "error", err)
	}
}

// beginObservation tells the metrics whom to ask, once all parts are there.
func (s *Server) beginObservation() {
	s.metrics.Ask(metrics.Sources{
		Services:     s.serviceNumbers,
		Certificates: s.certificateNumbers,
		Throttled:    s.auth.Throttled,
		Ready:        func() bool { return len(s.unready(context.Background())) == 0 },
	})
}

// Statistics keeps who signed in how, and what the services did over time.
func (s *Server) Statistics() *statistics.History { return s.statistics }

func (s *Server) serviceNumbers() []metrics.Service {
	var list []metrics.Service
	for _, name := range settings.Services {
		svc := s.service(name)
		if svc == nil {
			continue
		}
		n := metrics.Service{
			Name: string(name), Up: svc.Running(), Accepted: svc.Accepted(), Refused: svc.Refused(), Panics: svc.Panics(),
		}
		n.Open, n.LoggedIn = svc.Open()
		n.BytesIn, n.BytesOut = svc.Bytes()
		list = append(list, n)
	}
	return list
}

func (s *Server) certificateNumbers() []metrics.Certificate {
	var list []metrics.Certificate
	for _, c := range s.certificates.List() {
		if leaf := c.Leaf(); leaf != nil {
			list = append(list, metrics.Certificate{Thumbprint: c.Thumbprint(), NotAfter: leaf.NotAfter})
		}
	}
	return list
}

// outcome is what metrics call an error: the name of its kind.
func outcome(err error) string {
	if err == nil {
		return statistics.OK
	}
	return mail.KindOf(err).String()
}

// signedIn takes a decided login: auth.Options.Observe.
func (s *Server) signedIn(a auth.Attempt) {
	s.statistics.Observe(a)
	s.metrics.SignIn(string(a.Service), a.Mechanism, a.TLS, outcome(a.Err), a.Took)
}

// delivered takes a delivery: lmtp.Server.Observe.
func (s *Server) delivered(d lmtp.Delivery) {
	if d.Err == nil {
		s.statistics.Delivered(1)
	}
	s.metrics.Delivery(outcome(d.Err), d.Bytes, d.Took)
	s.session(d.Conn).Delivery(d.Bytes, d.Began, d.Took, outcome(d.Err))
}

// ran takes a run of a cmdlet: manage.Parts.Observe.
func (s *Server) ran(cmdlet string, began time.Time, err error) {
	s.metrics.Cmdlet(cmdlet, outcome(err))
	s.traces.Cmdlet(cmdlet, began, outcome(err))
}

// session gives the trace of a connection, nil when it is not traced.
func (o *observation) session(c *listener.Conn) *tracing.Session {
	if o.traces == nil {
		return nil
	}
	v, _ := o.sessions.Load(c)
	session, _ := v.(*tracing.Session)
	return session
}

// observer is the listener.Observer of one service.
type observer struct {
	*observation
	service  string
	commands *metrics.Commands
}

func (s *Server) observer(name settings.Service) listener.Observer {
	return observer{&s.observation, string(name), s.metrics.Commands(string(name))}
}

// Opened implements listener.Observer.
func (o observer) Opened(c *listener.Conn) {
	if o.traces == nil {
		return
	}
	address := ""
	if a := c.Remote(); a.IsValid() {
		address = a.Addr().String()
	}
	if session := o.traces.Session(o.service, address, c.Accepted()); session != nil {
		o.sessions.Store(c, session)
	}
}

// Command implements listener.Observer.
func (o observer) Command(c *listener.Conn, name string, began time.Time, ok bool) {
	o.commands.Command(name, time.Since(began), ok)
	o.session(c).Command(name, began, ok)
	switch name {
	case "ID", "LOGIN", "AUTHENTICATE":
		// A client says what it is before the login or after it.
		if client := c.Client(); ok && client != "" {
			o.statistics.Identify(c.Remote(), client)
		}
	}
}

// Closed implements listener.Observer.
func (o observer) Closed(c *listener.Conn) {
	if session := o.session(c); session != nil {
		o.sessions.Delete(c)
		in, out := c.Bytes()
		session.End(c.TLS() != nil, c.Status().Mechanism, in, out)
	}
}

// observedEngine measures the changes of a store.
type observedEngine struct {
	store.Engine
	metrics *metrics.Metrics
}

// Commit implements store.Engine.
func (e observedEngine) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	began := time.Now()
	wait, err := e.Engine.Commit(ctx, b)
	if err != nil {
		e.metrics.StoreError(mail.KindOf(err).String())
		return wait, err
	}
	visible := time.Now()
	e.metrics.Commit(visible.Sub(began))
	return func() error {
		err := wait()
		if err != nil {
			e.metrics.StoreError(mail.KindOf(err).String())
			return err
		}
		e.metrics.Sync(time.Since(visible))
		return nil
	}, nil
}
