package embedded

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// above is a file system that is never written to: what is written stands in memory,
// before what the file system has, and is forgotten with it. So Pebble, which
// writes files when it is opened, opens a folder on a disk that takes nothing.
type above struct {
	vfs.FS
	upper *vfs.MemFS

	mu   sync.Mutex
	gone map[string]bool // removed here, and still there below
}

func newAbove(fs vfs.FS) *above {
	return &above{FS: fs, upper: vfs.NewMem(), gone: map[string]bool{}}
}

// ours tells whether a file was written here.
func (o *above) ours(name string) bool {
	_, err := o.upper.Stat(name)
	return err == nil
}

func (o *above) isGone(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone[name]
}

func (o *above) remove(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone[name] = true
}

// errBelow is the answer to what would alter a file of the file system below.
var errBelow = errors.New("a file of a disk that takes nothing cannot be altered")

func missing(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

func (o *above) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.upper.MkdirAll(o.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	o.remove(name)
	return o.upper.Create(name, c)
}

func (o *above) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	switch {
	case o.ours(name):
		return o.upper.Open(name, opts...)
	case o.isGone(name):
		return nil, missing("open", name)
	}
	f, err := o.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return unsynced{f}, nil
}

func (o *above) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if o.ours(name) {
		return o.upper.OpenReadWrite(name, c, opts...)
	}
	if _, err := o.FS.Stat(name); err == nil && !o.isGone(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errBelow}
	}
	return o.Create(name, c)
}

func (o *above) OpenDir(name string) (vfs.File, error) {
	f, err := o.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return unsynced{f}, nil
}

func (o *above) Remove(name string) error {
	if o.ours(name) {
		return o.upper.Remove(name)
	}
	if o.isGone(name) {
		return missing("remove", name)
	}
	if _, err := o.FS.Stat(name); err != nil {
		return err
	}
	o.remove(name)
	return nil
}

func (o *above) RemoveAll(name string) error {
	o.remove(name)
	return o.upper.RemoveAll(name)
}

func (o *above) Rename(old, name string) error {
	if !o.ours(old) {
		return &os.LinkError{Op: "rename", Old: old, New: name, Err: errBelow}
	}
	o.remove(name)
	return o.upper.Rename(old, name)
}

func (o *above) Link(old, name string) error {
	return &os.LinkError{Op: "link", Old: old, New: name, Err: errBelow}
}

// ReuseForWrite makes a new file.
func (o *above) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.Remove(old); err != nil {
		return nil, err
	}
	return o.Create(name, c)
}

func (o *above) MkdirAll(name string, perm os.FileMode) error {
	return o.upper.MkdirAll(name, perm)
}

func (o *above) List(name string) ([]string, error) {
	names, err := o.FS.List(name)
	if errors.Is(err, fs.ErrNotExist) {
		names, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return o.isGone(o.PathJoin(name, n)) })
	written, err := o.upper.List(name)
	if err != nil { // nothing was written there
		return names, nil
	}
	names = append(names, written...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (o *above) Stat(name string) (vfs.FileInfo, error) {
	switch {
	case o.ours(name):
		return o.upper.Stat(name)
	case o.isGone(name):
		return nil, missing("stat", name)
	}
	return o.FS.Stat(name)
}

func (o *above) Unwrap() vfs.FS { return o.FS }

// unsynced is a file, or a folder, that is only read.
type unsynced struct{ vfs.File }

func (unsynced) Sync() error                         { return nil }
func (unsynced) SyncData() error                     { return nil }
func (unsynced) SyncTo(int64) (full bool, err error) { return true, nil }
