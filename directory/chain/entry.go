package chain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
)

// entry makes the entry of what a directory said and what Postern keeps. When the
// directory says something new of somebody who has an account, the record follows.
func (d *Directory) entry(ctx context.Context, l *link, p *directory.Person) (*directory.Entry, error) {
	e := &directory.Entry{
		Name: p.Name, Aliases: slices.Clone(p.Aliases), Directory: l.Name, ID: p.ID, HomeServer: p.HomeServer,
		DisplayName: p.DisplayName, Enabled: p.Blocked == "", PopEnabled: p.Pop == nil || *p.Pop, ImapEnabled: p.Imap == nil || *p.Imap,
		QuotaBytes: p.QuotaBytes, QuotaMessages: p.QuotaMessages, PasswordChanged: p.PasswordChanged, Groups: groupsIn(l.Name, p.Groups),
	}
	r := d.people.get(l.Name, p.ID)
	if r == nil {
		return e, nil
	}
	if !r.says(p) {
		if told, err := d.follow(ctx, l, p); err != nil {
			// What is kept is for lists and for what people had before; the sign-in
			// or the message does not wait for it.
			d.log.WarnContext(ctx, "what a directory says of a person could not be kept", "directory", l.Name, "name", p.Name, "error", err)
		} else if told != nil {
			r = told
		}
	}
	e.Account, e.Created = r.Account, r.Created
	r.override(e)
	return e, nil
}

// says tells whether the record has what the directory says.
func (r *record) says(p *directory.Person) bool {
	return r.Name == p.Name && slices.Equal(r.Aliases, p.Aliases) && r.DisplayName == p.DisplayName && r.HomeServer == p.HomeServer &&
		slices.Equal(r.Groups, p.Groups) && sameNumber(r.QuotaBytes, p.QuotaBytes) && sameNumber(r.Messages, p.QuotaMessages)
}

func sameNumber(a, b *int64) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// take puts what the directory says into a copy of the record.
func (r record) take(p *directory.Person) *record {
	r.Name, r.Aliases, r.DisplayName, r.HomeServer = p.Name, slices.Clone(p.Aliases), p.DisplayName, p.HomeServer
	r.QuotaBytes, r.Messages, r.Groups = p.QuotaBytes, p.QuotaMessages, slices.Clone(p.Groups)
	return &r
}

// follow writes what the directory says anew: the name too, which somebody else of
// the directory may have had.
func (d *Directory) follow(ctx context.Context, l *link, p *directory.Person) (*record, error) {
	if err := d.takeName(ctx, l, p); err != nil {
		return nil, err
	}
	var was *record
	r, err := d.people.change(ctx, l.Name, p.ID, func(r *record) (*record, error) {
		if was = r; r == nil || r.says(p) {
			return r, nil
		}
		return r.take(p), nil
	})
	if err != nil || r == nil || was == r {
		return r, err
	}
	if was.Name != r.Name {
		d.log.InfoContext(ctx, "a person of a directory is renamed", "directory", l.Name, "from", was.Name, "to", r.Name, "account", r.Account.String())
	}
	return r, d.applyQuota(ctx, was, r)
}

// applyQuota sets the quota that the directory says, unless an administrator set
// another one here.
func (d *Directory) applyQuota(ctx context.Context, was, is *record) error {
	if sameNumber(was.QuotaBytes, is.QuotaBytes) && sameNumber(was.Messages, is.Messages) {
		return nil
	}
	bytes, messages, err := d.accounts.Quota(ctx, is.Account)
	if err != nil {
		return err
	}
	next := func(now int64, was, is *int64) int64 {
		if is == nil || now != number(was) {
			return now
		}
		return *is
	}
	b, m := next(bytes, was.QuotaBytes, is.QuotaBytes), next(messages, was.Messages, is.Messages)
	if b == bytes && m == messages {
		return nil
	}
	return d.accounts.SetQuota(ctx, is.Account, b, m)
}

