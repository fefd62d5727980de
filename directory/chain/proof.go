package chain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Some directories prove who somebody is and leave to others who exists: a token or a
// ticket says a name, and the first directory that knows the name says who that is.
// Whom a directory proved under a name once is linked to that person from then on, by
// the identifiers that both keep, so that neither a name that goes to somebody else
// nor one that somebody takes lets them in as another.

// Proved is part of directory.Chained.
func (d *Directory) Proved(ctx context.Context, name string, p *directory.Person) (*directory.Entry, error) {
	l := d.link(name)
	if l == nil || l.Source == nil {
		return nil, mail.Errorf(mail.KindServerBug, "There is no directory %q that proves anybody.", name)
	}
	return d.proved(ctx, l, p)
}

// proved gives who p is, whom l proved.
func (d *Directory) proved(ctx context.Context, l *link, p *directory.Person) (*directory.Entry, error) {
	if err := l.check(p); err != nil {
		return nil, err
	}
	if !l.covers(p.Name) {
		return nil, refused("the directory %s is not asked for names such as %q", l.Name, p.Name)
	}
	if len(l.People) == 0 {
		if err := d.unowned(ctx, l, p.Name); err != nil {
			return nil, err
		}
		return d.entry(ctx, l, p)
	}
	e, of, err := d.first(ctx, p.Name)
	switch {
	case mail.KindOf(err) == mail.KindNotFound:
		return nil, refused("the directory %s proved %q, whom no directory knows", l.Name, p.Name)
	case err != nil:
		return nil, err
	case !l.proves(of):
		return nil, refused("the directory %s proved %q, whom the directory %s knows, and it does not prove that directory's people", l.Name, p.Name, of.Name)
	}
	return d.join(ctx, l, e, p)
}

// unowned refuses a name that a directory before l knows: the first one that knows a
// name says who that is, so that no provider makes somebody another's namesake.
func (d *Directory) unowned(ctx context.Context, l *link, name string) error {
	for _, before := range d.links {
		if before == l {
			return nil
		}
		if !before.has(name) {
			continue
		}
		_, err := d.lookup(ctx, before, name)
		switch {
		case err == nil:
			return refused("the directory %s proved %q, whom the directory %s before it knows", l.Name, name, before.Name)
		case mail.KindOf(err) != mail.KindNotFound:
			return err
		}
	}
	return nil
}

// refused is the error for a proof that is not taken. The client learns no more; the
// cause is for the log.
func refused(format string, args ...any) error {
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: fmt.Errorf(format, args...)}
}

// proves tells whether l proves people of another directory.
func (l *link) proves(of *link) bool {
	return slices.ContainsFunc(l.People, func(name string) bool { return name == AnyPeople || name == of.Name })
}

// calls tells whether e has a name.
func calls(e *directory.Entry, name string) bool {
	return e.Name == name || slices.Contains(e.Aliases, name)
}

