package console

import (
	"slices"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// moved tells whether a change took away the address that the visitor came to, and
// gives the new one, "" when there is none. A redirect would lead nowhere then.
func (v *Visit) moved(result *manage.Result) (to string, moved bool) {
	changed := slices.ContainsFunc(result.Changes, func(c manage.Change) bool {
		return c.Target == string(settings.Console) && c.Name == settings.SSLBindings.Name
	})
	conn := listener.ConnOf(v.Request.Context())
	if !changed || conn == nil {
		return "", false
	}
	here := conn.Local()
	for _, a := range v.Manage.Services.Status(settings.Console).SSL {
		if a.Port() == here.Port() && (a.Addr() == here.Addr() || a.Addr().IsUnspecified()) {
			return "", false
		}
	}
	return v.Manage.ConsoleURL(), true
}
