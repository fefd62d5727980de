package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// goal is what a row is to reach; 0 is no goal.
type goal struct {
	speed float64 // at least so many times as many a second as the best peer
	cpu   float64 // at most the best peer's processor time of each, divided by this
	ratio float64 // at most so much of the best peer's figure
	most  float64 // at most this
}

// rate is a row whose figures are operations a second and processor time of each.
type rate struct {
	name    string
	goal    goal
	bound   bound                       // what the machine itself allows; nil: nobody knows
	quick   float64                     // what part of the page's ratio a quick look must find at least; 0: it does not look
	prepare func(*bench, *peer)         // before each round
	run     func(*bench, *peer) float64 // gives how many operations it were
}

// figure is a row of which less is better.
type figure struct {
	name, unit string
	goal       goal
	without    string // the servers that it is not measured with: more than they can do, or than filling them is worth
	once       bool   // what is measured hardly varies, and takes long: one round
	prepare    func(*bench, *peer)
	measure    func(*bench, *peer) float64
}

// samples are what the rounds gave, in the order of size.
type samples []float64

func (s samples) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	slices.Sort(s)
	return s[len(s)/2]
}

// spread is half the way from the least to the most, in percent of the median.
func (s samples) spread() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	width := slices.Max(s) - slices.Min(s)
	if width == 0 {
		return 0 // of a median of 0, too
	}
	return 50 * width / s.median()
}

// result is a row's samples of a peer; err when the peer could not do it.
type result struct {
	speed, cpu, bytes samples
	err               error
}

// alternate measures each peer but those that without names in every round; who goes
// first alternates.
func (b *bench) alternate(without string, rounds int, prepare func(*bench, *peer), once func(p *peer, r *result)) []result {
	results := make([]result, len(b.peers))
	for b.round = range rounds {
		for i := range b.peers {
			j := (i + b.round) % len(b.peers)
			p, r := b.peers[j], &results[j]
			if r.err != nil || b.ctx.Err() != nil || strings.Contains(without, p.name) {
				continue
			}
			r.err = caught(func() {
				if prepare != nil {
					prepare(b, p)
				}
				once(p, r)
			})
		}
	}
	return results
}

func (b *bench) rate(row rate) []result {
	return b.alternate("", b.rounds, row.prepare, func(p *peer, r *result) {
		b.window = window{pid: p.cmd.Process.Pid}
		b.begin()
		n := row.run(b, p)
		if b.window.end.IsZero() {
			b.end()
		}
		r.bytes = append(r.bytes, float64(b.window.bytes)/n)
		r.speed = append(r.speed, n/b.window.end.Sub(b.window.start).Seconds())
		r.cpu = append(r.cpu, float64(b.window.used.Nanoseconds())/1e3/n)
	})
}

func (b *bench) figure(row figure) []result {
	rounds := b.rounds
	if row.once {
		rounds = 1
	}
	return b.alternate(row.without, rounds, row.prepare, func(p *peer, r *result) { r.speed = append(r.speed, row.measure(b, p)) })
}

// best gives the peers' best median by better; NaN when there is none.
func best(results []result, of func(result) samples, better func(a, b float64) float64) float64 {
	found := math.NaN()
	for _, r := range results[1:] {
		if m := of(r).median(); r.err == nil && !math.IsNaN(m) {
			if math.IsNaN(found) {
				found = m
			}
			found = better(found, m)
		}
	}
	return found
}

func speeds(r result) samples { return r.speed }
func cpus(r result) samples   { return r.cpu }

// fullName gives a row's name, one that begins with "the same" behind that of the row it
// refers to, which above holds from call to call.
func fullName(above *string, name string) string {
	if strings.HasPrefix(name, "the same") {
		return *above + ": " + name
	}
	*above = name
	return name
}