// judge gives the first directory that judges the passwords of whoever has a name, and
// them; nil when that is the directory that knows them.
func (d *Directory) judge(ctx context.Context, name string) (*link, *directory.Entry, error) {
	if !slices.ContainsFunc(d.links, func(l *link) bool { return l.judges }) {
		return nil, nil, nil
	}
	e, of, err := d.first(ctx, name)
	if mail.KindOf(err) == mail.KindNotFound {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, l := range d.links {
		if l.judges && l.proves(of) && l.covers(e.Name) {
			return l, e, nil
		}
	}
	return nil, nil, nil
}

// judged asks l for the password of e. KindNotFound when it does not know e.
func (d *Directory) judged(ctx context.Context, l *link, e *directory.Entry, password string) (*directory.Entry, error) {
	p, err := l.checkPassword(ctx, e.Name, password)
	if err != nil {
		return nil, err
	}
	if !calls(e, p.Name) {
		return nil, l.unavailable(fmt.Errorf("it was asked for %q and proved %q", e.Name, p.Name))
	}
	return d.join(ctx, l, e, p)
}

// join gives e, whom l proved as p: somebody switched off there is so here.
func (d *Directory) join(ctx context.Context, l *link, e *directory.Entry, p *directory.Person) (*directory.Entry, error) {
	joined := *e
	// The directory of e cannot say when a password of l changes.
	joined.PasswordChanged = time.Time{}
	joined.Enabled = e.Enabled && p.Blocked == ""
	joined.Groups = append(slices.Clone(e.Groups), groupsIn(l.Name, p.Groups)...)
	if !joined.Enabled {
		return &joined, nil // no sign-in, nothing to remember
	}
	if err := d.sameAsEver(ctx, l, e, p); err != nil {
		return nil, err
	}
	return &joined, nil
}

// linkKind is the kind of the records of links. Each link has two, with the same value:
// under who was proved, and under who they are here. So the store itself sees to it
// that each is one of the other, also when several servers write at once.
const linkKind = "directory-link"

// linkRecord says that somebody of a directory that proves is somebody of another.
type linkRecord struct {
	directory.LinkedAccount
	Person string // personKey of who they are here
}

// personKey names an entry in the records of links.
func personKey(e *directory.Entry) string {
	if e.Directory == "" {
		return keyOf("", e.Account.String())
	}
	return keyOf(e.Directory, e.ID)
}

func provedKey(dir, id string) string { return "proved/" + keyOf(dir, id) }

func hereKey(dir, person string) string { return "here/" + keyOf(dir, person) }

// stored is a record of a link as it is in the store; l is nil when there is none.
type stored struct {
	key      string
	revision uint64
	l        *linkRecord
}

func (d *Directory) readLink(ctx context.Context, key string) (stored, error) {
	s := stored{key: key}
	list, err := d.records.Records(ctx, linkKind, key)
	if err != nil {
		return s, mail.Wrap(mail.KindUnavailable, err)
	}
	for _, r := range list {
		if r.Key == key {
			s.revision, s.l = r.Revision, &linkRecord{}
			if err := json.Unmarshal(r.Value, s.l); err != nil || s.l.Person == "" || s.l.ID == "" {
				return s, &mail.Error{Kind: mail.KindCorrupt, Text: "A stored link of two directories' accounts cannot be read.", Cause: err}
			}
		}
	}
	return s, nil
}

// bothLinks reads the records of who p of dir is, and of whom dir proved as person.
func (d *Directory) bothLinks(ctx context.Context, dir, id, person string) (proved, here stored, err error) {
	if proved, err = d.readLink(ctx, provedKey(dir, id)); err == nil {
		here, err = d.readLink(ctx, hereKey(dir, person))
	}
	return proved, here, err
}

// sameAsEver refuses p, whom l proved under a name of e, when that name was another's
// there, or p was another here; the first time it is remembered.
func (d *Directory) sameAsEver(ctx context.Context, l *link, e *directory.Entry, p *directory.Person) error {
	person := personKey(e)
	for range tries {
		proved, here, err := d.bothLinks(ctx, l.Name, p.ID, person)
		switch {
		case err != nil:
			return err
		case proved.l != nil && here.l != nil && proved.l.Person == person && here.l.ID == p.ID:
			return nil
		case here.l != nil && here.l.ID != p.ID:
			return d.notTheSame(ctx, l, e, p, fmt.Errorf("the directory %s proved %q as %q, who was %q there before", l.Name, p.Name, p.ID, here.l.ID))
		case proved.l != nil && proved.l.Person != person:
			return d.notTheSame(ctx, l, e, p, fmt.Errorf("the directory %s proved %q as %q, who was %q before", l.Name, p.Name, p.ID, proved.l.Name))
		case p.ID == p.Name:
			return nil // a name is nothing to remember somebody by
		}
		made := directory.LinkedAccount{Directory: l.Name, ID: p.ID, Name: p.Name, Since: d.now().UTC().Truncate(time.Second)}
		err = d.writeLinks(ctx, &linkRecord{made, person}, []stored{proved, here})
		if err == nil {
			d.log.InfoContext(ctx, "an account of a directory is linked to a mailbox", "directory", l.Name, "id", p.ID, "name", e.Name)
		}
		if mail.KindOf(err) != mail.KindConflict {
			return err
		}
	}
	return errBusy
}

var errBusy = &mail.Error{Kind: mail.KindConflict, Text: "Somebody else keeps changing the entry; try again."}

func (d *Directory) notTheSame(ctx context.Context, l *link, e *directory.Entry, p *directory.Person, cause error) error {
	event.NotTheSame.Log(ctx, d.log, "directory", l.Name, "id", p.ID, "name", e.Name, "reason", cause.Error())
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: cause}
}

