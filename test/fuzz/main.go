// Command fuzz runs fuzz targets one after the other, or several at once, each by one worker,
// and says for each how many inputs were tried, how fast, and what was found. It ends with 1
// when something was; the input that shows it stands in the target's testdata/fuzz then.
//
//	go run ./test/fuzz                           every target of the tree, 30 seconds each
//	go run ./test/fuzz -exposed -time 1h         those of table.go
//	go run ./test/fuzz -exposed -page docs/fuzzing.md   and enters the figures there,
//	                                             the target with the least processor time first
//	go run ./test/fuzz -exposed -page docs/fuzzing.md -time 10m -for 3h -at-once 2   in turns of ten minutes, for three hours
//	go run ./test/fuzz -exposed -keep            keeps as seeds what fuzzing found to be new
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	var o options
	flag.DurationVar(&o.time, "time", 30*time.Second, "how long each target is run, or a turn of it")
	flag.DurationVar(&o.whole, "for", 0, "how long targets are run in turns; once each when it is not said")
	flag.IntVar(&o.atOnce, "at-once", 1, "how many targets are run at the same time")
	flag.BoolVar(&o.exposed, "exposed", false, "only the targets of the table")
	flag.StringVar(&o.only, "only", "", "only the targets whose folder and name hold this text")
	flag.StringVar(&o.page, "page", "", "enter the figures into this page")
	flag.BoolVar(&o.keep, "keep", false, "do not fuzz: keep as seeds what earlier runs found")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, ".", o); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

type options struct {
	time, whole   time.Duration
	atOnce        int
	exposed, keep bool
	only, page    string
}

// run runs the targets of the tree at root.
func run(ctx context.Context, out io.Writer, root string, o options) error {
	targets, err := all(root)
	if err != nil {
		return err
	}
	if o.exposed {
		targets = exposed
	}
	targets = slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return !strings.Contains(t.folder+" "+t.name, o.only) })
	if o.keep {
		for _, t := range targets {
			if err := t.keep(ctx, out, root); err != nil {
				return fmt.Errorf("%s %s: %w", t.folder, t.name, err)
			}
		}
		return ctx.Err()
	}
	r := &turns{targets: targets, options: o, began: time.Now(), spent: map[target]time.Duration{}, busy: map[target]bool{}, over: map[target]bool{}}
	if o.page != "" {
		if r.spent, err = spentSoFar(filepath.Join(root, o.page), targets); err != nil {
			return err
		}
	}
	var work errgroup.Group
	for range max(1, o.atOnce) {
		work.Go(func() error {
			for ctx.Err() == nil {
				t, limit, ok := r.next()
				if !ok {
					return nil
				}
				came, err := t.run(ctx, root, limit)
				if err == nil {
					err = r.end(out, root, t, came)
				}
				if err != nil {
					return fmt.Errorf("%s %s: %w", t.folder, t.name, err)
				}
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if r.found > 0 {
		return fmt.Errorf("%d runs found something", r.found)
	}
	return ctx.Err()
}

// turns says which target is run next: the one that had the least processor time.
type turns struct {
	targets []target
	options options
	began   time.Time

	mu         sync.Mutex
	spent      map[target]time.Duration
	busy, over map[target]bool
	found      int
}

// shortest is a turn that is worth its start.
const shortest = 5 * time.Second

// next gives the target that is next, and for how long; false when there is none.
func (r *turns) next() (t target, limit time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit = r.options.time; r.options.whole > 0 {
		if limit = min(limit, r.options.whole-time.Since(r.began)); limit < min(shortest, r.options.time) {
			return t, 0, false
		}
	}
	for _, x := range r.targets {
		if !r.busy[x] && !r.over[x] && (!ok || r.spent[x] < r.spent[t]) {
			t, ok = x, true
		}
	}
	r.busy[t] = ok
	return t, limit, ok
}

// end takes what came of a turn.
func (r *turns) end(out io.Writer, root string, t target, came result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[t], r.over[t] = false, r.options.whole == 0
	r.spent[t] += came.processor
	fmt.Fprintf(out, "%-20s %-24s %v\n", t.folder, t.name, came)
	if came.fault != "" {
		r.found++
		r.over[t] = true // it would be found again
		fmt.Fprintln(out, came.fault)
	}
	if r.options.page == "" {
		return nil
	}
	return enter(filepath.Join(root, r.options.page), root, t, came)
}

// all gives the targets of the tree, by folder and name.
func all(root string) ([]target, error) {
	var out []target
	text, err := exec.Command("grep", "-rE", "--include=*_test.go", `^func Fuzz\w*\(f `, root).Output()
	if err != nil {
		return nil, fmt.Errorf("looking for targets: %w", err)
	}
	line := regexp.MustCompile(`(?m)^(.*)/[^/:]+:func (\w+)`)
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		folder, err := filepath.Rel(root, m[1])
		if err != nil {
			return nil, err
		}
		out = append(out, target{folder: folder, name: m[2]})
	}
	slices.SortFunc(out, func(a, b target) int { return strings.Compare(a.folder+" "+a.name, b.folder+" "+b.name) })
	return out, nil
}

// result is what came of a run.
type result struct {
	executions int64
	elapsed    time.Duration // of the fuzzing
	processor  time.Duration // user and system, of all processes, without building
	fresh      int           // inputs that led to code that none before did
	fault      string        // what the target said when it failed; "" when it did not
}

// speed is executions in a second of processor time: one worker keeps about one core busy,
// and others on the machine do not count.
func (r result) speed() int64 {
	return int64(float64(r.executions) / max(r.processor.Seconds(), 0.001))
}

func (r result) String() string {
	s := fmt.Sprintf("%10d executions, %7d a second, %4d new, %v", r.executions, r.speed(), r.fresh, r.elapsed.Round(time.Second))
	if r.fault != "" {
		s += ", FAILED"
	}
	return s
}

// goCommand is go, or what the environment says.
func goCommand() string {
	if s := os.Getenv("GO"); s != "" {
		return s
	}
	return "go"
}

// output runs the go command in root and gives what it said.
func output(ctx context.Context, root string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, goCommand(), args...)
	cmd.Dir = root
	said, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("go %s: %w\n%s%s", args[0], err, said, failed.Stderr)
	}
	return strings.TrimSpace(string(said)), err
}

