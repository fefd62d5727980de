//go:build linux || darwin || freebsd

package embedded

import (
	"fmt"
	"io/fs"
	"syscall"
)

// versionOf names the content of a file that is never written to again: which file of the
// disk it is, and when it was written to last. "" where that cannot be told.
func versionOf(info fs.FileInfo) string {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", s.Ino, info.ModTime().UnixNano(), info.Size())
}
