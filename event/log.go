package event

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Entry is one thing that happened.
type Entry struct {
	Time   time.Time         `json:"time"` // UTC
	Level  slog.Level        `json:"level"`
	ID     int               `json:"id,omitempty"` // 0 for what is no row of the Table
	Source string            `json:"source"`       // a service, or "Postern"
	Text   string            `json:"text"`
	Data   map[string]string `json:"data,omitempty"`
	// Count is how often it happened within flushEvery, with other Data maybe.
	Count int `json:"count"`
}

// Type is the entry's type by the words of Windows: Error, Warning or Information.
func (e *Entry) Type() string {
	switch {
	case e.Level >= slog.LevelError:
		return "Error"
	case e.Level >= slog.LevelWarn:
		return "Warning"
	}
	return "Information"
}

// Bounds.
const (
	maxEntries    = 5000 // that are kept in memory
	maxPending    = 500  // that wait to be written
	maxSame       = 5    // of them that differ in their Data only
	maxFile       = 2 << 20
	maxAttributes = 20
	maxText       = 1000 // bytes of a text
	maxLine       = 64 << 10
	flushEvery    = 2 * time.Second
)

// Log keeps the last events, in memory and in two files that take turns. Its
// methods may be called from any goroutine; Close it.
type Log struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	entries []Entry // the oldest first; the last pending ones are not written yet
	pending int
	fault   error // of the last write
	next    slog.Handler

	limiter limiter

	known chan struct{} // closed when entries has what an earlier run left
	stop  chan struct{}
	done  chan struct{}
}

// Open goes on with what an earlier run left in the folder, which is made, 0700, when it
// is not there. It is read in the background: a server starts without it. now is time.Now
// when it is nil. Damaged lines are passed over.
func Open(dir string, now func() time.Time) (*Log, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "the folder of events cannot be made", Cause: err}
	}
	l := &Log{dir: dir, now: now, known: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{})}
	l.limiter = limiter{most: linesASecond, now: now, lines: map[string]int{}, others: map[string]int64{}}
	var files []*os.File
	for _, name := range []string{olderFile, newerFile} {
		f, err := os.Open(filepath.Join(dir, name))
		switch {
		case err == nil:
			files = append(files, f)
		case !errors.Is(err, fs.ErrNotExist):
			closeAll(files)
			return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "the events cannot be read", Cause: err}
		}
	}
	go func() {
		l.read(files)
		l.work()
	}()
	return l, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

const (
	newerFile = "events.jsonl"
	olderFile = "events.1.jsonl"
)

