package imap

import (
	"context"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// The namespaces of mailboxes in other accounts (RFC 2342). In them the name of an
// account's owner stands before the mailbox's own name.
const (
	othersNamespace = "Other Users" + store.Delimiter
	sharedNamespace = "Shared" + store.Delimiter
)

// directoryGroups is how long a session takes the groups that external directories said
// for true. Those of the server itself are asked anew for each command.
const directoryGroups = time.Minute

// errNoMailbox is what is said of a mailbox that there is not, and of one of which the
// client may not know.
var errNoMailbox = mail.Errorf(mail.KindNotFound, "There is no such mailbox.")

// errMailboxLost ends a session that may no longer read its selected mailbox, as
// errMailboxDeleted does (RFC 4314, 5.1.1).
var errMailboxLost = mail.Errorf(mail.KindUnavailable, "The selected mailbox can no longer be opened.")

// visitor is somebody whose mailboxes, and those that others share with them, are found
// by name. One goroutine at a time uses it.
type visitor struct {
	ctx     context.Context
	server  *Server
	account *store.Account // nil before login
	name    string         // whose account it is
	mute    bool           // it is not told of mailboxes on other servers

	// Of other accounts.
	groups   []string                          // what external directories said
	groupsAt time.Time                         // when
	visited  map[mail.AccountID]*store.Account // opened by the command under way
}

// place is where a mailbox is that the client named.
type place struct {
	store.Visit
	name string // in its account
}

// inNamespace tells whether a name is in another one's namespace, or its root.
func inNamespace(name string) bool {
	name += store.Delimiter
	return strings.HasPrefix(name, othersNamespace) || strings.HasPrefix(name, sharedNamespace)
}

// own gives a mailbox of one's own.
func (v *visitor) own(name string) place { return place{v.account.Own(), name} }

// onePlace reads arguments that are a mailbox name alone and finds it.
func (s *session) onePlace() (string, place, error) {
	name, err := s.oneMailbox()
	if err != nil {
		return "", place{}, err
	}
	p, err := s.place(name)
	return name, p, err
}

// place finds the mailbox that a clean name means; whether it exists is not asked.
// errNoMailbox for a name in an account that shares nothing with the client, which takes
// the same work whether there is such an account or not. A mailbox that is on another
// server, and not here, is an error that says so.
func (v *visitor) place(name string) (place, error) {
	p, err := v.find(name)
	if err == nil {
		if _, _, here := p.Mailbox(p.name); here {
			return p, nil
		}
	}
	if away := v.referred(name); away != nil {
		return place{}, away
	}
	return p, err
}

// find is place for what is here.
func (v *visitor) find(name string) (place, error) {
	if !inNamespace(name) {
		return v.own(name), nil
	}
	if _, ok := v.account.Mailbox(name); ok {
		return v.own(name), nil // from before there were namespaces
	}
	var found place
	err := v.owners(func(owner string, id mail.AccountID) (bool, error) {
		for _, ns := range []string{othersNamespace, sharedNamespace} {
			rest, ok := strings.CutPrefix(name, ns+owner+store.Delimiter)
			if !ok {
				continue
			}
			other, err := v.visit(id)
			if err != nil {
				return false, err
			}
			if other.Account().Shared() != (ns == sharedNamespace) {
				continue
			}
			if rest, err = store.CleanName(rest); err != nil {
				return false, err
			}
			found = place{other, rest}
		}
		return found.Account() == nil, nil
	})
	if err == nil && found.Account() == nil {
		err = errNoMailbox
	}
	return found, err
}

// owners calls each for the accounts that share something with the client, until it is
// false, with the names of their owners.
func (v *visitor) owners(each func(name string, id mail.AccountID) (bool, error)) error {
	p, err := v.person()
	if err != nil {
		return err
	}
	ids, err := v.server.Store.SharedWith(v.ctx, p)
	if err != nil {
		return err
	}
	for _, id := range ids {
		name, err := v.server.Auth.NameOf(v.ctx, id)
		if err != nil {
			return err
		}
		if name == "" {
			continue // removed at this moment
		}
		if more, err := each(name, id); err != nil || !more {
			return err
		}
	}
	return nil
}

// person says who the client is, with its groups of now. An error when a directory cannot
// say them: without them a right that is taken from a group would be given.
func (v *visitor) person() (mail.Person, error) {
	a := v.server.Auth
	if now := time.Now(); v.groupsAt.IsZero() || now.Sub(v.groupsAt) > directoryGroups {
		groups, err := a.DirectoryGroupsOf(v.ctx, v.name)
		if err != nil {
			return mail.Person{}, err
		}
		v.groups, v.groupsAt = groups, now
	}
	return mail.Person{Account: v.account.ID(), Groups: append(a.LoginGroupsOf(v.name), v.groups...)}, nil
}

// visit opens another account for the command under way.
func (v *visitor) visit(id mail.AccountID) (store.Visit, error) {
	p, err := v.person()
	if err != nil {
		return store.Visit{}, err
	}
	a := v.visited[id]
	if a == nil {
		if a, err = v.server.Store.Account(v.ctx, id); err != nil {
			return store.Visit{}, err
		}
		if v.visited == nil {
			v.visited = map[mail.AccountID]*store.Account{}
		}
		v.visited[id] = a
	}
	return a.Visit(p), nil
}

// leaveVisited closes the accounts that a command opened.
func (v *visitor) leaveVisited() {
	for id, a := range v.visited {
		a.Close()
		delete(v.visited, id)
	}
}

// admit looks at the rights of now on the selected mailbox, if it is another account's:
// without r the session ends. It is asked before each command.
func (s *session) admit() error {
	if s.mailbox == nil || !s.mailbox.Visit().Foreign() {
		return nil
	}
	p, err := s.person()
	if err != nil {
		return err
	}
	s.mailbox.SetGuest(p)
	if s.lost() {
		return mail.Errorf(mail.KindNoPermission, "The selected mailbox can no longer be opened.")
	}
	return nil
}

// lost notes that the selected mailbox may no longer be read.
func (s *session) lost() bool {
	if !s.mailbox.Visit().Foreign() || s.mailbox.Rights().Has(mail.RightRead) {
		return false
	}
	s.ending = errMailboxLost
	if s.mailbox.Deleted() {
		s.ending = errMailboxDeleted
	}
	return true
}

// readsOnly tells whether SELECT answers READ-ONLY for want of rights: nothing that others
// would see can be changed (RFC 4314, 5.2).
func readsOnly(r mail.Rights) bool {
	return r&(mail.RightInsert|mail.RightExpunge|mail.RightWrite|mail.RightTrash|mail.RightAnnotate) == 0
}

// ownerOf gives the account that a mailbox is in if it is not the client's, else 0: object
// ids are one account's, and what is in another has that in its ids (RFC 8474, 4).
func ownerOf(v store.Visit) mail.AccountID {
	if v.Foreign() {
		return v.Account().ID()
	}
	return 0
}

// objectID gives an object id of the selected mailbox's account.
func (s *session) objectID(id string) string { return objectIDIn(s.mailbox.Visit(), id) }

func objectIDIn(v store.Visit, id string) string {
	if owner := ownerOf(v); owner != 0 {
		return id + "-" + owner.String()
	}
	return id
}

// addShared puts the mailboxes of others that the client may list into a tree.
func (s *session) addShared(t *tree, hidden bool) error {
	return s.owners(func(owner string, id mail.AccountID) (bool, error) {
		v, err := s.visit(id)
		if err != nil {
			if mail.KindOf(err) == mail.KindNotFound {
				return true, nil // removed at this moment
			}
			return false, err
		}
		prefix := prefixOf(v, owner)
		records := v.Mailboxes()
		for i := range records {
			r := &records[i]
			name := prefix + r.Name
			if hidden && isHidden(r.Name) {
				continue
			}
			n := t.add(name)
			if n.record != nil {
				continue
			}
			n.record, n.place = r, place{v, r.Name}
			r.SpecialUse = "" // it is its owner's
			t.addAbove(name)
		}
		return true, nil
	})
}

// prefixOf gives how the names of an owner's mailboxes begin for a guest.
func prefixOf(v store.Visit, owner string) string {
	if v.Account().Shared() {
		return sharedNamespace + owner + store.Delimiter
	}
	return othersNamespace + owner + store.Delimiter
}
