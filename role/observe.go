package role

import (
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/lmtp"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// observation is what sees the server work.
type observation struct {
	statistics *statistics.History
}

// openObservation makes it; nothing is observed yet.
func (s *Server) openObservation() {
	s.statistics = statistics.Open(statistics.Options{
		Path: filepath.Join(s.config.Data, "statistics", "statistics.json.gz"),
		Read: func(name settings.Service) (statistics.Reading, bool) {
			svc := s.service(name)
			if svc == nil {
				return statistics.Reading{}, false
			}
			in, out := svc.Bytes()
			return statistics.Reading{Connections: svc.Open(), BytesIn: in, BytesOut: out}, true
		},
		Log: s.log,
	})
}

// Statistics keeps who signed in how, and what the services did over time.
func (s *Server) Statistics() *statistics.History { return s.statistics }

// signedIn takes a decided login: auth.Options.Observe.
func (s *Server) signedIn(a auth.Attempt) {
	s.statistics.Observe(a)
}

// delivered takes a delivery: lmtp.Server.Observe.
func (s *Server) delivered(d lmtp.Delivery) {
	if d.Err == nil {
		s.statistics.Delivered(1)
	}
}

// observer is the listener.Observer of one service.
type observer struct {
	*observation
}

func (s *Server) observer(name settings.Service) listener.Observer {
	return observer{observation: &s.observation}
}

// Opened implements listener.Observer.
func (o observer) Opened(c *listener.Conn) {}

// Command implements listener.Observer.
func (o observer) Command(c *listener.Conn, name string, began time.Time, ok bool) {
	switch name {
	case "ID", "LOGIN", "AUTHENTICATE":
		// A client says what it is before the login or after it.
		if client := c.Client(); ok && client != "" {
			o.statistics.Identify(c.Remote(), client)
		}
	}
}

// Closed implements listener.Observer.
func (o observer) Closed(c *listener.Conn) {}
