// Package embedded is the engine that keeps mail in a folder of this host, in
// Pebble, a log-structured merge tree. One write-ahead log serves all accounts,
// so concurrent deliveries share a sync (writeahead.go); bodies are kept apart from keys, large ones
// in files of their own (bodyfile.go).
//
// When the disk fails a write, the engine stops as if the power had failed: the
// wait of every change that is not known to be durable returns an error, every
// later change is answered with KindUnavailable, reading goes on, and what was
// acknowledged is there when the folder is opened again. It does not end the
// process. See disk.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Options are what Open may be told; the zero value is good.
type Options struct {
	// FS is the file system; nil is the host's.
	FS vfs.FS
	// Log gets what goes wrong in the background; nil is slog.Default().
	Log *slog.Logger
	// CacheBytes bounds the cache of uncompressed blocks; 0 is 64 MiB.
	CacheBytes int64
	// MemTableBytes is how much is gathered in memory before it is written to a
	// table, up to four times while that is slow; 0 is 16 MiB.
	MemTableBytes uint64
	// ReserveBytes is what is kept free on the disk: with less left new messages
	// are answered with KindUnavailable, so that expunging, which needs a little
	// too, still works. 0 is 64 MiB, negative none.
	ReserveBytes int64
	// CompressAfter is how old a large body is when it is compressed in the background;
	// 0: never. It takes a quarter off what is base64, more off what is text, and
	// reading it costs processor time.
	CompressAfter time.Duration

	failed   func()       // told when the disk fails; nil: nobody is
	readOnly error        // why the folder is only read; nil: it is written to
	upTo     uint64       // of a folder that is only read: the change behind which the log is not read; 0: all of it
	lock     *pebble.Lock // of the folder, held already; nil: Open takes it

	runFrom  int   // messages of a batch that make a run; 0 is runEntries/16
	fileFrom int   // bytes of a body that stands in a file; 0 is defaultFileFrom
	fileSize int64 // of a file of bodies; 0 is maxBodyFile
}

const (
	pebbleFormat = pebble.FormatNewest
	formatText   = "Postern "
	format       = 8 // 1 had no files of bodies, 2 no rights in the records of mailboxes, 3 no packed bodies, 4 Pebble's own log, 5 nothing masked in ours, 6 no annotations, 7 nothing recoverable
	pidName      = "pid"
	shards       = 256
	// bodyPatience is how long Close waits for bodies that are still open.
	bodyPatience = 5 * time.Second
)

// Engine is an open data folder. It is safe for concurrent use.
type Engine struct {
	dir     string
	log     *slog.Logger
	db      *pebble.DB // written to by apply alone: see writeahead.go
	cache   *pebble.Cache
	disk    *disk
	lock    *pebble.Lock // of the folder; nil when another engine has it now
	reserve int64
	runFrom int

	// readOnly is why the folder is only read; nil: it is written to. Then all that is
	// written stands in memory (above.go).
	readOnly error

	compactions *scheduler
	spoiled     spoiled

	insane    atomic.Bool // after Fatalf or a panic: do not even read
	shards    [shards]shard
	values    sync.Pool  // of *[]byte: memory for change.buf
	records   sync.Mutex // held from reading revisions to applying
	ahead     writeAhead
	repacking repacking
	bodyFiles bodyFiles

	checkpointing atomic.Bool // there is a Checkpoint

	spaceMu      sync.Mutex
	spaceChecked time.Time
	spaceError   error

	life    sync.Mutex
	idle    sync.Cond // signalled with life when calls or bodies becomes 0
	closing bool
	calls   int
	bodies  int
}

var _ store.Engine = (*Engine)(nil)

// shard orders the changes of its accounts. commits counts them.
type shard struct {
	sync.Mutex
	commits uint64
}

func (e *Engine) shard(id mail.AccountID) *shard {
	return &e.shards[uint64(id)%shards]
}

