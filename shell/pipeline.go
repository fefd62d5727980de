package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// stage is one command of a pipeline, understood: a cmdlet or a filter.
type stage struct {
	cmdlet *manage.Cmdlet // nil for a filter
	filter *filter        // nil for a cmdlet
	bound  map[string]any
	args   []token
}

func (g *stage) name() string {
	if g.cmdlet != nil {
		return g.cmdlet.Name
	}
	return g.filter.name
}

// pipeline runs a cmdlet and sends its objects through what stands behind it. The
// whole pipeline is read before anything is done. It gives an exit code.
func (s *session) pipeline(ctx context.Context, p pipeline) int {
	stages, at, err := s.plan(ctx, p)
	if err != nil {
		s.fail(at, err)
		if mail.KindOf(err) == mail.KindUnavailable {
			return Failed
		}
		return Misused
	}
	if follows(stages[0]) {
		return s.follow(ctx, stages)
	}
	st := &stream{}
	worst := Done
	for i, g := range stages {
		code := Done
		switch {
		case g.filter != nil:
			if err := g.filter.run(st, g.bound, g.args); err != nil {
				s.fail(g.name(), err)
				if slices.ContainsFunc(stages[:i], func(g stage) bool { return g.cmdlet != nil && g.cmdlet.Changes }) {
					return Failed // something was done
				}
				return Misused
			}
		case i == 0:
			st.result, code = s.first(ctx, &g)
		default:
			s.remarks(st.result)
			st.result, code = s.feed(ctx, &g, st)
			st.expand, st.selected = "", false
		}
		worst = max(worst, code)
		if st.result == nil {
			return worst
		}
	}
	if err := s.print(st); err != nil {
		s.fail(stages[0].name(), err)
		return Failed
	}
	s.remarks(st.result)
	return worst
}

// plan understands all commands of a pipeline, asks for the secrets that are
// missing and reads the files. It says at which command err is.
func (s *session) plan(ctx context.Context, p pipeline) (stages []stage, at string, err error) {
	for i, c := range p {
		if i > 0 && stages[i-1].filter != nil && stages[i-1].filter.last {
			return nil, c.name, mail.Errorf(mail.KindBadArgument, "%s stands at the end of a pipeline, and once", stages[i-1].name())
		}
		f := filterNamed(c.name)
		if i == 0 && f != nil {
			return nil, c.name, &hint{mail.Errorf(mail.KindBadArgument, "%s stands behind a pipe", f.name), s.Catalogue.say("Such as Get-Mailbox | %s.", f.name)}
		}
		g := stage{filter: f, args: c.args}
		if f != nil {
			if !f.own {
				g.bound, err = bind(f.name, f.parameters, c.args)
			}
		} else {
			if g.cmdlet, err = s.cmdlet(ctx, c.name); err != nil {
				return nil, c.name, err
			}
			if g.bound, err = bind(g.cmdlet.Name, g.cmdlet.Parameters, c.args); err == nil && i > 0 {
				err = s.pipeable(g.cmdlet, g.bound)
			}
			if err == nil {
				err = s.askMissing(g.cmdlet, g.bound, i > 0)
			}
			if err == nil {
				err = readFiles(g.cmdlet, g.bound)
			}
		}
		if err != nil {
			return nil, g.name(), err
		}
		stages = append(stages, g)
	}
	return stages, "", nil
}

// pipeable tells whether a cmdlet has a use for the objects that come to it.
func (s *session) pipeable(c *manage.Cmdlet, bound map[string]any) error {
	taken := ""
	for _, p := range c.Parameters {
		if !p.Pipeline {
			continue
		}
		if _, given := bound[p.Name]; !given {
			return nil
		}
		taken = p.Name
	}
	if taken != "" {
		return &hint{mail.Errorf(mail.KindBadArgument, "-%s comes through the pipe, and is given as well", taken), s.Catalogue.say("Leave one of the two out.")}
	}
	return &hint{mail.Errorf(mail.KindBadArgument, "takes nothing from a pipe"), s.Catalogue.say("Behind a pipe stand cmdlets that work on one object, such as Set-CASMailbox, and %s.", filterNames())}
}

