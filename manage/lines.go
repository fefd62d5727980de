package manage

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// lineWrite bounds one write to a caller.
const lineWrite = 30 * time.Second

// servingKey is the key of the context that ends when the server stops.
type servingKey struct{}

// Lines is an answer over HTTP that goes on, line by line. Its methods may be called
// from any goroutine; Close it before the handler returns.
type Lines struct {
	// Context ends when the caller goes, the server stops, or Close is called.
	Context context.Context

	end     context.CancelFunc
	alive   sync.WaitGroup
	kind    string
	control *http.ResponseController

	mu    sync.Mutex
	w     http.ResponseWriter // guarded by mu
	begun bool                // something was written; guarded by mu
}

// OpenLines makes an answer of a media type. Nothing is written before the first line;
// after it an empty one now and then tells whether the caller is still there.
func OpenLines(w http.ResponseWriter, r *http.Request, kind string) *Lines {
	l := &Lines{kind: kind, w: w, control: http.NewResponseController(w)}
	l.Context, l.end = context.WithCancel(r.Context())
	var stops []<-chan struct{}
	if serving, ok := r.Context().Value(servingKey{}).(context.Context); ok {
		stops = append(stops, serving.Done())
	}
	if conn := listener.ConnOf(r.Context()); conn != nil {
		stops = append(stops, conn.Draining())
	}
	for _, stop := range stops {
		l.alive.Go(func() {
			select {
			case <-l.Context.Done():
			case <-stop:
				l.end()
			}
		})
	}
	l.alive.Go(func() {
		quiet := time.NewTicker(lookAgain)
		defer quiet.Stop()
		for {
			select {
			case <-l.Context.Done():
				return
			case <-quiet.C:
				if l.Begun() && l.Line(nil) != nil {
					l.end()
				}
			}
		}
	})
	return l
}

// Close ends what OpenLines began, and waits for it.
func (l *Lines) Close() {
	l.end()
	l.alive.Wait()
}

// Begun tells whether a line was written.
func (l *Lines) Begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun
}

// Line writes a text without line ends, at once. KindUnavailable when the caller is
// gone.
func (l *Lines) Line(text []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		l.begun = true
		// The request is read: from now on only its end comes.
		_ = l.control.SetReadDeadline(time.Time{}) // one that cannot be set is a test's
		l.w.Header().Set("Content-Type", l.kind)
		l.w.Header().Set("Cache-Control", "no-store")
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(lineWrite)) // as above
	if _, err := l.w.Write(append(text, '\n')); err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	return mail.Wrap(mail.KindUnavailable, l.control.Flush())
}

// value writes a value as JSON.
func (l *Lines) value(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	return l.Line(text)
}
