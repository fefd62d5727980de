package manage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/postern-mail/postern/audit"
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
	r := Record{
		Time: s.Now().UTC(), Who: c.Caller.Name, From: c.Caller.From, Way: string(c.Caller.Way), Token: c.Caller.Token, Local: c.Caller.Local, Server: s.Settings.Server(),
		Cmdlet: c.Cmdlet.Name, Parameters: map[string]string{}, Changes: c.result.Changes, Outcome: audit.OK,
	}
	for _, role := range c.Caller.Roles {
		if err != nil || holds([]Role{role}, c.Cmdlet.Role) {
			r.Roles = append(r.Roles, string(role))
		}
	}
	for name, value := range c.arguments {
		r.Parameters[name] = argumentText(value)
	}
	if err != nil {
		r.Outcome, r.Error = mail.KindOf(err).String(), mail.TextOf(err)
	}
	// The change is made; a caller who hung up meanwhile is recorded all the same.
	if err := s.Audit.Record(context.WithoutCancel(ctx), r); err != nil {
		s.Log.ErrorContext(ctx, "audit record lost", "cmdlet", r.Cmdlet, "who", r.Who, "from", r.From, "parameters", r.Parameters,
			"changes", r.Changes, "outcome", r.Outcome, "error", err)
		c.Warn("The audit record could not be written: " + mail.TextOf(err))
	}
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
