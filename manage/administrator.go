package manage

import (
	"context"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Assignment gives a role to somebody.
type Assignment struct {
	Holder
	Role Role `json:"role"`
	// Scope names the servers of a Server Administrator; empty is all, and so it is
	// for the other roles.
	Scope []string `json:"scope,omitempty"`
}

// maxAssignments bounds the list.
const maxAssignments = 1000

// assignments are all roles that were given. As long as nobody was given one, root
// and the server's own user are Organization Administrators.
func (s *Server) assignments() keptList[Assignment] {
	first := []Assignment{{Holder: Holder{Identity: UnixIdentity(0)}, Role: OrganizationAdministrator}}
	if own := UnixIdentity(os.Getuid()); own != first[0].Identity {
		first = append(first, Assignment{Holder: Holder{Identity: own}, Role: OrganizationAdministrator})
	}
	return keptList[Assignment]{records: s.Records, kind: "administrator", key: "assignments", first: first}
}

// withRoles gives the caller, who is who, with the roles that it holds now.
func (s *Server) withRoles(ctx context.Context, c Caller, who Holder) (Caller, error) {
	list, _, err := s.assignments().load(ctx)
	if err != nil {
		return Caller{}, err
	}
	c.Roles, c.Elsewhere = rolesAt(list, who, s.Settings.Server())
	return c, nil
}

// rolesAt gives somebody's roles on a server. A Server Administrator of other
// servers only may look at this one.
func rolesAt(list []Assignment, who Holder, server string) (roles []Role, elsewhere []string) {
	for _, a := range list {
		if !a.is(who) {
			continue
		}
		if a.Role == ServerAdministrator && !covers(a.Scope, server) {
			elsewhere = append(elsewhere, a.Scope...)
			a.Role = ViewOnlyAdministrator
		}
		if !slices.Contains(roles, a.Role) {
			roles = append(roles, a.Role)
		}
	}
	return roles, elsewhere
}

// covers tells whether a scope names a server; an empty one names all.
func covers(scope []string, server string) bool {
	return len(scope) == 0 || slices.ContainsFunc(scope, func(name string) bool { return strings.EqualFold(name, server) })
}

func organizationAdministrators(list []Assignment) []Holder {
	var all []Holder
	for _, a := range list {
		if a.Role == OrganizationAdministrator {
			all = append(all, a.Holder)
		}
	}
	return all
}

func assignmentObject(a Assignment) Object {
	return Object{{"Identity", a.Identity}, {"Role", string(a.Role)}, {"Scope", addresses(a.Scope)}, {"Directory", a.Directory}}
}

// role gives -Role, "" when it was not given.
func (c *Call) role() (Role, error) {
	if !c.Given("Role") {
		return "", nil
	}
	r, err := ParseRole(c.Text("Role"))
	return r, about("Role", err)
}

// scope gives -Scope, sorted.
func (c *Call) scope() ([]string, error) {
	edit := c.List("Scope")
	if c.Given("Scope") && !edit.Whole {
		return nil, wrong("Scope", "Scope is a list of servers")
	}
	scope, err := readScope(edit.Set)
	return scope, about("Scope", err)
}

// readScope gives names of servers in their usual form, sorted.
func readScope(names []string) ([]string, error) {
	var scope []string
	for _, name := range names {
		name = strings.ToLower(name)
		if name == "" || len(name) > directory.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || r == '/' || !unicode.IsPrint(r) }) {
			return nil, mail.Errorf(mail.KindBadArgument, "Scope contains %q, which is not a server's name", name)
		}
		if !slices.Contains(scope, name) {
			scope = append(scope, name)
		}
	}
	if len(scope) > maxScope {
		return nil, mail.Errorf(mail.KindBadArgument, "Scope has at most %d servers", maxScope)
	}
	slices.Sort(scope)
	return scope, nil
}

const maxScope = 100

// getAdministrator shows one object an assignment.
func getAdministrator(ctx context.Context, c *Call) (func(context.Context) error, error) {
	role, err := c.role()
	if err != nil {
		return nil, err
	}
	list, _, err := c.assignments().load(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if matches(c.Text("Identity"), a.Identity) && (role == "" || role == a.Role) {
			local, err := c.isLocal(ctx, a.Holder)
			if err != nil {
				return nil, err
			}
			c.Add(append(assignmentObject(a), Property{"Holder", c.standing(ctx, a.Holder)}, Property{"LocalAdministrator", local}))
		}
	}
	return nil, nil
}

