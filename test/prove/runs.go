package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What was run is a line of runs.txt each: when, on which commit, how long it took, the
// promise and what was counted, with tabs between. Lines are only ever added.
const runs = "test/prove/runs.txt"

// The page has the sums of it, between these lines.
const (
	page     = "docs/reliability.md"
	runsFrom = "<!-- What was run: go run ./test/prove -page writes this. -->\n"
	runsTo   = "<!-- end of what was run -->\n"
)

// ran is a row of the table that was run.
type ran struct {
	at      time.Time
	commit  string
	took    time.Duration
	proven  bool
	promise string
	figures []figure
}

const notProven = "NOT PROVEN"

func (r ran) String() string {
	fields := []string{r.at.UTC().Format("2006-01-02T15:04Z"), r.commit, r.took.String(), r.promise}
	if !r.proven {
		fields = append(fields, notProven)
	}
	for _, f := range r.figures {
		fields = append(fields, f.name+"="+f.value)
	}
	return strings.Join(fields, "\t") + "\n"
}

// readRuns reads what String writes.
func readRuns(text string) ([]ran, error) {
	var out []ran
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) < 4 {
			return nil, fmt.Errorf("%s: %q is no run", runs, line)
		}
		r := ran{commit: fields[1], proven: true, promise: fields[3]}
		var err error
		if r.at, err = time.Parse("2006-01-02T15:04Z", fields[0]); err != nil {
			return nil, fmt.Errorf("%s: %w", runs, err)
		}
		if r.took, err = time.ParseDuration(fields[2]); err != nil {
			return nil, fmt.Errorf("%s: %w", runs, err)
		}
		for _, f := range fields[4:] {
			if f == notProven {
				r.proven = false
			} else if name, value, ok := strings.Cut(f, "="); ok {
				r.figures = append(r.figures, figure{name, value})
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// ledger reads what was run.
func ledger(root string) ([]ran, error) {
	text, err := os.ReadFile(filepath.Join(root, runs))
	if err != nil {
		return nil, err
	}
	return readRuns(string(text))
}

// of gives the runs of a promise, in their order.
func of(list []ran, promise string) (out []ran) {
	for _, r := range list {
		if r.promise == promise {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(x, y ran) int { return x.at.Compare(y.at) })
	return out
}

// counted adds up the figures of runs that have proven something, in the order in which they
// come first.
func counted(list []ran) (names []string, sums map[string]int64) {
	sums = map[string]int64{}
	for _, r := range list {
		for _, f := range r.figures {
			n, err := strconv.ParseInt(f.value, 10, 64)
			if err != nil || !r.proven || f.name == goesOn {
				continue
			}
			if !slices.Contains(names, f.name) {
				names = append(names, f.name)
			}
			sums[f.name] += n
		}
	}
	return names, sums
}

// done tells how much of the long form was run, 1 for all of it.
func (p proof) done(list []ran) float64 {
	if p.parts.goal == 0 {
		return 0
	}
	_, sums := counted(of(list, p.promise))
	return float64(sums[p.parts.figure]) / float64(p.parts.goal)
}

// next tells where the next part goes on; "" is the beginning. A part that failed is done again.
func (p proof) next(list []ran) (at string) {
	for _, r := range of(list, p.promise) {
		for _, f := range r.figures {
			if r.proven && f.name == goesOn {
				at = f.value
			}
		}
	}
	return at
}

// written are the files that change by recording what was run.
var written = []string{runs, page, "docs/fuzzing.md"}

// commit names what is run, with a "+" where it was changed.
func commit(ctx context.Context) string {
	name, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	but := []string{"status", "--porcelain", "--", "."}
	for _, file := range written {
		but = append(but, ":(exclude)"+file)
	}
	out := strings.TrimSpace(string(name))
	if changes, err := exec.CommandContext(ctx, "git", but...).Output(); err != nil || len(changes) > 0 {
		out += "+"
	}
	return out
}

// keep adds a run to runs.txt, and to the page.
func keep(root string, r ran) error {
	f, err := os.OpenFile(filepath.Join(root, runs), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(r.String()); err == nil {
		err = f.Close()
	}
	if err != nil {
		return err
	}
	return writePage(root)
}

// writePage writes the page's table anew.
func writePage(root string) error {
	text, err := pageWith(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, page), text, 0o644)
}

// pageWith gives the page as it should be.
func pageWith(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, err
	}
	before, rest, ok := bytes.Cut(text, []byte(runsFrom))
	_, after, ended := bytes.Cut(rest, []byte(runsTo))
	if !ok || !ended {
		return nil, fmt.Errorf("%s has no place for what was run", page)
	}
	list, err := ledger(root)
	if err != nil {
		return nil, err
	}
	return slices.Concat(before, []byte(runsFrom), []byte(tableOf(list)), []byte(runsTo), after), nil
}

// tableOf adds runs up, by promise, in the order of the table.
func tableOf(list []ran) string {
	var b strings.Builder
	b.WriteString("| Promise | Runs | From, to | Commits | Hours | Of the long form | Counted together |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, p := range proofs {
		mine := of(list, p.promise)
		if len(mine) == 0 {
			continue
		}
		var took time.Duration
		failed := 0
		var commits []string
		for _, r := range mine {
			took += r.took
			if !r.proven {
				failed++
			}
			if !slices.Contains(commits, r.commit) {
				commits = append(commits, r.commit)
			}
		}
		names, sums := counted(mine)
		var figures []string
		for _, name := range names {
			figures = append(figures, fmt.Sprintf("%s: %s", name, grouped(sums[name])))
		}
		number := strconv.Itoa(len(mine))
		if failed > 0 {
			number += fmt.Sprintf(", %d of them NOT PROVEN", failed)
		}
		long := ""
		if p.parts.goal > 0 {
			long = fmt.Sprintf("%s of %s", grouped(sums[p.parts.figure]), grouped(p.parts.goal))
		}
		fmt.Fprintf(&b, "| %s | %s | %s, %s | %s | %.2f | %s | %s |\n",
			p.promise, number, mine[0].at.Format(time.DateOnly), mine[len(mine)-1].at.Format(time.DateOnly), strings.Join(commits, ", "), took.Hours(), long, strings.Join(figures, "; "))
	}
	return b.String()
}

// grouped writes a number with commas.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
