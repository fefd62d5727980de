package store_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// TestColumns compares what Columns gives with the subjects, while messages come and
// go, in two sessions of which one knows less, with room for all columns and for none.
func TestColumns(t *testing.T) {
	for _, room := range []int64{0, 1} {
		everyEngine(t, func(t *testing.T, e store.Engine) {
			s, err := store.Open(e, store.Options{Columns: room})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			id, err := s.CreateAccount(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			a := account(t, s, id)
			var sessions [2]*store.Mailbox
			for i := range sessions {
				if sessions[i], err = a.Select(ctx, "INBOX", false); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(sessions[i].Close)
			}
			subjects := map[mail.UID]string{}
			check := func(m *store.Mailbox, share int) {
				var asked []*store.Message
				m.View().EachSeq(m.View().All(), func(_ uint32, msg *store.Message) bool {
					if !msg.Gone && rand.IntN(share) == 0 {
						asked = append(asked, msg)
					}
					return true
				})
				c, err := m.Columns(ctx, asked, message.SortDate, message.SortSubject)
				if err != nil {
					t.Fatal(err)
				}
				for i, msg := range asked {
					if row := c[1].Row(i); len(row) > 0 && string(row) != "\x00"+subjects[msg.UID] || len(row) == 0 && m == sessions[0] {
						t.Fatalf("UID %d has %q, not %q", msg.UID, row, subjects[msg.UID])
					}
					if date := c[0].Row(i); len(date) != 0 && len(date) != 8 {
						t.Fatalf("date %q", date)
					}
				}
			}
			for round := range 60 {
				var arrivals []store.Arrival
				for i := range rand.IntN(100) {
					subject := fmt.Sprint("s ", round, " ", i)
					header := "Subject: " + subject + "\r\n"
					if i%20 == 0 { // more than the summary keeps
						header = "Date: Mon, 1 Jan 2001 00:00:00 +0000\r\nReferences:" + strings.Repeat("\r\n <a@b>", 5000) + "\r\n" + header
					}
					arrivals = append(arrivals, store.Arrival{Prepared: s.Prepare([]byte(header + "\r\nx"))})
					subjects[sessions[0].Record().UIDNext+mail.UID(i)] = subject
				}
				if _, err := a.Append(ctx, "INBOX", arrivals...); err != nil {
					t.Fatal(err)
				}
				sessions[0].Poll(true)
				if round%5 == 0 {
					sessions[1].Poll(round%10 == 0)
				}
				check(sessions[rand.IntN(2)], 1+rand.IntN(12))
				if rand.IntN(3) == 0 {
					var doomed mail.NumSet
					first := uint32(rand.IntN(int(sessions[0].Record().UIDNext))) + 1
					doomed.AddRange(first, first+uint32(rand.IntN(200)))
					if _, _, err := sessions[0].Remove(ctx, doomed); err != nil {
						t.Fatal(err)
					}
					sessions[0].Poll(true)
					check(sessions[0], 1)
				}
			}
			check(sessions[0], 1)
			if err := s.RemoveAccount(ctx, id); err != nil {
				t.Fatal(err)
			}
		})
	}
}
