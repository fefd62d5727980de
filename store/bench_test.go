package store_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
)

// BenchmarkAppend keeps durable messages, eight mailboxes at once.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			dir := b.TempDir()
			e, err := embedded.Open(dir, embedded.Options{})
			if err != nil {
				b.Fatal(err)
			}
			s, err := store.Open(e, store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var ids []mail.AccountID
			for range 8 {
				id, err := s.CreateAccount(ctx, 0)
				if err != nil {
					b.Fatal(err)
				}
				ids = append(ids, id)
			}
			var next atomic.Int64
			text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, again and again.\r\n"), size/63)
			b.SetBytes(int64(size))
			b.SetParallelism(4)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				a, err := s.Account(ctx, ids[next.Add(1)%8])
				if err != nil {
					b.Error(err)
					return
				}
				defer a.Close()
				for pb.Next() {
					n := next.Add(1)
					body := append(fmt.Appendf(nil, "From: a@b\r\nSubject: %d\r\nMessage-ID: <%d@x>\r\nContent-Type: text/plain\r\n\r\n", n, n), text...)
					if _, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare(body)}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkStoreFlags changes one flag, durably, in a mailbox of 10,000 messages,
// and as one change of all of them.
func BenchmarkStoreFlags(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, err := embedded.Open(b.TempDir(), embedded.Options{})
			if err != nil {
				b.Fatal(err)
			}
			s, err := store.Open(e, store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			id, err := s.CreateAccount(ctx, 0)
			if err != nil {
				b.Fatal(err)
			}
			a, err := s.Account(ctx, id)
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close()
			var arrivals []store.Arrival
			p := s.Prepare([]byte("Subject: x\r\n\r\nx\r\n"))
			for range 10_000 {
				arrivals = append(arrivals, store.Arrival{Prepared: p})
			}
			if _, err := a.Append(ctx, "INBOX", arrivals...); err != nil {
				b.Fatal(err)
			}
			m, err := a.Select(ctx, "INBOX", false)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			b.ResetTimer()
			for i := range b.N {
				set := mail.NumSet{{First: 1, Last: uint32(n)}}
				if n == 1 {
					set = mail.UIDSet(mail.UID(1 + i/2%10_000))
				}
				if _, err := m.StoreFlags(ctx, set, store.FlagChange{Op: store.FlagOp(1 + i%2), Flags: mail.Flagged}, nil); err != nil {
					b.Fatal(err)
				}
				m.Poll(false)
			}
		})
	}
}
