package settings

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
)

// Stored is one setting as it is kept. What is not stored has its default.
type Stored struct {
	Server  string // the server that it belongs to
	Service Service
	Name    string // Row.Name
	Value   string // JSON in the form of Row.Show; "" in Save removes the row
	// Revision is 0 for a row that is not stored, and grows by one each time it
	// is saved.
	Revision uint64
}

// Keeper keeps settings. Its methods obey their context and give *mail.Error.
type Keeper interface {
	// Load gives all stored settings of all servers.
	Load(ctx context.Context) ([]Stored, error)
	// Save writes all rows or none. Each Revision is the one that Load gave, or
	// the number of times it was saved since; KindConflict when it is not so any
	// more.
	Save(ctx context.Context, rows []Stored) error
}

// Applier makes a change act. It is called before anything is kept, gets ready
// (a listener opens its new bindings) and may refuse with the reason, and then
// nothing changes. commit is called after the values are kept and current,
// cancel when the change fails elsewhere; exactly one of them, once. Either may
// be nil.
type Applier func(ctx context.Context, old, new *Values) (commit, cancel func(), err error)

// Watcher is told of a change after it acts. It must not call Live.Change.
type Watcher func(old, new *Values)

// Live holds the current settings of each service of one server. Its methods may
// be called from any goroutine.
type Live struct {
	server  string
	keeper  Keeper
	log     *slog.Logger
	current [4]atomic.Pointer[Values] // in the order of Services

	change sync.Mutex // held through a change
	// Guarded by change.
	revisions map[key]uint64
	appliers  []Applier

	mu       sync.Mutex
	warnings map[key]string // guarded by mu
	watchers map[int]Watcher
	next     int
}

type key struct {
	service Service
	name    string
}

// Open loads the settings of the named server. A stored value that cannot be read
// does not stop the server: the setting has its default until it is set again,
// the log and Warnings say so, and the stored value is left as it is.
func Open(ctx context.Context, server string, keeper Keeper, log *slog.Logger) (*Live, error) {
	l := &Live{
		server: server, keeper: keeper, log: log,
		revisions: map[key]uint64{}, warnings: map[key]string{}, watchers: map[int]Watcher{},
	}
	values, err := l.load(ctx)
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		l.current[i].Store(v)
	}
	return l, nil
}

// load reads the keeper's rows; the caller holds change, or nobody else knows l.
func (l *Live) load(ctx context.Context) ([]*Values, error) {
	stored, err := l.keeper.Load(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Values, len(Services))
	for i, s := range Services {
		all[i] = Defaults(s, l.server)
	}
	revisions, warnings := map[key]uint64{}, map[key]string{}
	for _, row := range stored {
		i := slices.Index(Services, row.Service)
		if row.Server != l.server || i < 0 {
			continue
		}
		k := key{row.Service, row.Name}
		revisions[k] = row.Revision
		r := Find(row.Name)
		if r == nil || !r.Has(row.Service) {
			warnings[k] = fmt.Sprintf("%s: the stored setting %q is not known to this version; it is left as it is.", row.Service, row.Name)
			continue
		}
		value, err := r.decode(row.Service, l.server, all[i].values[r.Name], json.RawMessage(row.Value))
		if err != nil {
			warnings[k] = fmt.Sprintf("%s: the stored %s is damaged (%s); %v is in effect until it is set again.",
				row.Service, r.Name, mail.TextOf(err), r.Show(all[i]))
			continue
		}
		all[i].values[r.Name] = value
	}
	for i, s := range Services {
		for _, check := range Checks {
			if err := check(all[i]); err != nil {
				warnings[key{s, ""}] = fmt.Sprintf("%s: %s.", s, mail.TextOf(err))
			}
		}
	}
	for k, text := range warnings {
		event.StoredSetting.Log(ctx, l.log, "service", k.service, "setting", k.name, "problem", text)
	}
	l.mu.Lock()
	l.warnings = warnings
	l.mu.Unlock()
	l.revisions = revisions
	return all, nil
}

// Server gives the name of the server whose settings these are.
func (l *Live) Server() string { return l.server }

