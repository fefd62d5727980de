package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
)

// Keeper keeps the head of the chain where the files are not, so that a tail that
// was cut off is noticed. Its methods obey their context and give *mail.Error.
type Keeper interface {
	// LoadHead gives the head that was saved last, the zero Head when there is none.
	LoadHead(ctx context.Context) (Head, error)
	SaveHead(ctx context.Context, h Head) error
}

// Options say where a log is kept.
type Options struct {
	Dir    string // its folder; made, 0700, when it is not there
	Server string // the server's name, for the log's own records
	Keeper Keeper // nil: a cut tail is noticed only while the log is open
	// MaxFile is the size in bytes at which a new file is begun; 16 MiB when it is 0.
	// A new month begins one too.
	MaxFile int64
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nothing is logged

	create func(path string) (file, error) // nil: the file system; tests make it fail
}

// file is what a log writes to.
type file interface {
	io.WriteCloser
	Sync() error
}

// Log is an open audit log. One process has it open at a time. Its methods may be
// called from any goroutine; Close it.
type Log struct {
	Options

	mu     sync.Mutex
	closed bool
	looked bool // recover has found the head
	head   Head
	saved  Head  // what the Keeper has
	file   file  // nil: to be opened, and looked at, before the next record
	size   int64 // of file
	month  string

	followers map[chan Entry]bool
}

// Open opens the log. What a crash or a meddler left behind is looked at: a record
// that was not written to its end stays where it is, with a record about it behind,
// and a tail that is missing is recorded and stays missing, so that Verify finds it
// whenever it is asked. A log that can be read and not written opens.
func Open(ctx context.Context, o Options) (*Log, error) {
	if o.MaxFile <= 0 {
		o.MaxFile = 16 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.create == nil {
		o.create = create
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "the folder of the audit log cannot be made", Cause: err}
	}
	l := &Log{Options: o, followers: map[chan Entry]bool{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.recover(ctx); err != nil {
		if !l.looked {
			return nil, err
		}
		// Mail is served while the disk is full; what is to be noted is, before the
		// next record.
		event.AuditLost.Log(ctx, l.Log, "error", err)
	}
	return l, nil
}

// Close ends the log and its followers.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for f := range l.followers {
		delete(l.followers, f)
		close(f)
	}
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return mail.Wrap(mail.KindUnavailable, err)
}

// Head gives the place of the last record, the zero Head of an empty log.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head.Sequence == 0 {
		return Head{}
	}
	return l.head
}

// Record appends a record; it is on disk when Record returns nil. A zero Time is
// now. KindUnavailable when it could not be written; then the log is looked at
// again before the next record.
func (l *Log) Record(ctx context.Context, r Record) error {
	r, err := bounded(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return mail.Errorf(mail.KindUnavailable, "the audit log is closed")
	}
	if l.file == nil {
		if err := l.recover(ctx); err != nil {
			return err
		}
	}
	return l.append(ctx, r)
}

// append writes one record. Nothing is left half done: when the disk refuses, the
// file is given up, and recover looks at it before the next record.
func (l *Log) append(ctx context.Context, r Record) error {
	now := l.Now().UTC()
	if r.Time.IsZero() {
		r.Time = now
	}
	line, next, err := encode(l.head, r)
	if err != nil {
		return err
	}
	if err := l.turn(now, int64(len(line))); err != nil {
		return err
	}
	_, err = l.file.Write(line)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.giveUp()
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the audit log cannot be written", Cause: err}
	}
	l.size += int64(len(line))
	previous := l.head.Hash
	l.head = next
	l.save(ctx)
	l.tell(Entry{next.Sequence, previous, r, next.Hash})
	return nil
}

func (l *Log) giveUp() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// save has the head kept. The record is safe without it: a head that lags behind
// is brought up by the next record or the next start.
func (l *Log) save(ctx context.Context) {
	if l.Keeper == nil || l.saved == l.head {
		return
	}
	if err := l.Keeper.SaveHead(ctx, l.head); err != nil {
		event.AuditHead.Log(ctx, l.Log, "sequence", l.head.Sequence, "error", err)
		return
	}
	l.saved = l.head
}

