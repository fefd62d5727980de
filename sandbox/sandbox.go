package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mode says how much of the confinement must succeed.
type Mode string

// The modes.
const (
	On       Mode = "on"       // as much as the kernel has
	Required Mode = "required" // all of it, or an error
	Off      Mode = "off"      // none
)

// Modes are all, the usual one first.
var Modes = []Mode{On, Required, Off}

// Rules say what stays possible. Paths are absolute; what does not exist is passed over.
// A folder stands for all that is below it, now and later. A file stands for itself and not for one
// that is put in its place: where files are replaced, name their folder.
type Rules struct {
	Read    []string // may be read
	Write   []string // may be read and changed; nothing there can be executed
	Sockets []string // folders in which Unix sockets may be made and removed
	// Run are programs, and the folders of what they load: they may be read and executed. While
	// it is empty the process cannot become another program, nor start one.
	Run []string
	// Abstract: Unix sockets that have no file, of other processes, may be connected to.
	Abstract bool
}

// Sandbox is what was taken from the process. A nil *Sandbox is none.
type Sandbox struct {
	read, write []place
	status      Status
}

// place is a path of the rules, without symbolic links, and what was there when they came into force.
type place struct {
	path string
	was  fs.FileInfo
}

// places gives those of paths that exist.
func places(paths []string) (all []place) {
	for _, path := range resolved(paths) {
		if was, err := os.Stat(path); err == nil {
			all = append(all, place{path, was})
		}
	}
	return all
}

// has tells whether the rule holds for a path. It is a rule for what was there: not for a disk that
// was mounted on it since, nor for a folder that was made anew.
func (p place) has(path string) bool {
	if p.path != "/" && path != p.path && !strings.HasPrefix(path, p.path+"/") {
		return false
	}
	now, err := os.Stat(p.path)
	if err != nil || os.SameFile(now, p.was) {
		return true // where it is gone its absence is what is wrong
	}
	if !now.IsDir() {
		return false
	}
	f, err := os.Open(p.path) // another rule may let the process in
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrPermission)
}

// Status is what holds.
type Status struct {
	NoNewPrivileges bool
	Landlock        int  // the version of its interface that is in force, 0 for none
	SystemCalls     bool // those that are not on the list fail
	Programs        bool // others may be started
	NoCore          bool // its memory gets into no core file
	Missing         []string
}

// Confine takes everything but rules from all threads. With Required every part that the
// kernel does not have is an error, and the process is to end; with On it is in
// Status.Missing.
func Confine(mode Mode, rules Rules) (*Sandbox, error) {
	if mode == Off {
		return nil, nil
	}
	s := &Sandbox{read: append(places(rules.Read), places(rules.Run)...), write: places(rules.Write)}
	s.status.Programs = len(rules.Run) > 0
	var missing []error
	part := func(what string, err error) bool {
		if err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", what, err))
		}
		return err == nil
	}
	s.status.NoNewPrivileges = part("no_new_privs", noNewPrivileges())
	var err error
	s.status.Landlock, err = restrictFiles(rules)
	part("Landlock", err)
	s.status.NoCore = part("core files", noCore())
	// Last: it forbids what the others do.
	s.status.SystemCalls = part("seccomp", restrictSystemCalls(s.status.Programs))
	if mode == Required && len(missing) > 0 {
		return nil, errors.Join(missing...)
	}
	for _, err := range missing {
		s.status.Missing = append(s.status.Missing, err.Error())
	}
	return s, nil
}

// Status tells what holds, the zero Status of a nil Sandbox.
func (s *Sandbox) Status() Status {
	if s == nil {
		return Status{}
	}
	return s.status
}

// Allows tells whether a path, which need not exist yet, lies where the process may read, or
// write. It is true while files are not restricted; permissions are another matter.
func (s *Sandbox) Allows(path string, write bool) bool {
	if s == nil || s.status.Landlock == 0 {
		return true
	}
	path = Real(path)
	has := func(p place) bool { return p.has(path) }
	return slices.ContainsFunc(s.write, has) || !write && slices.ContainsFunc(s.read, has)
}

// Real follows the symbolic links of as much of a path as exists.
func Real(path string) string {
	path = filepath.Clean(path)
	for rest := ""; ; {
		if to, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(to, rest)
		}
		if path == filepath.Dir(path) {
			return filepath.Join(path, rest)
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

// resolved gives where paths that exist lead, each once.
func resolved(paths []string) []string {
	var out []string
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil && filepath.IsAbs(path) {
			if path = Real(path); !slices.Contains(out, path) {
				out = append(out, path)
			}
		}
	}
	return out
}
