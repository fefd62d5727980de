package console

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
	"github.com/postern-mail/postern/statistics"
)

// overviewData is what the first page shows.
type overviewData struct {
	Services []*serviceState
	Findings []Finding
	Plots    []*Plot
	Spans    []span // to choose from
}

// serviceState is a service and what may be done with it.
type serviceState struct {
	Name, Path           string
	State, Startup       string
	StateText            string // State in the visitor's language
	Running              bool
	Connections          int64
	Listening            []string
	Problem              string
	Start, Stop, Restart *Form
}

// Finding is something that needs attention.
type Finding struct {
	Result string // "Fail" or "Warn"
	What   string // in the visitor's language
	Detail string // English
	Fix    string // what mends it, "" when nothing is known
	Typed  bool   // Fix is a line of the shell
	Path   string // of the page where to look, "" for none
}

// overview shows the first page.
func overview(v *Visit) error {
	data := &overviewData{}
	v.Data = data
	result, err := v.Run("Get-Service")
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		data.Services = append(data.Services, v.serviceState(o))
	}
	if data.Findings, err = v.findings(); err != nil {
		return err
	}
	v.plots(data)
	return nil
}

// Forms are those that there are.
func (s *serviceState) Forms() []*Form {
	return slices.DeleteFunc([]*Form{s.Start, s.Restart, s.Stop}, func(f *Form) bool { return f == nil })
}

// textOf gives a property that is text.
func textOf(o manage.Object, name string) string {
	value, _ := o.Value(name)
	text, _ := value.(string)
	return text
}

// serviceState reads an object of Get-Service and adds the forms.
func (v *Visit) serviceState(o manage.Object) *serviceState {
	s := &serviceState{Name: textOf(o, "Name"), State: textOf(o, "Status"), Startup: textOf(o, "StartupType"), Problem: textOf(o, "Problem")}
	s.StateText = v.T(s.State)
	s.Path = "/" + strings.ToLower(s.Name)
	s.Running = s.State == string(manage.Running)
	connections, _ := o.Value("Connections")
	s.Connections, _ = connections.(int64)
	listening, _ := o.Value("Listening")
	s.Listening = texts(listening)
	name := []shell.Argument{{Name: "Name", Value: s.Name}}
	id := strings.ToLower(s.Name)
	switch {
	case s.Name == string(settings.Console): // it cannot stop itself
	case s.Running:
		s.Stop = v.Add(&Form{ID: "stop-" + id, Title: "Service stopped", Submit: "Stop", Cmdlet: "Stop-Service", Fixed: name, Danger: true,
			Help: "Sessions that are open now end."})
		s.Restart = v.Add(&Form{ID: "restart-" + id, Title: "Service restarted", Submit: "Restart", Cmdlet: "Restart-Service", Fixed: name,
			Help: "Sessions that are open now end. No change of a setting needs it."})
	default:
		s.Start = v.Add(&Form{ID: "start-" + id, Title: "Service started", Submit: "Start", Cmdlet: "Start-Service", Fixed: name, Direct: true})
	}
	return s
}

// places are the pages where the checks of Test-ServerConfiguration are mended;
// what begins with a slash is below the page of the check's service.
var places = map[string]string{
	"LoginType": "/authentication", "Certificate": "/authentication", "Service": "/", "Reachable": "/binding", "Settings": "/", "StoredSettings": "/",
	"Administrators": "administrators", "AuditLog": "audit",
}

// findings are the rows of Test-ServerConfiguration that did not pass, the failures
// first.
func (v *Visit) findings() ([]Finding, error) {
	result, err := v.Run("Test-ServerConfiguration")
	if err != nil {
		return nil, err
	}
	var list []Finding
	for _, o := range result.Objects {
		if f := v.finding(o); f.Result != string(manage.Pass) {
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(severity(a.Result), severity(b.Result)) })
	return list, nil
}

// finding reads a row of Test-ServerConfiguration.
func (v *Visit) finding(o manage.Object) Finding {
	f := Finding{Result: textOf(o, "Result"), Detail: textOf(o, "Detail"), Fix: textOf(o, "Fix")}
	check, target := textOf(o, "Check"), textOf(o, "Target")
	f.What = v.T(check)
	place := places[check]
	if below, ok := strings.CutPrefix(place, "/"); ok && target != "" {
		place = strings.ToLower(target) + "/" + below
	}
	if target != "" {
		f.What = target + ": " + f.What
	}
	if path := "/" + strings.Trim(place, "/"); v.isPage(path) {
		f.Path = path
	}
	name, _, _ := strings.Cut(f.Fix, " ")
	f.Typed = v.Has(name)
	return f
}

// isPage tells whether a path is a page's or below one.
func (v *Visit) isPage(path string) bool {
	return slices.ContainsFunc(v.Area.pages, func(p *Page) bool {
		return p.Path != "/" && (path == p.Path || strings.HasPrefix(path, p.Path+"/"))
	})
}

func severity(result string) int {
	if result == string(manage.Fail) {
		return 0
	}
	return 1
}

// span is how much of the past the plots show.
type span struct {
	Name    string // in the address
	Title   string // English
	Current bool
	length  time.Duration
	step    time.Duration
}

var spans = []span{
	{Name: "hour", Title: "Last hour", length: time.Hour, step: time.Minute},
	{Name: "day", Title: "Last 24 hours", length: 24 * time.Hour, step: 15 * time.Minute},
	{Name: "week", Title: "Last 7 days", length: 7 * 24 * time.Hour, step: 2 * time.Hour},
}

// plots draws what happened over time.
func (v *Visit) plots(data *overviewData) {
	if v.Statistics == nil {
		return
	}
	chosen := 1
	for i, s := range spans {
		if s.Name == v.Request.URL.Query().Get("span") {
			chosen = i
		}
	}
	data.Spans = slices.Clone(spans)
	data.Spans[chosen].Current = true
	span := spans[chosen]
	to := v.Now()
	from := to.Add(-span.length)
	series := func(m statistics.Metric, s settings.Service) []statistics.Point {
		return v.Statistics.Series(m, s, from, to, span.step)
	}
	data.Plots = append(data.Plots,
		v.plot("signins", v.T("Sign-ins"), from, to,
			Line{Name: v.T("let in"), Class: "good", Points: series(statistics.SignIns, "")},
			Line{Name: v.T("refused"), Class: "bad", Points: series(statistics.Refusals, "")}),
		v.plot("connections", v.T("Open connections"), from, to,
			Line{Name: "POP3", Class: "one", Points: series(statistics.Connections, settings.POP3)},
			Line{Name: "IMAP4", Class: "two", Points: series(statistics.Connections, settings.IMAP4)}),
	)
}
