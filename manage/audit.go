package manage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Record is one audit record.
type Record = audit.Record

// Change is one difference that a cmdlet made, or would make.
type Change = audit.Change

// Audit keeps audit records; audit.Log is one. An error of Record is shown to the
// caller as a warning, and logged: the change is made by then, and a full disk must
// not keep an administrator from mending it.
type Audit interface {
	// Record keeps a record durably. A zero Time is now.
	Record(ctx context.Context, r Record) error
	// Search gives entries, the newest first, and whether there are more.
	Search(ctx context.Context, q audit.Query) (found []audit.Entry, more bool, err error)
	// Verify proves what follows a head that was noted earlier, or everything.
	Verify(ctx context.Context, after audit.Head) (audit.Verdict, error)
	// Head gives the place of the last record, the zero Head when there is none.
	Head() audit.Head
	// Follow gives every entry from now on; the channel of a reader that falls more
	// than buffer behind is closed.
	Follow(buffer int) (entries <-chan audit.Entry, stop func())
}

// audit writes the record of a call that changed something, or was to.
func (s *Server) audit(ctx context.Context, c *Call, err error) {
	r := Record{Cmdlet: c.Cmdlet.Name, Parameters: map[string]string{}, Changes: c.result.Changes, Warnings: slices.Clone(c.result.Warnings)}
	for name, value := range c.arguments {
		if object, ok := value.(map[string]json.RawMessage); ok {
			value = c.Cmdlet.withoutSecrets(object)
		}
		r.Parameters[name] = argumentText(value)
	}
	for _, role := range c.Caller.Roles {
		if err != nil || holds([]Role{role}, c.Cmdlet.Role) {
			r.Roles = append(r.Roles, string(role))
		}
	}
	if err := s.record(ctx, c.Caller, r, err); err != nil {
		c.Warn("The audit record could not be written: " + mail.TextOf(err))
	}
}

// withoutSecrets gives an object in which what is called like a secret parameter is
// redacted: a caller may expect of a password what it is.
func (c *Cmdlet) withoutSecrets(object map[string]json.RawMessage) map[string]json.RawMessage {
	plain := maps.Clone(object)
	for name := range plain {
		if p := c.parameter(name); p != nil && p.Type == TypeSecret {
			plain[name] = json.RawMessage(`"` + redacted + `"`)
		}
	}
	return plain
}

// recordAction records what is no cmdlet, one of audit's actions: a sign-in, a
// sign-out, the use of a token. failure is why it was refused, nil when it was
// not. parameters have no secrets.
func (s *Server) recordAction(ctx context.Context, caller Caller, action string, parameters map[string]string, failure error) {
	r := Record{Cmdlet: action, Parameters: parameters}
	for _, role := range caller.Roles {
		r.Roles = append(r.Roles, string(role))
	}
	s.record(ctx, caller, r, failure) // the log says when it is lost
}

// record completes a record and has it kept. It is made also for a caller who hung
// up meanwhile. Refusals for want of a right or password are counted instead when
// there are too many of them: whoever may change nothing may not fill the disk
// either.
func (s *Server) record(ctx context.Context, caller Caller, r Record, failure error) error {
	r.Time, r.Server = s.Now().UTC(), s.Settings.Server()
	r.Who, r.From, r.Way, r.Token, r.Local = caller.Name, caller.From, string(caller.Way), caller.Token, caller.Local
	r.Outcome = audit.OK
	if failure != nil {
		kind := mail.KindOf(failure)
		r.Outcome, r.Error = kind.String(), mail.TextOf(failure)
		if (kind == mail.KindNoPermission || kind == mail.KindAuthenticationFailed || kind == mail.KindAuthorizationFailed || kind == mail.KindLimit) && !s.refusals.admit(r.Time, len(caller.Roles) == 0) {
			return nil
		}
	}
	r.Omitted = s.refusals.take()
	err := s.Audit.Record(context.WithoutCancel(ctx), r)
	if err != nil {
		s.refusals.putBack(r.Omitted)
		event.AuditLost.Log(ctx, s.Log, "cmdlet", r.Cmdlet, "who", r.Who, "from", r.From, "parameters", r.Parameters,
			"changes", r.Changes, "outcome", r.Outcome, "error", err)
	}
	return err
}

