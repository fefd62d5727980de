package console

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/shell"
)

// Following is what a page follows: a cmdlet, and how its objects are shown.
type Following struct {
	Cmdlet    string
	Arguments []shell.Argument
	Part      string                  // of lists.html: a row of the page's table
	Row       func(manage.Object) any // what Part is given
}

// partFollow: console.js shows what comes.
const partFollow = "follow"

// follow writes rows, one a line, as they come, until the visitor goes, loses the
// right, or the server stops; an empty line now and then, and a line that begins with
// "!" when something is wrong.
func (v *Visit) follow(w http.ResponseWriter, r *http.Request) {
	f := v.Page.Follow(v)
	parameters := make(map[string]any, len(f.Arguments))
	for _, a := range f.Arguments {
		parameters[a.Name] = a.Value
	}
	arguments, err := json.Marshal(parameters)
	if err != nil {
		v.fail(w, mail.Wrap(mail.KindServerBug, err))
		return
	}
	lines := manage.OpenLines(w, r, "text/plain; charset=utf-8")
	defer lines.Close()
	begin := func(*manage.Result) error { return lines.Line(nil) }
	token := cookie(r, sessionCookie)
	identify := func(ctx context.Context) (manage.Caller, error) { return v.SignIns.WatchSession(ctx, token) }
	err = v.Manage.Follow(lines.Context, identify, f.Cmdlet, arguments, begin, func(o manage.Object) error {
		var b bytes.Buffer
		if err := v.templates["fault"].ExecuteTemplate(&b, f.Part, v.With(f.Row(o))); err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		return lines.Line([]byte(turning.Replace(strings.ReplaceAll(b.String(), "\n", " "))))
	}, nil)
	switch {
	case err == nil:
	case lines.Begun():
		lines.Line([]byte("!" + strings.ReplaceAll(v.Error(err), "\n", " "))) // to whoever is still there
	default:
		v.fail(w, err)
	}
}
