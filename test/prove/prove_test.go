package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

func TestFigures(t *testing.T) {
	got := figuresOf("=== RUN\n    a_test.go:12: prove: cycles survived: 20\n    a_test.go:13: prove: cycles survived: 3\n    b_test.go:1: prove: mistakes noticed: 3 of 4\nok\n")
	if want := []figure{{"cycles survived", "23"}, {"mistakes noticed", "3 of 4"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestRun: a test of a row runs with what the row says, and fails where it would skip else.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds this test again")
	}
	t.Setenv("CI", "")
	t.Chdir(server.Root())
	p := proof{folder: "test/prove", tests: "^TestOfARow$", short: []string{"POSTERN_OF_A_ROW=short"}, shortLimit: time.Minute}
	figures, said, err := p.run(t.Context(), form{set: []string{"POSTERN_OF_A_ROW=set"}}, nil)
	if want := []figure{{"said", "set, CI=1"}}; err != nil || !slices.Equal(figures, want) {
		t.Errorf("%v, %v\n%s", figures, err, said)
	}
	if _, said, err = p.run(t.Context(), form{set: []string{"POSTERN_OF_A_ROW=skip"}}, nil); err == nil || !strings.Contains(err.Error(), "TestOfARow/part was skipped") {
		t.Errorf("what was skipped counts as proven: %v\n%s", err, said)
	}
}

// TestOfARow is run by TestRun.
func TestOfARow(t *testing.T) {
	said := os.Getenv("POSTERN_OF_A_ROW")
	if said == "skip" {
		t.Run("part", func(t *testing.T) { t.Skip("as it was told") })
	}
	if said != "" {
		t.Logf("prove: said: %s, CI=%s", said, os.Getenv("CI"))
	}
}

// TestRuns: what is written of a run is read again, and added up.
func TestRuns(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	r := ran{at: at, commit: "abc", took: 90 * time.Second, proven: true, promise: proofs[0].promise, figures: []figure{{"cycles survived", "1200"}, {"noticed", "3 of 4"}, {goesOn, "7"}}}
	broken := ran{at: at.AddDate(0, 0, 1), commit: "abd+", took: time.Second, promise: proofs[0].promise}
	list, err := readRuns(r.String() + r.String() + broken.String())
	if err != nil || len(list) != 3 || !reflect.DeepEqual(list[0], r) || !reflect.DeepEqual(list[2], broken) {
		t.Fatalf("%+v, %v", list, err)
	}
	want := "| " + proofs[0].promise + " | 3, 1 of them NOT PROVEN | 2026-01-02, 2026-01-03 | abc, abd+ | 0.05 | 2,400 of 10,000 | cycles survived: 2,400 |\n"
	if got := tableOf(list); !strings.HasSuffix(got, want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if _, err := readRuns("nothing\n"); err == nil {
		t.Error("a line that is no run is read")
	}
}

// TestParts: a part of a long form goes on where the last one that has proven something ended,
// and the promise of which the least is done comes first.
func TestParts(t *testing.T) {
	entry := func(p proof, proven bool, figures ...figure) ran {
		return ran{at: time.Now(), proven: proven, promise: p.promise, figures: figures}
	}
	find := func(text string) proof {
		list := chosen(form{only: text}, nil)
		if len(list) != 1 {
			t.Fatalf("%d promises say %q", len(list), text)
		}
		return list[0]
	}
	kills, calls, cuts := find("whenever the process is killed"), find("The n-th system call"), find("of a real file system")
	list := []ran{
		entry(kills, true, figure{kills.parts.figure, "10"}),
		entry(calls, true, figure{calls.parts.figure, "14"}, figure{goesOn, "fsync EIO"}),
		entry(calls, false, figure{calls.parts.figure, "14"}, figure{goesOn, "flock EINTR"}),
		entry(cuts, true, figure{cuts.parts.figure, "2001"}),
	}
	var order []string
	for _, p := range chosen(form{long: true, part: time.Minute}, list) {
		if p.parts.clock == "" || p.parts.goal == 0 || p.parts.figure == "" || p.promise == cuts.promise {
			t.Errorf("%s has no parts, or is done", p.promise)
		}
		order = append(order, p.promise)
	}
	if a, b := slices.Index(order, kills.promise), slices.Index(order, calls.promise); a < 0 || b < a {
		t.Errorf("the order is %q", order)
	}
	env, limit := calls.environment(form{long: true, part: 90 * time.Second, set: []string{"A=b"}}, list)
	for _, want := range append([]string{"POSTERN_SYSTEM_CALL_TIME=90", "POSTERN_SYSTEM_CALL_FROM=fsync EIO", "A=b"}, calls.long...) {
		if !slices.Contains(env, want) {
			t.Errorf("a part of %s does not have %s: %q", calls.promise, want, env)
		}
	}
	if limit < 90*time.Second || limit > time.Hour {
		t.Error("a part may take", limit)
	}
	if env, _ := kills.environment(form{}, list); !slices.Equal(env, kills.short) {
		t.Errorf("the short form has %q", env)
	}
}

// TestSums: what one row has not proven is not said to be zero.
func TestSums(t *testing.T) {
	var s sums
	s.add(proof{none: "lost, panics"}, []figure{{"cycles survived", "20"}, {"operations checked", "5"}}, true)
	s.add(proof{}, []figure{{holds + "idle, in the clear, POP3 (goal 8)", "6.1"}, {holds + "idle, in the clear, IMAP4 (goal 8)", "7.2"}, {holds + "literals, IMAP4 (goal 64)", "30.0"}}, true)
	s.add(proof{none: "lost"}, []figure{{"cycles survived", "3"}}, false)
	var out strings.Builder
	s.print(&out)
	for _, want := range []string{"2 of 3 promises", "cycles survived +23\n", "operations checked +5\n", "lost +NOT PROVEN\n", "panics +0\n", "in the clear +7.2\n", "attacks +30.0\n"} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "crossed over") || strings.Contains(out.String(), "over TLS") {
		t.Error(out.String())
	}
}

// TestPage: docs/reliability.md names every promise of the table, and the tests that the
// table names exist.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(server.Root() + "/docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := pageWith(server.Root()); err != nil || string(whole) != string(page) {
		t.Errorf("docs/reliability.md has not what runs.txt has (go run ./test/prove -page): %v", err)
	}
	for _, p := range proofs {
		for _, zero := range strings.Split(p.none, ", ") {
			if p.none != "" && !slices.Contains(zeros, zero) {
				t.Errorf("%s: there is no sum %q", p.promise, zero)
			}
		}
		if !strings.Contains(string(page), p.promise) {
			t.Errorf("docs/reliability.md does not say: %s", p.promise)
		}
		files, err := filepath.Glob(filepath.Join(server.Root(), p.folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		source := ""
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source += string(text)
		}
		// Each test that is named is there, and reads the variables that are set for it.
		for _, name := range regexp.MustCompile(`(Test|Fuzz)\w+`).FindAllString(p.tests, -1) {
			if !strings.Contains(source, "\nfunc "+name+"(") {
				t.Errorf("%s has no %s", p.folder, name)
			}
		}
		for _, variable := range slices.Concat(p.short, p.long) {
			if name, _, ok := strings.Cut(variable, "="); !ok || !strings.Contains(source, `"`+name+`"`) {
				t.Errorf("%s does not read %s", p.folder, variable)
			}
		}
		if p.tests != "" && p.tests != "^Test" && !regexp.MustCompile(`^\^(\w+|\(\w+(\|\w+)*\))\$$`).MatchString(p.tests) {
			t.Errorf("%s: %s may be other tests than it seems", p.promise, p.tests)
		}
	}
}
