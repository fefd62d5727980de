package manage

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Role is a right that a caller holds and a cmdlet needs.
type Role string

// The roles.
const (
	OrganizationAdministrator Role = "Organization Administrator" // everything
	ServerAdministrator       Role = "Server Administrator"       // configuration of the named servers, or of all
	RecipientAdministrator    Role = "Recipient Administrator"    // mailboxes
	ViewOnlyAdministrator     Role = "View-Only Administrator"    // whatever changes nothing
)

// OwnerOnly stands in a cmdlet that no role may run: only who it is about, at the pages
// of their own account.
const OwnerOnly Role = "Owner"

// Roles lists the roles, the strongest first.
var Roles = []Role{OrganizationAdministrator, ServerAdministrator, RecipientAdministrator, ViewOnlyAdministrator}

// ParseRole reads a role's name in any case, with or without blanks and hyphens;
// OrgAdmin, ServerAdmin, RecipientAdmin and ViewOnlyAdmin are Exchange's names.
// KindBadArgument.
func ParseRole(name string) (Role, error) {
	plain := func(s string) string {
		return strings.NewReplacer(" ", "", "-", "").Replace(strings.ToLower(s))
	}
	given := plain(name)
	for _, r := range Roles {
		full := plain(string(r))
		short := strings.Replace(full, "administrator", "admin", 1)
		if given == full || given == short || r == OrganizationAdministrator && given == "orgadmin" {
			return r, nil
		}
	}
	return "", mail.Errorf(mail.KindBadArgument, "there is no role %q; the roles are %s", name, roleList(Roles))
}

