//go:build !(linux || darwin || freebsd)

package role

// diskSpace cannot be told.
func diskSpace(string) (free, size int64) { return 0, 0 }
