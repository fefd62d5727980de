package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// exportConfiguration gives the server's configuration as a file for
// Import-Configuration. It has no secrets and no mailboxes.
func exportConfiguration(ctx context.Context, c *Call) (func(context.Context) error, error) {
	assignments, _, err := c.assignments().load(ctx)
	if err != nil {
		return nil, err
	}
	locals, _, err := c.localMembers().load(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The configuration of %s, for Import-Configuration.\n", shown(c.Settings.Server()))
	if !c.Bool("All") {
		b.WriteString("# What is not here has its default.\n")
	}
	fmt.Fprintln(&b)
	localNames := []string{}
	for _, m := range locals {
		localNames = append(localNames, m.Identity)
	}
	writeConfigured(&b, localsKey, localNames)
	for _, s := range settings.Services {
		values, begun := c.Settings.Current(s), false
		for _, r := range settings.Of(s, "") {
			value := r.Show(values)
			if !c.Bool("All") && reflect.DeepEqual(value, r.Default(s, c.Settings.Server())) {
				continue
			}
			if !begun {
				fmt.Fprintf(&b, "\n[%s]\n", s)
				begun = true
			}
			writeConfigured(&b, r.Name, value)
		}
	}
	for _, a := range assignments {
		fmt.Fprintf(&b, "\n[[%s]]\n", administratorTable)
		writeConfigured(&b, "Identity", a.Identity)
		writeConfigured(&b, "Role", string(a.Role))
		if len(a.Scope) > 0 {
			writeConfigured(&b, "Scope", a.Scope)
		}
	}
	for _, w := range c.Settings.Warnings() {
		c.Warn(w)
	}
	c.Add(Object{{"Server", c.Settings.Server()}, {"Content", b.String()}})
	return nil, nil
}

// importConfiguration makes the configuration that of a file: everything is checked
// before anything is changed, and when a part cannot be changed nevertheless, those
// before it are changed back.
func importConfiguration(ctx context.Context, c *Call) (func(context.Context) error, error) {
	file, err := readConfiguration(c.File("Path"))
	if err != nil {
		return nil, err
	}
	prune := c.Bool("Prune")
	if prune {
		file.pruneSettings(c.Settings)
	}
	edits, err := c.configuredSettings(file)
	if err != nil {
		return nil, err
	}
	administrators, err := c.configuredAdministrators(ctx, file, prune)
	if err != nil {
		return nil, err
	}
	locals, err := c.configuredLocals(ctx, file, prune)
	if err != nil {
		return nil, err
	}
	if prune && len(file.administrators) == 0 {
		c.Note("The file names no administrators: they are left as they are.")
	}
	if prune && !file.saysLocals {
		c.Note("The file has no " + localsKey + ": they are left as they are.")
	}
	if len(c.result.Changes) == 0 {
		c.Note("There is no difference.")
		return nil, nil
	}
	if c.Bool("WhatIf") && c.Bool("ExitCode") {
		c.result.ExitCode = 2
	}
	return func(ctx context.Context) error {
		var done undoing
		c.result.Changes = nil // somebody may have been faster: the record says what was changed
		if err := c.changeConfiguredSettings(ctx, edits, &done); err != nil {
			return err
		}
		if err := changeConfigured(ctx, c, c.assignments(), administrators, &done, "administrators"); err != nil {
			return c.undo(ctx, done, err)
		}
		if err := changeConfigured(ctx, c, c.localMembers(), locals, &done, "local administrators"); err != nil {
			return c.undo(ctx, done, err)
		}
		return nil
	}, nil
}

// pruneSettings adds the edits that give every setting that the file does not name
// its default.
func (f *configuration) pruneSettings(live *settings.Live) {
	for _, s := range settings.Services {
		i := slices.IndexFunc(f.services, func(have configuredService) bool { return have.service == s })
		if i < 0 {
			i = len(f.services)
			f.services = append(f.services, configuredService{service: s, lines: map[string]int{}})
		}
		for _, r := range settings.Of(s, "") {
			if f.services[i].lines[r.Name] != 0 {
				continue
			}
			raw := json.RawMessage("null")
			if list, ok := r.Default(s, live.Server()).([]string); ok { // null is the empty list
				raw, _ = json.Marshal(list) // strings always can be
			}
			f.services[i].edits = append(f.services[i].edits, settings.Edit{Name: r.Name, Value: raw})
		}
	}
}

// configuredSettings gives the edits that make a difference, checked, and notes the
// changes.
func (c *Call) configuredSettings(f *configuration) ([]settings.ServiceEdits, error) {
	var all []settings.ServiceEdits
	lines := map[settings.Service]map[string]int{}
	for _, s := range settings.Services {
		for _, configured := range f.services {
			if configured.service != s {
				continue
			}
			lines[s] = configured.lines
			old := c.Settings.Current(s)
			new, err := old.Edit(configured.edits...)
			if err != nil {
				return nil, located(err, s, configured.lines)
			}
			var edits []settings.Edit
			for _, d := range old.Diff(new) {
				i := slices.IndexFunc(configured.edits, func(e settings.Edit) bool { return e.Name == d.Name })
				edits = append(edits, configured.edits[i])
			}
			if len(edits) > 0 {
				all = append(all, settings.ServiceEdits{Service: s, Edits: edits})
			}
		}
	}
	olds, news, err := c.Settings.PlanAll(all)
	if err != nil {
		return nil, located(err, "", nil)
	}
	for i, new := range news {
		s := new.Service()
		if err := c.acceptable(olds[i], new); err != nil {
			return nil, located(err, s, lines[s])
		}
		c.settingChanges(s, olds[i].Diff(new))
		for _, e := range all[i].Edits {
			r := settings.Find(e.Name)
			c.Warn(r.Warning(new))
			c.Note(r.Note(new))
		}
	}
	return all, nil
}

// located adds the line of the setting that err is about.
func located(err error, s settings.Service, lines map[string]int) error {
	fault := FaultOf(err)
	text := fault.Text
	if s != "" {
		text = string(s) + ": " + text
	}
	if line := lines[fault.Parameter]; line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	return about("Path", hinted(mail.Errorf(mail.KindOf(err), "%s", text), fault.Hint))
}

// configuredAdministrators gives what the assignments become, as a function of what
// they are, and notes the changes.
func (c *Call) configuredAdministrators(ctx context.Context, f *configuration, prune bool) (func([]Assignment) ([]Assignment, error), error) {
	if len(f.administrators) == 0 {
		return nil, nil
	}
	have, _, err := c.assignments().load(ctx)
	if err != nil {
		return nil, err
	}
	var wanted []Assignment
	for _, configured := range f.administrators {
		role, err := ParseRole(configured.role.text)
		if err != nil {
			return nil, atLine(configured.role.line, "%s", mail.TextOf(err))
		}
		scope, err := readScope(configured.scope)
		if err != nil {
			return nil, atLine(configured.line, "%s", mail.TextOf(err))
		}
		if len(scope) > 0 && role != ServerAdministrator {
			return nil, atLine(configured.line, "Scope belongs to the role %s; %s holds everywhere", ServerAdministrator, role)
		}
		identity := configured.identity.text
		w := Assignment{Role: role, Scope: scope}
		// A name that holds a role already means its holder, whoever has the name now.
		if i := slices.IndexFunc(have, func(a Assignment) bool { return a.Identity == identity }); i >= 0 {
			w.Holder = have[i].Holder
		} else {
			var warning string
			if w.Holder, warning, err = c.known(ctx, identity); err != nil {
				return nil, atLine(configured.identity.line, "%s", mail.TextOf(err))
			}
			c.Warn(warning)
		}
		if slices.ContainsFunc(wanted, w.same) {
			return nil, atLine(configured.line, "%s is given the role %s twice", w.Identity, role)
		}
		wanted = append(wanted, w)
	}
	compute := func(list []Assignment) ([]Assignment, error) {
		result := wanted
		if !prune {
			result = slices.Clone(list)
			for _, w := range wanted {
				if i := slices.IndexFunc(result, w.same); i >= 0 {
					result[i] = w
				} else {
					result = append(result, w)
				}
			}
		}
		switch {
		case len(organizationAdministrators(result)) == 0:
			return nil, about("Path", mail.Errorf(mail.KindCannot, "the file names no %s: then nobody could give a role to anybody", OrganizationAdministrator))
		case len(result) > maxAssignments:
			return nil, mail.Errorf(mail.KindLimit, "there are at most %d administrators", maxAssignments)
		}
		c.assignmentChanges(list, result)
		return result, nil
	}
	return tried(c, have, compute)
}

// tried gives compute when it makes something else of have, after it has told the
// changes; nil when it does not.
func tried[T any](c *Call, have []T, compute func([]T) ([]T, error)) (func([]T) ([]T, error), error) {
	before := len(c.result.Changes)
	if _, err := compute(have); err != nil {
		return nil, err
	}
	if len(c.result.Changes) == before {
		return nil, nil
	}
	return compute, nil
}

// same tells whether two assignments give the same role to the same holder.
func (a Assignment) same(b Assignment) bool { return a.is(b.Holder) && a.Role == b.Role }

// assignmentChanges notes the differences between two lists.
func (c *Call) assignmentChanges(old, new []Assignment) {
	for _, o := range old {
		if !slices.ContainsFunc(new, o.same) {
			c.Change(o.Identity, "Role", string(o.Role), nil)
		}
	}
	for _, n := range new {
		i := slices.IndexFunc(old, n.same)
		if i < 0 {
			c.Change(n.Identity, "Role", nil, string(n.Role))
		}
		scope := []string{}
		if i >= 0 {
			scope = old[i].Scope
		}
		if !slices.Equal(scope, n.Scope) {
			c.Change(n.Identity, "Scope", addresses(scope), addresses(n.Scope))
		}
	}
}

// configuredLocals gives what the list of local administrators becomes, as a
// function of what it is, and notes the changes.
func (c *Call) configuredLocals(ctx context.Context, f *configuration, prune bool) (func([]localMember) ([]localMember, error), error) {
	if !f.saysLocals {
		return nil, nil
	}
	have, _, err := c.localMembers().load(ctx)
	if err != nil {
		return nil, err
	}
	var wanted []localMember
	for _, configured := range f.locals {
		name := configured.text
		var w localMember
		// A name that is in the list means its holder, whoever has the name now.
		if i := slices.IndexFunc(have, func(m localMember) bool { return m.Identity == name }); i >= 0 {
			w = have[i]
		} else {
			if strings.HasPrefix(strings.ToLower(name), unixPrefix) {
				return nil, atLine(configured.line, "the groups of operating-system users are the operating system's, and %s names mailboxes", localsKey)
			}
			if w.Holder, _, err = c.known(ctx, name); err != nil {
				return nil, atLine(configured.line, "%s", mail.TextOf(err))
			}
		}
		if !slices.Contains(wanted, w) {
			wanted = append(wanted, w)
		}
	}
	compute := func(list []localMember) ([]localMember, error) {
		result := append([]localMember{}, wanted...)
		if !prune {
			result = slices.Clone(list)
			for _, w := range wanted {
				if !slices.Contains(result, w) {
					result = append(result, w)
				}
			}
		}
		if len(result) > maxLocalMembers {
			return nil, mail.Errorf(mail.KindLimit, "a server has at most %d local administrators", maxLocalMembers)
		}
		for _, m := range list {
			if !slices.Contains(result, m) {
				c.Change(m.Identity, "LocalGroup", localGroup, nil)
			}
		}
		for _, m := range result {
			if !slices.Contains(list, m) {
				c.Change(m.Identity, "LocalGroup", nil, localGroup)
			}
		}
		return result, nil
	}
	return tried(c, have, compute)
}

// undoing is what takes back the parts that were changed, the latest last.
type undoing []struct {
	what string
	undo func(context.Context) error
}

func (u *undoing) add(what string, undo func(context.Context) error) {
	*u = append(*u, struct {
		what string
		undo func(context.Context) error
	}{what, undo})
}

// changeConfiguredSettings changes the settings of all services, all or none.
func (c *Call) changeConfiguredSettings(ctx context.Context, all []settings.ServiceEdits, done *undoing) error {
	if len(all) == 0 {
		return nil
	}
	diffs, err := c.Settings.ChangeAll(ctx, all, c.acceptable)
	if err != nil {
		return located(err, "", nil)
	}
	back := make([]settings.ServiceEdits, len(all))
	for i, diff := range diffs {
		back[i].Service = all[i].Service
		c.settingChanges(all[i].Service, diff)
		for _, d := range diff {
			raw, err := json.Marshal(d.Old)
			if err != nil {
				return mail.Wrap(mail.KindServerBug, err)
			}
			back[i].Edits = append(back[i].Edits, settings.Edit{Name: d.Name, Value: raw})
		}
	}
	done.add("the settings", func(ctx context.Context) error {
		_, err := c.Settings.ChangeAll(ctx, back, nil)
		return err
	})
	return nil
}

// changeConfigured changes a list; compute nil leaves it as it is.
func changeConfigured[T any](ctx context.Context, c *Call, list keptList[T], compute func([]T) ([]T, error), done *undoing, what string) error {
	if compute == nil {
		return nil
	}
	var old, new []T
	before := len(c.result.Changes)
	err := list.change(ctx, func(have []T) ([]T, error) {
		c.result.Changes = c.result.Changes[:before] // computed anew when somebody was faster
		result, err := compute(have)
		old, new = have, result
		return result, err
	})
	if err != nil {
		c.result.Changes = c.result.Changes[:before]
		return err
	}
	done.add("the "+what, func(ctx context.Context) error {
		return list.change(ctx, func(have []T) ([]T, error) {
			if !reflect.DeepEqual(have, new) {
				return nil, mail.Errorf(mail.KindConflict, "somebody else has changed it meanwhile")
			}
			return old, nil
		})
	})
	return nil
}

// undo takes back what was changed before err, and says so.
func (c *Call) undo(ctx context.Context, done undoing, err error) error {
	if len(done) == 0 {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	var stuck []string
	cause := []error{err}
	for _, d := range slices.Backward(done) {
		if fault := d.undo(ctx); fault != nil {
			stuck, cause = append(stuck, d.what), append(cause, fault)
		}
	}
	text := mail.TextOf(err) + "; what was changed before it was changed back"
	if len(stuck) > 0 {
		text = mail.TextOf(err) + "; " + strings.Join(stuck, " and ") + " could not be changed back: look at them"
	} else {
		c.result.Changes = nil // the record says what remained: nothing
	}
	return &mail.Error{Kind: mail.KindOf(err), Text: text, Cause: errors.Join(cause...)}
}
