//go:build linux || darwin || freebsd

package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// openAnything opens what a path leads to, whatever it is, to be read, without waiting.
func openAnything(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe waits for its writer
}

// lockFile takes the lock of a file, for this process alone or shared, or fails at once.
func lockFile(f *os.File, alone bool) error {
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	return unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
}
