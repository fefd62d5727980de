//go:build linux || darwin || freebsd

package role

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// TestTaken: what root restores belongs to the owner of the folder, and a link in it gives away
// nothing outside; meanwhile that one can put none there.
func TestTaken(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root gives")
	}
	base := t.TempDir()
	data, other := filepath.Join(base, "data"), filepath.Join(base, "other")
	for _, dir := range []string{data, filepath.Join(data, storeFolder), other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(data, storeFolder, "1.sst")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(data, "link")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(data, 0o770), os.Chown(data, 12345, 12346)); err != nil {
		t.Fatal(err)
	}
	folder, err := takeFolder(data)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o750 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("while root restores the folder is %v, %v", info, err)
	}
	if err := errors.Join(folder.giveContents(), folder.giveBack()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o770 {
		t.Errorf("the folder is %v, %v", info, err)
	}
	for path, want := range map[string]uint32{data: 12345, file: 12345, filepath.Dir(file): 12345, filepath.Join(data, "link"): 12345, other: 0} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s belongs to %d, not %d", path, got, want)
		}
	}
}

// TestTakenAndKilled: who restores again after root was killed gives the folder to whose it was;
// a note that another than root can have written says nothing.
func TestTakenAndKilled(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root restores")
	}
	for what, c := range map[string]struct {
		meanwhile func(data, mark string) error
		owner     uint32
	}{
		"killed":           {func(string, string) error { return nil }, 12345},
		"a note of theirs": {func(_, mark string) error { return os.Chown(mark, 12345, 12346) }, 0},
		"open to others":   {func(data, _ string) error { return os.Chmod(data, 0o770) }, 0},
		"another name":     {func(data, mark string) error { return os.Link(mark, data+".mark") }, 0},
		"no note":          {func(_, mark string) error { return os.WriteFile(mark, []byte(restoringText), 0o600) }, 0},
	} {
		data := filepath.Join(t.TempDir(), "data")
		if err := errors.Join(os.Mkdir(data, 0o700), os.Chown(data, 12345, 12346)); err != nil {
			t.Fatal(err)
		}
		_, release, err := beginRestoring(data)
		if err != nil {
			t.Fatal(err)
		}
		release() // as the system does of a process that is killed
		if err := c.meanwhile(data, filepath.Join(data, restoringFile)); err != nil {
			t.Fatal(err)
		}
		folder, release, err := beginRestoring(data)
		if err != nil {
			t.Fatal(err)
		}
		release()
		file := filepath.Join(data, storeFolder)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), folder.giveContents(), folder.giveBack()); err != nil {
			t.Error(err)
		}
		for _, path := range []string{data, file} {
			if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Uid != c.owner {
				t.Errorf("%s: %s does not belong to %d: %v, %v", what, path, c.owner, info, err)
			}
		}
	}
}

// TestForeignMark: a mark that is a link, in somebody else's folder, is none, and root writes
// nothing where it leads; nor into one that is another name of a file.
func TestForeignMark(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root restores")
	}
	for what, link := range map[string]func(from, to string) error{"a link": os.Symlink, "another name": os.Link} {
		base := t.TempDir()
		data, other := filepath.Join(base, "data"), filepath.Join(base, "other")
		err := errors.Join(os.Mkdir(data, 0o700), os.Chown(data, 12345, 12346), os.WriteFile(other, []byte("root's"), 0o600), link(other, filepath.Join(data, restoringFile)))
		if err != nil {
			t.Fatal(err)
		}
		folder, release, err := beginRestoring(data)
		if what == "a link" {
			if mail.KindOf(err) != mail.KindAlreadyExists {
				t.Errorf("%s: %v", what, err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else {
			release()
			if err := errors.Join(folder.giveContents(), folder.giveBack()); err != nil {
				t.Error(err)
			}
		}
		if text, err := os.ReadFile(other); string(text) != "root's" {
			t.Errorf("%s: root wrote %q, %v", what, text, err)
		}
		for path, want := range map[string]uint32{data: 12345, other: 0} {
			if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Uid != want {
				t.Errorf("%s: %s does not belong to %d: %v, %v", what, path, want, info, err)
			}
		}
	}
}
