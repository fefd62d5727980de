package role

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAwaited: what a link of /etc will lead to, once the host has a network, may be read.
func TestAwaited(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []struct{ to, want string }{
		{filepath.Join(dir, "run", "resolve", "stub-resolv.conf"), filepath.Join(dir, "run")},
		{"run/resolve/resolv.conf", filepath.Join(dir, "run")},
		{there, ""},
		{"/no-such-folder-here/resolv.conf", ""},
	} {
		path := filepath.Join(dir, "link")
		os.Remove(path)
		if err := os.Symlink(link.to, path); err != nil {
			t.Fatal(err)
		}
		if got := awaited(path); got != link.want {
			t.Errorf("%s: %q, want %q", link.to, got, link.want)
		}
	}
	for _, path := range []string{there, filepath.Join(dir, "nothing")} {
		if got := awaited(path); got != "" {
			t.Errorf("%s: %q", path, got)
		}
	}
}
