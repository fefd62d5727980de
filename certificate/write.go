package certificate

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/postern-mail/postern/mail"
)

// write puts a pair or a request into the folder dir: the key and what is known of
// it first, then the certificate, which makes it count. When it fails nothing counts
// that did not before.
func (c *Certificate) write(dir, certFile, keyFile string) error {
	key, err := pemKey(c.key)
	if err != nil {
		return err
	}
	files := []struct {
		path string
		text []byte
	}{{keyFile, key}}
	if c.Details != (Details{}) {
		text, err := json.MarshalIndent(c.Details, "", "  ")
		if err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		files = append(files, struct {
			path string
			text []byte
		}{filepath.Join(dir, c.Name+detailsExt), append(text, '\n')})
	}
	last := pemChain(c.Chain)
	if c.Request != nil {
		last = pemRequest(c.Request)
	}
	files = append(files, struct {
		path string
		text []byte
	}{certFile, last})
	for i, f := range files {
		if err := writeFile(f.path, f.text); err != nil {
			for _, done := range files[:i] {
				os.Remove(done.path)
			}
			return err
		}
	}
	return nil
}

// writeFile replaces a file with one that only its owner can read: all of it or
// nothing, and durably.
func writeFile(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return unwritable(path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return unwritable(path, err)
	}
	return syncFolder(dir)
}

// syncFolder makes what was renamed or removed in it durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return unwritable(dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return unwritable(dir, err)
	}
	return nil
}

func unwritable(path string, err error) error {
	return &mail.Error{Kind: mail.KindUnavailable, Text: path + " cannot be written.", Cause: err}
}