// Bounds on refusals that are recorded: so many at once, and so many a second.
const (
	refusalsAtOnce    = 120
	refusalsPerMoment = 1
)

// refusals bounds how many refused attempts are recorded. Those of strangers, who hold
// no role, are bounded apart: whoever fails to sign in again and again does not hide
// what an administrator tries.
type refusals struct {
	mu                 sync.Mutex
	strangers, callers *rate.Limiter // made at the first
	omitted            int           // since the last record
}

// admit tells whether a refusal is recorded; one that is not is counted.
func (r *refusals) admit(now time.Time, stranger bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := &r.callers
	if stranger {
		limit = &r.strangers
	}
	if *limit == nil {
		*limit = rate.NewLimiter(refusalsPerMoment, refusalsAtOnce)
	}
	if (*limit).AllowN(now, 1) {
		return true
	}
	r.omitted++
	return false
}

// take gives how many were counted, for the next record.
func (r *refusals) take() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.omitted
	r.omitted = 0
	return n
}

func (r *refusals) putBack(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.omitted += n
}

// getAuditLog shows one object a record, the newest first.
func getAuditLog(ctx context.Context, c *Call) (func(context.Context) error, error) {
	q, err := c.auditQuery()
	if err != nil {
		return nil, err
	}
	found, more, err := c.Audit.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	for i := range found {
		c.Add(auditObject(&found[i]))
	}
	if more {
		c.Note(fmt.Sprintf("There are older records: -Before %d shows them, -ResultSize shows more at once.", found[len(found)-1].Sequence))
	}
	return nil, nil
}

// maxAuditBehind is how many records whoever follows the audit log may be behind.
const maxAuditBehind = 256

// followAuditLog gives records as they are made.
func followAuditLog(c *Call) (follow, error) {
	q, err := c.auditQuery()
	return func(ctx context.Context, ready func() error, each func(Object) error) error {
		entries, stop := c.Audit.Follow(maxAuditBehind)
		defer stop()
		if err := ready(); err != nil {
			return err
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case e, ok := <-entries:
				if !ok {
					return mail.Errorf(mail.KindLimit, "records came faster than they were read; Get-AuditLog shows them")
				}
				if !q.Matches(&e) {
					continue
				}
				if err := each(auditObject(&e)); err != nil {
					return err
				}
			}
		}
	}, err
}

// auditQuery reads which records are meant.
func (c *Call) auditQuery() (audit.Query, error) {
	q := audit.Query{Start: c.Time("StartDate"), End: c.Time("EndDate"), Limit: int(min(c.Number("ResultSize"), math.MaxInt32)), Before: uint64(c.Number("Before"))}
	if !c.Given("ResultSize") {
		q.Limit = 1000
	}
	if !q.Start.IsZero() && !q.End.IsZero() && !q.Start.Before(q.End) {
		return q, wrong("EndDate", "EndDate is after StartDate")
	}
	who, cmdlet, target, outcome := c.Text("Identity"), c.Text("Cmdlet"), c.Text("Target"), c.Text("Outcome")
	q.Matches = func(e *audit.Entry) bool {
		return matches(who, e.Who) && matches(cmdlet, e.Cmdlet) && matches(outcome, e.Outcome) &&
			(target == "" || slices.ContainsFunc(targetsOf(e), func(name string) bool { return matches(target, name) }))
	}
	return q, nil
}

// targetsOf gives what a record is about, each once.
func targetsOf(e *audit.Entry) []string {
	targets := []string{}
	for _, change := range e.Changes {
		if !slices.Contains(targets, change.Target) {
			targets = append(targets, change.Target)
		}
	}
	if e.Cmdlet == audit.ActFor {
		targets = append(targets, e.Parameters["Mailbox"])
	}
	return targets
}

