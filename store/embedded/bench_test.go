package embedded

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// onDisk opens an engine as it is in service, in a folder that is not in RAM.
func onDisk(b *testing.B) *Engine {
	dir, err := os.MkdirTemp("/var/tmp", "postern-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return open(b, dir, Options{Log: slog.New(slog.DiscardHandler)})
}

// letter is 4 KiB that compress about as mail does.
func letter() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 400)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", r.Uint32()>>(r.IntN(24)))
	}
	var b bytes.Buffer
	for b.Len() < 4096 {
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.Bytes()[:4096]
}

// box makes the batches of an account with one mailbox, as cheaply as can be.
type box struct {
	head    store.AccountRecord
	mailbox store.MailboxRecord
}

func newBox(b testing.TB, e *Engine, id mail.AccountID) *box {
	x := &box{store.AccountRecord{ID: id, ModSeq: 1, NextMailbox: 2, NextEmail: 1}, store.MailboxRecord{ID: 1, Name: "INBOX", UIDValidity: 1, UIDNext: 1, Created: time.Now()}}
	wait, err := e.Commit(context.Background(), &store.Batch{Create: true, Account: x.head, Mailboxes: []store.MailboxRecord{x.mailbox}})
	if err == nil {
		err = wait()
	}
	if err != nil {
		b.Fatal(err)
	}
	return x
}

func (x *box) deliver(n int, body, summary, text []byte) *store.Batch {
	b := &store.Batch{Expect: x.head.ModSeq, Messages: []store.Messages{{Mailbox: 1}}}
	x.head.ModSeq++
	for range n {
		m := store.Message{UID: x.mailbox.UIDNext, Size: uint32(len(body)), ModSeq: x.head.ModSeq, Email: x.head.NextEmail, Thread: mail.ThreadID(x.head.NextEmail), InternalDate: 1_700_000_000 + 60*int64(x.head.NextEmail), Saved: 1_700_000_001 + 60*int64(x.head.NextEmail), Zone: 60}
		x.mailbox.UIDNext++
		x.head.NextEmail++
		x.mailbox.Messages++
		b.Messages[0].Entries = append(b.Messages[0].Entries, m)
		b.Emails = append(b.Emails, store.Email{ID: m.Email, Body: body, Summary: summary, Text: text})
		var k store.ThreadKey
		copy(k[:], fmt.Sprintf("%016x", uint64(m.Email)*0x9e3779b97f4a7c15))
		b.Threads = append(b.Threads, store.ThreadLink{Key: k, Thread: m.Thread})
	}
	x.mailbox.HighestModSeq = x.head.ModSeq
	b.Account, b.Mailboxes = x.head, []store.MailboxRecord{x.mailbox}
	return b
}

func BenchmarkCommit(b *testing.B) {
	body := letter()
	for _, accounts := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(accounts), func(b *testing.B) {
			e := onDisk(b)
			defer e.Close()
			var boxes []*box
			for i := range accounts {
				boxes = append(boxes, newBox(b, e, mail.AccountID(i+1)))
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var work sync.WaitGroup
			for _, x := range boxes {
				work.Go(func() {
					for left.Add(-1) >= 0 {
						wait, err := e.Commit(context.Background(), x.deliver(1, body, body[:700], body[1000:3000]))
						if err == nil {
							err = wait()
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
		})
	}
}

// hundredThousand fills a mailbox, packed when packed is set.
func hundredThousand(b *testing.B, packed bool) *Engine {
	e := onDisk(b)
	x := newBox(b, e, 1)
	body := letter()
	if !packed {
		e.repacking.stop()
		e.repacking.cancel = nil
	}
	for range 1000 {
		if _, err := e.Commit(context.Background(), x.deliver(100, body[:100], body[:700], nil)); err != nil {
			b.Fatal(err)
		}
	}
	if packed {
		for {
			left, err := e.repack(context.Background(), place{1, 1})
			if err != nil {
				b.Fatal(err)
			}
			if left == 0 {
				break
			}
		}
	}
	if err := e.db.Flush(); err != nil {
		b.Fatal(err)
	}
	return e
}

func BenchmarkMessages100000(b *testing.B) {
	for _, packed := range []bool{true, false} {
		b.Run(map[bool]string{true: "packed", false: "deltas"}[packed], func(b *testing.B) {
			e := hundredThousand(b, packed)
			defer e.Close()
			b.ReportAllocs()
			for b.Loop() {
				list, err := e.Messages(context.Background(), 1, 1, 0)
				if err != nil || len(list) != 100_000 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

func BenchmarkSummaries100000(b *testing.B) {
	e := hundredThousand(b, true)
	defer e.Close()
	ids := make([]mail.EmailID, 100_000)
	for i := range ids {
		ids[i] = mail.EmailID(i + 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		bytes := 0
		err := e.Summaries(context.Background(), 1, ids, func(_ int, v []byte) error {
			bytes += len(v)
			return nil
		})
		if err != nil || bytes != 700*len(ids) {
			b.Fatal(bytes, err)
		}
	}
}

func BenchmarkRepack100000(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		e := hundredThousand(b, false)
		b.StartTimer()
		for left := 1; left > 0; {
			var err error
			if left, err = e.repack(context.Background(), place{1, 1}); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		e.Close()
		b.StartTimer()
	}
}

// noise is size bytes that do not compress, as an attachment is in base64.
func noise(size int) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, size)
	for i := range b {
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[r.IntN(64)]
		if i%78 >= 76 {
			b[i] = "\r\n"[i%78-76]
		}
	}
	return b
}

// BenchmarkLarge keeps durable messages of 100 KiB, eight accounts at once: half
// text that is searched, half an attachment.
func BenchmarkLarge(b *testing.B) {
	e := onDisk(b)
	defer e.Close()
	text := bytes.Repeat(letter(), 12)
	r := rand.New(rand.NewPCG(7, 8))
	r.Shuffle(len(text)/16, func(i, j int) {
		var x [16]byte
		copy(x[:], text[16*i:])
		copy(text[16*i:16*i+16], text[16*j:])
		copy(text[16*j:], x[:])
	})
	body := append(bytes.Clone(text), noise(100<<10-len(text))...)
	var left atomic.Int64
	left.Store(int64(b.N))
	var boxes []*box
	for i := range 8 {
		boxes = append(boxes, newBox(b, e, mail.AccountID(i+1)))
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	var work sync.WaitGroup
	for _, x := range boxes {
		work.Go(func() {
			for left.Add(-1) >= 0 {
				wait, err := e.Commit(context.Background(), x.deliver(1, body, body[:700], text))
				if err == nil {
					err = wait()
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.StopTimer()
}

// BenchmarkBodies opens 20,000 bodies of 4 KiB one after the other, as FETCH does, more than
// the cache holds.
func BenchmarkBodies(b *testing.B) {
	e := onDisk(b)
	defer e.Close()
	x := newBox(b, e, 1)
	body := letter()
	const n = 20_000
	for range n / 100 {
		if _, err := e.Commit(context.Background(), x.deliver(100, body, body[:700], nil)); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.db.Flush(); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, len(body))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = i%n + 1
		m, err := e.Body(context.Background(), 1, mail.EmailID(i))
		if err != nil {
			b.Fatal(err)
		}
		if m.Bytes() != nil {
			copy(buf, m.Bytes())
		} else if _, err := m.ReadAt(buf, 0); err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
