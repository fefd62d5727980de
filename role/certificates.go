package role

import (
	"context"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/acme"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// openCertificates opens the folder "certificates" of the data folder.
func (s *Server) openCertificates() (err error) {
	hosts := []string{s.config.Name, "localhost", "127.0.0.1", "::1"}
	if s.config.Name == "localhost" {
		hosts = hosts[1:]
	}
	s.certificates, err = certificate.Open(certificate.Options{
		Folder: filepath.Join(s.config.Data, certificateFolder), Hosts: hosts, Log: s.log,
	})
	return err
}

// openAcme makes the client that gets and renews certificates; Start runs it.
func (s *Server) openAcme() {
	s.acme = acme.New(acme.Options{
		Certificates: s.certificates, Records: s.store, Settings: s.current(settings.Console),
		Console: func() []netip.AddrPort { return s.console.Addrs().SSL }, Log: s.log,
	})
}

// watchNames tells at the start and once a day which services have no certificate for
// their X509CertificateName, until ctx ends.
func (s *Server) watchNames(ctx context.Context) {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		for _, name := range settings.Services {
			if s.service(name) == nil {
				continue
			}
			host := settings.X509CertificateName.Of(s.settings.Current(name))
			if err := s.certificates.Shown().Usable(host); err != nil {
				event.NoCertificate.Log(ctx, s.log,
					"service", name, "X509CertificateName", host, "problem", mail.TextOf(err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
