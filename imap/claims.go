package imap

import (
	"context"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// What some commands hold grows with the mailbox: SORT and THREAD of a million messages,
// LIST of thousands of names of fifty levels. They claim it before they take it: of
// MaxCommandMemory, which a user's commands have together, and of twice as much, which
// all commands have. A command that finds none when it begins waits for others; what it
// needs later it gets at once or not at all, so that no two wait for each other.

const (
	// claimStep is how many nodes of a forest or a tree are claimed at once.
	claimStep = 1 << 13
	// claimWait is how long a command waits for memory.
	claimWait = 20 * time.Second

	messageMemory = 64  // bytes of a message that is sorted
	forestMemory  = 112 // of one that is threaded, or of one that is not there
	nodeMemory    = 288 // of a name in a tree, with its place in the map
)

var (
	errMemory     = mail.Errorf(mail.KindLimit, "This takes more memory than one user has; please ask for less.")
	errMemoryBusy = mail.Errorf(mail.KindUnavailable, "There is no memory for this at the moment; please try again.")
)

// claims counts what commands hold.
type claims struct {
	mu    sync.Mutex
	all   int64
	of    map[mail.AccountID]int64
	freed chan struct{} // closed when something is given back; nil when nobody waits
}

// take notes n bytes more of an account, of which it holds at most most. When there are
// none it gives a channel that is closed when some are given back.
func (m *claims) take(id mail.AccountID, n, most int64) (wait <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of[id]+n > most || m.all+n > 2*most {
		if m.freed == nil {
			m.freed = make(chan struct{})
		}
		return m.freed
	}
	if m.of == nil {
		m.of = map[mail.AccountID]int64{}
	}
	m.of[id] += n
	m.all += n
	return nil
}

func (m *claims) give(id mail.AccountID, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all -= n
	if m.of[id] -= n; m.of[id] == 0 {
		delete(m.of, id)
	}
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

// claim takes n bytes more for the command under way, until release. It waits for others
// only when the command has none yet. KindLimit when a command alone cannot have so much,
// KindUnavailable when others have it.
func (s *session) claim(ctx context.Context, n int64) error {
	most := settings.MaxCommandMemory.Of(s.server.settings())
	if s.claimed+n > most {
		return errMemory
	}
	id := s.account.ID()
	var late <-chan time.Time
	for {
		freed := s.server.claims.take(id, n, most)
		if freed == nil {
			s.claimed += n
			return nil
		}
		if s.claimed > 0 {
			return errMemoryBusy
		}
		if late == nil {
			timer := time.NewTimer(claimWait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-freed:
		case <-late:
			return errMemoryBusy
		case <-ctx.Done():
			return mail.Wrap(mail.KindUnavailable, ctx.Err())
		}
	}
}

// claimMore is claim for a command that has claimed.
func (s *session) claimMore(n int64) error { return s.claim(s.ctx, n) }

// release gives back what was claimed; the account is still there.
func (s *session) release() {
	if s.claimed > 0 {
		s.server.claims.give(s.account.ID(), s.claimed)
		s.claimed = 0
	}
}
