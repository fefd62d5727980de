package role

import (
	"os"
	"time"
)

// fresh is how long a file may be changed again without its time telling.
const fresh = time.Second

// followed is what a file holds, read again when the file has changed. Its owner locks
// it.
type followed[T any] struct {
	path  string
	is    os.FileInfo // of path when it was read; nil to read it again
	value T
	err   error
}

// of gives what the file at path holds now, as read gives it. An error of read stays
// until the file changes.
func (f *followed[T]) of(path string, read func(path string) (T, error)) (T, error) {
	info, err := os.Stat(path)
	if err == nil && f.path == path && f.is != nil && os.SameFile(f.is, info) && f.is.ModTime().Equal(info.ModTime()) && f.is.Size() == info.Size() {
		return f.value, f.err
	}
	*f = followed[T]{path: path}
	if err == nil && time.Since(info.ModTime()) > fresh {
		f.is = info
	}
	f.value, f.err = read(path)
	return f.value, f.err
}
