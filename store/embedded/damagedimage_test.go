package embedded

import (
	"context"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

// TestDamagedImage: whatever the files of an image have become, it is refused, or what is
// damaged cannot be read; the server that reads it goes on.
func TestDamagedImage(t *testing.T) {
	e := open(t, t.TempDir(), small(nil))
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	l := storetest.NewLedger(1)
	for range 120 {
		if err := storetestCommit(e, l.Random(r)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := e.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	files := copied(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("POSTERN_DAMAGED_IMAGES")); err == nil {
		rounds = n
	}
	names := slices.Sorted(maps.Keys(files))
	refused, read, unread := 0, 0, 0
	for round := range rounds {
		bad := fstest.MapFS{}
		maps.Copy(bad, files)
		name := names[r.IntN(len(names))]
		b := slices.Clone(files[name].Data)
		switch {
		case len(b) == 0 || r.IntN(8) == 0:
			delete(bad, name)
		case r.IntN(3) == 0:
			bad[name] = &fstest.MapFile{Data: b[:r.IntN(len(b))], Mode: 0o600}
		default:
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
			}
			bad[name] = &fstest.MapFile{Data: b, Mode: fs.FileMode(0o600)}
		}
		image, err := OpenImage(bad, Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			refused++
			continue
		}
		st, err := image.Account(context.Background(), 1)
		if err != nil {
			unread++
		}
		for _, m := range st.Mailboxes {
			list, err := image.Messages(context.Background(), 1, m.ID, 0)
			if err != nil {
				unread++
				continue
			}
			for i := range list {
				if err := bodyOf(image, &list[i]); err != nil {
					if k := mail.KindOf(err); k != mail.KindCorrupt && k != mail.KindUnavailable && k != mail.KindExpunged {
						t.Errorf("round %d, %s: %v", round, name, err)
					}
					unread++
				} else {
					read++
				}
			}
		}
		_ = image.Close()
	}
	t.Logf("%d images were refused; of the others %d bodies were read and %d not", refused, read, unread)
}

func bodyOf(e *Engine, m *store.Message) error {
	body, err := e.Body(context.Background(), 1, m.Email)
	if err != nil {
		return err
	}
	defer body.Close()
	b := make([]byte, body.Size())
	if n, err := body.ReadAt(b, 0); n < len(b) {
		return err
	}
	return nil
}
