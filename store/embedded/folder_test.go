package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store/storetest"
)

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(bytes.Clone(b))
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks kind and text of an error of Open.
func refused(t *testing.T, err error, kind mail.Kind, texts ...string) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Fatalf("%v, not %v", err, kind)
	}
	for _, s := range texts {
		if !strings.Contains(mail.TextOf(err), s) {
			t.Fatalf("%q does not name %q", mail.TextOf(err), s)
		}
	}
	if strings.Contains(mail.TextOf(err), "\n") {
		t.Fatalf("%q has a line break", mail.TextOf(err))
	}
}

// holdFolder is what TestInUse runs in another process: it opens the folder and
// keeps it until its input ends.
const holdFolder = "POSTERN_TEST_HOLD"

func TestInUse(t *testing.T) {
	if dir := os.Getenv(holdFolder); dir != "" {
		e := open(t, dir, small(nil))
		os.Stdout.WriteString("open\n")
		io.Copy(io.Discard, os.Stdin)
		e.Close()
		return
	}
	dir := t.TempDir()
	c := exec.Command(os.Args[0], "-test.run=^TestInUse$")
	c.Env = append(os.Environ(), holdFolder+"="+dir)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(out, buf); err != nil || string(buf) != "open\n" {
		t.Fatalf("%q %v", buf, err)
	}
	_, err = Open(dir, small(nil))
	refused(t, err, mail.KindInUse, dir, "pid "+strconv.Itoa(c.Process.Pid))
	in.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	e := open(t, dir, small(nil))
	_, err = Open(dir, small(nil))
	refused(t, err, mail.KindInUse, dir, "pid "+strconv.Itoa(os.Getpid()))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, pidName)); !os.IsNotExist(err) {
		t.Fatal("the pid file was left")
	}
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		text string
	}{{syscall.EACCES, "may not"}, {syscall.EROFS, "may not"}, {syscall.ENOSPC, "full"}, {syscall.EIO, "cannot"}} {
		broken := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return &os.PathError{Op: "write", Path: op.Path, Err: c.err}
			}
			return nil
		})
		_, err := Open("folder", small(errorfs.Wrap(vfs.NewMem(), broken)))
		refused(t, err, mail.KindUnavailable, "folder", c.text)
	}
	// A file in the way of the folder.
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, small(nil))
	refused(t, err, mail.KindUnavailable, dir)
}

