package store_test

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkExpunge expunges messages of 4 KiB, durably, one or many in a change, at once for
// good or to be recoverable, and says what processor time each takes, and to forget it.
// POSTERN_BENCH_DIR says where the store is.
func BenchmarkExpunge(b *testing.B) {
	for _, n := range []int{1, 1000} {
		for _, keep := range []bool{false, true} {
			name := "gone"
			if keep {
				name = "kept"
			}
			b.Run(fmt.Sprint(n, "/", name), func(b *testing.B) {
				dir, err := os.MkdirTemp(os.Getenv("POSTERN_BENCH_DIR"), "expunge")
				if err != nil {
					b.Fatal(err)
				}
				defer os.RemoveAll(dir)
				e, err := embedded.Open(dir, embedded.Options{})
				if err != nil {
					b.Fatal(err)
				}
				c := newClock()
				opt := store.Options{Clock: c.now}
				if keep {
					opt.Recovery.Retention = 14 * day
				}
				s, err := store.Open(e, opt)
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
				text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, again and again.\r\n"), 4<<10/63)
				for left := b.N * n; left > 0; left -= 500 {
					var arrivals []store.Arrival
					for i := range min(left, 500) {
						arrivals = append(arrivals, store.Arrival{Prepared: s.Prepare(append(fmt.Appendf(nil, "From: a@b\r\nSubject: %d\r\nMessage-ID: <%d@x>\r\n\r\n", left-i, left-i), text...))})
					}
					if _, err := a.Append(ctx, "INBOX", arrivals...); err != nil {
						b.Fatal(err)
					}
				}
				m, err := a.Select(ctx, "INBOX", false)
				if err != nil {
					b.Fatal(err)
				}
				defer m.Close()
				by := byCarol()
				used := processorTime()
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					first := uint32(i*n + 1)
					if _, _, err := m.Remove(by, mail.NumSet{{First: first, Last: first + uint32(n) - 1}}); err != nil {
						b.Fatal(err)
					}
					m.Poll(true)
				}
				b.StopTimer()
				b.ReportMetric(float64((processorTime()-used).Nanoseconds())/float64(b.N*n), "cpu-ns/message")
				if keep {
					c.advance(15 * day)
					used = processorTime()
					if err := s.Sweep(ctx); err != nil || a.Kept().Messages > 0 {
						b.Fatal(a.Kept(), err)
					}
					b.ReportMetric(float64((processorTime()-used).Nanoseconds())/float64(b.N*n), "forgotten-cpu-ns/message")
				}
			})
		}
	}
}
