// Command mutate changes the login policy, one place at a time, and runs the tests that
// must notice. Every condition is negated, made true and made false; every constant of
// the policy and of the table of mechanisms is swapped for others; assignments are left
// out, refusals turned into permissions. All mutants are built into one program, by go
// build's -overlay: no file of the tree changes. First come the tests of the packages
// themselves, then those of test/policy, on a running server over real TLS.
//
// A mutant that nobody notices is an error, unless equivalent.txt says why it changes
// nothing; so is a line there that is not needed.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

func main() {
	short := flag.Bool("short", false, "only the tests of the packages themselves")
	only := flag.String("only", "", "only the mutants whose names hold this text")
	flag.Parse()
	root, err := moduleRoot()
	if err == nil {
		err = run(context.Background(), os.Stdout, root, options{short: *short, only: *only})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func moduleRoot() (string, error) {
	out, err := exec.Command(goCommand(), "env", "GOMOD").Output()
	return filepath.Dir(strings.TrimSpace(string(out))), err
}

// goCommand is $GO, or go.
func goCommand() string {
	if g := os.Getenv("GO"); g != "" {
		return g
	}
	return "go"
}

// form is a set of tests that must notice, in the order in which they are run.
type form struct {
	name  string
	of    func(mutant) bool
	limit time.Duration // of one run
	runs  []testRun
}

// testRun is tests of a package, as -test.run takes them.
type testRun struct{ folder, tests string }

var forms = []form{
	{"process", func(mutant) bool { return true }, 30 * time.Second, []testRun{
		// First those that are tables of the policy: they notice most, and soon.
		{"auth", "^(TestPermits|TestPermitsDefaultDeny|TestProtects|TestDecisionText|TestWhichRuleDecides|TestOrderOfEffective|TestWhatIsProved|TestRulesKnowThemselves|" +
			"TestNeeds|TestRefusalsAreRecorded|TestMechanismsAreSettings|TestAuthMechanisms|TestStripped|TestPolicyBeforeTheName)$"},
		{"auth", ""}, {"sasl", ""}, {"settings", ""},
	}},
	{"server", func(m mutant) bool { return m.served }, 3 * time.Minute, []testRun{
		{"test/policy", "^(TestMatrix|TestExtendedProtection|TestAuthMechanisms|TestChannelBinding|TestClientCertificates|TestLiveChange|TestMutations|TestProtectionMutations)$"},
	}},
}

// options choose what is tried.
type options struct {
	short bool   // only the tests of the packages themselves
	core  bool   // only the mutants of the policy's own functions and tables
	only  string // only the mutants whose names hold this text
}

func (o options) has(m mutant) bool { return strings.Contains(m.name, o.only) && (m.core || !o.core) }

// run mutates the tree below root.
func run(ctx context.Context, out io.Writer, root string, o options) error {
	m, err := mutate(root)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "postern-mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	overlay, err := m.overlay(root, folder)
	if err != nil {
		return err
	}
	known, err := equivalents(filepath.Join(root, "test", "mutate", "equivalent.txt"))
	if err != nil {
		return err
	}
	wrong := 0
	for _, f := range forms {
		if o.short && f.name != "process" {
			break
		}
		began := time.Now()
		programs := map[string]string{} // by folder
		for _, r := range f.runs {
			if programs[r.folder] != "" {
				continue
			}
			program := filepath.Join(folder, strings.ReplaceAll(r.folder, "/", "-")+".test")
			build := exec.CommandContext(ctx, goCommand(), "test", "-c", "-overlay", overlay, "-o", program, "./"+r.folder)
			build.Dir = root
			if said, err := build.CombinedOutput(); err != nil {
				return fmt.Errorf("building the mutants of %s: %w\n%s", r.folder, err, said)
			}
			programs[r.folder] = program
		}
		built := time.Since(began)
		try := func(id int) (noticed bool, said string, err error) {
			for _, r := range f.runs {
				if noticed, said, err = play(ctx, f.limit, programs[r.folder], filepath.Join(root, r.folder), r.tests, id); noticed || err != nil {
					break
				}
			}
			return noticed, said, err
		}
		if noticed, said, err := try(0); noticed || err != nil {
			return fmt.Errorf("the tests fail without a mutant: %w\n%s", err, said)
		}
		var list []mutant
		for _, each := range m.mutants {
			if f.of(each) && o.has(each) {
				list = append(list, each)
			} else {
				delete(known, f.name+"\t"+each.name) // whether it is needed is not known
			}
		}
		survivors, err := playAll(list, try)
		if err != nil {
			return err
		}
		excused := 0
		for _, s := range survivors {
			key := f.name + "\t" + s.name
			if known[key] {
				excused++
				delete(known, key)
				continue
			}
			wrong++
			fmt.Fprintf(out, "%s: nobody notices %s\n", f.name, s.name)
		}
		for key := range known {
			if strings.HasPrefix(key, f.name+"\t") {
				wrong++
				fmt.Fprintf(out, "equivalent.txt: not needed, or of no mutant: %s\n", key)
			}
		}
		fmt.Fprintf(out, "%s: %d mutants, %d noticed, %d of the rest change nothing, %d unnoticed (built in %v, run in %v)\n", f.name, len(list), len(list)-len(survivors),
			excused, len(survivors)-excused, built.Round(time.Second), (time.Since(began) - built).Round(time.Second))
	}
	if wrong > 0 {
		return fmt.Errorf("%d mutants or lines of equivalent.txt are wrong", wrong)
	}
	return nil
}

// overlay writes the mutated files into folder, and the file for go build's -overlay.
func (m *mutation) overlay(root, folder string) (string, error) {
	replace := map[string]string{}
	for path, source := range m.files {
		file := filepath.Join(folder, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(file, source, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, path)] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// play runs a program's tests with one mutant alive, 0 for none. It has been noticed
// when they fail, or do not end.
func play(ctx context.Context, limit time.Duration, program, folder, tests string, id int) (noticed bool, said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// TestNotices fails by itself now and then, which must not count as noticed.
	arguments := []string{"-test.short", "-test.failfast", "-test.skip", "^TestNotices$"}
	if tests != "" {
		arguments = append(arguments, "-test.run", tests)
	}
	c := exec.CommandContext(ctx, program, arguments...)
	c.Dir = folder
	c.Env = append(os.Environ(), fmt.Sprintf("POSTERN_MUTANT=%d", id))
	var text bytes.Buffer
	c.Stdout, c.Stderr = &text, &text
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false, "", nil
	case errors.As(err, &exit):
		return true, text.String(), nil
	}
	return false, "", err
}

// playAll gives the mutants that try does not notice.
func playAll(list []mutant, try func(int) (bool, string, error)) ([]mutant, error) {
	noticed := make([]bool, len(list))
	errs := make([]error, len(list))
	work := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range work {
				noticed[i], _, errs[i] = try(list[i].id)
			}
		})
	}
	for i := range list {
		work <- i
	}
	close(work)
	wg.Wait()
	var survivors []mutant
	for i, m := range list {
		if !noticed[i] {
			survivors = append(survivors, m)
		}
	}
	return survivors, errors.Join(errs...)
}

// equivalents reads the mutants that change nothing which a form's tests could notice:
// lines of form, name and reason with tabs between.
func equivalents(path string) (map[string]bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	known := map[string]bool{}
	s := bufio.NewScanner(file)
	for s.Scan() {
		line := s.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 || strings.TrimSpace(fields[2]) == "" || known[fields[0]+"\t"+fields[1]] {
			return nil, fmt.Errorf("%s: %q is not form, mutant and reason, or is there twice", path, line)
		}
		known[fields[0]+"\t"+fields[1]] = true
	}
	return known, s.Err()
}
