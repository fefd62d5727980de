package auth

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/mail"
)

// throttle slows guessing down: an attempt waits before its secret is looked at, the
// longer the more often its account, its network or its password failed of late.
// Nobody is ever locked out, and an account's own network, from which it signed in
// before, is slowed only by failures from there to that account. docs/guessing.md
// says what slows whom.
type throttle struct {
	limits Limits
	now    func() time.Time

	mu        sync.Mutex
	accounts  *table[string, failures]
	networks  *table[netip.Prefix, failures]
	passwords *table[passwordDigest, tried]
	places    *table[place, failures] // known ones
	busy      map[any]int             // attempts under way by account name, network, place or password
	notices   notices

	refused atomic.Int64 // attempts, because too many waited
}

// guess is what is known of an attempt before its secret is looked at.
type guess struct {
	place
	// password is zero when it cannot be told from others (SCRAM, tokens).
	password passwordDigest
	known    bool // the place is
	exempt   bool // Conn.Exempt
}

type place struct {
	account string // the name as it was given, prepared; "" when none could be read
	network netip.Prefix
}

// passwordDigest is a part of a keyed digest: what makes it is this process's and
// never written.
type passwordDigest [sha256.Size / 2]byte

// failures count down by one each Limits.Forget.
type failures struct {
	n  int
	at time.Time // of the latest
}

// tried are the accounts that a password was wrong for, the oldest first.
type tried struct{ by []triedBy }

type triedBy struct {
	account string
	network netip.Prefix
	at      time.Time
}

// Bounds of what is under way at once.
const (
	// So many attempts at once are taken as people's own clients; each further group
	// counts like a failure.
	accountAtOnce = 8
	networkAtOnce = 64
	// placeWaiting is how many attempts at an account from one strange network may
	// wait, so that one address does not take all places that the account has.
	placeWaiting = 2
)

func newThrottle(l Limits, now func() time.Time) *throttle {
	return &throttle{
		limits: l, now: now,
		accounts:  newTable[string, failures](l.Entries),
		networks:  newTable[netip.Prefix, failures](l.Entries),
		passwords: newTable[passwordDigest, tried](l.Passwords),
		places:    newTable[place, failures](l.Entries),
		busy:      map[any]int{},
		notices:   newNotices(),
	}
}

// left is how many failures are not forgotten yet.
func (t *throttle) left(f failures) int {
	return max(0, f.n-int(t.now().Sub(f.at)/t.limits.Forget))
}

// steps is how many failures give MaxDelay: more would only take longer to forget.
func (t *throttle) steps() int {
	n := 1
	for d := t.limits.FirstDelay; d > 0 && d < t.limits.MaxDelay; d *= 2 {
		n++
	}
	return n
}

// add counts one more.
func (t *throttle) add(f failures, free int) failures {
	return failures{min(t.left(f)+1, t.steps()+free), t.now()}
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

// tries gives for how many accounts but this one the password was wrong within
// PasswordWindow.
func (t *throttle) tries(p passwordDigest, account string) int {
	if p == (passwordDigest{}) {
		return 0
	}
	row, _ := t.passwords.get(p)
	n := 0
	for _, by := range row.by {
		if by.account != account && t.now().Sub(by.at) < t.limits.PasswordWindow {
			n++
		}
	}
	return n
}

// brake is one reason to wait.
type brake struct {
	key   any // a string, netip.Prefix, place or passwordDigest
	delay time.Duration
	most  int  // attempts under way by key, while there is a delay
	same  bool // the reason is another brake's too
}

// brakes gives the reasons that an attempt now has to wait. The caller holds mu.
func (t *throttle) brakes(at guess) []brake {
	if at.exempt {
		return nil
	}
	if at.known {
		f, _ := t.places.get(at.place)
		return []brake{{at.place, t.delay(t.left(f) + t.busy[at.place]/accountAtOnce), t.limits.AccountWaiting, false}}
	}
	network, _ := t.networks.get(at.network)
	all := []brake{{at.network, t.delay(t.left(network) - t.limits.NetworkFailures + t.busy[at.network]/networkAtOnce), t.limits.Waiting, false}}
	if at.account != "" {
		// Tickets and tokens say no name before they are looked at: with one for all of
		// them everybody would wait for any guesser.
		account, _ := t.accounts.get(at.account)
		delay := t.delay(t.left(account) + t.busy[at.account]/accountAtOnce)
		all = append(all, brake{at.account, delay, t.limits.AccountWaiting, false}, brake{at.place, delay, placeWaiting, true})
	}
	if at.password != (passwordDigest{}) {
		all = append(all, brake{at.password, t.delay(t.tries(at.password, at.account) - t.limits.PasswordAccounts), t.limits.Waiting, false})
	}
	return all
}

// standing says what an attempt now would wait.
func (t *throttle) standing(at guess) (longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.brakes(at) {
		longest = max(longest, b.delay)
	}
	return longest
}

// wait lets an attempt wait its delay. release must be called once when the attempt
// is decided. KindUnavailable when ctx ends or too many wait already, which is not said
// at once: who asks again at once would cost more than who waits.
func (t *throttle) wait(ctx context.Context, at guess) (release func(), err error) {
	t.mu.Lock()
	all := t.brakes(at)
	var delay time.Duration
	for _, b := range all {
		delay = max(delay, b.delay)
		if b.delay > 0 && t.busy[b.key] >= b.most {
			t.mu.Unlock()
			t.refused.Add(1)
			pause(ctx, t.limits.MaxDelay/2)
			return nil, mail.Errorf(mail.KindUnavailable, "Too many failed sign-ins at the moment; try again later.")
		}
	}
	for _, b := range all {
		t.busy[b.key]++
		if b.delay > 0 && b.delay >= t.limits.MaxDelay && !b.same {
			t.notices.slowed(b.key, t.now())
		}
	}
	t.mu.Unlock()

	release = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, b := range all {
			if t.busy[b.key]--; t.busy[b.key] == 0 {
				delete(t.busy, b.key)
			}
		}
	}
	if delay > 0 && !pause(ctx, delay) {
		release()
		return nil, &mail.Error{Kind: mail.KindUnavailable, Cause: ctx.Err()}
	}
	return release, nil
}

