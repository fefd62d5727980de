package manage

import (
	"context"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// loginGroup is a group of mailboxes for login policies.
type loginGroup struct {
	Name    string   `json:"name"`
	Members []string `json:"members,omitempty"` // sign-in names, sorted
}

func (s *Server) loginGroups() keptList[loginGroup] {
	return keptList[loginGroup]{records: s.Records, kind: LoginGroupKind, key: "groups"}
}

func groupIndex(groups []loginGroup, name string) int {
	return slices.IndexFunc(groups, func(g loginGroup) bool { return strings.EqualFold(g.Name, name) })
}

// knownGroup gives the function that reads a group's name.
func (c *Call) knownGroup(ctx context.Context) func(string) (string, error) {
	return func(text string) (string, error) {
		if dir, group, outside := strings.Cut(text, `\`); outside {
			return c.directoryGroup(dir, group)
		}
		groups, _, err := c.loginGroups().load(ctx)
		if err != nil {
			return "", err
		}
		i := groupIndex(groups, text)
		if i < 0 {
			return "", mail.Errorf(mail.KindNotFound, "contains %q, and there is no such group; New-LoginGroup makes one", text)
		}
		return groups[i].Name, nil
	}
}

// directoryGroup reads a group of an external directory. Whether there is one is the
// directory's to say, and changes there.
func (c *Call) directoryGroup(dir, group string) (string, error) {
	d, ok := c.Directory.(directory.Grouped)
	dir = strings.ToLower(dir)
	if !ok || !d.IsExternal(dir) {
		return "", mail.Errorf(mail.KindNotFound, "contains a group of the directory %q, and there is no such directory in the settings file", dir)
	}
	name, err := directory.PrepareGroup(group)
	if err != nil {
		return "", mail.Errorf(mail.KindBadArgument, "contains %q, which is not DIRECTORY\\GROUP", dir+`\`+group)
	}
	return dir + `\` + name, nil
}

// getLoginGroup shows one object a group.
func getLoginGroup(ctx context.Context, c *Call) (func(context.Context) error, error) {
	groups, _, err := c.loginGroups().load(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if matches(c.Text("Name"), g.Name) && (!c.Given("Member") || slices.ContainsFunc(g.Members, func(m string) bool { return Like(c.Text("Member"), m) })) {
			c.Add(Object{{"Name", g.Name}, {"Members", addresses(g.Members)}})
		}
	}
	return nil, nil
}

func newLoginGroup(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, err := c.shortName()
	if err != nil {
		return nil, err
	}
	if strings.Contains(name, `\`) {
		return nil, wrong("Name", `Name has no \: DIRECTORY\GROUP is a group of an external directory`)
	}
	return c.changeLoginGroups(ctx, name, func(groups []loginGroup) ([]loginGroup, error) {
		if groupIndex(groups, name) >= 0 {
			return nil, about("Name", hinted(mail.Errorf(mail.KindAlreadyExists, "there is a group %q", name), "Set-LoginGroup changes it."))
		}
		if len(groups) >= maxLoginGroups {
			return nil, mail.Errorf(mail.KindLimit, "there are at most %d groups", maxLoginGroups)
		}
		g, err := c.editLoginGroup(ctx, loginGroup{Name: name})
		if err != nil {
			return nil, err
		}
		groups = append(slices.Clone(groups), g)
		slices.SortFunc(groups, func(a, b loginGroup) int { return strings.Compare(a.Name, b.Name) })
		return groups, nil
	})
}

func setLoginGroup(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeLoginGroups(ctx, c.Text("Name"), func(groups []loginGroup) ([]loginGroup, error) {
		i, err := findGroup(groups, c.Text("Name"))
		if err != nil {
			return nil, err
		}
		groups = slices.Clone(groups)
		groups[i], err = c.editLoginGroup(ctx, groups[i])
		return groups, err
	})
}

// removeLoginGroup refuses while a policy names the group: without it the policy
// would hold for nobody.
func removeLoginGroup(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeLoginGroups(ctx, c.Text("Name"), func(groups []loginGroup) ([]loginGroup, error) {
		i, err := findGroup(groups, c.Text("Name"))
		if err != nil {
			return nil, err
		}
		rules, _, err := c.loginPolicies().load(ctx)
		if err != nil {
			return nil, err
		}
		if r := slices.IndexFunc(rules, func(r auth.LoginRule) bool { return slices.Contains(r.Groups, groups[i].Name) }); r >= 0 {
			return nil, about("Name", hinted(mail.Errorf(mail.KindInUse, "the login policy %q is for the group %q", rules[r].Name, groups[i].Name),
				"Set-LoginPolicy changes whom it is for."))
		}
		// A new group of that name would have its rights.
		if given, err := c.Folders.Grants(ctx, mail.Grantee{Group: groups[i].Name}); err != nil || given {
			if err == nil {
				err = about("Name", hinted(mail.Errorf(mail.KindInUse, "the group %q has rights on folders", groups[i].Name),
					"Get-MailboxFolderPermission shows the rights on a mailbox's folders, Remove-MailboxFolderPermission takes them away."))
			}
			return nil, err
		}
		return slices.Delete(slices.Clone(groups), i, i+1), nil
	})
}

func findGroup(groups []loginGroup, name string) (int, error) {
	i := groupIndex(groups, name)
	if i < 0 {
		return i, about("Name", hinted(mail.Errorf(mail.KindNotFound, "there is no group %q", name), "Get-LoginGroup lists them."))
	}
	return i, nil
}

func (c *Call) editLoginGroup(ctx context.Context, g loginGroup) (loginGroup, error) {
	if !c.Given("Members") {
		return g, nil
	}
	members, err := settings.ApplyListEdit(c.List("Members"), g.Members, c.member(ctx, g.Members))
	if err == nil && len(members) > maxGroupMembers {
		err = mail.Errorf(mail.KindBadArgument, "has at most %d entries", maxGroupMembers)
	}
	if err != nil {
		return g, wrong("Members", "Members %s", mail.TextOf(err))
	}
	slices.Sort(members)
	g.Members = slices.Compact(members)
	return g, nil
}

// changeLoginGroups says what compute changes of the group of that name, and whom it
// would have refused of late.
func (c *Call) changeLoginGroups(ctx context.Context, name string, compute func([]loginGroup) ([]loginGroup, error)) (func(context.Context) error, error) {
	groups, _, err := c.loginGroups().load(ctx)
	if err != nil {
		return nil, err
	}
	rules, _, err := c.loginPolicies().load(ctx)
	if err != nil {
		return nil, err
	}
	next, err := compute(groups)
	if err != nil {
		return nil, err
	}
	was, is := groupIndex(groups, name), groupIndex(next, name)
	target := func(g loginGroup) string { return "login group " + g.Name }
	switch {
	case was < 0:
		c.Change(target(next[is]), "Name", nil, next[is].Name)
		c.Change(target(next[is]), "Members", nil, addresses(next[is].Members))
	case is < 0:
		c.Change(target(groups[was]), "Name", groups[was].Name, nil)
		c.Change(target(groups[was]), "Members", addresses(groups[was].Members), nil)
	case !slices.Equal(groups[was].Members, next[is].Members):
		c.Change(target(next[is]), "Members", addresses(groups[was].Members), addresses(next[is].Members))
	default:
		return nil, c.nothing("Members")
	}
	if len(rules) > 0 {
		c.policyImpact(newPolicy(rules, groups), newPolicy(rules, next))
	}
	return func(ctx context.Context) error {
		return c.publish(ctx, func(ctx context.Context) error { return c.loginGroups().change(ctx, compute) })
	}, nil
}
