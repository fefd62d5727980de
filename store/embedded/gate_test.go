package embedded

import (
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// gate is a file system that asks before each of its changes, one at a time.
type gate struct {
	vfs.FS
	mu sync.Mutex
	// before is told what is about to happen to which file. With an error it does not
	// happen, but for the first keep of the bytes that are written. It is asked under mu.
	before func(what, name string, bytes int) (keep int, err error)
}

func (g *gate) change(what, name string, do func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.before(what, name, 0); err != nil {
		return &os.PathError{Op: what, Path: name, Err: err}
	}
	return do()
}

func (g *gate) opened(what, name string, do func() (vfs.File, error)) (f vfs.File, err error) {
	err = g.change(what, name, func() error {
		f, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &gateFile{f, g, name}, nil
}

func (g *gate) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.opened("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *gate) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.opened("create", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, opts...) })
}

func (g *gate) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.opened("reuse", name, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

// Open gives a file that can be synced, and is not written to.
func (g *gate) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &gateFile{f, g, name}, nil
}

func (g *gate) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &gateFile{f, g, name}, nil
}

func (g *gate) Remove(name string) error {
	return g.change("remove", name, func() error { return g.FS.Remove(name) })
}

func (g *gate) RemoveAll(name string) error {
	return g.change("remove", name, func() error { return g.FS.RemoveAll(name) })
}

func (g *gate) Rename(old, name string) error {
	return g.change("rename", name, func() error { return g.FS.Rename(old, name) })
}

func (g *gate) Link(old, name string) error {
	return g.change("link", name, func() error { return g.FS.Link(old, name) })
}

func (g *gate) MkdirAll(name string, perm os.FileMode) error {
	if info, err := g.FS.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	return g.change("mkdir", name, func() error { return g.FS.MkdirAll(name, perm) })
}

func (g *gate) Unwrap() vfs.FS { return g.FS }

type gateFile struct {
	vfs.File
	gate *gate
	name string
}

func (f *gateFile) write(p []byte, do func([]byte) (int, error)) (int, error) {
	f.gate.mu.Lock()
	defer f.gate.mu.Unlock()
	keep, err := f.gate.before("write", f.name, len(p))
	if err != nil {
		n, _ := do(p[:min(keep, len(p))])
		return n, &os.PathError{Op: "write", Path: f.name, Err: err}
	}
	return do(p)
}

func (f *gateFile) Write(p []byte) (int, error) { return f.write(p, f.File.Write) }

func (f *gateFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *gateFile) Sync() error     { return f.gate.change("sync", f.name, f.File.Sync) }
func (f *gateFile) SyncData() error { return f.gate.change("sync", f.name, f.File.SyncData) }

func (f *gateFile) SyncTo(n int64) (full bool, err error) {
	err = f.gate.change("sync", f.name, func() error {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}
