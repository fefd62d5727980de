package auth

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// verified remembers for a short while which passwords were right, so that a client
// that signs in every minute costs no Argon2id. It keeps a keyed digest (the key
// is this process's and never stored), knows no wrong passwords, and a row counts
// only while the entry's password is the one that was proved.
type verified struct {
	key []byte
	ttl time.Duration
	now func() time.Time

	mu     sync.Mutex
	rows   *table[[sha256.Size]byte, proved]
	proofs map[proof]chan struct{} // those that run; closed at their end
}

// proof is of a password, at a place that is known to the user or at another.
type proof struct {
	digest [sha256.Size]byte
	known  bool
}

type proved struct {
	until   time.Time
	account mail.AccountID
	source  string    // Entry.Directory and ID: two people have no account yet
	changed time.Time // Entry.PasswordChanged
}

func newVerified(l Limits, key []byte, now func() time.Time) *verified {
	return &verified{key: key, ttl: l.Verified, now: now, rows: newTable[[sha256.Size]byte, proved](l.VerifiedEntries), proofs: map[proof]chan struct{}{}}
}

// join waits while another attempt proves the same password of the same name, when one
// does: a mail program opens several connections at once, and what the first proved the
// others find remembered. Where nothing is remembered they go on side by side. Who is at
// a known place, and goes first at the gate, does not wait for somebody in the other queue.
// ended must be called once.
func (v *verified) join(ctx context.Context, name, password string, known bool) (ended func()) {
	if v.ttl <= 0 {
		return func() {}
	}
	p := proof{directory.Digest(v.key, name, password), known}
	v.mu.Lock()
	runs, ok := v.proofs[p]
	if !ok {
		runs = make(chan struct{})
		v.proofs[p] = runs
	}
	v.mu.Unlock()
	if ok {
		select {
		case <-runs:
		case <-ctx.Done():
		}
		return func() {}
	}
	return func() {
		v.mu.Lock()
		delete(v.proofs, p)
		v.mu.Unlock()
		close(runs)
	}
}

func (v *verified) remember(name, password string, e *directory.Entry) {
	if v.ttl <= 0 {
		return
	}
	d := directory.Digest(v.key, name, password)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rows.put(d, proved{v.now().Add(v.ttl), e.Account, sourceOf(e), e.PasswordChanged})
}

// sourceOf names who an entry is outside, "" for our own.
func sourceOf(e *directory.Entry) string {
	if e.Directory == "" {
		return ""
	}
	return e.Directory + "/" + e.ID
}

// remembered gives the entry when the password was right a short while ago and
// still is, nil when that is not known.
func (a *Authenticator) remembered(ctx context.Context, name, password string) (*directory.Entry, error) {
	v := a.verified
	if v.ttl <= 0 {
		return nil, nil
	}
	d := directory.Digest(v.key, name, password)
	v.mu.Lock()
	p, ok := v.rows.get(d)
	v.mu.Unlock()
	if !ok {
		return nil, nil
	}
	if v.now().Before(p.until) {
		e, err := a.directory.Lookup(ctx, name)
		switch {
		case err == nil && e.Account == p.account && sourceOf(e) == p.source && e.PasswordChanged.Equal(p.changed) && e.Enabled:
			return e, nil
		case err != nil && mail.KindOf(err) != mail.KindNotFound:
			return nil, refused(err)
		}
	}
	v.mu.Lock()
	v.rows.remove(d)
	v.mu.Unlock()
	return nil, nil
}
