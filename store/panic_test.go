package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// panicking is an engine that breaks down when it shall.
type panicking struct {
	store.Engine
	commit, wait atomic.Bool
}

func (p *panicking) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	if p.commit.Swap(false) {
		panic("commit")
	}
	durable, err := p.Engine.Commit(ctx, b)
	if err == nil && p.wait.Swap(false) {
		return func() error { panic("wait") }, nil
	}
	return durable, err
}

// TestPanic: a session that breaks down in the middle of a change leaves its account
// to the others.
func TestPanic(t *testing.T) {
	e := &panicking{Engine: memory.New()}
	s, a := open(t, e)
	breaks := func() {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, err := a.CreateMailbox(ctx, "broken", "")
		t.Errorf("created: %v", err)
	}
	e.commit.Store(true)
	breaks()
	done := make(chan struct{})
	go func() {
		defer close(done)
		put(t, s, a, store.Inbox, 1, 0)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the account is locked for ever")
	}
	if m := sel(t, a, store.Inbox); m.View().Len() != 1 {
		t.Error(m.View().Len())
	}

	// What the disk did is not known: who depends on it is told.
	e.wait.Store(true)
	breaks()
	if err := a.Subscribe(ctx, store.Inbox); err == nil || mail.KindOf(err) != mail.KindServerBug {
		t.Error(err)
	}
	put(t, s, a, store.Inbox, 1, 0)
}
