package manage

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Bounds of API tokens.
const (
	tokenPrefix   = "postern_" // lets scanners find a token where it should not be
	tokenLife     = 90 * 24 * time.Hour
	maxTokenLife  = 366 * 24 * time.Hour
	tokenKeptFor  = 30 * 24 * time.Hour // after its end, so that its owner sees why a script fails
	tokenUseStep  = time.Hour           // the precision of the last use, and how often one is in the audit
	maxTokens     = 1000
	tokensOfOwner = 50
	maxTokenName  = 64
	tokenKind     = "apitoken"
)

// apiToken is what is kept of a token; its record's key is the token's sum.
type apiToken struct {
	Name    string         `json:"name"`
	Owner   string         `json:"owner"`
	Account mail.AccountID `json:"account,omitempty"` // of the owner: another mailbox of the same name is another owner
	Role    Role           `json:"role"`
	Scope   []string       `json:"scope,omitempty"`
	Created time.Time      `json:"created"`
	Expires time.Time      `json:"expires"`
	Used    time.Time      `json:"used,omitzero"` // by tokenUseStep, zero for never

	record store.Record
}

func tokenKey(token string) string {
	sum := sumOf(token)
	return hex.EncodeToString(sum[:])
}

// tokens gives the tokens whose key begins with prefix.
func (s *Server) tokens(ctx context.Context, prefix string) ([]apiToken, error) {
	list, err := keptUnder(ctx, s.Records, tokenKind, prefix, func(t *apiToken, r store.Record) any {
		t.record = r
		return t
	})
	slices.SortFunc(list, func(a, b apiToken) int {
		return cmp.Or(strings.Compare(a.Owner, b.Owner), strings.Compare(a.Name, b.Name))
	})
	return list, err
}

// keepToken writes a token's record.
func (s *Server) keepToken(ctx context.Context, t apiToken) error {
	value, err := json.Marshal(t)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	t.record.Value = value
	return s.Records.PutRecords(ctx, []store.Record{t.record})
}

// TokenCaller gives the caller of an API token, with what it may do now: what the
// token grants and its owner holds, both. KindAuthenticationFailed when there is
// no such token, its time is up, or its owner's mailbox is gone or disabled.
func (s *Server) TokenCaller(ctx context.Context, token string, remote netip.AddrPort) (Caller, error) {
	from := fromAddress(remote)
	refused := func(why string) (Caller, error) {
		s.Log.InfoContext(ctx, "API token refused", "remote", from, "why", why)
		return Caller{}, mail.Errorf(mail.KindAuthenticationFailed, "The API token is not valid, or its time is up.")
	}
	if len(token) != len(tokenPrefix)+43 || !strings.HasPrefix(token, tokenPrefix) {
		return refused("not the form of a token")
	}
	found, err := s.tokens(ctx, tokenKey(token))
	if err != nil {
		return Caller{}, err
	}
	if len(found) != 1 {
		return refused("no such token")
	}
	t, now := found[0], s.Now()
	if !now.Before(t.Expires) {
		return refused("the time of " + t.Name + " of " + t.Owner + " is up")
	}
	who, same, err := s.unchanged(ctx, t.Owner, proof{account: t.Account})
	if err != nil {
		return Caller{}, err
	}
	if !same {
		return refused("the owner " + t.Owner + " is gone or disabled")
	}
	c, err := s.callerAs(ctx, who, from, WayToken)
	if err != nil {
		return Caller{}, err
	}
	c.Token = t.Name
	granted, elsewhere := rolesAt([]Assignment{{who, t.Role, t.Scope}}, who, s.Settings.Server())
	c.Roles = both(granted, c.Roles)
	c.Elsewhere = append(c.Elsewhere, elsewhere...)
	makeKnown(ctx)
	if now.Sub(t.Used) >= tokenUseStep {
		t.Used = now.Truncate(tokenUseStep)
		if err := s.keepToken(ctx, t); err != nil && mail.KindOf(err) != mail.KindConflict {
			s.Log.WarnContext(ctx, "the last use of an API token cannot be kept", "error", err)
		}
		s.recordAction(ctx, c, audit.TokenUse, nil, nil)
	}
	return c, nil
}

