package backup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/postern-mail/postern/mail"
)

var ctx = context.Background()

// files are what a test backs up.
type files map[string][]byte

func (f files) list() (list []File) {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		b := bytes.Clone(f[name])
		version := ""
		if strings.HasSuffix(name, ".sst") {
			version = fmt.Sprintf("v%d", len(b))
		}
		list = append(list, File{Name: name, Size: int64(len(b)), Version: version, Open: func() (io.ReadSeekCloser, error) {
			return struct {
				*bytes.Reader
				io.Closer
			}{bytes.NewReader(b), io.NopCloser(nil)}, nil
		}})
	}
	return list
}

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func point(at time.Time) Point {
	return Point{Time: at, Store: "one", Server: "mail.example.org", Program: "test"}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func write(t *testing.T, dir string, at time.Time, f files, keep int) Made {
	t.Helper()
	folder, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	var done, all int64
	made, err := folder.Write(ctx, point(at), f.list(), keep, func(d, a int64) { done, all = d, a })
	if err != nil {
		t.Fatal(err)
	}
	if done != all {
		t.Errorf("told of %d bytes of %d", done, all)
	}
	return made
}

// read gives the files of the last point not after at.
func read(t *testing.T, dir string, at time.Time) files {
	t.Helper()
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	p, err := folder.At(at)
	if err != nil {
		t.Fatal(err)
	}
	x, err := folder.Files(p)
	if err != nil {
		t.Fatal(err)
	}
	out := files{}
	for _, name := range x.Names() {
		var b bytes.Buffer
		if err := x.Copy(ctx, name, &b, nil); err != nil {
			t.Fatal(err)
		}
		out[name] = b.Bytes()
	}
	return out
}

func same(t *testing.T, got, want files) {
	t.Helper()
	if !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%v is not %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func damages(t *testing.T, dir string) (found []string) {
	t.Helper()
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, err := folder.Verify(ctx, time.Time{}, func(d Damage) error {
		found = append(found, d.Path)
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPoints: each point has what there was, costs what is new, and old ones go with what
// only they needed.
func TestPoints(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	f := files{"store/1.sst": noise(1, 3<<20), "store/2.sst": noise(2, 100), "store/bodies/000001.body": noise(3, 1<<20), "store/marker": {}, "seal.key": noise(4, 32)}
	all := []files{maps.Clone(f)}
	first := write(t, dir, noon, f, 0)
	if want := int64(4<<20 + 132); first.Copied != want || first.Bytes != want || first.Files != 5 {
		t.Errorf("the first copied %d bytes of %d, not %d", first.Copied, first.Bytes, want)
	}
	// Nothing new.
	all = append(all, maps.Clone(f))
	if made := write(t, dir, noon.Add(time.Hour), f, 0); made.Copied != 0 {
		t.Errorf("%d bytes were copied again", made.Copied)
	}
	// A table goes, one comes, and a file has grown.
	delete(f, "store/1.sst")
	f["store/3.sst"] = noise(5, 1000)
	f["store/bodies/000001.body"] = append(bytes.Clone(f["store/bodies/000001.body"]), noise(6, 5000)...)
	all = append(all, maps.Clone(f))
	if made := write(t, dir, noon.Add(2*time.Hour), f, 0); made.Copied != 6000 {
		t.Errorf("%d bytes were copied, not 6000", made.Copied)
	}
	for i, want := range all {
		same(t, read(t, dir, noon.Add(time.Duration(i)*time.Hour+time.Minute)), want)
	}
	same(t, read(t, dir, time.Time{}), all[2])
	if found := damages(t, dir); len(found) > 0 {
		t.Error(found)
	}
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := folder.At(noon.Add(-time.Second)); err == nil || mail.KindOf(err) != mail.KindNotFound {
		t.Errorf("before the first: %v", err)
	}
	folder.Close()

	// A file whose start is another one now is copied whole.
	f["store/bodies/000001.body"] = noise(7, 1<<20)
	if made := write(t, dir, noon.Add(3*time.Hour), f, 2); made.Copied != 1<<20 || made.Removed != 2 {
		t.Errorf("copied %d, removed %d points", made.Copied, made.Removed)
	}
	folder, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	have, _ := folder.objects()
	folder.Close()
	left := int64(0)
	for _, n := range have {
		left += n
	}
	// What two points need: the parts of the body file before and after.
	if want := int64(100 + 32 + 1000 + 1<<20 + 5000 + 1<<20); left != want {
		t.Errorf("%d bytes are left, not %d", left, want)
	}
	same(t, read(t, dir, noon.Add(2*time.Hour)), all[2])
	same(t, read(t, dir, time.Time{}), f)

	// Only the server's user may read it.
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if info, _ := e.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestFiles: a point is a file system.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	f := files{"store/1.sst": noise(1, 300), "store/bodies/1.body": noise(2, 100), "store-2": noise(3, 5), "store/empty": {}}
	write(t, dir, noon, f, 0)
	f["store/bodies/1.body"] = append(f["store/bodies/1.body"], noise(3, 50)...) // of two parts
	write(t, dir, noon.Add(time.Hour), f, 0)
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	p, err := folder.At(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := folder.Files(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(x, "store-2", "store/1.sst", "store/bodies/1.body", "store/empty"); err != nil {
		t.Error(err)
	}
	sub, err := x.Sub("store")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(sub, "bodies/1.body"); err != nil || !bytes.Equal(b, f["store/bodies/1.body"]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestGrows: a file that grows a little from point to point does not become thousands of
// objects.
func TestGrows(t *testing.T) {
	dir := t.TempDir()
	f := files{}
	for i := range 2*maxParts + 9 {
		f["bodies"] = append(bytes.Clone(f["bodies"]), noise(uint64(i), 10)...)
		write(t, dir, noon.Add(time.Duration(i)*time.Minute), f, 3)
	}
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if have, _ := folder.objects(); len(have) > maxParts+3 {
		t.Errorf("%d objects", len(have))
	}
	same(t, read(t, dir, time.Time{}), f)
}

// TestDamage: a bit that flips in whatever file is found, and named.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	f := files{"store/1.sst": noise(1, 70000), "store/2.sst": noise(2, 10), "audit/2026-11.log": noise(3, 500)}
	write(t, dir, noon, f, 0)
	f["store/2.sst"] = noise(9, 11)
	write(t, dir, noon.Add(time.Hour), f, 0)
	r := rand.New(rand.NewPCG(1, 2))
	flipped := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == lockName {
			return err
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for range 40 {
			b := bytes.Clone(whole)
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				return err
			}
			flipped++
			if found := damages(t, dir); !slices.Equal(found, []string{path}) {
				t.Errorf("%s was damaged, found is %v", path, found)
			}
		}
		// Cut off, and gone.
		if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
			return err
		}
		if found := damages(t, dir); !slices.Equal(found, []string{path}) {
			t.Errorf("%s was cut off, found is %v", path, found)
		}
		if filepath.Ext(path) != pointSuffix {
			if err := os.Remove(path); err != nil {
				return err
			}
			if found := damages(t, dir); !slices.Equal(found, []string{path}) {
				t.Errorf("%s was removed, found is %v", path, found)
			}
			// The next point copies it again, if it is still there.
			write(t, dir, noon.Add(2*time.Hour), f, 2)
		}
		return os.WriteFile(path, whole, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("prove: bits flipped in a backup, each found and named: %d", flipped)
}

// TestEnded: a backup that is ended leaves the points before, and the next goes on.
func TestEnded(t *testing.T) {
	dir := t.TempDir()
	f := files{"store/1.sst": noise(1, 2<<20)}
	write(t, dir, noon, f, 1)
	before := maps.Clone(f)
	for i := range 8 {
		f[fmt.Sprintf("store/%d.sst", 2+i)] = noise(uint64(2+i), 2<<20+i)
	}
	folder, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	_, err = folder.Write(ended, point(noon.Add(time.Hour)), f.list(), 1, func(done, all int64) {
		if done > all/2 {
			cancel()
		}
	})
	if err == nil || mail.KindOf(err) != mail.KindUnavailable || !strings.Contains(mail.TextOf(err), "ended") {
		t.Errorf("%v", err)
	}
	folder.Close()
	// As a process that is killed leaves it.
	for _, name := range []string{objectsFolder, pointsFolder} {
		if err := os.WriteFile(filepath.Join(dir, name, newPrefix+"123"), noise(1, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	same(t, read(t, dir, time.Time{}), before)
	if found := damages(t, dir); len(found) > 0 {
		t.Error(found)
	}
	made := write(t, dir, noon.Add(2*time.Hour), f, 1)
	if made.Copied > 6*(2<<20+8) {
		t.Errorf("%d bytes were copied, though some were there already", made.Copied)
	}
	same(t, read(t, dir, time.Time{}), f)
	if left, _ := filepath.Glob(filepath.Join(dir, "*", newPrefix+"*")); len(left) > 0 {
		t.Error(left)
	}
}

// times gives the times of the points, in their order.
func times(t *testing.T, dir string) (list []time.Time) {
	t.Helper()
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	points, damages, err := folder.Points()
	if err != nil || len(damages) > 0 {
		t.Fatal(damages, err)
	}
	for _, p := range points {
		list = append(list, p.Time)
	}
	return list
}

// TestClockOfPoints: a clock that was wrong neither makes a point the last one for years, nor
// has the newest go first.
func TestClockOfPoints(t *testing.T) {
	for name, wrong := range map[string]time.Time{"ahead": noon.AddDate(5, 0, 0), "behind": time.Unix(0, 0).UTC()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := files{}
			var made []time.Time
			for i := range 6 {
				at := noon.Add(time.Duration(i) * time.Hour)
				if i == 2 {
					at = wrong
				}
				made = append(made, at)
				f["store/1.sst"] = noise(uint64(i), 100+i)
				write(t, dir, at, f, 4)
				if got, want := times(t, dir), made[max(0, len(made)-4):]; !slices.EqualFunc(got, want, time.Time.Equal) {
					t.Errorf("the points are %v, not %v", got, want)
				}
				same(t, read(t, dir, time.Time{}), f)
			}
			same(t, read(t, dir, noon.Add(3*time.Hour)), files{"store/1.sst": noise(3, 103)})
		})
	}
}

// TestFewer: points that are more than are to be kept go first, since a full disk may be why;
// so many are left when the new one cannot be made. What was copied onto the full disk
// goes, too.
func TestFewer(t *testing.T) {
	dir := t.TempDir()
	f := files{}
	for i := range 5 {
		f["store/1.sst"] = noise(uint64(i), 100+i)
		write(t, dir, noon.Add(time.Duration(i)*time.Hour), f, 0)
	}
	folder, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	add := func(full error, keep int) (Made, error) {
		return folder.Write(ctx, point(noon.Add(9*time.Hour)), append(files{"store/2.sst": noise(9, 1000)}.list(), File{Name: "store/3.sst", Size: 1, Open: func() (io.ReadSeekCloser, error) {
			return nil, &fs.PathError{Op: "write", Path: "x", Err: full}
		}}), keep, nil)
	}
	objects := func() int {
		have, err := folder.objects()
		if err != nil {
			t.Fatal(err)
		}
		return len(have)
	}
	// What was copied before another error is there for the next time.
	if _, err := add(syscall.EIO, 0); mail.KindOf(err) != mail.KindUnavailable || objects() != 6 {
		t.Errorf("%v, %d objects", err, objects())
	}
	if _, err := add(syscall.ENOSPC, 0); mail.KindOf(err) != mail.KindNoSpace || !strings.Contains(mail.TextOf(err), "disk is full") || objects() != 5 {
		t.Errorf("%v, %d objects", err, objects())
	}
	if made, err := add(syscall.ENOSPC, 2); mail.KindOf(err) != mail.KindNoSpace || made.Removed != 3 || objects() != 2 {
		t.Errorf("%v, %d removed, %d objects", err, made.Removed, objects())
	}
	folder.Close()
	if got := times(t, dir); len(got) != 2 || !got[1].Equal(noon.Add(4*time.Hour)) {
		t.Errorf("the points are %v", got)
	}
	same(t, read(t, dir, time.Time{}), f)
	if made := write(t, dir, noon.Add(10*time.Hour), f, 2); made.Removed != 1 {
		t.Errorf("%d points were removed", made.Removed)
	}
}

// TestFolder: what is no folder of backups, another store's, or in use, is refused.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	kind := func(err error, want mail.Kind) {
		t.Helper()
		if err == nil || mail.KindOf(err) != want {
			t.Errorf("%v is not %v", err, want)
		}
	}
	_, err := Open(dir)
	kind(err, mail.KindNotFound)
	_, err = Open(filepath.Join(dir, "none"))
	kind(err, mail.KindNotFound)
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Create(dir)
	kind(err, mail.KindBadArgument)
	dir = filepath.Join(dir, "b")
	f := files{"seal.key": noise(1, 32)}
	write(t, dir, noon, f, 0)
	folder, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	kind(err, mail.KindInUse)
	_, err = Create(dir)
	kind(err, mail.KindInUse)
	other := point(noon.Add(time.Hour))
	other.Store = "two"
	_, err = folder.Write(ctx, other, f.list(), 0, nil)
	kind(err, mail.KindBadArgument)
	folder.Close()
	// Two may read at once, and nobody writes meanwhile.
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = Create(dir)
	kind(err, mail.KindInUse)
}

// FuzzPoint: what is not the text of a point is refused, and never read as another one.
func FuzzPoint(f *testing.F) {
	dir := f.TempDir()
	for _, name := range []string{objectsFolder, pointsFolder} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			f.Fatal(err)
		}
	}
	folder := &Folder{dir: dir}
	p, err := folder.writePoint(point(noon), []entry{{Name: "store/1.sst", Version: "v", Parts: []part{{SHA256: digest{1}.String(), Size: 7}}}, {Name: "store/marker"}})
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, pointsFolder, p.name)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(bytes.Replace(whole, []byte("store/1.sst"), []byte("../../1.sst"), 1))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := folder.readPoint(p.name, func(e entry) error {
			if !fs.ValidPath(e.Name) {
				t.Errorf("the name %q", e.Name)
			}
			return nil
		})
		if err == nil && got.Store == "" {
			t.Error("a point of no store")
		}
		if err != nil && mail.KindOf(err) != mail.KindCorrupt && mail.KindOf(err) != mail.KindUnavailable {
			t.Error(err)
		}
	})
}
