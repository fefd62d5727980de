package protolog

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Bounds of a Log.
const (
	// maxQueue is how many records wait for the disk; beyond it they are dropped.
	maxQueue = 4096
	// closeTimeout bounds how long Close waits for a disk that hangs.
	closeTimeout = 5 * time.Second
	// retryAfter is how long a folder that failed is left alone.
	retryAfter = 10 * time.Second
	// tidyEvery is how often old files are looked for while nothing is written.
	tidyEvery = time.Hour
)

// Config says whether and how a Log is written.
type Config struct {
	Enabled      bool
	Folder       string // made when it is not there
	RollOver     settings.RollOver
	Format       settings.LogFormat
	MaxFile      int64         // bytes of a file
	MaxAge       time.Duration // of a file, after its last record
	MaxDirectory int64         // bytes of all files of the service
}

// ConfigOf reads the settings of a service; data is the server's data folder.
func ConfigOf(v *settings.Values, data string) Config {
	c := Config{
		Enabled: settings.ProtocolLogEnabled.Of(v), Folder: settings.LogFileLocation.Of(v),
		RollOver: settings.LogFileRollOverSettings.Of(v), Format: settings.ProtocolLogFormat.Of(v),
		MaxFile: settings.LogPerFileSizeQuota.Of(v), MaxAge: settings.ProtocolLogMaxAge.Of(v),
		MaxDirectory: settings.ProtocolLogMaxDirectorySize.Of(v),
	}
	if c.Folder == "" {
		c.Folder = filepath.Join(data, "log", string(v.Service()))
	}
	return c
}

// Check makes the folder if need be and tries whether a file can be written there.
// Errors are KindCannot with the reason.
func (c Config) Check() error {
	err := os.MkdirAll(c.Folder, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(c.Folder, ".try-*"); err == nil {
			_, err = f.WriteString("#\n")
			f.Close()
			os.Remove(f.Name())
		}
	}
	if err != nil {
		return &mail.Error{Kind: mail.KindCannot, Text: "the log folder " + c.Folder + " cannot be written to: " + reason(err), Cause: err}
	}
	return nil
}

// Log is the protocol log of one service. Its methods may be called from any
// goroutine. Close it.
type Log struct {
	service string
	now     func() time.Time
	log     *slog.Logger

	on      atomic.Bool
	config  atomic.Pointer[Config]
	queue   chan *entry
	dropped atomic.Int64 // and not yet said
	lost    atomic.Int64 // since the beginning
	entries sync.Pool

	wake    chan struct{}      // a new config is there
	flushes chan chan struct{} // closed when all that was queued before is in the file
	stop    chan struct{}
	once    sync.Once
	stopped chan struct{}

	followed  atomic.Bool
	mu        sync.Mutex
	followers map[*follower]struct{} // guarded by mu
}

// New makes the log of a service, switched off. now is time.Now when nil.
func New(service settings.Service, log *slog.Logger, now func() time.Time) *Log {
	if now == nil {
		now = time.Now
	}
	l := &Log{
		service: string(service), now: now, log: log.With("service", service),
		queue: make(chan *entry, maxQueue), wake: make(chan struct{}, 1), flushes: make(chan chan struct{}),
		stop: make(chan struct{}), stopped: make(chan struct{}), followers: map[*follower]struct{}{},
	}
	l.config.Store(&Config{})
	go l.run()
	return l
}

// Service is whose log it is: "IMAP4".
func (l *Log) Service() string { return l.service }

// Config is what holds now.
func (l *Log) Config() Config { return *l.config.Load() }

// Set makes c hold from the next command of every session on. It does not wait,
// and a folder that cannot be written to is tried again and again: see Check.
func (l *Log) Set(c Config) {
	l.config.Store(&c)
	l.on.Store(c.Enabled)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Lost is how many records were dropped since the beginning.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Flush waits until all records that were handed over before are in the file.
func (l *Log) Flush(ctx context.Context) error {
	written := make(chan struct{})
	select {
	case l.flushes <- written:
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return mail.Wrap(mail.KindUnavailable, ctx.Err())
	}
	select {
	case <-written:
		return nil
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return mail.Wrap(mail.KindUnavailable, ctx.Err())
	}
}

// Close writes what is queued and ends the log. It gives up, with KindUnavailable,
// when the disk does not take it within 5 s.
func (l *Log) Close() error {
	l.on.Store(false)
	l.once.Do(func() { close(l.stop) })
	select {
	case <-l.stopped:
		return nil
	case <-time.After(closeTimeout):
		return mail.Errorf(mail.KindUnavailable, "The protocol log of %s cannot be written to its end.", l.service)
	}
}

// entry gives an empty entry.
func (l *Log) entry() *entry {
	if e, ok := l.entries.Get().(*entry); ok {
		return e
	}
	return new(entry)
}

// put hands an entry to the writer, or drops it.
func (l *Log) put(e *entry) {
	select {
	case l.queue <- e:
	default:
		l.drop()
		l.entries.Put(e)
	}
}

// drop counts a record that is not written.
func (l *Log) drop() {
	l.dropped.Add(1)
	l.lost.Add(1)
}

// run is the writer.
func (l *Log) run() {
	defer close(l.stopped)
	w := &writer{l: l}
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	for {
		select {
		case e := <-l.queue:
			l.take(w, e)
		case <-l.wake:
			l.drain(w)
			w.configure(l.config.Load())
		case written := <-l.flushes:
			l.drain(w)
			w.flush()
			close(written)
		case <-tidy.C:
			w.tidy(l.now())
		case <-l.stop:
			l.drain(w)
			w.close()
			return
		}
		if len(l.queue) == 0 {
			w.flush()
		}
	}
}

// drain takes what is queued.
func (l *Log) drain(w *writer) {
	for range len(l.queue) {
		l.take(w, <-l.queue)
	}
}

// take shows a record to the followers and writes it.
func (l *Log) take(w *writer, e *entry) {
	r := e.record(l.service)
	l.entries.Put(e)
	if l.followed.Load() {
		l.show(&r)
	}
	w.write(&r)
}
