package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// waits signs in with a password, which only "secret" is right, and gives how long the
// answer took. "wrong" is another one for each user.
func waits(t *testing.T, a *Authenticator, remote, user, password string) time.Duration {
	t.Helper()
	began := time.Now()
	if password == "wrong" {
		password += " for " + user
	}
	_, err := a.Password(t.Context(), clear(remote), user, password)
	if (err == nil) != (password == "secret") {
		t.Errorf("%s with %s: %v", user, password, err)
	}
	return time.Since(began)
}

func TestDelaysDouble(t *testing.T) {
	for _, user := range []string{"anna@example.org", "nobody"} { // no difference
		synctest.Test(t, func(t *testing.T) {
			a, _, _ := setup(Limits{})
			var got []time.Duration
			for i := range 8 {
				// Every attempt from another network: the account is what is slowed.
				got = append(got, waits(t, a, fmt.Sprintf("192.0.2.%d:1", i), user, "wrong"))
			}
			want := []time.Duration{0, 250e6, 500e6, 1e9, 2e9, 4e9, 8e9, 8e9}
			if !slices.Equal(got, want) {
				t.Errorf("%s waited %v, want %v", user, got, want)
			}
			// A minute takes one failure away; nobody is locked out.
			time.Sleep(3 * time.Minute)
			if w := waits(t, a, "192.0.2.100:1", user, "wrong"); w != time.Second {
				t.Errorf("after three minutes it waited %v", w)
			}
			time.Sleep(time.Hour)
			if w := waits(t, a, "192.0.2.101:1", user, "wrong"); w != 0 {
				t.Errorf("after an hour it waited %v", w)
			}
		})
	}
}

func TestNetworkIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 3})
		var got []time.Duration
		for i := range 6 {
			// Another account each time, another address of one /64.
			got = append(got, waits(t, a, fmt.Sprintf("[2001:db8::%d]:1", i+1), fmt.Sprint("user", i), "wrong"))
		}
		if want := []time.Duration{0, 0, 0, 0, 250e6, 500e6}; !slices.Equal(got, want) {
			t.Errorf("waited %v, want %v", got, want)
		}
		if w := waits(t, a, "[2001:db8:0:1::1]:1", "user9", "wrong"); w != 0 {
			t.Errorf("the next /64 waited %v", w)
		}
		// What a guesser owns himself does not help.
		if w := waits(t, a, "[2001:db8::1]:1", "imapless@x", "wrong"); w != time.Second {
			t.Errorf("waited %v", w)
		}
		waits(t, a, "[2001:db8::1]:1", "anna@example.org", "secret")
		if w := waits(t, a, "[2001:db8::1]:1", "user8", "wrong"); w < time.Second {
			t.Errorf("after a login of the network it waited only %v", w)
		}
	})
}

// A network from which the account signed in is not slowed by what others do to the
// account, nor by what the network does to others, only by its own failures.
func TestKnownNetworkGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 1, Verified: -1})
		const home = "198.51.100.7:1"
		if w := waits(t, a, home, "anna@example.org", "secret"); w != 0 {
			t.Errorf("the first login waited %v", w)
		}
		for i := range 10 {
			waits(t, a, fmt.Sprintf("192.0.2.%d:1", i), "anna@example.org", "wrong")
			waits(t, a, home, fmt.Sprint("user", i), "wrong")
		}
		if w := waits(t, a, home, "anna@example.org", "secret"); w != 0 {
			t.Errorf("the owner at home waited %v", w)
		}
		if w := waits(t, a, "203.0.113.1:1", "anna@example.org", "secret"); w == 0 || w > 8*time.Second {
			t.Errorf("the owner elsewhere waited %v", w)
		}
		waits(t, a, home, "anna@example.org", "wrong")
		if w := waits(t, a, home, "anna@example.org", "wrong"); w != 250*time.Millisecond {
			t.Errorf("after a failure at home it waited %v", w)
		}
		if w := waits(t, a, home, "anna@example.org", "secret"); w != 500*time.Millisecond {
			t.Errorf("after two failures at home it waited %v", w)
		}
		if w := waits(t, a, home, "anna@example.org", "secret"); w != 0 {
			t.Errorf("after the right password it waited %v", w)
		}
	})
}

func TestDelayObeysContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{})
		for range 6 {
			waits(t, a, "192.0.2.1:1", "anna@example.org", "wrong")
		}
		before := p.checks
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := a.Password(ctx, clear("192.0.2.1:1"), "anna@example.org", "secret")
		wantKind(t, "cancelled", err, mail.KindUnavailable)
		if time.Since(began) != time.Second || p.checks != before {
			t.Errorf("it took %v and %d checks", time.Since(began), p.checks-before)
		}
		if len(a.throttle.busy) != 0 {
			t.Errorf("attempts are still counted: %v", a.throttle.busy)
		}
	})
}

