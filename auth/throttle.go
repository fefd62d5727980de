package auth

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/mail"
)

// throttle slows guessing down: an attempt waits before its secret is looked at, the
// longer the more often its account or its network failed of late. Nobody is ever
// locked out, and an account's own network, from which it signed in lately, is
// slowed only by failures from there to that account.
type throttle struct {
	limits Limits
	now    func() time.Time

	mu       sync.Mutex
	accounts *table[string, failures]
	networks *table[netip.Prefix, failures]
	known    *table[place, knownPlace]
	busy     map[any]int // attempts under way by account name, network or place
	// slow is told of an attempt that waits MaxDelay; nil is nobody.
	slow func(account string, network netip.Prefix)

	refused atomic.Int64 // attempts, because too many waited
}

// failures count down by one each Limits.Forget.
type failures struct {
	n  int
	at time.Time // of the latest
}

type place struct {
	account string
	network netip.Prefix
}

type knownPlace struct {
	since    time.Time // of the latest login
	failures failures
}

// So many attempts at once are taken as people's own clients; each further group
// counts like a failure.
const (
	accountAtOnce = 8
	networkAtOnce = 64
)

func newThrottle(l Limits, now func() time.Time) *throttle {
	return &throttle{
		limits: l, now: now,
		accounts: newTable[string, failures](l.Entries),
		networks: newTable[netip.Prefix, failures](l.Entries),
		known:    newTable[place, knownPlace](l.Entries),
		busy:     map[any]int{},
	}
}

// left is how many failures are not forgotten yet.
func (t *throttle) left(f failures) int {
	return max(0, f.n-int(t.now().Sub(f.at)/t.limits.Forget))
}

// add counts one more, up to what gives MaxDelay after the free ones: more would only
// take longer to forget.
func (t *throttle) add(f failures, free int) failures {
	most := 1 + free
	for d := t.limits.FirstDelay; d > 0 && d < t.limits.MaxDelay; d *= 2 {
		most++
	}
	return failures{min(t.left(f)+1, most), t.now()}
}

// delay is FirstDelay after one failure, doubled for each further one.
func (t *throttle) delay(failures int) time.Duration {
	if failures <= 0 || t.limits.FirstDelay <= 0 {
		return 0
	}
	d := t.limits.FirstDelay
	for range failures - 1 {
		if d >= t.limits.MaxDelay {
			break
		}
		d *= 2
	}
	return min(d, t.limits.MaxDelay)
}

// isKnown tells whether account signed in from network lately.
func (t *throttle) isKnown(p place) (knownPlace, bool) {
	k, ok := t.known.get(p)
	return k, ok && t.now().Sub(k.since) < t.limits.KnownFor
}

// standing says what an attempt now would wait, and whether its network is known to
// the account. The caller holds mu.
func (t *throttle) standing(p place) (delay time.Duration, known bool) {
	if k, ok := t.isKnown(p); ok {
		return t.delay(t.left(k.failures) + t.busy[p]/accountAtOnce), true
	}
	account, _ := t.accounts.get(p.account)
	network, _ := t.networks.get(p.network)
	return max(
		t.delay(t.left(account)+t.busy[p.account]/accountAtOnce),
		t.delay(t.left(network)-t.limits.NetworkFailures+t.busy[p.network]/networkAtOnce),
	), false
}

// wait lets an attempt wait its delay. release must be called once when the
// attempt is decided. KindUnavailable when too many wait already or ctx ends.
func (t *throttle) wait(ctx context.Context, account string, network netip.Prefix) (known bool, release func(), err error) {
	p := place{account, network}
	t.mu.Lock()
	delay, known := t.standing(p)
	keys := []any{p}
	if !known {
		keys = []any{account, network}
	}
	for _, k := range keys {
		if delay > 0 && t.busy[k] >= t.limits.Waiting {
			t.mu.Unlock()
			t.refused.Add(1)
			return false, nil, mail.Errorf(mail.KindUnavailable, "Too many failed sign-ins at the moment; try again later.")
		}
	}
	for _, k := range keys {
		t.busy[k]++
	}
	t.mu.Unlock()
	if delay > 0 && delay >= t.limits.MaxDelay && t.slow != nil {
		t.slow(account, network)
	}

	release = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, k := range keys {
			if t.busy[k]--; t.busy[k] == 0 {
				delete(t.busy, k)
			}
		}
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			release()
			return false, nil, &mail.Error{Kind: mail.KindUnavailable, Cause: ctx.Err()}
		}
	}
	return known, release, nil
}

// failed counts a failure; account is "" when no name could be read.
func (t *throttle) failed(account string, network netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := place{account, network}
	if k, ok := t.isKnown(p); ok {
		k.failures = t.add(k.failures, 0)
		t.known.put(p, k)
		return
	}
	if account != "" {
		f, _ := t.accounts.get(account)
		t.accounts.put(account, t.add(f, 0))
	}
	f, _ := t.networks.get(network)
	t.networks.put(network, t.add(f, t.limits.NetworkFailures))
}

// succeeded makes network known to account and forgets the failures between the
// two. What others failed at stays counted: a guesser's own account must not help.
func (t *throttle) succeeded(account string, network netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known.put(place{account, network}, knownPlace{since: t.now()})
}
