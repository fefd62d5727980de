// Command bench measures Postern beside Dovecot, Debian's package, on the same
// work in one run, alternating, and prints the ratios: operations a second and, the
// fairer figure on a machine that the load generator shares, processor time of
// the server's whole process tree per operation.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// failure ends the bench through main, so that the servers are stopped.
type failure string

func fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// sample is one measurement.
type sample struct {
	rate float64 // operations a second
	cpu  float64 // microseconds of the server for each
}

func main() {
	rounds := flag.Int("rounds", 3, "how often each workload is measured, alternating between the servers")
	scale := flag.Float64("scale", 1, "how much of each workload; 0.1 for a quick look")
	only := flag.String("only", "", "only workloads whose name contains this")
	dir := flag.String("dir", "", "folder for the servers' data; a new one in /var/tmp when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *rounds, *scale, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, rounds int, scale float64, only string) (err error) {
	if dir == "" {
		// Not /tmp, which is often in memory: durability is part of what is measured.
		if dir, err = os.MkdirTemp("/var/tmp", "postern-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	var peers []*peer
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	// Runs first: a failure of any goroutine of a workload arrives here.
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("%s", string(f))
		}
	}()
	started := func(p *peer) { peers = append(peers, p) }
	startPostern(ctx, dir, accounts, started)
	startDovecot(ctx, dir, accounts, started)
	for _, p := range peers {
		warm(p)
	}
	fmt.Printf("| Workload | Postern | Dovecot | speed | CPU Postern | CPU Dovecot | CPU ratio |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, w := range workloads {
		if !strings.Contains(w.name, only) || ctx.Err() != nil {
			continue
		}
		for _, p := range peers {
			if w.prepare != nil {
				w.prepare(p, scale)
			}
		}
		samples := make([][]sample, len(peers))
		for round := range rounds {
			for i := range peers {
				// Who goes first alternates too.
				j := (i + round) % len(peers)
				samples[j] = append(samples[j], measure(peers[j], w, scale))
			}
		}
		a, b := median(samples[0]), median(samples[1])
		fmt.Printf("| %s | %s/s | %s/s | %.2f × | %s | %s | %.2f × |\n",
			w.name, number(a.rate), number(b.rate), a.rate/b.rate, micros(a.cpu), micros(b.cpu), b.cpu/a.cpu)
	}
	if only == "" || strings.Contains("idle memory", only) {
		idle(peers, scale)
	}
	return ctx.Err()
}

// measure runs a workload once.
func measure(p *peer, w workload, scale float64) sample {
	pid := p.cmd.Process.Pid
	before, start := cpu(pid), time.Now()
	n := w.run(p, scale)
	took := time.Since(start)
	// What a server still does for the work after it has answered counts too.
	time.Sleep(200 * time.Millisecond)
	used := cpu(pid) - before
	return sample{float64(n) / took.Seconds(), float64(used.Nanoseconds()) / 1e3 / float64(n)}
}

func median(s []sample) sample {
	rates, cpus := []float64{}, []float64{}
	for _, x := range s {
		rates, cpus = append(rates, x.rate), append(cpus, x.cpu)
	}
	slices.Sort(rates)
	slices.Sort(cpus)
	return sample{rates[len(rates)/2], cpus[len(cpus)/2]}
}

func number(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.2f M", f/1e6)
	case f >= 1e4:
		return fmt.Sprintf("%.0f k", f/1e3)
	}
	return fmt.Sprintf("%.0f", f)
}

func micros(f float64) string {
	if f >= 100 {
		return fmt.Sprintf("%.0f µs", f)
	}
	return fmt.Sprintf("%.2f µs", f)
}
