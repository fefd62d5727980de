package role

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/backup"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/store"
)

// restoringFile is in a data folder while it is restored: what is there is not whole then.
const restoringFile = "restore.incomplete"

const restoringText = "This folder is being restored from a backup and is not whole.\n" +
	"\"postern restore\" begins anew with it. The server does not start with it.\n"

// Restoring says what Restore puts back.
type Restoring struct {
	Path string    // the folder of the backup
	At   time.Time // the last point not after it; zero: the last
	Who  string    // for the audit log
	// Progress is told how far it is; nil: nobody is.
	Progress func(manage.Progress)
}

// Restored says what Restore put back.
type Restored struct {
	backup.Point
	// WithoutKeys: the backup has none.
	WithoutKeys bool
}

// Restore puts all that a backup has into the data folder of a server that does not run.
// The folder is empty, or not there, or holds what a Restore that was ended left, which
// goes. Until it is done no server starts on it. What is put back can be served then: see
// store.Reissue. KindAlreadyExists for a folder that holds something, KindNoSpace,
// KindInUse while another one does it, and those of package backup.
func Restore(ctx context.Context, config Config, r Restoring, log *slog.Logger) (out Restored, err error) {
	if err := config.check(); err != nil {
		return out, err
	}
	if config.Engine != "embedded" {
		return out, mail.Errorf(mail.KindCannot, "The engine %s keeps nothing in files that could be restored.", config.Engine)
	}
	if r.Progress == nil {
		r.Progress = func(manage.Progress) {}
	}
	folder, err := backup.Open(r.Path)
	if err != nil {
		return out, err
	}
	defer folder.Close()
	if out.Point, err = folder.At(r.At); err != nil {
		return out, err
	}
	files, err := folder.Files(out.Point)
	if err != nil {
		return out, err
	}
	out.WithoutKeys = true
	for _, name := range files.Names() {
		part, _, _ := strings.Cut(name, "/")
		if !slices.Contains(backedUp, part) {
			return out, mail.Errorf(mail.KindCorrupt, "The backup has a file %q, which is no part of a data folder.", name)
		}
		out.WithoutKeys = out.WithoutKeys && part != sealFile && part != certificateFolder
	}
	last, err := lastTime(folder)
	if err != nil {
		return out, err
	}
	taken, release, err := beginRestoring(config.Data)
	if err != nil {
		return out, err
	}
	defer release()
	defer func() {
		if x := taken.giveBack(); err == nil {
			err = cannotWrite(config.Data, x)
		}
	}()
	if err := putBack(ctx, config.Data, files, out.Bytes, r.Progress); err != nil {
		return out, err
	}
	if err := reissue(ctx, config, r, out.Point, last, log); err != nil {
		return out, err
	}
	if err := taken.giveContents(); err != nil {
		return out, cannotWrite(config.Data, err)
	}
	if err := os.Remove(filepath.Join(config.Data, restoringFile)); err != nil {
		return out, cannotWrite(config.Data, err)
	}
	return out, cannotWrite(config.Data, syncFolder(config.Data))
}

// lastTime gives the time of the last point of a folder, by what the clock said.
func lastTime(folder *backup.Folder) (last time.Time, err error) {
	points, _, err := folder.Points()
	for _, p := range points {
		if p.Time.After(last) {
			last = p.Time
		}
	}
	return last, err
}

// wholeData refuses a data folder in which a restore was not done.
func wholeData(data string) error {
	if _, err := os.Lstat(filepath.Join(data, restoringFile)); err != nil {
		return nil // it is not there; who may not look finds out at once
	}
	return mail.Errorf(mail.KindUnavailable, "The data folder %s is not whole: a restore was not done. Run postern restore again, or empty the folder.", data)
}

// beginRestoring makes sure that the data folder holds nothing but the mark that it is not
// whole, which is locked until release, and that nobody but who restores changes what is in it.
func beginRestoring(data string) (t taken, release func(), err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return t, nil, cannotWrite(data, err)
	}
	// Before it is taken: a server may be using it.
	if _, err := restorable(data); err != nil {
		return t, nil, err
	}
	if t, err = takeFolder(data); err != nil {
		return t, nil, cannotWrite(data, err)
	}
	if release, err = markRestoring(data, t.note()); err != nil {
		if x := t.giveBack(); x != nil {
			err = errors.Join(err, x)
		}
		return taken{}, nil, err
	}
	return t, release, nil
}

// restorable refuses a folder that holds something; marked tells whether that is what a
// restore left.
func restorable(data string) (marked bool, err error) {
	entries, err := os.ReadDir(data)
	if err != nil {
		return false, cannotWrite(data, err)
	}
	marked = slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == restoringFile && e.Type().IsRegular() })
	others := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "lost+found" })
	if len(others) > 0 && !marked {
		return false, mail.Errorf(mail.KindAlreadyExists, "The data folder %s is not empty, it holds %s: a server is restored into an empty folder. Move that away first.", data, others[0].Name())
	}
	return marked, nil
}

