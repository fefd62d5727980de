package imap

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// filterless is an engine of the time before filters: it keeps none that come with a
// message. Unless late, none that come later either.
type filterless struct {
	store.Engine
	late  bool
	texts atomic.Int64 // how many were read
}

func (e *filterless) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	for i := range b.Emails {
		b.Emails[i].Filter = nil
	}
	return e.Engine.Commit(ctx, b)
}

func (e *filterless) PutFilters(ctx context.Context, id mail.AccountID, filters []store.EmailFilter) error {
	if !e.late {
		return nil
	}
	return e.Engine.PutFilters(ctx, id, filters)
}

func (e *filterless) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	e.texts.Add(int64(len(ids)))
	return e.Engine.Texts(ctx, id, ids, each)
}

// pieces are what texts and needles are made of: characters that fold to others, to
// more, to fewer; that combine; line ends.
var pieces = []string{"a", "B", "ß", "SS", "İ", "i", "ı", "I", "é", "e\u0301", "É", "ﬃ", "ffi", "日本", "한", "ǅ", " ", "1", "=?utf-8?q?=C3=A9?=", "<b>", "\r\n ", "Σ", "ς"}

func somePieces(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// TestSearchSameWithoutFilters: searches find the same with filters, without, and
// while they are made.
func TestSearchSameWithoutFilters(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 9))
			old, late := &filterless{Engine: open(t)}, &filterless{Engine: open(t), late: true}
			servers := []*testServer{newServer(t, open(t)), newServer(t, old), newServer(t, late)}
			var raws []string
			for range 300 {
				raw := fmt.Sprintf("Subject: %s\r\nFrom: %s <a@b>\r\nTo: %s\r\nX-O: %s\r\n\r\n%s\r\n", somePieces(r, r.IntN(8)), strings.ReplaceAll(somePieces(r, 3), "\r\n ", ""),
					somePieces(r, 2), somePieces(r, 3), somePieces(r, r.IntN(60)))
				raws = append(raws, raw)
			}
			for _, ts := range servers {
				var arrivals []store.Arrival
				for _, raw := range raws {
					arrivals = append(arrivals, store.Arrival{Prepared: ts.Store.Prepare([]byte(raw))})
				}
				ts.deliver(t, arrivals...)
			}
			needle := func() string {
				s := somePieces(r, r.IntN(5))
				if r.IntN(2) == 0 {
					raw := raws[r.IntN(len(raws))]
					at := r.IntN(len(raw))
					s = raw[at:min(len(raw), at+r.IntN(12))]
				}
				return fmt.Sprintf("{%d+}\r\n%s", len(s), s)
			}
			var key func(depth int) string
			key = func(depth int) string {
				switch n := r.IntN(10); {
				case n < 2 && depth > 0:
					return "OR " + key(depth-1) + " " + key(depth-1)
				case n < 4 && depth > 0:
					return "NOT " + key(depth-1)
				case n < 5 && depth > 0:
					return "(" + key(depth-1) + " " + key(depth-1) + ")"
				}
				return []string{"TEXT ", "BODY ", "SUBJECT ", "FROM ", "TO ", "HEADER X-O ", "CC "}[r.IntN(7)] + needle()
			}
			var keys []string
			for range 300 {
				keys = append(keys, key(3))
			}
			found := 0
			var answers [][]string
			for _, ts := range servers {
				c := ts.session(t)
				must(t, c, "SELECT INBOX")
				var got []string
				for _, k := range keys {
					reply := must(t, c, "SEARCH %s", k)
					got = append(got, string(reply.Untagged[0]))
				}
				answers = append(answers, got)
			}
			for i, k := range keys {
				found += len(strings.Fields(answers[0][i])) - 2
				if answers[0][i] != answers[1][i] || answers[0][i] != answers[2][i] {
					t.Fatalf("SEARCH %q:\nwith filters %s\nwithout %s\nlater %s", k, answers[0][i], answers[1][i], answers[2][i])
				}
			}
			if found < 1000 {
				t.Errorf("the keys found only %d messages", found)
			}
			if a, b := old.texts.Load(), late.texts.Load(); b > a*3/4 {
				t.Errorf("%d texts were read without filters, and %d with", a, b)
			}
		})
	}
}

// TestFiltersComeLater: messages that were delivered without a filter get one when
// they are searched, and then only what may match is read.
func TestFiltersComeLater(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			e := &filterless{Engine: open(t), late: true}
			ts := newServer(t, e)
			var arrivals []store.Arrival
			for i := range 600 {
				arrivals = append(arrivals, ts.note(i))
			}
			ts.deliver(t, arrivals...)
			c := ts.session(t)
			must(t, c, "SELECT INBOX")
			for _, step := range []struct {
				key   string
				found []string
				most  int64
			}{
				{"TEXT xylophone", []string{}, 600}, {"TEXT xylophone", []string{}, 5}, {`BODY "note 377"`, []string{"378"}, 60},
				{`SUBJECT "note 377"`, []string{"378"}, 0}, {"NOT BODY note", []string{}, 600},
			} {
				before := e.texts.Load()
				reply := must(t, c, "SEARCH %s", step.key)
				got := strings.Fields(string(reply.Untagged[0]))[2:]
				if read := e.texts.Load() - before; !slices.Equal(got, step.found) || read > step.most {
					t.Errorf("SEARCH %s: %v, and %d texts were read", step.key, got, read)
				}
			}
		})
	}
}
