package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How costs grow with the messages of a mailbox and with the accounts of a server.

// messageSize is of a message of the mailbox that grows, in bytes.
const messageSize = 1024

// cost is what is measured at each size.
type cost struct {
	name, unit string
	measure    func(b *bench, p *peer, n int) float64
}

// growing is a kind of size with its costs.
type growing struct {
	title, of string
	sizes     []int
	most      map[string]int // up to where a peer is measured; absent: not at all
	costs     []cost
	// at makes p, or another in its place, have n.
	at func(b *bench, p *peer, n int) *peer
}

var growths = []growing{
	{
		title: "Messages in a mailbox", of: "messages", sizes: []int{1000, 10_000, 100_000, 1_000_000},
		most: map[string]int{"Postern": 1_000_000, "Dovecot": 100_000, "Cyrus": 100_000},
		at:   grown,
		costs: []cost{
			{"a delivery into it, processor time", "µs", func(b *bench, p *peer, n int) float64 { return b.each(p, deliverTo(b, p, n)) }},
			{"SELECT again, processor time", "µs", func(b *bench, p *peer, n int) float64 {
				return b.commands(p, 300, func(int) string { return "SELECT INBOX" })
			}},
			{"the newest 50 ENVELOPEs, processor time", "µs", func(b *bench, p *peer, n int) float64 {
				return b.commands(p, 300, func(int) string { return fmt.Sprintf("FETCH %d:* (UID FLAGS ENVELOPE)", max(1, n-49)) })
			}},
			{"STORE of one message's flag, processor time", "µs", func(b *bench, p *peer, n int) float64 {
				r := rand.New(rand.NewPCG(3, 3))
				return b.commands(p, 300, func(i int) string { return fmt.Sprintf("STORE %d %cFLAGS.SILENT (\\Flagged)", 1+r.IntN(n), "+-"[i%2]) })
			}},
			{"list ENVELOPE of all, processor time of each", "µs", func(b *bench, p *peer, n int) float64 {
				return b.commands(p, max(1, 20_000/n), func(int) string { return "FETCH 1:* (UID FLAGS ENVELOPE)" }) / float64(n)
			}},
			{"list FLAGS of all, processor time of each", "µs", func(b *bench, p *peer, n int) float64 {
				return b.commands(p, max(1, 200_000/n), func(int) string { return "FETCH 1:* (FLAGS)" }) / float64(n)
			}},
			{"the first SELECT after a restart, processor time of each", "µs", func(b *bench, p *peer, n int) float64 {
				return firstSelect(b, p) / float64(n)
			}},
			{"memory of the server with the mailbox open, more than before, of each", "bytes", func(b *bench, p *peer, n int) float64 {
				return opened(b, p) / float64(n)
			}},
			{"start to the first greeting", "ms", startedOften},
		},
	},
	{
		title: "Accounts", of: "accounts", sizes: []int{10, 1000, 100_000},
		most: map[string]int{"Postern": 100_000, "Dovecot": 1000},
		at:   peopled,
		costs: []cost{
			{"a delivery to any of them, processor time", "µs", func(b *bench, p *peer, n int) float64 {
				r := rand.New(rand.NewPCG(4, 4))
				return b.each(p, func() float64 {
					c := lmtp(p)
					defer c.Close()
					for i := range 2000 {
						c.deliver(r.IntN(n), message(i, messageSize))
					}
					return 2000
				})
			}},
			{"a sign-in of any of them, processor time", "µs", func(b *bench, p *peer, n int) float64 {
				r := rand.New(rand.NewPCG(5, 5))
				return b.each(p, func() float64 {
					for range 1000 {
						imapOnce(dial(p.imap), r.IntN(n))
					}
					return 1000
				})
			}},
			{"start to the first greeting", "ms", startedOften},
			{"memory at rest, after a restart", "MiB", func(b *bench, p *peer, _ int) float64 { return atRest(b, p) }},
		},
	},
}

