package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
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