func filterNames() string {
	var names []string
	for _, f := range filters() {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// first runs the cmdlet at the beginning. Without a result the exit code says why.
func (s *session) first(ctx context.Context, g *stage) (*manage.Result, int) {
	result, err := s.call(ctx, g.cmdlet, g.bound, nil)
	if err != nil {
		return nil, s.failed(g.name(), err)
	}
	return result, result.ExitCode
}

// failed shows why a call failed; somebody who said no knows.
func (s *session) failed(name string, err error) int {
	if errors.Is(err, errDeclined) {
		text := s.Catalogue.say("Nothing was changed.")
		if _, object, piped := strings.Cut(name, " "); piped {
			text = safe(object) + ": " + text
		}
		fmt.Fprintln(s.Err, text)
		return Failed
	}
	s.fail(name, err)
	return Failed
}

// feed runs a cmdlet once for each object. What fails for one does not keep it
// from the others, unless nobody can be asked or the server is gone.
func (s *session) feed(ctx context.Context, g *stage, st *stream) (*manage.Result, int) {
	all := &manage.Result{View: g.cmdlet.View, Columns: g.cmdlet.Columns}
	code := Done
	answers := &consent{many: len(st.result.Objects) > 1, bar: NewBar(s.Screen)}
	defer answers.bar.End()
	for i, o := range st.result.Objects {
		if g.cmdlet.Long && answers.many {
			answers.bar.Now(manage.Progress{Activity: g.cmdlet.Name, Done: int64(i), All: int64(len(st.result.Objects))})
		}
		bound, err := take(g.cmdlet, g.bound, o, st.expand)
		var r *manage.Result
		if err == nil {
			r, err = s.call(ctx, g.cmdlet, bound, answers)
		}
		if err != nil {
			answers.bar.End()
			if ctx.Err() != nil && answers.bar.Heard() != "" {
				err = &hint{err, s.endedAt(answers.bar, g.cmdlet)}
			}
			code = max(code, s.failed(g.name()+object(g.cmdlet, bound), err))
			if answers.none || ctx.Err() != nil || errors.Is(err, errNobody) || unreachable(err) {
				break
			}
			continue
		}
		code = max(code, r.ExitCode)
		all.View, all.Columns = r.View, r.Columns
		all.Objects = append(all.Objects, r.Objects...)
		if all.Units == nil {
			all.Units = map[string]string{}
		}
		maps.Copy(all.Units, r.Units)
		if r.File != nil && all.File != nil { // PEM files may stand one behind the other
			r.File.Content = append(all.File.Content, r.File.Content...)
		}
		if r.File != nil {
			all.File = r.File
		}
		all.Notes = union(all.Notes, r.Notes)
		all.Warnings = union(all.Warnings, r.Warnings)
	}
	return all, code
}

// object names the object of a call, behind a space.
func object(c *manage.Cmdlet, bound map[string]any) string {
	for _, p := range c.Parameters {
		if v, ok := bound[p.Name]; ok && p.Pipeline {
			return " " + show(v, "")
		}
	}
	return ""
}

func union(list, more []string) []string {
	for _, text := range more {
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// take gives the parameters of one call: those that were given, and those that
// the object gives. expand is the property of an object that is a text.
func take(c *manage.Cmdlet, given map[string]any, o manage.Object, expand string) (map[string]any, error) {
	bound := maps.Clone(given)
	found := false
	var names []string // of what was looked for
	for _, p := range c.Parameters {
		if _, have := given[p.Name]; have || !p.Pipeline {
			continue
		}
		candidates := append([]string{p.Name}, p.Aliases...)
		if expand != "" && len(names) > 0 {
			break
		}
		if expand != "" {
			candidates = []string{expand}
		}
		names = append(names, candidates...)
		for _, name := range candidates {
			if v, _ := o.Value(name); scalar(v) {
				bound[p.Name] = v
				found = true
				break
			}
		}
		if _, have := bound[p.Name]; p.Mandatory && !have {
			found = false
			break
		}
	}
	if !found {
		return nil, mail.Errorf(mail.KindBadArgument, "an object has none of the properties %s", strings.Join(names, ", "))
	}
	return bound, nil
}

func scalar(v any) bool {
	switch v := v.(type) {
	case string:
		return v != ""
	case bool, int64, float64:
		return true
	}
	return false
}

// consent remembers the answers that are for all objects of a pipeline, and has the bar that
// shows how many were dealt with.
type consent struct {
	many      bool // there are several objects
	all, none bool
	bar       *Bar
}

var (
	errDeclined = errors.New("the answer was no")
	errNobody   = mail.Errorf(mail.KindCannot, "it asks before it acts, and nobody can be asked here")
)

// call runs a cmdlet and asks for confirmation. answers is nil for a single call.
// Changes are shown as soon as they are made.
func (s *session) call(ctx context.Context, cmdlet *manage.Cmdlet, bound map[string]any, answers *consent) (*manage.Result, error) {
	result, err := s.run(ctx, cmdlet, bound)
	if err == nil && result.Confirm != "" {
		if s.Ask == nil {
			return nil, &hint{errNobody, s.Catalogue.say("-Confirm:$false acts without the question.")}
		}
		yes := answers != nil && answers.all
		if !yes {
			if answers != nil {
				answers.bar.End()
			}
			s.changes(result, s.Err)
			if yes, err = s.confirmed(result.Confirm, answers); err != nil {
				return nil, err
			}
		}
		if !yes {
			return nil, errDeclined
		}
		bound["Confirm"] = false
		result, err = s.run(ctx, cmdlet, bound)
	}
	if err != nil {
		return nil, err
	}
	// A cmdlet that shows what it made need not tell it again.
	if len(result.Objects) == 0 || result.WhatIf {
		if answers != nil {
			answers.bar.End()
		}
		s.changes(result, s.Err)
	}
	return result, nil
}

// confirmed asks a question. Only a yes is one; the end of the input is a no to
// all.
func (s *session) confirmed(question string, answers *consent) (bool, error) {
	say := s.Catalogue.say
	choice := say("[y/N] ")
	if answers != nil && answers.many {
		choice = say("[Y] Yes  [A] Yes to all  [N] No  [L] No to all (N): ")
	}
	answer, err := s.Ask(safe(question) + " " + choice)
	if err != nil && err != io.EOF {
		return false, mail.Wrap(mail.KindCannot, err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	if answers != nil && answers.many {
		answers.all = answer == "a"
		answers.none = answer == "l" || err == io.EOF && answer == ""
	}
	return s.yes(answer) || answers != nil && answers.all, nil
}

// yes tells whether an answer is yes, or begins it, in English or the catalogue's
// language.
func (s *session) yes(answer string) bool {
	return answer != "" && (strings.HasPrefix("yes", answer) || strings.HasPrefix(strings.ToLower(s.Catalogue.say("yes")), answer))
}
