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
	Check  string // English
	Detail string // English
	Fix    string // English: what to do
	Path   string // of the page where to do it, "" for none
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
	if data.Findings, err = v.findings(data.Services); err != nil {
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
	if s.Running {
		s.Stop = v.Add(&Form{ID: "stop-" + id, Title: "Service stopped", Submit: "Stop", Cmdlet: "Stop-Service", Fixed: name, Danger: true,
			Help: "Sessions that are open now end."})
		s.Restart = v.Add(&Form{ID: "restart-" + id, Title: "Service restarted", Submit: "Restart", Cmdlet: "Restart-Service", Fixed: name,
			Help: "Sessions that are open now end. No change of a setting needs it."})
	} else {
		s.Start = v.Add(&Form{ID: "start-" + id, Title: "Service started", Submit: "Start", Cmdlet: "Start-Service", Fixed: name, Direct: true})
	}
	return s
}

// findings gathers what needs attention: the rows of Test-ServerConfiguration that
// did not pass, else what the services say of themselves.
func (v *Visit) findings(services []*serviceState) ([]Finding, error) {
	var list []Finding
	if v.Has("Test-ServerConfiguration") && v.May("Test-ServerConfiguration") == "" {
		result, err := v.Run("Test-ServerConfiguration")
		if err != nil {
			return nil, err
		}
		for _, o := range result.Objects {
			if verdict := textOf(o, "Result"); verdict != "Pass" {
				list = append(list, Finding{Result: verdict, Check: textOf(o, "Check"), Detail: textOf(o, "Detail"), Fix: textOf(o, "Fix")})
			}
		}
	} else {
		for _, s := range services {
			if s.Problem != "" {
				list = append(list, Finding{Result: "Fail", Check: s.Name, Detail: s.Problem, Path: s.Path})
			}
			service, err := settings.ParseService(s.Name)
			if err != nil {
				continue
			}
			result, err := v.run("Get-"+service.Prefix()+"Settings", nil)
			if err != nil {
				return nil, err
			}
			for _, w := range result.Warnings {
				list = append(list, Finding{Result: "Warn", Check: s.Name, Detail: w, Path: s.Path + "/" + slugOf(settings.Authentication)})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(severity(a.Result), severity(b.Result)) })
	return list, nil
}

func severity(result string) int {
	if result == "Fail" {
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
