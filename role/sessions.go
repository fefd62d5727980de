package role

import (
	"strings"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// Sessions implements manage.Sessions.
func (s services) Sessions(name settings.Service) []manage.LiveSession {
	svc := s.service(name)
	if svc == nil {
		return nil
	}
	var list []manage.LiveSession
	for _, c := range svc.Conns() {
		list = append(list, liveSession(name, c))
	}
	return list
}

func liveSession(name settings.Service, c *listener.Conn) manage.LiveSession {
	st := c.Status()
	l := manage.LiveSession{
		ID: c.Name(), Service: name, Address: c.Remote(), Connected: c.Accepted(), Idle: st.Idle, State: st.State, Mailbox: st.Mailbox,
		Mechanism: st.Mechanism, AppPassword: st.AppPassword, ActedBy: st.ActedBy, Client: strings.TrimSpace(st.Client + " " + st.Version), Command: st.Command,
	}
	l.Account, l.User = c.User()
	l.In, l.Out = c.Bytes()
	l.TLS, l.Cipher = c.TLSNames()
	l.Proxy = c.Proxy()
	return l
}

// EndSession implements manage.Sessions.
func (s services) EndSession(id string) bool {
	for _, name := range settings.Services {
		if svc := s.service(name); svc != nil && strings.HasPrefix(id, svc.Name+"-") {
			for _, c := range svc.Conns() {
				if c.Name() == id {
					c.End(listener.ErrEnded)
					return true
				}
			}
		}
	}
	return false
}
