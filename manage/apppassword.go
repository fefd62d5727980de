package manage

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Bounds of app passwords.
const (
	appPasswordKind = "apppassword"
	maxAppPasswords = 50        // of one mailbox
	appPasswordStep = time.Hour // the precision of the last use
)

// appPassword is one with its record, whose key is the account and the digest.
type appPassword struct {
	auth.AppPassword
	record store.Record
}

func appPasswordKey(account mail.AccountID, secret string) string {
	sum := sumOf(secret)
	return account.String() + "/" + hex.EncodeToString(sum[:])
}

// appPasswordsOf gives the app passwords whose key begins with prefix, by name.
func (s *Server) appPasswordsOf(ctx context.Context, prefix string) ([]appPassword, error) {
	list, err := keptUnder(ctx, s.Records, appPasswordKind, prefix, func(p *appPassword, r store.Record) any {
		p.record = r
		return &p.AppPassword
	})
	slices.SortFunc(list, func(a, b appPassword) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

func (s *Server) keepAppPassword(ctx context.Context, p appPassword) error {
	value, err := json.Marshal(p.AppPassword)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	p.record.Value = value
	return s.Records.PutRecords(ctx, []store.Record{p.record})
}

// AppPassword implements auth.AppPasswords. It is asked at every sign-in and keeps
// nothing in memory: what is removed is gone at once.
func (s *Server) AppPassword(ctx context.Context, account mail.AccountID, secret string, w auth.Wanted) (*auth.AppPassword, error) {
	found, err := s.appPasswordsOf(ctx, appPasswordKey(account, secret))
	if err != nil || len(found) != 1 {
		return nil, err
	}
	p := found[0]
	if now := s.Now(); p.Refuses(w) == "" && now.Sub(p.Used) >= appPasswordStep {
		p.Used = now.UTC().Truncate(appPasswordStep)
		if err := s.keepAppPassword(ctx, p); err != nil && mail.KindOf(err) != mail.KindConflict {
			s.Log.WarnContext(ctx, "the last use of an app password cannot be kept", "error", err)
		}
	}
	return &p.AppPassword, nil
}

// AppPasswordsOf implements auth.AppPasswords.
func (s *Server) AppPasswordsOf(ctx context.Context, account mail.AccountID) ([]auth.AppPassword, error) {
	list, err := s.appPasswordsOf(ctx, account.String()+"/")
	var out []auth.AppPassword
	for _, p := range list {
		out = append(out, p.AppPassword)
	}
	return out, err
}

func appPasswordObject(e *directory.Entry, p auth.AppPassword) Object {
	return Object{
		{"Mailbox", e.Name}, {"Name", p.Name}, {"Services", texts(p.Services)}, {"From", texts(p.From)}, {"ReadOnly", p.ReadOnly},
		{"WhenCreated", moment(p.Created)}, {"Expires", moment(p.Expires)}, {"LastUsed", moment(p.Used)},
	}
}

func appPasswordTarget(e *directory.Entry, name string) string {
	return "app password " + name + " of " + e.Name
}

// getAppPassword shows one object an app password, without the secret, which nobody
// has.
func getAppPassword(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.appPasswordsOf(ctx, e.Account.String()+"/")
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		c.Add(appPasswordObject(e, p.AppPassword))
	}
	return nil, nil
}

// newAppPassword makes one and shows it, once.
func newAppPassword(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.guardAdministrator(ctx, holderOf(e)); err != nil {
		return nil, err
	}
	if err := hasMailbox(e); err != nil {
		return nil, err
	}
	if err := c.needsFactor(ctx, e.Account); err != nil {
		return nil, err
	}
	now := c.Now().UTC()
	p := auth.AppPassword{Created: now, ReadOnly: c.Bool("ReadOnly")}
	if p.Name, err = c.shortName(); err != nil {
		return nil, err
	}
	if p.Services, err = edited(c.List("Services"), nil, mailService); err != nil {
		return nil, wrong("Services", "Services %s", mail.TextOf(err))
	}
	if p.From, err = edited(c.List("From"), nil, settings.ParseNetwork); err != nil {
		return nil, wrong("From", "From %s", mail.TextOf(err))
	}
	if c.Given("Expires") {
		if p.Expires, err = c.expiry(now); err != nil {
			return nil, err
		}
	}
	list, err := c.appPasswordsOf(ctx, e.Account.String()+"/")
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(list, func(other appPassword) bool { return strings.EqualFold(other.Name, p.Name) }) {
		return nil, about("Name", hinted(mail.Errorf(mail.KindAlreadyExists, "%s has an app password %q", e.Name, p.Name), "Remove-AppPassword removes it."))
	}
	if len(list) >= maxAppPasswords {
		return nil, hinted(mail.Errorf(mail.KindLimit, "a mailbox has at most %d app passwords", maxAppPasswords), "Remove-AppPassword removes those that nobody needs.")
	}
	target := appPasswordTarget(e, p.Name)
	c.Change(target, "Services", nil, cmp.Or(strings.Join(texts(p.Services), ","), "POP3,IMAP4"))
	c.Change(target, "From", nil, texts(p.From))
	c.Change(target, "ReadOnly", nil, p.ReadOnly)
	c.Change(target, "Expires", nil, moment(p.Expires))
	return func(ctx context.Context) error {
		shown := auth.NewAppPassword()
		record := store.Record{Kind: appPasswordKind, Key: appPasswordKey(e.Account, auth.AppPasswordSecret(shown))}
		if err := c.keepAppPassword(ctx, appPassword{p, record}); err != nil {
			return err
		}
		c.Add(append(appPasswordObject(e, p), Property{"Password", shown}))
		c.Note("The app password is shown this once. Type it into the program, with or without the hyphens.")
		return nil
	}, nil
}

// removeAppPassword ends one at once, and the sessions that it began.
func removeAppPassword(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.guardAdministrator(ctx, holderOf(e)); err != nil {
		return nil, err
	}
	list, err := c.appPasswordsOf(ctx, e.Account.String()+"/")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(p appPassword) bool { return strings.EqualFold(p.Name, c.Text("Name")) })
	if i < 0 {
		return nil, about("Name", hinted(mail.Errorf(mail.KindNotFound, "%s has no app password %q", e.Name, c.Text("Name")), "Get-AppPassword lists them."))
	}
	p := list[i]
	c.Change(appPasswordTarget(e, p.Name), "Name", p.Name, nil)
	return func(ctx context.Context) error {
		if err := c.dropAppPasswords(ctx, p.record.Key); err != nil {
			return err
		}
		ended := 0
		for _, service := range settings.Services {
			for _, session := range c.Sessions.Sessions(service) {
				if session.User == e.Name && session.AppPassword == p.Name && c.Sessions.EndSession(session.ID) {
					ended++
				}
			}
		}
		if ended > 0 {
			c.Note("Sessions that it began were ended.")
		}
		return nil
	}, nil
}

// dropAppPasswords removes the records whose key begins with prefix. The last use may
// be written at the same time.
func (s *Server) dropAppPasswords(ctx context.Context, prefix string) error {
	for try := 1; ; try++ {
		list, err := s.appPasswordsOf(ctx, prefix)
		if err != nil || len(list) == 0 {
			return err
		}
		var records []store.Record
		for _, p := range list {
			p.record.Value = nil
			records = append(records, p.record)
		}
		err = s.Records.PutRecords(ctx, records)
		if err == nil || mail.KindOf(err) != mail.KindConflict || try == keptTries {
			return err
		}
	}
}
