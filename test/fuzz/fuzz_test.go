package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// TestExposed runs the targets of the table for POSTERN_FUZZ_TIME each, and says how fast.
// Without it none is run: the seeds of each are, by its own package.
func TestExposed(t *testing.T) {
	text := os.Getenv("POSTERN_FUZZ_TIME")
	if text == "" {
		t.Skip("POSTERN_FUZZ_TIME is not set; the seeds are run by each target's package")
	}
	limit, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	executions, slowest := int64(0), int64(1<<62)
	processor := time.Duration(0)
	for _, target := range exposed {
		r, err := target.run(t.Context(), server.Root(), limit)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s: %v", target.folder, target.name, r)
		if r.fault != "" {
			t.Errorf("%s %s:\n%s", target.folder, target.name, r.fault)
		}
		// In some seconds most of the time is the seeds'.
		if r.speed() < wanted && limit >= time.Minute {
			t.Errorf("%s %s: %d executions a second, and %d are wanted", target.folder, target.name, r.speed(), wanted)
		}
		executions, processor, slowest = executions+r.executions, processor+r.processor, min(slowest, r.speed())
	}
	t.Logf("prove: fuzz targets run: %d", len(exposed))
	t.Logf("prove: inputs tried: %d", executions)
	t.Logf("prove: seconds of processor time spent on them: %.0f", processor.Seconds())
	t.Logf("prove: inputs a second of the slowest target: %d", slowest)
}

// TestTable: the targets of the table exist, and the page has a row of each.
func TestTable(t *testing.T) {
	targets, err := all(server.Root())
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(server.Root(), "docs/fuzzing.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := row.FindAllStringSubmatch(string(page), -1)
	for _, e := range exposed {
		if !slices.Contains(targets, target{folder: e.folder, name: e.name}) {
			t.Errorf("there is no target %s in %s", e.name, e.folder)
		}
		if !slices.ContainsFunc(rows, func(m []string) bool { return m[1] == e.folder && m[2] == e.name && m[3] == e.covers }) {
			t.Errorf("docs/fuzzing.md has no row of %s %s that says: %s", e.folder, e.name, e.covers)
		}
	}
	if len(rows) != len(exposed) {
		t.Errorf("docs/fuzzing.md has %d rows for %d targets", len(rows), len(exposed))
	}
}

func TestRead(t *testing.T) {
	r := read("fuzz: elapsed: 0s, gathering baseline coverage: 0/9 completed\nfuzz: elapsed: 3s, execs: 17234 (5744/sec), new interesting: 2 (total: 11)\nfuzz: elapsed: 4s, execs: 20000 (2/sec), new interesting: 3 (total: 12)\nPASS\n")
	if r.executions != 20000 || r.fresh != 3 {
		t.Errorf("%+v", r)
	}
	r.processor = 2 * time.Second
	if r.speed() != 10000 {
		t.Errorf("%d a second", r.speed())
	}
	if !ended("--- FAIL: FuzzX\n    context deadline exceeded\n") || ended("Failing input written to x\ncontext deadline exceeded") || ended("panic") {
		t.Error("what failed is not told from the clock")
	}
}

// TestEnter: figures are added to what the page says.
func TestEnter(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	one, other := target{"sasl", "FuzzX", "Texts | and more."}, target{"imap", "FuzzX", "Else."}
	before := other.row(1, 0, 0, 0, 0, "") + "\n" + one.row(1_999_999, 59*time.Second, 7, 3, 1, "abc") + "\n"
	if err := os.WriteFile(page, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := enter(page, server.Root(), one, result{executions: 1_000_001, processor: 2 * time.Second, fault: "x"}); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	m := row.FindAllStringSubmatch(string(after), -1)
	if len(m) != 2 || m[0][0] != other.row(1, 0, 0, 0, 0, "") || !slices.Equal(m[1][3:9], []string{"Texts | and more.", "3,000,000", "61", "500,000", "0", "2"}) {
		t.Errorf("%q", after)
	}
	if err := enter(page, server.Root(), target{"x", "FuzzY", ""}, result{}); err == nil {
		t.Error("a target without a row is taken")
	}
}

// TestTurns: the target that had the least processor time is next, none twice at once, once
// each without -for, and none again that found something.
func TestTurns(t *testing.T) {
	a, b := target{"imap", "FuzzA", ""}, target{"imap", "FuzzB", ""}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(a.row(1, 9*time.Second, 0, 0, 0, "abc")+"\n"+b.row(1, 8*time.Second, 0, 0, 0, "abc")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spent, err := spentSoFar(page, []target{a, b})
	if err != nil || spent[a] != 9*time.Second || spent[b] != 8*time.Second {
		t.Fatal(spent, err)
	}
	for _, whole := range []time.Duration{0, time.Hour} {
		r := &turns{targets: []target{a, b}, options: options{time: time.Minute, whole: whole}, began: time.Now(), spent: maps.Clone(spent), busy: map[target]bool{}, over: map[target]bool{}}
		for i, want := range []target{b, a, {}} {
			if got, _, ok := r.next(); got != want || ok != (i < 2) {
				t.Errorf("turn %d of %v is of %v", i, whole, got)
			}
		}
		if err := r.end(io.Discard, "", b, result{processor: 5 * time.Second}); err != nil {
			t.Error(err)
		}
		if err := r.end(io.Discard, "", a, result{processor: time.Second, fault: "x"}); err != nil {
			t.Error(err)
		}
		if got, _, ok := r.next(); ok != (whole > 0) || ok && got != b {
			t.Errorf("of %v then comes %v", whole, got)
		}
	}
	r := &turns{targets: []target{a}, options: options{time: time.Minute, whole: time.Minute}, began: time.Now().Add(-2 * time.Minute), busy: map[target]bool{}, over: map[target]bool{}}
	if _, _, ok := r.next(); ok {
		t.Error("there is a turn when the time is over")
	}
}
