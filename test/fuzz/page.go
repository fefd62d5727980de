package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// row is a line of the page's table: all that a target was run, and how fast the last time.
var row = regexp.MustCompile(`(?m)^\| ` + "`" + `(\S+)` + "`" + ` (\w+) \| (.*) \| ([\d,]+) \| (\d+) \| ([\d,]+) \| (\d+) \| (\d+) \| (\w*) \|$`)

// enter adds what came of a run to the row of its target, which the page must have.
func enter(page, root string, t target, r result) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	commit, err := exec.Command("git", "-C", root, "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return fmt.Errorf("the commit: %w", err)
	}
	seeds, err := os.ReadDir(filepath.Join(root, t.folder, "testdata/fuzz", t.name))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	entered := false
	after := row.ReplaceAllStringFunc(string(text), func(line string) string {
		m := row.FindStringSubmatch(line)
		if m[1] != t.folder || m[2] != t.name {
			return line
		}
		entered = true
		faults := number(m[8])
		if r.fault != "" {
			faults++
		}
		return t.row(number(m[4])+r.executions, time.Duration(number(m[5]))*time.Second+r.processor, r.speed(), len(seeds), faults, strings.TrimSpace(string(commit)))
	})
	if !entered {
		return fmt.Errorf("%s has no row of %s %s", page, t.folder, t.name)
	}
	return os.WriteFile(page, []byte(after), 0o644)
}

// spentSoFar gives the processor time that the page says of targets.
func spentSoFar(page string, targets []target) (map[target]time.Duration, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	spent := map[target]time.Duration{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		for _, t := range targets {
			if m[1] == t.folder && m[2] == t.name {
				spent[t] = time.Duration(number(m[5])) * time.Second
			}
		}
	}
	return spent, nil
}

// row writes the line of a target.
func (t target) row(executions int64, processor time.Duration, speed int64, seeds int, faults int64, commit string) string {
	return fmt.Sprintf("| `%s` %s | %s | %s | %d | %s | %d | %d | %s |", t.folder, t.name, t.covers, grouped(executions), int64(processor.Seconds()+0.5), grouped(speed), seeds, faults, commit)
}

// number reads one with commas.
func number(s string) int64 {
	n, _ := strconv.ParseInt(strings.ReplaceAll(s, ",", ""), 10, 64)
	return n
}

// grouped writes a number with commas.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
