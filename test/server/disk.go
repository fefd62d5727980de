package server

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// NotTested skips a test that needs what is not here; in CI that is a failure.
func NotTested(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("NOT TESTED: "+format, args...)
	}
	t.Skipf("NOT TESTED: "+format, args...)
}

// SmallDisk gives the folder of a file system of its own, in memory, of so many MiB. It
// needs root; without it the test is NotTested.
func SmallDisk(t testing.TB, mib int) string {
	t.Helper()
	if os.Getuid() != 0 {
		NotTested(t, "only root can mount a small file system")
	}
	dir, err := os.MkdirTemp("", "pd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=700", mib), "tmpfs", dir).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "permission denied") {
			NotTested(t, "this root may not mount: %s", out)
		}
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}