// Open opens the data folder dir and makes it when it is not there. KindInUse:
// another process has it open. KindUnavailable: it cannot be read or written, or a
// newer Postern wrote it. KindCorrupt: a file is damaged or missing.
func Open(dir string, opt Options) (opened *Engine, err error) {
	e := &Engine{dir: dir, log: opt.Log, reserve: opt.ReserveBytes, runFrom: opt.runFrom, readOnly: opt.readOnly, lock: opt.lock}
	e.idle.L = &e.life
	e.compactions = newScheduler()
	if e.log == nil {
		e.log = slog.Default()
	}
	if e.reserve == 0 {
		e.reserve = 64 << 20
	}
	if e.runFrom == 0 {
		e.runFrom = runEntries / 16
	}
	if opt.fileFrom == 0 {
		opt.fileFrom = defaultFileFrom
	}
	if opt.fileSize == 0 {
		opt.fileSize = maxBodyFile
	}
	if opt.CompressAfter == 0 {
		opt.CompressAfter = forever
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = 64 << 20
	}
	if opt.MemTableBytes == 0 {
		opt.MemTableBytes = 16 << 20
	}
	if opt.FS == nil {
		opt.FS = vfs.Default
	}
	host := opt.FS
	if e.readOnly != nil {
		opt.FS = newAbove(host)
	}
	e.disk = newDisk(opt.FS, func(cause error) {
		e.log.Error("the mail store can no longer write and stops", "folder", dir, "error", cause)
		if opt.failed != nil {
			opt.failed()
		}
	})
	if e.lock == nil {
		if err := e.lockFolder(host); err != nil {
			return nil, err
		}
	}
	defer func() {
		if r := recover(); r != nil {
			e.log.Error("opening the mail store failed", "folder", dir, "panic", r)
			err = mail.Errorf(mail.KindCorrupt, "the data folder %s cannot be opened: %v", dir, r)
		}
		if err != nil {
			if opt.lock != nil {
				e.lock = nil // it stays with who gave it
			}
			e.release()
			opened = nil
		}
	}()
	if err := e.openDatabase(opt); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) openDatabase(opt Options) error {
	var err error
	e.cache = pebble.NewCache(opt.CacheBytes)
	if err := e.checkManifest(); err != nil {
		return e.openError(err)
	}
	if err := e.withoutPebblesLog(opt); err != nil {
		return e.openError(err)
	}
	e.disk.logless = true
	e.clearCheckpoint(opt.lock != nil)
	if err := e.checkOptions(); err != nil {
		return e.openError(err)
	}
	e.disk.hold()
	e.db, err = pebble.Open(e.dir, e.pebbleOptions(opt))
	if err == nil {
		err = e.disk.broken()
	}
	if err != nil {
		return e.openError(err)
	}
	if err := e.checkFormat(); err != nil {
		return err
	}
	if err := e.checkBlobs(); err != nil {
		return e.openError(err)
	}
	if err = e.ahead.open(e, opt.MemTableBytes, opt.upTo); err == nil {
		err = e.disk.broken()
	}
	if err != nil {
		return e.openError(err)
	}
	e.disk.letGo()
	e.bodyFiles.engine, e.bodyFiles.from, e.bodyFiles.most = e, opt.fileFrom, opt.fileSize
	e.bodyFiles.packAfter, e.bodyFiles.decoder = opt.CompressAfter, sync.OnceValue(decoder)
	if err = e.bodyFiles.load(); err == nil {
		err = e.disk.broken()
	}
	if err != nil {
		return e.openError(err)
	}
	e.repacking.start(e)
	if e.readOnly == nil {
		e.bodyFiles.start()
	}
	return nil
}

func (e *Engine) pebbleOptions(opt Options) *pebble.Options {
	o := &pebble.Options{
		FS:                          e.disk,
		Lock:                        e.pebblesLock(),
		Cache:                       e.cache,
		Logger:                      &logger{e.log, e.goneMad},
		EventListener:               e.listener(),
		FormatMajorVersion:          pebbleFormat,
		DisableWAL:                  true, // writeahead.go
		DisableAutomaticCompactions: e.readOnly != nil,
		MemTableSize:                opt.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               64 << 20,
		FlushDelayDeleteRange:       10 * time.Second,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].BlockSize = 16 << 10
	}
	// It is also the block size of blob files, nearly all of which flushes write:
	// bodies that are read one after the other then share a block.
	o.Levels[0].BlockSize = 64 << 10
	// A flush then writes few blob files.
	o.TargetFileSizes = [...]int64{8 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20, 128 << 20}
	o.Experimental.CompactionScheduler = e.compactions
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:     true,
			MinimumSize: 1 << 10,
			// A compaction never writes bodies again: with a small depth it wrote those
			// of all tables that it touched again for every few flushes.
			MaxBlobReferenceDepth: math.MaxInt32,
			RewriteMinimumAge:     5 * time.Minute,
			TargetGarbageRatio:    0.3,
		}
	}
	o.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		if len(start) == 0 || start[0] < bigZone {
			return pebble.SpanPolicy{ValueStoragePolicy: pebble.ValueStorageLowReadLatency}, []byte{bigZone}, nil
		}
		if start[0] >= zoneFilters {
			return pebble.SpanPolicy{ValueStoragePolicy: pebble.ValueStorageLowReadLatency}, nil, nil
		}
		return pebble.SpanPolicy{}, []byte{zoneFilters}, nil
	}
	return o
}