func roleList(roles []Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// Way is how a caller proved who it is.
type Way string

// The ways.
const (
	WaySocket  Way = "socket"  // the peer's credentials on the management socket
	WaySession Way = "session" // a sign-in at the console
	WayToken   Way = "token"   // an API token
	WayAccount Way = "account" // a sign-in at the pages of one's own account
	WayMail    Way = "mail"    // a sign-in to a mail protocol; see MailCaller
)

// Caller is who runs a cmdlet, with what holds at the moment of the call.
type Caller struct {
	// Name is the identity: unix:NAME for an operating-system user, else the
	// sign-in name of a mailbox.
	Name string
	From string // "socket", or a network address
	Way  Way
	// Token is the name of the API token, for WayToken.
	Token string
	// Roles are held on this server.
	Roles []Role
	// Elsewhere names the servers that the caller is Server Administrator of when
	// this one is not among them.
	Elsewhere []string
	// Local: the caller is a local administrator of this server.
	Local bool
	// Missing says, for a caller that is not known, why.
	Missing string

	owner *owner // for WayAccount
}

// May gives nil when caller may run the cmdlet, else KindNoPermission with what is
// missing, or KindNotFound.
func (s *Server) May(caller Caller, name string) error {
	cmdlet := s.Cmdlet(name)
	if cmdlet == nil {
		return mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", name)
	}
	return s.permit(caller, cmdlet)
}

// permit tells whether a caller may run a cmdlet: nobody may unless a role says
// so. The error says what is missing, the role, the local administrator or both,
// and its hint how to get it.
func (s *Server) permit(caller Caller, cmdlet *Cmdlet) error {
	if caller.Way == WayAccount || cmdlet.Role == OwnerOnly {
		return s.permitOwner(caller, cmdlet)
	}
	noRole, notLocal := !holds(caller.Roles, cmdlet.Role), cmdlet.Local && !caller.Local
	if !noRole && !notLocal {
		return nil
	}
	if caller.Missing != "" {
		return mail.Errorf(mail.KindNoPermission, "%s", caller.Missing)
	}
	var needs, lacks, hints []string
	if noRole {
		needs = append(needs, "the role "+string(cmdlet.Role))
		who, hint := caller.Name, fmt.Sprintf("An Organization Administrator gives it: Add-Administrator -Identity %s -Role '%s'.", caller.Name, cmdlet.Role)
		if caller.Way == WayToken {
			who = fmt.Sprintf("the API token %q of %s", caller.Token, caller.Name)
			hint = "A token has at most the roles that its owner holds now; New-ApiToken makes another one."
		}
		lack := who + " does not hold the role"
		if cmdlet.Role == ServerAdministrator && len(caller.Elsewhere) > 0 {
			lack = who + " holds the role for " + strings.Join(caller.Elsewhere, ", ") + " only"
		}
		lacks, hints = append(lacks, lack), append(hints, hint)
	}
	if notLocal {
		needs = append(needs, "a local administrator of this server")
		lacks = append(lacks, caller.Name+" is not a local administrator of "+s.Settings.Server())
		hints = append(hints, s.localHint(caller.Name))
	}
	return hinted(mail.Errorf(mail.KindNoPermission, "%s needs %s: %s", cmdlet.Name, strings.Join(needs, " and "), strings.Join(lacks, ", and ")),
		strings.Join(hints, " "))
}

// holds tells whether one of the roles is, or includes, the needed one:
// Organization Administrator includes all, and every role includes View-Only.
func holds(roles []Role, needed Role) bool {
	if !slices.Contains(Roles, needed) {
		return false
	}
	return slices.Contains(roles, needed) || slices.Contains(roles, OrganizationAdministrator) ||
		(needed == ViewOnlyAdministrator && (slices.Contains(roles, ServerAdministrator) || slices.Contains(roles, RecipientAdministrator)))
}

// holders gives the roles that may run a cmdlet, the strongest first.
func (c *Cmdlet) holders() []Role {
	var list []Role
	for _, r := range Roles {
		if holds([]Role{r}, c.Role) {
			list = append(list, r)
		}
	}
	return list
}

// getManagementRole shows the rights table: one object a cmdlet, with the roles
// that may run it.
func getManagementRole(_ context.Context, c *Call) (func(context.Context) error, error) {
	role, err := c.role()
	if err != nil {
		return nil, err
	}
	for _, cmdlet := range c.cmdlets {
		if !matches(c.Text("Cmdlet"), cmdlet.Name) || role != "" && !holds([]Role{role}, cmdlet.Role) {
			continue
		}
		var names []string
		for _, r := range cmdlet.holders() {
			names = append(names, string(r))
		}
		c.Add(Object{
			{"Cmdlet", cmdlet.Name}, {"Roles", names}, {"LocalAdministrator", cmdlet.Local},
			{"MayRun", c.permit(c.Caller, cmdlet) == nil},
		})
	}
	if c.Given("Cmdlet") && len(c.result.Objects) == 0 && role == "" {
		return nil, about("Cmdlet", mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", c.Text("Cmdlet")))
	}
	return nil, nil
}

// WriteRights writes the rights table as Markdown, made from Cmdlets.
func WriteRights(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Rights\n\nMade from `manage.Cmdlets` by `make docs`; do not edit. Who holds no role may do nothing. `Get-ManagementRole` shows this table for\n" +
		"the caller; `Add-Administrator` gives roles; [architecture.md](architecture.md) says how an administrator proves who it is.\n\n" +
		"*yes, local*: who holds the role must also be a local administrator of the server: root, the server's own user or a member of its operating-system\n" +
		"group, for a mailbox a member of the list of `Add-LocalGroupMember`. *own*: only what is the caller's own. A Server Administrator of some servers has the rights of\n" +
		"the column on those, and the View-Only Administrator's on others. An API token has the rights of its role and of its owner, both.\n\n" +
		"*Owner* is who signed in at `/account` of the console, with the mailbox's own password: without any role, for that mailbox alone, and with the\n" +
		"parameters that are named; *(expired)*: also while the password must be changed.\n\n| Cmdlet |")
	for _, r := range Roles {
		b.WriteString(" " + string(r) + " |")
	}
	b.WriteString(" Owner |\n| --- |" + strings.Repeat(" --- |", len(Roles)+1) + "\n")
	for _, c := range Cmdlets() {
		fmt.Fprintf(&b, "| [`%s`](cmdlets.md#%s) |", c.Name, strings.ToLower(c.Name))
		for _, r := range Roles {
			cell := "no"
			switch {
			case !holds([]Role{r}, c.Role):
			case c.Local:
				cell = "yes, local"
			case c.Own && r != OrganizationAdministrator:
				cell = "own"
			default:
				cell = "yes"
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString(" " + c.ownerCell() + " |\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
