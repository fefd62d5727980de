package console

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// logData is what the pages of logs show.
type logData struct {
	Search   *Search
	Rows     []any // for the part that shows a row
	Pager    Pager
	Warnings []string
	Begin    []*Form // of the protocol logs that are off
	Proof    *Form   // of the audit log
	Source   string  // where what comes is followed, "" for nowhere
}

// recordsAtOnce is how many records are on one page.
const recordsAtOnce = 100

// found runs the cmdlet that a search asks; nothing is found when an input is wrong.
func (v *Visit) found(s *Search, cmdlet string, more ...shell.Argument) (*manage.Result, error) {
	arguments := slices.DeleteFunc(s.Arguments(), func(a shell.Argument) bool {
		return slices.ContainsFunc(more, func(other shell.Argument) bool { return other.Name == a.Name })
	})
	result, err := v.Run(cmdlet, append(arguments, more...)...)
	if err != nil && s.fault(v, err) {
		return &manage.Result{}, nil
	}
	return result, err
}

// mark is where the part of a list begins that is asked for.
func (v *Visit) mark() string {
	mark := v.Request.URL.Query().Get("from")
	if len(mark) > maxSearch {
		return ""
	}
	return mark
}

// source is where what comes is followed: from the first part of a list only, and for
// no end that was asked for.
func (v *Visit) source(s *Search) string {
	for _, in := range s.Inputs {
		if in.Error != "" || in.Name == "until" && in.Value != "" {
			return ""
		}
	}
	if v.mark() != "" {
		return ""
	}
	return s.From("")
}

// logged is a record of the protocol log.
type logged struct {
	Time                         time.Time
	Session, SessionPath         string
	User, UserPath, Address      string
	Milliseconds, In, Out        int64
	Command, Parameters, Context string
	Missed                       int64 // before this one
	Failed                       bool
}

func protocolSearch(v *Visit) *Search {
	return v.search(
		&Input{Name: "service", Label: "Service", Parameter: "Service", Choices: services(settings.POP3, settings.IMAP4, settings.LMTP)},
		&Input{Name: "user", Label: "User", Parameter: "User", Hint: "alice*"},
		&Input{Name: "address", Label: "Address or network", Parameter: "Address", Hint: "192.0.2.0/24"},
		&Input{Name: "session", Label: "Session", Parameter: "SessionId", Hint: "IMAP4-12"},
		&Input{Name: "since", Label: "From", Parameter: "StartDate", Type: "datetime-local"},
		&Input{Name: "until", Label: "Until", Parameter: "EndDate", Type: "datetime-local"},
	)
}

// protocolLog shows what sessions said, the newest first.
func protocolLog(v *Visit) error {
	if v.Rest != "" {
		return noPage()
	}
	data := &logData{Search: protocolSearch(v)}
	v.Data = data
	more := []shell.Argument{{Name: "ResultSize", Value: recordsAtOnce}}
	if from := v.mark(); from != "" {
		more = append(more, shell.Argument{Name: "EndDate", Value: from})
	}
	result, err := v.found(data.Search, "Get-ProtocolLog", more...)
	if err != nil {
		return err
	}
	data.Warnings, data.Source = result.Warnings, v.source(data.Search)
	next := ""
	for _, o := range slices.Backward(result.Objects) {
		data.Rows = append(data.Rows, v.loggedRow(o))
	}
	if n := len(result.Objects); n == recordsAtOnce {
		next = textOf(result.Objects[0], "Time")
		if next == textOf(result.Objects[n-1], "Time") || next == v.mark() {
			next = "" // so many at once that time does not tell them apart
		}
	}
	data.Pager = data.Search.pager(v, next)
	for _, s := range []settings.Service{settings.POP3, settings.IMAP4, settings.LMTP} {
		current, err := v.run("Get-"+s.Prefix()+"Settings", nil)
		if err != nil {
			return err
		}
		if !boolOf(current.Objects[0], settings.ProtocolLogEnabled.Name) {
			data.Begin = append(data.Begin, v.Add(&Form{ID: "begin-" + strings.ToLower(string(s)), Title: "The protocol log is written", Submit: string(s), Direct: true,
				Cmdlet: "Set-" + s.Prefix() + "Settings", Fixed: []shell.Argument{{Name: settings.ProtocolLogEnabled.Name, Value: true}}}))
		}
	}
	return nil
}

