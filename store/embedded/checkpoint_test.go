package embedded

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

// copied reads the files of a checkpoint.
func copied(t *testing.T, c store.Checkpoint) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, f := range c.Files() {
		in, err := c.Open(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.LimitReader(in, f.Size))
		in.Close()
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = &fstest.MapFile{Data: b, Mode: 0o600}
	}
	return files
}

// TestCheckpoint takes checkpoints while accounts are changed and files of bodies cleaned:
// each is what every account had at one moment, all that was acknowledged before it is in
// it, and what it shares with the one before has the same version.
func TestCheckpoint(t *testing.T) {
	e := open(t, t.TempDir(), small(nil))
	defer e.Close()
	seed := storetest.Seed(t)
	type watched struct {
		*history
		sync.Mutex
	}
	all := make([]*watched, 4)
	var work sync.WaitGroup
	stop := make(chan struct{})
	for i := range all {
		h := &watched{history: &history{ledger: storetest.NewLedger(mail.AccountID(i + 1))}}
		all[i] = h
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 0; n < 400; n++ {
				select {
				case <-stop:
					return
				default:
				}
				b := h.ledger.Random(r)
				h.Lock()
				h.batches = append(h.batches, b)
				h.Unlock()
				if err := storetestCommit(e, b); err != nil {
					t.Error(err)
					return
				}
				h.Lock()
				h.acked++
				h.Unlock()
			}
		})
	}
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if err := e.bodyFiles.reclaim(context.Background(), 0); err != nil {
					t.Error(err)
				}
			}
		}
	})
	type taken struct {
		files fstest.MapFS
		acked []int
	}
	var points []taken
	versions, shared, name := map[string]string{}, 0, ""
	var before fstest.MapFS
	for range 6 {
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
		p := taken{}
		for _, h := range all {
			h.Lock()
			p.acked = append(p.acked, h.acked)
			h.Unlock()
		}
		c, err := e.Checkpoint(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Checkpoint(context.Background()); err == nil || mail.KindOf(err) != mail.KindInUse {
			t.Errorf("a second at once: %v", err)
		}
		if name != "" && c.Store() != name {
			t.Errorf("the store is %s and %s", name, c.Store())
		}
		name = c.Store()
		p.files = copied(t, c)
		for _, f := range c.Files() {
			if was := versions[f.Name]; was != "" && was == f.Version {
				shared++
				if string(before[f.Name].Data) != string(p.files[f.Name].Data) {
					t.Errorf("%s has the same version and another content", f.Name)
				}
			}
			versions[f.Name] = f.Version
		}
		before = p.files
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		points = append(points, p)
	}
	close(stop)
	work.Wait()
	if shared == 0 {
		t.Error("no checkpoint shared a file with the one before")
	}
	changes := 0
	for _, p := range points {
		image, err := OpenImage(p.files, Options{Log: e.log})
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range all {
			h.check(t, image, p.acked[i])
			changes += p.acked[i]
		}
		if _, err := image.Commit(context.Background(), all[0].ledger.Random(rand.New(rand.NewPCG(1, 2)))); err == nil || mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("a change of an image: %v", err)
		}
		if err := image.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// And as a store of its own.
	last := points[len(points)-1]
	dir := t.TempDir()
	for name, f := range last.files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, dir, small(nil))
	defer again.Close()
	for i, h := range all {
		h.check(t, again, last.acked[i])
	}
	c, err := again.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if c.Store() != name {
		t.Error("a store that was put back has another name")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("prove: checkpoints taken while accounts were changed: %d", len(points))
	t.Logf("prove: changes acknowledged before a checkpoint and found in it: %d", changes)
}

func storetestCommit(e store.Engine, b *store.Batch) error {
	wait, err := e.Commit(context.Background(), b)
	if err != nil {
		return err
	}
	return wait()
}

// noLinks is a file system on which a checkpoint fails, though nothing else does.
type noLinks struct {
	vfs.FS
	err error
}

func (f noLinks) Link(string, string) error { return f.err }
func (f noLinks) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.Contains(name, checkpointFolder) {
		return nil, f.err
	}
	return f.FS.Create(name, c)
}

// TestCheckpointFails: a checkpoint that cannot be made is an error, and the store goes on.
func TestCheckpointFails(t *testing.T) {
	for cause, kind := range map[error]mail.Kind{syscall.ENOSPC: mail.KindNoSpace, syscall.EPERM: mail.KindUnavailable} {
		dir := t.TempDir()
		e := open(t, dir, small(noLinks{vfs.Default, &os.LinkError{Op: "link", Err: cause}}))
		l := storetest.NewLedger(1)
		box := l.Mailbox("INBOX")
		l.Deliver(box, 5000)
		storetest.Commit(t, e, l.Batch())
		if _, err := e.Checkpoint(context.Background()); err == nil || mail.KindOf(err) != kind || !errors.Is(err, cause) {
			t.Errorf("%v is not %v", err, kind)
		}
		l.Deliver(box, 5000)
		storetest.Commit(t, e, l.Batch())
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		// What a crash left goes.
		left := filepath.Join(dir, checkpointFolder, bodyFolder)
		if err := os.MkdirAll(left, 0o700); err != nil {
			t.Fatal(err)
		}
		e = open(t, dir, small(nil))
		if _, err := os.Stat(filepath.Dir(left)); !errors.Is(err, os.ErrNotExist) {
			t.Error("the links of a checkpoint are left")
		}
		c, err := e.Checkpoint(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Checkpoint(context.Background()); err == nil || mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("of a closed store: %v", err)
		}
	}
}
