package embedded

import (
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/store"
)

// tries bounds how often a change is computed again because another server was
// faster.
const tries = 10

var errNotFound = &mail.Error{Kind: mail.KindNotFound, Text: "There is no such mailbox."}

// Create is part of directory.Writable. KindBadArgument also for an Entry without
// Account.
func (d *Directory) Create(ctx context.Context, e directory.Entry, password string) error {
	if err := acceptable(e); err != nil {
		return err
	}
	if e.Account == 0 {
		return mail.Errorf(mail.KindBadArgument, "An entry needs an account.")
	}
	created := e.Created
	if created.IsZero() {
		created = d.now()
	}
	a := account{
		ID: e.Account, Aliases: slices.Clone(e.Aliases), DisplayName: e.DisplayName,
		Enabled: e.Enabled, Pop: e.PopEnabled, Imap: e.ImapEnabled, Reset: e.ResetPassword, Created: created.UTC().Round(0),
		Legacy: slices.Clone(e.LegacyMechanisms), Disabled: slices.Clone(e.DisabledCapabilities), Referral: e.ImapReferralURL,
	}
	if err := d.keepsReadable(e.LegacyMechanisms); err != nil {
		return err
	}
	if password != "" {
		prepared, err := d.setSecrets(&a, password)
		if err != nil {
			return err
		}
		if a.Sealed, err = d.seal(&a, prepared); err != nil {
			return err
		}
	}
	return d.write(ctx, func() (*held, *account, error) {
		if d.find(e.Name) != nil {
			return nil, nil, taken(e.Name)
		}
		return &held{name: e.Name}, &a, nil
	})
}

// Change is part of directory.Writable.
func (d *Directory) Change(ctx context.Context, name string, change func(*directory.Entry) error) error {
	return d.write(ctx, func() (*held, *account, error) {
		h := d.find(name)
		if h == nil {
			return nil, nil, errNotFound
		}
		e := *h.entry()
		if err := change(&e); err != nil {
			return nil, nil, err
		}
		e.Name, e.Account = h.name, h.ID
		if err := acceptable(e); err != nil {
			return nil, nil, err
		}
		if err := d.keepsReadable(e.LegacyMechanisms); err != nil && !slices.Equal(e.LegacyMechanisms, h.Legacy) {
			return nil, nil, err
		}
		a := h.with(e)
		return h, &a, nil
	})
}

// SetPassword is part of directory.Writable.
func (d *Directory) SetPassword(ctx context.Context, name, password string) error {
	var fresh account
	prepared := ""
	if password != "" {
		var err error
		if prepared, err = d.setSecrets(&fresh, password); err != nil {
			return err
		}
	}
	return d.write(ctx, func() (*held, *account, error) {
		h := d.find(name)
		if h == nil {
			return nil, nil, errNotFound
		}
		a := h.account
		a.Password, a.Scram, a.Changed = fresh.Password, fresh.Scram, fresh.Changed
		if password != "" && !a.Changed.After(h.Changed) {
			a.Changed = h.Changed.Add(time.Microsecond) // each password has its own time
		}
		var err error
		a.Sealed, err = d.seal(&a, prepared)
		return h, &a, err
	})
}

// Remove is part of directory.Writable.
func (d *Directory) Remove(ctx context.Context, name string) error {
	return d.write(ctx, func() (*held, *account, error) {
		h := d.find(name)
		if h == nil {
			return nil, nil, errNotFound
		}
		return h, nil, nil
	})
}

// setSecrets pays for a new password, outside of every lock, and gives its prepared
// form.
func (d *Directory) setSecrets(a *account, password string) (string, error) {
	prepared, err := directory.PreparePassword(password)
	if err != nil {
		return "", err
	}
	hash, keys, err := d.secrets(prepared)
	if err != nil {
		return "", err
	}
	a.Password, a.Changed = hash, d.now().UTC().Truncate(time.Microsecond)
	for _, k := range keys {
		a.Scram = append(a.Scram, scramKeys(k))
	}
	return prepared, nil
}

// seal gives what is kept of a prepared password so that it can be read: nil when
// nobody needs that, or there is no password.
func (d *Directory) seal(a *account, prepared string) ([]byte, error) {
	if prepared == "" || d.key == nil || !sasl.NeedReadable(a.Legacy) {
		return nil, nil
	}
	return d.key.Seal([]byte(prepared), sealedAbout(a.ID))
}

// sealedAbout is what a readable password is bound to.
func sealedAbout(account mail.AccountID) string {
	return "readable password of account " + account.String()
}

