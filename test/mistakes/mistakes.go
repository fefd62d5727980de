// Package mistakes builds a Postern that makes mistakes on purpose, one at a time, so that
// tests can show that they would notice. They are rows of search and replace that go
// build's -overlay puts over the source: no file of the tree changes, and no release has
// them. POSTERN_MISTAKE says which one a program makes. A row whose text is not in its
// file any more, or more than once, fails.
package mistakes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/clock"
	"github.com/postern-mail/postern/test/server"
)

// Mistake is a row of the table.
type Mistake struct {
	Name string // as in POSTERN_MISTAKE
	What string // what goes wrong
	File string // below the module's root
	// Old stands in File once, and New takes its place. There, mistake(Name) tells
	// whether the program makes it, and sometimes(Name, n) the same once in n calls.
	Old, New string
	// Caught is what must notice: History, Clock, or a package and the tests of it, with a
	// space between.
	Caught string
}

const (
	// History says that package history notices.
	History = "history"
	// Clock says that it does while the machine's clock is set.
	Clock = "history with a clock"
)

// Env makes a program make the mistake.
func (m Mistake) Env() string { return "POSTERN_MISTAKE=" + m.Name }

// asked is added to every package that makes mistakes.
const asked = `package %s

import (
	"math/rand/v2"
	"os"
)

var mistakeMade = os.Getenv("POSTERN_MISTAKE")

func mistake(name string) bool { return mistakeMade == name }

func sometimes(name string, n int) bool { return mistakeMade == name && rand.IntN(n) == 0 }

// mistakeRun is a number that each run of the program has another of.
var mistakeRun = uint32(os.Getpid()%%100000) + 1

var _, _, _ = mistake, sometimes, mistakeRun
`

// Overlay writes the mistaken files of Table into folder, and gives the path of what go's
// -overlay takes. The program has a clock that can be set, too (package clock).
func Overlay(t testing.TB, folder string) string {
	t.Helper()
	return overlayOf(t, folder, Table, clock.Files())
}

// OverlayOf is Overlay for another table, and without the clock.
func OverlayOf(t testing.TB, folder string, table []Mistake) string {
	t.Helper()
	return overlayOf(t, folder, table, nil)
}

func overlayOf(t testing.TB, folder string, table []Mistake, more map[string]string) string {
	t.Helper()
	files := map[string]string{}
	for _, m := range table {
		if files[m.File] == "" {
			text, err := os.ReadFile(filepath.Join(server.Root(), m.File))
			if err != nil {
				t.Fatal(err)
			}
			files[m.File] = string(text)
			dir := filepath.Dir(m.File)
			files[dir+"/mistake_on_purpose.go"] = fmt.Sprintf(asked, filepath.Base(dir))
		}
		if n := strings.Count(files[m.File], m.Old); n != 1 {
			t.Fatalf("the mistake %q: its text stands %d times in %s", m.Name, n, m.File)
		}
		files[m.File] = strings.Replace(files[m.File], m.Old, m.New, 1)
	}
	maps.Copy(files, more)
	path, err := server.Overlay(folder, files)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Build builds the program in folder and gives its path.
func Build(t testing.TB, folder, overlay string) string {
	t.Helper()
	path := filepath.Join(folder, "postern")
	if err := server.Build(path, "-overlay", overlay); err != nil {
		t.Fatalf("building the mistakes: %v", err)
	}
	return path
}

// Tests are the tests of packages, built with an overlay, each package once.
type Tests struct {
	folder, overlay string
	programs        map[string]string // by package
	sound           map[string]bool   // Caught of Mistakes without which they have passed
}

// NewTests builds into folder what is asked for.
func NewTests(folder, overlay string) *Tests {
	return &Tests{folder, overlay, map[string]string{}, map[string]bool{}}
}

// Notice runs the tests that must notice a mistake, with it, and tells whether they do and
// what they say. Without it they pass: that is seen first.
func (x *Tests) Notice(t testing.TB, m Mistake) (noticed bool, said string) {
	t.Helper()
	if !x.sound[m.Caught] {
		if failed, said := x.run(t, m.Caught, Mistake{}.Env()); failed {
			t.Fatalf("%s fails without a mistake:\n%s", m.Caught, said)
		}
		x.sound[m.Caught] = true
	}
	return x.run(t, m.Caught, m.Env())
}

// testTime bounds what the tests of one row may take.
const testTime = 5 * time.Minute

// run runs tests, with one more line of the environment, and tells whether they fail.
func (x *Tests) run(t testing.TB, caught, env string) (failed bool, said string) {
	t.Helper()
	folder, tests, _ := strings.Cut(caught, " ")
	if x.programs[folder] == "" {
		program := filepath.Join(x.folder, strings.ReplaceAll(folder, "/", "-")+".test")
		cmd := exec.Command("go", "test", "-c", "-overlay", x.overlay, "-o", program, "./"+folder)
		cmd.Dir = server.Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the tests of %s: %v\n%s", folder, err, out)
		}
		x.programs[folder] = program
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTime+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, x.programs[folder], "-test.run", tests, "-test.timeout", testTime.String())
	cmd.Dir = filepath.Join(server.Root(), folder)
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) || strings.Contains(string(out), "no tests to run") {
		t.Fatalf("%s: %v\n%s", caught, err, out)
	}
	return err != nil, string(out)
}
