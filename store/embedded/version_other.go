//go:build !(linux || darwin || freebsd)

package embedded

import "io/fs"

// versionOf cannot tell.
func versionOf(fs.FileInfo) string { return "" }