// turn makes sure that a file is open with room for size bytes in this month.
func (l *Log) turn(now time.Time, size int64) error {
	month := now.Format("2006-01")
	if l.file != nil && (l.size == 0 || month == l.month && l.size+size <= l.MaxFile) {
		return nil
	}
	path := filepath.Join(l.Dir, fileName(l.head.Sequence+1, month))
	f, err := l.create(path)
	if err != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "a file of the audit log cannot be made", Cause: err}
	}
	l.giveUp()
	l.file, l.size, l.month = f, 0, month
	return nil
}

// fileName is the name of the file that begins with a sequence number: names sort
// as the records do, whatever the clock did.
func fileName(first uint64, month string) string {
	return fmt.Sprintf("audit-%012d-%s.jsonl", first, month)
}

// firstOf reads the sequence number and month in a file's name.
func firstOf(path string) (first uint64, month string, ok bool) {
	name := filepath.Base(path)
	if len(name) != len(fileName(1, "2006-01")) || !strings.HasPrefix(name, "audit-") || !strings.HasSuffix(name, ".jsonl") {
		return 0, "", false
	}
	first, err := strconv.ParseUint(name[6:18], 10, 64)
	return first, name[19:26], err == nil && name[18] == '-'
}

// files lists the log's files, the oldest first.
func files(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	all = slices.DeleteFunc(all, func(path string) bool { _, _, ok := firstOf(path); return !ok })
	slices.Sort(all)
	return all, nil
}

// create opens a file for appending, and makes sure that it stays in its folder.
func create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = errors.Join(folder.Sync(), folder.Close())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// recover opens the last file, finds the chain's head and notes what is wrong with
// the end of it.
func (l *Log) recover(ctx context.Context) error {
	l.giveUp()
	if l.Keeper != nil {
		kept, err := l.Keeper.LoadHead(ctx)
		if err != nil {
			return err
		}
		l.saved = kept
	}
	all, err := files(l.Dir)
	if err != nil {
		return err
	}
	var end ending
	for i, path := range slices.Backward(all) {
		e, err := endOf(path)
		if err != nil {
			return err
		}
		if i < len(all)-1 { // the last file has no record that can be read
			e.path, e.size, e.bad, e.open = end.path, end.size, end.bad, end.open
		}
		if end = e; end.head.Sequence > 0 {
			break
		}
	}
	known := l.head // what this process knows, when it wrote before
	if l.saved.Sequence > known.Sequence {
		known = l.saved
	}
	notes := l.compare(end, known)
	if l.head.Sequence == 0 {
		l.head = Head{0, genesis}
	}
	l.looked = true
	if end.path != "" {
		_, l.month, _ = firstOf(end.path)
		if l.file, err = l.create(end.path); err == nil && end.open {
			if _, err = l.file.Write([]byte("\n")); err == nil {
				err = l.file.Sync()
			}
		}
		if err != nil {
			l.giveUp()
			return &mail.Error{Kind: mail.KindUnavailable, Text: "the audit log cannot be opened", Cause: err}
		}
		l.size = end.size
	}
	for _, n := range notes {
		n.Who, n.From, n.Server, n.Cmdlet, n.Outcome = "postern", "server", l.Server, Notice, OK
		event.AuditMended.Log(ctx, l.Log, "note", n.Note)
		if err := l.append(ctx, n); err != nil {
			return err
		}
	}
	l.save(ctx)
	return nil
}

