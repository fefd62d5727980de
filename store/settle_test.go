package store_test

import (
	"context"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// pausing is an engine whose next Commit, once armed, is durable some time before its
// session hears of it.
type pausing struct {
	store.Engine
	durable, goOn chan struct{} // nil: not armed
}

func (p *pausing) arm() (durable, goOn chan struct{}) {
	p.durable, p.goOn = make(chan struct{}), make(chan struct{})
	return p.durable, p.goOn
}

func (p *pausing) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	wait, err := p.Engine.Commit(ctx, b)
	durable, goOn := p.durable, p.goOn
	p.durable, p.goOn = nil, nil
	if err != nil || durable == nil {
		return wait, err
	}
	return func() error {
		err := wait()
		close(durable)
		<-goOn
		return err
	}, nil
}

// TestNothingToChange: who changes nothing because another session has just done it is shown
// what that one did, also while that one does not know yet that it is done.
func TestNothingToChange(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		p := &pausing{Engine: e}
		s, a := open(t, p)
		uid := mail.UIDSet(put(t, s, a, "INBOX", 1, 0).UIDs[0])
		if _, err := a.CreateMailbox(ctx, "Other", ""); err != nil {
			t.Fatal(err)
		}
		first, second := sel(t, a, "INBOX"), sel(t, a, "INBOX")
		change := store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}
		durable, goOn := p.arm()
		done := make(chan error)
		go func() {
			_, err := first.StoreFlags(ctx, uid, change, nil)
			done <- err
		}()
		<-durable
		put(t, s, a, "Other", 1, 0) // which is durable after the first
		stored, err := second.StoreFlags(ctx, uid, change, nil)
		second.Poll(false)
		if err != nil || len(stored.Changed) > 0 || !second.View().At(1).Flags.Has(mail.Seen) {
			t.Errorf("changed %v, %v; the message has the flags %b", stored.Changed, err, second.View().At(1).Flags)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if first.Poll(false); !first.View().At(1).Flags.Has(mail.Seen) {
			t.Error("the first session is not shown what it did")
		}
	})
}