// report measures the rows that only names and writes them as Markdown.
func (b *bench) report(out io.Writer, only string) error {
	wanted := func(name string) bool {
		for _, part := range strings.Split(only, "|") {
			if strings.Contains(name, part) {
				return b.ctx.Err() == nil
			}
		}
		return false
	}
	names := b.names()
	l := b.measureLimits()
	fmt.Fprintf(out, reportHead, time.Now().UTC().Format(time.DateOnly), b.scale, b.rounds, machine(), strings.Join(versions(names), ", "), l)
	var failed []string
	missed := func(name string, results []result) {
		for i, r := range results {
			if r.err != nil {
				failed = append(failed, fmt.Sprintf("%s, %s: %v", names[i], name, r.err))
			}
		}
	}
	var unmet []string
	fmt.Fprintf(out, "| Workload | %s a second | × best | ± | CPU of each: %s | × best | goal | | the machine's limit | reached |\n| --- |%s --- | --- |%s --- | --- | --- | --- | --- |\n",
		strings.Join(names, " | "), strings.Join(names, " | "), strings.Repeat(" --- |", len(names)), strings.Repeat(" --- |", len(names)+1))
	above := ""
	for _, row := range rates {
		full := fullName(&above, row.name)
		if !wanted(full) {
			continue
		}
		progress(full)
		results := b.rate(row)
		missed(full, results)
		fmt.Fprintf(out, "| %s |", row.name)
		for _, r := range results {
			fmt.Fprintf(out, " %s |", number(r.speed.median()))
		}
		speed := results[0].speed.median() / best(results, speeds, math.Max)
		each := best(results, cpus, math.Min) / results[0].cpu.median()
		fmt.Fprintf(out, " %s | %.0f %% |", times(speed), results[0].speed.spread())
		for _, r := range results {
			fmt.Fprintf(out, " %s |", micros(r.cpu.median()))
		}
		verdict, met := row.goal.verdict(speed, each, math.NaN())
		if !met {
			unmet = append(unmet, fmt.Sprintf("%s: %s a second, %s per CPU; the goal is %s", full, times(speed), times(each), verdict))
		}
		limit, reached := "—", "—"
		if row.bound != nil && results[0].err == nil {
			var part float64
			limit, part = row.bound(l, results[0])
			reached = fmt.Sprintf("%.0f %%", 100*part)
		}
		fmt.Fprintf(out, " %s | %s | %s | %s | %s |\n", times(each), verdict, sign(met), limit, reached)
	}
	fmt.Fprintf(out, "\n| Less is better | %s | of the best | ± | goal | |\n| --- |%s --- | --- | --- | --- |\n", strings.Join(names, " | "), strings.Repeat(" --- |", len(names)))
	for _, row := range figures {
		if !wanted(row.name) {
			continue
		}
		progress(row.name)
		results := b.figure(row)
		missed(row.name, results)
		fmt.Fprintf(out, "| %s |", row.name)
		for _, r := range results {
			fmt.Fprintf(out, " %s %s |", number(r.speed.median()), row.unit)
		}
		own := results[0].speed.median()
		of := own / best(results, speeds, math.Min)
		verdict, met := row.goal.verdict(of, math.NaN(), own)
		if !met {
			unmet = append(unmet, fmt.Sprintf("%s: %s %s; the goal is %s", row.name, number(own), row.unit, verdict))
		}
		fmt.Fprintf(out, " %s | %.0f %% | %s | %s |\n", times(of), results[0].speed.spread(), verdict, sign(met))
	}
	for _, f := range append(b.remarks, failed...) {
		fmt.Fprintf(out, "\n- %s", f)
	}
	fmt.Fprintln(out)
	if len(unmet) > 0 {
		fmt.Fprintf(out, "\n## Goals that are not met\n\nWhy, and what was tried, stands in [decisions/speed.md](decisions/speed.md).\n\n- %s\n", strings.Join(unmet, "\n- "))
	}
	if wanted("disk") {
		progress("disk")
		if err := caught(func() { b.disk(out) }); err != nil {
			fmt.Fprintf(out, "\n- disk: %v\n", err)
		}
	}
	fmt.Fprintln(os.Stderr)
	return b.ctx.Err()
}

