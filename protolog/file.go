package protolog

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/settings"
)

// writer keeps the file that is being written. Only the Log's goroutine uses it.
type writer struct {
	l      *Log
	holds  *Config // what config is of
	config Config

	file   *os.File // nil while none is open
	out    *bufio.Writer
	size   int64
	begins time.Time // of the file's period
	ends   time.Time
	line   []byte
	looked time.Time // when it was last looked whether the file is still there

	broken bool      // the last attempt failed, and that was said
	retry  time.Time // not before
}

// configure makes c hold: a change of what a file is begins a new one.
func (w *writer) configure(c *Config) {
	if c == w.holds {
		return
	}
	w.holds = c
	old := w.config
	w.config = *c
	if !c.Enabled || c.Folder != old.Folder || c.RollOver != old.RollOver || c.Format != old.Format {
		w.close()
	}
	if c.Folder != old.Folder {
		w.broken, w.retry = false, time.Time{}
	}
	if c.Enabled {
		w.tidy(w.l.now())
	}
}

// write writes a record, into a new file when it is time; what cannot be written
// is dropped.
func (w *writer) write(r *Record) {
	// A record may come before its config's wake, or behind the one that ends the log.
	if c := w.l.config.Load(); c.Enabled {
		w.configure(c)
	} else if !w.config.Enabled {
		return
	}
	if w.file != nil && (!r.Time.Before(w.ends) || w.size >= w.config.MaxFile || w.removed(r.Time)) {
		w.close()
	}
	if w.file == nil && !w.open(r.Time) {
		w.l.drop()
		return
	}
	w.line = w.line[:0]
	if n := w.l.dropped.Swap(0); n > 0 {
		w.line = w.notice(w.line, n)
	}
	if w.config.Format == settings.Json {
		w.line = appendJSON(w.line, r)
	} else {
		w.line = appendCSV(w.line, r)
	}
	w.put(w.line)
}

// removed tells, asking now and then, whether somebody has taken the file away.
func (w *writer) removed(now time.Time) bool {
	if now.Sub(w.looked).Abs() < retryAfter {
		return false
	}
	w.looked = now
	there, err := os.Lstat(w.file.Name())
	if err != nil {
		return true
	}
	mine, err := w.file.Stat()
	return err != nil || !os.SameFile(there, mine)
}

// notice says in the file that n records are missing here.
func (w *writer) notice(b []byte, n int64) []byte {
	if w.config.Format == settings.Json {
		return fmt.Appendf(b, "{\"dropped\":%d}\n", n)
	}
	return fmt.Appendf(b, "#Dropped: %d\n", n)
}

func (w *writer) put(b []byte) {
	n, err := w.out.Write(b)
	w.size += int64(n)
	if err != nil {
		w.l.drop()
		w.fail(err)
	}
}

func (w *writer) flush() {
	if w.file == nil {
		return
	}
	if err := w.out.Flush(); err != nil {
		w.l.drop() // at least one
		w.fail(err)
	}
}

