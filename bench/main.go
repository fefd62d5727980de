// Command bench measures Postern beside Dovecot and Cyrus, Debian's packages, on the
// same work in one run, alternating, and prints the ratios to the best of them:
// operations a second and, the fairer figure on a machine that the load generator
// shares, processor time of the server's whole process tree for each operation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// failure ends a measurement, or the bench through main, so that the servers are
// stopped.
type failure string

func fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// bench is a run.
type bench struct {
	ctx    context.Context
	dir    string
	rounds int
	scale  float64
	peers  []*peer // Postern first

	round  int             // of the row that is measured
	filled map[string]bool // mailboxes that have their messages
	grown  map[*peer]int   // how many messages the mailbox that grows has
	crowds map[*peer]*peer // those of a kind with very many accounts, stopped
	note   func(*peer)     // is told of each process, so that it is ended
	window window

	remarks []string // to be read below the figures
}

// remark says something beside the figures.
func (b *bench) remark(format string, args ...any) {
	b.remarks = append(b.remarks, fmt.Sprintf(format, args...))
}

// window is what is measured of a run: all of it, unless the run says.
type window struct {
	pid        int
	start, end time.Time
	cpu, used  time.Duration
	bytes      int64 // that the client received, where a bound asks
}

// begin says that what is measured begins now.
func (b *bench) begin() { b.window.start, b.window.cpu = time.Now(), cpu(b.window.pid) }

// end says that it has ended.
func (b *bench) end() {
	b.window.end = time.Now()
	// What a server still does for the work after it has answered counts too.
	time.Sleep(200 * time.Millisecond)
	b.window.used = cpu(b.window.pid) - b.window.cpu
}

func main() {
	b := &bench{filled: map[string]bool{}, grown: map[*peer]int{}, crowds: map[*peer]*peer{}}
	flag.IntVar(&b.rounds, "rounds", 3, fmt.Sprintf("how often each row is measured, alternating between the servers; at most %d", maxRounds))
	flag.Float64Var(&b.scale, "scale", 1, "how much of each workload; 0.1 for a quick look")
	only := flag.String("only", "", "only rows whose name contains one of these, parted by |")
	servers := flag.String("servers", "postern,dovecot,cyrus", "the servers; postern is always one")
	quick := flag.Bool("quick", false, "only look whether processor time of each operation, against Dovecot's, is as "+recordPage+" has it")
	page := flag.String("page", "", "also write the table into this Markdown file")
	storms := flag.Bool("storm", false, "only measure a known user's sign-in under a storm of wrong ones")
	growth := flag.Bool("growth", false, "only measure how costs grow with messages and accounts; the page gets a plot beside it")
	flag.StringVar(&b.dir, "dir", "", "folder for the servers' data; a new one in /var/tmp when empty")
	flag.Parse()
	if text := os.Getenv(stormVariable); text != "" {
		generate(text)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.ctx, b.rounds = ctx, min(b.rounds, maxRounds)
	if err := b.run(*servers, *only, *page, *quick, *storms, *growth); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// caught runs f and gives its failure.
func caught(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			text, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = errors.New(string(text))
		}
	}()
	f()
	return nil
}

func (b *bench) run(which, only, page string, quick, storms, growth bool) (err error) {
	raiseFiles()
	if b.dir == "" {
		// Not /tmp, which is often in memory: durability is part of what is measured.
		if b.dir, err = os.MkdirTemp("/var/tmp", "postern-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.dir)
	}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	var started []*peer
	defer func() {
		for _, p := range started {
			p.stop()
		}
	}()
	b.note = func(p *peer) { started = append(started, p) }
	if storms {
		return caught(func() { b.storm(os.Stdout, b.note) })
	}
	err = caught(func() {
		for _, name := range peerNames {
			if name == "Postern" || strings.Contains(which, strings.ToLower(name)) {
				b.peers = append(b.peers, b.peer(name))
			}
		}
	})
	if err != nil {
		return err
	}
	if growth {
		return b.growth(page, only)
	}
	if quick {
		return b.guard(os.Stdout, recordPage)
	}
	out := io.Writer(os.Stdout)
	if page != "" {
		f, err := os.Create(page)
		if err != nil {
			return err
		}
		defer f.Close()
		out = io.MultiWriter(os.Stdout, f)
	}
	return b.report(out, only)
}

// peer starts a server for the bench's accounts, each of whom signs in so that no
// workload pays for the first time.
func (b *bench) peer(name string) *peer {
	p := servers[name](b.ctx, site{dir: b.dir, started: b.note})
	for i := range accounts {
		login(p, i).Close()
	}
	return p
}

// machine says what the figures were measured on.
func machine() string {
	model := "an unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s", runtime.NumCPU(), model, runtime.Version())
}

// raiseFiles lets this process and the servers hold as many connections as the
// system allows.
func raiseFiles() {
	for _, most := range []uint64{1 << 18, 0} {
		var limit syscall.Rlimit
		if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
			return
		}
		limit.Max = max(limit.Max, most)
		limit.Cur = limit.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
			return
		}
	}
}

// files is how many this process and each server may have open.
func files() int {
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return int(min(limit.Cur, 1<<30))
}
