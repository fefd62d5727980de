package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/dovecot"
	"github.com/postern-mail/postern/test/history"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var people = []server.Account{{Name: "ann@history.example", Password: "ann-pass-1234"}, {Name: "bob@history.example", Password: "bob-pass-1234"}}

// number is an environment variable's, or fallback.
func number(name string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return fallback
}

// postern starts Postern, of which nothing is limited.
func postern(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	open := map[string]any{"LoginType": "PlainTextLogin", "MaxConnectionsPerUser": "1000", "MaxConnectionFromSingleIP": "2000"}
	// Each life would begin with some tens of milliseconds of Argon2id, while clients wait.
	o.Accounts, o.CheapPasswords = people, true
	o.Cmdlets = []server.Cmdlet{{Name: "Set-ImapSettings", Parameters: open}, {Name: "Set-PopSettings", Parameters: open}}
	for i, p := range people {
		// One quota is reached all the time, the other one is told only.
		bytes, messages := "2GB", "1000000"
		if q := quotas[p.Name]; i == 0 {
			bytes, messages = fmt.Sprint(q.Bytes/1024)+"KB", fmt.Sprint(q.Messages)
		}
		o.Cmdlets = append(o.Cmdlets, server.Cmdlet{Name: "Set-Mailbox", Parameters: map[string]any{"Identity": p.Name, "ProhibitSendReceiveQuota": bytes, "MaxMessages": messages}})
	}
	return server.Serve(t, o)
}

// quotas are those that are reached. Clients keep accounts at about 60 messages.
var quotas = map[string]history.Quota{people[0].Name: {Bytes: 200 << 10, Messages: 62}}

// whole are the options for what Postern has and others may lack.
func whole(t testing.TB) history.Options {
	return history.Options{Seed: seed(t), Guests: 2, Quotas: quotas, Idle: "idle or slow for too long"}
}

func target(s *server.Server) history.Target {
	return history.Target{IMAP: s.IMAP, POP3: s.POP3, LMTP: s.LMTP, Accounts: accounts()}
}

func accounts() []history.Account {
	var out []history.Account
	for _, p := range people {
		out = append(out, history.Account(p))
	}
	return out
}

// seed is POSTERN_SEED or another each time; a failed test names it.
func seed(t testing.TB) uint64 {
	n := uint64(number("POSTERN_SEED", int(time.Now().UnixNano()%1e6)))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("POSTERN_SEED=%d", n)
		}
	})
	return n
}

// cycler is one life of the server, with what is found after it.
type cycler func(testing.TB, *server.Server, *history.History, *rand.Rand) []history.Fault

// cycle has clients work, kills the server (seldom, ends the work before, or has it end by
// itself), starts it again and gives what Check finds.
func cycle(t testing.TB, s *server.Server, h *history.History, rng *rand.Rand) []history.Fault {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	playing, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- h.Play(playing) }()
	wait := time.Duration(20+rng.IntN(150)) * time.Millisecond
	how := rng.IntN(8)
	select {
	case err := <-done:
		t.Fatalf("playing ended: %v; the server's output:\n%s", err, s.Output())
	case <-time.After(wait):
	}
	end := s.Kill
	if how == 1 {
		end = s.Stop // with SIGINT, while they work
	}
	if how == 0 {
		stop()
	} else {
		end()
		stop()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if how == 0 {
		end()
	}
	s.Restart()
	faults, err := h.Check(ctx)
	if err != nil {
		return append(faults, history.Fault{Kind: "unreadable", Text: err.Error()})
	}
	return faults
}

