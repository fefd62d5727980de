package role

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// consoleALPN is what the console speaks within TLS (RFC 7301).
const consoleALPN = "http/1.1"

// consoleService is the management API and the web console over HTTPS.
type consoleService struct {
	console *service
	web     *listener.HTTP
}

// openConsole makes the service; nothing is served yet.
func (s *Server) openConsole() error {
	server := &http.Server{
		Handler:           s.webHandler(),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.With("service", settings.Console).Handler(), slog.LevelDebug),
	}
	s.web = listener.HandleHTTP(server)
	s.console = &service{
		Service: &listener.Service{
			Name: string(settings.Console), Handle: s.web.Handle, NoLogin: true, Settings: s.current(settings.Console),
			Certificates: s.certificates.Shown(), ALPN: consoleALPN, Log: s.log, Observer: s.observer(settings.Console),
		},
		bindings: func() listener.Bindings { return bindingsOf(s.settings.Current(settings.Console)) },
	}
	return nil
}

// authenticate checks who signs in at the console: manage.Parts.Authenticate.
func (s *Server) authenticate(ctx context.Context, name, password string, remote netip.AddrPort) (*directory.Entry, error) {
	// The console has no binding without TLS.
	c := auth.Conn{Service: settings.Console, LoginType: mail.SecureLogin, TLS: new(tls.ConnectionState), Remote: remote}
	id, err := s.auth.Password(ctx, c, name, password)
	if err != nil {
		return nil, err
	}
	return &id.Entry, nil
}

// webHandler puts together what is served over HTTPS.
func (s *Server) webHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(manage.APIPrefix+"/", s.manage.API())
	return s.manage.KnownHosts(mux)
}