// Many connections at once do not get around the delays.
func TestParallelGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{Waiting: 32})
		p.took = 20 * time.Millisecond
		var unavailable, failed int
		var mu sync.Mutex
		var wait sync.WaitGroup
		began := time.Now()
		for i := range 1000 {
			wait.Go(func() {
				_, err := a.Password(t.Context(), clear(fmt.Sprintf("10.0.%d.%d:1", i/250, i%250)), "anna@example.org", fmt.Sprint("guess", i))
				mu.Lock()
				defer mu.Unlock()
				switch mail.KindOf(err) {
				case mail.KindUnavailable:
					unavailable++
				case mail.KindAuthenticationFailed:
					failed++
				}
			})
		}
		synctest.Wait()
		wait.Wait()
		if failed > 40 || failed+unavailable != 1000 || p.checks != failed {
			t.Errorf("%d guesses were looked at, %d put off, in %v", failed, unavailable, time.Since(began))
		}
		if len(a.throttle.busy) != 0 {
			t.Errorf("attempts are still counted: %v", a.throttle.busy)
		}
	})
}

// Proofs of SCRAM wait like passwords, each when it is given.
func TestScramIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{})
		var got []time.Duration
		var prepared []*Exchange
		for range 4 { // all begun before the first fails
			x, err := a.Begin(t.Context(), clear("192.0.2.1:1"), "SCRAM-SHA-1")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := x.Next(t.Context(), []byte("n,,n=anna@example.org,r=abc")); err != nil {
				t.Fatal(err)
			}
			prepared = append(prepared, x)
		}
		for _, x := range prepared {
			began := time.Now()
			_, _, err := x.Next(t.Context(), []byte("c=biws,r=abc,p=AAAA"))
			wantKind(t, "a wrong proof", err, mail.KindAuthenticationFailed)
			got = append(got, time.Since(began))
		}
		if want := []time.Duration{0, 250e6, 500e6, 1e9}; !slices.Equal(got, want) {
			t.Errorf("waited %v, want %v", got, want)
		}
		if len(a.throttle.busy) != 0 {
			t.Errorf("attempts are still counted: %v", a.throttle.busy)
		}
	})
}

// What is cancelled, or no base64, is recorded once and a failure of the network; no
// account is slowed by it.
func TestAbortCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, attempts := setup(Limits{NetworkFailures: 2})
		for range 4 {
			x, err := a.Begin(t.Context(), clear("192.0.2.1:1"), "SCRAM-SHA-256")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err = x.Next(t.Context(), []byte("n,,n=anna@example.org,r=abcdefgh")); err != nil {
				t.Fatal(err)
			}
			x.Abort(t.Context(), errors.New("cancelled"))
			x.Abort(t.Context(), errors.New("again"))
			_, id, err := x.Next(t.Context(), []byte("c=biws"))
			if wantKind(t, "after the end", err, mail.KindAuthenticationFailed); id != nil {
				t.Error("an identity")
			}
		}
		if p.checks != 4 || len(*attempts) != 4 {
			t.Errorf("%d checks, %d records", p.checks, len(*attempts))
		}
		for _, attempt := range *attempts {
			if attempt.Name != "anna@example.org" || mail.KindOf(attempt.Err) != mail.KindAuthenticationFailed || !strings.Contains(attempt.Err.Error(), "cancelled") {
				t.Errorf("%+v", attempt)
			}
		}
		if w := waits(t, a, "192.0.2.1:1", "none", "wrong"); w != 500*time.Millisecond {
			t.Errorf("the network waited %v", w)
		}
		if w := waits(t, a, "198.51.100.1:1", "anna@example.org", "wrong"); w != 0 {
			t.Errorf("the account waited %v", w)
		}
	})
}

// Malformed messages and names are failures of the network.
func TestMalformedCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 2})
		for range 4 {
			x, err := a.Begin(t.Context(), clear("192.0.2.1:1"), "PLAIN")
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = x.Next(t.Context(), []byte("no NUL"))
			wantKind(t, "malformed", err, mail.KindAuthenticationFailed)
		}
		if w := waits(t, a, "192.0.2.1:1", "anna@example.org", "wrong"); w != 500*time.Millisecond {
			t.Errorf("waited %v", w)
		}
	})
}