// number gives a quota that may not be said: 0 is none.
func number(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// takeName takes the name from whoever of the directory had it before: they were
// renamed, or are gone, and their mail stays theirs.
func (d *Directory) takeName(ctx context.Context, l *link, p *directory.Person) error {
	for {
		other := d.people.holding(l.Name, p.Name, p.ID)
		if other == nil {
			return nil
		}
		_, err := d.people.change(ctx, l.Name, other.id, func(r *record) (*record, error) {
			if r == nil || r.Name != p.Name {
				return r, nil
			}
			next := *r
			next.Name = ""
			return &next, nil
		})
		if err != nil {
			return err
		}
		d.log.WarnContext(ctx, "the name of a person of a directory went to another one", "directory", l.Name, "name", p.Name, "account", other.Account.String())
	}
}

// link gives a directory by its name, nil when there is none.
func (d *Directory) link(name string) *link {
	for _, l := range d.links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Provide is part of directory.Chained.
func (d *Directory) Provide(ctx context.Context, e *directory.Entry) (*directory.Entry, error) {
	l := d.link(e.Directory)
	if e.Account != 0 || l == nil || l.Source == nil {
		return e, nil
	}
	if !e.Enabled {
		return nil, mail.Errorf(mail.KindDisabled, "This account is switched off.")
	}
	if !l.Provision && d.people.get(e.Directory, e.ID) == nil {
		return nil, &mail.Error{Kind: mail.KindDisabled, Text: "There is no mailbox for this account.",
			Cause: fmt.Errorf("the directory %s does not make mailboxes by itself", l.Name)}
	}
	r, err := d.provide(ctx, l, said(e), 0)
	if err != nil {
		return nil, err
	}
	next := *e
	next.Account, next.Created = r.Account, r.Created
	r.override(&next)
	return &next, nil
}

// said is what the directory said, as the entry has it.
func said(e *directory.Entry) *directory.Person {
	p := &directory.Person{ID: e.ID, Name: e.Name, Aliases: e.Aliases, DisplayName: e.DisplayName, HomeServer: e.HomeServer,
		QuotaBytes: e.QuotaBytes, QuotaMessages: e.QuotaMessages}
	for _, g := range e.Groups {
		if group, own := strings.CutPrefix(g, e.Directory+`\`); own {
			p.Groups = append(p.Groups, group)
		}
	}
	return p
}

// provide makes the record of a person, and the account unless there is one. Of many
// at the same time one makes it.
func (d *Directory) provide(ctx context.Context, l *link, p *directory.Person, account mail.AccountID) (*record, error) {
	if err := d.takeName(ctx, l, p); err != nil {
		return nil, err
	}
	made := mail.AccountID(0)
	r, err := d.people.change(ctx, l.Name, p.ID, func(r *record) (*record, error) {
		if r != nil {
			return r, nil
		}
		if account == 0 {
			var err error
			if account, err = d.accounts.CreateAccount(ctx, number(p.QuotaBytes), number(p.QuotaMessages)); err != nil {
				return nil, err
			}
			made = account
		}
		fresh := record{directory: l.Name, id: p.ID, Account: account, Created: d.now().UTC().Truncate(time.Second)}
		return fresh.take(p), nil
	})
	if made != 0 && (err != nil || r.Account != made) {
		// Another server was faster, or the record could not be written.
		if err := d.accounts.RemoveAccount(context.WithoutCancel(ctx), made); err != nil {
			d.log.WarnContext(ctx, "an account that nobody uses could not be removed", "account", made.String(), "error", err)
		}
	}
	if err == nil && made != 0 && r.Account == made {
		d.log.InfoContext(ctx, "a mailbox was made for a person of a directory", "directory", l.Name, "name", p.Name, "account", r.Account.String())
	}
	return r, err
}

// NameOf is part of directory.Named.
func (d *Directory) NameOf(ctx context.Context, account mail.AccountID) (string, error) {
	if own, ok := d.own.(directory.Named); ok {
		if name, err := own.NameOf(ctx, account); name != "" || err != nil {
			return name, err
		}
	}
	d.people.mu.RLock()
	defer d.people.mu.RUnlock()
	if r := d.people.byAccount[account]; r != nil {
		return r.display(), nil
	}
	return "", mail.Wrap(mail.KindUnavailable, ctx.Err())
}

// List is part of directory.Writable: our own entries, and the people of external
// directories who have an account, as they were seen last.
func (d *Directory) List(ctx context.Context) ([]directory.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	var list []directory.Entry
	if d.own != nil {
		var err error
		if list, err = d.own.List(ctx); err != nil {
			return nil, err
		}
	}
	for _, r := range d.people.all() {
		list = append(list, r.entry())
	}
	slices.SortFunc(list, func(a, b directory.Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Create is part of directory.Writable: a new entry is one of our own directory.
// Somebody whom an external directory knows and who has no account yet gets the one
// of e; all else that e could say is the directory's.
func (d *Directory) Create(ctx context.Context, e directory.Entry, password string) error {
	for _, name := range append([]string{e.Name}, e.Aliases...) {
		known, err := d.Lookup(ctx, name)
		switch {
		case err == nil && known.Account == 0 && known.Name == e.Name && name == e.Name:
			return d.adopt(ctx, known, e, password)
		case err == nil:
			return mail.Errorf(mail.KindAlreadyExists, "The name %s is taken.", name)
		case mail.KindOf(err) != mail.KindNotFound && mail.KindOf(err) != mail.KindBadArgument:
			return err
		}
	}
	if d.own == nil {
		return mail.Errorf(mail.KindCannot, "The directory does not know %s, and this server has none of its own to keep it in.", e.Name)
	}
	if l := d.ownLink(); !l.covers(e.Name) {
		return mail.Errorf(mail.KindCannot, "The directory %s keeps no names of that domain; its domains are in the settings file.", l.Name)
	}
	return d.own.Create(ctx, e, password)
}

func (d *Directory) ownLink() *link {
	i := slices.IndexFunc(d.links, func(l *link) bool { return l.Own != nil })
	return d.links[i]
}

// adopt gives somebody whom an external directory knows the account of e.
func (d *Directory) adopt(ctx context.Context, known *directory.Entry, e directory.Entry, password string) error {
	if password != "" || len(e.Aliases) > 0 || e.DisplayName != "" {
		return owned(known, "The password, the display name and the addresses")
	}
	if e.Account == 0 {
		return mail.Errorf(mail.KindBadArgument, "An entry needs an account.")
	}
	r, err := d.provide(ctx, d.link(known.Directory), said(known), e.Account)
	if err == nil && r.Account != e.Account {
		return mail.Errorf(mail.KindAlreadyExists, "The name %s is taken.", e.Name)
	}
	return err
}

// owned says that something is an external directory's to say.
func owned(e *directory.Entry, what string) error {
	return mail.Errorf(mail.KindCannot, "%s of %s come from the directory %s and are changed there.", what, e.Name, e.Directory)
}

// Change is part of directory.Writable. Of people of an external directory Postern
// keeps Enabled, which can only take away, PopEnabled, ImapEnabled, DisabledCapabilities,
// ImapReferralURL and LegacyMechanisms that need no readable password; KindCannot for all else.
func (d *Directory) Change(ctx context.Context, name string, change func(*directory.Entry) error) error {
	e, err := d.Lookup(ctx, name)
	if err != nil {
		return err
	}
	if e.Directory == "" {
		return d.own.Change(ctx, name, change)
	}
	if e.Account == 0 {
		return mail.Errorf(mail.KindCannot, "%s of the directory %s has no mailbox yet; Enable-Mailbox makes it.", e.Name, e.Directory)
	}
	_, err = d.people.change(ctx, e.Directory, e.ID, func(r *record) (*record, error) {
		if r == nil {
			return nil, errNotFound
		}
		next := *e
		next.Aliases = slices.Clone(e.Aliases)
		if err := change(&next); err != nil {
			return nil, err
		}
		if !slices.Equal(next.Aliases, e.Aliases) || next.DisplayName != e.DisplayName {
			return nil, owned(e, "The addresses and the display name")
		}
		is := *r
		if next.Enabled != e.Enabled {
			if next.Enabled && !r.Off {
				return nil, mail.Errorf(mail.KindCannot, "%s is switched off in the directory %s and is switched on there.", e.Name, e.Directory)
			}
			is.Off = !next.Enabled
		}
		if next.PopEnabled != e.PopEnabled {
			is.Pop = &next.PopEnabled
		}
		if next.ImapEnabled != e.ImapEnabled {
			is.Imap = &next.ImapEnabled
		}
		if sasl.NeedReadable(next.LegacyMechanisms) {
			return nil, mail.Errorf(mail.KindCannot, "The password of %s is kept by the directory %s, and this server cannot read it.", e.Name, e.Directory)
		}
		is.Legacy = slices.Clone(next.LegacyMechanisms)
		if err := directory.CheckProtocols(next); err != nil {
			return nil, err
		}
		is.Disabled, is.Referral = slices.Clone(next.DisabledCapabilities), next.ImapReferralURL
		return &is, nil
	})
	return err
}

// SetPassword is part of directory.Writable. KindCannot for people of an external
// directory.
func (d *Directory) SetPassword(ctx context.Context, name, password string) error {
	e, err := d.Lookup(ctx, name)
	switch {
	case err != nil:
		return err
	case e.Directory != "":
		return mail.Errorf(mail.KindCannot, "The password of %s is kept by the directory %s and is changed there.", e.Name, e.Directory)
	}
	return d.own.SetPassword(ctx, name, password)
}

// Remove is part of directory.Writable. Of somebody of an external directory it
// removes what Postern keeps: if the directory still knows them, they get a new
// mailbox at their next sign-in or message.
func (d *Directory) Remove(ctx context.Context, name string) error {
	e, err := d.Lookup(ctx, name)
	switch {
	case err != nil:
		return err
	case e.Directory == "":
		err = d.own.Remove(ctx, name)
	case e.Account == 0:
		return mail.Errorf(mail.KindCannot, "%s of the directory %s has no mailbox here; who exists is said there.", e.Name, e.Directory)
	default:
		_, err = d.people.change(ctx, e.Directory, e.ID, func(r *record) (*record, error) {
			if r == nil {
				return nil, errNotFound
			}
			return nil, nil
		})
	}
	if err != nil {
		return err
	}
	d.unlinkAll(ctx, e)
	if l := d.link(e.Directory); l != nil {
		l.forget(ctx, e.ID)
	}
	return nil
}
