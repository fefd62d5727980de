package console

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/listener"
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

const (
	partFollow = "follow" // console.js shows what comes
	// aliveEvery is how often it is asked whether somebody is still there, aliveWrite
	// how long one write may take.
	aliveEvery = 15 * time.Second
	aliveWrite = 30 * time.Second
)

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
	ctx, cancel := context.WithCancel(r.Context())
	var alive sync.WaitGroup
	defer alive.Wait()
	defer cancel()
	var draining <-chan struct{} // nil: a test
	if conn := listener.ConnOf(ctx); conn != nil {
		draining = conn.Draining()
	}
	lines := &lineWriter{w: w, control: http.NewResponseController(w)}
	begin := func(*manage.Result) error {
		_ = lines.control.SetReadDeadline(time.Time{}) // the request is read; one that cannot be set is a test's
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		alive.Go(func() {
			tick := time.NewTicker(aliveEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-draining:
					cancel()
				case <-tick.C:
					if lines.write("") != nil {
						cancel()
					}
				}
			}
		})
		return lines.write("")
	}
	token := cookie(r, sessionCookie)
	identify := func(ctx context.Context) (manage.Caller, error) { return v.SignIns.WatchSession(ctx, token) }
	err = v.Manage.Follow(ctx, identify, f.Cmdlet, arguments, begin, func(o manage.Object) error {
		var b bytes.Buffer
		if err := v.templates["fault"].ExecuteTemplate(&b, f.Part, v.With(f.Row(o))); err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		return lines.write(turning.Replace(strings.ReplaceAll(b.String(), "\n", " ")))
	})
	switch {
	case err == nil:
	case lines.begun():
		lines.write("!" + strings.ReplaceAll(v.Error(err), "\n", " ")) // to whoever is still there
	default:
		v.fail(w, err)
	}
}

// lineWriter writes lines, from any goroutine, each at once.
type lineWriter struct {
	w       io.Writer
	control *http.ResponseController

	mu    sync.Mutex
	first bool // something was written; guarded by mu, as w is
}

func (l *lineWriter) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *lineWriter) write(line string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = true
	_ = l.control.SetWriteDeadline(time.Now().Add(aliveWrite)) // one that cannot be set is a test's
	if _, err := io.WriteString(l.w, line+"\n"); err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	return mail.Wrap(mail.KindUnavailable, l.control.Flush())
}