// keepsReadable refuses mechanisms that need what the directory cannot keep.
func (d *Directory) keepsReadable(mechanisms []string) error {
	if d.key == nil && sasl.NeedReadable(mechanisms) {
		return mail.Errorf(mail.KindCannot, "This server keeps no passwords that it can read.")
	}
	return nil
}

// write computes a change of one account and writes it with its aliases, all or
// nothing. compute gives the account as it was (with revision 0: it is new) and
// as it shall be, nil to remove it. It is run again after a conflict, and must not write itself.
func (d *Directory) write(ctx context.Context, compute func() (*held, *account, error)) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	for range tries {
		was, is, err := compute()
		if err != nil {
			return err
		}
		records, err := d.recordsOf(was, is)
		if err != nil {
			return err
		}
		err = d.records.PutRecords(ctx, records)
		if err == nil {
			d.apply(was, is)
			return nil
		}
		if mail.KindOf(err) != mail.KindConflict {
			return mail.Wrap(mail.KindUnavailable, err)
		}
		if err := d.refresh(ctx); err != nil {
			return err
		}
	}
	return mail.Errorf(mail.KindConflict, "Somebody else keeps changing the entry; try again.")
}

// recordsOf gives the records that turn was into is.
func (d *Directory) recordsOf(was *held, is *account) ([]store.Record, error) {
	if is == nil {
		records := []store.Record{{Kind: RecordKind, Key: was.name, Revision: was.revision}}
		for _, a := range was.Aliases {
			records = append(records, store.Record{Kind: RecordKind, Key: a, Revision: d.aliases[a].revision})
		}
		return records, nil
	}
	r, err := encode(RecordKind, was.name, was.revision, value{Account: is})
	if err != nil {
		return nil, err
	}
	records := []store.Record{r}
	for _, a := range is.Aliases {
		if slices.Contains(was.Aliases, a) {
			continue
		}
		if d.find(a) != nil {
			return nil, taken(a)
		}
		r, err := encode(RecordKind, a, 0, value{Alias: was.name})
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	for _, a := range was.Aliases {
		if !slices.Contains(is.Aliases, a) {
			records = append(records, store.Record{Kind: RecordKind, Key: a, Revision: d.aliases[a].revision})
		}
	}
	return records, nil
}

// apply brings memory to what was written.
func (d *Directory) apply(was *held, is *account) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range was.Aliases {
		if is == nil || !slices.Contains(is.Aliases, a) {
			delete(d.aliases, a)
		}
	}
	if is == nil {
		delete(d.byName, was.name)
		delete(d.names, was.ID)
		return
	}
	for _, a := range is.Aliases {
		if _, ok := d.aliases[a]; !ok {
			d.aliases[a] = alias{was.name, 1}
		}
	}
	d.byName[was.name] = &held{*is, was.name, was.revision + 1}
	if d.names != nil {
		d.names[is.ID] = was.name
	}
}

// acceptable checks an entry before it is written. KindBadArgument.
func acceptable(e directory.Entry) error {
	for i, name := range append([]string{e.Name}, e.Aliases...) {
		if prepared, err := directory.PrepareName(name); err != nil {
			return err
		} else if prepared != name {
			return mail.Errorf(mail.KindBadArgument, "The name %q is not in its prepared form, %q.", name, prepared)
		}
		if i > 0 && (name == e.Name || slices.Index(e.Aliases, name) != i-1) {
			return mail.Errorf(mail.KindBadArgument, "The alias %q is there twice.", name)
		}
	}
	for i, m := range e.LegacyMechanisms {
		if !slices.Contains(sasl.Legacy(), m) || slices.Index(e.LegacyMechanisms, m) != i {
			return mail.Errorf(mail.KindBadArgument, "%q is no legacy mechanism, or is there twice.", m)
		}
	}
	if err := directory.CheckProtocols(e); err != nil {
		return err
	}
	if len(e.Aliases) > MaxAliases || len(e.DisplayName) > MaxDisplayName {
		return mail.Errorf(mail.KindBadArgument, "An entry has at most %d aliases and a display name of %d octets.", MaxAliases, MaxDisplayName)
	}
	return nil
}

// Bounds of an entry, so that its record stays below the store's bound.
const (
	MaxAliases     = 1000
	MaxDisplayName = 1024
)

func taken(name string) error {
	return mail.Errorf(mail.KindAlreadyExists, "The name %s is taken.", name)
}
