package embedded

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Folder is a data folder that is served for as long as it can be read. While its disk
// takes what is written it is an Engine. When a write fails, that Engine freezes, and
// another one takes its place that only reads: it has what is durable, and nothing that
// was never acknowledged, so that no client is told of what could be lost again. Changes
// are refused, with KindNoSpace or KindUnavailable.
//
// A disk that was full is looked at again and again, and when there is room an Engine
// that writes takes over; so it is when too many files were open. After another failure, which may have lost what the system
// believed to be written, only opening the folder again does. Each time Announcements
// says All.
//
// It is safe for concurrent use.
type Folder struct {
	dir string
	opt Options
	log *slog.Logger

	current       atomic.Pointer[Engine]
	checkpointing atomic.Bool             // there is a Checkpoint, of an engine of now or of before
	news          chan store.Announcement // of one; closed by Close

	mu      sync.Mutex // held while one engine takes another's place
	closed  bool
	stuck   *Engine // failed, and cannot be replaced; run tries again
	retired sync.WaitGroup

	poke chan struct{} // of one: the disk has failed
	stop chan struct{}
	done chan struct{}
}

var (
	_ store.Engine       = (*Folder)(nil)
	_ store.Checkpointer = (*Folder)(nil)
)

const (
	// lookForRoom is how often a full disk is looked at.
	lookForRoom = time.Second
	// roomFraction of the reserve must be free before a disk that was full is written
	// to again: less than new mail needs, for who makes room expunges.
	roomFraction = 4
)

// full tells whether err says that a disk has no room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// passes tells whether what err says may pass, and nothing was lost of what was said to be
// written: there was no room, or too many files were open.
func passes(err error) bool {
	return full(err) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// OpenFolder opens the data folder dir as Open does. On a disk that has no room it is
// opened to be read.
func OpenFolder(dir string, opt Options) (*Folder, error) {
	f := &Folder{dir: dir, opt: opt, log: opt.Log, news: make(chan store.Announcement, 1), poke: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if f.log == nil {
		f.log = slog.Default()
	}
	f.opt.failed = func() {
		select {
		case f.poke <- struct{}{}:
		default:
		}
	}
	e, err := Open(dir, f.opt)
	if err != nil && full(err) {
		opt := f.opt
		opt.readOnly = err
		reading, x := Open(dir, opt)
		if x != nil {
			return nil, err
		}
		e = reading
		f.tell(err)
	} else if err != nil {
		return nil, err
	}
	f.current.Store(e)
	go f.run()
	return f, nil
}

// tell says that the folder is only read from now on.
func (f *Folder) tell(cause error) {
	if passes(cause) {
		event.StoreFull.Log(context.Background(), f.log, "folder", f.dir, "error", cause)
	} else {
		event.StoreFailed.Log(context.Background(), f.log, "folder", f.dir, "error", cause)
	}
}

// run looks after the folder.
func (f *Folder) run() {
	defer close(f.done)
	tick := time.NewTicker(lookForRoom)
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-f.poke:
		case <-tick.C:
		}
		f.mend()
	}
}

// writes tells whether e is one that writes, and failed.
func (e *Engine) failed() bool {
	return e.readOnly == nil && (e.disk.broken() != nil || e.insane.Load())
}

// mend lets another engine take over if it is time.
func (f *Folder) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.current.Load()
	switch {
	case f.closed:
	case e.failed():
		f.readOn(e)
	case e.readOnly != nil && passes(e.readOnly) && f.room():
		f.writeAgain(e)
	}
}

// room tells whether the disk may take changes again.
func (f *Folder) room() bool {
	e := f.current.Load()
	use, err := e.disk.GetDiskUsage(f.dir)
	return err != nil || use.AvailBytes >= uint64(max(e.reserve, 16<<20)/roomFraction)
}

// readOn opens the folder to be read, in place of e, whose disk failed; mu is held.
func (f *Folder) readOn(e *Engine) {
	cause := e.disk.broken()
	if cause == nil {
		cause = e.unavailable()
	}
	e.disk.quiet()
	opt := f.opt
	// What is in the log beyond that may be on the disk or not: nobody was told of it.
	opt.readOnly, opt.upTo, opt.lock = cause, e.ahead.durable.Load(), e.lock
	next, err := Open(f.dir, opt)
	if err != nil {
		if f.stuck != e {
			f.stuck = e
			f.log.Error("the mail store cannot be read after its disk failed; it is tried again every second", "folder", f.dir, "error", err)
		}
		return
	}
	f.tell(cause)
	f.replace(e, next)
}

// writeAgain opens the folder in place of e, which reads it; mu is held.
func (f *Folder) writeAgain(e *Engine) {
	opt := f.opt
	opt.lock = e.lock
	next, err := Open(f.dir, opt)
	if err != nil {
		f.log.Warn("the mail store cannot be written to yet", "folder", f.dir, "error", err)
		return
	}
	event.StoreWritten.Log(context.Background(), f.log, "folder", f.dir)
	f.replace(e, next)
}

// replace puts next in e's place; mu is held. What still reads e, or waits for it, does so
// to its end.
func (f *Folder) replace(e, next *Engine) {
	e.lock, f.stuck = nil, nil
	f.current.Store(next)
	f.announce()
	f.retired.Go(func() {
		e.end(0)
		f.mu.Lock()
		defer f.mu.Unlock()
		// Who failed at last only heard of it now.
		f.announce()
	})
}

// announce says that anything may be another now; mu is held.
func (f *Folder) announce() {
	if f.closed {
		return
	}
	select {
	case f.news <- store.Announcement{All: true}:
	default:
	}
}

