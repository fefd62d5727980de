package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestOwnersReadingIsNotTold: a guest's session is not told of messages in which nothing
// changed but the owner's own flags.
func TestOwnersReadingIsNotTold(t *testing.T) {
	s, alice := open(t, memory.New())
	_, bob := person(t, s)
	grant(t, alice.Own(), "INBOX", mail.Grantee{Account: bob.Account}, "lrs")
	put(t, s, alice, "INBOX", 3, 0)
	m, err := alice.Visit(bob).Select(ctx, "INBOX", false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	own := sel(t, alice, "INBOX")
	set := func(uid mail.UID, f mail.Flags, k ...string) {
		t.Helper()
		if _, err := own.StoreFlags(ctx, mail.UIDSet(uid), store.FlagChange{Op: store.FlagsAdd, Flags: f, Keywords: k}, nil); err != nil {
			t.Fatal(err)
		}
	}
	set(2, mail.Seen, "secret")
	if c := m.Poll(true); len(c.Changed) > 0 || c.Keywords {
		t.Errorf("told of what is the owner's: %+v", c)
	}
	set(1, mail.Seen)
	set(3, mail.Flagged)
	if c := m.Poll(true); len(c.Changed) != 1 || c.Changed[0] != 3 {
		t.Errorf("told %+v", c)
	}
}

// TestGuestsAtOnce: sessions of two guests and of the owner come, are asked for their
// rights, change flags and go, all at once; each keeps its own flags. It is for the race
// detector, too.
func TestGuestsAtOnce(t *testing.T) {
	s, alice := open(t, memory.New())
	const messages, rounds = 40, 30
	put(t, s, alice, "INBOX", messages, 0)
	guests := make([]mail.Person, 3)
	for i := range guests {
		_, guests[i] = person(t, s)
		grant(t, alice.Own(), "INBOX", mail.Grantee{Account: guests[i].Account}, "lrsw")
	}
	var all sync.WaitGroup
	for i, g := range guests {
		for half := range 2 {
			all.Go(func() {
				for n := range rounds {
					m, err := alice.Visit(g).Select(ctx, "INBOX", false)
					if err != nil {
						t.Error(err)
						return
					}
					m.SetGuest(mail.Person{Account: g.Account, Groups: []string{"g"}})
					uid := mail.UID(1 + (2*n+half)%messages)
					if _, err := m.StoreFlags(ctx, mail.UIDSet(uid), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen, Keywords: []string{string(rune('a' + i))}}, nil); err != nil {
						t.Error(err)
					}
					before := m.Record().HighestModSeq
					m.Poll(true)
					if m.Record().HighestModSeq < before || flagsOf(m, uid) != `\Seen `+string(rune('a'+i)) {
						t.Errorf("guest %d has %q, HIGHESTMODSEQ %d after %d", i, flagsOf(m, uid), m.Record().HighestModSeq, before)
					}
					m.Close()
				}
			})
		}
	}
	all.Wait()
	if own := sel(t, alice, "INBOX"); own.Record().Unseen != messages || len(own.Record().Keywords) != 0 {
		t.Errorf("the owner has %d unseen of %d, keywords %q", own.Record().Unseen, messages, own.Record().Keywords)
	}
}

// TestMovesCross: two people move messages out of each other's mailboxes, and both ways
// at once. Nobody waits for the other forever, and each message is in one place.
func TestMovesCross(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, _ := open(t, e)
		var accounts [2]*store.Account
		var people [2]mail.Person
		for i := range accounts {
			accounts[i], people[i] = person(t, s)
			put(t, s, accounts[i], "INBOX", 40, 0)
		}
		for i := range accounts {
			grant(t, accounts[i].Own(), "INBOX", mail.Grantee{Account: people[1-i].Account}, "lrswite")
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			var all sync.WaitGroup
			for i := range accounts {
				for n := range 4 {
					all.Go(func() {
						other := accounts[1-i].Visit(people[i])
						m, err := accounts[i].Own().Select(ctx, "INBOX", false)
						if n%2 == 1 {
							m, err = other.Select(ctx, "INBOX", false)
						}
						if err != nil {
							t.Error(err)
							return
						}
						defer m.Close()
						to := other
						if n%2 == 1 {
							to = accounts[i].Own()
						}
						for uid := mail.UID(1 + n/2 + 2*i); uid <= 40; uid += 4 {
							if _, err := m.MoveTo(ctx, mail.UIDSet(uid), to, "INBOX"); err != nil {
								t.Errorf("%d of %d: %v", uid, i, err)
							}
							m.Poll(true)
						}
					})
				}
			}
			all.Wait()
		}()
		select {
		case <-done:
		case <-time.After(60 * time.Second):
			t.Fatal("they wait for each other")
		}
		if a, b := accounts[0].Usage().Messages, accounts[1].Usage().Messages; a+b != 80 {
			t.Errorf("%d and %d messages", a, b)
		}
		if left, _ := e.Records(ctx, "move", ""); len(left) != 0 {
			t.Error(left)
		}
	})
}

// TestMovedOnce: of two sessions that move the same messages into another account at the
// same time one does it.
func TestMovedOnce(t *testing.T) {
	s, alice := open(t, memory.New())
	bobs, _ := person(t, s)
	grant(t, bobs.Own(), "INBOX", mail.Grantee{Account: alice.ID()}, "lri")
	const messages = 60
	put(t, s, alice, "INBOX", messages, 0)
	if _, err := sel(t, alice, "INBOX").Copy(ctx, all(), "Archive"); err != nil { // the bodies stay
		t.Fatal(err)
	}
	to := bobs.Visit(mail.Person{Account: alice.ID()})
	var both sync.WaitGroup
	for range 2 {
		m := sel(t, alice, "INBOX")
		both.Go(func() {
			for uid := mail.UID(1); uid <= messages; uid++ {
				if _, err := m.MoveTo(ctx, mail.UIDSet(uid), to, "INBOX"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
	if n := bobs.Usage().Messages; n != messages {
		t.Errorf("%d of %d messages came", n, messages)
	}
}
