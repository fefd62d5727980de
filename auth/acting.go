package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
)

// Delegation says who may act for others, by the authorization identity of a SASL
// mechanism, and keeps the record of it; a manage.Server. Its methods are called from
// many goroutines.
type Delegation interface {
	// ActsFor gives for whom an account may act beside itself. The errors are the
	// store's.
	ActsFor(ctx context.Context, user mail.AccountID) (Acting, error)
	// Acted keeps the record of an attempt that had t.For, before it is answered. With
	// an error nobody is let in.
	Acted(ctx context.Context, t Attempt) error
}

// Acting is for whom an account may act. The zero value is nobody.
type Acting struct {
	Everybody bool
	Mailboxes []mail.AccountID
}

// Nobody tells whether there is no right at all.
func (r Acting) Nobody() bool { return !r.Everybody && len(r.Mailboxes) == 0 }

// Covers tells whether the right reaches an account; 0 is the account of somebody who
// has none yet.
func (r Acting) Covers(mailbox mail.AccountID) bool {
	return r.Everybody || mailbox != 0 && slices.Contains(r.Mailboxes, mailbox)
}

// errMayNotAct is the one answer to an authorization identity that is refused: whether
// there is such a user is not said.
func errMayNotAct(cause error) error {
	return &mail.Error{Kind: mail.KindAuthorizationFailed, Text: "You may not act for that user.", Cause: cause}
}

// isSelf tells whether a prepared name means the entry that signs in.
func (s *signIn) isSelf(name string) bool {
	return name == s.name || name == s.entry.Name || slices.Contains(s.entry.Aliases, name)
}

// actFor finds whom the client wants to act for, and whether it may. nil is itself.
func (s *signIn) actFor(ctx context.Context, authzid string) (*directory.Entry, error) {
	if authzid == "" {
		return nil, nil
	}
	name, err := directory.PrepareName(authzid)
	if err == nil && s.isSelf(name) {
		return nil, nil
	}
	s.actsFor = name
	if err != nil {
		s.actsFor = authzid
		return nil, errMayNotAct(err)
	}
	switch {
	case s.secret == AppSecret:
		return nil, errMayNotAct(ruleCause(RuleOwnMailbox.String()))
	case s.a.delegation == nil, s.entry.Account == 0:
		return nil, errMayNotAct(errors.New("no right to act for anybody"))
	}
	rights, err := s.a.delegation.ActsFor(ctx, s.entry.Account)
	if err != nil {
		return nil, refused(err)
	}
	if rights.Nobody() {
		// Nothing is looked up: what there is cannot be told from what there is not.
		return nil, errMayNotAct(errors.New("no right to act for anybody"))
	}
	e, err := s.a.directory.Lookup(ctx, name)
	switch {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		return nil, errMayNotAct(err)
	case err != nil:
		return nil, refused(err)
	case e.Name == s.entry.Name:
		s.actsFor = ""
		return nil, nil
	case !rights.Covers(e.Account):
		return nil, errMayNotAct(errors.New("no right to act for this mailbox"))
	}
	s.actsFor = e.Name
	return e, nil
}

// permittedFor asks the policy whether s may act for e: what holds for either holds.
func (a *Authenticator) permittedFor(ctx context.Context, s *signIn, e *directory.Entry) error {
	w := a.wanted(s.conn, s.mechanism, s.class)
	w.User, w.Legacy, w.For, w.Secret = s.entry.Name, s.entry.LegacyMechanisms, e.Name, s.secret
	var err error
	if w.Groups, err = a.groupsOf(ctx, s.entry); err == nil {
		w.ForGroups, err = a.groupsOf(ctx, e)
	}
	if err != nil {
		return err
	}
	d := a.policy.Load().Decide(w)
	if d.OK {
		return nil
	}
	a.policyRefused(s, e.Name, d)
	return errMayNotAct(d.cause())
}

// acted keeps the record of an attempt to act for another. A success that cannot be
// recorded is none.
func (s *signIn) acted(ctx context.Context, err error) error {
	if s.actsFor == "" || s.a.delegation == nil {
		return err
	}
	t := s.a.complete(s.conn, s.attempt(err))
	what := event.ActsFor
	if err != nil {
		what = event.MayNotAct
	}
	if failed := s.a.delegation.Acted(ctx, t); failed != nil && err == nil {
		err, what = &mail.Error{Kind: mail.KindUnavailable, Cause: failed}, event.MayNotAct
	}
	attributes := []any{"service", t.Service, "user", t.Name, "for", t.For, "remote", t.Remote.String(), "mechanism", t.Mechanism}
	if err != nil {
		attributes = append(attributes, "reason", err.Error())
	}
	what.Log(ctx, s.a.log, attributes...)
	return err
}

// explainActing says whether an entry may act for another one, and what the other's
// mailbox permits.
func (a *Authenticator) explainActing(ctx context.Context, e *explanation, c Conn, entry *directory.Entry, actFor string) {
	const step = "Acting"
	name, err := directory.PrepareName(actFor)
	if err != nil {
		e.add(step, Fail, mail.TextOf(err))
		return
	}
	mailbox, err := a.directory.Lookup(ctx, name)
	switch {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		e.add(step, Fail, "The directory knows no "+name+"; the client hears what it hears without the right.")
		return
	case err != nil:
		e.add(step, Fail, "The directory cannot say now: "+err.Error())
		return
	case mailbox.Name == entry.Name:
		e.add(step, Pass, name+" is the user's own mailbox.")
		return
	}
	var rights Acting
	if a.delegation != nil && entry.Account != 0 {
		if rights, err = a.delegation.ActsFor(ctx, entry.Account); err != nil {
			e.add(step, Fail, "The rights cannot be read now: "+mail.TextOf(err))
			return
		}
	}
	e.check(step, rights.Covers(mailbox.Account), entry.Name+" may act for "+mailbox.Name+", by the mechanisms that carry an authorization identity; not with an app password.",
		entry.Name+" may not act for "+mailbox.Name+": Add-MailboxPermission gives the right.")
	e.check("Account of "+mailbox.Name, mailbox.Enabled && !mailbox.Gone, "The account is enabled.", "The account is switched off.")
	e.check(string(c.Service)+" of "+mailbox.Name, rowOf(c.Service).enabled(*mailbox),
		fmt.Sprintf("%s is enabled for this account.", c.Service), fmt.Sprintf("%s is switched off for this account.", c.Service))
	if mailbox, err = a.inGroups(ctx, mailbox); err != nil {
		e.add("Groups of "+mailbox.Name, Fail, "A login policy is for groups of a directory, which cannot say now who is in them: "+err.Error())
		return
	}
	allowed := slices.ContainsFunc(a.Matrix(c, entry, mailbox), func(cell Cell) bool {
		m, named := sasl.Find(cell.Method) // a command has no authorization identity
		return named && m.Name != "LOGIN" && !m.Legacy() && (c.TLS != nil && cell.TLS.OK || c.TLS == nil && cell.Clear.OK)
	})
	e.check("Login policy of both", allowed, "There is a way to sign in for both.", "No way to sign in is left that is permitted to both; Get-EffectiveLoginPolicy with -ActFor shows why.")
}
