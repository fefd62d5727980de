//go:build !(linux || darwin || freebsd)

package role

import "os"

// full cannot be told.
func full(error) bool { return false }

// lockAlone has no lock here.
func lockAlone(*os.File) error { return nil }

// taken is nothing here.
type taken struct{}

func takeFolder(string) (taken, error) { return taken{}, nil }
func (taken) note() string             { return "" }
func (taken) giveContents() error      { return nil }
func (taken) giveBack() error          { return nil }
