package manage

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// localGroup is the one group that the LocalGroupMember cmdlets know.
const localGroup = "Administrators"

// maxLocalMembers bounds the list of one server.
const maxLocalMembers = 1000

// localMembers are the mailboxes that are local administrators of this server,
// beside users of its operating system, who are no rows here.
func (s *Server) localMembers() keptList[localMember] {
	return keptList[localMember]{records: s.Records, kind: "localadministrator", key: strings.ToLower(s.Settings.Server())}
}

// group checks -Group.
func (c *Call) group() error {
	if g := c.Text("Group"); g != "" && !strings.EqualFold(g, localGroup) {
		return wrong("Group", "there is no group %q; the group is %s", g, localGroup)
	}
	return nil
}

// getLocalGroupMember shows one object a member, those of the operating system
// too.
func getLocalGroupMember(ctx context.Context, c *Call) (func(context.Context) error, error) {
	if err := c.group(); err != nil {
		return nil, err
	}
	add := func(name, class, source string) {
		if matches(c.Text("Member"), name) {
			c.Add(Object{{"Name", name}, {"ObjectClass", class}, {"PrincipalSource", source}, {"Server", c.Settings.Server()}})
		}
	}
	root, own := UnixIdentity(0), UnixIdentity(os.Getuid())
	add(root, "User", "OperatingSystem")
	if own != root {
		add(own, "User", "OperatingSystem")
	}
	if c.Administrators != "" {
		add("unix:@"+c.Administrators, "Group", "OperatingSystem")
	}
	members, _, err := c.localMembers().load(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		add(m.Identity, "User", "Directory")
	}
	return nil, nil
}

// addLocalGroupMember makes a mailbox a local administrator of this server.
func addLocalGroupMember(ctx context.Context, c *Call) (func(context.Context) error, error) {
	if err := c.group(); err != nil {
		return nil, err
	}
	if err := c.notUnix(); err != nil {
		return nil, err
	}
	member, _, err := c.known(ctx, c.Text("Member"))
	if err != nil {
		return nil, about("Member", err)
	}
	return c.changeLocalMembers(ctx, func(list []localMember) ([]localMember, error) {
		if slices.ContainsFunc(list, func(m localMember) bool { return m.is(member) }) {
			return nil, about("Member", mail.Errorf(mail.KindAlreadyExists, "%s is a local administrator of this server already", member.Identity))
		}
		if len(list) >= maxLocalMembers {
			return nil, mail.Errorf(mail.KindLimit, "a server has at most %d local administrators", maxLocalMembers)
		}
		return append(slices.Clone(list), localMember{member}), nil
	}, member.Identity, nil, localGroup)
}

// removeLocalGroupMember is the opposite, for whom the name means now and whom it
// meant; the mailbox may be gone already.
func removeLocalGroupMember(ctx context.Context, c *Call) (func(context.Context) error, error) {
	if err := c.group(); err != nil {
		return nil, err
	}
	if err := c.notUnix(); err != nil {
		return nil, err
	}
	member, err := directory.PrepareName(c.Text("Member"))
	if err != nil {
		return nil, about("Member", err)
	}
	who, err := c.holder(ctx, member)
	if err != nil {
		who = Holder{Identity: member} // as removeAdministrator
	}
	return c.changeLocalMembers(ctx, func(list []localMember) ([]localMember, error) {
		rest := slices.DeleteFunc(slices.Clone(list), func(m localMember) bool { return m.Identity == member || m.is(who) })
		if len(rest) == len(list) {
			return nil, about("Member", hinted(mail.Errorf(mail.KindNotFound, "%s is not a local administrator of this server", member), "Get-LocalGroupMember lists them."))
		}
		return rest, nil
	}, member, localGroup, nil)
}

// notUnix refuses users of the operating system, which has its own tools.
func (c *Call) notUnix() error {
	given := c.Text("Member")
	if len(given) < len(unixPrefix) || !strings.EqualFold(given[:len(unixPrefix)], unixPrefix) {
		return nil
	}
	return about("Member", hinted(mail.Errorf(mail.KindCannot, "the groups of operating-system users are the operating system's"), c.localHint(given)))
}

func (c *Call) changeLocalMembers(ctx context.Context, compute func([]localMember) ([]localMember, error), member string, old, new any) (func(context.Context) error, error) {
	list, _, err := c.localMembers().load(ctx)
	if err == nil {
		_, err = compute(list)
	}
	if err != nil {
		return nil, err
	}
	c.Change(member, "LocalGroup", old, new)
	return func(ctx context.Context) error { return c.localMembers().change(ctx, compute) }, nil
}
