package manage

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Owner is the column of the table for people at the pages of their own account.
type Owner struct {
	// Parameters are those that they may give. The mailbox is always theirs: -Identity
	// comes from the session.
	Parameters []string
	// Needed are those of them that they must give, beside the mandatory ones.
	Needed []string
	// Expired: also while their password must be changed.
	Expired bool
}

// owner is what a caller of WayAccount has proved.
type owner struct {
	account mail.AccountID
	session secretSum
	factor  bool // the second factor, too
}

// Bounds of what one owner does that is recorded, sign-ins and attempts too: so many at
// once, and then one in so long.
const (
	ownersAtOnce = 60
	ownersPause  = 5 * time.Second
	maxOwners    = 4096 // that are counted apart
)

// ownerPace keeps people from filling the audit log and the store.
type ownerPace struct {
	mu   sync.Mutex
	rows map[mail.AccountID]*rate.Limiter
}

// admit counts one more of an account's, or refuses it with KindLimit.
func (p *ownerPace) admit(account mail.AccountID, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	row := p.rows[account]
	if row == nil {
		if len(p.rows) >= maxOwners {
			maps.DeleteFunc(p.rows, func(_ mail.AccountID, r *rate.Limiter) bool { return r.TokensAt(now) >= ownersAtOnce })
		}
		if p.rows == nil || len(p.rows) >= maxOwners {
			p.rows = map[mail.AccountID]*rate.Limiter{}
		}
		row = rate.NewLimiter(rate.Every(ownersPause), ownersAtOnce)
		p.rows[account] = row
	}
	if !row.AllowN(now, 1) {
		return mail.Errorf(mail.KindLimit, "That was too often; try again in a minute.")
	}
	return nil
}

// paced counts a call of an owner that may change something.
func (c *Call) paced() error {
	if !c.own() || c.Caller.owner == nil || !c.Cmdlet.Changes || c.Bool("WhatIf") {
		return nil
	}
	return c.pace.admit(c.Caller.owner.account, c.Now())
}

// AccountSignIns are the sign-ins at the pages of people's own accounts.
type AccountSignIns struct{ s *Server }

// Account gives the sign-ins at the pages of people's own accounts. Their sessions are
// apart from the administrators'.
func (s *Server) Account() AccountSignIns { return AccountSignIns{s} }

// SignIn is Server.SignIn for everybody who has a mailbox.
func (a AccountSignIns) SignIn(ctx context.Context, name string, password Secret, remote netip.AddrPort) (string, error) {
	return a.s.signIn(ctx, &a.s.owners, a.s.AuthenticateOwner, name, password, remote)
}

// Awaits is Server.Awaits.
func (a AccountSignIns) Awaits(token string) bool { return a.s.awaits(&a.s.owners, token) }

// Confirm is Server.Confirm.
func (a AccountSignIns) Confirm(ctx context.Context, token string, code Secret, remote netip.AddrPort) (string, error) {
	return a.s.confirm(ctx, &a.s.owners, token, code, remote)
}

// SessionCaller is Server.SessionCaller; the caller is of WayAccount.
func (a AccountSignIns) SessionCaller(ctx context.Context, token string) (Caller, error) {
	return a.s.sessionCaller(ctx, &a.s.owners, token, true)
}

// WatchSession is Server.WatchSession.
func (a AccountSignIns) WatchSession(ctx context.Context, token string) (Caller, error) {
	return a.s.sessionCaller(ctx, &a.s.owners, token, false)
}

// SignOut is Server.SignOut.
func (a AccountSignIns) SignOut(ctx context.Context, token string) {
	a.s.signOut(ctx, &a.s.owners, token)
}

// permitOwner is permit for people at their own account, and for what is theirs alone.
func (s *Server) permitOwner(caller Caller, cmdlet *Cmdlet) error {
	if caller.Way == WayAccount && caller.owner != nil && cmdlet.Owner != nil {
		return nil
	}
	if caller.Way == WayAccount {
		return mail.Errorf(mail.KindNoPermission, "%s is for administrators", cmdlet.Name)
	}
	return hinted(mail.Errorf(mail.KindNoPermission, "%s is for people themselves", cmdlet.Name), "They do it at /account of the console.")
}

