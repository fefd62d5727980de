package manage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// impactWindow is how far a change of who may log in looks back, impactShown how many
// users' clients it names in a note.
const (
	impactWindow = 7 * 24 * time.Hour
	impactShown  = 5
)

// impact says what a change of a service's settings would have refused of late.
func (c *Call) impact(ctx context.Context, old, new *settings.Values) error {
	deciding := []string{settings.LoginType.Name, settings.AuthMechanisms.Name, settings.ExtendedProtectionPolicy.Name}
	if c.Statistics == nil || !slices.ContainsFunc(old.Diff(new), func(d settings.Change) bool { return slices.Contains(deciding, d.Name) }) {
		return nil
	}
	policy, err := c.keptPolicy(ctx)
	if err != nil {
		return err
	}
	i := c.refused(statistics.Filter{Service: new.Service()}, func(w auth.Wanted) bool { return policy.Decide(under(w, old)).OK },
		func(w auth.Wanted) bool { return policy.Decide(under(w, new)).OK })
	if i.SignIns == 0 && settings.LoginType.Of(new) < settings.LoginType.Of(old) {
		return nil // a weaker one refuses nobody anyway
	}
	c.noteImpact(new.Service(), i)
	return nil
}

// refused counts the sign-ins of late that were accepted before a change and are not
// after it. A client that bound its sign-in to the TLS connection can leave that out,
// and is counted only when it is refused then, too.
func (c *Call) refused(f statistics.Filter, before, after func(auth.Wanted) bool) statistics.Impact {
	return c.Statistics.Refused(f, func(s statistics.SignIn) bool {
		w := wantedOf(s)
		if !before(w) || after(w) {
			return false
		}
		if m, ok := sasl.Find(strings.TrimSuffix(w.Method, "-PLUS")); ok && m.Name != w.Method {
			w.Method, w.Class = m.Name, m.Class
			return !after(w)
		}
		return true
	}, impactWindow)
}

// wantedOf is a past sign-in as the policy would be asked about it, at the time of the
// latest of its kind.
func wantedOf(s statistics.SignIn) auth.Wanted {
	w := auth.Wanted{Service: s.Service, TLS: s.TLS, At: s.Last.Local(), Method: s.Mechanism, Class: s.Class, User: s.User, Secret: auth.ProvedBy(s.Mechanism, s.AppPassword), Legacy: []string{s.Mechanism}}
	if s.Network.IsValid() {
		w.From = s.Network.Addr()
	}
	return w
}

// under is a sign-in under a service's settings.
func under(w auth.Wanted, v *settings.Values) auth.Wanted {
	w.LoginType, w.Mechanisms, w.Protection = settings.LoginType.Of(v), settings.AuthMechanisms.Of(v), settings.ExtendedProtectionPolicy.Of(v)
	return w
}