// each gives microseconds of processor time of one of those that run gives.
func (b *bench) each(p *peer, run func() float64) float64 {
	b.window = window{pid: p.cmd.Process.Pid}
	b.begin()
	n := run()
	b.end()
	return float64(b.window.used.Nanoseconds()) / 1e3 / n
}

// commands gives microseconds of processor time of some commands in the mailbox that
// grows; opening it is not among them.
func (b *bench) commands(p *peer, times int, command func(i int) string) float64 {
	c := selected(login, p, large)
	defer c.Close()
	c.imap("SELECT INBOX") // so that nothing is \Recent
	return b.each(p, func() float64 {
		for i := range times {
			c.imap("%s", command(i))
		}
		return float64(times)
	})
}

// grown fills the mailbox, all but what is then delivered one by one. All but the
// newest 100 are \Seen.
func grown(b *bench, p *peer, n int) *peer {
	from, to := b.grown[p], n-arriving(n)
	put(p, large, from, to, messageSize)
	b.grown[p] = n
	c := selected(login, p, large)
	defer c.Close()
	c.imap("STORE %d:%d +FLAGS.SILENT (\\Seen)", max(1, from-100), max(1, to-100))
	return p
}

// arriving is how many of n messages are delivered for measuring.
func arriving(n int) int { return min(2000, n/2) }

// deliverTo delivers the last of n messages.
func deliverTo(b *bench, p *peer, n int) func() float64 {
	return func() float64 {
		deliver(p, large, n-arriving(n), n, messageSize)
		return float64(arriving(n))
	}
}

// firstSelect restarts the server and gives microseconds of processor time.
func firstSelect(b *bench, p *peer) float64 {
	p.stop()
	p.start(b.ctx)
	login(p, small).Close()
	c := login(p, large)
	defer c.Close()
	time.Sleep(time.Second)
	return b.each(p, func() float64 {
		c.imap("SELECT INBOX")
		return 1
	})
}

// opened gives the memory that opening and listing a mailbox takes.
func opened(b *bench, p *peer) float64 {
	p.stop()
	p.start(b.ctx)
	c := login(p, large)
	defer c.Close()
	before := settled(p.cmd.Process.Pid, memory)
	c.imap("SELECT INBOX")
	c.imap("FETCH 1:* (FLAGS)")
	return max(0, settled(p.cmd.Process.Pid, memory)-before)
}

// peopled starts a server with n accounts in p's place, each with a message.
func peopled(b *bench, p *peer, n int) *peer {
	p.stop()
	dir := filepath.Join(b.dir, "accounts")
	check(os.RemoveAll(dir))
	check(os.MkdirAll(dir, 0o755))
	p = servers[p.name](b.ctx, site{dir: dir, people: n, started: b.note})
	parallel(16, func(worker int) {
		if worker >= n {
			return
		}
		c := lmtp(p)
		defer c.Close()
		for i := worker; i < n; i += 16 {
			c.deliver(i, message(i, messageSize))
		}
	})
	return p
}

// point is a cost at a size; NaN when it was not measured.
type point struct {
	n    int
	cost float64
}

// curve is a cost of a peer over the sizes.
type curve struct {
	peer   string
	points []point
}

// factor is how many times the first cost of note the last is.
func (c curve) factor() float64 {
	if len(c.points) < 2 {
		return math.NaN()
	}
	return c.points[len(c.points)-1].cost / c.points[0].cost
}

// growth measures those whose title has only in it, and writes the page with the plot
// beside it.
func (b *bench) growth(page, only string) error {
	var text strings.Builder
	out := io.MultiWriter(os.Stdout, &text)
	fmt.Fprintf(out, "Measured on %s by `make bench-growth` (scale %v) on %s.\n", time.Now().UTC().Format(time.DateOnly), b.scale, machine())
	var panels []panel
	for _, g := range growths {
		if !strings.Contains(g.title, only) {
			continue
		}
		curves := make([][]curve, len(g.costs))
		for _, name := range b.names() {
			if err := caught(func() { b.grow(g, name, curves) }); err != nil {
				fmt.Fprintf(out, "\n- %s: %v\n", name, err)
			}
			if b.ctx.Err() != nil {
				return b.ctx.Err()
			}
		}
		g.table(out, b.scale, curves)
		for i, c := range g.costs {
			panels = append(panels, panel{title: c.name, unit: c.unit, x: g.of, curves: curves[i]})
		}
	}
	if page == "" {
		return nil
	}
	plot := strings.TrimSuffix(page, ".md") + ".svg"
	if err := os.WriteFile(plot, draw(panels), 0o644); err != nil {
		return err
	}
	head := fmt.Sprintf(growthHead, filepath.Base(plot))
	return os.WriteFile(page, []byte(head+text.String()), 0o644)
}

