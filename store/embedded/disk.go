package embedded

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk stands between Pebble and the file system. Pebble ends the process when
// its log or manifest cannot be written (and dies by unlocking a mutex that is
// not locked when a log cannot be closed, which no recover can catch). So it is
// never told: the first change of the disk that fails freezes the disk as it is,
// as if the power had failed at that moment, and everything that would change it
// afterwards is said to have worked and is not done. The engine asks broken()
// after each sync, before it acknowledges anything, and refuses every later
// Commit. What was acknowledged is on the disk and is found when it is opened
// again. Reads go on; what Pebble only believes to have written fails to be read.
type disk struct {
	vfs.FS
	cause   atomic.Pointer[error]
	frozen  func(error)  // told once, by the goroutine whose change failed
	changes sync.RWMutex // read-locked while something is changed
	held    held
	logless bool // Pebble's own log, to which it writes nothing, is not kept
	// checkpoint is the folder of checkpoints: no mail rests on what is in it, so a failure
	// there is told to who asked and freezes nothing. "" is none.
	checkpoint string
}

// aside tells whether a name is that of the folder of checkpoints, or in it.
func (d *disk) aside(name string) bool {
	return d.checkpoint != "" && strings.HasPrefix(name, d.checkpoint) && (len(name) == len(d.checkpoint) || os.IsPathSeparator(name[len(d.checkpoint)]))
}

func newDisk(fs vfs.FS, frozen func(error)) *disk {
	return &disk{FS: fs, frozen: frozen}
}

// broken gives why the disk is frozen, or nil.
func (d *disk) broken() error {
	if p := d.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// freeze makes cause the reason for which nothing is written any more.
func (d *disk) freeze(cause error) {
	if d.cause.CompareAndSwap(nil, &cause) {
		d.frozen(cause)
	}
}

// change does do unless the disk is frozen, and freezes it when do fails.
func (d *disk) change(do func() error) error {
	d.changes.RLock()
	defer d.changes.RUnlock()
	if d.broken() != nil {
		return nil
	}
	if err := do(); err != nil {
		d.freeze(err)
	}
	return nil
}

// quiet returns when nothing is changed any more; the disk is frozen.
func (d *disk) quiet() {
	d.changes.Lock()
	d.changes.Unlock() //nolint:staticcheck // who had begun has ended
}

// frozenPause slows down who tries again and again to write to a frozen disk.
const frozenPause = 10 * time.Millisecond

// opened gives a file for writing, one that takes everything and keeps nothing
// when the disk is frozen.
func (d *disk) opened(name string, do func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	d.change(func() (err error) {
		f, err = do()
		return err
	})
	if f != nil && d.broken() == nil {
		return &file{File: f, disk: d}, nil
	}
	if f != nil {
		f.Close()
	}
	time.Sleep(frozenPause)
	return &file{File: vfs.NewMemFile(nil), disk: d}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.aside(name) {
		return d.FS.Create(name, c)
	}
	if d.logless && strings.HasSuffix(name, pebbleLog) {
		return nowhere{vfs.NewMemFile(nil)}, nil
	}
	if strings.HasPrefix(d.PathBase(name), markerPrefix) {
		// Pebble makes the file that a marker names and the marker, and only then syncs the
		// folder: after a power cut the marker could be there and name nothing.
		if err := syncFolder(d, d.PathDir(name)); err != nil {
			d.freeze(err)
		}
	}
	return d.opened(name, func() (vfs.File, error) { return journaled(name)(d.FS.Create(name, c)) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.opened(name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.opened(name, func() (vfs.File, error) { return journaled(name)(d.FS.ReuseForWrite(old, name, c)) })
}

// markerPrefix begins the names of files that say which other file is the one of now.
const markerPrefix = "marker."

// pebbleLog ends the names of Pebble's own log.
const pebbleLog = ".log"

// journaled makes a journal of a file that was opened, if it is of the log.
func journaled(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.HasSuffix(name, logSuffix) {
			return f, err
		}
		return newJournal(f), nil
	}
}

func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if d.logless && strings.HasSuffix(name, pebbleLog) {
		return nowhere{vfs.NewMemFile(nil)}, nil // a checkpoint copies it
	}
	f, err := d.FS.Open(name, opts...)
	blob := strings.HasSuffix(name, blobSuffix)
	if blob && errors.Is(err, fs.ErrNotExist) {
		err = missingBlob(name, err)
	}
	if err != nil {
		return nil, err
	}
	if blob {
		if err := checkBlob(name, f); err != nil {
			f.Close()
			return nil, err
		}
	}
	return &file{File: f, disk: d}, nil
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	if d.aside(name) {
		return d.FS.OpenDir(name)
	}
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d}, nil
}

func (d *disk) Link(old, name string) error {
	if d.aside(name) {
		return d.FS.Link(old, name)
	}
	return d.change(func() error { return d.FS.Link(old, name) })
}

func (d *disk) Rename(old, name string) error {
	if d.aside(name) {
		return d.FS.Rename(old, name)
	}
	return d.change(func() error { return d.FS.Rename(old, name) })
}

// held are files that are to be removed, when the store was found to be whole.
type held struct {
	sync.Mutex
	on    bool
	names []string
}

// hold lets files stay until letGo is called.
func (d *disk) hold() {
	d.held.Lock()
	defer d.held.Unlock()
	d.held.on = true
}

// letGo removes the files that were to be removed meanwhile.
func (d *disk) letGo() {
	d.held.Lock()
	names := d.held.names
	d.held.on, d.held.names = false, nil
	d.held.Unlock()
	for _, name := range names {
		d.Remove(name)
	}
}

// keeps tells whether a file is not removed yet.
func (d *disk) keeps(name string) bool {
	d.held.Lock()
	defer d.held.Unlock()
	if d.held.on {
		d.held.names = append(d.held.names, name)
	}
	return d.held.on
}

// Remove tells when the file was not there: Pebble asks for that.
func (d *disk) Remove(name string) error {
	if d.aside(name) {
		return d.FS.Remove(name)
	}
	if d.keeps(name) {
		return nil
	}
	var missing error
	d.change(func() error {
		err := d.FS.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			missing, err = err, nil
		}
		return err
	})
	return missing
}

