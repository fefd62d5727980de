package embedded

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// through gives a function that writes aligned blocks to f past the page cache and
// through to the disk; nil when the file system or the kernel has no such writing. That
// is tried with zeros at the beginning of f, which f's first data overwrites.
func through(f vfs.File) func(p []byte, at int64) error {
	if f.Fd() == vfs.InvalidFd {
		return nil
	}
	fd := int(f.Fd())
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_DIRECT); err != nil {
		return nil
	}
	write := func(p []byte, at int64) error {
		for len(p) > 0 {
			n, err := unix.Pwritev2(fd, [][]byte{p}, at, unix.RWF_DSYNC)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil:
				return err
			case n == 0 || n%blockSize != 0 && n != len(p):
				return io.ErrShortWrite
			}
			p, at = p[n:], at+int64(n)
		}
		return nil
	}
	if write(aligned(blockSize), 0) != nil {
		unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return nil
	}
	return write
}

// trim gives back the room that was taken for f beyond its end, if it can.
func trim(f vfs.File) {
	if info, err := f.Stat(); err == nil && f.Fd() != vfs.InvalidFd {
		unix.Ftruncate(int(f.Fd()), info.Size())
	}
}
