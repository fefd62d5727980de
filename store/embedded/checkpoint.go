package embedded

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// A checkpoint is a folder within the data folder with links to the files of a moment, so
// it takes no room of its own but for what is given back meanwhile, and no time by the
// size of the store. What is not in tables yet is written to them first, so the log is no
// part of it: tables say themselves up to which change they are (writeahead.go). The
// files of bodies are linked after that: a body is in its file before a table refers to
// it. What a crash left of one is removed when the folder is opened.
const checkpointFolder = "checkpoint"

var _ store.Checkpointer = (*Engine)(nil)

var errCheckpoint = mail.Errorf(mail.KindInUse, "A backup of the mail store is being made already.")

// clearCheckpoint removes what a process that ended left of a checkpoint. follows tells
// that another engine of this process had the folder before, whose checkpoint may be read.
func (e *Engine) clearCheckpoint(follows bool) {
	e.disk.checkpoint = e.disk.PathJoin(e.dir, checkpointFolder)
	if follows || e.readOnly != nil {
		return
	}
	if err := e.disk.RemoveAll(e.disk.checkpoint); err != nil {
		e.log.Warn("links to files of the mail store, left by a backup, cannot be removed", "folder", e.disk.checkpoint, "error", err)
	}
}

// Checkpoint implements store.Checkpointer.
func (e *Engine) Checkpoint(ctx context.Context) (store.Checkpoint, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if err := e.refused(); err != nil {
		return nil, err
	}
	if !e.checkpointing.CompareAndSwap(false, true) {
		return nil, errCheckpoint
	}
	c := &checkpoint{engine: e, dir: e.disk.checkpoint}
	if err := c.make(ctx); err != nil {
		_ = c.Close() // err says more
		return nil, err
	}
	return c, nil
}

// checkpoint implements store.Checkpoint.
type checkpoint struct {
	engine *Engine
	dir    string
	files  []store.CheckpointFile
}

func (c *checkpoint) make(ctx context.Context) error {
	e := c.engine
	// Of one that could not be closed.
	if err := e.disk.RemoveAll(c.dir); err != nil {
		return c.error(err)
	}
	// A file of bodies that is needed now is there until it is linked.
	b := &e.bodyFiles
	b.staying.Lock()
	defer b.staying.Unlock()
	if err := c.flush(ctx); err != nil {
		return err
	}
	var made error
	if err := e.guard(func() error {
		made = e.db.Checkpoint(c.dir)
		return nil
	}); err != nil {
		return err
	}
	if made != nil {
		return c.error(made)
	}
	if err := c.list(c.dir, "", func(name string) bool {
		return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, blobSuffix)
	}, nil); err != nil {
		return c.error(err)
	}
	if err := c.linkBodies(); err != nil {
		return c.error(err)
	}
	slices.SortFunc(c.files, func(x, y store.CheckpointFile) int { return cmp.Compare(x.Name, y.Name) })
	// A disk that failed meanwhile takes everything and keeps nothing, so a table that is
	// linked could be a part of one.
	if err := e.refused(); err != nil {
		return err
	}
	return ctx.Err()
}

// flush has all that was durable before in tables.
func (c *checkpoint) flush(ctx context.Context) error {
	e := c.engine
	e.ahead.order.Lock()
	flushed, err := e.ahead.flush()
	e.ahead.order.Unlock()
	if err != nil {
		return err
	}
	// A disk that breaks meanwhile may keep Pebble from ever ending.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-flushed:
			return e.refused()
		case <-ctx.Done():
			return mail.Wrap(mail.KindUnavailable, ctx.Err())
		case <-tick.C:
			if err := e.refused(); err != nil {
				return err
			}
		}
	}
}

// linkBodies links the files of bodies. Those that the tables do not know are too new, and
// go when the files are opened as a store.
func (c *checkpoint) linkBodies() error {
	e := c.engine
	b := &e.bodyFiles
	sizes, written := map[string]int64{}, map[string]bool{}
	b.mu.Lock()
	for _, f := range b.files {
		name := e.disk.PathBase(b.name(f.number))
		sizes[name], written[name] = f.size, f.out != nil
	}
	b.mu.Unlock()
	dir := e.disk.PathJoin(c.dir, bodyFolder)
	if err := e.disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name := range sizes {
		if err := vfs.LinkOrCopy(e.disk, e.disk.PathJoin(b.dir, name), e.disk.PathJoin(dir, name)); err != nil {
			return err
		}
	}
	return c.list(dir, bodyFolder+"/", func(name string) bool { return !written[name] }, sizes)
}

// list enters the files of a folder. fixed tells which of them nobody writes to any more;
// sizes, which may be nil, are those of files that have more at their end.
func (c *checkpoint) list(dir, prefix string, fixed func(name string) bool, sizes map[string]int64) error {
	d := c.engine.disk
	names, err := d.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := d.Stat(d.PathJoin(dir, name))
		if err != nil {
			return err
		}
		if info.IsDir() || strings.HasSuffix(name, pebbleLog) { // which has nothing
			continue
		}
		f := store.CheckpointFile{Name: prefix + name, Size: info.Size()}
		if size, ok := sizes[name]; ok {
			f.Size = size
		}
		if fixed(name) {
			f.Version = versionOf(info)
		}
		c.files = append(c.files, f)
	}
	return nil
}

// error makes an error of the checkpoint's folder one of the call: the store goes on.
func (c *checkpoint) error(err error) error {
	var x *mail.Error
	switch {
	case errors.As(err, &x):
		return err
	case full(err):
		return &mail.Error{Kind: mail.KindNoSpace, Text: "The disk of the mail store has no room for the backup's links to its files.", Cause: err}
	}
	return &mail.Error{Kind: mail.KindUnavailable, Text: fmt.Sprintf("The files of the mail store cannot be linked for a backup: %v.", err), Cause: err}
}

// Store names the store by a digest of what its log is masked with: random, of this store
// alone, and in its tables.
func (c *checkpoint) Store() string {
	sum := sha256.Sum256(append([]byte("name of a store\x00"), c.engine.ahead.mask[:]...))
	return hex.EncodeToString(sum[:16])
}

func (c *checkpoint) Files() []store.CheckpointFile { return c.files }

// Open implements store.Checkpoint.
func (c *checkpoint) Open(name string) (io.ReadSeekCloser, error) {
	if !fs.ValidPath(name) {
		return nil, mail.Errorf(mail.KindServerBug, "%q is no file of a checkpoint", name)
	}
	d := c.engine.disk
	// Not the disk's Open, which looks into files of values.
	f, err := d.FS.Open(d.PathJoin(append([]string{c.dir}, strings.Split(name, "/")...)...))
	if err != nil {
		return nil, c.error(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, c.error(err)
	}
	return struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

// Close removes the links.
func (c *checkpoint) Close() error {
	err := c.engine.disk.RemoveAll(c.dir)
	c.engine.checkpointing.Store(false)
	if err != nil {
		return c.error(err)
	}
	return nil
}