func TestTablesAreBounded(t *testing.T) {
	a, _, _ := setup(Limits{FirstDelay: -1, Entries: 100, Passwords: 100, VerifiedEntries: 100})
	for i := range 1000 {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		at := guess{place: place{fmt.Sprint("user", i), network}, password: passwordDigest{1, byte(i >> 8), byte(i)}}
		a.throttle.failed(at)
		at.known = true
		a.throttle.failed(at)
		a.throttle.notices.slowed(at.account, time.Now())
		e, _ := a.directory.Lookup(t.Context(), "anna@example.org")
		a.verified.remember(fmt.Sprint("user", i), "x", e)
	}
	th := a.throttle
	for name, n := range map[string]int{
		"accounts": len(th.accounts.rows) + th.accounts.order.Len(), "networks": len(th.networks.rows) + th.networks.order.Len(),
		"places":    len(th.places.rows) + th.places.order.Len(),
		"passwords": len(th.passwords.rows) + th.passwords.order.Len(), "verified": len(a.verified.rows.rows) + a.verified.rows.order.Len(),
	} {
		if n != 200 {
			t.Errorf("%s has %d rows and links, want 200", name, n)
		}
	}
	if _, ok := th.accounts.get("user999"); !ok {
		t.Error("the latest is gone")
	}
	if !th.accounts.remove("user999") || th.accounts.remove("user999") {
		t.Error("it is removed once")
	}
	if _, ok := th.accounts.get("user999"); ok || th.accounts.order.Len() != 99 {
		t.Error("removed and still there")
	}
}

// The directory is told who comes from a known network.
func TestKnownNetworkIsPreferred(t *testing.T) {
	a, p, _ := setup(Limits{FirstDelay: -1, Verified: -1})
	const home, elsewhere = "198.51.100.7:1", "192.0.2.1:1"
	for i, c := range []struct {
		remote, user, password string
		preferred              bool
	}{
		{home, "anna@example.org", "wrong", false},
		{home, "anna@example.org", "secret", false}, // the first time
		{home, "anna@example.org", "secret", true},
		{home, "anna@example.org", "wrong", true},
		{home, "post@example.org", "secret", false},
		{home, "nobody", "wrong", false},
		{elsewhere, "anna@example.org", "secret", false},
	} {
		if waits(t, a, c.remote, c.user, c.password); p.preferred != c.preferred {
			t.Errorf("%d: %s from %s with %s: preferred is %v", i, c.user, c.remote, c.password, p.preferred)
		}
	}
}

func TestVerifiedPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{})
		const remote = "192.0.2.1:1"
		check := func(what, user, password string, wantErr mail.Kind, checks int) {
			t.Helper()
			before := p.checks
			_, err := a.Password(t.Context(), clear(remote), user, password)
			if wantErr == -1 && err != nil || wantErr != -1 && (err == nil || mail.KindOf(err) != wantErr) {
				t.Errorf("%s: %v", what, err)
			}
			if p.checks-before != checks {
				t.Errorf("%s: %d verifications, want %d", what, p.checks-before, checks)
			}
		}
		check("the first time", "anna@example.org", "secret", -1, 1)
		check("again", "anna@example.org", "secret", -1, 0)
		check("in capitals", "ANNA@example.org", "secret", -1, 0)
		check("by another name", "post@example.org", "secret", -1, 1)
		check("a wrong one", "anna@example.org", "wrong", mail.KindAuthenticationFailed, 1)
		check("a wrong one again", "anna@example.org", "wrong", mail.KindAuthenticationFailed, 1)
		time.Sleep(5 * time.Minute)
		check("after its time", "anna@example.org", "secret", -1, 1)
		check("again", "anna@example.org", "secret", -1, 0)

		e := p.entries["anna@example.org"]
		p.set(func() { p.passwords[e.Name], e.PasswordChanged = "new", e.PasswordChanged.Add(time.Second) })
		check("after a change", "anna@example.org", "secret", mail.KindAuthenticationFailed, 1)
		check("the new one", "anna@example.org", "new", -1, 1)
		p.set(func() { e.Enabled = false })
		check("disabled", "anna@example.org", "new", mail.KindDisabled, 1)
		p.set(func() { e.Enabled = true })
		check("enabled", "anna@example.org", "new", -1, 0)
		p.set(func() { e.ImapEnabled = false })
		check("without IMAP", "anna@example.org", "new", mail.KindDisabled, 0)
		p.set(func() { e.ImapEnabled, e.Account = true, 99 })
		check("somebody else of that name", "anna@example.org", "new", -1, 1)
		p.set(func() { delete(p.entries, "anna@example.org") })
		check("removed", "anna@example.org", "new", mail.KindAuthenticationFailed, 1)
		p.set(func() { p.entries["anna@example.org"] = e })
		check("back", "anna@example.org", "new", -1, 1)
		p.set(func() { p.err = mail.Errorf(mail.KindUnavailable, "") })
		check("directory away", "anna@example.org", "new", mail.KindUnavailable, 0)
	})
	// Nothing in memory is the password or its plain digest.
	a, _, _ := setup(noDelay)
	b, _, _ := setup(noDelay)
	if directory.Digest(a.verified.key, "anna", "x") == directory.Digest(b.verified.key, "anna", "x") || directory.Digest(a.verified.key, "ann", "ax") == directory.Digest(a.verified.key, "anna", "x") {
		t.Error("digests are not keyed, or run together")
	}
}