// TestPostern kills the server while clients work, again and again. POSTERN_HISTORY_CYCLES
// says how often, 200 times in CI, POSTERN_HISTORY_TIME for how many seconds at most, and
// POSTERN_HISTORY_SERVERS of how many servers at the same time.
func TestPostern(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	cycles, limit := 30, 100*time.Second
	if os.Getenv("CI") != "" {
		cycles = 200
	}
	cycles = number("POSTERN_HISTORY_CYCLES", cycles)
	limit = time.Duration(number("POSTERN_HISTORY_TIME", int(limit/time.Second))) * time.Second
	servers := number("POSTERN_HISTORY_SERVERS", 1)
	for i := range servers {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			plays(t, postern(t, server.Options{}), (cycles+i)/servers, limit, cycle)
		})
	}
}

// plays plays so many cycles, within a time, and reports.
func plays(t *testing.T, s *server.Server, cycles int, limit time.Duration, cycle cycler) {
	o := whole(t)
	h := history.New(target(s), o)
	rng := rand.New(rand.NewPCG(o.Seed, 0))
	began := time.Now()
	done := 0
	for ; done < cycles && time.Since(began) < limit; done++ {
		for _, f := range cycle(t, s, h, rng) {
			t.Errorf("cycle %d: %v", done, f)
		}
		if t.Failed() {
			return
		}
		if (done+1)%500 == 0 {
			t.Logf("%d cycles in %v", done+1, time.Since(began).Round(time.Second))
		}
	}
	report(t, h, done, time.Since(began))
}

// report says what was done, and fails when that was little.
func report(t *testing.T, h *history.History, cycles int, took time.Duration) {
	t.Helper()
	f := h.Figures()
	t.Logf("%+v in %v", f, took.Round(time.Second))
	if cycles > 0 {
		t.Logf("prove: cycles survived: %d", cycles)
	}
	t.Logf("prove: operations checked: %d", f.Operations)
	t.Logf("prove: messages read and compared: %d", f.Read)
	t.Logf("prove: mailboxes resynchronised and compared: %d", f.Resyncs)
	for _, figure := range []struct {
		name  string
		count int
	}{
		{"values of metadata, annotations and rights explained", f.Values}, {"refusals for the quota explained", f.Overquota},
		{"doings of guests compared with their rights", f.Visits}, {"operations tried again after no answer came", f.Retried},
		{"pictures of NOTIFY compared with what there is", f.Observed},
	} {
		if figure.count > 0 {
			t.Logf("prove: %s: %d", figure.name, figure.count)
		}
	}
	if f.Acknowledged < f.Operations/3 { // others are refused for the quota, or for want of a right
		t.Errorf("only %d of %d operations were acknowledged", f.Acknowledged, f.Operations)
	}
}

// TestPeace has clients work on a server that lives, for longer.
func TestPeace(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	s := postern(t, server.Options{})
	h := history.New(target(s), whole(t))
	peace(t, h)
	if f := h.Figures(); !t.Failed() && (f.Observed == 0 || f.Overquota == 0 || f.Visits == 0 || f.Values == 0) {
		t.Errorf("something was not tried: %+v", f)
	}
}

// TestDovecot asks the same of Dovecot: what another server does right, the checker does
// not call wrong.
func TestDovecot(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Dovecot")
	}
	s := dovecot.Start(t, people, dovecot.Options{LMTP: true, Quota: true})
	peace(t, history.New(history.Target{IMAP: s.IMAP, POP3: s.POP3, LMTP: s.LMTP, Accounts: accounts()}, history.Options{Seed: seed(t), Poppers: 1, Partial: true, Stale: true, Cautious: true, Idle: "inactivity", Without: []history.Kind{history.Create}, Except: []string{
		// Two sessions that MOVE a message at the same time both get it: MOVE is a copy and an
		// expunge there.
		"moved twice",
	}}))
}

// peace has clients work for some time, several times over.
func peace(t *testing.T, h *history.History) {
	began := time.Now()
	lives := number("POSTERN_HISTORY_LIVES", 4)
	for range lives {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := h.Play(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		faults, err := h.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faults {
			t.Error(f)
		}
		if t.Failed() {
			return
		}
	}
	if h.Figures().Views == 0 {
		t.Error("no view was compared")
	}
	report(t, h, 0, time.Since(began))
}
