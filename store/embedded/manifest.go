package embedded

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's manifest lists the tables and blob files. Pebble v2.1.7 takes a part of it that
// is damaged for its end, as if the power had been cut there: it then opens an older store,
// or an empty one, and removes the files that it does not know. So the manifest is looked
// at first, files are removed only when the store was found to be whole, and the end of
// the manifest is known by the log (writeahead.go).

const (
	manifestMarker = markerPrefix + "manifest."
	manifestBlock  = 32 << 10
	manifestHead   = 4 + 2 + 1 // checksum, length, kind
)

// checkManifest finds damage of the manifest of now that something follows: it was not
// the power that was cut there.
func (e *Engine) checkManifest() error {
	names, err := e.disk.List(e.dir)
	if err != nil {
		return err
	}
	latest := ""
	for _, name := range names {
		if strings.HasPrefix(name, manifestMarker) {
			latest = max(latest, name)
		}
	}
	_, name, ok := strings.Cut(strings.TrimPrefix(latest, manifestMarker), ".")
	if !ok {
		return nil // a new folder; or Pebble says that there is none
	}
	name = e.disk.PathJoin(e.dir, name)
	f, err := e.disk.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	whole, err := readAll(f)
	if err != nil {
		return err
	}
	if manifestDamaged(whole) {
		return &damagedBlob{name, "is damaged"}
	}
	return nil
}

// checkOptions sets files aside in which Pebble notes its options, if they are damaged:
// they say nothing that is not known here, and it would not open the store.
func (e *Engine) checkOptions() error {
	const prefix, aside = "OPTIONS-", "damaged-"
	names, err := e.disk.List(e.dir)
	if err != nil {
		return err
	}
	defaults := new(pebble.Options) // ours do not differ in what is compared
	defaults.EnsureDefaults()
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		path := e.disk.PathJoin(e.dir, name)
		f, err := e.disk.Open(path)
		if err != nil {
			return err
		}
		text, err := readAll(f)
		f.Close()
		if err != nil {
			return err
		}
		why := defaults.CheckCompatibility(e.dir, string(text))
		if why == nil {
			continue
		}
		e.log.Warn("a file of the mail store is damaged and not needed; it is set aside", "file", path, "error", why)
		if e.readOnly != nil {
			e.disk.Remove(path) // in memory alone
		} else {
			e.disk.Rename(path, e.disk.PathJoin(e.dir, aside+name))
		}
	}
	return e.disk.broken()
}

func readAll(f vfs.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
}

// manifestDamaged tells whether a record of a manifest begins behind a chunk that is not
// whole. Other chunks may stand there: a record that is longer than its block is several,
// and the power may be cut when only a later one is on the disk.
func manifestDamaged(b []byte) bool {
	broken := false
	for len(b) > 0 {
		block := b[:min(len(b), manifestBlock)]
		b = b[len(block):]
		for at := 0; at+manifestHead <= len(block); {
			n, begins, ok := manifestChunk(block[at:])
			switch {
			case ok && broken && begins:
				return true
			case ok:
				at += n
			case len(block)-at < manifestHead || len(bytes.TrimLeft(block[at:], "\x00")) == 0:
				at = len(block) // the rest of a block, or of a file that was made larger
			default:
				broken = true
				at++
			}
		}
	}
	return false
}

// manifestChunk gives the length of the chunk that b begins with, and whether it is the
// first of a record; ok is false when there is none that is whole.
func manifestChunk(b []byte) (n int, begins, ok bool) {
	const all, first, last = 1, 2, 4
	n = manifestHead + int(binary.LittleEndian.Uint16(b[4:]))
	kind := b[6]
	if n > len(b) || kind < all || kind > last {
		return 0, false, false
	}
	c := crc32.Checksum(b[6:n], castagnoli)
	return n, kind <= first, binary.LittleEndian.Uint32(b) == (c>>15|c<<17)+0xa282ead8
}

// strangers tells whether a folder without anything in its tables has files that say that
// there was something.
func (e *Engine) strangers() (bool, error) {
	for dir, suffixes := range map[string][]string{e.dir: {blobSuffix, logSuffix}, e.disk.PathJoin(e.dir, bodyFolder): {bodySuffix}} {
		names, err := e.disk.List(dir)
		if err != nil && dir == e.dir {
			return false, err
		}
		for _, name := range names {
			for _, suffix := range suffixes {
				if strings.HasSuffix(name, suffix) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}
