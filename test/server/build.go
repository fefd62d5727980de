package server

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Main is what a TestMain calls: it runs the tests and removes the binary.
func Main(m *testing.M) {
	code := m.Run()
	if dir, err := buildFolder(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

var buildFolder = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "postern-build-") })

// build makes the binary, once a process.
var build = sync.OnceValues(func() (string, error) {
	dir, err := buildFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "postern")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// Binary builds Postern, once a test run, and gives the program's path.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Root is the folder of the module: where `go run .` runs Postern.
func Root() string { return root() }

func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Program gives the path of a program that a test drives and fails the test,
// naming the Debian package, when it is not installed. Folders of Debian's own
// programs go first, so that python3 is the system's.
func Program(t testing.TB, name, debian string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/local/bin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed; it is in the Debian package %s (scripts/test-packages installs it)", name, debian)
	}
	return path
}

// Tool gives the path of a Go program that scripts/test-tools installs. Without it
// the test is skipped, and fails in CI.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	home, _ := os.UserHomeDir()
	for _, folder := range []string{filepath.Join(root(), ".tools"), filepath.Join(cmp.Or(os.Getenv("GOPATH"), filepath.Join(home, "go")), "bin")} {
		if path := filepath.Join(folder, name); executable(path) {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed; make setup installs it", name)
	}
	t.Skipf("%s is not installed; make setup installs it", name)
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// clean is the environment without what would change what Postern or Go do.
func clean(extra ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "TMPDIR", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "GOFLAGS", "GOCOVERDIR":
		default:
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}