// Current gives the settings of a service as they are now, without waiting. s is
// one of Services.
func (l *Live) Current(s Service) *Values {
	i := slices.Index(Services, s)
	if i < 0 {
		return Defaults(s, l.server)
	}
	return l.current[i].Load()
}

// Apply adds an applier, to be asked on every change from now on. Appliers are
// asked in the order in which they were added.
func (l *Live) Apply(a Applier) {
	l.change.Lock()
	defer l.change.Unlock()
	l.appliers = append(l.appliers, a)
}

// Watch tells watcher of every change from now on, until stop is called.
func (l *Live) Watch(watcher Watcher) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.next
	l.next++
	l.watchers[id] = watcher
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, id)
	}
}

// Warnings lists what is wrong with the stored settings, ordered.
func (l *Live) Warnings() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Values(l.warnings))
}

// Plan tells what Change would make of the edits, without asking the appliers.
func (l *Live) Plan(s Service, edits []Edit) (old, new *Values, err error) {
	plan, err := l.plan([]ServiceEdits{{s, edits}})
	if err != nil {
		return nil, nil, err
	}
	return plan[0].old, plan[0].new, nil
}

// PlanAll tells what ChangeAll would make of the edits, without asking the
// appliers: the values of each service, in the order of all.
func (l *Live) PlanAll(all []ServiceEdits) (olds, news []*Values, err error) {
	plan, err := l.plan(all)
	for _, p := range plan {
		olds, news = append(olds, p.old), append(news, p.new)
	}
	return olds, news, err
}

// ServiceEdits are edits of one service's settings.
type ServiceEdits struct {
	Service Service
	Edits   []Edit
}

// planned is what becomes of one service.
type planned struct {
	old, new *Values
	edits    []Edit
}

