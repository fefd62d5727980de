package role

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory/chain"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/manage"
)

// others knows which kinds of records other servers of the same store changed since
// this one read them.
type others struct {
	wake chan struct{} // has something as soon as there are kinds to take

	mu    sync.Mutex
	kinds map[string]bool // "" is every kind
}

func newOthers() *others {
	return &others{wake: make(chan struct{}, 1), kinds: map[string]bool{}}
}

// tell is store.Options.Changed.
func (o *others) tell(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kinds[kind] = true
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take gives the kinds that were told, and forgets them.
func (o *others) take() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	kinds := o.kinds
	o.kinds = map[string]bool{}
	return kinds
}

// rereads is what a server keeps in memory of records: everything else is read when it
// is asked for.
var rereads = []struct {
	kinds []string
	read  func(ctx context.Context, s *Server) error
}{
	{[]string{dirembedded.RecordKind}, func(ctx context.Context, s *Server) error { return s.own.Refresh(ctx) }},
	{[]string{chain.RecordKind}, func(ctx context.Context, s *Server) error {
		if s.chain == nil {
			return nil
		}
		return s.chain.Refresh(ctx)
	}},
	{[]string{manage.LoginPolicyKind, manage.LoginGroupKind}, func(ctx context.Context, s *Server) error { return s.manage.LoadLoginPolicy(ctx) }},
	{[]string{settingKind}, func(ctx context.Context, s *Server) error { return s.settings.Reload(ctx) }},
	{[]string{auth.KnownNetworkKind}, func(_ context.Context, s *Server) error { s.auth.Networks().Forget(); return nil }},
}

// rereadAgain is how long it waits after records that could not be read.
const rereadAgain = time.Second

// followOthers takes over what other servers changed, until ctx is done: who there is,
// passwords that are remembered with them, policies, settings. What cannot be read is
// tried again; the old holds until then.
func (s *Server) followOthers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.others.wake:
		}
		kinds := s.others.take()
		failed := false
		for _, r := range rereads {
			if !kinds[""] && !slices.ContainsFunc(r.kinds, func(kind string) bool { return kinds[kind] }) {
				continue
			}
			if err := r.read(ctx, s); err != nil && ctx.Err() == nil {
				s.log.Warn("what another server changed cannot be read; it is tried again", "kinds", r.kinds, "error", err)
				for _, kind := range r.kinds {
					s.others.tell(kind)
				}
				failed = true
			}
		}
		if failed {
			select {
			case <-ctx.Done():
			case <-time.After(rereadAgain):
			}
		}
	}
}
