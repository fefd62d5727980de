package history_test

import (
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/clock"
	"github.com/postern-mail/postern/test/history"
	"github.com/postern-mail/postern/test/imapview"
	"github.com/postern-mail/postern/test/server"
)

// TestClock is TestPostern on a machine whose clock is set again and again, forward and
// back, by seconds and by years, while the server works and while it does not run.
// POSTERN_CLOCK_CYCLES says for how many cycles.
func TestClock(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	cycles := 10
	if os.Getenv("CI") != "" {
		cycles = 20
	}
	cycles = number("POSTERN_CLOCK_CYCLES", cycles)
	limit := time.Duration(number("POSTERN_CLOCK_TIME", 40)) * time.Second
	c := clock.New(t)
	s := postern(t, server.Options{Program: clock.Build(t), Env: []string{c.Env()}})
	for _, ahead := range []time.Duration{0, 400 * 24 * time.Hour, -400 * 24 * time.Hour, 0} {
		c.Set(ahead)
		if got, want := arrival(t, s), time.Now().Add(ahead); got.Sub(want).Abs() > time.Minute {
			t.Fatalf("with the clock %v ahead a message comes at %v, and not at %v", ahead, got, want)
		}
	}
	set := 0
	plays(t, s, cycles, limit, setting(c, &set))
	t.Logf("prove: times that the clock was set: %d", set)
}

// arrival is when a message comes by the server's clock. It is removed again.
func arrival(t *testing.T, s *server.Server) time.Time {
	t.Helper()
	conn, err := net.Dial("tcp", s.IMAP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	x, err := imapview.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	date := ""
	for _, command := range []string{
		"LOGIN " + people[0].Name + " " + people[0].Password, "APPEND Drafts {14+}\r\nSubject: one\r\n\r\n", "SELECT Drafts", "FETCH 1 INTERNALDATE",
		`STORE 1 +FLAGS (\Deleted)`, "EXPUNGE",
	} {
		reply, err := x.Must(command)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range reply.Untagged {
			if _, rest, ok := strings.Cut(string(u), `INTERNALDATE "`); ok {
				date, _, _ = strings.Cut(rest, `"`)
			}
		}
	}
	at, err := time.Parse("_2-Jan-2006 15:04:05 -0700", date)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// setting is cycle, during which the clock is set; n counts how often.
func setting(c *clock.Clock, n *int) cycler {
	return func(t testing.TB, s *server.Server, h *history.History, rng *rand.Rand) []history.Fault {
		var setter sync.WaitGroup
		over := make(chan struct{})
		own := rand.New(rand.NewPCG(rng.Uint64(), 1))
		setter.Go(func() {
			for {
				unit := []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour}[own.IntN(5)]
				c.Set(time.Duration(own.IntN(20)-10) * unit)
				*n++
				select {
				case <-over:
					return
				case <-time.After(time.Duration(2+own.IntN(60)) * time.Millisecond):
				}
			}
		})
		defer setter.Wait()
		defer close(over)
		return cycle(t, s, h, rng)
	}
}
