package store_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestTexts: a search text is the same kept and made anew; that of a long message without
// attachments is not kept.
func TestTexts(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		attachment := "--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("AAAA\r\n", 20_000) + "--x--\r\n"
		raws := [][]byte{
			[]byte("Subject: plain\r\n\r\nHello\r\n"),
			[]byte("Subject: long\r\n\r\n" + strings.Repeat("Hello, World.\r\n", 10_000)),
			[]byte("Subject: attached\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHello\r\n" + attachment),
			{},
		}
		var arrivals []store.Arrival
		for _, raw := range raws {
			arrivals = append(arrivals, store.Arrival{Prepared: s.Prepare(raw)})
		}
		out, err := a.Append(ctx, "INBOX", arrivals...)
		if err != nil {
			t.Fatal(err)
		}
		m := sel(t, a, "INBOX")
		seen := 0
		if err := m.Texts(ctx, out.Emails, func(i int, text []byte) error {
			if want := message.Parse(raws[i], message.DefaultLimits).SearchText(); i != seen || !bytes.Equal(text, want) {
				t.Errorf("%d: %q, want %q", i, text, want)
			}
			seen++
			return nil
		}); err != nil || seen != len(raws) {
			t.Fatal(seen, err)
		}
		if err := e.Texts(ctx, a.ID(), out.Emails, func(i int, text []byte) error {
			if kept := text != nil; kept != (i != 1) {
				t.Errorf("%d: kept is %v", i, kept)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := m.Texts(ctx, []mail.EmailID{out.Emails[0], 1 << 40}, func(i int, text []byte) error {
			if i == 1 && text != nil {
				t.Errorf("a text of what is not there: %q", text)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// greedy is an engine whose bodies are read into memory; most is how much of it was held.
type greedy struct {
	store.Engine
	now, most atomic.Int64
}

type greedyBody struct {
	store.Body
	of *greedy
	n  int64
}

func (g *greedy) Body(ctx context.Context, id mail.AccountID, m mail.EmailID) (store.Body, error) {
	b, err := g.Engine.Body(ctx, id, m)
	if err != nil {
		return nil, err
	}
	return &greedyBody{Body: b, of: g}, nil
}

func (b *greedyBody) Bytes() []byte { return nil }

func (b *greedyBody) ReadAt(p []byte, off int64) (int, error) {
	b.n += int64(len(p))
	now := b.of.now.Add(int64(len(p)))
	for most := b.of.most.Load(); now > most && !b.of.most.CompareAndSwap(most, now); most = b.of.most.Load() {
	}
	time.Sleep(time.Millisecond)
	return b.Body.ReadAt(p, off)
}

func (b *greedyBody) Close() error {
	b.of.now.Add(-b.n)
	return b.Body.Close()
}

// TestTextsMemory: searches that read long messages at once share a bound of memory.
func TestTextsMemory(t *testing.T) {
	g := &greedy{Engine: memory.New()}
	s, err := store.Open(g, store.Options{Memory: 1 << 20, MaxMessage: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := account(t, s, id)
	out, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("Subject: long\r\n\r\n" + strings.Repeat("Hello, World.\r\n", 20_000)))})
	if err != nil {
		t.Fatal(err)
	}
	m := sel(t, a, "INBOX")
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if err := m.Texts(ctx, out.Emails, func(int, []byte) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most := g.most.Load(); most == 0 || most > 1<<20 {
		t.Errorf("%d bytes at once", most)
	}
}