// pebblesLock gives Pebble a lock that nobody else has: the folder's is the engine's, or of
// the one whose place it takes.
func (e *Engine) pebblesLock() *pebble.Lock {
	fs := vfs.NewMem()
	if fs.MkdirAll(e.dir, 0o700) != nil {
		return nil
	}
	lock, err := pebble.LockDirectory(e.dir, fs)
	if err != nil { // in memory there is nothing that could fail
		return nil
	}
	return lock
}

// lockFolder makes the folder and takes its lock, and writes who has it.
func (e *Engine) lockFolder(host vfs.FS) error {
	if err := host.MkdirAll(e.dir, 0o700); err != nil {
		return e.openError(err)
	}
	pid := host.PathJoin(e.dir, pidName)
	lock, err := pebble.LockDirectory(e.dir, host)
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "current process") {
			if f, err := host.Open(pid); err == nil {
				b, _ := io.ReadAll(io.LimitReader(f, 20))
				f.Close()
				if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
					return mail.Errorf(mail.KindInUse, "the data folder %s is in use by another process (pid %d)", e.dir, n)
				}
			}
			if !errors.Is(err, syscall.EACCES) {
				return mail.Errorf(mail.KindInUse, "the data folder %s is in use by another process", e.dir)
			}
		}
		return e.openError(err)
	}
	e.lock = lock
	if e.readOnly != nil {
		return nil
	}
	f, err := host.Create(pid, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write([]byte(strconv.Itoa(os.Getpid()) + "\n"))
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		err = e.openError(err)
		e.release()
	}
	return err
}

// openError names the folder, and where it can the file, in an error of Open.
func (e *Engine) openError(err error) error {
	kind, what := mail.KindUnavailable, "cannot be used"
	switch {
	case e.disk.broken() != nil:
		what = "cannot be written"
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		what = "may not be written or read by this user"
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		what = "is on a full disk"
	case mail.KindOf(err) == mail.KindCorrupt || pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*damagedBlob)):
		kind, what = mail.KindCorrupt, "is damaged"
	}
	x := mail.Errorf(kind, "the data folder %s %s: %s", e.dir, what, strings.ReplaceAll(err.Error(), "\n", "; "))
	x.Cause = errors.Join(err, e.disk.broken())
	return x
}

// checkFormat reads who wrote the folder, or signs it when it is new.
func (e *Engine) checkFormat() error {
	v, closer, err := e.db.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return e.sign()
	}
	if err != nil {
		return e.openError(err)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(string(v), formatText))
	closer.Close()
	switch {
	case err != nil || n < 1:
		return mail.Errorf(mail.KindCorrupt, "the data folder %s holds something that is not a mail store", e.dir)
	case n > format:
		return mail.Errorf(mail.KindUnavailable, "the data folder %s was written by a newer Postern (format %d; this one knows %d)", e.dir, n, format)
	case n < format:
		return e.putFormat()
	}
	return nil
}

func (e *Engine) sign() error {
	it, err := e.db.NewIter(nil)
	if err != nil {
		return e.openError(err)
	}
	empty := !it.First()
	if err := it.Close(); err != nil {
		return e.openError(err)
	}
	if empty {
		lost, err := e.strangers()
		if err != nil {
			return e.openError(err)
		}
		empty = !lost
	}
	if !empty {
		return mail.Errorf(mail.KindCorrupt, "the data folder %s has lost its format record", e.dir)
	}
	return e.putFormat()
}

func (e *Engine) putFormat() error {
	err := e.db.Set(formatKey, []byte(formatText+strconv.Itoa(format)), pebble.NoSync)
	if err == nil { // the log is not open yet
		err = e.db.Flush()
	}
	if err == nil {
		err = e.disk.broken()
	}
	if err != nil {
		return e.openError(err)
	}
	return nil
}

// goneMad is for what Pebble holds to be impossible.
func (e *Engine) goneMad(cause error) {
	e.insane.Store(true)
	e.disk.freeze(cause)
}

// errClosed is the answer after Close.
var errClosed error = mail.Errorf(mail.KindUnavailable, "the mail store is closed")

// enter begins a call; leave ends it.
func (e *Engine) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	e.life.Lock()
	defer e.life.Unlock()
	switch {
	case e.closing:
		return errClosed
	case e.insane.Load():
		return e.unavailable()
	}
	e.calls++
	return nil
}

func (e *Engine) leave() {
	e.life.Lock()
	defer e.life.Unlock()
	if e.calls--; e.calls == 0 {
		e.idle.Broadcast()
	}
}