func (w *writer) close() {
	w.flush()
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

// fail leaves the file alone for a while. The trouble is said once, until it is over.
func (w *writer) fail(err error) {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
	w.retry = w.l.now().Add(retryAfter)
	if !w.broken {
		w.broken = true
		event.ProtocolLogLost.Log(context.Background(), w.l.log, "folder", w.config.Folder, "error", err)
	}
}

// open begins a file for the period of t.
func (w *writer) open(t time.Time) bool {
	if now := w.l.now(); now.Before(w.retry) && w.retry.Sub(now) <= retryAfter { // a clock that went back does not matter
		return false
	}
	w.tidy(t)
	w.begins, w.ends = period(w.config.RollOver, t)
	f, err := w.create()
	if err != nil {
		w.fail(err)
		return false
	}
	w.file, w.out, w.size, w.looked = f, bufio.NewWriterSize(f, 32<<10), 0, t
	if w.broken {
		w.broken = false
		event.ProtocolLogBack.Log(context.Background(), w.l.log, "folder", w.config.Folder, "dropped", w.l.dropped.Load())
	}
	if w.config.Format == settings.Csv {
		w.put(fmt.Appendf(nil, "#Software: Postern\n#Version: 1.0\n#Log-type: %s Log\n#Date: %s\n#Fields: %s\n", w.l.service, t.UTC().Format(timeForm), Fields))
	}
	return w.file != nil
}

// create makes the next file of the period.
func (w *writer) create() (*os.File, error) {
	if err := os.MkdirAll(w.config.Folder, 0o700); err != nil {
		return nil, err
	}
	base := w.l.service + "-" + stamp(w.config.RollOver, w.begins) + "-"
	n := 0
	for _, f := range files(w.config.Folder, w.l.service) {
		if rest, ok := strings.CutPrefix(f.name, base); ok {
			if k, err := strconv.Atoi(strings.TrimSuffix(rest, filepath.Ext(rest))); err == nil {
				n = max(n, k)
			}
		}
	}
	extension := csvFile
	if w.config.Format == settings.Json {
		extension = jsonFile
	}
	return os.OpenFile(filepath.Join(w.config.Folder, base+strconv.Itoa(n+1)+extension), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// tidy removes files that are too old, and the oldest of those that are too much.
// The file that is being written stays.
func (w *writer) tidy(now time.Time) {
	if w.config.Folder == "" {
		return
	}
	list := files(w.config.Folder, w.l.service)
	open := ""
	if w.file != nil {
		open = filepath.Base(w.file.Name())
	}
	total := w.config.MaxFile                 // what the open one, or the next, may become
	for _, f := range slices.Backward(list) { // the newest first
		if f.name == open {
			continue
		}
		if total += f.size; total <= w.config.MaxDirectory && now.Sub(f.written) <= w.config.MaxAge {
			continue
		}
		total -= f.size
		if err := os.Remove(filepath.Join(w.config.Folder, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.l.log.Warn("an old protocol log cannot be removed", "file", f.name, "error", err)
		}
	}
}

const (
	csvFile  = ".LOG"
	jsonFile = ".JSONL"
)

// period gives the beginning and the end of the period of t, in UTC.
func period(r settings.RollOver, t time.Time) (begins, ends time.Time) {
	t = t.UTC()
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	switch r {
	case settings.Hourly:
		hour := day.Add(time.Duration(t.Hour()) * time.Hour)
		return hour, hour.Add(time.Hour)
	case settings.Weekly:
		monday := day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		return monday, monday.AddDate(0, 0, 7)
	case settings.Monthly:
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		return first, first.AddDate(0, 1, 0)
	}
	return day, day.AddDate(0, 0, 1)
}

// stamp is a period's part of a file's name.
func stamp(r settings.RollOver, begins time.Time) string {
	switch r {
	case settings.Hourly:
		return begins.Format("2006010215")
	case settings.Monthly:
		return begins.Format("200601")
	}
	return begins.Format("20060102")
}

// logFile is a file of a service's log.
type logFile struct {
	name    string
	size    int64
	written time.Time // last
	number  int       // within its period
}

// files lists a service's files in a folder, the oldest first. What has another
// name is somebody else's.
func files(folder, service string) []logFile {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var list []logFile
	for _, e := range entries {
		number, ok := isLog(e.Name(), service)
		if !ok {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			list = append(list, logFile{e.Name(), info.Size(), info.ModTime(), number})
		}
	}
	slices.SortFunc(list, func(a, b logFile) int {
		return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.name[:len(service)+7], b.name[:len(service)+7]), cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	return list
}

// isLog reads a file's name: SERVICE-DATE-NUMBER.LOG or .JSONL.
func isLog(name, service string) (number int, ok bool) {
	rest, ok := strings.CutPrefix(name, service+"-")
	if !ok {
		return 0, false
	}
	extension := filepath.Ext(rest)
	date, nth, found := strings.Cut(strings.TrimSuffix(rest, extension), "-")
	if !found || extension != csvFile && extension != jsonFile || len(date) < 6 || len(date) > 10 || len(nth) > 9 ||
		strings.Trim(date, "0123456789") != "" || strings.Trim(nth, "0123456789") != "" {
		return 0, false
	}
	number, err := strconv.Atoi(nth)
	return number, err == nil
}

// reason says in words why a file cannot be written.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "it is not permitted"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return "a part of the path is no folder"
	}
	return "it cannot be made or opened"
}
