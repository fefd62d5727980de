package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-mail/postern/bench/storm"
	"github.com/postern-mail/postern/directory"
)

// What the storm is made of, and from where the users come who are known.
const (
	stormAddresses = 1000
	stormWorkers   = 3000
	stormWarm      = 5 * time.Second // before anything is measured
	knownAddress   = "127.0.0.9"
)

// stormBound is what the process may take in all under a storm: its verifications'
// bound, and as much again for the garbage of those that ended and for connections.
const stormBound = 2 * directory.TotalMemory

// stormVariable tells a process of this program that it is the generator.
const stormVariable = "POSTERN_BENCH_STORM"

// generate is the generator: one core guesses until standard input ends.
func generate(text string) {
	var c storm.Config
	check(json.Unmarshal([]byte(text), &c))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	check(json.NewEncoder(os.Stdout).Encode(storm.Run(ctx, c)))
}

// storm measures how long a known user's sign-in takes, first in calm and then while one
// core guesses from a thousand addresses. The server starts anew for each round: then it
// remembers no passwords, but knows the networks.
func (b *bench) storm(out io.Writer, started func(*peer)) {
	p := postern(b.ctx, site{dir: b.dir, started: started})
	for i := range accounts {
		known(p.imap, "IMAP4", i) // from now on the address is known
	}
	calm := newTimed()
	for range b.rounds {
		p.stop()
		p.start(b.ctx)
		calm.measure(p)
	}
	generator, stop := startGenerator(b.ctx, p)
	under := newTimed()
	var peak int64
	var took, used, made time.Duration
	for range b.rounds {
		p.stop()
		p.start(b.ctx)
		time.Sleep(stormWarm)
		pid := p.cmd.Process.Pid
		server, maker, began := cpu(pid), cpu(generator), time.Now()
		under.measure(p)
		took, used, made = took+time.Since(began), used+cpu(pid)-server, made+cpu(generator)-maker
		peak = max(peak, kib(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:"))
	}
	stats := stop()

	fmt.Fprintf(out, "| A known user signs in | calm p50 | p99 | storm p50 | p99 |\n| --- | --- | --- | --- | --- |\n")
	for i, row := range under {
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", row.name, quantile(calm[i].took, 50), quantile(calm[i].took, 99), quantile(row.took, 50), quantile(row.took, 99))
	}
	fmt.Fprintf(out, "\nThe storm: %d connections, %d guesses answered, %d as wrong, %d put off, %d connections ended by the server; %.1f cores of generator, %.1f of server, for %.0f s.\n",
		stats.Connections, stats.Guesses, stats.Wrong, stats.PutOff, stats.Dropped, made.Seconds()/took.Seconds(), used.Seconds()/took.Seconds(), took.Seconds())
	fmt.Fprintf(out, "Memory: %d MiB at most (resident), of %d MiB.\n", peak>>20, stormBound>>20)
	if info, err := os.Stat(filepath.Join(b.dir, "postern.log")); err == nil {
		fmt.Fprintf(out, "The log: %d KiB in all.\n", info.Size()>>10)
	}
	if stats.LetIn > 0 {
		fail("%d wrong passwords were taken", stats.LetIn)
	}
	if peak > stormBound {
		fail("the process took more than its bound")
	}
}

// startGenerator starts this program again, on one core. stop ends it and gives what
// came of it.
func startGenerator(ctx context.Context, p *peer) (pid int, stop func() storm.Stats) {
	c := storm.Config{IMAP: p.imap, POP3: p.pop3, IMAPS: p.imaps, Addresses: stormAddresses, Workers: stormWorkers}
	for i := range accounts {
		c.Users = append(c.Users, accountName(i))
	}
	text, err := json.Marshal(c)
	check(err)
	self, err := os.Executable()
	check(err)
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", stormVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	return cmd.Process.Pid, func() (s storm.Stats) {
		in.Close()
		check(json.NewDecoder(out).Decode(&s))
		check(cmd.Wait())
		return s
	}
}

// timed are sign-ins of one kind.
type timed struct {
	name string
	took []time.Duration
}

type timings []timed

func newTimed() timings {
	return timings{{name: "IMAP4, password verified"}, {name: "POP3, password verified"}, {name: "IMAP4, password remembered"}, {name: "POP3, password remembered"}}
}

// measure signs in with each account once, whose password has to be verified, and then
// with those that are remembered.
func (t timings) measure(p *peer) {
	for round := range 3 {
		for i := range accounts {
			row, addr, protocol := i%2, p.imap, "IMAP4"
			if row == 1 {
				addr, protocol = p.pop3, "POP3"
			}
			if round > 0 {
				row += 2
			}
			t[row].took = append(t[row].took, known(addr, protocol, i))
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// known gives how long it takes a user from the connection to the answer. It must be
// let in.
func known(addr, protocol string, account int) time.Duration {
	began := time.Now()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(knownAddress)}, Timeout: 10 * time.Second}
	nc, err := d.Dial("tcp", addr)
	check(err)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	c := &conn{Conn: nc, r: bufio.NewReader(nc)}
	c.line()
	if protocol == "POP3" {
		c.expect("USER "+accountName(account), "+OK")
		c.expect("PASS "+password, "+OK")
	} else {
		c.imap("LOGIN %s %s", accountName(account), password)
	}
	took := time.Since(began)
	if protocol == "POP3" {
		c.expect("QUIT", "+OK")
	} else {
		c.imap("LOGOUT")
	}
	return took
}

func quantile(took []time.Duration, percent int) string {
	slices.Sort(took)
	d := took[min(len(took)-1, len(took)*percent/100)]
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
