package directory

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
)

// crowd goes through a gate, each taking some time, and tells how it went.
type crowd struct {
	gate *Gate
	took time.Duration

	wait          sync.WaitGroup
	mu            sync.Mutex
	running, most int
	memory, peak  int64
	order         []string
	refused       []time.Duration // after which wait
}

func (c *crowd) come(ctx context.Context, name string, memory int64) {
	began := time.Now()
	c.wait.Go(func() {
		done, err := c.gate.Enter(ctx, memory)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.refused = append(c.refused, time.Since(began))
			return
		}
		c.order = append(c.order, name)
		c.running, c.memory = c.running+1, c.memory+memory
		c.most, c.peak = max(c.most, c.running), max(c.peak, c.memory)
		c.mu.Unlock()
		time.Sleep(c.took)
		c.mu.Lock()
		c.running, c.memory = c.running-1, c.memory-memory
		done()
	})
}

// left checks that nothing stays behind.
func (c *crowd) left(t *testing.T) {
	t.Helper()
	c.wait.Wait()
	if g := c.gate; g.running != 0 || g.memory != 0 || g.first.Len()+g.then.Len() != 0 {
		t.Errorf("the gate is left with %d running, %d bytes, %d and %d waiting", g.running, g.memory, g.first.Len(), g.then.Len())
	}
}

// So many run at once and no more; who waits longer than the bound is told to come
// again, and so, as late, is who finds the queue full.
func TestGateBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd{gate: NewGate(GateLimits{AtOnce: 4, Strangers: 3, Queue: 20, Wait: time.Second}), took: 400 * time.Millisecond}
		for range 30 {
			c.come(t.Context(), "", 0)
		}
		synctest.Wait()
		c.gate.mu.Lock()
		if n := c.gate.then.Len(); n != 20 {
			t.Errorf("%d wait in the queue", n)
		}
		c.gate.mu.Unlock()
		c.left(t)
		// 0.4, 0.8 and 1.2 s: three rounds of three begin within the second.
		if c.most != 3 || len(c.order) != 9 || len(c.refused) != 21 {
			t.Errorf("%d at once, %d ran, %d refused", c.most, len(c.order), len(c.refused))
		}
		for _, d := range c.refused {
			if d != time.Second {
				t.Errorf("refused after %v", d)
			}
		}
	})
}

// A storm of strangers cannot keep those from waiting who are preferred: they have a
// part for themselves and go first.
func TestGatePrefers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd{gate: NewGate(GateLimits{AtOnce: 2, Strangers: 1, Queue: 4}), took: 100 * time.Millisecond}
		for range 100 {
			c.come(t.Context(), "stranger", 0)
		}
		synctest.Wait()
		began := time.Now()
		c.come(Prefer(t.Context()), "known", 0)
		synctest.Wait()
		c.mu.Lock()
		if !slices.Equal(c.order, []string{"stranger", "known"}) || !time.Now().Equal(began) {
			t.Errorf("in the order %v", c.order)
		}
		c.mu.Unlock()
		for range 3 {
			c.come(Prefer(t.Context()), "known", 0)
		}
		c.left(t)
		want := []string{"stranger", "known", "known", "known", "known", "stranger", "stranger", "stranger", "stranger"}
		if !slices.Equal(c.order, want) {
			t.Errorf("in the order %v, want %v", c.order, want)
		}
	})
}

// The memory of all that run is bounded; what needs more than there is runs alone.
func TestGateMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd{gate: NewGate(GateLimits{AtOnce: 10, Strangers: 10, Memory: 100}), took: 100 * time.Millisecond}
		for _, memory := range []int64{60, 60, 30, 5, 500, 10} {
			c.come(t.Context(), "", memory)
			synctest.Wait()
		}
		c.left(t)
		if len(c.order) != 6 || c.peak != 500 {
			t.Errorf("%d ran, %d bytes at most", len(c.order), c.peak)
		}
		c.order, c.peak = nil, 0
		for range 20 {
			c.come(t.Context(), "", 30)
		}
		c.left(t)
		if c.most != 3 || c.peak != 90 || len(c.order) != 20 {
			t.Errorf("%d at once, %d bytes, %d ran", c.most, c.peak, len(c.order))
		}
	})
}

func TestGateObeysContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateLimits{AtOnce: 1, Wait: time.Minute})
		leave, err := g.Enter(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = g.Enter(Prefer(ctx), 0); mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("cancelled: %v", err)
		}
		leave()
		if g.running != 0 || g.first.Len() != 0 {
			t.Errorf("the gate is left with %+v", g)
		}
	})
}
