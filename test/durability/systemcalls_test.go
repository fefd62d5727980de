package durability

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// faults are the system calls that change a disk, read it, open what is on it or take
// connections, and how each fails.
var faults = []fault{
	{"pwritev2", "EIO"}, {"pwritev2", "ENOSPC"}, {"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"write", "EIO"}, {"write", "ENOSPC"},
	{"fdatasync", "EIO"}, {"fsync", "EIO"}, {"openat", "EMFILE"}, {"openat", "ENOSPC"}, {"openat", "EIO"}, {"renameat", "EIO"}, {"renameat", "ENOSPC"}, {"unlinkat", "EIO"},
	{"ftruncate", "EIO"}, {"fallocate", "ENOSPC"}, {"mkdirat", "ENOSPC"}, {"pread64", "EIO"}, {"read", "EIO"}, {"fcntl", "EINVAL"},
	{"getdents64", "EIO"}, {"newfstatat", "EIO"}, {"fstat", "EIO"}, {"fstatfs", "EIO"}, {"close", "EIO"}, {"flock", "EINTR"}, {"accept4", "EMFILE"}, {"socket", "ENFILE"},
}

// fault is a system call with the error that it fails with.
type fault struct{ call, err string }

func (f fault) String() string { return f.call + " " + f.err }

// number reads how often a test does what it does.
func number(t *testing.T, variable string, usual int) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(variable))
	if err != nil || n < 1 {
		return usual
	}
	return n
}

// together is how many starts with a fault follow each other before the store is looked
// through: what is lost stays lost, and so a start follows upon one that failed, too.
const together = 5

// TestSystemCalls lets the n-th call of a system call fail, of each of the server's
// threads, from its start on: it does not start and says why, or serves; what it
// acknowledges is there when it starts the next time. POSTERN_SYSTEM_CALLS says for how
// many numbers; then each system call is tried with each number until it is not called
// that often, on a server of its own. POSTERN_SYSTEM_CALL is the only one that is tried,
// POSTERN_SYSTEM_CALL_SERVERS how many servers there are at the same time. In parts,
// POSTERN_SYSTEM_CALL_TIME is for how many seconds another is begun, and
// POSTERN_SYSTEM_CALL_FROM which is the first.
func TestSystemCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	numbers := number(t, "POSTERN_SYSTEM_CALLS", 0)
	var sum injections
	if numbers == 0 {
		in := newInjector(t)
		for _, i := range rand.Perm(len(faults))[:8] {
			if in.try(faults[i], 1+rand.IntN(12)); t.Failed() {
				break
			}
		}
		in.check()
		sum.add(in)
		sum.report(t)
		return
	}
	wanted := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		only := os.Getenv("POSTERN_SYSTEM_CALL")
		return only != "" && only != f.call
	})
	if len(wanted) == 0 {
		t.Fatal("POSTERN_SYSTEM_CALL is none of those that are made to fail")
	}
	first := max(0, slices.IndexFunc(wanted, func(f fault) bool { return f.String() == os.Getenv("POSTERN_SYSTEM_CALL_FROM") }))
	end := time.Now().Add(time.Duration(number(t, "POSTERN_SYSTEM_CALL_TIME", 1<<30)) * time.Second)
	var next, whole atomic.Int64
	next.Store(int64(first))
	t.Run("servers", func(t *testing.T) {
		for i := range number(t, "POSTERN_SYSTEM_CALL_SERVERS", 1) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for time.Now().Before(end) {
					k := next.Add(1) - 1
					if k >= int64(len(wanted)) {
						return
					}
					f := wanted[k]
					t.Run(f.String(), func(t *testing.T) {
						in := newInjector(t)
						n := 1
						for ; n <= numbers && !t.Failed() && in.try(f, n); n++ {
						}
						in.check()
						sum.add(in)
						whole.Add(1)
						t.Logf("%v: %d of each thread", f, n-1)
					})
				}
			})
		}
	})
	sum.report(t)
	t.Logf("prove: ways to fail tried with every number: %d", whole.Load())
	t.Logf("prove: goes on at: %v", wanted[min(int(next.Load()), len(wanted))%len(wanted)])
}

