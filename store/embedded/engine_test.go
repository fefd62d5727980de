package embedded

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small has a memtable so small that tests see flushes and compactions, and makes
// runs of few messages.
func small(fs vfs.FS) Options {
	return Options{FS: fs, Log: slog.New(slog.DiscardHandler), MemTableBytes: 512 << 10, CacheBytes: 4 << 20, runFrom: 3, fileFrom: 100, fileSize: 64 << 10}
}

func open(t testing.TB, dir string, opt Options) *Engine {
	t.Helper()
	e, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func reopen(t testing.TB, e store.Engine) store.Engine {
	t.Helper()
	x := e.(*Engine)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, x.dir, small(x.disk.FS))
}

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Engine {
		return open(t, "store", small(vfs.NewMem()))
	}, storetest.Options{Reopen: reopen})
}

func TestRandom(t *testing.T) {
	a := memory.New()
	b := storetest.Random(t, a, open(t, t.TempDir(), small(nil)), storetest.Options{Reopen: reopen})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
