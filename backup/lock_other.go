//go:build !(linux || darwin || freebsd)

package backup

import "os"

// openAnything opens what a path leads to, to be read.
func openAnything(path string) (*os.File, error) { return os.Open(path) }

// lockFile has no lock here.
func lockFile(*os.File, bool) error { return nil }
