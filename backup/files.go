package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Files are the files of a point, as a file system that is only read. The files that Open
// gives are io.ReaderAt, from any goroutine; what they read is not compared with its
// digest, as Copy does.
type Files struct {
	folder *Folder
	time   time.Time
	files  []entry // ascending by name
}

var (
	_ fs.ReadDirFS = (*Files)(nil)
	_ fs.StatFS    = (*Files)(nil)
	_ fs.SubFS     = (*Files)(nil)
)

// Files opens a point. The Folder stays open for as long as they are used.
func (f *Folder) Files(p Point) (*Files, error) {
	x := &Files{folder: f, time: p.Time}
	if _, err := f.readPoint(p.name, func(e entry) error {
		x.files = append(x.files, e)
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(x.files, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(x.files); i++ {
		if x.files[i].Name == x.files[i-1].Name {
			return nil, mail.Errorf(mail.KindCorrupt, "The backup of %s in %s names the file %s twice.", p.Time.Format(time.RFC3339), f.dir, x.files[i].Name)
		}
	}
	return x, nil
}

// Sub implements fs.SubFS.
func (x *Files) Sub(dir string) (fs.FS, error) {
	if dir == "." {
		return x, nil
	}
	if !fs.ValidPath(dir) {
		return nil, &fs.PathError{Op: "sub", Path: dir, Err: fs.ErrInvalid}
	}
	sub := &Files{folder: x.folder, time: x.time}
	for _, e := range x.within(dir) {
		e.Name = e.Name[len(dir)+1:]
		sub.files = append(sub.files, e)
	}
	return sub, nil
}

// Names lists the files, ascending.
func (x *Files) Names() []string {
	names := make([]string, len(x.files))
	for i := range x.files {
		names[i] = x.files[i].Name
	}
	return names
}

// find gives the file of a name, nil when there is none.
func (x *Files) find(name string) *entry {
	i := sort.Search(len(x.files), func(i int) bool { return x.files[i].Name >= name })
	if i < len(x.files) && x.files[i].Name == name {
		return &x.files[i]
	}
	return nil
}

// within gives the files below a folder.
func (x *Files) within(dir string) []entry {
	if dir == "." {
		return x.files
	}
	from := sort.Search(len(x.files), func(i int) bool { return x.files[i].Name >= dir+"/" })
	to := sort.Search(len(x.files), func(i int) bool { return x.files[i].Name >= dir+"0" }) // "0" follows "/"
	return x.files[from:to]
}

// Copy writes a file and compares it with its digests. KindCorrupt, which names the file of
// the folder, when it is not what was kept: some of it may be written then. An error of to
// is given as it is when it is a *mail.Error.
func (x *Files) Copy(ctx context.Context, name string, to io.Writer, progress func(n int64)) error {
	e := x.find(name)
	if e == nil {
		return mail.Errorf(mail.KindNotFound, "The backup has no file %s.", name)
	}
	m := &making{buffer: make([]byte, atOnce)}
	for _, p := range e.Parts {
		if err := x.copyPart(ctx, m, p, to, progress); err != nil {
			return err
		}
	}
	return nil
}

func (x *Files) copyPart(ctx context.Context, m *making, p part, to io.Writer, progress func(int64)) error {
	path := x.folder.object(p.digest)
	file, err := openRead(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return mail.Errorf(mail.KindCorrupt, "The backup is damaged: the file %s is missing.", path)
		}
		if errors.Is(err, errNoFile) {
			return mail.Errorf(mail.KindCorrupt, "The backup is damaged: %s is no regular file.", path)
		}
		return explain(err, "The file %s cannot be read", path)
	}
	defer file.Close()
	sum := sha256.New()
	n, err := m.copy(ctx, io.MultiWriter(to, sum), io.LimitReader(file, p.Size+1))
	if err != nil {
		return explain(err, "The file %s cannot be copied", path)
	}
	if n != p.Size || digest(sum.Sum(nil)) != p.digest {
		return mail.Errorf(mail.KindCorrupt, "The backup is damaged: the file %s is not what was written.", path)
	}
	if progress != nil {
		progress(n)
	}
	return nil
}

// Open implements fs.FS.
func (x *Files) Open(name string) (fs.File, error) {
	info, err := x.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		list, err := x.ReadDir(name)
		return &openFolder{info, list}, err
	}
	e := x.find(name)
	return &openFile{files: x, info: info.(fileInfo), parts: e.Parts, open: make([]*os.File, len(e.Parts))}, nil
}

// Stat implements fs.StatFS.
func (x *Files) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	if e := x.find(name); e != nil {
		return fileInfo{path.Base(name), e.size(), 0o600, x.time}, nil
	}
	if name == "." || len(x.within(name)) > 0 {
		return fileInfo{path.Base(name), 0, fs.ModeDir | 0o700, x.time}, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements fs.ReadDirFS.
func (x *Files) ReadDir(name string) ([]fs.DirEntry, error) {
	info, err := x.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is no folder")}
	}
	var list []fs.DirEntry
	before := ""
	for _, e := range x.within(name) {
		rest := e.Name
		if name != "." {
			rest = rest[len(name)+1:]
		}
		child, _, _ := strings.Cut(rest, "/")
		if child == before {
			continue
		}
		before = child
		info, err := x.Stat(path.Join(name, child))
		if err != nil {
			return nil, err
		}
		list = append(list, fs.FileInfoToDirEntry(info))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// fileInfo implements fs.FileInfo.
type fileInfo struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.time }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

// openFolder implements fs.ReadDirFile.
type openFolder struct {
	info fs.FileInfo
	list []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }

func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: errors.New("is a folder")}
}

func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(f.list) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.list) {
		n = len(f.list)
	}
	out := f.list[:n]
	f.list = f.list[n:]
	return out, nil
}

// openFile reads a file of a point.
type openFile struct {
	files *Files
	info  fileInfo
	parts []part

	mu   sync.Mutex
	open []*os.File // those of parts that were read
	at   int64      // of Read
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// object gives the open object of a part.
func (f *openFile) object(i int) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[i] == nil {
		file, err := openRead(f.files.folder.object(f.parts[i].digest))
		if err != nil {
			return nil, err
		}
		f.open[i] = file
	}
	return f.open[i], nil
}

// ReadAt implements io.ReaderAt.
func (f *openFile) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: fs.ErrInvalid}
	}
	for i, part := range f.parts {
		if len(p) == 0 {
			return n, nil
		}
		if off >= part.Size {
			off -= part.Size
			continue
		}
		file, err := f.object(i)
		if err != nil {
			return n, err
		}
		some := min(int64(len(p)), part.Size-off)
		k, err := file.ReadAt(p[:some], off)
		n += k
		if int64(k) < some {
			return n, err
		}
		p, off = p[k:], 0
	}
	if len(p) > 0 {
		return n, io.EOF
	}
	return n, nil
}

// Read implements fs.File; one goroutine at a time.
func (f *openFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *openFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for i, file := range f.open {
		if file != nil {
			err = errors.Join(err, file.Close())
			f.open[i] = nil
		}
	}
	return err
}
