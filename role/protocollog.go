package role

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// protocolLogs are the protocol logs of the services that have one.
type protocolLogs map[settings.Service]*protolog.Log

// openProtocolLogs makes the logs, switched off.
func (s *Server) openProtocolLogs() {
	s.protocolLogs = protocolLogs{}
	for _, name := range settings.Services {
		if settings.ProtocolLogEnabled.Has(name) {
			s.protocolLogs[name] = protolog.New(name, s.log, nil)
		}
	}
}

// beginProtocolLogs lets the settings act. A folder that cannot be written to keeps
// no server from starting: the log tries again.
func (s *Server) beginProtocolLogs() {
	for name, l := range s.protocolLogs {
		l.Set(protolog.ConfigOf(s.settings.Current(name), s.config.Data))
	}
	s.settings.Apply(s.applyProtocolLog)
}

// applyProtocolLog refuses a folder that cannot be written to, and has sessions
// follow with their next command: settings.Applier.
func (s *Server) applyProtocolLog(_ context.Context, old, new *settings.Values) (commit, cancel func(), err error) {
	l := s.protocolLogs[new.Service()]
	if l == nil {
		return nil, nil, nil
	}
	was, is := protolog.ConfigOf(old, s.config.Data), protolog.ConfigOf(new, s.config.Data)
	if was == is {
		return nil, nil, nil
	}
	if is.Folder != was.Folder || is.Enabled && !was.Enabled {
		if err := is.Check(); err != nil {
			return nil, nil, mail.Errorf(mail.KindCannot, "%s: %s", settings.LogFileLocation.Name, mail.TextOf(err))
		}
	}
	return func() { l.Set(is) }, nil, nil
}

// close writes what is to be written yet.
func (p protocolLogs) close(log *slog.Logger) {
	for _, l := range p {
		if err := l.Close(); err != nil {
			log.Error("the protocol log was not closed cleanly", "error", err)
		}
	}
}