// noteImpact says whom a change would have refused, at a service or, for "", at all.
func (c *Call) noteImpact(at settings.Service, i statistics.Impact) {
	c.result.Impact = &Impact{Impact: i}
	notes := len(c.result.Notes)
	defer func() { c.result.Impact.Notes = slices.Clone(c.result.Notes[notes:]) }()
	if i.SignIns == 0 && at == "" {
		c.Note("No sign-in of the last 7 days would have been refused.")
		return
	}
	if i.SignIns == 0 {
		c.Note(fmt.Sprintf("No sign-in of the last 7 days at %s would have been refused.", at))
		return
	}
	var who []string
	for _, a := range i.Affected[:min(len(i.Affected), impactShown)] {
		where := a.Address
		if a.Client != "" {
			where = a.Client + ", " + where
		}
		who = append(who, fmt.Sprintf("%s (%s) %d", a.User, where, a.Count))
	}
	if more := len(i.Affected) - len(who); more > 0 {
		who = append(who, fmt.Sprintf("and %d more", more))
	}
	if i.Others > 0 {
		who = append(who, fmt.Sprintf("others %d", i.Others))
	}
	signIns, users, names := count(i.SignIns, "sign-in"), count(int64(i.Users), "user"), strings.Join(who, ", ")
	if at == "" {
		c.Note(fmt.Sprintf("%s of %s in the last 7 days would have been refused: %s.", signIns, users, names))
		return
	}
	c.Note(fmt.Sprintf("%s of %s in the last 7 days at %s would have been refused: %s.", signIns, users, at, names))
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// getLogonStatistics shows one object a user, or with -Detailed one a way in which
// the user signed in, or tried to.
func getLogonStatistics(ctx context.Context, c *Call) (func(context.Context) error, error) {
	if c.Statistics == nil {
		return nil, mail.Errorf(mail.KindCannot, "this server keeps no statistics")
	}
	var filter statistics.Filter
	if c.Given("Service") {
		s, err := settings.ParseService(c.Text("Service"))
		if err != nil || s == settings.LMTP {
			return nil, wrong("Service", "Service is POP3, IMAP4 or Console, not %q", c.Text("Service"))
		}
		filter.Service = s
	}
	wanted, err := c.logonUsers(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]*logons{}
	var all []*logons
	for _, s := range c.Statistics.SignIns(c.Time("StartDate"), filter) {
		name, ok := wanted(s)
		if !ok {
			continue
		}
		l := byName[name]
		if l == nil {
			l = &logons{name: name}
			byName[name], all = l, append(all, l)
		}
		l.add(s)
	}
	slices.SortFunc(all, func(a, b *logons) int {
		return cmp.Or(b.last.Last.Compare(a.last.Last), b.lastFailure.Compare(a.lastFailure), strings.Compare(a.name, b.name))
	})
	var objects []Object
	for _, l := range all {
		if !c.Bool("Detailed") {
			objects = append(objects, l.object())
			continue
		}
		for _, s := range l.rows {
			objects = append(objects, signInObject(l.name, s))
		}
	}
	if c.Bool("Detailed") {
		c.result.Columns = []string{"UserName", "Service", "Result", "Count", "LastTime", "Mechanism", "Tls", "ClientAddress", "ClientName"}
	}
	most := standardResults
	if c.Given("ResultSize") {
		most = int(c.Number("ResultSize"))
	}
	if most > 0 && len(objects) > most {
		objects = objects[:most]
		c.Warn("There is more than is shown; -ResultSize unlimited shows all.")
	}
	if len(objects) == 0 {
		c.Note("No such sign-in is known.")
	}
	for _, o := range objects {
		c.Add(o)
	}
	return nil, nil
}

// logonUsers gives the function that says whose a sign-in is, by the name of the
// mailbox where there is one, and whether -Identity means it.
func (c *Call) logonUsers(ctx context.Context) (func(statistics.SignIn) (string, bool), error) {
	if c.own() {
		e, err := c.entry(ctx)
		return func(s statistics.SignIn) (string, bool) {
			return e.Name, s.User == e.Name || slices.Contains(e.Aliases, s.User)
		}, err
	}
	entries, err := c.Directory.List(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, e := range entries {
		for _, alias := range e.Aliases {
			names[alias] = e.Name
		}
	}
	pattern := c.Text("Identity")
	if prepared, err := directory.PrepareName(pattern); err == nil {
		pattern = cmp.Or(names[prepared], prepared)
	}
	return func(s statistics.SignIn) (string, bool) {
		name := cmp.Or(names[s.User], s.User)
		switch {
		case name != "":
		case s.Others:
			name = "(others)"
		default:
			name = "(no name)"
		}
		return name, pattern == "" || Like(pattern, name)
	}, nil
}

// logons is what is known of one user.
type logons struct {
	name            string
	count, failures int64
	last            statistics.SignIn // the latest that was let in
	lastFailure     time.Time
	rows            []statistics.SignIn
}

func (l *logons) add(s statistics.SignIn) {
	l.rows = append(l.rows, s)
	if s.Outcome != statistics.OK {
		l.failures += s.Count
		if s.Last.After(l.lastFailure) {
			l.lastFailure = s.Last
		}
		return
	}
	l.count += s.Count
	if s.Last.After(l.last.Last) {
		l.last = s
	}
}

func (l *logons) object() Object {
	o := Object{{"UserName", l.name}, {"LastLogonTime", nil}, {"LogonCount", l.count}, {"FailureCount", l.failures}, {"LastFailureTime", nil},
		{"Service", nil}, {"Mechanism", nil}, {"Tls", nil}, {"ClientAddress", nil}, {"ClientName", nil}}
	if !l.lastFailure.IsZero() {
		o[4].Value = moment(l.lastFailure)
	}
	if l.count > 0 {
		o[1].Value = moment(l.last.Last)
		o[5].Value, o[6].Value, o[7].Value = string(l.last.Service), l.last.Mechanism, l.last.TLS
		o[8].Value, o[9].Value = l.last.Address(), l.last.Client
	}
	return o
}

func signInObject(name string, s statistics.SignIn) Object {
	return Object{
		{"UserName", name}, {"Service", string(s.Service)}, {"Result", s.Outcome}, {"Count", s.Count}, {"LastTime", moment(s.Last)},
		{"Mechanism", s.Mechanism}, {"Tls", s.TLS}, {"ClientAddress", s.Address()}, {"ClientName", s.Client},
	}
}
