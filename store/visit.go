package store

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

const (
	// shareKind is the kind of the records that say who has rights in which accounts.
	// Their key is the grantee, the account and the mailbox. They change with the
	// rights, in one batch.
	shareKind = "share"

	maxGrants = 500  // on a mailbox
	maxOwners = 2000 // whose mailboxes one person is shown
)

// Visit is the mail of an account as one person may use it: the owner all of it, a guest
// what the mailboxes' rights permit (RFC 4314). Rights are asked in the change that needs
// them. What a guest may not know of is answered as what does not exist: KindNotFound;
// what it may know of and not do is KindNoPermission.
type Visit struct {
	account *Account
	guest   *mail.Person // nil: the owner
}

// Visit gives a's mail as somebody else may use it.
func (a *Account) Visit(p mail.Person) Visit { return Visit{a, &p} }

// Own gives a's mail as its owner uses it.
func (a *Account) Own() Visit { return Visit{account: a} }

// Account is the account that is visited.
func (v Visit) Account() *Account { return v.account }

// Foreign tells whether the visitor is not the owner.
func (v Visit) Foreign() bool { return v.guest != nil }

// rights gives what the visitor may do with a mailbox.
func (v Visit) rights(r *MailboxRecord) mail.Rights {
	if v.guest == nil {
		return mail.AllRights
	}
	return mail.RightsOf(r.Grants, *v.guest)
}

// may gives an error unless the visitor has the rights that are needed on a mailbox.
func (v Visit) may(r *MailboxRecord, needed mail.Rights) error {
	rights := v.rights(r)
	switch {
	case rights.Has(needed):
		return nil
	case rights.Has(mail.RightLookup):
		return errNoRight
	}
	return errHidden
}

// May gives an error unless the visitor has the rights that are needed on the mailbox
// called name; every change asks itself, too.
func (v Visit) May(name string, needed mail.Rights) error {
	r, ok := v.account.Mailbox(name)
	if !ok {
		return v.shown(noMailbox(name))
	}
	return v.may(&r, needed)
}

var (
	errNoRight = mail.Errorf(mail.KindNoPermission, "You do not have the right to do that with this mailbox.")
	errHidden  = mail.Errorf(mail.KindNotFound, "There is no such mailbox.")
)

// shown gives err as a guest may see it: a name that it gave may be hidden from it.
func (v Visit) shown(err error) error {
	if v.guest != nil && mail.KindOf(err) == mail.KindNotFound {
		return errHidden
	}
	return err
}

// Mailboxes gives the records of the mailboxes that the visitor may list, ascending by
// name.
func (v Visit) Mailboxes() []MailboxRecord {
	list := v.account.Mailboxes()
	if v.guest == nil {
		return list
	}
	return slices.DeleteFunc(list, func(r MailboxRecord) bool { return !v.rights(&r).Has(mail.RightLookup) })
}

// Mailbox gives the record of the mailbox called name, and what the visitor may do with
// it; false when there is none, or it may do nothing with it. Unseen, Keywords and
// HighestModSeq are the owner's: see Status.
func (v Visit) Mailbox(name string) (MailboxRecord, mail.Rights, bool) {
	r, ok := v.account.Mailbox(name)
	if !ok {
		return MailboxRecord{}, 0, false
	}
	rights := v.rights(&r)
	return r, rights, rights != 0
}

// Named gives the name of a mailbox now, false when it is gone.
func (v Visit) Named(id mail.MailboxID) (name string, ok bool) {
	for _, n := range v.account.published.Load().names {
		if n.box.id == id {
			return n.name, true
		}
	}
	return "", false
}

// RightsIn gives what the visitor may do with a mailbox that gives these rights to others.
func (v Visit) RightsIn(grants []mail.Grant) mail.Rights {
	return v.rights(&MailboxRecord{Grants: grants})
}

// ReadsAny tells whether the visitor may read any mailbox of the account.
func (v Visit) ReadsAny() bool {
	for _, n := range v.account.published.Load().names {
		r := n.record()
		if v.rights(&r).Has(mail.RightRead) {
			return true
		}
	}
	return false
}

// Status gives the record of a mailbox as the visitor sees it. It needs the right r.
func (v Visit) Status(ctx context.Context, name string) (MailboxRecord, error) {
	r, _, ok := v.Mailbox(name)
	if !ok {
		return r, errHidden
	}
	if v.guest == nil {
		return r, nil
	}
	m, err := v.Select(ctx, name, true)
	if err != nil {
		return r, err
	}
	defer m.Close()
	r = m.Record()
	r.RecentFrom = r.UIDNext
	return r, nil
}