// ownerCell is the cell of the rights table.
func (c *Cmdlet) ownerCell() string {
	if c.Owner == nil {
		return "no"
	}
	cell := "own"
	if len(c.Owner.Parameters) > 0 {
		cell += ": " + strings.Join(c.Owner.Parameters, ", ")
	}
	if c.Owner.Expired {
		cell += " (expired)"
	}
	return cell
}

// as gives the cmdlet as a caller has it: at the pages of one's own account with the
// parameters of its column alone.
func (c *Cmdlet) as(caller Caller) *Cmdlet {
	if caller.Way != WayAccount {
		return c
	}
	theirs := *c
	theirs.Parameters = nil
	for _, p := range c.Parameters {
		if p.Name == "WhatIf" || p.Name == "Confirm" || c.Owner != nil && slices.Contains(c.Owner.Parameters, p.Name) {
			p.Mandatory = p.Mandatory || c.Owner != nil && slices.Contains(c.Owner.Needed, p.Name)
			theirs.Parameters = append(theirs.Parameters, p)
		}
	}
	return &theirs
}

// own tells whether the call is somebody's at their own account.
func (c *Call) own() bool { return c.Caller.Way == WayAccount }

// sees tells whether the caller may know of what is user's, who is named as in the
// directory.
func (c *Call) sees(user string) bool { return !c.own() || user == c.Caller.Name }

// notExpired refuses an owner whose password must be changed first, but for the cmdlets
// with which that is done.
func (c *Call) notExpired(ctx context.Context) error {
	if !c.own() || c.Cmdlet.Owner == nil || c.Cmdlet.Owner.Expired {
		return nil
	}
	e, err := c.entry(ctx)
	if err == nil && e.ResetPassword {
		err = mail.Errorf(mail.KindExpired, "Your password must be changed first.")
	}
	return err
}

// renew keeps the session of an owner who has changed what it was proved by. All their
// other sessions end.
func (c *Call) renew(change func(*proof)) {
	if !c.own() {
		return
	}
	v := &c.owners
	v.mu.Lock()
	defer v.mu.Unlock()
	if row := v.rows[c.Caller.owner.session]; row != nil {
		change(&row.proof)
	}
}

// setOwnPassword is Set-Mailbox for people themselves. The old password is asked for when
// it is done, not when it is tried, by the way of every sign-in: its brakes hold.
func setOwnPassword(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.ownHere(e, "Password"); err != nil {
		return nil, err
	}
	if err := c.texts(); err != nil {
		return nil, err
	}
	if c.Secret("Password") == c.Secret("OldPassword") {
		return nil, wrong("Password", "the new password is the old one")
	}
	if err := c.judge(*e); err != nil {
		return nil, err
	}
	c.Change(e.Name, "Password", Secret(""), Secret(""))
	return func(ctx context.Context) error {
		from, _ := netip.ParseAddr(c.Caller.From) // as fromAddress wrote it
		remote := netip.AddrPortFrom(from, 0)
		done, err := c.beginGuess(ctx, e.Name, remote)
		if err != nil {
			return err
		}
		_, err = c.AuthenticateOwner(ctx, e.Name, string(c.Secret("OldPassword")), remote)
		wrongOne := err != nil && mail.KindOf(err) == mail.KindAuthenticationFailed
		done(!wrongOne)
		if wrongOne {
			return about("OldPassword", &mail.Error{Kind: mail.KindBadArgument, Text: "the old password is wrong", Cause: err})
		}
		if err != nil {
			return err
		}
		if err := c.Directory.SetPassword(ctx, e.Name, string(c.Secret("Password"))); err != nil {
			return err
		}
		if e.ResetPassword {
			err := c.Directory.Change(ctx, e.Name, func(e *directory.Entry) error {
				e.ResetPassword = false
				return nil
			})
			if err != nil {
				return err
			}
		}
		if now, err := c.Directory.Lookup(ctx, e.Name); err == nil {
			c.renew(func(p *proof) { p.changed = now.PasswordChanged })
		}
		return nil
	}, nil
}
