package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/licenseclassifier/v2/assets"
)

var update = flag.Bool("update", false, "write docs/decisions/modules.md anew")

// allowed are the licences that a module in the program may have: they ask for their text, and for what was
// changed in their own files, and not for the source of ours.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0"}

// TestMain works in the module's own folder, as the program does.
func TestMain(m *testing.M) {
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// direct reads in go.mod which modules the code imports itself.
func direct(t *testing.T) (paths []string) {
	t.Helper()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) == 2 && strings.Contains(f[0], ".") && strings.HasPrefix(f[1], "v") {
			paths = append(paths, f[0])
		}
	}
	if len(paths) < 30 {
		t.Fatalf("%d modules in go.mod", len(paths))
	}
	return paths
}

// TestLibraries: docs/decisions/libraries.md names each module that the code imports.
func TestLibraries(t *testing.T) {
	page, err := os.ReadFile("docs/decisions/libraries.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range direct(t) {
		if !strings.Contains(string(page), "`"+strings.TrimPrefix(path, "github.com/")) {
			t.Errorf("docs/decisions/libraries.md does not say why %s", path)
		}
	}
}

// TestModules: docs/decisions/modules.md lists what is in the program, and each has a licence that is allowed.
func TestModules(t *testing.T) {
	list, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	known, err := assets.DefaultClassifier()
	if err != nil {
		t.Fatal(err)
	}
	ours := direct(t)
	var b strings.Builder
	b.WriteString("# Modules in the program\n\n<!-- Made by `go test ./scripts/sbom -run TestModules -update`; do not edit. -->\n\n" +
		"Why the code imports those of us stands in [libraries.md](libraries.md); the others came with them. Licences are what stands in their files; a test allows\n" +
		strings.Join(allowed, ", ") + ". Versions and checksums stand in `go.mod` and `go.sum`, and in a release's SBOM ([release.md](../release.md)).\n\n" +
		"| Module | Imported by | Licence |\n| --- | --- | --- |\n")
	for _, m := range list {
		names := of(known, m)
		if len(names) == 0 {
			t.Errorf("%s %s has no licence that is known", m.path, m.version)
		}
		for _, name := range names {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s %s: the licence %s is not allowed", m.path, m.version, name)
			}
		}
		by := "others"
		if slices.Contains(ours, m.path) {
			by = "us"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.path, by, strings.Join(names, ", "))
	}
	const page = "docs/decisions/modules.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was, err := os.ReadFile(page); err != nil || string(was) != b.String() {
		t.Errorf("%s is stale: look at what is new, then go test ./scripts/sbom -run TestModules -update (%v)", page, err)
	}
	t.Logf("prove: modules with an allowed licence: %d", len(list))
}
