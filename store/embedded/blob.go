package embedded

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
)

// Pebble v2.1.7 panics, also in its background goroutines, when a blob file that
// it opens is missing or its footer is damaged (it reports the corruption without
// saying of which file). So the file is looked at first, and Pebble gets an error
// that it does not take for corruption; whether all files are there is looked at
// by Open, because Pebble asks its own list and not the disk; and a panic while a
// value is read becomes an error.

const (
	blobSuffix = ".blob"
	blobFooter = 38
	blobMagic  = "\xf0\x9f\xaa\xb3\xf0\x9f\xa6\x80"
)

// damagedBlob is a blob file that cannot be opened.
type damagedBlob struct{ name, why string }

func (e *damagedBlob) Error() string { return fmt.Sprintf("the file %s %s", e.name, e.why) }

// checkBlob reads the footer of a blob file as Pebble does.
func checkBlob(name string, f vfs.File) error {
	x, err := f.Stat()
	if err != nil {
		return err
	}
	if x.Size() < blobFooter {
		return &damagedBlob{name, "is too short"}
	}
	var b [blobFooter]byte
	if _, err := f.ReadAt(b[:], x.Size()-blobFooter); err != nil {
		return err
	}
	c := crc32.Checksum(b[4:], castagnoli)
	if binary.LittleEndian.Uint32(b[:]) != (c>>15|c<<17)+0xa282ead8 || b[21] != 1 || string(b[30:]) != blobMagic {
		return &damagedBlob{name, "is damaged"}
	}
	return nil
}

// checkBlobs finds that blob files are missing, unless as many that are not needed
// any more are there.
func (e *Engine) checkBlobs() error {
	names, err := e.disk.List(e.dir)
	if err != nil {
		return err
	}
	missing := int(e.db.Metrics().BlobFiles.LiveCount)
	for _, name := range names {
		if strings.HasSuffix(name, blobSuffix) {
			missing--
		}
	}
	if missing > 0 {
		return &damagedBlob{"*" + blobSuffix, fmt.Sprintf("is missing (%d of them)", missing)}
	}
	return nil
}

// panicked makes a panic of Pebble while it reads an error.
func (e *Engine) panicked(r any) error {
	e.log.Error("pebble panicked while reading", "folder", e.dir, "panic", r)
	return &mail.Error{Kind: mail.KindCorrupt, Text: "A file of the mail store in " + e.dir + " is damaged.", Cause: fmt.Errorf("pebble panicked: %v", r)}
}

// missingBlob says in other words that a blob file is not there.
func missingBlob(name string, err error) error {
	if x, ok := err.(*fs.PathError); ok {
		err = x.Err
	}
	return &damagedBlob{name, "is missing: " + err.Error()}
}
