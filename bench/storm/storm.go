// Package storm guesses passwords at a server as a botnet would: from many addresses at
// once, in every way there is, as fast as the process can. It is for servers of our own
// on loopback: all its addresses are in 127.0.0.0/8.
package storm

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the storm goes.
type Config struct {
	IMAP, POP3, IMAPS string   // addresses on loopback; an empty one is left out
	Users             []string // who exist; as many who do not are tried too
	Addresses         int      // from how many addresses
	Workers           int      // how many connections at once
}

// Stats say what came of it.
type Stats struct {
	Connections int64 // that were made
	Guesses     int64 // that were answered
	Wrong       int64 // answered as wrong
	PutOff      int64 // answered with "later"
	Dropped     int64 // connections that the server ended, or did not take
	LetIn       int64 // wrong passwords that were taken: must be 0
}

type storm struct {
	Config
	stats Stats // atomically
}

// Run guesses until ctx ends.
func Run(ctx context.Context, c Config) Stats {
	s := &storm{Config: c}
	var ways []way
	for _, w := range all {
		if w.address(c) != "" {
			ways = append(ways, w)
		}
	}
	var wait sync.WaitGroup
	for i := range c.Workers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for ctx.Err() == nil {
				s.connect(ctx, ways[r.IntN(len(ways))], r)
			}
		})
	}
	wait.Wait()
	return s.stats
}

// Address is the i-th address of a storm.
func Address(i int) string { return fmt.Sprintf("127.%d.%d.%d", 100+i/62500, i/250%250, 1+i%250) }

// way is a way to guess over one connection.
type way struct {
	address func(Config) string
	tls     bool
	play    func(*client)
}

func imap(c Config) string  { return c.IMAP }
func pop3(c Config) string  { return c.POP3 }
func imaps(c Config) string { return c.IMAPS }

// all are the ways; those that are there twice are taken more often.
var all = []way{
	{imap, false, (*client).login}, {imap, false, (*client).login}, {imap, false, (*client).login},
	{pop3, false, (*client).pass}, {pop3, false, (*client).pass}, {pop3, false, (*client).pass},
	{imap, false, (*client).plain},
	{imap, false, (*client).scram},
	{imap, false, (*client).halfScram},
	{imaps, true, (*client).login},
	{imap, false, (*client).hang}, {imaps, false, (*client).hang},
	{pop3, false, (*client).begin},
}

// client is one connection.
type client struct {
	net.Conn
	storm *storm
	r     *bufio.Reader
	rand  *rand.Rand
	ctx   context.Context
	ok    bool // it goes on
}

// attempts over one connection; the server ends it at ten failures.
const attempts = 5

// patience is how long an answer is waited for: who guesses does not wait out a delay.
const patience = 300 * time.Millisecond

func (s *storm) connect(ctx context.Context, w way, r *rand.Rand) {
	from := net.TCPAddr{IP: net.ParseIP(Address(r.IntN(s.Addresses)))}
	d := net.Dialer{LocalAddr: &from, Timeout: 5 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", w.address(s.Config))
	if err != nil {
		atomic.AddInt64(&s.stats.Dropped, 1)
		pause(ctx, 10*time.Millisecond)
		return
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	nc.(*net.TCPConn).SetLinger(0) // leaves no ports waiting
	atomic.AddInt64(&s.stats.Connections, 1)
	if w.tls {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) // a guesser does not mind
	}
	c := &client{Conn: nc, storm: s, r: bufio.NewReaderSize(nc, 4096), rand: r, ctx: ctx, ok: true}
	w.play(c)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// say sends a line and gives the first line of the answer that begins with one of the
// prefixes; "" when there is none.
func (c *client) say(line string, prefixes ...string) string {
	if !c.ok {
		return ""
	}
	c.SetDeadline(time.Now().Add(patience))
	if line != "" {
		if _, err := io.WriteString(c, line+"\r\n"); err != nil {
			c.ok = false
			return ""
		}
	}
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			if e, ok := err.(net.Error); c.ctx.Err() == nil && !(ok && e.Timeout()) {
				atomic.AddInt64(&c.storm.stats.Dropped, 1)
			}
			c.ok = false
			return ""
		}
		for _, p := range prefixes {
			if strings.HasPrefix(l, p) {
				return strings.TrimRight(l, "\r\n")
			}
		}
	}
}

