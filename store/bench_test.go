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
