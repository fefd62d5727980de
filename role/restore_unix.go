//go:build linux || darwin || freebsd

package role

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// full tells whether err says that a disk has no room.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// lockAlone takes the lock of a file, or fails at once.
func lockAlone(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// taken is a folder of somebody else that root restores into. Meanwhile it is root's: else its
// owner could put a link where root writes next. The zero value is a folder that was not taken.
type taken struct {
	dir      string
	uid, gid int
	mode     fs.FileMode
}

// takeFolder takes a folder, if root restores and it is not root's, or was taken by a restore
// that was killed.
func takeFolder(dir string) (taken, error) {
	d, err := os.Open(dir)
	if err != nil {
		return taken{}, err
	}
	defer d.Close()
	info, err := d.Stat()
	if err != nil {
		return taken{}, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Getuid() != 0 {
		return taken{}, nil
	}
	if owner.Uid == 0 {
		return noted(dir, info.Mode()), nil
	}
	t := taken{dir, int(owner.Uid), int(owner.Gid), info.Mode().Perm()}
	if err := errors.Join(d.Chown(0, t.gid), d.Chmod(t.mode&^0o022)); err != nil {
		return taken{}, errors.Join(err, t.giveBack())
	}
	return t, nil
}

// ownerNote is the line of the mark that says whose folder it was: who took it may be killed.
const ownerNote = "It was taken from its owner %d, group %d, mode %o, who gets it back then.\n"

func (t taken) note() string {
	if t.dir == "" {
		return ""
	}
	return fmt.Sprintf(ownerNote, t.uid, t.gid, t.mode)
}

// noted reads whose root's folder was. It believes what only root can have written there.
func noted(dir string, mode fs.FileMode) taken {
	path := filepath.Join(dir, restoringFile)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || mode.Perm()&0o022 != 0 || info.Mode().Perm()&0o022 != 0 {
		return taken{}
	}
	if is, ok := info.Sys().(*syscall.Stat_t); !ok || is.Uid != 0 || is.Nlink != 1 || info.Size() > 1000 {
		return taken{}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return taken{}
	}
	t := taken{dir: dir}
	for line := range strings.Lines(string(text)) {
		if n, err := fmt.Sscanf(line, ownerNote, &t.uid, &t.gid, &t.mode); n == 3 && err == nil && t.mode <= 0o777 {
			return t
		}
	}
	return taken{}
}

// giveContents gives its owner what root made in the folder. What others made before is not looked
// into, and another name of a file may be one of root's own files elsewhere.
func (t taken) giveContents() error {
	if t.dir == "" {
		return nil
	}
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch is, ok := info.Sys().(*syscall.Stat_t); {
		case !ok || is.Uid != 0 && d.IsDir():
			return fs.SkipDir
		case is.Uid != 0 || is.Nlink > 1 && !d.IsDir():
			return nil
		}
		return root.Lchown(path, t.uid, t.gid)
	})
}

// giveBack gives its owner the folder itself.
func (t taken) giveBack() error {
	if t.dir == "" {
		return nil
	}
	return errors.Join(os.Chmod(t.dir, t.mode), os.Chown(t.dir, t.uid, t.gid))
}