// pause tells whether the time passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// failed counts a failure.
func (t *throttle) failed(at guess) {
	if at.exempt {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if at.known {
		f, _ := t.places.get(at.place)
		t.places.put(at.place, t.add(f, 0))
		return
	}
	if at.account != "" {
		f, _ := t.accounts.get(at.account)
		t.accounts.put(at.account, t.add(f, 0))
	}
	f, _ := t.networks.get(at.network)
	t.networks.put(at.network, t.add(f, t.limits.NetworkFailures))
	if at.account != "" && at.password != (passwordDigest{}) {
		t.failedPassword(at)
	}
}

// failedPassword counts that a password was wrong for an account. That one was right is
// counted nowhere, so that no delay tells it.
func (t *throttle) failedPassword(at guess) {
	now := t.now()
	row, _ := t.passwords.get(at.password)
	by := slices.DeleteFunc(slices.Clone(row.by), func(b triedBy) bool {
		return b.account == at.account || now.Sub(b.at) >= t.limits.PasswordWindow
	})
	if most := t.limits.PasswordAccounts + t.steps(); len(by) >= most {
		by = by[len(by)-most+1:]
	}
	by = append(by, triedBy{at.account, at.network, now})
	t.passwords.put(at.password, tried{by})
	if len(by) > t.limits.PasswordAccounts {
		networks := map[netip.Prefix]bool{}
		for _, b := range by {
			networks[b.network] = true
		}
		t.notices.sprayed(at.password, len(by), len(networks), now)
	}
}

// succeeded forgets the failures of an account at a network that is known from now on.
// What others failed at stays counted: a guesser's own account must not help.
func (t *throttle) succeeded(p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.places.remove(p)
}

// SlowDown is what makes sign-ins wait at the moment: failures at an account, from a
// network, or from a known network of an account at it.
type SlowDown struct {
	Account string       // "" for a network
	Network netip.Prefix // the zero value for an account
	Delay   time.Duration
	Ends    time.Time // when nobody waits for it any more, if nothing fails until then
}

// SlowDowns lists what makes sign-ins wait, the longest delay first, at most most.
func (a *Authenticator) SlowDowns(most int) []SlowDown {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []SlowDown
	add := func(account string, network netip.Prefix, f failures, free int) {
		n := t.left(f) - free
		if d := t.delay(n); d > 0 {
			list = append(list, SlowDown{account, network, d, f.at.Add(time.Duration(f.n-free) * t.limits.Forget)})
		}
	}
	t.accounts.each(func(name string, f failures) { add(name, netip.Prefix{}, f, 0) })
	t.networks.each(func(n netip.Prefix, f failures) { add("", n, f, t.limits.NetworkFailures) })
	t.places.each(func(p place, f failures) { add(p.account, p.network, f, 0) })
	slices.SortStableFunc(list, func(a, b SlowDown) int {
		if a.Delay != b.Delay {
			return int(b.Delay - a.Delay)
		}
		return b.Ends.Compare(a.Ends)
	})
	return list[:min(len(list), most)]
}

// Lift forgets the failures at an account, by the name that clients give, or from a
// network, or, with both, of the account there. It tells whether there were any.
func (a *Authenticator) Lift(account string, network netip.Prefix) bool {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	var had bool
	switch {
	case account == "":
		had = t.networks.remove(network)
	case !network.IsValid():
		had = t.accounts.remove(account)
	default:
		had = t.places.remove(place{account, network})
	}
	return had
}
