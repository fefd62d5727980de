package main

import (
	"fmt"
	"io"
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
	{name: "start to the first greeting", unit: "ms", goal: goal{ratio: 1}, measure: started},
	{name: "memory at rest, after a restart", unit: "MiB", goal: goal{most: 32}, measure: atRest},
	{name: "start, with 1,000 accounts and 1,000,000 messages", unit: "ms", goal: goal{ratio: 1}, without: "Cyrus", prepare: inCrowd, measure: func(b *bench, p *peer) float64 {
		return b.ofCrowd(p, started)
	}},
	{name: "start with them, killed after 2,000 more arrived", unit: "ms", goal: goal{ratio: 1}, without: "Cyrus", prepare: inCrowd, measure: func(b *bench, p *peer) float64 {
		return b.ofCrowd(p, startedAfterKill)
	}},
	{name: "memory at rest with them, after a restart", unit: "MiB", goal: goal{most: 32}, without: "Cyrus", once: true, prepare: inCrowd, measure: func(b *bench, p *peer) float64 {
		return b.ofCrowd(p, atRest)
	}},
	{name: "memory of an idle session, 1,000 of them", unit: "KiB", once: true, goal: goal{most: 8}, prepare: inWorkers, measure: idle(1000, login)},
	{name: "memory of an idle session over TLS, 1,000 of them", unit: "KiB", once: true, goal: goal{most: 24}, prepare: inWorkers, measure: idle(1000, loginTLS)},
	{name: "memory of an idle session, 5,000 of them", unit: "KiB", once: true, goal: goal{most: 8}, prepare: inWorkers, measure: idle(5000, login)},
	{name: "memory of an idle session over TLS, 5,000 of them", unit: "KiB", once: true, goal: goal{most: 24}, prepare: inWorkers, measure: idle(5000, loginTLS)},
	{name: "an arrival told to 1,000 sessions of one mailbox, of 50,000 over TLS", unit: "ms", once: true, goal: goal{most: 50}, without: "Dovecot Cyrus", prepare: inSmall, measure: told(50_000, 1000)},
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
	begun := time.Now()
	for i := range max(4, b.count(20)) {
		if i > 0 && time.Since(begun) > 20*time.Second {
			break // a server that looks only now and then
		}
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

// started restarts the server and gives the time to its first greeting.
func started(b *bench, p *peer) float64 {
	p.stop()
	begun := time.Now()
	p.cmd = p.command(b.ctx)
	check(p.cmd.Start())
	for {
		if c, err := net.Dial("tcp", p.imap); err == nil {
			// Dovecot may listen, and end the connection, before it serves.
			err := caught(func() { newConn(c).line() })
			c.Close()
			if err == nil {
				break
			}
		}
		if time.Since(begun) > time.Minute {
			fail("%s does not greet within a minute of its start", p.name)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(begun)
	for _, addr := range []string{p.imaps, p.pop3, p.pop3s, p.lmtp} {
		waitFor(addr)
	}
	return milliseconds(took)
}

// atRest restarts the server and gives its memory in MiB.
func atRest(b *bench, p *peer) float64 {
	p.stop()
	p.start(b.ctx)
	return settled(p.cmd.Process.Pid, memory) / (1 << 20)
}

// idle gives what each of n sessions in IDLE costs the server in memory: by how much
// what its process tree holds without a file behind it (see private) grows from a quarter of them to all, for
// each of the others. The first quarter pays for what is had once, however many
// come: processes at the ready, pools, the accounts' records. Both are read when they no longer
// change, so that what is left over from the sign-ins counts in neither. Each session
// has signed in to one of the workers' accounts, selected its INBOX and said IDLE. What the kernel
// holds for sockets is counted for no server.
func idle(n int, open func(*peer, int) *conn) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		n := max(8, b.count(n))
		p.stop()
		p.start(b.ctx)
		for i := range workers { // many first sign-ins at once might be refused
			open(p, i).Close()
		}
		sessions := make([]*conn, n)
		defer closeAll(sessions)
		hold := func(from, to int) float64 {
			parallel(8, func(worker int) {
				for i := from + worker; i < to; i += 8 {
					sessions[i] = waiting(selected(open, p, i%workers))
				}
			})
			return settled(p.cmd.Process.Pid, private)
		}
		before := float64(private(p.cmd.Process.Pid))
		first := hold(0, n/4)
		if 3*(first-before) > available() {
			fail("%d sessions would take more memory than this machine has left", n)
		}
		return (hold(n/4, n) - first) / float64(n-n/4) / 1024
	}
}

// waiting says IDLE.
func waiting(c *conn) *conn {
	c.start("IDLE")
	c.expect("", "+")
	return c
}

func closeAll(sessions []*conn) {
	for _, c := range sessions {
		if c != nil {
			c.Close()
		}
	}
}

// settled gives the memory of a process tree when it has stayed within a hundredth for
// 14 s, or after 90 s.
func settled(pid int, memory func(pid int) int64) float64 {
	const every, readings, tries = 2 * time.Second, 8, 45
	var last []float64
	for range tries {
		last = append(last, float64(memory(pid)))
		if last = last[max(0, len(last)-readings):]; len(last) == readings && slices.Max(last)-slices.Min(last) < slices.Max(last)/100 {
			break
		}
		time.Sleep(every)
	}
	return last[len(last)-1]
}

// told holds n sessions over TLS, each in IDLE, of which told are of one mailbox, and
// gives the median time from the first byte of a delivery to that mailbox until the
// last of them has read of it. Nobody may be lost.
func told(n, told int) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		n, told := b.count(n), b.count(told)
		if most := files() - 500; n > most { // of the server, and as many here
			b.remark("%d sessions over TLS instead of %d: a process may have no more files open here", most, n)
			n = most
		}
		p.stop()
		p.start(b.ctx)
		for i := range small + 1 {
			loginTLS(p, i).Close()
		}
		sessions := make([]*conn, n)
		defer closeAll(sessions)
		parallel(8, func(worker int) {
			for i := worker; i < n; i += 8 {
				account := small
				if i >= told {
					account = i % workers
				}
				c := signIn(dialFrom(p.imaps, i), account)
				c.imap("SELECT INBOX")
				sessions[i] = waiting(c)
			}
		})
		b.remark("%d idle sessions over TLS, %d of them of one mailbox: %s has %.0f MiB", n, told, p.name, settled(p.cmd.Process.Pid, memory)/(1<<20))
		from := lmtp(p)
		defer from.Close()
		var took []float64
		for i := range 9 {
			heard := make(chan any, told)
			for _, c := range sessions[:told] {
				go func() {
					defer func() { heard <- recover() }()
					for {
						if fields := splitFields(c.line()); fields[2] == "EXISTS" {
							return
						}
					}
				}()
			}
			time.Sleep(100 * time.Millisecond) // all of them read
			begun := time.Now()
			from.deliver(small, message(i, 4096))
			for range told {
				if err := <-heard; err != nil {
					panic(err)
				}
			}
			took = append(took, milliseconds(time.Since(begun)))
			for _, c := range sessions[:told] {
				c.expect("", "*") // RECENT
			}
		}
		parallel(8, func(worker int) {
			for i := worker; i < n; i += 8 { // each is alive
				_, err := io.WriteString(sessions[i], "DONE\r\n")
				check(err)
				sessions[i].finish()
			}
		})
		slices.Sort(took)
		return took[len(took)/2]
	}
}

// splitFields splits an untagged line.
func splitFields(l []byte) []string {
	var tag, number, word string
	fmt.Sscan(string(l), &tag, &number, &word)
	return []string{tag, number, word}
}