// compare chooses the head to go on from and says what is to be noted.
func (l *Log) compare(end ending, known Head) (notes []Record) {
	note := func(format string, args ...any) { notes = append(notes, Record{Note: fmt.Sprintf(format, args...)}) }
	if len(end.bad) > 0 {
		note("The %d bytes before this record are not a whole record: it was not written to its end, or it was changed.", len(end.bad))
		notes[0].Torn = end.bad
	}
	l.head = end.head
	switch {
	case known.Sequence > end.head.Sequence:
		// The chain goes on behind what is missing, so that it stays missing.
		l.head = known
		note("The records %d to %d are missing: the log ended before them.", end.head.Sequence+1, known.Sequence)
	case known.Sequence == end.head.Sequence && known.Sequence > 0 && known.Hash != end.head.Hash:
		l.head = known
		note("Record %d is not the one that was written: it was replaced.", known.Sequence)
	case known.Sequence == 0 && end.head.Sequence > 0 && l.Keeper != nil:
		note("The store knew nothing of the %d records that are here.", end.head.Sequence)
	case end.head.Sequence > known.Sequence && l.Keeper != nil:
		note("The store knew of %d records; %d are here: the server stopped in between, or somebody else has written them.", known.Sequence, end.head.Sequence)
	}
	return notes
}

// ending is how a file ends.
type ending struct {
	path string
	size int64
	head Head   // of the last line that is a record as it was written
	bad  []byte // the lines behind that, with their line feeds; at most maxTorn bytes
	open bool   // the last line has no line feed
}

// addBad adds a line that is no record to those before it, within maxTorn.
func addBad(bad, line []byte, whole bool) []byte {
	bad = append(bad, line...)
	if whole {
		bad = append(bad, '\n')
	}
	return bad[:min(len(bad), maxTorn)]
}

// endOf reads a file to its end.
func endOf(path string) (ending, error) {
	e := ending{path: path}
	f, err := os.Open(path)
	if err != nil {
		return e, &mail.Error{Kind: mail.KindUnavailable, Text: "the audit log cannot be read", Cause: err}
	}
	defer f.Close()
	lines := newLines(f)
	for {
		line, whole, err := lines.next()
		if err == io.EOF {
			return e, nil
		}
		if err != nil {
			return e, err
		}
		e.size, e.open = lines.at, !whole
		entry, err := decode(line)
		if err == nil { // also without its line feed, which is added
			e.head, e.bad = entry.Head(), nil
		} else {
			e.bad = addBad(e.bad, line, true)
		}
	}
}

// lines reads lines in bounded memory.
type lines struct {
	r  *bufio.Reader
	at int64 // bytes read
	n  int   // lines begun
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine+1)} }

// next gives a line without its line feed, valid until the next call; one that is
// longer than maxLine comes cut, and decode refuses it. whole is false for what
// stands behind the last line feed. io.EOF at the end.
func (l *lines) next() (line []byte, whole bool, err error) {
	l.n++
	line, err = l.r.ReadSlice('\n')
	l.at += int64(len(line))
	switch {
	case err == nil:
		return line[:len(line)-1], true, nil
	case errors.Is(err, io.EOF) && len(line) > 0:
		return line, false, nil
	case errors.Is(err, bufio.ErrBufferFull):
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = l.r.ReadSlice('\n')
			l.at += int64(len(more))
		}
		if err == nil || errors.Is(err, io.EOF) {
			return line, err == nil, nil
		}
	case errors.Is(err, io.EOF):
		return nil, false, io.EOF
	}
	return nil, false, &mail.Error{Kind: mail.KindUnavailable, Text: "the audit log cannot be read", Cause: err}
}

// Follow gives every entry that is appended from now on, until stop is called or
// the log is closed. A reader that falls buffer entries behind loses its channel:
// it is closed, and Search gives what was missed.
func (l *Log) Follow(buffer int) (entries <-chan Entry, stop func()) {
	f := make(chan Entry, max(buffer, 1))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		close(f)
		return f, func() {}
	}
	l.followers[f] = true
	return f, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.followers[f] {
			delete(l.followers, f)
			close(f)
		}
	}
}

// tell gives an entry to the followers.
func (l *Log) tell(e Entry) {
	for f := range l.followers {
		select {
		case f <- e:
		default:
			delete(l.followers, f)
			close(f)
		}
	}
}
