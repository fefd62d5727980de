package role

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/backup"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/sandbox"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
)

// What a backup has of the data folder; the names are those there. Events, statistics and
// protocol logs tell what a server did, and stay behind.
const (
	storeFolder       = "store"
	sealFile          = "seal.key"
	certificateFolder = "certificates"
	auditFolder       = "audit"
)

// secretParts are what a backup without keys leaves out.
var secretParts = []string{sealFile, certificateFolder}

// backedUp are all parts of a backup.
var backedUp = append([]string{storeFolder, auditFolder}, secretParts...)

// backups implements manage.Backups.
type backups struct{ server *Server }

var _ manage.Backups = backups{}

// folder checks the path of a folder of backups, which is to be written to or read.
func (b backups) folder(path string, write bool) (string, error) {
	if !filepath.IsAbs(path) {
		return "", mail.Errorf(mail.KindBadArgument, "%q is not an absolute path of this host.", path)
	}
	path = filepath.Clean(path)
	data := b.server.config.Data
	if data, path := sandbox.Real(data), sandbox.Real(path); within(data, path) || within(path, data) {
		return "", mail.Errorf(mail.KindBadArgument, "A backup stands neither in the data folder %s nor around it.", data)
	}
	return path, b.server.reachable(path, write)
}

// within tells whether path is dir or below it.
func within(dir, path string) bool {
	rest, err := filepath.Rel(dir, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}

// Backup implements manage.Backups.
func (b backups) Backup(ctx context.Context, path string, keep int, withoutKeys bool, progress func(done, all int64)) (made backup.Made, err error) {
	s := b.server
	if path, err = b.folder(path, true); err != nil {
		return made, err
	}
	engine, ok := s.engine.(store.Checkpointer)
	if !ok {
		return made, mail.Errorf(mail.KindCannot, "The engine %s keeps nothing in files that could be copied.", s.config.Engine)
	}
	folder, err := backup.Create(path)
	if err != nil {
		return made, err
	}
	defer folder.Close()
	checkpoint, err := engine.Checkpoint(ctx)
	if err != nil {
		return made, err
	}
	defer func() {
		if x := checkpoint.Close(); x != nil && err == nil {
			s.log.Warn("the links of a backup cannot be removed", "error", x)
		}
	}()
	point := backup.Point{Time: time.Now(), Store: checkpoint.Store(), Server: s.config.Name, Program: Version()}
	var files []backup.File
	for _, f := range checkpoint.Files() {
		files = append(files, backup.File{Name: storeFolder + "/" + f.Name, Size: f.Size, Version: f.Version, Open: func() (io.ReadSeekCloser, error) { return checkpoint.Open(f.Name) }})
	}
	// The audit log's head is a record of the store: its files are of a later moment, and
	// have all that the head speaks of.
	for _, part := range backedUp {
		if part == storeFolder || withoutKeys && slices.Contains(secretParts, part) {
			continue
		}
		more, without, err := filesOf(s.config.Data, part, slices.Contains(secretParts, part))
		if err != nil {
			return made, err
		}
		for _, path := range without {
			s.log.Warn("a backup is made without a file to which a link leads that cannot be read", "link", path)
		}
		files = append(files, more...)
	}
	return folder.Write(ctx, point, files, keep, progress)
}

// filesOf gives the files of a part of the data folder; none when it is not there. With
// now they are read at once: to copy the store may take hours, in which files that are
// small may be replaced or removed. What links lead to, as those of certbot, is taken as if
// it were there: the part itself, and files; without are those that cannot be read.
func filesOf(data, part string, now bool) (list []backup.File, without []string, err error) {
	failed := func(err error) ([]backup.File, []string, error) {
		return nil, nil, &mail.Error{Kind: mail.KindUnavailable, Text: "The data folder cannot be read: " + err.Error(), Cause: err}
	}
	root, err := filepath.EvalSymlinks(filepath.Join(data, part))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return failed(err)
	}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // or not any more
			return nil
		}
		if err != nil {
			return err
		}
		linked := e.Type()&fs.ModeSymlink != 0
		if !linked && !e.Type().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file, err := fileOf(path, now)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil && linked:
			without = append(without, path)
		case err != nil:
			return err
		case file != nil:
			file.Name = filepath.ToSlash(filepath.Join(part, name))
			list = append(list, *file)
		}
		return nil
	})
	if err != nil {
		return failed(err)
	}
	return list, without, nil
}