// plan makes the edits and checks them, those of all services together.
func (l *Live) plan(all []ServiceEdits) ([]planned, error) {
	plan := make([]planned, len(all))
	next := map[Service]*Values{}
	for _, s := range Services {
		next[s] = l.Current(s)
	}
	for i, e := range all {
		old := l.Current(e.Service)
		if next[e.Service] != old {
			return nil, mail.Errorf(mail.KindBadArgument, "%s is given twice", e.Service)
		}
		new, err := old.Edit(e.Edits...)
		if err != nil {
			return nil, err
		}
		plan[i], next[e.Service] = planned{old, new, e.Edits}, new
	}
	for _, p := range plan {
		if err := betweenServices(p.new, next); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// betweenServices checks v against the other services' settings.
func betweenServices(v *Values, all map[Service]*Values) error {
	for _, s := range Services {
		if s == v.service {
			continue
		}
		for _, mine := range []Setting[bindingList]{UnencryptedOrTLSBindings, SSLBindings} {
			for _, theirs := range []Setting[bindingList]{UnencryptedOrTLSBindings, SSLBindings} {
				for _, a := range mine.Of(v) {
					if slices.Contains(theirs.Of(all[s]), a) {
						return mine.refuse("contains %s, which is in %s of %s", a, theirs.Name, s)
					}
				}
			}
		}
	}
	return nil
}

// Change makes the edits in a service's settings: the values are checked, then
// check (which may be nil) decides, the appliers get ready, the values are kept,
// become current and act. Any refusal leaves everything as it was. An edit that
// changes nothing is kept nevertheless, so that a damaged stored value is mended.
// KindBadArgument, KindConflict when another server was faster, what check and
// the appliers give, and the Keeper's errors.
func (l *Live) Change(ctx context.Context, s Service, edits []Edit, check func(old, new *Values) error) (Diff, error) {
	diffs, err := l.ChangeAll(ctx, []ServiceEdits{{s, edits}}, check)
	if err != nil {
		return nil, err
	}
	return diffs[0], nil
}

// ChangeAll is Change for several services, none twice: all edits are made or none.
// check is asked for each service. The diffs are in the order of all.
func (l *Live) ChangeAll(ctx context.Context, all []ServiceEdits, check func(old, new *Values) error) ([]Diff, error) {
	l.change.Lock()
	defer l.change.Unlock()
	plan, err := l.plan(all)
	if err != nil {
		return nil, err
	}
	if check != nil {
		for _, p := range plan {
			if err := check(p.old, p.new); err != nil {
				return nil, err
			}
		}
	}
	diffs := make([]Diff, len(plan))
	commits := make([][]func(), len(plan))
	var cancels []func()
	var rows []Stored
	for i, p := range plan {
		diffs[i] = p.old.Diff(p.new)
		var more []func()
		var mine []Stored
		commits[i], more, err = l.prepare(ctx, p.old, p.new, len(diffs[i]) > 0)
		cancels = append(cancels, more...)
		if err == nil {
			mine, err = l.rows(p.new, p.edits)
			rows = append(rows, mine...)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = l.keeper.Save(ctx, rows)
	}
	if err != nil {
		for _, cancel := range slices.Backward(cancels) {
			cancel()
		}
		if mail.KindOf(err) == mail.KindConflict {
			return nil, l.reload(ctx, err)
		}
		return nil, err
	}
	l.mu.Lock()
	for _, row := range rows {
		k := key{row.Service, row.Name}
		l.revisions[k] = row.Revision + 1
		if row.Value == "" {
			delete(l.revisions, k)
		}
		delete(l.warnings, k)
	}
	for _, p := range plan {
		delete(l.warnings, key{p.new.service, ""})
	}
	l.mu.Unlock()
	for i, p := range plan {
		if len(diffs[i]) > 0 {
			l.publish(p.old, p.new, commits[i])
		}
	}
	return diffs, nil
}

// prepare asks every applier; when one refuses, those before it cancel.
func (l *Live) prepare(ctx context.Context, old, new *Values, differ bool) (commits, cancels []func(), err error) {
	if !differ {
		return nil, nil, nil
	}
	for _, apply := range l.appliers {
		commit, cancel, err := apply(ctx, old, new)
		if err != nil {
			for _, cancel := range slices.Backward(cancels) {
				cancel()
			}
			return nil, nil, err
		}
		if commit != nil {
			commits = append(commits, commit)
		}
		if cancel != nil {
			cancels = append(cancels, cancel)
		}
	}
	return commits, cancels, nil
}

// publish makes new current, lets it act and tells the watchers.
func (l *Live) publish(old, new *Values, commits []func()) {
	l.current[slices.Index(Services, new.service)].Store(new)
	for _, commit := range commits {
		commit()
	}
	l.mu.Lock()
	watchers := slices.Collect(maps.Values(l.watchers))
	l.mu.Unlock()
	for _, watch := range watchers {
		watch(old, new)
	}
}

// rows gives what is to be kept of the edited settings. A scalar that was reset
// with null is removed, so that it follows its default.
func (l *Live) rows(v *Values, edits []Edit) ([]Stored, error) {
	rows := make([]Stored, 0, len(edits))
	for _, e := range edits {
		r := Find(e.Name)
		row := Stored{Server: l.server, Service: v.service, Name: r.Name, Revision: l.revisions[key{v.service, r.Name}]}
		if string(e.Value) != "null" || r.Type == bindingsType {
			value, err := json.Marshal(r.Show(v))
			if err != nil {
				return nil, mail.Wrap(mail.KindServerBug, err)
			}
			row.Value = string(value)
		} else if row.Revision == 0 {
			continue
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// Reload takes over what another server or an earlier run has stored meanwhile.
// A service whose appliers refuse keeps its settings, with a warning.
func (l *Live) Reload(ctx context.Context) error {
	l.change.Lock()
	defer l.change.Unlock()
	return l.reload(ctx, nil)
}

// reload gives because when it went well.
func (l *Live) reload(ctx context.Context, because error) error {
	all, err := l.load(ctx)
	if err != nil {
		return err
	}
	for _, new := range all {
		old := l.Current(new.service)
		if len(old.Diff(new)) == 0 {
			continue
		}
		commits, _, err := l.prepare(ctx, old, new, true)
		if err != nil {
			text := fmt.Sprintf("%s: the stored settings cannot act: %s.", new.service, mail.TextOf(err))
			event.StoredSetting.Log(ctx, l.log, "service", new.service, "problem", text, "error", err)
			l.mu.Lock()
			l.warnings[key{new.service, ""}] = text
			l.mu.Unlock()
			continue
		}
		l.publish(old, new, commits)
	}
	return because
}
