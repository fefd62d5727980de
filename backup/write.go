package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

const (
	// partSize is how much of a file is one object at most, in bytes.
	partSize = 64 << 20
	// maxParts bounds the parts of a file that grows from point to point: one that has more
	// is copied whole.
	maxParts = 64
	// atOnce is how many bytes are copied before it is asked whether to go on.
	atOnce = 1 << 20
	// syncEvery is how many bytes are written before they are synced: one sync of much
	// more would make those wait who write to the same disk.
	syncEvery = 8 << 20
)

// File is a file that a point is to have.
type File struct {
	Name    string // with "/" between its folders
	Size    int64  // no more of it is taken
	Version string // another one when the content is another; "" when only reading tells
	Open    func() (io.ReadSeekCloser, error)
}

// Made says what a new point is and what it took.
type Made struct {
	Point
	Copied  int64 // bytes of new objects
	Removed int   // points that were removed
	// Unread says why points that were there could not be read: then nothing is removed.
	Unread []Damage
}

// making is a point being made.
type making struct {
	folder *Folder
	have   map[digest]int64 // objects that are there, whole
	copied int64
	buffer []byte
	step   func(n int64)
}

// Write makes a point of files, which are of one moment, and removes the oldest points, so
// that keep are left (0: none is removed), and what no point needs any more. Those that are
// more than keep already go first, since a full disk may be why fewer are to be kept. p says
// Time, Store, Server and Program. progress, which may be nil, is told of the bytes that are
// done. On an error the last keep points are as they were, and what was copied stays for the
// next time; but with KindNoSpace, when the disk of the folder is full, it goes.
// KindBadArgument when the folder has points of another store.
func (f *Folder) Write(ctx context.Context, p Point, files []File, keep int, progress func(done, all int64)) (Made, error) {
	out := Made{}
	points, damages, err := f.Points()
	if err != nil {
		return out, err
	}
	out.Unread = damages
	before := map[string]entry{}
	p.number = 1
	if len(points) > 0 {
		latest := points[len(points)-1]
		p.number = latest.number + 1
		if latest.Store != p.Store {
			return out, mail.Errorf(mail.KindBadArgument, "%s has backups of another mail store, that of the server %s.", f.dir, latest.Server)
		}
		if _, err := f.readPoint(latest.name, func(e entry) error {
			before[e.Name] = e
			return nil
		}); err != nil {
			return out, err
		}
	}
	if err := f.removeNew(); err != nil {
		return out, explain(err, "The backup folder %s cannot be written", f.dir)
	}
	// With one that cannot be read nobody knows what it needs.
	clean := func(points []Point, state string) error {
		if len(damages) > 0 {
			return nil
		}
		n, err := f.clean(points, keep)
		out.Removed += n
		return explain(err, "The backup in %s was "+state+", and what is not needed any more cannot be removed", f.dir)
	}
	if keep > 0 && len(points) > keep && len(damages) == 0 {
		if err := clean(points, "not made"); err != nil {
			return out, err
		}
		points = points[len(points)-keep:]
	}
	if out.Point, out.Copied, err = f.add(ctx, p, files, before, progress); err != nil {
		err = explain(err, "The backup in %s was not made, and the ones before are whole", f.dir)
		if mail.KindOf(err) == mail.KindNoSpace {
			_ = clean(points, "not made") // err says more
		}
		return out, err
	}
	err = clean(append(points, out.Point), "made")
	return out, err
}

// add makes a point, which is durable then with all that it needs.
func (f *Folder) add(ctx context.Context, p Point, files []File, before map[string]entry, progress func(done, all int64)) (made Point, copied int64, err error) {
	m := &making{folder: f, buffer: make([]byte, atOnce)}
	if m.have, err = f.objects(); err != nil {
		return made, 0, err
	}
	var all, done int64
	for _, x := range files {
		all += x.Size
	}
	m.step = func(n int64) {
		done += n
		if progress != nil {
			progress(done, all)
		}
	}
	m.step(0)
	entries := make([]entry, 0, len(files))
	folders := map[string]bool{filepath.Join(f.dir, objectsFolder): true}
	for _, x := range files {
		e, err := m.file(ctx, x, before[x.Name])
		if err != nil {
			return made, m.copied, err
		}
		for _, p := range e.Parts {
			folders[filepath.Dir(f.object(p.digest))] = true
		}
		entries = append(entries, e)
	}
	// Also those in which nothing is new: a backup that was ended may have left objects in
	// them whose names are not durable yet.
	for dir := range folders {
		if err := syncFolder(dir); err != nil {
			return made, m.copied, err
		}
	}
	made, err = f.writePoint(p, entries)
	return made, m.copied, err
}

