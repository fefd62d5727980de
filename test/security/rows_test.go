package security

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/mistakes"
	"github.com/postern-mail/postern/test/server"
)

// classes is how many classes of faults docs/security.md has numbers for.
const classes = 25

// TestEveryRow: docs/security.md has every number, and for each fault that is made on
// purpose (package mistakes) its row names the test that must notice. With POSTERN_ROWS
// each is made, and the test fails; its value, when it is no number, is the name of one.
func TestEveryRow(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(server.Root(), "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[int]string{} // by number
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+)\. [^|]+\|[^|]+\|([^|]+)\|$`).FindAllStringSubmatch(string(page), -1) {
		n, _ := strconv.Atoi(row[1])
		named[n] += row[2] + ";"
	}
	for n := 1; n <= classes; n++ {
		if named[n] == "" {
			t.Errorf("docs/security.md has no row %d", n)
		}
	}
	var table []mistakes.Mistake
	for _, f := range mistakes.Security {
		table = append(table, f.Mistake)
		folder, names, _ := strings.Cut(f.Caught, " ")
		group := regexp.MustCompile("`"+folder+"` ([^;`]+)").FindAllString(named[f.Row], -1)
		found := strings.Contains(names, "TestTranscripts") && strings.Contains(strings.Join(group, ""), "transcript")
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(names, -1) {
			found = found || regexp.MustCompile(`\b`+name+`\b`).MatchString(strings.Join(group, ""))
		}
		if !found {
			t.Errorf("row %d names none of %s", f.Row, f.Caught)
		}
	}
	folder := t.TempDir()
	tests := mistakes.NewTests(folder, mistakes.OverlayOf(t, folder, table))
	t.Logf("prove: rows of docs/security.md: %d", len(named))
	only := os.Getenv("POSTERN_ROWS")
	if only == "" {
		t.Logf("prove: faults of others that are made on purpose, each with the test that notices: %d", len(table))
		return
	}
	_, err = strconv.Atoi(only)
	all := err == nil
	noticed, tried := 0, 0
	for _, f := range mistakes.Security {
		if !all && f.Name != only {
			continue
		}
		tried++
		t.Run(fmt.Sprintf("%d %s", f.Row, f.Name), func(t *testing.T) {
			if ok, said := tests.Notice(t, f.Mistake); !ok {
				t.Errorf("%s does not notice that %s:\n%s", f.Caught, f.What, said)
				return
			}
			noticed++
		})
	}
	t.Logf("prove: faults of others that were made on purpose, and noticed: %d of %d", noticed, tried)
}
