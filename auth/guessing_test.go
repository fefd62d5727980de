package auth

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
)

// tryAll tries one password for users one after the other, each from another address, and
// gives what each waited.
func tryAll(t *testing.T, a *Authenticator, password string, first, n int) (waited []time.Duration) {
	t.Helper()
	for i := first; i < first+n; i++ {
		waited = append(waited, waits(t, a, fmt.Sprintf("10.1.%d.%d:1", i/250, i%250), fmt.Sprint("user", i), password))
	}
	return waited
}

// A password that is wrong for one account after the other waits longer and longer,
// whoever it is tried for and from wherever. Others do not.
func TestSpraying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{})
		got := tryAll(t, a, "Summer2026!", 0, 12)
		if want := []time.Duration{0, 0, 0, 0, 0, 250e6, 500e6, 1e9, 2e9, 4e9, 8e9, 8e9}; !slices.Equal(got, want) {
			t.Errorf("waited %v, want %v", got, want)
		}
		if w := waits(t, a, "10.2.0.1:1", "anna@example.org", "Winter2026!"); w != 0 {
			t.Errorf("another password waited %v", w)
		}
		// Whether anybody has the password is not told by the delay.
		if w := waits(t, a, "10.2.0.2:1", "nobody", "Summer2026!"); w != 8*time.Second {
			t.Errorf("it waited %v for a name that nobody has", w)
		}
		// An hour later it is forgotten.
		time.Sleep(time.Hour)
		if w := tryAll(t, a, "Summer2026!", 100, 1); w[0] != 0 {
			t.Errorf("after an hour it waited %v", w)
		}
	})
}

// Who has the sprayed password signs in: at once from a known network, elsewhere later.
// That it was right for somebody changes nothing for the guesser.
func TestSprayedPasswordIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{Verified: -1})
		const home, elsewhere = "198.51.100.7:1", "203.0.113.1:1"
		waits(t, a, home, "anna@example.org", "secret")
		// "secret" is wrong for those who do not exist.
		wrong := func(i int) time.Duration {
			began := time.Now()
			_, err := a.Password(t.Context(), clear(fmt.Sprintf("10.1.0.%d:1", i)), fmt.Sprint("user", i), "secret")
			wantKind(t, "sprayed", err, mail.KindAuthenticationFailed)
			return time.Since(began)
		}
		for i := range 12 {
			wrong(i)
		}
		for range 3 {
			if w := waits(t, a, home, "anna@example.org", "secret"); w != 0 {
				t.Errorf("the owner at home waited %v", w)
			}
		}
		if w := waits(t, a, elsewhere, "anna@example.org", "secret"); w != 8*time.Second {
			t.Errorf("the owner elsewhere waited %v", w)
		}
		if w := waits(t, a, elsewhere, "anna@example.org", "secret"); w != 0 {
			t.Errorf("the owner elsewhere waited %v the second time", w)
		}
		if w := wrong(20); w != 8*time.Second {
			t.Errorf("after logins with it the guesser waited %v", w)
		}
	})
}

// A person who tries one's own passwords over and over, or who has several accounts,
// sprays nothing; nor do devices at home with an old password.
func TestNoSpraying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{FirstDelay: 250 * time.Millisecond, NetworkFailures: 100})
		for i := range 4 {
			if w := waits(t, a, "192.0.2.1:1", fmt.Sprint("own", i), "old one"); w != 0 {
				t.Errorf("account %d waited %v", i, w)
			}
		}
		for i := range 4 {
			if w := waits(t, a, "192.0.2.1:1", fmt.Sprint("own", i), "old one"); w != 250*time.Millisecond {
				t.Errorf("account %d waited %v the second time", i, w) // for itself
			}
		}
		// Known networks count for nothing.
		for i := range 12 {
			name := fmt.Sprint("staff", i)
			p.set(func() {
				e := *p.entries["anna@example.org"]
				e.Name, e.Account = name, mail.AccountID(100+i)
				p.entries[name], p.passwords[name] = &e, "secret"
			})
			waits(t, a, "198.51.100.7:1", name, "secret")
		}
		for i := range 12 {
			if w := waits(t, a, "198.51.100.7:1", fmt.Sprint("staff", i), "the printer's"); w != 0 {
				t.Errorf("%d waited %v", i, w)
			}
		}
	})
}