// smallFile is how many bytes a file has at most that is read at once.
const smallFile = 1 << 20

// fileOf gives the file to which a path leads, nil when that is no file. With now it is read, if
// it is small.
func fileOf(path string, now bool) (*backup.File, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	if !now || info.Size() > smallFile {
		return &backup.File{Size: info.Size(), Open: func() (io.ReadSeekCloser, error) { return os.Open(path) }}, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &backup.File{Size: int64(len(b)), Open: func() (io.ReadSeekCloser, error) {
		return struct {
			*bytes.Reader
			io.Closer
		}{bytes.NewReader(b), io.NopCloser(nil)}, nil
	}}, nil
}

// with opens a folder to be read.
func (b backups) with(path string, do func(f *backup.Folder) error) error {
	path, err := b.folder(path, false)
	if err != nil {
		return err
	}
	f, err := backup.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// Points implements manage.Backups.
func (b backups) Points(_ context.Context, path string) (points []backup.Point, damages []backup.Damage, err error) {
	err = b.with(path, func(f *backup.Folder) error {
		points, damages, err = f.Points()
		return err
	})
	return points, damages, err
}

// At implements manage.Backups.
func (b backups) At(_ context.Context, path string, t time.Time) (p backup.Point, err error) {
	err = b.with(path, func(f *backup.Folder) error {
		p, err = f.At(t)
		return err
	})
	return p, err
}

// Verify implements manage.Backups.
func (b backups) Verify(ctx context.Context, path string, at time.Time, each func(backup.Damage) error, progress func(done, all int64)) (v backup.Verified, err error) {
	err = b.with(path, func(f *backup.Folder) error {
		v, err = f.Verify(ctx, at, each, progress)
		return err
	})
	return v, err
}

// BringBack implements manage.Backups.
func (b backups) BringBack(ctx context.Context, path string, m manage.BroughtMailbox, progress func(done, all int64)) (out store.BroughtBack, err error) {
	err = b.with(path, func(f *backup.Folder) error {
		files, err := f.Files(m.Point)
		if err != nil {
			return err
		}
		root, err := files.Sub(storeFolder)
		if err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		then, err := embedded.OpenImage(root, embedded.Options{Log: b.server.log})
		if err != nil {
			return err
		}
		defer then.Close()
		account, err := b.accountThen(ctx, then, m)
		if err != nil {
			return err
		}
		out, err = b.server.store.BringBack(ctx, m.To, store.BringBack{
			From: then, Account: account, Into: m.Into, Missing: m.Missing,
			Progress: func(done, all int) { progress(int64(done), int64(all)) },
		})
		return err
	})
	return out, err
}

// accountThen finds whose mail a mailbox is in a backup: the account that it has now, or,
// when that was not there, the one that had its name. KindBadArgument when that one is there
// still, as when an address went from one to the other: it is somebody else's.
func (b backups) accountThen(ctx context.Context, then *embedded.Engine, m manage.BroughtMailbox) (mail.AccountID, error) {
	if m.Account != 0 {
		_, err := then.Account(ctx, m.Account)
		if err == nil || mail.KindOf(err) != mail.KindNotFound {
			return m.Account, err
		}
	}
	names, err := dirembedded.Open(ctx, then, dirembedded.Options{})
	if err != nil {
		return 0, err
	}
	e, err := names.Lookup(ctx, m.Name)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			return 0, mail.Errorf(mail.KindNotFound, "the backup of %s has no mailbox %s", m.Point.Time.Format(time.RFC3339), m.Name)
		}
		return 0, err
	}
	if m.Account == 0 {
		return e.Account, nil // who asks knows that nobody has the name now
	}
	now, err := b.server.store.Account(ctx, e.Account)
	if err == nil {
		now.Close()
		return 0, mail.Errorf(mail.KindBadArgument, "in the backup of %s the name %s belongs to the mailbox %s, which is another one", m.Point.Time.Format(time.RFC3339), m.Name, e.Name)
	}
	if mail.KindOf(err) != mail.KindNotFound {
		return 0, err
	}
	return e.Account, nil
}
