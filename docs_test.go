package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSecurityPage: the tests and transcripts that docs/security.md names are there.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\|[^|]+\|[^|]+\|([^|]+)\|$`)
	group := regexp.MustCompile("`([a-z0-9/]+)` ([^;`]+)")
	name := regexp.MustCompile(`\b(Test|Fuzz)[A-Za-z0-9]+|\btranscripts? ([a-z]+(?:, [a-z]+)*)`)
	rows, names := 0, 0
	for _, cell := range row.FindAllStringSubmatch(string(page), -1) {
		rows++
		for _, g := range group.FindAllStringSubmatch(cell[1], -1) {
			files, err := filepath.Glob(g[1] + "/*_test.go")
			if err != nil || len(files) == 0 {
				t.Errorf("docs/security.md: %s has no tests", g[1])
			}
			var code []byte
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				code = append(code, text...)
			}
			for _, n := range name.FindAllStringSubmatch(g[2], -1) {
				names++
				for transcript := range strings.SplitSeq(n[2], ", ") {
					if _, err := os.Stat(g[1] + "/testdata/" + transcript + ".txt"); transcript != "" && err != nil {
						t.Errorf("docs/security.md: %v", err)
					}
				}
				if n[2] == "" && !bytes.Contains(code, []byte("func "+n[0]+"(")) {
					t.Errorf("docs/security.md: %s has no %s", g[1], n[0])
				}
			}
		}
	}
	if rows < 20 || names < 80 {
		t.Errorf("docs/security.md: %d rows with %d names", rows, names)
	}
}

// TestDocs: the generated pages are those of the code.
func TestDocs(t *testing.T) {
	for path, page := range generated {
		want, err := page()
		if err != nil {
			t.Fatal(path, err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run make docs (%v)", path, err)
		}
	}
}

// TestCompatibilityPage: each fault of a client that docs/compatibility.md tells of is replayed
// in a transcript under its name, and each that is replayed is told of.
func TestCompatibilityPage(t *testing.T) {
	names := func(pattern string, paths ...string) (found []string) {
		t.Helper()
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
				found = append(found, string(m[1]))
			}
		}
		slices.Sort(found)
		return found
	}
	told := names("(?m)^- `([a-z0-9-]+)`:", "docs/compatibility.md")
	replayed := names("(?m)^([a-z0-9]+-[a-z0-9-]+): ", "imap/testdata/compatibility.txt", "pop3/testdata/compatibility.txt")
	if !slices.Equal(told, replayed) || len(told) == 0 {
		t.Errorf("told: %q\nreplayed: %q", told, replayed)
	}
}

// TestPages: no page has what a merge left half done, and links lead to what is there.
func TestPages(t *testing.T) {
	pages := []string{"README.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(found), err)
		}
		pages = append(pages, found...)
	}
	merge := regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) .*$`)
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range merge.FindAll(text, -1) {
			t.Errorf("%s: %s", page, m)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), string(m[1]))); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