// Many connections at once do not get around the delay of a password.
func TestParallelSpraying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{})
		tryAll(t, a, "Summer2026!", 0, 12)
		before := p.checks
		var wait sync.WaitGroup
		var mu sync.Mutex
		kinds := map[mail.Kind]int{}
		for i := range 1000 {
			wait.Go(func() {
				_, err := a.Password(t.Context(), clear(fmt.Sprintf("10.3.%d.%d:1", i/250, i%250)), fmt.Sprint("other", i), "Summer2026!")
				mu.Lock()
				defer mu.Unlock()
				kinds[mail.KindOf(err)]++
			})
		}
		wait.Wait()
		if p.checks-before != 16 || kinds[mail.KindUnavailable] != 984 || kinds[mail.KindAuthenticationFailed] != 16 {
			t.Errorf("%d were looked at, %v", p.checks-before, kinds)
		}
		if len(a.throttle.busy) != 0 {
			t.Errorf("attempts are still counted: %v", a.throttle.busy)
		}
	})
}

// One address does not take all that may wait for an account.
func TestOneNetworkWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 1000})
		for range 6 {
			waits(t, a, "192.0.2.1:1", "anna@example.org", "wrong")
		}
		var wait sync.WaitGroup
		var mu sync.Mutex
		put := 0
		for range 20 {
			wait.Go(func() {
				_, err := a.Password(t.Context(), clear("192.0.2.1:1"), "anna@example.org", "guess")
				mu.Lock()
				defer mu.Unlock()
				if mail.KindOf(err) == mail.KindUnavailable {
					put++
				}
			})
		}
		synctest.Wait()
		if w := waits(t, a, "203.0.113.1:1", "anna@example.org", "secret"); w != 8*time.Second {
			t.Errorf("the owner elsewhere waited %v", w)
		}
		wait.Wait()
		if put != 18 {
			t.Errorf("%d were put off", put)
		}
	})
}

// Nothing is slowed down in an exempt network, and what fails there slows nobody.
func TestExemptNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 1})
		exempt := func(remote, user, password string) time.Duration {
			c := clear(remote)
			c.Exempt = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
			began := time.Now()
			_, err := a.Password(t.Context(), c, user, password)
			if (err == nil) != (password == "secret") {
				t.Errorf("%s: %v", user, err)
			}
			return time.Since(began)
		}
		for i, remote := range []string{"10.9.1.1:1", "[::ffff:10.9.1.1]:1", "[2001:db8::5]:1"} {
			for range 20 {
				if w := exempt(remote, "anna@example.org", fmt.Sprint("wrong", i)); w != 0 {
					t.Fatalf("%s waited %v", remote, w)
				}
			}
		}
		if w := waits(t, a, "192.0.2.1:1", "anna@example.org", "wrong"); w != 0 {
			t.Errorf("elsewhere it waited %v", w)
		}
		exempt("10.9.1.1:1", "anna@example.org", "secret")
		if known, _ := a.networks.Known(t.Context(), "anna@example.org", netip.MustParsePrefix("10.9.1.1/32")); known {
			t.Error("an exempt network is taken as the account's own")
		}
		if w := exempt("10.8.1.1:1", "anna@example.org", "wrong"); w == 0 {
			t.Error("the networks beside it do not wait")
		}
	})
}

