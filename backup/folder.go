package backup

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/postern-mail/postern/mail"
)

const (
	objectsFolder = "objects"
	pointsFolder  = "points"
	lockName      = "lock"
	pointSuffix   = ".point"
	// newPrefix begins the names of files that are not whole yet.
	newPrefix = "new-"
	// pointTime is how a point's time stands in its file's name: UTC, and in order as a text.
	pointTime = "2006-01-02T15-04-05.000000Z"
)

// digest is a SHA-256.
type digest [32]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

func parseDigest(text string) (d digest, ok bool) {
	n, err := hex.Decode(d[:], []byte(text))
	return d, err == nil && n == len(d) && len(text) == 2*len(d)
}

// Folder is an open folder of backups. One process writes to it at a time, and nobody
// reads meanwhile. Its methods may be called from one goroutine at a time.
type Folder struct {
	dir  string
	lock *os.File // nil for a folder in which no lock can be made, which is only read
}

// Open opens a folder to read what it has. KindNotFound when it has no backup;
// KindInUse while one is being made.
func Open(dir string) (*Folder, error) {
	for _, name := range []string{pointsFolder, objectsFolder} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.IsDir() {
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return nil, explain(err, "The backup folder %s cannot be read", dir)
			}
			return nil, mail.Errorf(mail.KindNotFound, "There is no backup in %s.", dir)
		}
	}
	f := &Folder{dir: dir}
	var err error
	// Such as a disk that is mounted to be read only: nobody writes there.
	if f.lock, err = openRead(filepath.Join(dir, lockName)); err != nil {
		return f, nil
	}
	if err := lockFile(f.lock, false); err != nil {
		f.lock.Close()
		return nil, mail.Errorf(mail.KindInUse, "A backup is being made in %s.", dir)
	}
	return f, nil
}

// Create opens a folder to make points in it, and makes it when it is not there.
// KindBadArgument when it holds something else; KindInUse while somebody uses it.
func Create(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, explain(err, "The backup folder %s cannot be made", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, explain(err, "The backup folder %s cannot be read", dir)
	}
	ours := func(e fs.DirEntry) bool { return e.Name() == objectsFolder || e.Name() == lockName }
	others := slices.DeleteFunc(slices.Clone(entries), func(e fs.DirEntry) bool { return e.Name() == "lost+found" })
	if len(others) > 0 && !slices.ContainsFunc(others, ours) {
		return nil, mail.Errorf(mail.KindBadArgument, "%s holds other files: a backup needs a folder of its own.", dir)
	}
	f := &Folder{dir: dir}
	if f.lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, explain(err, "The backup folder %s cannot be written", dir)
	}
	if err := lockFile(f.lock, true); err != nil {
		f.lock.Close()
		return nil, mail.Errorf(mail.KindInUse, "The backup folder %s is in use: a backup is being made, read or verified.", dir)
	}
	for _, name := range []string{objectsFolder, pointsFolder} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			f.Close()
			return nil, explain(err, "The backup folder %s cannot be written", dir)
		}
	}
	if err := syncFolder(dir); err != nil {
		f.Close()
		return nil, explain(err, "The backup folder %s cannot be written", dir)
	}
	return f, nil
}

// Close gives the folder back.
func (f *Folder) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// errNoFile is why something is not read.
var errNoFile = errors.New("it is no regular file")

// openRead opens a file of the folder. Who may write to the folder may have put anything
// there: what is no file, or leads to none, is refused.
func openRead(path string) (*os.File, error) {
	file, err := openAnything(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNoFile}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// object gives the path of a part.
func (f *Folder) object(d digest) string {
	name := d.String()
	return filepath.Join(f.dir, objectsFolder, name[:2], name)
}

// objects lists the parts that are there, with their sizes.
func (f *Folder) objects() (map[digest]int64, error) {
	have := map[digest]int64{}
	err := filepath.WalkDir(filepath.Join(f.dir, objectsFolder), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		d, ok := parseDigest(e.Name())
		if !ok || path != f.object(d) {
			return nil
		}
		info, err := e.Info()
		if err == nil {
			have[d] = info.Size()
		}
		return err
	})
	if err != nil {
		return nil, explain(err, "The backup folder %s cannot be read", f.dir)
	}
	return have, nil
}

// points lists the names of the files of points, ascending by time.
func (f *Folder) points() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, pointsFolder))
	if err != nil {
		return nil, explain(err, "The backup folder %s cannot be read", f.dir)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), pointSuffix) && !strings.HasPrefix(e.Name(), newPrefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Points gives the points that can be read, in the order in which they were made, and what
// is wrong with the others.
func (f *Folder) Points() (list []Point, damages []Damage, err error) {
	names, err := f.points()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		p, err := f.readPoint(name, nil)
		if err != nil {
			if mail.KindOf(err) != mail.KindCorrupt {
				return nil, nil, err
			}
			damages = append(damages, Damage{Path: filepath.Join(f.dir, pointsFolder, name), Detail: mail.TextOf(err)})
			continue
		}
		list = append(list, p)
	}
	// Not by their times: what was made while the clock was wrong is neither the last for
	// years nor the first to go.
	slices.SortFunc(list, func(x, y Point) int {
		return cmp.Or(cmp.Compare(x.number, y.number), x.Time.Compare(y.Time))
	})
	return list, damages, nil
}

// At gives the last point that is not after t, by what the clock said, and of the zero time the
// one that was made last. KindNotFound when there is none, KindCorrupt when only damaged
// ones are left.
func (f *Folder) At(t time.Time) (Point, error) {
	list, damages, err := f.Points()
	if err != nil {
		return Point{}, err
	}
	if t.IsZero() && len(list) > 0 {
		return list[len(list)-1], nil
	}
	slices.SortStableFunc(list, func(x, y Point) int { return x.Time.Compare(y.Time) })
	for _, p := range slices.Backward(list) {
		if !p.Time.After(t) {
			return p, nil
		}
	}
	switch {
	case len(list) > 0:
		return Point{}, mail.Errorf(mail.KindNotFound, "The first backup in %s is of %s.", f.dir, list[0].Time.Format(time.RFC3339))
	case len(damages) > 0:
		return Point{}, mail.Errorf(mail.KindCorrupt, "No backup in %s can be read: %s", f.dir, damages[0].Detail)
	}
	return Point{}, mail.Errorf(mail.KindNotFound, "There is no backup in %s.", f.dir)
}

// explain makes an error of the file system one that says what could not be done.
func explain(err error, format string, args ...any) error {
	var x *mail.Error
	if err == nil || errors.As(err, &x) {
		return err
	}
	kind := mail.KindUnavailable
	reason := err
	var p *fs.PathError
	if errors.As(err, &p) {
		reason = p.Err
	}
	why := reason.Error()
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		kind, why = mail.KindNoSpace, "its disk is full"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		why = "it was ended before it was done"
	case errors.Is(err, fs.ErrPermission):
		why = "the server's user may not"
	}
	e := mail.Errorf(kind, format+": "+strings.ReplaceAll(why, "%", "%%")+".", args...)
	e.Cause = err
	return e
}

// syncFolder makes what was made or renamed in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