// engine gives the one of now, after it was looked after. One that failed is not read: it
// shows what was never acknowledged too.
func (f *Folder) engine() (*Engine, error) {
	e := f.current.Load()
	if !e.failed() {
		return e, nil
	}
	f.mu.Lock()
	tried := f.stuck == e
	f.mu.Unlock()
	if !tried {
		f.mend()
	}
	if e = f.current.Load(); e.failed() {
		return nil, e.unavailable()
	}
	return e, nil
}

// with calls do with the engine of now, again when another one took over before do began.
func (f *Folder) with(do func(e *Engine) error) error {
	for {
		e, err := f.engine()
		if err == nil {
			err = do(e)
		}
		if err == errClosed && f.current.Load() != e {
			continue
		}
		return err
	}
}

// Account implements store.Engine.
func (f *Folder) Account(ctx context.Context, id mail.AccountID) (s store.AccountState, err error) {
	err = f.with(func(e *Engine) error { s, err = e.Account(ctx, id); return err })
	return s, err
}

// Accounts implements store.Engine.
func (f *Folder) Accounts(ctx context.Context) (ids []mail.AccountID, err error) {
	err = f.with(func(e *Engine) error { ids, err = e.Accounts(ctx); return err })
	return ids, err
}

// Messages implements store.Engine.
func (f *Folder) Messages(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (list []store.Message, err error) {
	err = f.with(func(e *Engine) error { list, err = e.Messages(ctx, id, mailbox, since); return err })
	return list, err
}

// Vanished implements store.Engine.
func (f *Folder) Vanished(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (uids mail.NumSet, complete bool, err error) {
	err = f.with(func(e *Engine) error { uids, complete, err = e.Vanished(ctx, id, mailbox, since); return err })
	return uids, complete, err
}

// Summaries implements store.Engine.
func (f *Folder) Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return f.with(func(e *Engine) error { return e.Summaries(ctx, id, ids, each) })
}

// Texts implements store.Engine.
func (f *Folder) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return f.with(func(e *Engine) error { return e.Texts(ctx, id, ids, each) })
}

// Filters implements store.Engine.
func (f *Folder) Filters(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return f.with(func(e *Engine) error { return e.Filters(ctx, id, ids, each) })
}

// PutFilters implements store.Engine.
func (f *Folder) PutFilters(ctx context.Context, id mail.AccountID, filters []store.EmailFilter) error {
	return f.with(func(e *Engine) error { return e.PutFilters(ctx, id, filters) })
}

// References implements store.Engine.
func (f *Folder) References(ctx context.Context, id mail.AccountID) (list []store.Reference, err error) {
	err = f.with(func(e *Engine) error { list, err = e.References(ctx, id); return err })
	return list, err
}

// Body implements store.Engine.
func (f *Folder) Body(ctx context.Context, id mail.AccountID, m mail.EmailID) (b store.Body, err error) {
	err = f.with(func(e *Engine) error { b, err = e.Body(ctx, id, m); return err })
	return b, err
}

// Threads implements store.Engine.
func (f *Folder) Threads(ctx context.Context, id mail.AccountID, keys []store.ThreadKey) (list []mail.ThreadID, err error) {
	err = f.with(func(e *Engine) error { list, err = e.Threads(ctx, id, keys); return err })
	return list, err
}

// Commit implements store.Engine.
func (f *Folder) Commit(ctx context.Context, b *store.Batch) (wait func() error, err error) {
	err = f.with(func(e *Engine) error { wait, err = e.Commit(ctx, b); return err })
	return wait, err
}

// Records implements store.Engine.
func (f *Folder) Records(ctx context.Context, kind, prefix string) (list []store.Record, err error) {
	err = f.with(func(e *Engine) error { list, err = e.Records(ctx, kind, prefix); return err })
	return list, err
}

// PutRecords implements store.Engine.
func (f *Folder) PutRecords(ctx context.Context, records []store.Record) error {
	return f.with(func(e *Engine) error { return e.PutRecords(ctx, records) })
}

// Checkpoint implements store.Checkpointer. It stays whole when another engine takes over.
func (f *Folder) Checkpoint(ctx context.Context) (c store.Checkpoint, err error) {
	if !f.checkpointing.CompareAndSwap(false, true) { // all engines have one folder for it
		return nil, errCheckpoint
	}
	err = f.with(func(e *Engine) error { c, err = e.Checkpoint(ctx); return err })
	if err != nil {
		f.checkpointing.Store(false)
		return nil, err
	}
	return folderCheckpoint{c, f}, nil
}

// folderCheckpoint is the one of a Folder.
type folderCheckpoint struct {
	store.Checkpoint
	folder *Folder
}

func (c folderCheckpoint) Close() error {
	defer c.folder.checkpointing.Store(false)
	return c.Checkpoint.Close()
}

// Announcements tells when another engine took over: what failed before, and was never
// acknowledged, is not there then, or is.
func (f *Folder) Announcements() <-chan store.Announcement { return f.news }

// Close waits for calls under way and gives the folder back. KindInUse when bodies stay
// open.
func (f *Folder) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	close(f.news)
	f.mu.Unlock()
	close(f.stop)
	<-f.done
	// The folder is given back when nobody reads what was replaced either.
	all := make(chan struct{})
	go func() {
		f.retired.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(bodyPatience):
		return mail.Errorf(mail.KindInUse, "the data folder %s cannot be closed: messages are being read", f.dir)
	}
	return f.current.Load().Close()
}
