package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

func become(id Identity) error {
	failed := func(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
	for right := range cap.MaxBits() {
		if right == cap.NET_BIND_SERVICE {
			continue
		}
		// Where root has no right to it (CAP_SETPCAP, in some containers) the bound stays: of another
		// user's process it only bounds what programs with rights of their own would give.
		if err := cap.DropBound(right); errors.Is(err, unix.EPERM) {
			break
		} else if err != nil {
			return failed("the bound of its capabilities", err)
		}
	}
	if err := cap.SetGroups(id.GID, id.Groups...); err != nil {
		return failed("its groups", err)
	}
	if err := cap.SetUID(id.UID); err != nil {
		return failed("its user", err)
	}
	port, err := cap.GetProc().GetFlag(cap.Permitted, cap.NET_BIND_SERVICE) // not in all containers
	if err != nil {
		return failed("its capabilities", err)
	}
	left := cap.NewSet()
	for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
		if err := left.SetFlag(flag, port, cap.NET_BIND_SERVICE); err != nil {
			return failed("its capabilities", err)
		}
	}
	if err := left.SetProc(); err != nil {
		return failed("its capabilities", err)
	}
	// Nothing of it is believed unseen.
	if uid, gid := os.Getuid(), os.Getgid(); uid != id.UID || os.Geteuid() != id.UID || gid != id.GID || os.Getegid() != id.GID {
		return fmt.Errorf("it is still user %d and group %d", uid, gid)
	}
	if err := unix.Setuid(0); err == nil {
		return fmt.Errorf("it could become root again")
	}
	return nil
}

// noCore keeps the memory of the process out of core files, and other processes of its user
// from reading it.
func noCore() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
