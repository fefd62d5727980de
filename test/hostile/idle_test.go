package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// prober is somebody who comes anew again and again while others do what they do.
type prober struct {
	mu    sync.Mutex
	took  []time.Duration
	fault error
	stop  chan struct{}
	ended sync.WaitGroup
}

// probe begins to come to places in turn, each time as far as what the service says first.
func probe(every time.Duration, places ...place) *prober {
	p := &prober{stop: make(chan struct{})}
	p.ended.Go(func() {
		for i := 0; ; i++ {
			p.once(places[i%len(places)]) // at least this once
			select {
			case <-p.stop:
				return
			case <-time.After(every):
			}
		}
	})
	return p
}

// once comes once.
func (p *prober) once(at place) {
	begin := time.Now()
	var c net.Conn
	var err error
	if at.clear {
		c, err = at.greeted()
	} else {
		c, err = at.open(anyone())
	}
	took := time.Since(begin)
	if err == nil {
		c.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = append(p.took, took)
	if err != nil && p.fault == nil {
		p.fault = fmt.Errorf("%v: %w", at, err)
	}
}

// end ends it and gives the time within which 99 of 100 were greeted; of fewer one is excused: a
// busy machine may stand still. All must have been.
func (p *prober) end(t *testing.T) time.Duration {
	t.Helper()
	close(p.stop)
	p.ended.Wait()
	if p.fault != nil {
		t.Errorf("a new client was not greeted: %v", p.fault)
	}
	slices.Sort(p.took)
	return p.took[max(0, min(len(p.took)*99/100, len(p.took)-2))]
}

// quick proves that new clients are greeted within a second.
func quick(t *testing.T, when string, p99 time.Duration) {
	t.Helper()
	t.Logf("prove: ms until a new client is greeted (p99), %s: %.1f", when, float64(p99.Microseconds())/1000)
	if p99 > time.Second {
		t.Errorf("new clients wait up to %v, %s", p99, when)
	}
}

// sitter is a session that is open and does nothing.
type sitter struct {
	net.Conn
	in     *bufio.Reader
	idling bool
}

func (c *sitter) ask(command, answer string) error {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		return err
	}
	for {
		l, err := c.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if strings.HasPrefix(l, answer) {
			return nil
		}
		if strings.HasPrefix(l, "a") || strings.HasPrefix(l, "* BYE") {
			return fmt.Errorf("%s: %s", command, l)
		}
	}
}

// sit logs in, and every other time says IDLE.
func sit(p place, who server.Account, idling bool) (*sitter, error) {
	var c net.Conn
	var err error
	if p.clear {
		c, err = p.greeted()
	} else {
		c, err = p.open(anyone())
	}
	if err != nil {
		return nil, err
	}
	s := &sitter{c, bufio.NewReaderSize(c, 512), idling}
	if err := s.ask(fmt.Sprintf("a1 LOGIN %q %q", who.Name, who.Password), "a1 OK"); err != nil {
		return nil, err
	}
	if err := s.ask("a2 EXAMINE INBOX", "a2 OK"); err != nil || !idling {
		return s, err
	}
	return s, s.ask("a3 IDLE", "+")
}

// still tells whether the session is there.
func (c *sitter) still() error {
	if c.idling {
		return c.ask("DONE", "a3 OK")
	}
	return c.ask("a4 NOOP", "a4 OK")
}

