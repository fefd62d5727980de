package krb5

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Replays remembers which authenticators were used, so that none is used twice
// (RFC 4120, 3.2.3). It belongs to one server.
type Replays struct {
	skew time.Duration
	now  func() time.Time

	mu      sync.Mutex
	began   time.Time // what is older may have been used before this server ran
	turned  time.Time
	current map[[sha256.Size]byte]struct{}
	before  map[[sha256.Size]byte]struct{}
}

// maxReplays bounds the authenticators of one generation.
const maxReplays = 1 << 17

// NewReplays makes an empty memory for authenticators that may be skew away from now.
func NewReplays(skew time.Duration, now func() time.Time) *Replays {
	return &Replays{skew: skew, now: now, began: now(), turned: now(), current: map[[sha256.Size]byte]struct{}{}}
}

// use takes an authenticator, encrypted, that was made at a time. It is used when
// nobody used it before: refused, or KindUnavailable when there are too many to say.
func (r *Replays) use(authenticator []byte, made time.Time) error {
	key := sha256.Sum256(authenticator)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	// One that is accepted now may come again until 2 × skew from now. So long at least
	// a generation is kept after its last one came.
	if past := now.Sub(r.turned); past >= 2*r.skew {
		r.before = r.current
		if past >= 4*r.skew {
			r.before = nil
		}
		r.current, r.turned = map[[sha256.Size]byte]struct{}{}, now
	}
	if made.Before(r.began) {
		return refused("the authenticator was made before this server began to remember them; the next one is taken")
	}
	_, seen := r.current[key]
	if _, old := r.before[key]; seen || old {
		return refused("the authenticator was used before")
	}
	if len(r.current) >= maxReplays {
		return unavailable("%d tickets in %s are too many to remember", maxReplays, 2*r.skew)
	}
	r.current[key] = struct{}{}
	return nil
}
