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