// reportHead is what an administrator reads before the figures.
const reportHead = `# Beside Dovecot and Cyrus

The same work, done by Postern and by Debian's Dovecot and Cyrus in one run on one machine, alternating, and the ratios to the best of the peers. The load generator (folder bench) shares the
machine with the server, so *CPU of each* is the fairer figure: the processor time of the server's whole process tree for one operation. A second is wall time. Memory is the proportional set
size of the process tree.

**The peers** are tuned as a good administrator does it, in bench/dovecot.go and bench/cyrus.go. Dovecot: mdbox, login processes in high-performance mode, mail processes at the ready that
serve many clients one after another, an authentication cache, plain passwords, no limit of connections. Cyrus: processes at the ready for each service, used again, plain passwords, no duplicate suppression, no
conversations. All speak over loopback, with a P-256 certificate, and keep their mail on the same file system; each OK to APPEND or delivery is durable. Postern keeps nothing of what is
expunged here (DeletedItemRetention 0; otherwise 14 days, [recovery.md](recovery.md)), as Dovecot does not.

**How to read it**: × best is Postern against the best peer (2 × is twice as many a second, or half the processor time); ± is half the way from the least to the most round, in percent of the
median. Figures are medians. The machine's limit is what the machine does for the same without any server (one sync for each change that waits alone; a signature and a key agreement for a
handshake; a loopback connection for what is sent), and *reached* how near Postern is to it.

How costs grow with messages and accounts is measured apart, by ` + "`make bench-growth`" + `: [growth.md](growth.md).

![How costs grow with messages in a mailbox and with accounts](growth.svg)

Measured on %s by ` + "`make bench`" + ` (scale %v, %d rounds) on %s: %s.

This machine allows: %s.

`

// versions gives the servers' names with their versions.
func versions(names []string) (out []string) {
	for _, name := range names {
		version := ""
		switch name {
		case "Postern":
			text, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
			version = strings.TrimSpace(string(text))
		case "Dovecot":
			text, _ := exec.Command("/usr/sbin/dovecot", "--version").Output()
			version, _, _ = strings.Cut(strings.TrimSpace(string(text)), " ")
		case "Cyrus":
			if found, _ := filepath.Glob(cyrusRoot + "/packages/cyrus-imapd_*.deb"); len(found) > 0 {
				version = strings.Split(filepath.Base(found[0]), "_")[1]
			}
		}
		out = append(out, strings.TrimSpace(name+" "+version))
	}
	return out
}

// progress says on standard error what is measured now.
func progress(name string) { fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), name) }

// sign is a verdict's cell.
func sign(met bool) string {
	if met {
		return "met"
	}
	return "**not met**"
}

// verdict gives the goal in words and whether it is met.
func (g goal) verdict(speed, cpu, own float64) (text string, met bool) {
	var words []string
	met = true
	add := func(text string, ok bool) {
		words = append(words, text)
		met = met && ok
	}
	if g.speed > 0 {
		add(fmt.Sprintf("≥ %s", times(g.speed)), speed >= g.speed)
	}
	if g.cpu > 0 {
		add(fmt.Sprintf("CPU ≥ %s", times(g.cpu)), cpu >= g.cpu)
	}
	if g.ratio > 0 {
		add(fmt.Sprintf("≤ %s", times(g.ratio)), speed <= g.ratio)
	}
	if g.most > 0 {
		add(fmt.Sprintf("≤ %s", number(g.most)), own <= g.most)
	}
	return strings.Join(words, ", "), met
}

func times(f float64) string {
	switch {
	case math.IsNaN(f):
		return "—"
	case f >= 10:
		return fmt.Sprintf("%.0f ×", f)
	}
	return fmt.Sprintf("%.2f ×", f)
}

func number(f float64) string {
	switch {
	case math.IsNaN(f):
		return "—"
	case f >= 1e6:
		return fmt.Sprintf("%.2f M", f/1e6)
	case f >= 1e4:
		return fmt.Sprintf("%.0f k", f/1e3)
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

func micros(f float64) string {
	if math.IsNaN(f) {
		return "—"
	}
	return number(f) + " µs"
}
