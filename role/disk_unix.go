//go:build linux || darwin || freebsd

package role

import "golang.org/x/sys/unix"

// diskSpace gives the bytes that are free for the server, and all, of the file
// system of a path; zeros when the system does not tell.
func diskSpace(path string) (free, size int64) {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return 0, 0
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize)
}