func TestFormat(t *testing.T) {
	fs := vfs.NewMem()
	set := func(v string) {
		t.Helper()
		e := open(t, "store", small(fs))
		key := formatKey
		var err error
		if v == "" {
			if err = e.db.Delete(key, pebble.NoSync); err == nil {
				err = e.db.Set(headKey(1), nil, pebble.NoSync)
			}
		} else {
			err = e.db.Set(key, []byte(v), pebble.NoSync)
		}
		if err == nil {
			err = e.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(fmt.Sprintf("Postern %d", format+1))
	_, err := Open("store", small(fs))
	refused(t, err, mail.KindUnavailable, "store", "newer", fmt.Sprintf("format %d", format+1))
	fs = vfs.NewMem()
	for older := 1; older < format; older++ {
		set(fmt.Sprintf("Postern %d", older)) // is read, and is of this format from now on
		e := open(t, "store", small(fs))
		if _, err := e.get(formatKey, func(v []byte) error {
			if string(v) != fmt.Sprintf("Postern %d", format) {
				t.Errorf("%q", v)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	fs = vfs.NewMem()
	set("cockroach")
	_, err = Open("store", small(fs))
	refused(t, err, mail.KindCorrupt, "store", "not a mail store")
	fs = vfs.NewMem()
	set("")
	_, err = Open("store", small(fs))
	refused(t, err, mail.KindCorrupt, "store", "format")
	t.Logf("prove: older formats opened: %d", format-1)
}

// inPebble keeps all bodies out of files of their own.
func inPebble(opt Options) Options {
	opt.fileFrom = 1 << 30
	return opt
}

// TestMissingFile takes a table, a blob file, a file of bodies away.
func TestMissingFile(t *testing.T) {
	fs := vfs.NewMem()
	opt := small(fs)
	opt.fileFrom = 10_000
	e := open(t, "store", opt)
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 5000)
	l.Deliver(m, 15_000)
	storetest.Commit(t, e, l.Batch())
	if err := e.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := fs.List("store")
	filed, _ := fs.List("store/bodies")
	for _, name := range filed {
		names = append(names, "bodies/"+name)
	}
	for _, suffix := range []string{".sst", blobSuffix, bodySuffix} {
		copied := vfs.NewMem()
		if _, err := vfs.Clone(fs, copied, "store", "store"); err != nil {
			t.Fatal(err)
		}
		gone := ""
		for _, name := range names {
			if strings.HasSuffix(name, suffix) {
				gone, _, _ = strings.Cut(name, ".")
				if err := copied.Remove("store/" + name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if gone == "" {
			t.Fatalf("there is no %s", suffix)
		}
		e, err := Open("store", small(copied))
		if err == nil {
			_, err = storetest.Everything(e, 1)
			e.Close()
		}
		if suffix == blobSuffix {
			gone = blobSuffix
		}
		refused(t, err, mail.KindCorrupt, "store", gone)
	}
}

// TestDamagedBlob: a blob file that is lost or cut while the store is open.
func TestDamagedBlob(t *testing.T) {
	for _, damage := range []func(b []byte) []byte{nil, func(b []byte) []byte { return b[:20] }, func(b []byte) []byte { return b[:len(b)-1] }, func(b []byte) []byte {
		b[len(b)-30]++
		return b
	}} {
		fs := vfs.NewMem()
		e := open(t, "store", inPebble(small(fs)))
		l := storetest.NewLedger(1)
		m := l.Mailbox("INBOX")
		for range 3 {
			l.Deliver(m, 5000)
		}
		storetest.Commit(t, e, l.Batch())
		if err := e.db.Flush(); err != nil {
			t.Fatal(err)
		}
		names, _ := fs.List("store")
		for _, name := range names {
			if !strings.HasSuffix(name, blobSuffix) {
				continue
			}
			b := readFile(t, fs, "store/"+name)
			if err := fs.Remove("store/" + name); err != nil {
				t.Fatal(err)
			}
			if damage != nil {
				writeFile(t, fs, "store/"+name, damage(b))
			}
		}
		_, err := e.Body(context.Background(), 1, 1)
		refused(t, err, mail.KindCorrupt, "store", blobSuffix)
		err = e.Texts(context.Background(), 1, []mail.EmailID{3}, func(int, []byte) error { return nil })
		refused(t, err, mail.KindCorrupt, "store", blobSuffix)
		if err := e.Summaries(context.Background(), 1, []mail.EmailID{1}, func(int, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		// The rest goes on, whatever happens to compactions that need the file.
		for range 200 {
			l.Deliver(m, 10_000)
			storetest.Commit(t, e, l.Batch())
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWaitsShareSyncs commits from many accounts while each sync takes a while.
func TestWaitsShareSyncs(t *testing.T) {
	var syncs atomic.Int64
	slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if (op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync) && strings.HasSuffix(op.Path, logSuffix) {
			syncs.Add(1)
			time.Sleep(2 * time.Millisecond)
		}
		return nil
	})
	e := open(t, "store", small(errorfs.Wrap(vfs.NewMem(), slow)))
	defer e.Close()
	const accounts, each = 32, 5
	var work sync.WaitGroup
	for i := range accounts {
		work.Go(func() {
			l := storetest.NewLedger(mail.AccountID(i + 1))
			m := l.Mailbox("INBOX")
			for range each {
				l.Deliver(m, 100)
				if wait, err := e.Commit(context.Background(), l.Batch()); err != nil || wait() != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if n := syncs.Load(); n < each || n > accounts*each/4 {
		t.Fatalf("%d syncs for %d commits", n, accounts*each)
	}
}

// TestFailedStaysFailed: after the log could not be synced nothing is accepted,
// reading goes on, and no more is on the disk than before.
func TestFailedStaysFailed(t *testing.T) {
	var broken atomic.Bool
	fs := vfs.NewMem()
	e := open(t, "store", inPebble(small(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	})))))
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 100)
	storetest.Commit(t, e, l.Batch())
	broken.Store(true)
	l.Deliver(m, 100)
	wait, err := e.Commit(context.Background(), l.Batch())
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(); mail.KindOf(err) != mail.KindNoSpace || err == nil {
		t.Fatal(err)
	}
	broken.Store(false)
	for range 3 {
		l.Deliver(m, 100_000)
		_, err := e.Commit(context.Background(), l.Batch())
		refused(t, err, mail.KindNoSpace)
		refused(t, e.PutRecords(context.Background(), nil), mail.KindNoSpace)
	}
	if list, err := e.Messages(context.Background(), 1, m, 0); err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, "store", small(fs))
	defer e.Close()
	if list, err := e.Messages(context.Background(), 1, m, 0); err != nil || len(list) == 0 || len(list) > 2 {
		t.Fatal(list, err)
	}
}

// TestBackgroundPacking waits until the goroutine has packed.
func TestBackgroundPacking(t *testing.T) {
	opt := small(vfs.NewMem())
	opt.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	e := open(t, "store", opt)
	defer e.Close()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	for range 3000 {
		l.Deliver(m, 10)
	}
	storetest.Commit(t, e, l.Batch())
	// Who reads so many that are not packed has them packed.
	if list, err := e.Messages(context.Background(), 1, m, 0); err != nil || len(list) != 3000 {
		t.Fatal(len(list), err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		x, err := e.index(context.Background(), 1, m, 0)
		if err != nil || time.Now().After(deadline) {
			t.Fatal(len(x.deltas), err)
		}
		if len(x.deltas) == 0 && len(x.entries) == 3000 {
			break
		}
	}
}

// TestCloseWaits closes while calls are under way.
func TestCloseWaits(t *testing.T) {
	e := open(t, "store", small(vfs.NewMem()))
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 600_000)
	storetest.Commit(t, e, l.Batch())
	b, err := e.Body(context.Background(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for {
				if _, err := e.Messages(context.Background(), 1, m, 0); err != nil {
					if mail.KindOf(err) != mail.KindUnavailable {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	time.AfterFunc(20*time.Millisecond, func() { b.Close() })
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	work.Wait()
}

// fakeDB always has a compaction that waits.
type fakeDB struct {
	started chan pebble.CompactionGrantHandle
}

func (db fakeDB) GetAllowedWithoutPermission() int { return 2 }

func (db fakeDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	return true, pebble.WaitingCompaction{}
}

func (db fakeDB) Schedule(g pebble.CompactionGrantHandle) bool {
	db.started <- g
	return true
}

// TestScheduler: none at the start, then two at once, none while paused, then one after the
// other.
func TestScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler()
		db := fakeDB{make(chan pebble.CompactionGrantHandle, 10)}
		s.Register(2, db)
		if ok, _ := s.TrySchedule(); ok {
			t.Fatal("granted at the start")
		}
		time.Sleep(startPause)
		synctest.Wait()
		if ok, _ := s.TrySchedule(); ok || len(db.started) != 2 {
			t.Fatal("not two at once", len(db.started))
		}
		g := <-db.started
		<-db.started
		for n := range 3 {
			if s.failed() != (n == 0) {
				t.Fatal("failure", n)
			}
		}
		began := time.Now()
		g.Done()
		<-db.started
		if d := time.Since(began); d < 4*firstPause || d > 4*firstPause+grantEvery {
			t.Fatal("paused", d)
		}
		s.worked()
		began = time.Now()
		g.Done()
		<-db.started
		if d := time.Since(began); d > 0 {
			t.Fatal("paused after one worked", d)
		}
		s.Unregister()
		s.Unregister()
		if ok, _ := s.TrySchedule(); ok {
			t.Fatal("granted after the end")
		}
	})
}
