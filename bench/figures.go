package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// figures are the measurements of which less is better.
var figures = []figure{
	{name: "another session sees a change after the OK", unit: "ms", goal: goal{most: 1}, prepare: inSmall, measure: func(b *bench, p *peer) float64 {
		return b.seen(p, func(c *conn, i int) { c.imap("STORE %d %cFLAGS (\\Flagged)", 1+i/2, "+-"[i%2]) }, "FETCH")
	}},
	{name: "another session sees an arrival after the OK", unit: "ms", goal: goal{most: 1}, prepare: inSmall, measure: func(b *bench, p *peer) float64 {
		return b.seen(p, func(c *conn, i int) { c.append("INBOX", message(i, 4096)) }, "EXISTS")
	}},
	{name: "SELECT of 100,000, page cache dropped", unit: "ms", goal: goal{ratio: 1}, prepare: inLarge, measure: func(b *bench, p *peer) float64 {
		return b.again(p, true)
	}},
	{name: "SELECT of 100,000, after a restart", unit: "ms", goal: goal{ratio: 1}, prepare: inLarge, measure: func(b *bench, p *peer) float64 {
		return b.again(p, false)
	}},
	{name: "start to the first greeting", unit: "ms", goal: goal{ratio: 1}, measure: func(b *bench, p *peer) float64 {
		p.stop()
		begun := time.Now()
		p.cmd = p.command(b.ctx)
		check(p.cmd.Start())
		for {
			if c, err := net.Dial("tcp", p.imap); err == nil {
				newConn(c).line()
				c.Close()
				break
			}
			time.Sleep(time.Millisecond)
		}
		took := time.Since(begun)
		for _, addr := range []string{p.imaps, p.pop3, p.pop3s, p.lmtp} {
			waitFor(addr)
		}
		return milliseconds(took)
	}},
	{name: "memory at rest, after a restart", unit: "MiB", goal: goal{most: 32}, measure: func(b *bench, p *peer) float64 {
		p.stop()
		p.start(b.ctx)
		time.Sleep(2 * time.Second)
		return float64(memory(p.cmd.Process.Pid)) / (1 << 20)
	}},
	{name: "memory of an idle session, 1,000 of them", unit: "KiB", goal: goal{most: 8}, prepare: inWorkers, measure: idle(1000, login)},
	{name: "memory of an idle session over TLS, 1,000 of them", unit: "KiB", goal: goal{most: 24}, prepare: inWorkers, measure: idle(1000, loginTLS)},
	{name: "memory of an idle session, 5,000 of them", unit: "KiB", goal: goal{most: 8}, prepare: inWorkers, measure: idle(5000, login)},
	{name: "memory of an idle session over TLS, 5,000 of them", unit: "KiB", goal: goal{most: 24}, prepare: inWorkers, measure: idle(5000, loginTLS)},
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// seen gives the median of the time between the OK of what one session does and the
// line that tells another, in IDLE; 0 when that line came first.
func (b *bench) seen(p *peer, do func(c *conn, i int), word string) float64 {
	watcher := selected(login, p, small)
	defer watcher.Close()
	watcher.start("IDLE")
	watcher.expect("", "+")
	c := selected(login, p, small)
	defer c.Close()
	arrived := make(chan time.Time, 100)
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		for {
			l := watcher.line()
			if fields := splitFields(l); len(fields) > 2 && fields[2] == word {
				arrived <- time.Now()
			}
		}
	}()
	var took []float64
	for i := range max(4, b.count(20)) {
		do(c, i)
		ok := time.Now()
		select {
		case at := <-arrived:
			took = append(took, max(0, milliseconds(at.Sub(ok))))
		case <-time.After(40 * time.Second):
			fail("%s tells nothing for 40 s", p.name)
		case err := <-done:
			fail("%v", err)
		}
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// again gives how long the first SELECT of the large mailbox takes after a restart.
func (b *bench) again(p *peer, drop bool) float64 {
	p.stop()
	if drop {
		syscall.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o644); err != nil {
			fail("the page cache cannot be dropped: %v", err)
		}
	}
	p.start(b.ctx)
	c := login(p, large)
	defer c.Close()
	begun := time.Now()
	c.imap("SELECT INBOX")
	return milliseconds(time.Since(begun))
}

// idle holds n sessions in IDLE and gives what each costs the server in memory.
func idle(n int, open func(*peer, int) *conn) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		n := b.count(n)
		p.stop()
		p.start(b.ctx)
		for i := range workers { // the first sign-in of each is not what is measured
			open(p, i).Close()
		}
		time.Sleep(time.Second)
		before := memory(p.cmd.Process.Pid)
		sessions := make([]*conn, n)
		defer func() {
			for _, c := range sessions {
				if c != nil {
					c.Close()
				}
			}
		}()
		parallel(8, func(worker int) {
			for i := worker; i < n; i += 8 {
				c := selected(open, p, i%workers)
				sessions[i] = c
				c.start("IDLE")
				c.expect("", "+")
			}
		})
		time.Sleep(5 * time.Second)
		return float64(memory(p.cmd.Process.Pid)-before) / float64(n) / 1024
	}
}

// splitFields splits an untagged line.
func splitFields(l []byte) []string {
	var tag, number, word string
	fmt.Sscan(string(l), &tag, &number, &word)
	return []string{tag, number, word}
}
