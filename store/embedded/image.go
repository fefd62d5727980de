package embedded

import (
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// imageFolder is where the files of an image seem to stand.
const imageFolder = "image"

// OpenImage opens the files of a Checkpoint, as they are in root, to be read, without
// writing anything: what is written stands in memory and is forgotten. The files are
// io.ReaderAt for many goroutines at once. CacheBytes bounds the cache, 0 is 8 MiB; what
// else is in opt is not looked at but Log. Errors are those of Open.
func OpenImage(root fs.FS, opt Options) (*Engine, error) {
	if opt.CacheBytes == 0 {
		opt.CacheBytes = 8 << 20
	}
	return Open(imageFolder, Options{FS: image{vfs.NewMem(), root}, Log: opt.Log, CacheBytes: opt.CacheBytes, MemTableBytes: 1 << 20, readOnly: errImage})
}

// errImage is why nothing is written to an image.
var errImage = errors.New("it is a copy that is only read")

// image is a file system of the files in root; lock and folders are in memory. Nothing
// writes to it, since above stands before it.
type image struct {
	*vfs.MemFS
	root fs.FS
}

// within gives a file's name in root.
func (m image) within(name string) string {
	name = strings.TrimPrefix(name, imageFolder)
	if name = strings.TrimPrefix(name, "/"); name == "" {
		return "."
	}
	return name
}

func (m image) Open(name string, _ ...vfs.OpenOption) (vfs.File, error) {
	f, err := m.root.Open(m.within(name))
	if err != nil {
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
	}
	return imageFile{f, at}, nil
}

func (m image) OpenDir(name string) (vfs.File, error) {
	if err := m.MkdirAll(name, 0o700); err != nil {
		return nil, err
	}
	return m.MemFS.OpenDir(name)
}

func (m image) List(dir string) ([]string, error) {
	entries, err := fs.ReadDir(m.root, m.within(dir))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (m image) Stat(name string) (vfs.FileInfo, error) {
	info, err := fs.Stat(m.root, m.within(name))
	if err != nil {
		return nil, err
	}
	return imageInfo{info}, nil
}

// Unwrap tells of no other file system: memory is none that has these files.
func (m image) Unwrap() vfs.FS { return nil }

// imageInfo is a vfs.FileInfo.
type imageInfo struct{ fs.FileInfo }

func (imageInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// imageFile is a vfs.File that is only read.
type imageFile struct {
	fs.File
	io.ReaderAt
}

func (f imageFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return imageInfo{info}, nil
}

func (imageFile) Write([]byte) (int, error)           { return 0, errBelow }
func (imageFile) WriteAt([]byte, int64) (int, error)  { return 0, errBelow }
func (imageFile) Preallocate(int64, int64) error      { return nil }
func (imageFile) Sync() error                         { return nil }
func (imageFile) SyncTo(int64) (full bool, err error) { return true, nil }
func (imageFile) SyncData() error                     { return nil }
func (imageFile) Prefetch(int64, int64) error         { return nil }
func (imageFile) Fd() uintptr                         { return vfs.InvalidFd }
