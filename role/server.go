package role

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/acme"
	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/directory"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/ntlm"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/sandbox"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Options are for those who embed a server: tests, the demonstration, the bench.
// Zero values are right for everybody else.
type Options struct {
	Limits auth.Limits
	// Directory sets the price of passwords.
	Directory dirembedded.Options
	// Engine keeps the mail instead of the engine that the settings file names; the
	// Server closes it.
	Engine store.Engine
	// Inherited are listening sockets that the services take instead of opening
	// their own; the Server closes them.
	Inherited *listener.Inherited
	// LogAll lets lines of one text reach the log however many they are in a second.
	LogAll bool
	// WrapDirectory stands between authentication and the directory.
	WrapDirectory func(directory.Directory) directory.Directory
}

func (o *Options) wrap(d directory.Directory) directory.Directory {
	if o.WrapDirectory != nil {
		return o.WrapDirectory(d)
	}
	return d
}

// Server is one Postern: the roles that its Config names, and its management.
type Server struct {
	config  Config
	options Options
	log     *slog.Logger

	mailboxRole
	clientAccessRole
	consoleService
	observation

	sealed       *seal.Key // of secrets that the server must be able to read
	certificates *certificate.Store
	acme         *acme.Client
	auth         *auth.Authenticator
	ntlm         *ntlm.Helper // nil when there is none
	sandbox      *sandbox.Sandbox

	protocolLogs protocolLogs

	settings *settings.Live
	audit    *audit.Log
	events   *event.Log
	started  time.Time
	manage   *manage.Server

	stop   context.CancelFunc
	work   sync.WaitGroup // goroutines that end when stop is called
	closed bool
}

// Open opens the store and makes all parts; nothing listens yet. Close it.
func Open(ctx context.Context, config Config, options Options, log *slog.Logger) (s *Server, err error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if strings.Contains(config.Name, "/") {
		return nil, mail.Errorf(mail.KindBadArgument, "name: a server's name has no slash.")
	}
	if err := wholeData(config.Data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Data, 0o700); err != nil {
		return nil, mail.Errorf(mail.KindUnavailable, "The data folder cannot be made: %v", err)
	}
	events, err := event.Open(filepath.Join(config.Data, "events"), nil)
	if err != nil {
		return nil, err
	}
	if options.LogAll {
		events.Unlimited()
	}
	log = slog.New(events.Handler(log.Handler()))
	s = &Server{config: config, options: options, log: log, events: events, sealed: seal.At(filepath.Join(config.Data, sealFile)), started: time.Now()}
	defer func(opened *Server) {
		if err != nil {
			opened.Close()
		}
	}(s)
	if err := s.openObservation(); err != nil {
		return nil, err
	}
	if err := s.openCertificates(); err != nil {
		return nil, err
	}
	s.openProtocolLogs()
	if err := s.openMailbox(ctx); err != nil {
		return nil, err
	}
	if s.settings, err = settings.Open(ctx, config.Name, keeper{s.store}, log); err != nil {
		return nil, err
	}
	s.settings.Watch(func(_, now *settings.Values) {
		if now.Service() == settings.Console {
			s.store.SetRecovery(recoveryOf(now))
		}
	})
	s.store.SetRecovery(recoveryOf(s.settings.Current(settings.Console)))
	if err := s.openAudit(ctx); err != nil {
		return nil, err
	}
	ntlm, err := s.openNTLM()
	if err != nil {
		return nil, err
	}
	limits, err := config.Authentication.limits(options.Limits)
	if err != nil {
		return nil, err
	}
	s.auth = auth.New(auth.Options{NTLM: ntlm, Directory: s.options.wrap(s.directory), AppPasswords: appPasswords{s}, Records: s.store, AccountURL: s.accountURL, Delegation: delegation{s}, Host: config.Name, Limits: limits, Log: s.log, Observe: s.signedIn})
	s.beginObservation()
	if slices.Contains(config.Roles, ClientAccess) {
		if err := s.openClientAccess(ctx); err != nil {
			return nil, err
		}
	}
	s.openAcme()
	s.manage = manage.New(manage.Parts{
		Folders: s.store, Store: s.store, Backups: backups{s},
		Settings: s.settings, Directory: s.directory, Directories: s.directoryRows(), Mail: accounts{s.store}, Services: services{s},
		Certificates: s.certificates.Shown(), Pairs: s.certificates, Issuer: s.acme, Explain: s.explain, Matrix: s.matrix, Usable: s.usable, RevocationProblem: s.revocationProblem, SetLoginPolicy: s.auth.SetPolicy, Access: access{s},
		Auth: s.auth,
		Log:  log, Administrators: config.Administrators, Audit: s.audit, Events: s.events, Host: host{s},
		Sessions: services{s}, ProtocolLog: func(name settings.Service) *protolog.Log { return s.protocolLogs[name] },
		Statistics: s.statistics, Observe: s.ran, Records: s.store, Authenticate: s.authenticate(false),
		AuthenticateOwner: s.authenticate(true), Sealed: s.sealed,
	})
	if err := s.manage.LoadLoginPolicy(ctx); err != nil {
		return nil, err
	}
	if err := s.bindRights(ctx); err != nil {
		return nil, err
	}
	s.settings.Apply(s.applyConfinement)
	s.settings.Apply(s.applyBindings)
	s.settings.Apply(applyAuthorities)
	s.settings.Apply(applyRevocations)
	s.beginProtocolLogs()
	s.openConsole()
	for _, name := range settings.Services {
		if svc := s.service(name); svc != nil {
			svc.Inherited = options.Inherited
		}
	}
	return s, nil
}

