package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// TestFailingEngine plays random operations while calls of the engine fail, before
// or after they worked. What was acknowledged is there, what was refused either
// happened whole or not at all, and the store's memory never differs from what
// the engine holds.
func TestFailingEngine(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { failing(t, seed) })
	}
}

func failing(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	trouble := false
	plan := storetest.Randomly(seed, 0.15, storetest.Before, storetest.After, storetest.Conflict)
	below := memory.New()
	s, a := open(t, storetest.NewFailing(below, func(c storetest.Call) storetest.Fault {
		if !trouble {
			return storetest.Works
		}
		return plan(c)
	}))
	boxes := []string{"INBOX", "Archive"}
	in, archive := sel(t, a, boxes[0]), sel(t, a, boxes[1])
	trouble = true
	acknowledged, doubtful := map[string]bool{}, map[string]bool{}
	failures := 0
	for i := range 300 {
		var err error
		uid := mail.UIDSet(mail.UID(1 + r.IntN(60)))
		m := []*store.Mailbox{in, archive}[r.IntN(2)]
		switch r.IntN(6) {
		case 0, 1:
			id := fmt.Sprintf("<r%d@x>", i)
			_, err = a.Append(ctx, boxes[r.IntN(2)], store.Arrival{Prepared: s.Prepare([]byte("Message-ID: " + id + "\r\n\r\n"))})
			if err == nil {
				acknowledged[id] = true
			} else {
				doubtful[id] = true
			}
		case 2:
			_, err = m.StoreFlags(ctx, uid, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Flagged, Keywords: []string{"k"}}, nil)
		case 3:
			_, err = m.Move(ctx, uid, boxes[r.IntN(2)])
		case 4:
			_, err = a.CreateMailbox(ctx, fmt.Sprintf("box%d", i), "")
		case 5:
			m.Poll(r.IntN(2) == 0)
		}
		if err != nil {
			failures++
		}
	}
	if failures == 0 {
		t.Fatal("nothing failed")
	}
	trouble = false
	// One more change makes the store look at what it was not sure of.
	put(t, s, a, "INBOX", 1, 0)
	put(t, s, a, "Archive", 1, 0)

	fresh, err := store.Open(below.Server(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	truth := account(t, fresh, a.ID())
	if got, want := fmt.Sprint(a.Mailboxes()), fmt.Sprint(truth.Mailboxes()); got != want {
		t.Fatalf("the store believes\n%s\nthe engine holds\n%s", got, want)
	}
	if a.Usage() != truth.Usage() {
		t.Fatal(a.Usage(), truth.Usage())
	}
	there := map[string]int{}
	for i, m := range []*store.Mailbox{in, archive} {
		m.Poll(true)
		real := sel(t, truth, boxes[i])
		var known, held []store.Message
		m.View().EachSeq(m.View().All(), func(_ uint32, x *store.Message) bool { known = append(known, *x); return true })
		real.View().EachSeq(real.View().All(), func(_ uint32, x *store.Message) bool { held = append(held, *x); return true })
		if !slices.Equal(known, held) {
			t.Fatalf("%s: the session knows %d messages, the engine holds %d, or they differ", boxes[i], len(known), len(held))
		}
		for _, x := range held {
			body, err := real.Body(ctx, x.Email)
			if err != nil {
				t.Fatal(err)
			}
			text := make([]byte, body.Size())
			if _, err := body.ReadAt(text, 0); err != nil && len(text) > 0 && body.Bytes() == nil {
				t.Fatal(err)
			}
			if b := body.Bytes(); b != nil {
				text = b
			}
			var id string
			fmt.Sscanf(string(text), "Message-ID: %s", &id)
			there[id]++
			body.Close()
		}
	}
	for id := range acknowledged {
		if there[id] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", id, there[id])
		}
	}
	for id, n := range there {
		if n > 1 && (acknowledged[id] || doubtful[id]) {
			t.Errorf("%s is there %d times", id, n)
		}
	}
}
