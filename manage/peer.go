package manage

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
)

// peer is the operating-system identity at the other end of a Unix socket.
type peer struct {
	uid, gid uint32
}

// callerOf makes a caller of a connection's peer. A local administrator (root,
// the server's own user, a member of the group) holds every role; anybody else
// holds none and learns what is missing.
func (s *Server) callerOf(conn net.Conn) Caller {
	p, err := peerOf(conn)
	if err != nil {
		s.Log.Warn("peer credentials", "error", err)
		return Caller{Name: "unknown", From: "socket", Missing: "the server cannot tell which operating-system user is calling"}
	}
	name, groups := identity(p)
	c := Caller{Name: name, From: "socket"}
	if s.localAdministrator(p, groups) {
		c.Roles, c.Local = []Role{OrganizationAdministrator}, true
		return c
	}
	c.Missing = fmt.Sprintf("%s (uid %d) is not a local administrator of this server: that is root or the server's own user", name, p.uid)
	if s.Administrators != "" {
		c.Missing = fmt.Sprintf("%s (uid %d) is not a local administrator of this server: that is root, the server's own user, or a member of the group %q",
			name, p.uid, s.Administrators)
	}
	return c
}

// localAdministrator is the rule; groups are the peer's group numbers.
func (s *Server) localAdministrator(p peer, groups []string) bool {
	if p.uid == 0 || int(p.uid) == os.Getuid() {
		return true
	}
	if s.Administrators == "" {
		return false
	}
	group, err := user.LookupGroup(s.Administrators)
	return err == nil && slices.Contains(groups, group.Gid)
}

// identity gives the user's name, or number when the system does not know it, and
// the numbers of its groups.
func identity(p peer) (name string, groups []string) {
	uid := strconv.FormatUint(uint64(p.uid), 10)
	groups = []string{strconv.FormatUint(uint64(p.gid), 10)}
	u, err := user.LookupId(uid)
	if err != nil {
		return "uid " + uid, groups
	}
	more, err := u.GroupIds()
	if err != nil {
		return u.Username, groups
	}
	return u.Username, append(groups, more...)
}
