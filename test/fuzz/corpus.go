package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// seedBytes and corpusBytes bound a seed that is kept, and all of a target.
	seedBytes   = 4 << 10
	corpusBytes = 32 << 10
)

// keep copies to the target's testdata/fuzz what fuzzing found: the smallest first, as long as
// an input leads to a place in the code that none before did. What stands there stays.
func (t target) keep(ctx context.Context, out io.Writer, root string) error {
	cache, err := t.cache(ctx, root)
	if err != nil {
		return err
	}
	path, err := output(ctx, root, "list", "-m")
	if err != nil {
		return err
	}
	binary, done, err := t.build(ctx, root, "-cover", "-coverpkg", path+"/...")
	if err != nil {
		return err
	}
	defer done()
	folder := filepath.Join(root, t.folder, "testdata/fuzz", t.name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	defer os.Remove(folder) // if it is empty
	here, bytes, err := files(folder)
	if err != nil {
		return err
	}
	there, _, err := files(filepath.Join(cache, t.name))
	if err != nil {
		return err
	}
	reached := map[string]bool{}
	_, err = t.reach(ctx, root, binary, "(seed#.*", here, reached)
	if err != nil {
		return err
	}
	kept := 0
	for _, f := range there {
		name := filepath.Base(f.path)
		if slices.ContainsFunc(here, func(h file) bool { return filepath.Base(h.path) == name }) || f.size > seedBytes || bytes+f.size > corpusBytes {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		seed := filepath.Join(folder, name)
		if err := os.WriteFile(seed, text, 0o644); err != nil {
			return err
		}
		fresh, err := t.reach(ctx, root, binary, "("+name, nil, reached)
		if fresh == 0 || err != nil {
			os.Remove(seed)
		}
		if err != nil {
			return err
		}
		if fresh > 0 {
			kept, bytes = kept+1, bytes+f.size
		}
	}
	fmt.Fprintf(out, "%-20s %-24s %d of %d are kept, besides %d: %d bytes\n", t.folder, t.name, kept, len(there), len(here), bytes)
	return ctx.Err()
}

// reach runs seeds and notes the places that they lead to; it gives how many are new. seeds
// is the beginning of a pattern, an open parenthesis in front; those of more count, too.
func (t target) reach(ctx context.Context, root, binary, seeds string, more []file, reached map[string]bool) (fresh int, err error) {
	for _, f := range more {
		seeds += "|" + filepath.Base(f.path)
	}
	profile := binary + ".cover"
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^"+t.name+"$/^"+seeds+")$", "-test.coverprofile", profile)
	cmd.Dir = filepath.Join(root, t.folder)
	if said, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", seeds, err, said)
	}
	f, err := os.Open(profile)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		place, count, _ := strings.Cut(lines.Text(), " ")
		if strings.HasSuffix(count, " 0") || place == "mode:" || reached[place] {
			continue
		}
		reached[place] = true
		fresh++
	}
	return fresh, lines.Err()
}

// file is a seed.
type file struct {
	path string
	size int
}

// files gives what stands in a folder, which may be none, the smallest first, and how much
// that is.
func files(folder string) (out []file, sum int, err error) {
	list, err := os.ReadDir(folder)
	if os.IsNotExist(err) {
		return nil, 0, nil
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			return nil, 0, err
		}
		out = append(out, file{filepath.Join(folder, e.Name()), int(info.Size())})
		sum += int(info.Size())
	}
	slices.SortFunc(out, func(a, b file) int { return cmp.Or(a.size-b.size, strings.Compare(a.path, b.path)) })
	return out, sum, err
}