func (v *Visit) loggedRow(o manage.Object) any {
	l := &logged{
		Session: textOf(o, "SessionId"), User: textOf(o, "User"), Address: textOf(o, "Address"), Milliseconds: intOf(o, "Milliseconds"),
		In: intOf(o, "BytesReceived"), Out: intOf(o, "BytesSent"), Command: textOf(o, "Command"), Parameters: textOf(o, "Parameters"), Context: textOf(o, "Context"),
		Time: timeOf(o, "Time"), Missed: intOf(o, "Missed"),
	}
	l.SessionPath = "/protocol-log?" + url.Values{"session": {l.Session}}.Encode()
	if l.User != "" {
		l.UserPath = "/protocol-log?" + url.Values{"user": {l.User}}.Encode()
	}
	return l
}

func followProtocolLog(v *Visit) Following {
	return Following{Cmdlet: "Get-ProtocolLog", Arguments: protocolSearch(v).Arguments(), Part: "logged", Row: v.loggedRow}
}

// audited is a record of the audit.
type audited struct {
	Sequence              int64
	Time                  time.Time
	Who, From, Way, Token string
	Roles                 string
	Cmdlet                string
	Changes               []manage.Change
	More                  int // changes that are not shown
	Parameters            manage.Object
	Warnings              []string
	Outcome, OutcomeText  string
	Error, Note, Hash     string
	Omitted               int64
}

// maxChanges bounds the changes of one record that are shown.
const maxChanges = 12

func auditSearch(v *Visit) *Search {
	return v.search(
		&Input{Name: "who", Label: "Who", Parameter: "Identity", Hint: "alice*"},
		&Input{Name: "cmdlet", Label: "Cmdlet", Parameter: "Cmdlet", Hint: "Set-*"},
		&Input{Name: "target", Label: "Changed", Parameter: "Target", Hint: "POP3"},
		&Input{Name: "outcome", Label: "Outcome", Parameter: "Outcome", Choices: choicesOf(outcomeTexts, "OK", "NoPermission", "AuthenticationFailed", "BadArgument", "Conflict")},
		&Input{Name: "since", Label: "From", Parameter: "StartDate", Type: "datetime-local"},
		&Input{Name: "until", Label: "Until", Parameter: "EndDate", Type: "datetime-local"},
	)
}

// auditPage shows who changed what, the newest first.
func auditPage(v *Visit) error {
	if v.Rest != "" {
		return noPage()
	}
	data := &logData{Search: auditSearch(v)}
	v.Data = data
	more := []shell.Argument{{Name: "ResultSize", Value: recordsAtOnce}}
	if from, err := strconv.ParseUint(v.mark(), 10, 63); err == nil && from > 0 {
		more = append(more, shell.Argument{Name: "Before", Value: int64(from)})
	}
	result, err := v.found(data.Search, "Get-AuditLog", more...)
	if err != nil {
		return err
	}
	data.Warnings, data.Source = result.Warnings, v.source(data.Search)
	next := ""
	for _, o := range result.Objects {
		data.Rows = append(data.Rows, v.auditedRow(o))
		next = strconv.FormatInt(intOf(o, "Sequence"), 10)
	}
	if len(result.Notes) == 0 { // it says that there are more
		next = ""
	}
	data.Pager = data.Search.pager(v, next)
	data.Proof = v.Add(&Form{ID: "proof", Title: "Audit log proven", Submit: "Prove the log", Cmdlet: "Test-AuditLog", Shows: true,
		Columns: []Column{{Property: "Records"}, {Property: "Sequence"}, {Property: "Hash"}, {Property: "Problem", Text: v.said}}})
	data.Proof.Verdict = func(r *manage.Result) (string, string) {
		if len(r.Objects) == 0 || r.ExitCode != 0 {
			return "bad", v.T("The audit log is not as it was written.")
		}
		return "good", v.T("The audit log is as it was written: all %s records.", intOf(r.Objects[0], "Records"))
	}
	return nil
}

