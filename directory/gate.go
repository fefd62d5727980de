package directory

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// GateLimits bound the proving of passwords in one directory. A zero field takes its
// default.
type GateLimits struct {
	// AtOnce is how many may run; default 2 × GOMAXPROCS.
	AtOnce int
	// Strangers is how many of them may be for people at places that are not known to
	// them, so that these never take all; default a quarter of AtOnce, which is half of
	// the cores, at least 1.
	Strangers int
	// Memory is what all that run may use together, in bytes; 0 is no bound. One that
	// needs more than that runs alone.
	Memory int64
	// Queue is how many strangers may wait for a turn; default 256. For the others
	// it is four times as long.
	Queue int
	// Wait is the longest wait for a turn; default 10 s: everybody's programs come back
	// at once after a restart, and those that hear "try later" tell their user.
	Wait time.Duration
}

// TotalMemory is what the verifications of one directory may take together, in bytes.
const TotalMemory = 512 << 20

// Gate lets a bounded number of verifications run at once. Those of an account's known
// networks (Prefer) go before the others, each kind in the order in which it came. Its
// methods are called from many goroutines.
type Gate struct {
	limits GateLimits

	mu      sync.Mutex
	running int
	memory  int64     // of those that run
	first   list.List // *turn
	then    list.List // *turn
}

type turn struct {
	memory int64
	come   chan struct{}
}

// NewGate makes a Gate.
func NewGate(l GateLimits) *Gate {
	if l.AtOnce <= 0 {
		l.AtOnce = 2 * runtime.GOMAXPROCS(0)
	}
	if l.Strangers <= 0 {
		l.Strangers = max(1, l.AtOnce/4)
	}
	if l.Queue <= 0 {
		l.Queue = 256
	}
	if l.Wait <= 0 {
		l.Wait = 10 * time.Second
	}
	return &Gate{limits: l}
}

type preferred struct{}

// Prefer marks what is done for somebody at a known place: gates let it go first.
func Prefer(ctx context.Context) context.Context { return context.WithValue(ctx, preferred{}, true) }

// Preferred tells whether ctx came from Prefer.
func Preferred(ctx context.Context) bool { return ctx.Value(preferred{}) != nil }

// fullPause is how long somebody waits to hear that the queue is full.
const fullPause = time.Second

var errFull = errors.New("the queue of verifications is full")

// Enter waits for a turn of a verification that needs so many bytes of memory.
// KindUnavailable when none came within the wait; who finds the queue full hears that
// after a second, so that asking again at once gains nothing. done must be called once.
func (g *Gate) Enter(ctx context.Context, memory int64) (done func(), err error) {
	t := &turn{memory, make(chan struct{})}
	queue, most := &g.then, g.limits.Queue
	if Preferred(ctx) {
		queue, most = &g.first, 4*g.limits.Queue
	}
	var place *list.Element
	var cause error
	wait := g.limits.Wait
	g.mu.Lock()
	if queue.Len() < most {
		place = queue.PushBack(t)
		g.next()
	} else {
		cause, wait = errFull, min(wait, fullPause)
	}
	g.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-t.come:
	case <-timer.C:
	case <-ctx.Done():
		cause = ctx.Err()
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-t.come: // or it came at the same moment
		return func() { g.leave(t) }, nil
	default:
	}
	if place != nil {
		queue.Remove(place)
		g.next() // it may have been too large for the memory that is left, and in the way
	}
	return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "Too many sign-ins at the moment; try again later.", Cause: cause}
}

func (g *Gate) leave(t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.memory -= t.memory
	g.next()
}

// next lets in who may run now. The caller holds mu.
func (g *Gate) next() {
	for g.admit(&g.first, g.limits.AtOnce) || g.first.Len() == 0 && g.admit(&g.then, g.limits.Strangers) {
	}
}

// admit lets in the first of a queue while fewer than most run.
func (g *Gate) admit(queue *list.List, most int) bool {
	e := queue.Front()
	if e == nil || g.running >= most {
		return false
	}
	t := e.Value.(*turn)
	// Strangers leave the others' share of the memory alone, too.
	share := g.limits.Memory / int64(g.limits.AtOnce) * int64(most)
	if g.limits.Memory > 0 && g.running > 0 && g.memory+t.memory > share {
		return false
	}
	queue.Remove(e)
	g.running++
	g.memory += t.memory
	close(t.come)
	return true
}
