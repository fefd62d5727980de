package conformance

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Listed reads which scripts a section of docs/conformance.md says a server fails: the lines
// that begin "- `name`: ".
func Listed(t testing.TB, page, section string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^- `([^`]+)`: (.+)$").FindAllStringSubmatch(rest, -1) {
		listed[m[1]] = m[2]
	}
	return listed
}

// Play plays every script below dir with a server as a test of its own. listed are
// those that the server fails, with the reason: one that fails and is not listed fails the
// test, and so does one that is listed and passes, or is not played; only a reason that
// begins with "at times" lets it pass, too. It gives the report.
func Play(t *testing.T, dir string, listed map[string]string, play func(name string) Result) *Report {
	t.Helper()
	names, err := Scripts(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	report := &Report{}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
		t.Run(name, func(t *testing.T) {
			result := play(name)
			report.Results = append(report.Results, result)
			why, fails := listed[name]
			var text strings.Builder
			result.Write(&text, true)
			switch {
			case result.Skipped != "" && fails:
				t.Errorf("it is not played (%s); the page says: %s", result.Skipped, why)
			case result.Skipped != "":
				t.Skip(result.Skipped)
			case result.Err != nil && !fails:
				t.Error("\n" + text.String())
			case result.Err != nil:
				t.Logf("%s\n%s", why, text.String())
			case strings.HasPrefix(why, "at times"):
			case fails:
				t.Errorf("it passes now; the page says: %s", why)
			}
		})
	}
	for name := range listed {
		if !known[name] {
			t.Error(fmt.Errorf("the page names a script that is not there: %s", name))
		}
	}
	return report
}