// removeNew removes what a backup that was ended left half written.
func (f *Folder) removeNew() error {
	for _, name := range []string{objectsFolder, pointsFolder} {
		dir := filepath.Join(f.dir, name)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), newPrefix) && !e.IsDir() {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// file makes sure that a file's parts are in the folder. before is what the last point
// has under its name.
func (m *making) file(ctx context.Context, x File, before entry) (entry, error) {
	e := entry{Name: x.Name, Version: x.Version}
	if !fs.ValidPath(x.Name) || x.Name == "." {
		return e, mail.Errorf(mail.KindServerBug, "%q cannot be the name of a file in a backup", x.Name)
	}
	if x.Version != "" && x.Version == before.Version && before.size() == x.Size && !slices.ContainsFunc(before.Parts, m.lacks) {
		e.Parts = before.Parts
		m.step(x.Size)
		return e, ctx.Err()
	}
	in, err := x.Open()
	if err != nil {
		return e, err
	}
	defer in.Close()
	at := int64(0)
	if len(before.Parts) < maxParts {
		if e.Parts, at, err = m.still(ctx, in, before.Parts, x.Size); err != nil {
			return e, err
		}
	}
	for at < x.Size {
		p, err := m.object(ctx, io.LimitReader(in, min(partSize, x.Size-at)))
		if err != nil {
			return e, err
		}
		if p.Size == 0 {
			m.step(x.Size - at) // it ends before: what is behind was not written yet
			break
		}
		e.Parts = append(e.Parts, p)
		at += p.Size
	}
	return e, nil
}

// lacks tells whether an object is not there as it should be.
func (m *making) lacks(p part) bool {
	size, ok := m.have[p.digest]
	return !ok || size != p.Size
}

// still gives those of parts, from the first on, that in still begins with, and leaves in
// behind them.
func (m *making) still(ctx context.Context, in io.ReadSeeker, parts []part, size int64) (same []part, at int64, err error) {
	for _, p := range parts {
		if at+p.Size > size || m.lacks(p) {
			break
		}
		sum := sha256.New()
		n, err := m.copy(ctx, sum, io.LimitReader(in, p.Size))
		if err != nil {
			return nil, 0, err
		}
		if n != p.Size || digest(sum.Sum(nil)) != p.digest {
			break
		}
		same = append(same, p)
		at += p.Size
		m.step(n)
	}
	_, err = in.Seek(at, io.SeekStart)
	return same, at, err
}

// copy is io.Copy that ends with ctx.
func (m *making) copy(ctx context.Context, to io.Writer, from io.Reader) (n int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := io.ReadFull(from, m.buffer)
		if k > 0 {
			if _, err := to.Write(m.buffer[:k]); err != nil {
				return n, err
			}
			n += int64(k)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// counting tells of what is written through it, and syncs now and then.
type counting struct {
	file     *os.File
	unsynced int64
	step     func(int64)
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.file.Write(p)
	c.step(int64(n))
	if c.unsynced += int64(n); err == nil && c.unsynced >= syncEvery {
		c.unsynced = 0
		err = c.file.Sync()
	}
	return n, err
}

// object makes an object of what in gives.
func (m *making) object(ctx context.Context, in io.Reader) (part, error) {
	dir := filepath.Join(m.folder.dir, objectsFolder)
	file, err := os.CreateTemp(dir, newPrefix+"*") // mode 0600
	if err != nil {
		return part{}, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sum := sha256.New()
	n, err := m.copy(ctx, io.MultiWriter(&counting{file: file, step: m.step}, sum), in)
	if err != nil || n == 0 {
		return part{}, err
	}
	p := part{Size: n, digest: digest(sum.Sum(nil))}
	p.SHA256 = p.digest.String()
	if !m.lacks(p) {
		return p, nil
	}
	if err := file.Sync(); err != nil {
		return part{}, err
	}
	path := m.folder.object(p.digest)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return part{}, err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return part{}, err
	}
	m.have[p.digest] = n
	m.copied += n
	return p, nil
}

// clean removes the oldest of points, which are all that there are, until keep are left, 0:
// none, and the objects that no point needs. It gives how many points it removed.
func (f *Folder) clean(points []Point, keep int) (removed int, err error) {
	folder := filepath.Join(f.dir, pointsFolder)
	for ; keep > 0 && len(points) > keep; points = points[1:] {
		if err := os.Remove(filepath.Join(folder, points[0].name)); err != nil {
			return removed, err
		}
		removed++
	}
	// First the points, then what they needed: a point never lacks an object.
	if err := syncFolder(folder); err != nil {
		return removed, err
	}
	needed := map[digest]bool{}
	for _, p := range points {
		if _, err := f.readPoint(p.name, func(e entry) error {
			for _, p := range e.Parts {
				needed[p.digest] = true
			}
			return nil
		}); err != nil {
			return removed, err
		}
	}
	have, err := f.objects()
	if err != nil {
		return removed, err
	}
	for d := range have {
		if !needed[d] {
			if err := os.Remove(f.object(d)); err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}
