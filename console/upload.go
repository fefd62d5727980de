package console

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// filePrefix begins the name of an Upload's file in a form.
const filePrefix = "file."

// upload is a file that a visitor sent: in the shell its name, for a cmdlet its
// content.
type upload struct {
	name    string
	content []byte
}

func (u upload) String() string { return u.name }

// MarshalJSON gives the content.
func (u upload) MarshalJSON() ([]byte, error) {
	return json.Marshal(manage.FileContent{Base64: u.content})
}

// Uploads tells whether the form has a file.
func (f *Form) Uploads() bool {
	return slices.ContainsFunc(f.Fields, func(field *Field) bool { return field.Kind == Upload })
}

// readFiles takes the files that were sent for the form, which are in memory.
func (f *Form) readFiles(r *http.Request) error {
	if r.MultipartForm == nil {
		return nil
	}
	defer r.MultipartForm.RemoveAll()
	for name, files := range r.MultipartForm.File {
		field := f.Field(strings.TrimPrefix(name, filePrefix))
		if field == nil || field.Kind != Upload || len(files) > 1 {
			return mail.Errorf(mail.KindBadArgument, "The form has no field %q.", name)
		}
		file, err := files[0].Open()
		if err != nil {
			return mail.Errorf(mail.KindBadArgument, "The form cannot be read.")
		}
		content, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return mail.Errorf(mail.KindBadArgument, "The form cannot be read.")
		}
		if len(content) > 0 {
			field.file, field.typed = content, []string{path.Base(strings.ReplaceAll(files[0].Filename, "\\", "/"))}
		}
	}
	return nil
}

// answerFile lets the visitor keep a file that a cmdlet made.
func (f *Form) answerFile(w http.ResponseWriter, file *manage.File) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.Name}))
	h.Set("Content-Length", strconv.Itoa(len(file.Content)))
	w.Write(file.Content)
}

// newPassword makes a password that can be read out: 25 letters and digits, 125
// bits, in groups of five.
func newPassword() string {
	text := strings.ToLower(rand.Text())
	var groups []string
	for i := 0; i+5 <= 25; i += 5 {
		groups = append(groups, text[i:i+5])
	}
	return strings.Join(groups, "-")
}