// injections are those of several injectors together.
type injections struct {
	mu                                      sync.Mutex
	starts, injected, refused, acknowledged int
}

func (s *injections) add(in *injector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts, s.injected, s.refused = s.starts+in.starts, s.injected+in.injected, s.refused+in.refused
	for _, f := range in.l.fates {
		if f.acknowledged {
			s.acknowledged++
		}
	}
}

func (s *injections) report(t *testing.T) {
	t.Logf("prove: system calls made to fail: %d", s.injected)
	t.Logf("%d starts, a system call failed in %d of them, %d did not serve; %d messages acknowledged, none lost", s.starts, s.injected, s.refused, s.acknowledged)
}

// injector starts the server with faults, one after the other.
type injector struct {
	t      *testing.T
	s      *server.Server // it does not run while a fault is tried
	strace string
	l      *ledger

	starts, injected, refused int
	since                     []string // the faults since the last check
}

func newInjector(t *testing.T) *injector {
	t.Helper()
	in := &injector{t: t, strace: server.Program(t, "strace", "strace"), l: &ledger{fates: map[string]*fate{}, uids: map[string]string{}}}
	in.s = server.Serve(t, server.Options{Accounts: accounts, CheapPasswords: true, Cmdlets: []server.Cmdlet{
		{Name: "Set-PopSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin"}},
		{Name: "Set-ImapSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin"}},
	}})
	if out, code := server.Run(t, time.Minute, in.s.Folder, nil, "", in.strace, "-f", "-qq", "-o", os.DevNull, "true"); code != 0 {
		server.NotTested(t, "strace may not trace here: %s", out)
	}
	in.s.Stop()
	return in
}

// try starts the server, has the n-th call fail, and clients work; it tells whether it was
// called that often.
func (in *injector) try(f fault, n int) (happened bool) {
	t, s := in.t, in.s
	in.starts++
	in.since = append(in.since, fmt.Sprint(f, " ", n))
	log, ready := filepath.Join(s.Folder, "strace.txt"), filepath.Join(s.Folder, "ready-strace.json")
	os.Remove(ready)
	p := server.Begin(t, s.Folder, nil, in.strace, "-f", "-qq", "--seccomp-bpf", "-o", log, "-e", "trace="+f.call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", f.call, f.err, n), server.Binary(t), "serve", "--config", filepath.Join(s.Folder, "postern.toml"), "--ready-file", ready)
	for deadline := time.Now().Add(60 * time.Second); p.Running(); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%v: it neither starts nor ends:\n%s", in.since, p.Output())
			break
		}
	}
	if p.Running() {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for i := range 2 {
			wg.Go(func() { storm(stop, func() error { return deliver(s, in.l, i) }) })
			wg.Go(func() { storm(stop, func() error { return session(s, in.l, i) }) })
		}
		time.Sleep(time.Duration(150+rand.IntN(200)) * time.Millisecond)
		p.Kill()
		close(stop)
		wg.Wait()
	} else {
		in.refused++
	}
	// Go's runtime ends, with its own stack, when it cannot wake a thread by write, or ask fcntl for
	// the standard files at its start: it is killed then.
	if out := p.Output(); !strings.Contains(out, "netpollBreak") && !strings.Contains(out, "cannot open standard fds") && (strings.Contains(out, "goroutine ") || strings.Contains(out, "panic")) {
		t.Errorf("%v %d: it says\n%s", f, n, out)
	}
	trace, _ := os.ReadFile(log)
	if happened = strings.Contains(string(trace), "(INJECTED)"); happened {
		in.injected++
	}
	if len(in.since) >= together {
		in.check()
	}
	return happened
}

// check starts the server without a fault and looks through all that it has.
func (in *injector) check() {
	in.s.Restart()
	check(in.t, in.s, in.l, in.starts)
	if in.t.Failed() {
		in.t.Logf("the faults before were %q", in.since)
	}
	in.s.Kill()
	in.since = nil
}