func auditObject(e *audit.Entry) Object {
	changes, words := []Object{}, []string{}
	for _, change := range e.Changes {
		changes = append(changes, Object{{"Target", change.Target}, {"Name", change.Name}, {"Old", change.Old}, {"New", change.New}})
		words = append(words, fmt.Sprintf("%s: %s → %s", change.Name, valueText(change.Old), valueText(change.New)))
	}
	parameters := Object{}
	for _, name := range slices.Sorted(maps.Keys(e.Parameters)) {
		parameters = append(parameters, Property{name, e.Parameters[name]})
	}
	if e.Cmdlet == audit.ActFor {
		words = []string{e.Parameters["Service"] + " " + e.Parameters["Mechanism"]}
		if e.Error != "" {
			words = append(words, e.Error)
		}
	}
	summary := strings.Join(words, "; ")
	if summary == "" {
		summary = cmp.Or(e.Error, e.Note)
	}
	return Object{
		{"Sequence", int64(e.Sequence)}, {"Time", moment(e.Time)}, {"Who", e.Who}, {"From", e.From}, {"Way", e.Way}, {"Token", e.Token},
		{"Roles", addresses(e.Roles)}, {"Local", e.Local}, {"Server", e.Server}, {"Cmdlet", e.Cmdlet}, {"Target", targetsOf(e)},
		{"Summary", summary}, {"Parameters", parameters}, {"Changes", changes}, {"Warnings", addresses(e.Warnings)},
		{"Outcome", e.Outcome}, {"Error", e.Error}, {"Omitted", int64(e.Omitted)}, {"Note", e.Note}, {"Hash", e.Hash},
	}
}

// valueText gives a changed value in words, bounded.
func valueText(v any) string {
	text, isText := v.(string)
	if v == nil {
		return "nothing"
	}
	if !isText {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		text = string(raw)
	}
	if r := []rune(text); len(r) > 80 {
		text = string(r[:80]) + "…"
	}
	return text
}

// testAuditLog proves the chain of the log.
func testAuditLog(ctx context.Context, c *Call) (func(context.Context) error, error) {
	after := audit.Head{Sequence: uint64(c.Number("Sequence")), Hash: strings.ToLower(c.Text("Hash"))}
	switch sum, err := hex.DecodeString(after.Hash); {
	case c.Given("Sequence") != c.Given("Hash"):
		return nil, wrong("Hash", "Sequence and Hash go together: they are what an earlier Test-AuditLog has shown")
	case c.Given("Hash") && (err != nil || len(sum) != sha256.Size):
		return nil, wrong("Hash", "Hash is 64 hexadecimal digits")
	}
	v, err := c.Audit.Verify(ctx, after)
	if err != nil {
		return nil, err
	}
	o := Object{{"Result", "Pass"}, {"Records", int64(v.Records)}, {"Files", int64(v.Files)}, {"Sequence", int64(v.Last.Sequence)}, {"Hash", v.Last.Hash}, {"Problem", ""}, {"File", ""}, {"Line", int64(0)}}
	if v.Fault != nil {
		c.result.ExitCode = 1
		o = Object{{"Result", "Fail"}, {"Records", int64(v.Records)}, {"Files", int64(v.Files)}, {"Sequence", int64(v.Fault.Sequence)}, {"Hash", ""}, {"Problem", v.Fault.Problem}, {"File", v.Fault.File}, {"Line", int64(v.Fault.Line)}}
		c.Warn(fmt.Sprintf("The audit log is not as it was written, from record %d on.", v.Fault.Sequence))
	} else if v.Records > 0 {
		c.Note("Keep Sequence and Hash somewhere else: Test-AuditLog -Sequence … -Hash … proves later that the log still holds what it holds now.")
	}
	c.Add(o)
	return nil, nil
}

// argumentText gives an argument for the audit record, bounded.
func argumentText(value any) string {
	var text string
	switch v := value.(type) {
	case Secret:
		return v.String()
	case json.RawMessage:
		text = string(v)
	case []byte: // a file, which may hold a key
		text = fmt.Sprintf("%d bytes, SHA-256 %x", len(v), sha256.Sum256(v))
	case settings.ListEdit:
		text = fmt.Sprintf("%v", v.Set)
		if !v.Whole {
			text = fmt.Sprintf("Add=%v Remove=%v", v.Add, v.Remove)
		}
	case map[string]json.RawMessage:
		plain, _ := json.Marshal(v) // it was read from JSON
		text = string(plain)
	default:
		text = fmt.Sprint(v)
	}
	if len(text) > 1000 {
		text = strings.ToValidUTF8(text[:1000], "") + "…"
	}
	return text
}