// both gives the roles that two sets hold, the one or as part of a stronger one.
func both(a, b []Role) []Role {
	var out []Role
	for _, r := range Roles {
		if holds(a, r) && holds(b, r) {
			out = append(out, r)
		}
	}
	return out
}

func (t apiToken) object() Object {
	return Object{
		{"Name", t.Name}, {"Owner", t.Owner}, {"Role", string(t.Role)}, {"Scope", addresses(t.Scope)},
		{"WhenCreated", moment(t.Created)}, {"Expires", moment(t.Expires)}, {"LastUsed", moment(t.Used)},
	}
}

// expiry reads -Expires: a time span from now, a day, whose end is meant, or a
// moment.
func (c *Call) expiry(now time.Time) (time.Time, error) {
	text := c.Text("Expires")
	if text == "" {
		return now.Add(tokenLife), nil
	}
	var until time.Time
	if span, err := settings.ParseSpan(text); err == nil {
		until = now.Add(span)
	} else if day, err := time.Parse(time.DateOnly, text); err == nil {
		until = day.AddDate(0, 0, 1)
	} else if until, err = time.Parse(time.RFC3339, text); err != nil {
		return until, wrong("Expires", "Expires is a time span such as 30.00:00:00 or a date such as 2027-01-31, not %q", text)
	}
	if !until.After(now) || until.Sub(now) > maxTokenLife {
		return until, wrong("Expires", "Expires is in the future, at most %d days from now", int(maxTokenLife/(24*time.Hour)))
	}
	return until.UTC(), nil
}

// newAPIToken makes a token for the caller and shows it, once.
func newAPIToken(ctx context.Context, c *Call) (func(context.Context) error, error) {
	now := c.Now().UTC()
	t := apiToken{Name: c.Text("Name"), Owner: c.Caller.Name, Created: now}
	if n := len(t.Name); n == 0 || n > maxTokenName || strings.ContainsFunc(t.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, wrong("Name", "Name has 1 to %d bytes without control characters", maxTokenName)
	}
	if c.Caller.Way == WayToken {
		return nil, hinted(mail.Errorf(mail.KindCannot, "an API token cannot make another one"), "Sign in at the console or use the shell on the server.")
	}
	var err error
	if t.Role, err = c.role(); err != nil {
		return nil, err
	}
	if t.Scope, err = c.scope(); err != nil {
		return nil, err
	}
	if len(t.Scope) > 0 && t.Role != ServerAdministrator {
		return nil, wrong("Scope", "Scope belongs to the role %s", ServerAdministrator)
	}
	if !holds(c.Caller.Roles, t.Role) && !(t.Role == ServerAdministrator && len(c.Caller.Elsewhere) > 0) {
		return nil, about("Role", hinted(mail.Errorf(mail.KindNoPermission, "a token has at most its owner's rights, and %s does not hold the role %s", t.Owner, t.Role),
			"You hold: "+roleList(c.Caller.Roles)+"."))
	}
	if t.Expires, err = c.expiry(now); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(t.Owner, unixPrefix) {
		e, err := c.Directory.Lookup(ctx, t.Owner)
		if err != nil {
			return nil, err
		}
		t.Account = e.Account
	}
	// Tokens that are long over make room.
	all, err := c.tokens(ctx, "")
	if err != nil {
		return nil, err
	}
	var over []store.Record
	own, live := 0, 0
	for _, other := range all {
		switch {
		case now.Sub(other.Expires) > tokenKeptFor:
			other.record.Value = nil
			over = append(over, other.record)
			continue
		case other.Owner == t.Owner && strings.EqualFold(other.Name, t.Name):
			return nil, about("Name", hinted(mail.Errorf(mail.KindAlreadyExists, "you have an API token %q", other.Name), "Remove-ApiToken removes it."))
		case other.Owner == t.Owner:
			own++
		}
		live++
	}
	if own >= tokensOfOwner || live >= maxTokens {
		return nil, hinted(mail.Errorf(mail.KindLimit, "there are at most %d API tokens, %d of one owner", maxTokens, tokensOfOwner), "Remove-ApiToken removes those that nobody needs.")
	}
	c.Change(t.target(), "Role", nil, string(t.Role))
	if len(t.Scope) > 0 {
		c.Change(t.target(), "Scope", nil, t.Scope)
	}
	c.Change(t.target(), "Expires", nil, moment(t.Expires))
	return func(ctx context.Context) error {
		token := tokenPrefix + newSecret()
		t.record = store.Record{Kind: tokenKind, Key: tokenKey(token)}
		if err := c.keepToken(ctx, t); err != nil {
			return err
		}
		if len(over) > 0 {
			if err := c.Records.PutRecords(ctx, over); err != nil {
				c.Log.WarnContext(ctx, "API tokens whose time is up cannot be removed", "error", err)
			}
		}
		c.Add(append(t.object(), Property{"Token", token}))
		c.Note("The token is shown this once. Send it as: Authorization: Bearer TOKEN.")
		return nil
	}, nil
}

