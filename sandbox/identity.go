package sandbox

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
)

// Identity is whom a process becomes.
type Identity struct {
	Name   string
	UID    int
	GID    int
	Groups []int // with GID
}

// Lookup finds a user of the operating system, with the groups that it is in. also are names of groups
// that the process is to be in besides; one that does not exist is passed over. found is false
// when there is no such user.
func Lookup(name string, also ...string) (id Identity, found bool, err error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return id, false, fmt.Errorf("the groups of %s: %w", name, err)
	}
	id = Identity{Name: u.Username}
	for _, text := range []struct {
		text string
		to   *int
	}{{u.Uid, &id.UID}, {u.Gid, &id.GID}} {
		if *text.to, err = strconv.Atoi(text.text); err != nil {
			return id, false, err
		}
	}
	for _, text := range groups {
		n, err := strconv.Atoi(text)
		if err != nil {
			return id, false, err
		}
		id.Groups = append(id.Groups, n)
	}
	for _, name := range also {
		if n, found := Group(name); found && !slices.Contains(id.Groups, n) {
			id.Groups = append(id.Groups, n)
		}
	}
	return id, true, nil
}

// Become makes root's process this user's, for ever and in all its threads. Of root's
// rights one is left, if it had it: to open ports below 1024. An error leaves a process of which nobody
// knows whose it is: it is to end.
func (id Identity) Become() error {
	if id.UID == 0 {
		return errors.New("root is no user to become")
	}
	return become(id)
}

// Group finds the number of a group.
func Group(name string) (gid int, found bool) {
	if name == "" {
		return 0, false
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err = strconv.Atoi(g.Gid)
	return gid, err == nil
}
