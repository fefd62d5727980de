package embedded

import (
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// blockSize is what a disk writes at once: no less, and on no other border.
	blockSize = 4096
	// journalBuffer is how much of a log is gathered before it is written without
	// having been asked for.
	journalBuffer = 256 << 10
	// journalStep is by how much a log grows, a new one by less, as much as it has: its zeros
	// are written with the first data that needs them, so that later syncs find the file's
	// size and blocks as they are and have no metadata to write. The log that a closed store
	// leaves is read by its next start.
	journalStep      = 1 << 20
	firstJournalStep = 64 << 10
)

// journal is a write-ahead log whose syncs are one call: whole blocks, written past
// the page cache and through to the disk. A sync of an ordinary file costs twice the
// processor time (docs/decisions/embedded.md). Pebble writes a log from its beginning
// to its end by one goroutine and reads it by another file.
//
// The last block, which is not full yet, is written again by the next sync. What was
// synced of it before is written as it was, so a block that is torn then holds it
// still.
type journal struct {
	vfs.File
	write func(p []byte, at int64) error // durable when it returns; p is aligned

	block []byte // aligned to blockSize
	n     int    // bytes of block that are used
	at    int64  // where block begins in the file, a multiple of blockSize
	size  int64  // of the file; behind what was written it holds zeros or an older log
	clean bool   // block was written as it is
}

// newJournal gives f with such syncs, or f itself where the system has none. f was
// just opened and is at its beginning.
func newJournal(f vfs.File) vfs.File {
	info, err := f.Stat()
	if err != nil {
		return f
	}
	write := through(f)
	if write == nil {
		return f
	}
	return &journal{File: f, write: write, block: aligned(journalBuffer), size: info.Size(), clean: true}
}

// aligned gives n bytes that begin at a border of blockSize.
func aligned(n int) []byte {
	b := make([]byte, n+blockSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (blockSize - 1)
	return b[skip : skip+n : skip+n]
}

func (j *journal) Write(p []byte) (n int, err error) {
	for n = len(p); len(p) > 0; {
		took := copy(j.block[j.n:], p)
		p = p[took:]
		j.n += took
		j.clean = false
		if j.n == len(j.block) {
			if err := j.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush makes what block holds durable and keeps the part that fills no whole one.
func (j *journal) flush() error {
	if j.clean {
		return nil
	}
	end := (j.n + blockSize - 1) &^ (blockSize - 1)
	clear(j.block[j.n:end])
	out := j.block[:end]
	if need := j.at + int64(end); need > j.size {
		step := min(journalStep, max(firstJournalStep, j.size))
		grown := (need + step - 1) / step * step
		out = aligned(int(grown - j.at))
		copy(out, j.block[:end])
		j.size = grown
	}
	if err := j.write(out, j.at); err != nil {
		return err
	}
	whole := j.n &^ (blockSize - 1)
	j.n = copy(j.block, j.block[whole:j.n])
	j.at += int64(whole)
	j.clean = true
	return nil
}

func (j *journal) Sync() error     { return j.flush() }
func (j *journal) SyncData() error { return j.flush() }

// SyncTo syncs all.
func (j *journal) SyncTo(int64) (full bool, err error) { return true, j.flush() }

// Preallocate does nothing: flush makes the file grow.
func (j *journal) Preallocate(int64, int64) error { return nil }

func (j *journal) Close() error {
	err := j.flush()
	if e := j.File.Close(); err == nil {
		err = e
	}
	return err
}
