package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestMoveBothWays: of two who move a message at the same time, one within the account and
// one into another account, only one finds it.
func TestMoveBothWays(t *testing.T) {
	s, owner := open(t, memory.New())
	other, _ := person(t, s)
	for round := range 200 {
		done, err := owner.Append(ctx, store.Inbox, store.Arrival{Prepared: s.Prepare(fmt.Appendf(nil, "Subject: %d\r\n\r\n", round))})
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		moved := make([]store.Copied, 2)
		for i, to := range []store.Visit{owner.Own(), other.Own()} {
			m, err := owner.Select(ctx, store.Inbox, false)
			if err != nil {
				t.Fatal(err)
			}
			wait.Go(func() {
				defer m.Close()
				var err error
				if moved[i], err = m.MoveTo(ctx, mail.UIDSet(done.UIDs...), to, "Trash"); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if n := len(moved[0].To) + len(moved[1].To); n != 1 {
			t.Fatalf("round %d: %d moves found the message", round, n)
		}
	}
}

// slowPublish is an engine that keeps who has expunged something waiting when it is durable.
type slowPublish struct {
	store.Engine
	durable, release chan struct{}
}

func (e *slowPublish) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	wait, err := e.Engine.Commit(ctx, b)
	if len(b.Expunged) == 0 || err != nil {
		return wait, err
	}
	return func() error {
		err := wait()
		close(e.durable)
		<-e.release
		return err
	}, nil
}

// TestMoveWhatGoes: of two who move a message into another account while somebody expunges it,
// and has not come to show that, only one finds it at most.
func TestMoveWhatGoes(t *testing.T) {
	e := &slowPublish{memory.New(), make(chan struct{}), make(chan struct{})}
	s, owner := open(t, e)
	other, _ := person(t, s)
	done := put(t, s, owner, store.Inbox, 1, 0)
	var sessions []*store.Mailbox
	for range 3 {
		sessions = append(sessions, sel(t, owner, store.Inbox))
	}
	uids := mail.UIDSet(done.UIDs...)
	if _, err := sessions[0].CopyTo(ctx, uids, owner.Own(), "Trash"); err != nil { // so that its content stays
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, _, err := sessions[0].Remove(ctx, uids); err != nil {
			t.Error(err)
		}
	})
	<-e.durable
	found := 0
	for _, m := range sessions[1:] {
		moved, err := m.MoveTo(ctx, uids, other.Own(), "Trash")
		if err != nil {
			t.Error(err)
		}
		found += len(moved.To)
	}
	close(e.release)
	wait.Wait()
	if found > 1 {
		t.Errorf("%d moves found the message", found)
	}
}

// TestHalfMove: a MOVE into another account that the server's end cut in two is ended when
// the store is opened, also where what is expunged is kept for a while.
func TestHalfMove(t *testing.T) {
	ctx := context.Background()
	e := memory.New()
	s, err := store.Open(e.Server(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Account(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	done, err := a.Append(ctx, store.Inbox, store.Arrival{Prepared: s.Prepare([]byte("Subject: one\r\n\r\n"))})
	if err != nil {
		t.Fatal(err)
	}
	half, err := json.Marshal(map[string]any{"account": id, "mailbox": done.Mailbox, "uids": mail.UIDSet(done.UIDs...)})
	if err == nil {
		err = s.PutRecords(ctx, []store.Record{{Kind: "move", Key: "half", Value: half}})
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if s, err = store.Open(e.Server(), store.Options{Recovery: store.Recovery{Retention: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if a, err = s.Account(ctx, id); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if r, ok := a.Mailbox(store.Inbox); !ok || r.Messages != 0 {
		t.Errorf("%d messages are left", r.Messages)
	}
	if left, err := s.Records(ctx, "move", ""); err != nil || len(left) != 0 {
		t.Errorf("%d records of moves are left, %v", len(left), err)
	}
}
