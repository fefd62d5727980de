package rfc

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var citation = regexp.MustCompile(`RFC ([0-9]{3,5})`)

// TestCitations: every RFC that the code names is in the index, and every one that
// the index says is followed is named somewhere.
func TestCitations(t *testing.T) {
	rows, err := Index()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]Row{}
	for _, r := range rows {
		if _, twice := known[r.Number]; twice {
			t.Errorf("RFC %s stands twice in the index", r.Number)
		}
		known[r.Number] = r
	}
	cited := map[string]bool{}
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() != ".." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !slices.Contains([]string{".go", ".txt", ".md"}, filepath.Ext(path)) || strings.HasSuffix(path, "rfc/index.txt") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range citation.FindAllStringSubmatch(string(text), -1) {
			if _, ok := known[m[1]]; !ok {
				t.Errorf("%s cites RFC %s, which is not in rfc/index.txt", path, m[1])
			}
			cited[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if (r.Status == "yes" || r.Status == "partly") && !cited[r.Number] {
			t.Errorf("the index says %q of RFC %s, but nothing cites it", r.Status, r.Number)
		}
	}
}