// table writes the costs, whose curves are in their order, as Markdown.
func (g growing) table(out io.Writer, scale float64, curves [][]curve) {
	fmt.Fprintf(out, "\n## %s\n\n| Cost | |", g.title)
	for _, n := range g.sizes {
		fmt.Fprintf(out, " %s |", thousands(max(1, int(float64(n)*scale))))
	}
	fmt.Fprintf(out, " last × first |\n| --- | --- |%s --- |\n", strings.Repeat(" --- |", len(g.sizes)))
	for i, c := range g.costs {
		what := c.name
		for _, curve := range curves[i] {
			fmt.Fprintf(out, "| %s | %s |", what, curve.peer)
			for j := range g.sizes {
				cell := "—"
				if j < len(curve.points) {
					cell = number(curve.points[j].cost) + " " + c.unit
				}
				fmt.Fprintf(out, " %s |", cell)
			}
			fmt.Fprintf(out, " %s |\n", times(curve.factor()))
			what = ""
		}
	}
}

const growthHead = `# How costs grow

What Postern takes as a mailbox gets more messages, and the server more accounts, beside the peers as far as filling them takes minutes. Costs of one operation are to stay
flat; costs *of each* are divided by the number of messages, so that a flat line is a cost that grows as the mailbox does. Lower is better; both axes are logarithmic.

![Costs by messages in a mailbox and by accounts](%s)

Messages have 1 KiB. The mailbox is filled the quickest way that a server has (MULTIAPPEND, else LMTP, sixteen at once); of each size the last 2,000 (of 1,000: the last
500) arrive by LMTP and are what "a delivery" measures. Accounts are people of a passwd file, each with a message, for all servers the same. Of many
accounts most are met for the first time since the start: the account is read from disk, and a sign-in also notes from where it came. Processor time is that of the server's whole process
tree. How the peers are tuned stands in [benchmark.md](benchmark.md).

`

// grow measures a peer at all sizes.
func (b *bench) grow(g growing, name string, curves [][]curve) {
	if g.most[name] == 0 {
		return
	}
	for i := range curves {
		curves[i] = append(curves[i], curve{peer: name})
	}
	var p *peer
	for _, q := range b.peers {
		if q.name == name {
			p = q
		}
	}
	for _, n := range g.sizes {
		if n > g.most[name] {
			break
		}
		n = b.count(n)
		begun := time.Now()
		p = g.at(b, p, n)
		calm(p)
		fmt.Fprintf(os.Stderr, "%s: %d %s are there after %v\n", name, n, g.of, time.Since(begun).Round(time.Second))
		for i, c := range g.costs {
			v := c.measure(b, p, n)
			last := &curves[i][len(curves[i])-1]
			last.points = append(last.points, point{n, v})
			fmt.Fprintf(os.Stderr, "%s: %s: %s %s\n", name, c.name, number(v), c.unit)
		}
	}
	p.stop()
}

// startedOften is the median of three starts.
func startedOften(b *bench, p *peer, _ int) float64 {
	return samples{started(b, p), started(b, p), started(b, p)}.median()
}

// calm waits, five minutes at most, until the server has done what filling it left to do.
func calm(p *peer) {
	before := cpu(p.cmd.Process.Pid)
	for range 150 {
		time.Sleep(2 * time.Second)
		now := cpu(p.cmd.Process.Pid)
		if now-before < 40*time.Millisecond {
			return
		}
		before = now
	}
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
