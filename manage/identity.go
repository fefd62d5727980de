package manage

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// unixPrefix begins the identities of operating-system users. No sign-in name
// does: see reserved.
const unixPrefix = "unix:"

// UnixIdentity gives the identity of an operating-system user.
func UnixIdentity(uid int) string {
	number := strconv.Itoa(uid)
	u, err := user.LookupId(number)
	if err != nil {
		return unixPrefix + "#" + number // no user's name begins so
	}
	return unixPrefix + u.Username
}

// reserved refuses a sign-in name that would be read as an operating-system user.
func reserved(name string) error {
	if strings.HasPrefix(strings.ToLower(name), unixPrefix) {
		return mail.Errorf(mail.KindBadArgument, "a sign-in name does not begin with %s, which means an operating-system user", unixPrefix)
	}
	return nil
}

// peer is the operating-system identity at the other end of a Unix socket.
type peer struct {
	uid, gid uint32
}

// unknownCaller holds no role.
func unknownCaller(from, missing string) Caller {
	return Caller{Name: "unknown", From: from, Missing: missing}
}

// peerCaller gives what the user at the other end of the management socket may
// do now.
func (s *Server) peerCaller(ctx context.Context, p peer) (Caller, error) {
	name := UnixIdentity(int(p.uid))
	return s.withRoles(ctx, Caller{Name: name, From: "socket", Way: WaySocket, Local: s.localUser(p, groupsOf(p))}, Holder{Identity: name})
}

// CallerOf gives what an identity may do on this server now; the caller of it
// knows that the identity is proved. The errors are those of the store and the
// directory.
func (s *Server) CallerOf(ctx context.Context, identity, from string, way Way) (Caller, error) {
	who, err := s.holder(ctx, identity)
	if err != nil {
		return Caller{}, err
	}
	return s.callerAs(ctx, who, from, way)
}

// MailCaller is CallerOf for who signed in to a mail protocol, to an account of that name,
// by a proof of its own and for itself. KindNoPermission for an administrator who would have
// to prove a second factor at the console, which no mail protocol asks for.
func (s *Server) MailCaller(ctx context.Context, account mail.AccountID, name, from string) (Caller, error) {
	due, err := s.secondFactorDue(ctx, &s.sessions, account)
	if err == nil && due {
		err = hinted(mail.Errorf(mail.KindNoPermission, "administrators with a second factor do not administer over mail protocols"), "Use the console or the shell.")
	}
	if err != nil {
		return Caller{}, err
	}
	return s.CallerOf(ctx, name, from, WayMail)
}

// callerAs is CallerOf for somebody who was looked up already.
func (s *Server) callerAs(ctx context.Context, who Holder, from string, way Way) (Caller, error) {
	local, err := s.isLocal(ctx, who)
	if err != nil {
		return Caller{}, err
	}
	return s.withRoles(ctx, Caller{Name: who.Identity, From: from, Way: way, Local: local}, who)
}

// isLocal tells whether somebody is a local administrator of this server.
func (s *Server) isLocal(ctx context.Context, who Holder) (bool, error) {
	name, isUser := strings.CutPrefix(who.Identity, unixPrefix)
	if !isUser {
		members, _, err := s.localMembers().load(ctx)
		return slices.ContainsFunc(members, func(m localMember) bool { return m.is(who) }), err
	}
	number, unnamed := strings.CutPrefix(name, "#")
	if !unnamed {
		u, err := user.Lookup(name)
		if err != nil {
			return false, nil
		}
		number = u.Uid
	}
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return false, nil
	}
	p := peer{uid: uint32(uid), gid: noGroup}
	return s.localUser(p, groupsOf(p)), nil
}

// noGroup is the group number that nobody has: (gid_t) -1.
const noGroup = 1<<32 - 1

// localUser is the rule for users of the operating system; groups are the group
// numbers.
func (s *Server) localUser(p peer, groups []string) bool {
	if p.uid == 0 || int(p.uid) == os.Getuid() {
		return true
	}
	if s.Administrators == "" {
		return false
	}
	group, err := user.LookupGroup(s.Administrators)
	return err == nil && slices.Contains(groups, group.Gid)
}

// groupsOf gives the numbers of a user's groups.
func groupsOf(p peer) []string {
	var groups []string
	if p.gid != noGroup {
		groups = append(groups, strconv.FormatUint(uint64(p.gid), 10))
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(p.uid), 10))
	if err != nil {
		return groups
	}
	more, err := u.GroupIds()
	if err != nil {
		return groups
	}
	return append(groups, more...)
}

// localHint says how an identity becomes a local administrator.
func (s *Server) localHint(identity string) string {
	name, isUser := strings.CutPrefix(identity, unixPrefix)
	switch {
	case !isUser:
		return fmt.Sprintf("A local administrator adds it: Add-LocalGroupMember -Member %s.", identity)
	case s.Administrators == "":
		return "Local administrators are root and the server's own user; the settings file can name a group of others."
	}
	return fmt.Sprintf("Local administrators are root, the server's own user and the members of the group %q: usermod -aG %s %s.", s.Administrators, s.Administrators, name)
}

// known prepares an identity that an administrator named: an operating-system
// user as unix:NAME, or a mailbox. One that is not known is KindNotFound, but for
// operating-system users, who may be another host's: then warning says so.
func (s *Server) known(ctx context.Context, text string) (who Holder, warning string, err error) {
	if len(text) >= len(unixPrefix) && strings.EqualFold(text[:len(unixPrefix)], unixPrefix) {
		name := text[len(unixPrefix):]
		if name == "" || len(name) > directory.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || r == ':' || !unicode.IsPrint(r) }) {
			return who, "", mail.Errorf(mail.KindBadArgument, "%q is not the name of an operating-system user", text)
		}
		if _, err := user.Lookup(name); err != nil && !strings.HasPrefix(name, "#") {
			warning = fmt.Sprintf("This host knows no user %q.", name)
		}
		return Holder{Identity: unixPrefix + name}, warning, nil
	}
	name, err := directory.PrepareName(text)
	if err != nil {
		return who, "", err
	}
	e, err := s.Directory.Lookup(ctx, name)
	if err != nil && mail.KindOf(err) == mail.KindNotFound {
		return who, "", hinted(mail.Errorf(mail.KindNotFound, "there is no mailbox %q", text), "An operating-system user is written unix:NAME; Get-Mailbox lists the mailboxes.")
	}
	if err != nil {
		return who, "", err
	}
	return holderOf(e), "", reserved(e.Name)
}

// peerOfConn gives the peer of a connection to the management socket.
func (s *Server) peerOfConn(conn net.Conn) (peer, bool) {
	p, err := peerOf(conn)
	if err != nil {
		s.Log.Warn("peer credentials", "error", err)
	}
	return p, err == nil
}