// refused says why nothing can be changed, nil when it can.
func (e *Engine) refused() error {
	if e.readOnly != nil || e.disk.broken() != nil {
		return e.unavailable()
	}
	return nil
}

// unavailable is the answer after the disk failed.
func (e *Engine) unavailable() error {
	cause := cmp.Or(e.disk.broken(), e.readOnly)
	if full(cause) {
		return &mail.Error{Kind: mail.KindNoSpace, Text: "The disk of the mail store is full: mail can be read, and changed again when there is room.", Cause: cause}
	}
	if passes(cause) {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "The mail store cannot be changed at the moment: the server has too many files open.", Cause: cause}
	}
	return &mail.Error{Kind: mail.KindUnavailable, Text: "The mail store had a disk error and cannot be changed until the server is started again.", Cause: cause}
}

// readError gives an error of Pebble its kind.
func (e *Engine) readError(err error) error {
	if err == nil {
		return nil
	}
	var x *mail.Error
	if errors.As(err, &x) {
		return err
	}
	if e.disk.broken() != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Cause: err}
	}
	if c := pebble.ExtractDataCorruptionInfo(err); c != nil {
		return &mail.Error{Kind: mail.KindCorrupt, Text: "The file " + c.Path + " of the mail store is damaged.", Cause: err}
	}
	var blob *damagedBlob
	if errors.As(err, &blob) {
		return &mail.Error{Kind: mail.KindCorrupt, Text: "The mail store is damaged: " + blob.Error() + ".", Cause: err}
	}
	if pebble.IsCorruptionError(err) {
		return &mail.Error{Kind: mail.KindCorrupt, Text: "A file of the mail store in " + e.dir + " is damaged.", Cause: err}
	}
	return &mail.Error{Kind: mail.KindUnavailable, Cause: err}
}

// space tells whether the disk has room for new messages. It looks at most once a
// second.
func (e *Engine) space() error {
	if e.reserve < 0 {
		return nil
	}
	e.spaceMu.Lock()
	defer e.spaceMu.Unlock()
	if now := time.Now(); now.Sub(e.spaceChecked) >= time.Second {
		e.spaceChecked = now
		e.spaceError = nil
		if use, err := e.disk.GetDiskUsage(e.dir); err == nil && use.AvailBytes < uint64(e.reserve) {
			e.spaceError = mail.Errorf(mail.KindNoSpace, "The disk of the mail store is full.")
			e.log.Error("the disk of the mail store is full; no mail is accepted", "folder", e.dir, "free", use.AvailBytes)
		}
	}
	return e.spaceError
}

// Announcements is nil: a data folder belongs to one process.
func (e *Engine) Announcements() <-chan store.Announcement { return nil }

// Close waits for calls under way and gives the folder back. KindInUse when bodies
// stay open: the folder then stays locked until the process ends.
func (e *Engine) Close() error { return e.end(bodyPatience) }

// end is Close with a bound on how long bodies that are open are waited for; 0: none.
func (e *Engine) end(patience time.Duration) error {
	e.life.Lock()
	if e.closing {
		e.life.Unlock()
		return nil
	}
	e.closing = true
	for e.calls > 0 {
		e.idle.Wait()
	}
	expired := false
	if patience > 0 {
		late := time.AfterFunc(patience, func() {
			e.life.Lock()
			defer e.life.Unlock()
			expired = true
			e.idle.Broadcast()
		})
		defer late.Stop()
	}
	for e.bodies > 0 && !expired {
		e.idle.Wait()
	}
	bodies := e.bodies
	e.life.Unlock()
	e.repacking.stop()
	e.bodyFiles.stop()
	if bodies > 0 {
		return mail.Errorf(mail.KindInUse, "the data folder %s cannot be closed: %d messages are being read", e.dir, bodies)
	}
	return e.release()
}

// release gives back what Open took, as far as it came.
func (e *Engine) release() error {
	var err error
	e.ahead.close()
	e.bodyFiles.close()
	if e.db != nil && !e.insane.Load() {
		err = e.db.Close()
		if e.disk.broken() != nil {
			err = nil // it was told when it happened
		}
	}
	if !e.insane.Load() {
		e.compactions.Unregister()
	}
	if e.cache != nil && !e.insane.Load() {
		e.cache.Unref()
	}
	if e.lock != nil {
		_ = e.disk.Remove(e.disk.PathJoin(e.dir, pidName))
		if x := e.lock.Close(); err == nil {
			err = x
		}
	}
	if err != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the data folder " + e.dir + " could not be closed cleanly", Cause: err}
	}
	return nil
}