// writeLinks makes some records the link l and removes others: all or nothing.
// KindConflict when one is not as it was read.
func (d *Directory) writeLinks(ctx context.Context, l *linkRecord, as []stored, ends ...stored) error {
	value, err := json.Marshal(l)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	var list []store.Record
	for _, s := range as {
		list = append(list, store.Record{Kind: linkKind, Key: s.key, Value: value, Revision: s.revision})
	}
	for _, s := range ends {
		if s.l != nil {
			list = append(list, store.Record{Kind: linkKind, Key: s.key, Revision: s.revision})
		}
	}
	return mail.Wrap(mail.KindUnavailable, d.records.PutRecords(ctx, list))
}

// LinkedAccounts is part of directory.Linker.
func (d *Directory) LinkedAccounts(ctx context.Context, e *directory.Entry) ([]directory.LinkedAccount, error) {
	var list []directory.LinkedAccount
	for _, l := range d.links {
		if len(l.People) == 0 {
			continue
		}
		s, err := d.readLink(ctx, hereKey(l.Name, personKey(e)))
		if err != nil {
			return nil, err
		}
		if s.l != nil {
			list = append(list, s.l.LinkedAccount)
		}
	}
	return list, nil
}

// LinkedTo is part of directory.Linker.
func (d *Directory) LinkedTo(ctx context.Context, dir, id string) (*directory.Entry, error) {
	s, err := d.readLink(ctx, provedKey(dir, id))
	if err != nil || s.l == nil {
		return nil, err
	}
	list, err := d.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if personKey(&list[i]) == s.l.Person {
			return &list[i], nil
		}
	}
	return nil, nil
}

// Link is part of directory.Linker.
func (d *Directory) Link(ctx context.Context, e *directory.Entry, as directory.LinkedAccount) error {
	l, of := d.link(as.Directory), d.linkOf(e)
	if l == nil || of == nil || !l.proves(of) {
		return mail.Errorf(mail.KindBadArgument, "No directory %q proves people such as %s.", as.Directory, e.Name)
	}
	if err := directory.CheckID(as.ID); err != nil {
		return mail.Errorf(mail.KindBadArgument, "%q is not an identifier of 1 to %d printable characters.", as.ID, directory.MaxID)
	}
	person := personKey(e)
	as.Name, as.Since = "", d.now().UTC().Truncate(time.Second)
	for range tries {
		proved, here, err := d.bothLinks(ctx, as.Directory, as.ID, person)
		if err != nil {
			return err
		}
		if proved.l != nil && here.l != nil && proved.l.Person == person && here.l.ID == as.ID {
			return nil
		}
		// Each may be half of another link, which ends.
		var ends []stored
		if proved.l != nil && proved.l.Person != person {
			end, err := d.readLink(ctx, hereKey(as.Directory, proved.l.Person))
			if err != nil {
				return err
			}
			ends = append(ends, end)
		}
		if here.l != nil && here.l.ID != as.ID {
			end, err := d.readLink(ctx, provedKey(as.Directory, here.l.ID))
			if err != nil {
				return err
			}
			ends = append(ends, end)
		}
		err = d.writeLinks(ctx, &linkRecord{as, person}, []stored{proved, here}, ends...)
		if mail.KindOf(err) != mail.KindConflict {
			return err
		}
	}
	return errBusy
}

// linkOf gives the directory that an entry is of.
func (d *Directory) linkOf(e *directory.Entry) *link {
	if e.Directory != "" {
		return d.link(e.Directory)
	}
	if d.own == nil {
		return nil
	}
	return d.ownLink()
}

// Unlink is part of directory.Linker.
func (d *Directory) Unlink(ctx context.Context, e *directory.Entry, dir string) error {
	for range tries {
		here, err := d.readLink(ctx, hereKey(dir, personKey(e)))
		if err != nil {
			return err
		}
		if here.l == nil {
			return mail.Errorf(mail.KindNotFound, "%s is nobody of the directory %s yet.", e.Name, dir)
		}
		proved, err := d.readLink(ctx, provedKey(dir, here.l.ID))
		if err != nil {
			return err
		}
		err = d.writeLinks(ctx, nil, nil, here, proved)
		if mail.KindOf(err) != mail.KindConflict {
			return err
		}
	}
	return errBusy
}

// unlinkAll forgets who a removed entry was. What is left over lets nobody in.
func (d *Directory) unlinkAll(ctx context.Context, e *directory.Entry) {
	list, err := d.LinkedAccounts(ctx, e)
	for _, l := range list {
		if err == nil {
			err = d.Unlink(ctx, e, l.Directory)
		}
	}
	if err != nil {
		d.log.WarnContext(ctx, "who a removed mailbox was in other directories could not be forgotten", "name", e.Name, "error", err)
	}
}