// read puts what files hold, the older first, before what has happened since.
func (l *Log) read(files []*os.File) {
	defer close(l.known)
	defer closeAll(files)
	var before []Entry
	for _, f := range files {
		r := bufio.NewReaderSize(f, maxLine)
		for {
			line, err := r.ReadSlice('\n')
			var e Entry
			if err == nil && json.Unmarshal(line, &e) == nil && e.Text != "" {
				before = append(before, e)
			}
			if len(before) >= 2*maxEntries {
				before = slices.Clone(before[len(before)-maxEntries:])
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				break // the end, or what a crash left of the last line
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(before, l.entries...)
	l.trim()
}

func (l *Log) trim() {
	if over := len(l.entries) - maxEntries; over > maxEntries/10 {
		l.entries = slices.Clone(l.entries[over:])
	}
}

// Close writes what waits and ends the log.
func (l *Log) Close() error {
	close(l.stop)
	<-l.done
	return mail.Wrap(mail.KindUnavailable, l.fault)
}

func (l *Log) work() {
	defer close(l.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.flush()
		case <-l.stop:
			l.flush()
			return
		}
	}
}

// flush writes the pending entries. What cannot be written stays in memory.
func (l *Log) flush() {
	l.mu.Lock()
	next := l.next
	l.mu.Unlock()
	if next != nil {
		l.limiter.tell(next)
	}
	l.mu.Lock()
	pending := slices.Clone(l.entries[len(l.entries)-l.pending:])
	l.pending = 0
	l.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	var b bytes.Buffer
	for _, e := range pending {
		if text, err := json.Marshal(e); err == nil && len(text) < maxLine {
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	l.fault = l.write(b.Bytes())
}

func (l *Log) write(text []byte) error {
	path := filepath.Join(l.dir, newerFile)
	if info, err := os.Stat(path); err == nil && info.Size()+int64(len(text)) > maxFile {
		if err := os.Rename(path, filepath.Join(l.dir, olderFile)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// add keeps an entry. What happens often is counted, so that it neither fills the
// disk nor drives the rest out.
func (l *Log) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.entries[len(l.entries)-l.pending:]
	same := 0
	for i := range slices.Backward(waiting) {
		w := &waiting[i]
		if w.ID != e.ID || w.Source != e.Source || w.Text != e.Text || w.Level != e.Level {
			continue
		}
		if same++; same == maxSame || maps.Equal(w.Data, e.Data) {
			w.Count++
			return
		}
	}
	if l.pending >= maxPending {
		return // hundreds of different things in two seconds
	}
	l.entries = append(l.entries, e)
	l.pending++
	l.trim()
}

// Query says which entries are looked for; what is zero restricts nothing.
type Query struct {
	Types         []string // of Entry.Type, in any case
	IDs           []int
	After, Before time.Time
	Source        func(string) bool
	Newest        int // at most so many; 1,000 when it is 0
}

// Search gives entries, the newest first, and whether there are more.
func (l *Log) Search(q Query) (found []Entry, more bool) {
	if q.Newest <= 0 {
		q.Newest = 1000
	}
	<-l.known
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.entries) - 1; i >= max(0, len(l.entries)-maxEntries); i-- {
		e := l.entries[i]
		switch {
		case !q.After.IsZero() && e.Time.Before(q.After), !q.Before.IsZero() && !e.Time.Before(q.Before),
			len(q.IDs) > 0 && !slices.Contains(q.IDs, e.ID), q.Source != nil && !q.Source(e.Source),
			len(q.Types) > 0 && !slices.ContainsFunc(q.Types, func(t string) bool { return strings.EqualFold(t, e.Type()) }):
		case len(found) == q.Newest:
			return found, true
		default:
			found = append(found, e)
		}
	}
	return found, false
}

// Handler gives a handler that keeps what is a warning or worse and what is a row
// of the table, and hands all on to next; of Info and worse not more than 100 lines of
// one text a second.
func (l *Log) Handler(next slog.Handler) slog.Handler {
	k := &keeping{log: l, next: next}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = k
	return k
}

// Unlimited lets lines of one text reach the log however many they are. Call it before
// Handler.
func (l *Log) Unlimited() { l.limiter.most = -1 }

// keeping is a handler on its way to next.
type keeping struct {
	log    *Log
	next   slog.Handler
	attrs  []slog.Attr
	prefix string
}

// Enabled implements slog.Handler.
func (k *keeping) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || k.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (k *keeping) Handle(ctx context.Context, r slog.Record) error {
	if !k.loggedOnly(r) {
		k.keep(r)
	}
	if !k.next.Enabled(ctx, r.Level) || r.Level >= slog.LevelInfo && !k.log.limiter.allow(r.Message) {
		return nil
	}
	return k.next.Handle(ctx, r)
}

// loggedOnly tells at a glance that there is nothing to keep of a record: every sign-in
// is one.
func (k *keeping) loggedOnly(r slog.Record) (only bool) {
	if r.Level >= slog.LevelWarn || k.prefix != "" {
		return false
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == Key && a.Value.Kind() == slog.KindInt64 {
			known := Find(int(a.Value.Int64()))
			only = known != nil && known.LoggedOnly()
		}
		return false // the number is the first
	})
	return only
}

// keep takes what is a warning or worse, or a row of the table.
func (k *keeping) keep(r slog.Record) {
	e := Entry{Time: r.Time.UTC(), Level: r.Level, Source: "Postern", Text: cut(r.Message, maxText), Count: 1}
	if r.Time.IsZero() {
		e.Time = k.log.now().UTC()
	}
	attrs := slices.Clone(k.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = flatten(attrs, k.prefix, a)
		return true
	})
	attrs = slices.DeleteFunc(attrs, func(a slog.Attr) bool {
		switch a.Key {
		case Key:
			e.ID, _ = strconv.Atoi(a.Value.String())
			return true
		case "service":
			e.Source = cut(a.Value.String(), 100)
			return true
		}
		return false
	})
	if known := Find(e.ID); r.Level >= slog.LevelWarn || e.ID != 0 && (known == nil || !known.LoggedOnly()) {
		e.Data = texts(attrs)
		k.log.add(e)
	}
}

// WithAttrs implements slog.Handler.
func (k *keeping) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *k
	next.attrs = slices.Clone(k.attrs)
	for _, a := range attrs {
		next.attrs = flatten(next.attrs, k.prefix, a)
	}
	next.next = k.next.WithAttrs(attrs)
	return &next
}

// WithGroup implements slog.Handler.
func (k *keeping) WithGroup(name string) slog.Handler {
	next := *k
	if name != "" {
		next.prefix += name + "."
	}
	next.next = k.next.WithGroup(name)
	return &next
}

// cut shortens a text to limit bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
