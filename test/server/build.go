package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	return path, Build(path)
})

// Build builds Postern, as path; flags are go build's. It is built without cgo, as a release
// is (scripts/release): with it another library asks who a user is, another resolves names,
// and system calls for all threads at once, with which the sandbox is made, go another way.
func Build(path string, flags ...string) error {
	cmd := exec.Command("go", slices.Concat([]string{"build"}, flags, []string{"-o", path, "."})...)
	cmd.Dir, cmd.Env = root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Overlay writes files into folder that go's -overlay puts into the module's tree, or over what
// is there, and gives the path of what it takes. files are texts by their paths below Root.
func Overlay(folder string, files map[string]string) (string, error) {
	replace := map[string]string{}
	for path, text := range files {
		file := filepath.Join(folder, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root(), path)] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

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