// judge counts the answer to a guess.
func (c *client) judge(answer, good string) {
	n := &c.storm.stats
	switch {
	case answer == "":
		return
	case strings.HasPrefix(answer, good):
		atomic.AddInt64(&n.LetIn, 1)
	case strings.Contains(answer, "UNAVAILABLE"), strings.Contains(answer, "SYS/TEMP"), strings.Contains(answer, "LIMIT"):
		atomic.AddInt64(&n.PutOff, 1)
	default:
		atomic.AddInt64(&n.Wrong, 1)
	}
	atomic.AddInt64(&n.Guesses, 1)
}

// who is somebody: every second one exists.
func (c *client) who() string {
	user := c.storm.Users[c.rand.IntN(len(c.storm.Users))]
	if c.rand.IntN(2) == 0 {
		return "no-" + user
	}
	return user
}

// password is one of few that many have, or one of many.
func (c *client) password() string {
	if c.rand.IntN(2) == 0 {
		return fmt.Sprintf("Summer%d!", 2020+c.rand.IntN(8))
	}
	return fmt.Sprintf("guess-%x", c.rand.Uint64())
}

func (c *client) login() {
	c.say("", "* OK")
	for i := 0; i < attempts && c.ok; i++ {
		c.judge(c.say(fmt.Sprintf("a%d LOGIN %s %s", i, c.who(), c.password()), fmt.Sprintf("a%d ", i), "* BYE"), fmt.Sprintf("a%d OK", i))
	}
}

func (c *client) plain() {
	c.say("", "* OK")
	for i := 0; i < attempts && c.ok; i++ {
		secret := base64.StdEncoding.EncodeToString([]byte("\x00" + c.who() + "\x00" + c.password()))
		c.judge(c.say(fmt.Sprintf("a%d AUTHENTICATE PLAIN %s", i, secret), fmt.Sprintf("a%d ", i), "* BYE"), fmt.Sprintf("a%d OK", i))
	}
}

func (c *client) pass() {
	c.say("", "+OK")
	for i := 0; i < attempts && c.ok; i++ {
		if !strings.HasPrefix(c.say("USER "+c.who(), "+OK", "-ERR"), "+OK") {
			return
		}
		c.judge(c.say("PASS "+c.password(), "+OK", "-ERR"), "+OK")
	}
}

// scramFirst begins a SCRAM exchange.
func (c *client) scramFirst(tag string) string {
	first := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "n,,n=%s,r=%x", c.who(), c.rand.Uint64()))
	return c.say(tag+" AUTHENTICATE SCRAM-SHA-256 "+first, "+ ", tag+" ", "* BYE")
}

// scram gives a proof that is wrong.
func (c *client) scram() {
	c.say("", "* OK")
	for i := 0; i < attempts && c.ok; i++ {
		tag := fmt.Sprint("a", i)
		challenge, ok := strings.CutPrefix(c.scramFirst(tag), "+ ")
		if !ok {
			return
		}
		said, _ := base64.StdEncoding.DecodeString(challenge)
		nonce, _, _ := strings.Cut(strings.TrimPrefix(string(said), "r="), ",")
		proof := base64.StdEncoding.EncodeToString(make([]byte, 32))
		c.judge(c.say(base64.StdEncoding.EncodeToString([]byte("c=biws,r="+nonce+",p="+proof)), tag+" ", "* BYE"), tag+" OK")
	}
}

// halfScram asks for a challenge and goes.
func (c *client) halfScram() {
	c.say("", "* OK")
	c.scramFirst("a")
}

// hang is a connection that says nothing.
func (c *client) hang() { pause(c.ctx, time.Duration(1+c.rand.IntN(5))*time.Second) }

// begin is one that stops within a command.
func (c *client) begin() {
	c.say("", "+OK")
	io.WriteString(c, "US")
	c.hang()
}
