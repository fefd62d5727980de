package shell

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// readFiles replaces the paths of files by their content: it is this side that
// reads them, with the caller's own rights.
func readFiles(cmdlet *manage.Cmdlet, bound map[string]any) error {
	for i := range cmdlet.Parameters {
		p := &cmdlet.Parameters[i]
		path, ok := bound[p.Name].(string)
		if p.Type != manage.TypeFile || !ok {
			continue
		}
		content, err := readFile(path)
		if err != nil {
			return mail.Errorf(mail.KindBadArgument, "-%s: %s", p.Name, mail.TextOf(err))
		}
		bound[p.Name] = manage.FileContent{Base64: content}
	}
	return nil
}

// readFile reads a file of at most manage.MaxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, mail.Errorf(mail.KindNotFound, "there is no file %q", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, mail.Errorf(mail.KindNoPermission, "you may not read the file %q", path)
	case err != nil:
		return nil, mail.Errorf(mail.KindBadArgument, "the file %q cannot be opened", path)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manage.MaxFile+1))
	if err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "the file %q cannot be read", path)
	}
	if len(content) > manage.MaxFile {
		return nil, mail.Errorf(mail.KindTooBig, "the file %q has more than %d bytes", path, manage.MaxFile)
	}
	return content, nil
}

// unsaved gives the parameters without the path to which the result's file is
// written, and that path, "" when none was given. A file that exists is not replaced.
func unsaved(cmdlet *manage.Cmdlet, bound map[string]any) (sent map[string]any, path string, err error) {
	sent = bound
	for i := range cmdlet.Parameters {
		p := &cmdlet.Parameters[i]
		value, given := bound[p.Name]
		if p.Type != manage.TypeSave || !given {
			continue
		}
		path, _ = value.(string)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return nil, "", mail.Errorf(mail.KindAlreadyExists, "-%s: %q exists already, or cannot be made", p.Name, path)
		}
		sent = maps.Clone(bound)
		delete(sent, p.Name)
	}
	return sent, path, nil
}

// save writes a new file that only its owner can read: it may hold a key.
func save(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(content)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the file " + path + " cannot be written", Cause: err}
	}
	return nil
}

// isText tells whether a file may be shown on a terminal.
func isText(content []byte) bool {
	if !utf8.Valid(content) {
		return false
	}
	for _, r := range string(content) {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return false
		}
	}
	return true
}