// cache is the folder where Go keeps what fuzzing found of a target.
func (t target) cache(ctx context.Context, root string) (string, error) {
	path, err := output(ctx, root, "list", "./"+t.folder)
	if err != nil {
		return "", err
	}
	cache, err := output(ctx, root, "env", "GOCACHE")
	return filepath.Join(cache, "fuzz", path), err
}

// build builds the package's test into a folder of its own, which done removes.
func (t target) build(ctx context.Context, root string, flags ...string) (binary string, done func(), err error) {
	dir, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	binary = filepath.Join(dir, "fuzz.test")
	if _, err := output(ctx, root, slices.Concat([]string{"test", "-c", "-vet=off", "-o", binary}, flags, []string{"./" + t.folder})...); err != nil {
		done()
		return "", nil, err
	}
	return binary, done, nil
}

// run fuzzes for so long. The error says that it could not.
func (t target) run(ctx context.Context, root string, limit time.Duration) (result, error) {
	module, err := output(ctx, root, "list", "-m")
	if err != nil {
		return result{}, err
	}
	// go test -fuzz has every package counted through which an input leads, the compression of
	// a database that only other tests open, too, and after each input the fuzzer goes through all
	// counters: most of its time. Those of this module alone make it up to 20 times as fast.
	binary, done, err := t.build(ctx, root, "-gcflags", module+"/...=-d=libfuzzer")
	if err != nil {
		return result{}, err
	}
	defer done()
	cache, err := t.cache(ctx, root)
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.fuzz", "^"+t.name+"$", "-test.fuzztime", limit.String(), "-test.fuzzminimizetime", "10x", "-test.parallel", "1", "-test.fuzzcachedir", cache)
	cmd.Dir = filepath.Join(root, t.folder)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	err = cmd.Run()
	r := read(said.String())
	r.elapsed = time.Since(began)
	if cmd.ProcessState != nil {
		r.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil && ctx.Err() == nil && !ended(said.String()) {
		r.fault = said.String()
	}
	return r, nil
}

// ended tells that nothing failed but the fuzzer's own clock, which ran out while an input
// was under way.
func ended(said string) bool {
	return strings.Contains(said, "context deadline exceeded") && !strings.Contains(said, "Failing input")
}

var progress = regexp.MustCompile(`elapsed: .*execs: (\d+).*new interesting: (\d+)`)

// read finds what the fuzzer counted.
func read(said string) (r result) {
	s := bufio.NewScanner(strings.NewReader(said))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		if m := progress.FindStringSubmatch(s.Text()); m != nil {
			r.executions, _ = strconv.ParseInt(m[1], 10, 64)
			r.fresh, _ = strconv.Atoi(m[2])
		}
	}
	return r
}
