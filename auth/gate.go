package auth

import (
	"context"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// gate lets a bounded number of verifications run at once. Those known to the
// account's network go before the others, each kind in the order it came.
type gate struct {
	wait time.Duration

	mu    sync.Mutex
	free  int
	first []chan struct{}
	then  []chan struct{}
}

// enter waits for a turn, at most the gate's wait, then KindUnavailable. done must
// be called once.
func (g *gate) enter(ctx context.Context, known bool) (done func(), err error) {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return g.leave, nil
	}
	turn := make(chan struct{})
	queue := &g.then
	if known {
		queue = &g.first
	}
	*queue = append(*queue, turn)
	g.mu.Unlock()

	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	var cause error
	select {
	case <-turn:
		return g.leave, nil
	case <-timer.C:
	case <-ctx.Done():
		cause = ctx.Err()
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	for i, c := range *queue {
		if c == turn {
			*queue = append((*queue)[:i], (*queue)[i+1:]...)
			return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "Too many sign-ins at the moment; try again later.", Cause: cause}
		}
	}
	return g.leave, nil // the turn came at the same moment
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&g.first, &g.then} {
		if len(*queue) > 0 {
			close((*queue)[0])
			*queue = (*queue)[1:]
			return
		}
	}
	g.free++
}
