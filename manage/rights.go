package manage

import (
	"slices"

	"github.com/postern-mail/postern/mail"
)

// Caller is who runs a cmdlet.
type Caller struct {
	Name  string // for the audit: an operating-system user, later a signed-in administrator
	From  string // "socket", later a network address
	Roles []Role
	// Local: the caller is a local administrator of this server.
	Local bool
	// Missing says, for a caller without rights, which right is missing and how to
	// get it.
	Missing string
}

// May gives nil when caller may run the cmdlet, else KindNoPermission with what is
// missing, or KindNotFound.
func (s *Server) May(caller Caller, name string) error {
	cmdlet := s.Cmdlet(name)
	if cmdlet == nil {
		return mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", name)
	}
	return permit(caller, cmdlet)
}

// permit tells whether a caller may run a cmdlet: nobody may unless a role says
// so.
func permit(caller Caller, cmdlet *Cmdlet) error {
	if !holds(caller.Roles, cmdlet.Role) {
		if caller.Missing != "" {
			return mail.Errorf(mail.KindNoPermission, "%s", caller.Missing)
		}
		return mail.Errorf(mail.KindNoPermission, "%s needs the role %s, which %s does not hold", cmdlet.Name, cmdlet.Role, caller.Name)
	}
	if cmdlet.Local && !caller.Local {
		return mail.Errorf(mail.KindNoPermission, "%s needs a local administrator of this server, which %s is not", cmdlet.Name, caller.Name)
	}
	return nil
}

// holds tells whether one of the roles is, or includes, the needed one:
// Organization Administrator includes all, and every role includes View-Only.
func holds(roles []Role, needed Role) bool {
	if needed == "" {
		return false
	}
	return slices.Contains(roles, needed) || slices.Contains(roles, OrganizationAdministrator) ||
		(needed == ViewOnlyAdministrator && (slices.Contains(roles, ServerAdministrator) || slices.Contains(roles, RecipientAdministrator)))
}