func (v *Visit) auditedRow(o manage.Object) any {
	a := &audited{
		Sequence: intOf(o, "Sequence"), Time: timeOf(o, "Time"), Who: textOf(o, "Who"), From: textOf(o, "From"), Way: textOf(o, "Way"), Token: textOf(o, "Token"),
		Roles: strings.Join(listOf(o, "Roles"), ", "), Warnings: listOf(o, "Warnings"), Cmdlet: textOf(o, "Cmdlet"), Outcome: textOf(o, "Outcome"),
		Error: textOf(o, "Error"), Note: textOf(o, "Note"), Hash: textOf(o, "Hash"), Omitted: intOf(o, "Omitted"),
	}
	parameters, _ := o.Value("Parameters")
	a.Parameters, _ = parameters.(manage.Object)
	changes, _ := o.Value("Changes")
	list, _ := changes.([]manage.Object)
	for _, c := range list {
		if len(a.Changes) == maxChanges {
			a.More++
			continue
		}
		old, _ := c.Value("Old")
		new, _ := c.Value("New")
		a.Changes = append(a.Changes, manage.Change{Target: textOf(c, "Target"), Name: textOf(c, "Name"), Old: old, New: new})
	}
	a.OutcomeText = v.T(cmp.Or(outcomeTexts[a.Outcome].Text, a.Outcome))
	return a
}

// outcomeTexts say how a call ended.
var outcomeTexts = map[string]phrase{
	"OK": {Text: "done"}, "NoPermission": {Text: "not permitted"}, "AuthenticationFailed": {Text: "sign-in refused"}, "BadArgument": {Text: "wrong value"},
	"Conflict": {Text: "somebody was faster"}, "AlreadyExists": {Text: "existed already"}, "NotFound": {Text: "not found"}, "Cannot": {Text: "not possible"},
	"Limit": {Text: "limit reached"}, "Unavailable": {Text: "unavailable"}, "ServerBug": {Text: "internal error"},
	"Expired": {Text: "password must be changed"},
}

// choicesOf gives some of a table's texts to choose from.
func choicesOf(texts map[string]phrase, names ...string) []settings.Choice {
	var list []settings.Choice
	for _, name := range names {
		list = append(list, settings.Choice{Name: name, Label: texts[name].Text})
	}
	return list
}

// Badge gives how a record is marked.
func (a *audited) Badge() string {
	switch a.Outcome {
	case "OK":
		return "good"
	case "NoPermission", "AuthenticationFailed":
		return "bad"
	}
	return "warn"
}

func followAudit(v *Visit) Following {
	return Following{Cmdlet: "Get-AuditLog", Arguments: auditSearch(v).Arguments(), Part: "audited", Row: v.auditedRow}
}

// happened is an event.
type happened struct {
	Time                  time.Time
	Type, TypeText, Badge string
	ID, Count             int64
	Source, Message, Help string
	Data                  manage.Object
}

// eventTexts say an event's type.
var eventTexts = map[string]phrase{"Error": {Text: "error"}, "Warning": {Text: "warning"}, "Information": {Text: "note"}}

// events shows the last events, the newest first.
func events(v *Visit) error {
	if v.Rest != "" {
		return noPage()
	}
	data := &logData{}
	v.Data = data
	data.Search = v.search(
		&Input{Name: "type", Label: "Type", Parameter: "EntryType", Choices: choicesOf(eventTexts, "Error", "Warning", "Information")},
		&Input{Name: "id", Label: "Event number", Parameter: "InstanceId", Hint: "1009"},
		&Input{Name: "source", Label: "Source", Parameter: "Source", Hint: "IMAP4"},
		&Input{Name: "since", Label: "From", Parameter: "After", Type: "datetime-local"},
		&Input{Name: "until", Label: "Until", Parameter: "Before", Type: "datetime-local"},
	)
	more := []shell.Argument{{Name: "Newest", Value: recordsAtOnce}}
	if from := v.mark(); from != "" {
		more = append(more, shell.Argument{Name: "Before", Value: from})
	}
	result, err := v.found(data.Search, "Get-EventLog", more...)
	if err != nil {
		return err
	}
	next := ""
	for _, o := range result.Objects {
		e := &happened{Time: timeOf(o, "TimeGenerated"), Type: textOf(o, "EntryType"), ID: intOf(o, "InstanceId"), Count: intOf(o, "Count"),
			Source: textOf(o, "Source"), Message: textOf(o, "Message"), Help: textOf(o, "Help")}
		e.TypeText, e.Badge = v.T(cmp.Or(eventTexts[e.Type].Text, e.Type)), badgeOf(e.Type)
		values, _ := o.Value("Data")
		e.Data, _ = values.(manage.Object)
		data.Rows = append(data.Rows, e)
		next = textOf(o, "TimeGenerated")
	}
	if len(result.Notes) == 0 || next == v.mark() {
		next = ""
	}
	data.Pager = data.Search.pager(v, next)
	return nil
}
