package role

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// release is the version of a release: the linker sets it (scripts/release).
var release string

// Version is this program's version.
func Version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}

// host is the server as manage.Host.
type host struct{ *Server }

// Facts implements manage.Host.
func (h host) Facts(ctx context.Context) (manage.Facts, error) {
	f := manage.Facts{
		Roles: h.config.Roles, Version: Version(), Started: h.started,
		Engine: h.config.Engine, Directory: h.config.directoryNames(), DataFolder: h.config.Data,
	}
	f.User = manage.UnixIdentity(os.Geteuid())
	f.Confinement, f.Unconfined = h.confinement()
	f.DiskFree, f.DiskSize = diskSpace(h.config.Data)
	err := filepath.WalkDir(h.config.Data, func(_ string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || entry.IsDir() {
			return nil // it is gone meanwhile, or cannot be read
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			f.DataSize += info.Size()
		}
		return nil
	})
	return f, mail.Wrap(mail.KindUnavailable, err)
}