// Select opens a mailbox as Account.Select does. It needs the right r. For a guest no
// message is \Recent, and its view has its own \Seen and keywords.
func (v Visit) Select(ctx context.Context, name string, readOnly bool) (*Mailbox, error) {
	m, err := v.account.selectMailbox(ctx, name, readOnly, v)
	return m, v.shown(err)
}

// Append puts messages into a mailbox as Account.Append does. It needs the right i;
// flags are set as far as rights permit, and never make it fail.
func (v Visit) Append(ctx context.Context, mailbox string, arrivals ...Arrival) (Appended, error) {
	done, err := v.account.append(ctx, v, mailbox, nil, arrivals)
	return done, v.shown(err)
}

// CreateMailbox makes a mailbox as Account.CreateMailbox does. It needs the right k on
// the nearest mailbox above, whose rights the new one has too.
func (v Visit) CreateMailbox(ctx context.Context, name, specialUse string) (MailboxRecord, error) {
	r, err := v.account.createMailbox(ctx, v, name, specialUse)
	return r, v.shown(err)
}

// DeleteMailbox removes a mailbox as Account.DeleteMailbox does. It needs the right x.
func (v Visit) DeleteMailbox(ctx context.Context, name string) error {
	return v.shown(v.account.deleteMailbox(ctx, v, name))
}

// RenameMailbox gives a mailbox another name as Account.RenameMailbox does. It needs the
// right x on it and all below it, and k on the nearest mailbox above the new name. The
// rights on it stay.
func (v Visit) RenameMailbox(ctx context.Context, from, to string) error {
	return v.shown(v.account.renameMailbox(ctx, v, from, to))
}

// Grants gives the rights that others than the owner have on a mailbox. It needs the
// right a.
func (v Visit) Grants(name string) ([]mail.Grant, error) {
	r, ok := v.account.Mailbox(name)
	if !ok {
		return nil, v.shown(noMailbox(name))
	}
	return r.Grants, v.may(&r, mail.RightAdmin)
}

// GrantOp is what SetGrant does with the rights that it is given.
type GrantOp int

// The operations of RFC 4314, 3.1.
const (
	GrantSet GrantOp = iota
	GrantAdd
	GrantRemove
)

// SetGrant changes the rights of g's grantee, which are g.Negative, and gives what they
// were and are. None at all ends the grant. It needs the right a. KindCannot for the
// owner, who always has all; KindLimit.
func (v Visit) SetGrant(ctx context.Context, name string, op GrantOp, g mail.Grant) (before, after mail.Rights, err error) {
	a := v.account
	_, err = a.change(ctx, func(c *change) error {
		before, after = 0, 0
		bc, err := c.named(name)
		if err != nil {
			return err
		}
		if err := v.may(&bc.record, mail.RightAdmin); err != nil {
			return err
		}
		if g.Account == a.id {
			return mail.Errorf(mail.KindCannot, "The owner of a mailbox always has all rights on it.")
		}
		i := slices.IndexFunc(bc.record.Grants, func(h mail.Grant) bool { return h.Grantee == g.Grantee && h.Negative == g.Negative })
		if i >= 0 {
			before = bc.record.Grants[i].Rights
		}
		switch op {
		case GrantSet:
			after = g.Rights
		case GrantAdd:
			after = before | g.Rights
		case GrantRemove:
			after = before &^ g.Rights
		}
		next := slices.Clone(bc.record.Grants)
		changed := g
		changed.Rights = after
		switch {
		case before == after && (i >= 0) == (after != 0):
			return nil
		case after == 0:
			next = slices.Delete(next, i, i+1)
		case i >= 0:
			next[i] = changed
		case len(next) >= maxGrants:
			return mail.Errorf(mail.KindLimit, "A mailbox has at most %d entries in its access control list.", maxGrants)
		default:
			next = append(next, changed)
		}
		if len(next) == 0 {
			next = nil
		}
		c.grant(bc, next)
		return nil
	})
	return before, after, v.shown(err)
}

// grant gives a mailbox other rights, and enters them in the index of who has any where.
func (c *change) grant(bc *boxChange, grants []mail.Grant) {
	for _, g := range bc.record.Grants {
		if !g.Negative && !granted(grants, g.Grantee) {
			c.batch.Records = append(c.batch.Records, Record{Kind: shareKind, Key: c.shareKey(bc, g.Grantee)})
		}
	}
	for _, g := range grants {
		if !g.Negative && !granted(bc.record.Grants, g.Grantee) {
			c.batch.Records = append(c.batch.Records, Record{Kind: shareKind, Key: c.shareKey(bc, g.Grantee), Value: []byte{}})
		}
	}
	bc.record.Grants, bc.touched = grants, true
}

