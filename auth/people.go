package auth

import (
	"context"
	"net/netip"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Access control lists name people, groups and anyone by identifiers (RFC 4314, 3):
// sign-in names, group:NAME as in login policies, and anyone.
const (
	anyone      = "anyone"
	groupPrefix = "group:"
)

// NameOf gives the sign-in name that whoever has an account has now, "" when nobody has
// it.
func (a *Authenticator) NameOf(ctx context.Context, account mail.AccountID) (string, error) {
	if d, ok := a.directory.(directory.Named); ok {
		return d.NameOf(ctx, account)
	}
	return "", nil
}

// LoginGroupsOf gives the login groups that a user is in now.
func (a *Authenticator) LoginGroupsOf(name string) []string { return a.policy.Load().GroupsOf(name) }

// DirectoryGroupsOf gives the groups that a user is in by what the external directories
// say. It may ask them. KindUnavailable when they cannot say.
func (a *Authenticator) DirectoryGroupsOf(ctx context.Context, name string) ([]string, error) {
	if _, outside := a.directory.(directory.Grouped); !outside {
		return nil, nil
	}
	e, err := a.directory.Lookup(ctx, name)
	if err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	return directory.Groups(ctx, a.directory, e)
}

// UserOf gives the sign-in name and the account of whom a name or address means, if that
// one may use a service now, on this server. KindNotFound when not, KindBadArgument when it is no name,
// KindUnavailable.
func (a *Authenticator) UserOf(ctx context.Context, service settings.Service, user string) (string, mail.AccountID, error) {
	name, err := directory.PrepareName(user)
	if err != nil {
		return "", 0, err
	}
	e, err := a.directory.Lookup(ctx, name)
	if err != nil {
		return "", 0, err
	}
	moved := service == settings.IMAP4 && e.ImapReferralURL != ""
	if e.Account == 0 || e.Gone || !e.Enabled || moved || !rowOf(service).enabled(*e) {
		return "", 0, mail.Errorf(mail.KindNotFound, "There is nobody of that name.")
	}
	return e.Name, e.Account, nil
}

// Grantee gives whom an identifier of an access control list names. KindBadArgument when
// it can be none, KindNotFound when there is nobody, or no group, of that name.
func (a *Authenticator) Grantee(ctx context.Context, identifier string) (mail.Grantee, error) {
	if strings.EqualFold(identifier, anyone) {
		return mail.Grantee{}, nil
	}
	if len(identifier) > len(groupPrefix) && strings.EqualFold(identifier[:len(groupPrefix)], groupPrefix) {
		name := identifier[len(groupPrefix):]
		if dir, group, outside := strings.Cut(name, `\`); outside {
			d, ok := a.directory.(directory.Grouped)
			group, err := directory.PrepareGroup(group)
			if err != nil || !ok || !d.IsExternal(strings.ToLower(dir)) {
				return mail.Grantee{}, mail.Errorf(mail.KindNotFound, "There is no group of that name.")
			}
			return mail.Grantee{Group: strings.ToLower(dir) + `\` + group}, nil
		}
		for known := range a.policy.Load().Groups {
			if strings.EqualFold(known, name) {
				return mail.Grantee{Group: known}, nil
			}
		}
		return mail.Grantee{}, mail.Errorf(mail.KindNotFound, "There is no group of that name.")
	}
	name, err := directory.PrepareName(identifier)
	if err != nil {
		return mail.Grantee{}, err
	}
	e, err := a.directory.Lookup(ctx, name)
	if err != nil {
		return mail.Grantee{}, err
	}
	if e.Account == 0 {
		return mail.Grantee{}, mail.Errorf(mail.KindNotFound, "%s has no mailbox yet.", e.Name)
	}
	return mail.Grantee{Account: e.Account}, nil
}

// Identifier gives the identifier of a grantee, "" for an account that nobody has any
// more.
func (a *Authenticator) Identifier(ctx context.Context, g mail.Grantee) (string, error) {
	switch {
	case g.Account != 0:
		return a.NameOf(ctx, g.Account)
	case g.Group != "":
		return groupPrefix + g.Group, nil
	}
	return anyone, nil
}

// RightsChanged is a change of what a grantee may do with a mailbox.
type RightsChanged struct {
	User          string // who changed it
	Remote        netip.AddrPort
	Owner         mail.AccountID
	Mailbox       string // in the owner's account
	Identifier    string // of the grantee, with "-" before it when the rights are taken away
	Before, After mail.Rights
}

// RightsChanged writes the event.
func (a *Authenticator) RightsChanged(ctx context.Context, c RightsChanged) {
	owner, err := a.NameOf(ctx, c.Owner)
	if err != nil || owner == "" {
		owner = c.Owner.String()
	}
	event.RightsChanged.Log(ctx, a.log, "user", c.User, "remote", c.Remote.String(), "owner", owner, "mailbox", c.Mailbox,
		"for", c.Identifier, "before", c.Before.String(), "after", c.After.String())
}
