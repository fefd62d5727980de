//go:build linux || darwin || freebsd

package role

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// full tells whether err says that a disk has no room.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// lockAlone takes the lock of a file, or fails at once.
func lockAlone(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// taken is a folder of somebody else that root restores into. Meanwhile it is root's: else its
// owner could put a link where root writes next. The zero value is a folder that nothing was
// taken of.
type taken struct {
	dir      string
	uid, gid int
	mode     fs.FileMode
}

// takeFolder takes a folder, if root restores and it is not root's.
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
	if !ok || os.Getuid() != 0 || owner.Uid == 0 {
		return taken{}, nil
	}
	t := taken{dir, int(owner.Uid), int(owner.Gid), info.Mode().Perm()}
	if err := errors.Join(d.Chown(0, t.gid), d.Chmod(t.mode&^0o022)); err != nil {
		return taken{}, errors.Join(err, t.giveBack())
	}
	return t, nil
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