func (t apiToken) target() string { return fmt.Sprintf("API token %q of %s", t.Name, t.Owner) }

// visibleTokens gives the tokens that the caller may see: an Organization
// Administrator all, everybody else their own.
func (c *Call) visibleTokens(ctx context.Context) ([]apiToken, error) {
	list, err := c.tokens(ctx, "")
	if err != nil {
		return nil, err
	}
	if !holds(c.Caller.Roles, OrganizationAdministrator) {
		list = slices.DeleteFunc(list, func(t apiToken) bool { return t.Owner != c.Caller.Name })
	}
	return list, nil
}

// getAPIToken shows one object a token, without the secret, which nobody has.
func getAPIToken(ctx context.Context, c *Call) (func(context.Context) error, error) {
	list, err := c.visibleTokens(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		if matches(c.Text("Name"), t.Name) && matches(c.Text("Owner"), t.Owner) {
			c.Add(t.object())
		}
	}
	return nil, nil
}

// removeAPIToken ends a token at once.
func removeAPIToken(ctx context.Context, c *Call) (func(context.Context) error, error) {
	owner := c.Caller.Name
	if c.Given("Owner") {
		owner = c.Text("Owner")
		if name, err := directory.PrepareName(owner); err == nil && !strings.HasPrefix(owner, unixPrefix) {
			owner = name
		}
	}
	list, err := c.visibleTokens(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(t apiToken) bool { return t.Owner == owner && strings.EqualFold(t.Name, c.Text("Name")) })
	if i < 0 {
		return nil, about("Name", hinted(mail.Errorf(mail.KindNotFound, "there is no API token %q of %s that you may see", c.Text("Name"), owner),
			"Get-ApiToken lists those that you may see; -Owner names another owner."))
	}
	t := list[i]
	if c.Caller.Way == WayToken && t.Name != c.Caller.Token && !holds(c.Caller.Roles, OrganizationAdministrator) {
		return nil, about("Name", hinted(mail.Errorf(mail.KindCannot, "an API token cannot remove another one"), "Sign in at the console or use the shell on the server."))
	}
	c.Change(t.target(), "Role", string(t.Role), nil)
	return func(ctx context.Context) error {
		// The last use may be written at the same time: what goes is the token.
		for try := 1; ; try++ {
			found, err := c.tokens(ctx, t.record.Key)
			if err != nil || len(found) == 0 {
				return err
			}
			found[0].record.Value = nil
			err = c.Records.PutRecords(ctx, []store.Record{found[0].record})
			if err == nil || mail.KindOf(err) != mail.KindConflict || try == keptTries {
				return err
			}
		}
	}, nil
}