// addAdministrator gives a role. For a Server Administrator -Scope replaces the
// servers.
func addAdministrator(ctx context.Context, c *Call) (func(context.Context) error, error) {
	role, err := c.role()
	if err != nil {
		return nil, err
	}
	scope, err := c.scope()
	if err != nil {
		return nil, err
	}
	if len(scope) > 0 && role != ServerAdministrator {
		return nil, wrong("Scope", "Scope belongs to the role %s; %s holds everywhere", ServerAdministrator, role)
	}
	who, warning, err := c.known(ctx, c.Text("Identity"))
	if err != nil {
		return nil, about("Identity", err)
	}
	identity := who.Identity
	c.Warn(warning)
	if role == ServerAdministrator {
		if len(scope) > 0 && !covers(scope, c.Settings.Server()) {
			c.Warn("This server is " + c.Settings.Server() + ", which is not in the scope.")
		}
		if local, err := c.isLocal(ctx, who); err == nil && !local && covers(scope, c.Settings.Server()) {
			c.Note("To change this server's configuration " + identity + " must also be a local administrator. " + c.localHint(identity))
		}
	}
	given := Assignment{Holder: who, Role: role, Scope: scope}
	compute := func(list []Assignment) ([]Assignment, error) {
		c.result.Changes = nil
		i := slices.IndexFunc(list, func(a Assignment) bool { return a.is(who) && a.Role == role })
		if i >= 0 {
			if slices.Equal(list[i].Scope, scope) {
				return list, nil
			}
			c.Change(identity, "Scope", addresses(list[i].Scope), addresses(scope))
			list = slices.Clone(list)
			list[i] = given
			return list, nil
		}
		if len(list) >= maxAssignments {
			return nil, mail.Errorf(mail.KindLimit, "there are at most %d administrators", maxAssignments)
		}
		c.Change(identity, "Role", nil, string(role))
		if len(scope) > 0 {
			c.Change(identity, "Scope", nil, scope)
		}
		return append(slices.Clone(list), given), nil
	}
	return c.changeAssignments(ctx, compute, func() { c.Add(assignmentObject(given)) })
}

// removeAdministrator takes one role, or all, from whom the name means now and from
// whom it meant when the role was given.
func removeAdministrator(ctx context.Context, c *Call) (func(context.Context) error, error) {
	role, err := c.role()
	if err != nil {
		return nil, err
	}
	given := c.Text("Identity")
	identity := given
	if prepared, err := directory.PrepareName(given); err == nil && !strings.HasPrefix(given, unixPrefix) {
		identity = prepared
	}
	who, err := c.holder(ctx, identity)
	if err != nil {
		who = Holder{Identity: identity} // the role can be taken away while the directory does not answer
	}
	compute := func(list []Assignment) ([]Assignment, error) {
		c.result.Changes = nil
		var rest []Assignment
		for _, a := range list {
			if a.Identity != identity && !a.is(who) || role != "" && a.Role != role {
				rest = append(rest, a)
				continue
			}
			c.Change(a.Identity, "Role", string(a.Role), nil)
		}
		switch {
		case len(rest) == len(list):
			what := "no role"
			if role != "" {
				what = "not the role " + string(role)
			}
			return nil, about("Identity", hinted(mail.Errorf(mail.KindNotFound, "%q holds %s", given, what), "Get-Administrator lists who holds which."))
		case len(organizationAdministrators(rest)) == 0:
			return nil, about("Identity", hinted(mail.Errorf(mail.KindCannot, "%s is the last %s: then nobody could give a role to anybody", given, OrganizationAdministrator),
				"Give the role to somebody else first: Add-Administrator."))
		}
		if !slices.ContainsFunc(organizationAdministrators(rest), func(h Holder) bool { return strings.HasPrefix(h.Identity, unixPrefix) }) {
			c.Warn("No operating-system user is an Organization Administrator any longer: nobody can get in without a mailbox's password.")
		}
		return rest, nil
	}
	return c.changeAssignments(ctx, compute, func() {})
}

// changeAssignments plans a change of the roles and gives the function that makes
// it.
func (c *Call) changeAssignments(ctx context.Context, compute func([]Assignment) ([]Assignment, error), made func()) (func(context.Context) error, error) {
	list, _, err := c.assignments().load(ctx)
	if err == nil {
		_, err = compute(list)
	}
	if err != nil {
		return nil, err
	}
	if len(c.result.Changes) == 0 {
		c.Note("Nothing is different from what was set already.")
		return nil, nil
	}
	return func(ctx context.Context) error {
		if err := c.assignments().change(ctx, compute); err != nil {
			return err
		}
		made()
		return nil
	}, nil
}

// guardAdministrator keeps the sign-in of an administrator, or of somebody who may act
// for one, from those who hold less: who sets a password can sign in with it. Everybody may change their own,
// but not with an API token, which may be for less than its owner is and ends.
func (c *Call) guardAdministrator(ctx context.Context, who Holder) error {
	if who.Identity == c.Caller.Name && c.Caller.Way != WayToken || holds(c.Caller.Roles, OrganizationAdministrator) {
		return nil
	}
	list, _, err := c.assignments().load(ctx)
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.is(who) {
			return about("Identity", hinted(mail.Errorf(mail.KindNoPermission, "%s holds the role %s: only an %s changes how it signs in", who.Identity, a.Role, OrganizationAdministrator),
				"An Organization Administrator can do this, or take the role away first."))
		}
	}
	return c.guardActing(ctx, who.Identity, list)
}

// keepsAdministrator refuses to shut out the last Organization Administrator, and
// warns of roles that stay behind.
func (c *Call) keepsAdministrator(ctx context.Context, who Holder) error {
	list, _, err := c.assignments().load(ctx)
	if err != nil {
		return err
	}
	if roles, _ := rolesAt(list, who, c.Settings.Server()); len(roles) > 0 {
		c.Warn(who.Identity + " still holds a role: Remove-Administrator takes it away.")
	}
	if last := organizationAdministrators(list); len(last) == 1 && last[0].is(who) {
		return about("Identity", hinted(mail.Errorf(mail.KindCannot, "%s is the last %s", who.Identity, OrganizationAdministrator), "Give the role to somebody else first: Add-Administrator."))
	}
	return nil
}
