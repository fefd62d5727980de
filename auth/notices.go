package auth

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/settings"
)

// notices are what an administrator is to be told of guessing. They are collected here,
// bounded, and told by Authenticator.Run, so that a storm fills no log.
type notices struct {
	slow    map[any]*slowDown // that were begun and not ended
	begun   []any             // keys that are to be told
	sprays  map[passwordDigest]*spray
	further [2]int // slow-downs that were begun and ended, and are not told one by one
}

// slowDown is a time in which attempts waited MaxDelay.
type slowDown struct {
	key      any // as of a brake
	since    time.Time
	attempts int
}

// spray is a password that is wrong for many accounts.
type spray struct {
	accounts, networks int
	since              time.Time
	told               bool
}

// Bounds of what is told.
const (
	noticesEvery   = 2 * time.Second
	noticesAtOnce  = 10 // of one kind each noticesEvery; others are counted
	maxSlow        = 4096
	maxSprays      = 256
	maxNewNetworks = 50 // that wait to be told
)

func newNotices() notices {
	return notices{slow: map[any]*slowDown{}, sprays: map[passwordDigest]*spray{}}
}

// slowed notes an attempt that waits as long as any.
func (n *notices) slowed(key any, now time.Time) {
	s := n.slow[key]
	if s == nil {
		if len(n.slow) >= maxSlow {
			n.further[0]++
			return
		}
		s = &slowDown{key: key, since: now}
		n.slow[key] = s
		if len(n.begun) < noticesAtOnce {
			n.begun = append(n.begun, key)
		} else {
			n.further[0]++
		}
	}
	s.attempts++
}

// sprayed notes for how many accounts, at least, a password was wrong, from how many
// networks.
func (n *notices) sprayed(password passwordDigest, accounts, networks int, now time.Time) {
	s := n.sprays[password]
	if s == nil {
		if len(n.sprays) >= maxSprays {
			return // a guesser with many lists: those are told already
		}
		s = &spray{since: now}
		n.sprays[password] = s
	}
	s.accounts, s.networks = max(s.accounts, accounts), max(s.networks, networks)
}

// over tells whether nobody waits for a key any more. The caller holds mu.
func (t *throttle) over(key any) bool {
	switch k := key.(type) {
	case string:
		f, _ := t.accounts.get(k)
		return t.left(f) == 0
	case netip.Prefix:
		f, _ := t.networks.get(k)
		return t.left(f) <= t.limits.NetworkFailures
	case place:
		f, _ := t.places.get(k)
		return t.left(f) == 0
	case passwordDigest:
		return t.tries(k, "") <= t.limits.PasswordAccounts
	}
	return true
}

// take gives what is to be told, and forgets it.
func (t *throttle) take() (begun []any, ended []slowDown, sprays []spray, further [2]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &t.notices
	for key, s := range n.slow {
		if !t.over(key) {
			continue
		}
		delete(n.slow, key)
		if len(ended) < noticesAtOnce {
			ended = append(ended, *s)
		} else {
			n.further[1]++
		}
	}
	for password, s := range n.sprays {
		switch {
		case t.now().Sub(s.since) >= t.limits.PasswordWindow:
			delete(n.sprays, password) // told anew when it goes on
		case !s.told && len(sprays) < noticesAtOnce:
			s.told = true
			sprays = append(sprays, *s)
		}
	}
	begun, further = n.begun, n.further
	n.begun, n.further = nil, [2]int{}
	return begun, ended, sprays, further
}

// newNetworks wait to be told.
type newNetworks struct {
	mu      sync.Mutex
	list    []newNetwork
	further int
}

type newNetwork struct {
	user, mechanism string
	service         settings.Service
	network         netip.Prefix
}

func (n *newNetworks) add(row newNetwork) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) < maxNewNetworks {
		n.list = append(n.list, row)
	} else {
		n.further++
	}
}

func (n *newNetworks) take() (list []newNetwork, further int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list, further = n.list, n.further
	n.list, n.further = nil, 0
	return list, further
}

// Run tells of guessing in the log until ctx ends: what is slowed down and what not any
// more, sprayed passwords, and networks that are new to users.
func (a *Authenticator) Run(ctx context.Context) {
	tick := time.NewTicker(noticesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.tell(ctx)
		case <-ctx.Done():
			a.tell(context.WithoutCancel(ctx))
			return
		}
	}
}

func (a *Authenticator) tell(ctx context.Context) {
	begun, ended, sprays, further := a.throttle.take()
	for _, key := range begun {
		event.Guessing.Log(ctx, a.log, slowedBy(key)...)
	}
	if further[0] > 0 {
		event.Guessing.Log(ctx, a.log, "by", "others", "further", further[0])
	}
	for _, s := range ended {
		event.GuessingOver.Log(ctx, a.log, append(slowedBy(s.key), "attempts", s.attempts, "seconds", int(a.now().Sub(s.since).Seconds()))...)
	}
	if further[1] > 0 {
		event.GuessingOver.Log(ctx, a.log, "by", "others", "further", further[1])
	}
	for _, s := range sprays {
		event.Spraying.Log(ctx, a.log, "users", s.accounts, "networks", s.networks)
	}
	fresh, more := a.newNetworks.take()
	for _, n := range fresh {
		event.NewNetwork.Log(ctx, a.log, "service", n.service, "user", n.user, "network", n.network.String(), "mechanism", n.mechanism)
	}
	if more > 0 {
		event.NewNetwork.Log(ctx, a.log, "further", more)
	}
}

// slowedBy gives the attributes of what slows down.
func slowedBy(key any) []any {
	switch k := key.(type) {
	case string:
		return []any{"by", "account", "name", k}
	case netip.Prefix:
		return []any{"by", "network", "network", k.String()}
	case place:
		return []any{"by", "account at its known network", "name", k.account, "network", k.network.String()}
	}
	return []any{"by", "password"}
}
