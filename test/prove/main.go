// Command prove runs the tests of docs/reliability.md and prints what they counted: a few
// minutes, or with -long as long as a machine is left alone with it. A test says what it
// counted in lines of its log,
//
//	prove: cycles survived: 200
//
// and each row of the table says which tests those are and what makes them long. At the end
// stand the sums.
//
// With -record what was run is added to runs.txt, so that long runs add up over days, and
// the table of it in docs/reliability.md is written anew. A long form that takes longer than
// the machine is free is done in parts:
//
//	go run ./test/prove -long -time 20m -record                          each that has parts, the least done first
//	go run ./test/prove -long -time 20m -record -only "power is cut"     parts of these
//
// Each part goes on where the one before ended, or has a seed of its own.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// proof is a row of the table.
type proof struct {
	promise string // as in docs/reliability.md
	folder  string
	tests   string // as -run takes them; "" are all
	none    string // what there is none of when it is kept: words of zeros, with commas between
	// What the environment says in each form, as NAME=VALUE, and how long it may take where
	// that is more than leastLimit.
	short, long           []string
	shortLimit, longLimit time.Duration
	parts                 parts
}

// leastLimit is what every row has, in either form. A limit is there to end what hangs, and not
// what runs on a small machine that does other things as well.
const leastLimit = 10 * time.Minute

// parts say how a long form is done in parts; the zero value is one that is not.
type parts struct {
	// clock is the environment's variable that says for how many seconds a part goes on.
	clock string
	// from is the variable that says where a part begins: as the figure goesOn of the part
	// before says. "" where parts differ by their seeds.
	from string
	// The parts together count up to goal of figure.
	figure string
	goal   int64
}

// goesOn is the figure that says where the next part begins.
const goesOn = "goes on at"

func main() {
	long := flag.Bool("long", false, "the long form: hours")
	only := flag.String("only", "", "only the promises that hold this text")
	record := flag.Bool("record", false, "add what was run to test/prove/runs.txt and docs/reliability.md")
	part := flag.Duration("time", 0, "of the long form a part that takes so long")
	page := flag.Bool("page", false, "run nothing; write the table of docs/reliability.md anew")
	var set []string
	flag.Func("set", "`NAME=VALUE` of the environment, instead of a row's", func(s string) error {
		set = append(set, s)
		return nil
	})
	flag.Parse()
	if *part > 0 && !*long {
		fmt.Fprintln(os.Stderr, "prove: parts are of the long form: -long")
		os.Exit(2)
	}
	if *page {
		if err := writePage("."); err != nil {
			fmt.Fprintln(os.Stderr, "prove:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, form{*long, *only, *record, *part, set}); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

// figure is what a test counted.
type figure struct {
	name  string
	value string
}

// form is what is run of the table, and how.
type form struct {
	long   bool
	only   string
	record bool
	part   time.Duration // 0: all
	set    []string
}

// run proves one row after the other, all of them.
func run(ctx context.Context, out io.Writer, how form) error {
	before, err := ledger(".")
	if err != nil {
		return err
	}
	failed := 0
	var sum sums
	for _, p := range chosen(how, before) {
		if ctx.Err() != nil {
			break
		}
		began, on := time.Now(), commit(ctx)
		fmt.Fprintf(out, "%s\n", p.promise)
		figures, said, err := p.run(ctx, how, before)
		if ctx.Err() != nil {
			break // interrupted: neither proven nor not
		}
		for _, f := range figures {
			fmt.Fprintf(out, "    %-60s %12s\n", f.name, f.value)
		}
		if err != nil {
			failed++
			fmt.Fprintf(out, "    NOT PROVEN: %v\n%s\n", err, said)
		}
		took := time.Since(began).Round(time.Second)
		fmt.Fprintf(out, "    %v\n", took)
		sum.add(p, figures, err == nil)
		if how.record {
			if err := keep(".", ran{at: began, commit: on, took: took, proven: err == nil, promise: p.promise, figures: figures}); err != nil {
				return err
			}
		}
	}
	sum.print(out)
	if failed > 0 {
		return fmt.Errorf("%d of the promises are not kept", failed)
	}
	return ctx.Err()
}

// chosen gives the rows that are run, in the order of the table; of what is done in parts
// those first of which the least was done, and none that is done, unless it is named.
func chosen(how form, list []ran) (out []proof) {
	for _, p := range proofs {
		if strings.Contains(p.promise, how.only) && (how.part == 0 || p.parts.clock != "" && (how.only != "" || p.done(list) < 1)) {
			out = append(out, p)
		}
	}
	if how.part > 0 {
		slices.SortStableFunc(out, func(x, y proof) int { return cmp.Compare(x.done(list), y.done(list)) })
	}
	return out
}

// environment gives what the environment says, and how long the tests may take.
func (p proof) environment(how form, list []ran) (env []string, limit time.Duration) {
	env, limit = p.short, p.shortLimit
	if how.long {
		env, limit = p.long, p.longLimit
	}
	if how.part > 0 {
		// What is under way when the time is over is ended.
		env, limit = append(slices.Clone(env), fmt.Sprintf("%s=%.0f", p.parts.clock, how.part.Seconds())), how.part+20*time.Minute
		if at := p.next(list); p.parts.from != "" && at != "" {
			env = append(env, p.parts.from+"="+at)
		}
	}
	return append(env, how.set...), limit
}

// run runs the row's tests, after those in list.
func (p proof) run(ctx context.Context, how form, list []ran) (figures []figure, said string, err error) {
	env, limit := p.environment(how, list)
	goCommand := os.Getenv("GO")
	if goCommand == "" {
		goCommand = "go"
	}
	cmd := exec.CommandContext(ctx, goCommand, "test", "-count=1", "-v", "-timeout", max(limit, leastLimit).String(), "-run", p.tests, "./"+p.folder)
	// Where something is missing a test must fail, as in CI. Without cgo the tests are compiled
	// as the program that they start, and as a release is: once.
	cmd.Env = slices.Concat(os.Environ(), []string{"CI=1", "CGO_ENABLED=0"}, env)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	err = cmd.Run()
	said = text.String()
	figures = figuresOf(said)
	switch list := skipped.FindAllStringSubmatch(said, -1); {
	case err != nil:
	case len(list) > 0:
		err = fmt.Errorf("%s was skipped, with %d more: that is no proof", list[0][1], len(list)-1)
	case len(figures) == 0:
		err = errors.New("the tests have counted nothing")
	}
	return figures, said, err
}

var skipped = regexp.MustCompile(`(?m)^\s*--- SKIP: (\S+)`)

var line = regexp.MustCompile(`(?:^|\s)prove: (.+): (\S.*)$`)

// figuresOf finds what tests counted. What several count under one name is added up.
func figuresOf(log string) []figure {
	var out []figure
	place := map[string]int{}
	s := bufio.NewScanner(strings.NewReader(log))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		m := line.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		i, known := place[m[1]]
		if !known {
			place[m[1]] = len(out)
			out = append(out, figure{m[1], m[2]})
			continue
		}
		a, err1 := strconv.ParseInt(out[i].value, 10, 64)
		b, err2 := strconv.ParseInt(m[2], 10, 64)
		if err1 == nil && err2 == nil {
			out[i].value = strconv.FormatInt(a+b, 10)
		}
	}
	return out
}