// bindTime bounds how long a start waits for directories that are to say whom rights
// of earlier versions mean; those of directories that do not answer wait for the next.
const bindTime = 3 * time.Second

func (s *Server) bindRights(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bindTime)
	defer cancel()
	if err := s.manage.BindRights(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// Start serves. The management socket must open; a protocol service that cannot
// start is logged and can be mended over the socket.
func (s *Server) Start(ctx context.Context) error {
	l, err := s.manage.Listen(s.config.Socket)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	s.work.Go(func() {
		if err := s.manage.Serve(run, l); err != nil && run.Err() == nil {
			event.SocketEnded.Log(run, s.log, "error", err)
		}
	})
	s.work.Go(func() { s.certificates.Watch(run) })
	s.work.Go(func() { s.watchNames(run) })
	s.work.Go(func() { s.followOthers(run) })
	s.work.Go(func() { s.acme.Run(run) })
	s.work.Go(func() { s.statistics.Run(run) })
	s.work.Go(func() { s.auth.Run(run) })
	if err := s.startMetrics(run); err != nil {
		return err
	}
	var configured []listener.Bindings
	for _, name := range settings.Services {
		svc := s.service(name)
		if svc == nil {
			continue
		}
		configured = append(configured, svc.bindings())
		svc.set(manage.Stopped, "")
		if settings.StartupType.Of(s.settings.Current(name)) != settings.Automatic {
			continue
		}
		if err := svc.start(s.log); err != nil {
			event.CannotStart.Log(ctx, s.log, "service", name, "error", err)
		}
	}
	for _, name := range s.options.Inherited.Unused(configured) {
		s.log.Warn("an inherited socket is not used: no binding has its address", "socket", name)
	}
	return nil
}

// Reload reads again what lies in files: the certificates.
func (s *Server) Reload() error { return s.certificates.Load() }

// Close stops serving, lets sessions end within ctx's time in Drain, and closes
// the store.
func (s *Server) Close() error { return s.Drain(context.Background()) }

// Drain is Close with a bound on how long live sessions have to end.
func (s *Server) Drain(ctx context.Context) error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.stopping.Store(true)
	ctx, cancel := context.WithTimeout(ctx, listener.DrainTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, name := range settings.Services {
		if svc := s.service(name); svc != nil {
			wg.Go(func() {
				if err := svc.stop(ctx); err != nil {
					s.log.Warn("a service did not stop cleanly", "service", name, "error", err)
				}
			})
		}
	}
	wg.Wait()
	if s.web != nil {
		s.web.Close()
	}
	if s.stop != nil {
		s.stop()
	}
	s.work.Wait()
	s.options.Inherited.Close()
	s.protocolLogs.close(s.log)
	s.closeObservation()
	defer func() {
		if err := s.events.Close(); err != nil {
			s.log.Warn("the events could not be kept", "error", err)
		}
	}()
	if s.audit != nil {
		if err := s.audit.Close(); err != nil {
			s.log.Error("the audit log was not closed cleanly", "error", err)
		}
	}
	if s.ntlm != nil {
		s.ntlm.Close()
	}
	if s.chain != nil {
		if err := s.chain.Close(); err != nil {
			s.log.Warn("a directory was not closed cleanly", "error", err)
		}
	}
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// Log is the log that keeps events too.
func (s *Server) Log() *slog.Logger { return s.log }

// Settings are the live settings.
func (s *Server) Settings() *settings.Live { return s.settings }

// Store keeps the mail.
func (s *Server) Store() *store.Store { return s.store }

// Directory says who exists.
func (s *Server) Directory() directory.Writable { return s.directory }

// Manage runs cmdlets.
func (s *Server) Manage() *manage.Server { return s.manage }

// Socket is the management socket's path.
func (s *Server) Socket() string { return s.config.Socket }

// Certificate is the path of the self-signed certificate.
func (s *Server) Certificate() string { return s.certificates.SelfSigned() }

// Addrs tells where a service listens; empty when it does not run.
func (s *Server) Addrs(name settings.Service) listener.Bindings {
	if svc := s.service(name); svc != nil {
		return svc.Addrs()
	}
	return listener.Bindings{}
}
