package manage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestProgress: who accepts it hears how far each cmdlet is that may take long, to the end of
// what it does, and not more often than a bar changes.
func TestProgress(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	defer f.Close()
	alice := "alice@example.org"
	subjects := make([]string, 600)
	for i := range subjects {
		subjects[i] = fmt.Sprint("letter ", i)
	}
	deleteLetters(t, f, subjects...)
	f.Store.Damages = map[mail.AccountID][]store.Damage{1: {{Part: store.DamagedBody, Mailbox: "INBOX", UID: 7, Detail: "It is missing."}, {Part: store.DamagedCount, Mailbox: "INBOX"}}}
	for _, c := range []struct {
		cmdlet     string
		args       args
		activities []string
		last       int64
	}{
		{"Get-RecoverableItem", args{"Identity": alice, "ResultSize": "unlimited"}, []string{"Looking through deleted messages"}, 600},
		{"Restore-RecoverableItem", args{"Identity": alice, "FilterEndTime": "2000-01-01"}, []string{"Looking through deleted messages"}, 600},
		{"Restore-RecoverableItem", args{"Identity": alice, "ResultSize": 550}, []string{"Looking through deleted messages", "Restoring messages"}, 550},
		{"Remove-RecoverableItem", args{"Identity": alice, "ResultSize": "unlimited", "Confirm": false}, []string{"Looking through deleted messages", "Removing messages"}, 50},
		{"Get-RecoverableItem", args{"Identity": alice}, nil, 0},
		{"Test-Store", args{"Identity": alice}, []string{"Counting messages", "Reading messages"}, 12},
		{"Repair-Mailbox", args{"Identity": alice}, []string{"Looking for damages"}, 12},
		{"Repair-Mailbox", args{"Identity": alice, "Confirm": false}, []string{"Looking for damages", "Mending messages"}, 2},
	} {
		var heard []manage.Progress
		var activities []string
		began := time.Now()
		if _, err := client.RunLong(t.Context(), c.cmdlet, c.args, func(p manage.Progress) {
			if len(heard) > 0 && heard[len(heard)-1].Activity == p.Activity && heard[len(heard)-1].Done > p.Done {
				t.Errorf("%s: %+v after %+v", c.cmdlet, p, heard)
			}
			if !slices.Contains(activities, p.Activity) {
				activities = append(activities, p.Activity)
			}
			heard = append(heard, p)
		}); err != nil {
			t.Fatal(c.cmdlet, err)
		}
		if !slices.Equal(activities, c.activities) {
			t.Errorf("%s %v: it was at %q", c.cmdlet, c.args, activities)
			continue
		}
		if most := 2*len(activities) + int(time.Since(began)/(200*time.Millisecond)); len(heard) > most {
			t.Errorf("%s: told %d times, at most %d: %+v", c.cmdlet, len(heard), most, heard)
		}
		if c.activities == nil {
			continue
		}
		if last := heard[len(heard)-1]; last.Unit != "" || last.All < c.last || c.cmdlet != "Test-Store" && (last.Done != c.last || last.All != c.last) {
			t.Errorf("%s: at last %+v", c.cmdlet, last)
		}
	}
	// One that is followed tells it beside its rows.
	rows := 0
	var heard []manage.Progress
	if err := client.Follow(t.Context(), "Test-Store", nil, func(*manage.Result) error { return nil }, func(manage.Object) error { rows++; return nil }, func(p manage.Progress) { heard = append(heard, p) }); err != nil {
		t.Fatal(err)
	}
	if rows != 3 || len(heard) < 2 || heard[0].Activity != "Counting messages" || heard[len(heard)-1].Activity != "Reading messages" {
		t.Errorf("%d rows, %+v", rows, heard)
	}
}

// gated lets changes through one at a time once there is a gate.
type gated struct {
	store.Engine
	gate atomic.Pointer[chan struct{}]
}

func (g *gated) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	if gate := g.gate.Load(); gate != nil {
		<-*gate
	}
	return g.Engine.Commit(ctx, b)
}

// TestEnded: a restoring that is ended in its midst ends at once for who waited for it and
// after the change under way for the server, whose record says how much was done; each
// message is there once, and the same call brings back the rest.
func TestEnded(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	f.Close() // its store is another one
	const letters, alice = 5000, "alice@example.org"
	engine := &gated{Engine: memory.New()}
	if _, err := engine.Commit(t.Context(), &store.Batch{Create: true, Account: store.AccountRecord{ID: 1, ModSeq: 1, NextMailbox: 2, NextEmail: 1, NextUIDValidity: 2},
		Mailboxes: []store.MailboxRecord{{ID: 1, Name: store.Inbox, UIDValidity: 1, UIDNext: 1, RecentFrom: 1, HighestModSeq: 1}}}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(engine, store.Options{Recovery: store.Recovery{Retention: 24 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f.Server.Folders = s
	a, err := s.Account(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	arrivals := make([]store.Arrival, letters)
	for i := range arrivals {
		arrivals[i].Prepared = s.Prepare(fmt.Appendf(nil, "Subject: letter %d\r\n\r\nText\r\n", i))
	}
	if _, err := a.Append(t.Context(), store.Inbox, arrivals...); err != nil {
		t.Fatal(err)
	}
	inbox, err := a.Select(t.Context(), store.Inbox, false)
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	if _, _, err := inbox.Remove(t.Context(), mail.NumSet{{First: 1, Last: mail.MaxNum}}); err != nil {
		t.Fatal(err)
	}
	// once tells that each message is in INBOX or recoverable, and gives how many are in INBOX.
	once := func() int {
		t.Helper()
		inbox.Poll(true)
		there := map[mail.EmailID]bool{}
		for seq := range inbox.View().Len() {
			there[inbox.View().At(uint32(seq+1)).Email] = true
		}
		back := len(there)
		if back != inbox.View().Len() {
			t.Errorf("%d messages are in INBOX, %d of them once", inbox.View().Len(), back)
		}
		list, _, err := a.Recoverable(t.Context(), store.RecoverableFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			there[list[i].Email] = true
		}
		if back+len(list) != letters || len(there) != letters {
			t.Errorf("%d messages are in INBOX, and %d can be brought back", back, len(list))
		}
		return back
	}

	gate := make(chan struct{})
	engine.gate.Store(&gate)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := client.RunLong(ctx, "Restore-RecoverableItem", args{"Identity": alice, "ResultSize": "unlimited"}, nil)
		ended <- err
	}()
	gate <- struct{}{}
	gate <- struct{}{}
	cancel()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(mail.TextOf(err), "ended before it was done") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("who ended it waits for it")
	}
	for len(f.Audit.Records()) == 0 {
		select {
		case gate <- struct{}{}:
		case <-time.After(50 * time.Millisecond): // the server hears of it meanwhile
		}
		time.Sleep(50 * time.Millisecond)
	}
	engine.gate.Store(nil)
	back := once()
	if back < 2*256 || back >= letters {
		t.Errorf("%d messages were brought back", back)
	}
	if r := f.Audit.Records()[0]; r.Outcome == "OK" || r.Error != fmt.Sprintf("%d of %d messages were restored, then: it was ended", back, letters) {
		t.Errorf("%s: %s", r.Outcome, r.Error)
	}
	if _, err := client.RunLong(t.Context(), "Restore-RecoverableItem", args{"Identity": alice, "ResultSize": "unlimited"}, nil); err != nil {
		t.Fatal(err)
	}
	if back := once(); back != letters {
		t.Errorf("%d messages were brought back at last", back)
	}
}