func TestSlowDowns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 2})
		waits(t, a, "198.51.100.7:1", "anna@example.org", "secret")
		waits(t, a, "198.51.100.7:1", "anna@example.org", "wrong") // at home
		for i := range 3 {
			waits(t, a, fmt.Sprintf("10.0.0.%d:1", i), "post@example.org", "wrong")
			waits(t, a, "192.0.2.1:1", fmt.Sprint("user", i), "wrong")
		}
		list := func() (all []string) {
			for _, s := range a.SlowDowns(100) {
				all = append(all, fmt.Sprint(s.Account, " ", s.Network, " ", s.Delay))
			}
			slices.Sort(all)
			return all
		}
		none := " invalid Prefix 250ms"
		want := []string{" 192.0.2.1/32 250ms", "anna@example.org 198.51.100.7/32 250ms", "post@example.org invalid Prefix 1s", "user0" + none, "user1" + none, "user2" + none}
		if got := list(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if all := a.SlowDowns(1); len(all) != 1 || all[0].Account != "post@example.org" || time.Until(all[0].Ends) > 3*time.Minute || time.Until(all[0].Ends) < 2*time.Minute {
			t.Errorf("the longest is %+v", all)
		}
		net := netip.MustParsePrefix
		if a.Lift("nobody", netip.Prefix{}) || a.Lift("", net("10.0.0.1/24")) || a.Lift("post@example.org", net("192.0.2.1/32")) {
			t.Error("what was not there was lifted")
		}
		if !a.Lift("post@example.org", netip.Prefix{}) || !a.Lift("", net("192.0.2.1/32")) || !a.Lift("anna@example.org", net("198.51.100.7/32")) {
			t.Error("what was there was not lifted")
		}
		if got := list(); len(got) != 3 {
			t.Errorf("left: %q", got)
		}
		time.Sleep(time.Hour)
		if got := list(); len(got) != 0 {
			t.Errorf("an hour later: %q", got)
		}
	})
}

// What is told of a storm is bounded, and that it is over is told.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out journal
		a := New(Options{Directory: newPeople(), Limits: Limits{Verified: -1}, Log: slog.New(slog.NewTextHandler(&out, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { a.Run(ctx) })
		lines := func(what string) []string {
			var found []string
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, what) {
					found = append(found, line)
				}
			}
			return found
		}
		// pass lets the time pass; nothing is written when it is over.
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		password := func(remote, user, password string) {
			a.Password(t.Context(), clear(remote), user, password)
		}

		password("198.51.100.7:1", "anna@example.org", "secret")
		password("198.51.100.7:1", "anna@example.org", "secret")
		pass(10 * time.Second)
		if got := out.String(); len(lines("event=1030")) != 2 || strings.Count(got, "\n") != 2 {
			t.Errorf("two logins: %s", got)
		}
		password("203.0.113.1:1", "anna@example.org", "secret")
		pass(noticesEvery + time.Millisecond)
		if got := lines("event=1017"); len(got) != 1 || !strings.Contains(got[0], "user=anna@example.org network=203.0.113.1/32 mechanism=\"LOGIN command\"") {
			t.Errorf("a new network: %q", got)
		}

		// A storm of a second: one password, many users, many addresses, many times.
		var storm sync.WaitGroup
		for i := range 400 {
			storm.Go(func() {
				for n := range 8 {
					password(fmt.Sprintf("10.0.%d.%d:1", i/250, i%250), fmt.Sprint("user", i), fmt.Sprint("Summer", n))
				}
			})
		}
		storm.Wait()
		pass(noticesEvery + time.Millisecond)
		if got := lines("event=1016"); len(got) != 8 || !strings.Contains(got[0], " users=") || strings.Contains(got[0], "Summer") {
			t.Errorf("spraying: %q", got)
		}
		slow := lines("event=1012")
		if len(slow) == 0 || len(slow) > 200 {
			t.Errorf("%d slow-downs are told", len(slow))
		}
		if strings.Contains(out.String(), "Summer") {
			t.Error("a password is in the log")
		}
		pass(2 * time.Hour)
		if len(a.throttle.notices.slow) != 0 || len(a.throttle.notices.sprays) != 0 || len(lines("event=1015")) == 0 {
			t.Errorf("after two hours there are %d slow-downs and %d sprays", len(a.throttle.notices.slow), len(a.throttle.notices.sprays))
		}
		before := len(out.String())
		pass(time.Hour)
		if len(out.String()) != before {
			t.Errorf("it is not quiet: %s", out.String()[before:])
		}
		cancel()
		run.Wait()
	})
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Two people without an account yet are not taken for each other.
func TestVerifiedIsOfOnePerson(t *testing.T) {
	a, p, _ := setup(Limits{FirstDelay: -1})
	const name = "anna@example.org"
	p.set(func() { e := p.entries[name]; e.Account, e.Directory, e.ID = 0, "ldap", "1" })
	for _, c := range []struct {
		what   string
		change func()
		checks int
	}{
		{"the first time", func() {}, 1},
		{"again", func() {}, 0},
		{"somebody else of that name", func() { p.entries[name].ID = "2" }, 1},
		{"the other", func() {}, 0},
		{"of another directory", func() { p.entries[name].Directory = "sql" }, 1},
	} {
		p.set(c.change)
		before := p.checks
		if _, err := a.Password(t.Context(), clear("192.0.2.1:1"), name, "secret"); err != nil || p.checks-before != c.checks {
			t.Errorf("%s: %d verifications, want %d, %v", c.what, p.checks-before, c.checks, err)
		}
	}
}