// TestManyIdle has 10,000 people sit there, half of them over TLS: the server stays small and
// greets who comes. Then connections that never log in come until no more are let in: the
// oldest of them goes for each that comes, and nobody who has logged in.
func TestManyIdle(t *testing.T) {
	long(t)
	n := sized(1200, 10_000)
	var accounts []server.Account
	for i := range 8 {
		accounts = append(accounts, server.Account{Name: fmt.Sprintf("sitter%d@test.example", i), Password: "correct horse 7"})
	}
	s := server.Serve(t, server.Options{Accounts: append([]server.Account{alice}, accounts...)})
	s.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", alice.Name)
	room := sized(300, 4096) // as many wait for their login, where nothing else is set
	args := []string{"Set-ImapSettings", "-LoginType", "PlainTextLogin", "-MaxConnectionsPerUser", "20000"}
	if !hours {
		args = append(args, "-MaxConnections", strconv.Itoa(n+room))
	}
	s.MustShell(args...)
	imap, imaps := placeOf(t, s, "IMAP4 STARTTLS"), placeOf(t, s, "IMAP4 SSL")
	for _, a := range accounts { // the first sign-in is dear
		if c, err := sit(imaps, a, false); err != nil {
			t.Fatal(err)
		} else {
			c.Close()
		}
	}

	sitters := make([]*sitter, n)
	defer func() {
		for _, c := range sitters {
			if c != nil {
				c.Close()
			}
		}
	}()
	var numbers []int
	for i := range n {
		numbers = append(numbers, i)
	}
	together(t, 8, numbers, func(i int) (err error) {
		at := imap
		if i%2 == 1 {
			at = imaps
		}
		sitters[i], err = sit(at, accounts[i%len(accounts)], i%4 < 2)
		return err
	})
	if t.Failed() {
		return
	}
	p := &prober{stop: make(chan struct{})}
	for i := range 200 {
		p.once([]place{imap, imaps}[i%2])
	}
	quick(t, fmt.Sprintf("%d idle connections", n), p.end(t))
	t.Logf("prove: MiB of the process while %d people sign in at once, at most: %d", n, peak(t, s))
	if hours {
		time.Sleep(15 * time.Second) // it gives back what the sign-ins left
	}
	got := int(s.Memory("VmRSS") >> 20)
	t.Logf("prove: MiB of the process with %d idle connections: %d", n, got)
	if got > 300 || peak(t, s) > 450 {
		t.Errorf("the process takes %d MiB with %d idle connections, and took %d while they signed in", got, n, peak(t, s))
	}

	// The flood.
	coming := probe(50*time.Millisecond, imap, imaps)
	flood := make([]net.Conn, 0, 2*room)
	defer func() {
		for _, c := range flood {
			c.Close()
		}
	}()
	for range 2 * room {
		c, err := net.DialTimeout("tcp", imap.address, patience)
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
	}
	oldest, err := ended(flood[0], patience)
	if err != nil || !strings.Contains(string(oldest), "* BYE ") {
		t.Errorf("the oldest that never logged in hears %q, %v", oldest, err)
	}
	for _, c := range flood[len(flood)-20:] {
		c.SetDeadline(time.Now().Add(patience))
		if err := say(c, "", "* OK"); err != nil {
			t.Errorf("one of the last that came: %v", err)
		} else if err := say(c, "z1 NOOP", "z1 OK"); err != nil {
			t.Errorf("one of the last that came: %v", err)
		}
	}
	quick(t, "in a flood that fills the service", coming.end(t))
	var lost sync.Map
	together(t, 8, numbers, func(i int) error {
		err := sitters[i].still()
		if err != nil {
			lost.Store(i, true)
		}
		return err
	})
	count := 0
	lost.Range(func(any, any) bool { count++; return true })
	t.Logf("prove: sessions lost of %d in a flood of %d connections: %d", n, len(flood), count)
	healthy(t, s)
}

// TestNetworks: as many connections as MaxConnectionFromSingleIP says come from an IPv4
// address or from an IPv6 /64, whatever the rest of the address is; they do not keep others out.
func TestNetworks(t *testing.T) {
	const most = 5
	s := serve(t)
	s.MustShell("Set-ImapSettings", "-ProxyProtocolNetworks", "127.0.0.1/32", "-MaxConnectionFromSingleIP", strconv.Itoa(most))
	var open []net.Conn
	come := func(from string) string {
		t.Helper()
		c, err := net.DialTimeout("tcp", s.IMAP, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		open = append(open, c)
		c.SetDeadline(time.Now().Add(patience))
		family, to := "TCP4", "192.0.2.1"
		if strings.Contains(from, ":") {
			family, to = "TCP6", "2001:db8::1"
		}
		fmt.Fprintf(c, "PROXY %s %s %s 4711 143\r\n", family, from, to)
		greeting, _ := line(c)
		return greeting
	}
	for _, network := range []struct {
		what    string
		address func(i int) string
	}{
		{"an IPv4 address", func(int) string { return "198.51.100.7" }},
		{"a /64", func(i int) string { return fmt.Sprintf("2001:db8:0:1:%x::%x", i*7919&0xffff, i) }},
		{"another /64 of the same /48", func(i int) string { return fmt.Sprintf("2001:db8:0:2::%x", 1+i) }},
		{"an IPv4 address in IPv6's form", func(int) string { return "::ffff:198.51.100.8" }},
	} {
		for i := range 3 * most {
			greeting := come(network.address(i))
			if want := i < most; strings.HasPrefix(greeting, "* OK") != want || !want && !strings.HasPrefix(greeting, "* BYE") {
				t.Errorf("connection %d from %s is greeted %q", i+1, network.what, greeting)
			}
		}
	}
	if greeting := come("198.51.100.8"); !strings.HasPrefix(greeting, "* BYE") {
		t.Errorf("the same address in IPv4's form is greeted %q", greeting)
	}
	if greeting := come("198.51.100.9"); !strings.HasPrefix(greeting, "* OK") {
		t.Errorf("somebody else is greeted %q", greeting)
	}
	for _, c := range open {
		c.Close()
	}
	server.Eventually(t, patience, "there is room again", func() bool { return strings.HasPrefix(come("198.51.100.7"), "* OK") })
	s.MustShell("Set-ImapSettings", "-ProxyProtocolNetworks", "$null")
	healthy(t, s)
}