// markRestoring makes and locks the mark, with a note, and takes away what a restore left.
func markRestoring(data, note string) (release func(), err error) {
	marked, err := restorable(data)
	if err != nil {
		return nil, err
	}
	busy := mail.Errorf(mail.KindInUse, "The data folder %s is being restored already.", data)
	// The mark that was seen, which nothing is written to, or one of our own: another one's may
	// come and go meanwhile.
	how := os.O_CREATE | os.O_EXCL | os.O_RDWR
	if marked {
		how = os.O_RDONLY
	}
	f, err := os.OpenFile(filepath.Join(data, restoringFile), how, 0o600)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil, busy
	}
	if err != nil {
		return nil, cannotWrite(data, err)
	}
	if err := lockAlone(f); err != nil {
		f.Close()
		return nil, busy
	}
	// Who had the lock until now may have been done, and taken the mark away.
	if is, err := f.Stat(); err == nil {
		if there, err := os.Lstat(filepath.Join(data, restoringFile)); err != nil || !os.SameFile(is, there) {
			f.Close()
			return nil, busy
		}
	}
	if !marked {
		_, err = f.WriteAt([]byte(restoringText+note), 0)
		err = errors.Join(err, f.Sync(), syncFolder(data))
	}
	// Nothing else was made here since the mark, so it is what that restore left.
	for _, part := range append([]string{"events"}, backedUp...) {
		if err == nil && marked {
			err = os.RemoveAll(filepath.Join(data, part))
		}
	}
	if err != nil {
		f.Close()
		return nil, cannotWrite(data, err)
	}
	return func() { f.Close() }, nil
}

// putBack writes the files.
func putBack(ctx context.Context, data string, files *backup.Files, all int64, progress func(manage.Progress)) error {
	if free, size := diskSpace(data); size > 0 && free < all {
		return mail.Errorf(mail.KindNoSpace, "The disk of the data folder %s has %d bytes free, and the backup needs %d.", data, free, all)
	}
	done := int64(0)
	told := time.Time{}
	tell := func(n int64) {
		if done += n; time.Since(told) > 100*time.Millisecond || done == all {
			told = time.Now()
			progress(manage.Progress{Activity: "Copying", Done: done, All: all, Unit: "bytes"})
		}
	}
	folders := map[string]bool{data: true}
	for _, name := range files.Names() {
		path := filepath.Join(data, filepath.FromSlash(name))
		for dir := filepath.Dir(path); !folders[dir]; dir = filepath.Dir(dir) {
			folders[dir] = true
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return cannotWrite(data, err)
		}
		if err := putFile(data, path, func(to io.Writer) error { return files.Copy(ctx, name, to, nil) }, tell); err != nil {
			return err
		}
	}
	for dir := range folders {
		if err := syncFolder(dir); err != nil {
			return cannotWrite(data, err)
		}
	}
	return nil
}

// putFile writes one file and makes it durable.
func putFile(data, path string, copy func(io.Writer) error, tell func(int64)) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return cannotWrite(data, err)
	}
	defer f.Close()
	if err := copy(restoredFile{f, data, tell}); err != nil {
		return err
	}
	return cannotWrite(data, errors.Join(f.Sync(), f.Close()))
}

// restoredFile says of its errors which folder they are of.
type restoredFile struct {
	file *os.File
	data string
	tell func(int64)
}

func (f restoredFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	if err != nil {
		return n, cannotWrite(f.data, err)
	}
	f.tell(int64(n))
	return n, nil
}

// cannotWrite says what is wrong with the data folder; nil stays nil.
func cannotWrite(data string, err error) error {
	if err == nil {
		return nil
	}
	kind, why := mail.KindUnavailable, err.Error()
	if full(err) {
		kind, why = mail.KindNoSpace, "its disk is full"
	}
	return &mail.Error{Kind: kind, Text: fmt.Sprintf("The data folder %s cannot be written: %s.", data, why), Cause: err}
}

// reissue makes what was put back a store that can be served, and says in the audit log
// and in the events what was done. last is when the server was backed up last: it gave out
// UIDVALIDITYs until then, whatever the clock here says.
func reissue(ctx context.Context, config Config, r Restoring, point backup.Point, last time.Time, log *slog.Logger) (err error) {
	events, err := event.Open(filepath.Join(config.Data, "events"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	log = slog.New(events.Handler(log.Handler()))
	engine, err := engines[config.Engine](config, log)
	if err != nil {
		return err
	}
	now := time.Now()
	if last.After(now) { // one of the two clocks is wrong
		now = last
	}
	err = store.Reissue(ctx, engine, now, func(done, all int) {
		r.Progress(manage.Progress{Activity: "Giving new UIDVALIDITYs", Done: int64(done), All: int64(all)})
	})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	s, err := store.Open(engine, store.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() {
		if x := s.Close(); err == nil {
			err = x
		}
	}()
	l, err := audit.Open(ctx, audit.Options{Dir: filepath.Join(config.Data, auditFolder), Server: config.Name, Keeper: &auditHead{store: s, key: config.Name}, Log: log})
	if err != nil {
		return err
	}
	err = l.Record(ctx, audit.Record{
		Who: r.Who, From: "server", Local: true, Server: config.Name, Cmdlet: "Restore-Store", Outcome: audit.OK,
		Parameters: map[string]string{"Path": r.Path, "PointInTime": point.Time.Format(time.RFC3339Nano)},
	})
	event.StoreRestored.Log(ctx, log, "path", r.Path, "time", point.Time, "server", point.Server)
	return errors.Join(err, l.Close())
}

// syncFolder makes what was made in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