func (d *disk) RemoveAll(name string) error {
	if d.aside(name) {
		return d.FS.RemoveAll(name)
	}
	return d.change(func() error { return d.FS.RemoveAll(name) })
}

func (d *disk) MkdirAll(name string, perm os.FileMode) error {
	if d.aside(name) {
		return d.FS.MkdirAll(name, 0o700)
	}
	return d.change(func() error { return d.FS.MkdirAll(name, perm) })
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

// nowhere is a file that keeps nothing.
type nowhere struct{ vfs.File }

func (nowhere) Write(p []byte) (int, error)         { return len(p), nil }
func (nowhere) Preallocate(int64, int64) error      { return nil }
func (nowhere) Sync() error                         { return nil }
func (nowhere) SyncData() error                     { return nil }
func (nowhere) SyncTo(int64) (full bool, err error) { return true, nil }
func (nowhere) Close() error                        { return nil }

// file is an open file of a disk.
type file struct {
	vfs.File
	disk *disk
}

func (f *file) Write(p []byte) (int, error) {
	f.disk.change(func() error {
		_, err := f.File.Write(p)
		return err
	})
	return len(p), nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.change(func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
	return len(p), nil
}

// Preallocate is a wish; a disk that is too full says so at Write.
func (f *file) Preallocate(off, n int64) error {
	if f.disk.broken() == nil {
		_ = f.File.Preallocate(off, n)
	}
	return nil
}

func (f *file) Sync() error     { return f.disk.change(f.File.Sync) }
func (f *file) SyncData() error { return f.disk.change(f.File.SyncData) }

func (f *file) SyncTo(n int64) (full bool, err error) {
	f.disk.change(func() error {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, nil
}

// Close gives the descriptor back even when the disk is frozen.
func (f *file) Close() error {
	f.disk.changes.RLock()
	defer f.disk.changes.RUnlock()
	if j, ok := f.File.(*journal); ok && f.disk.broken() != nil {
		j.clean = true // it would write what was said to have failed
	}
	if err := f.File.Close(); err != nil {
		f.disk.freeze(err)
	}
	return nil
}
