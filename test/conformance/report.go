package conformance

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Fault is what a server did otherwise than a script expects.
type Fault struct {
	Line    int    // of the script; 0 before its first command
	Command string // as the script has it
	What    string
	Want    []string // what the script expects; nil when What says all
	Got     []string // what came nearest to it
}

func (f *Fault) Error() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: %s: ", f.Line, f.Command)
	}
	b.WriteString(f.What)
	for _, s := range f.Want {
		b.WriteString("\n    expected  " + s)
	}
	for _, s := range f.Got {
		b.WriteString("\n    got       " + s)
	}
	return b.String()
}

// Result is how a script ended.
type Result struct {
	Name    string
	About   string // what it shows, its first comment
	Skipped string // why it was not played; "" when it was
	Err     error  // a *Fault, or why it could not be played
	Said    []string
	Took    time.Duration
}

// Report is how all scripts ended, in their order.
type Report struct{ Results []Result }

// Counts gives how many passed, failed and were skipped.
func (r *Report) Counts() (passed, failed, skipped int) {
	for _, x := range r.Results {
		switch {
		case x.Err != nil:
			failed++
		case x.Skipped != "":
			skipped++
		default:
			passed++
		}
	}
	return passed, failed, skipped
}

// Sum is the last line of a report.
func (r *Report) Sum() string {
	passed, failed, skipped := r.Counts()
	return fmt.Sprintf("%d scripts: %d passed, %d failed, %d skipped", len(r.Results), passed, failed, skipped)
}

// Write tells a person how a script ended; with verbose also what passed, and what was
// said where something failed.
func (x *Result) Write(w io.Writer, verbose bool) {
	switch {
	case x.Err != nil:
		fmt.Fprintf(w, "FAIL  %s\n", x.Name)
		if x.About != "" {
			fmt.Fprintf(w, "    %s\n", x.About)
		}
		fmt.Fprintf(w, "    %s\n", x.Err)
		if verbose {
			fmt.Fprintf(w, "    what was said last:\n      %s\n", strings.Join(x.Said, "\n      "))
		}
	case x.Skipped != "":
		fmt.Fprintf(w, "skip  %s: %s\n", x.Name, x.Skipped)
	case verbose:
		fmt.Fprintf(w, "ok    %s (%d ms)\n", x.Name, x.Took.Milliseconds())
	}
}