// Switched off nothing is remembered.
func TestVerifiedOff(t *testing.T) {
	a, p, _ := setup(Limits{FirstDelay: -1, Verified: -1})
	for range 3 {
		if _, err := a.Password(t.Context(), clear("192.0.2.1:1"), "anna@example.org", "secret"); err != nil {
			t.Fatal(err)
		}
	}
	if p.checks != 3 || len(a.verified.rows.rows) != 0 {
		t.Errorf("%d verifications, %d rows", p.checks, len(a.verified.rows.rows))
	}
}

// Connections that a program opens at once are one verification, where it can be
// remembered; else they do not wait for each other in a row.
func TestVerifiedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name       string
		remembered bool
		password   string
		checks     int
		took       time.Duration
	}{
		{"right", true, "secret", 1, time.Second},
		{"wrong", true, "guess", 8, 2 * time.Second},
		{"not remembered", false, "secret", 8, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, p, _ := setup(Limits{FirstDelay: -1})
			p.set(func() {
				p.took = time.Second
				if !c.remembered {
					p.entries["anna@example.org"].PasswordChanged = time.Time{}
				}
			})
			began := time.Now()
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if _, err := a.Password(t.Context(), clear("192.0.2.1:1"), "anna@example.org", c.password); (err == nil) != (c.password == "secret") {
						t.Error(c.name, err)
					}
				})
			}
			all.Wait()
			if took := time.Since(began); p.checks != c.checks || took != c.took || len(a.verified.proofs) != 0 {
				t.Errorf("%s: %d checks in %v, %d run", c.name, p.checks, took, len(a.verified.proofs))
			}
		})
	}
}

// Somebody at a known place does not wait while the same is proved at another: there it
// may take long to have a turn.
func TestVerifiedKnownPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{FirstDelay: -1, Verified: time.Hour})
		sign := func(remote string) {
			if _, err := a.Password(t.Context(), clear(remote), "anna@example.org", "secret"); err != nil {
				t.Error(err)
			}
		}
		sign("198.51.100.7:1")
		time.Sleep(2 * time.Hour)
		p.set(func() { p.took = 8 * time.Second })
		var all sync.WaitGroup
		all.Go(func() { sign("192.0.2.1:1") })
		time.Sleep(time.Second)
		all.Go(func() { sign("198.51.100.7:2") })
		synctest.Wait()
		p.set(func() {
			if p.checks != 3 || !p.preferred {
				t.Errorf("%d checks, preferred: %v", p.checks, p.preferred)
			}
		})
		all.Wait()
	})
}
