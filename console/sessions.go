package console

import (
	"cmp"
	"net/url"
	"strings"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// sessionsData is what the list of sessions shows.
type sessionsData struct {
	Search *Search
	Rows   []*session
	Notes  []string
}

// session is a connection that is open.
type session struct {
	ID, Service, User, UserPath, ActedBy string
	Address, Proxy, Client               string
	State, Mailbox, Command              string
	Mechanism, TLS, Cipher               string
	In, Out                              int64
	Connected                            time.Time
	For, Idle                            string
	LogPath                              string
	End                                  *Form
}

// services are the services to choose from.
func services(among ...settings.Service) []settings.Choice {
	var list []settings.Choice
	for _, s := range among {
		list = append(list, settings.Choice{Name: string(s)})
	}
	return list
}

// sessionsPage shows who is connected.
func sessionsPage(v *Visit) error {
	if v.Rest != "" {
		return noPage()
	}
	data := &sessionsData{}
	v.Data = data
	data.Search = v.search(
		&Input{Name: "service", Label: "Service", Parameter: "Service", Choices: services(settings.Services...)},
		&Input{Name: "user", Label: "User", Parameter: "User", Hint: "alice*"},
		&Input{Name: "address", Label: "Address or network", Parameter: "Address", Hint: "192.0.2.0/24"},
	)
	result, err := v.Run("Get-Session", data.Search.Arguments()...)
	if err != nil {
		if data.Search.fault(v, err) {
			return nil
		}
		return err
	}
	data.Rows, data.Notes = v.sessionRows(result), result.Notes
	return nil
}

// sessionRows reads the objects of Get-Session and adds a form to end each.
func (v *Visit) sessionRows(result *manage.Result) []*session {
	var rows []*session
	for _, o := range result.Objects {
		s := &session{
			ID: textOf(o, "Identity"), Service: textOf(o, "Service"), User: textOf(o, "User"), ActedBy: textOf(o, "ActedBy"), Address: textOf(o, "Address"), Proxy: textOf(o, "Proxy"), Client: textOf(o, "Client"),
			State: textOf(o, "State"), Mailbox: textOf(o, "Mailbox"), Command: textOf(o, "Command"),
			Mechanism: textOf(o, "Mechanism"), TLS: textOf(o, "Tls"), Cipher: textOf(o, "Cipher"),
			In: intOf(o, "BytesReceived"), Out: intOf(o, "BytesSent"), Connected: timeOf(o, "Connected"),
			For: v.Span(textOf(o, "Duration")), Idle: v.Span(textOf(o, "Idle")),
		}
		if s.User != "" && s.Service != string(settings.Console) && !v.Own() {
			s.UserPath = mailboxPath("activity", s.User)
		}
		if s.Service != string(settings.Console) && !v.Own() {
			s.LogPath = "/protocol-log?" + url.Values{"session": {s.ID}}.Encode()
		}
		s.End = v.Add(&Form{ID: "end-" + s.ID, Title: "Session ended", Submit: "End", Cmdlet: "Remove-Session", Danger: true,
			Fixed: []shell.Argument{{Name: "Identity", Value: s.ID}},
			Help:  "The client is told and may connect again. What it is doing at this moment is broken off."})
		rows = append(rows, s)
	}
	return rows
}

// Span writes a time span of a cmdlet in its two largest units.
func (w *Words) Span(text string) string {
	span, err := settings.ParseSpan(text)
	if err != nil || text == "" {
		return ""
	}
	seconds := int64(span / time.Second)
	var parts []string
	for _, u := range []struct {
		name    string
		seconds int64
	}{{"%s d", 86400}, {"%s h", 3600}, {"%s min", 60}, {"%s s", 1}} {
		if n := seconds / u.seconds; n > 0 && len(parts) < 2 {
			parts = append(parts, w.T(u.name, n))
			seconds -= n * u.seconds
		} else if len(parts) > 0 {
			break
		}
	}
	return cmp.Or(strings.Join(parts, " "), w.T("%s s", 0))
}

// Empty is said in place of an empty list.
func (v *Visit) Empty(text, action, path string, primary bool) With {
	return v.With(Nothing{Text: text, Action: action, Path: path, Primary: primary})
}
