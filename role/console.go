package role

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/console"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// consoleALPN is what the console speaks within TLS (RFC 7301).
const consoleALPN = "http/1.1"

// maxStrangers bounds the console's connections on which nobody has proved who it is:
// with more the oldest of them goes.
const maxStrangers = 1024

// consoleService is the management API and the web console over HTTPS.
type consoleService struct {
	console *service
	web     *listener.HTTP
}

// openConsole makes the service; nothing is served yet.
func (s *Server) openConsole() {
	s.web = listener.HandleHTTP(s.webServer(s.webHandler()))
	s.console = &service{
		Service: &listener.Service{
			Name: string(settings.Console), Handle: s.web.Handle, MaxWaiting: maxStrangers, Settings: s.current(settings.Console),
			Certificates: s.certificates.Shown(), ALPN: consoleALPN, Challenge: s.acme.Challenge, Log: s.log, Observer: s.observer(settings.Console),
		},
		bindings: func() listener.Bindings { return bindingsOf(s.settings.Current(settings.Console)) },
	}
}

// webServer bounds the time of each request. What takes longer to answer sets its
// own time to write.
func (s *Server) webServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.With("service", settings.Console).Handler(), slog.LevelDebug),
	}
}

// authenticate gives what checks who signs in at the console, to administer or (account)
// to the own account.
func (s *Server) authenticate(account bool) manage.Authenticate {
	return func(ctx context.Context, name, password string, remote netip.AddrPort) (*directory.Entry, error) {
		// The console has no binding without TLS.
		c := auth.Conn{Service: settings.Console, Account: account, LoginType: mail.SecureLogin, TLS: new(tls.ConnectionState), Remote: remote}
		id, err := s.auth.Password(ctx, c, name, password)
		if err != nil {
			return nil, err
		}
		return &id.Entry, nil
	}
}

// webHandler puts together what is served over HTTPS.
func (s *Server) webHandler() http.Handler {
	shown := func(hostName string) *x509.Certificate {
		if c := s.certificates.ShownFor(hostName); c != nil {
			return c.Leaf()
		}
		return nil
	}
	pages := console.New(console.Parts{Manage: s.manage, SignIns: s.manage, Accounts: s.manage.Account(), Log: s.log, Statistics: s.statistics, Certificate: shown})
	mux := http.NewServeMux()
	mux.Handle(manage.APIPrefix+"/", s.manage.API())
	health := s.health(func(h http.Handler) http.Handler { return s.manage.Guard(manage.ViewOnlyAdministrator, h) })
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, health)
	}
	mux.Handle("/", pages)
	return s.manage.KnownHosts(mux)
}
