//go:build linux || darwin || freebsd

package backup

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-mail/postern/mail"
)

// TestNoFiles: what is put into a folder in place of its files, such as pipes that nobody
// writes to and devices without an end, is a damage and keeps nobody waiting.
func TestNoFiles(t *testing.T) {
	pipe := func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	endless := func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/zero", path); err != nil {
			t.Fatal(err)
		}
	}
	for name, put := range map[string]func(*testing.T, string){"pipe": pipe, "endless": endless} {
		for _, what := range []string{"objects", "points", lockName} {
			t.Run(name+" "+what, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "b")
				f := files{"store/1.sst": noise(1, 1000)}
				write(t, dir, noon, f, 0)
				path := ""
				filepath.WalkDir(dir, func(p string, e fs.DirEntry, _ error) error {
					if e.Type().IsRegular() && strings.HasPrefix(p, filepath.Join(dir, what)) {
						path = p
					}
					return nil
				})
				put(t, path)
				done := make(chan []string)
				go func() {
					defer close(done)
					folder, err := Open(dir)
					if err != nil {
						t.Error(err)
						return
					}
					defer folder.Close()
					var found []string
					if _, err := folder.Verify(ctx, time.Time{}, func(d Damage) error {
						found = append(found, d.Path)
						return nil
					}, nil); err != nil {
						t.Error(err)
					}
					if what == "objects" {
						p, err := folder.At(time.Time{})
						if err != nil {
							t.Error(err)
						}
						x, err := folder.Files(p)
						if err != nil {
							t.Error(err)
							return
						}
						if err := x.Copy(ctx, "store/1.sst", io.Discard, nil); mail.KindOf(err) != mail.KindCorrupt {
							t.Errorf("copied: %v", err)
						}
						if file, err := x.Open("store/1.sst"); err == nil {
							if _, err := file.Read(make([]byte, 10)); err == nil {
								t.Error("it was read")
							}
							file.Close()
						}
					}
					done <- found
				}()
				select {
				case found := <-done:
					if want := map[bool]int{false: 1, true: 0}[what == lockName]; len(found) != want || want == 1 && found[0] != path {
						t.Errorf("the damages are %q", found)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("who reads the folder waits")
				}
			})
		}
	}
}

// TestSizes: a point that speaks of parts that nobody writes is damaged, whatever its digest
// says.
func TestSizes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	write(t, dir, noon, files{"store/1.sst": noise(1, 1000)}, 0)
	folder, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for _, sizes := range [][]int64{{1 << 62, 1 << 62}, {1<<63 - 1}, {partSize + 1}} {
		e := entry{Name: "store/2.sst"}
		for _, n := range sizes {
			e.Parts = append(e.Parts, part{SHA256: strings.Repeat("ab", 32), Size: n})
		}
		p, err := folder.writePoint(point(noon.Add(time.Hour)), []entry{e})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := folder.Files(p); mail.KindOf(err) != mail.KindCorrupt {
			t.Errorf("%v: %v", sizes, err)
		}
	}
}

// TestMisplaced: an object counts as there only where it is looked for.
func TestMisplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	f := files{"store/1.sst": noise(1, 1000)}
	write(t, dir, noon, f, 0)
	paths, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	if err := os.Rename(paths[0], filepath.Join(dir, "objects", filepath.Base(paths[0]))); err != nil {
		t.Fatal(err)
	}
	write(t, dir, noon.Add(time.Hour), f, 1)
	if found := damages(t, dir); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}