func TestExplain(t *testing.T) {
	state, _, _ := handshake(t)
	for _, c := range []struct {
		what, user string
		conn       Conn
		decides    string // the step that fails, "" when the login is possible
	}{
		{"all is well", "Anna@example.org", clear("192.0.2.1:1"), ""},
		{"an alias", "post@example.org", clear("192.0.2.1:1"), ""},
		{"TLS", "anna@example.org", Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, TLS: &state}, ""},
		{"imagined TLS", "anna@example.org", Conn{Service: settings.POP3, LoginType: mail.SecureLogin, TLS: &state}, ""},
		{"SecureLogin", "anna@example.org", Conn{Service: settings.POP3, LoginType: mail.SecureLogin}, "Policy"},
		{"PlainTextAuthentication", "anna@example.org", Conn{Service: settings.POP3, LoginType: mail.PlainTextAuthentication}, ""},
		{"no such user", "nobody", clear("192.0.2.1:1"), "User"},
		{"no name", "a b", clear("192.0.2.1:1"), "Name"},
		{"switched off", "off", clear("192.0.2.1:1"), "Account"},
		{"IMAP off", "imapless", clear("192.0.2.1:1"), "IMAP4"},
		{"no password", "none", clear("192.0.2.1:1"), "Credentials"},
	} {
		a, p, attempts := setup(Limits{})
		steps := a.Explain(t.Context(), c.conn, c.user)
		decides := ""
		for _, s := range steps {
			if s.Result == Fail && s.Step != "Login" && decides == "" {
				decides = s.Step
			}
			if s.Step == "" || s.Detail == "" || strings.Contains(s.Detail, "secret") {
				t.Errorf("%s: a step says %+v", c.what, s)
			}
		}
		last := steps[len(steps)-1]
		if decides != c.decides || last.Step != "Login" || (last.Result == Pass) != (c.decides == "") {
			t.Errorf("%s: %q decides, want %q:\n%v", c.what, decides, c.decides, steps)
		}
		if len(*attempts) != 0 || len(p.asked) != 0 {
			t.Errorf("%s: it was taken for an attempt", c.what)
		}
	}
	a, p, _ := setup(Limits{})
	p.err = mail.Errorf(mail.KindUnavailable, "down")
	if steps := a.Explain(t.Context(), clear("192.0.2.1:1"), "anna@example.org"); steps[len(steps)-1].Result != Fail {
		t.Errorf("a directory that is down: %v", steps)
	}
	// The delay of the moment is said, by network.
	a, _, _ = setup(Limits{})
	for range 3 {
		a.throttle.failed(guess{place: place{"anna@example.org", clear("192.0.2.1:1").network()}})
	}
	steps := fmt.Sprint(a.Explain(t.Context(), clear("192.0.2.9:1"), "anna@example.org"))
	if !strings.Contains(steps, "From this network, which the account did not sign in from lately, an attempt waits 1s now.") {
		t.Errorf("the throttle is not explained: %s", steps)
	}
}

// TestKeysWait: who asks for SCRAM keys and leaves makes directories work; it is counted
// against the network, which waits from then on. Others do not.
func TestKeysWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := setup(Limits{NetworkFailures: 2})
		c := Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1"), Service: settings.IMAP4, LoginType: mail.PlainTextLogin, Mechanisms: everyMechanism()}
		var waited []time.Duration
		for i := range 4 {
			x, err := a.Begin(t.Context(), c, "SCRAM-SHA-256")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, _, err := x.Next(t.Context(), fmt.Appendf(nil, "n,,n=somebody%d@example.org,r=abcdefgh", i)); err != nil {
				t.Fatal(err)
			}
			waited = append(waited, time.Since(began))
			x.Close()
			x.Close()
		}
		if want := []time.Duration{0, 0, 0, 250e6}; !slices.Equal(waited, want) {
			t.Errorf("waited %v, want %v", waited, want)
		}
		c.Remote = netip.MustParseAddrPort("198.51.100.1:1")
		began := time.Now()
		if _, _, err := scram(t, a, c, "SCRAM-SHA-256", "anna@example.org", "secret", "", nil); err != nil || time.Since(began) > 0 {
			t.Error("another network waits too", time.Since(began), err)
		}
	})
}