// granted tells whether a grantee is given anything.
func granted(grants []mail.Grant, who mail.Grantee) bool {
	return slices.ContainsFunc(grants, func(g mail.Grant) bool { return !g.Negative && g.Grantee == who })
}

func (c *change) shareKey(bc *boxChange, g mail.Grantee) string {
	return fmt.Sprintf("%s%v/%v", shareKey(g), c.account.ID, bc.record.ID)
}

// shareKey is how the keys of what a grantee has begin.
func shareKey(g mail.Grantee) string {
	switch {
	case g.Account != 0:
		return "account/" + g.Account.String() + "/"
	case g.Group != "":
		return "group/" + url.PathEscape(g.Group) + "/"
	}
	return "anyone/"
}

// SharedWith gives the accounts in which somebody else was given rights by name, by a
// group or as anyone, ascending and each once, at most 2,000. Whether it has any is for the
// mailboxes to say: negative rights may take all away. Nothing is opened for it.
func (s *Store) SharedWith(ctx context.Context, p mail.Person) ([]mail.AccountID, error) {
	grantees := []mail.Grantee{{}, {Account: p.Account}}
	for _, g := range p.Groups {
		grantees = append(grantees, mail.Grantee{Group: g})
	}
	var owners []mail.AccountID
	for _, g := range grantees {
		list, err := s.sharedTo(ctx, g)
		if err != nil {
			return nil, err
		}
		owners = append(owners, list...)
	}
	slices.Sort(owners)
	owners = slices.Compact(slices.DeleteFunc(owners, func(id mail.AccountID) bool { return id == p.Account }))
	return owners[:min(len(owners), maxOwners)], nil
}

// Grants tells whether any mailbox gives rights to a grantee.
func (s *Store) Grants(ctx context.Context, g mail.Grantee) (bool, error) {
	owners, err := s.sharedTo(ctx, g)
	return len(owners) > 0, err
}

// sharedTo gives the accounts with a mailbox that gives rights to a grantee, ascending.
func (s *Store) sharedTo(ctx context.Context, g mail.Grantee) ([]mail.AccountID, error) {
	prefix := shareKey(g)
	records, err := s.engine.Records(ctx, shareKind, prefix)
	if err != nil {
		return nil, err
	}
	var owners []mail.AccountID
	for _, r := range records {
		var id uint64
		owner, _, _ := strings.Cut(strings.TrimPrefix(r.Key, prefix), "/")
		if _, err := fmt.Sscanf(owner, "%016x", &id); err != nil {
			return nil, mail.Errorf(mail.KindCorrupt, "the record of a share %q is damaged in the store", r.Key)
		}
		owners = append(owners, mail.AccountID(id))
	}
	return slices.Compact(owners), nil
}

// nearestAbove gives the nearest mailbox above name in the head, nil when there is none;
// a.mu is held.
func (a *Account) nearestAbove(name string) *box {
	for {
		i := strings.LastIndex(name, Delimiter)
		if i < 0 {
			return nil
		}
		name = name[:i]
		if b, ok := lookup(a.names, name); ok {
			return b
		}
	}
}

// mayCreate gives an error unless the visitor may have a mailbox of that name; a.mu is
// held.
func (v Visit) mayCreate(name string) error {
	if v.guest == nil {
		return nil
	}
	above := v.account.nearestAbove(name)
	if above == nil {
		return errHidden
	}
	return v.may(&above.record, mail.RightCreate)
}

// forgetGuest takes away the rights, the marks and the annotations that a person has in a's mailboxes:
// the person's account was removed.
func (a *Account) forgetGuest(ctx context.Context, id mail.AccountID) error {
	_, err := a.change(ctx, func(c *change) error {
		for _, b := range a.boxes {
			has := func(g mail.Grant) bool { return g.Account == id }
			if !slices.ContainsFunc(b.record.Grants, has) {
				continue
			}
			bc := c.use(b)
			next := slices.DeleteFunc(slices.Clone(bc.record.Grants), has)
			if len(next) == 0 {
				next = nil
			}
			c.grant(bc, next)
			if err := c.dropRecords(ctx, marksKind, marksPrefix(a.id, b.id, id)); err != nil {
				return err
			}
			if err := c.dropRecords(ctx, metadataKind, metadataOf(a.id, b.id)+id.String()); err != nil {
				return err
			}
			if err := c.dropAnnotations(ctx, b.id, func(person string) bool { return person == id.String() }); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// dropRecords removes records whose key begins with prefix.
func (c *change) dropRecords(ctx context.Context, kind, prefix string) error {
	records, err := c.a.store.engine.Records(ctx, kind, prefix)
	for _, r := range records {
		c.batch.Records = append(c.batch.Records, Record{Kind: kind, Key: r.Key})
	}
	return err
}
