package manage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Bounds of following.
const (
	// maxFollowing bounds the calls that follow at once, and those that take long.
	maxFollowing = 32
	// lookAgain is how often it is asked whether the caller still may, and how often an
	// empty line tells whether the caller is still there.
	lookAgain = 15 * time.Second
	// maxFollowLine bounds a line that a client reads, in bytes.
	maxFollowLine = 1 << 20
)

// following counts calls that go on: those that follow, or those that take long.
type following struct {
	mu    sync.Mutex
	count int // guarded by mu
}

// enter tells whether there is room for one more.
func (f *following) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count >= maxFollowing {
		return false
	}
	f.count++
	return true
}

func (f *following) leave() {
	f.mu.Lock()
	f.count--
	f.mu.Unlock()
}

// follow calls ready once it follows, and then each with every object, until ctx ends,
// which is no error, or one of them gives an error.
type follow func(ctx context.Context, ready func() error, each func(Object) error) error

// Follow runs a cmdlet that can be followed, with the parameters of Run. begin is
// called with a result without objects: how they are shown, and warnings. Then each
// is called with every object as it comes, from one goroutine, until ctx ends, which
// is no error, or either of them gives an error. identify is asked at the beginning
// and every few seconds who calls: whoever loses the right is stopped, with
// KindNoPermission. told, which may be nil, hears how far it is, from the goroutine that
// calls each.
func (s *Server) Follow(ctx context.Context, identify func(context.Context) (Caller, error), name string, arguments []byte, begin func(*Result) error, each func(Object) error, told func(Progress)) error {
	cmdlet := s.Cmdlet(name)
	if cmdlet == nil || cmdlet.Follow == nil {
		return hinted(mail.Errorf(mail.KindNotFound, "there is no cmdlet %q that can be followed", name), "Get-ProtocolLog and Get-AuditLog can.")
	}
	caller, err := identify(ctx)
	if err != nil {
		return err
	}
	c := &Call{Server: s, Caller: caller, Cmdlet: cmdlet, told: told, result: &Result{View: cmdlet.View, Columns: cmdlet.Columns, Objects: []Object{}}}
	if err = s.permit(caller, cmdlet); err == nil {
		c.arguments, err = readArguments(cmdlet, arguments)
	}
	if err == nil {
		err = c.common()
	}
	var run follow
	if err == nil {
		run, err = cmdlet.Follow(c)
	}
	if err == nil && !s.following.enter() {
		err = mail.Errorf(mail.KindLimit, "%d calls follow something already", maxFollowing)
	}
	if err != nil {
		return err
	}
	defer s.following.leave()
	ctx, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop(nil)
	watching.Go(func() {
		tick := time.NewTicker(lookAgain)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			caller, err := identify(ctx)
			if err == nil {
				err = s.permit(caller, cmdlet)
			}
			if err != nil && ctx.Err() == nil {
				stop(err)
				return
			}
		}
	})
	if err := run(ctx, func() error { return begin(c.result) }, each); err != nil {
		return err
	}
	if why := context.Cause(ctx); why != nil && !errors.Is(why, context.Canceled) && !errors.Is(why, context.DeadlineExceeded) {
		return why
	}
	return nil
}

// identifyKey is the key of what tells anew, in the context of a request, who calls.
type identifyKey struct{}

// followHTTP answers GET /follow/{cmdlet}, whose query has the parameters, with JSON
// lines: a result without objects, then an object a line as it comes; an empty line, or one
// that says how far it is, now and then, and at the end a line with the error when there is one, or with "end"
// when there is nothing more to follow.
func (s *Server) followHTTP(w http.ResponseWriter, r *http.Request) {
	out := OpenLines(w, r, "application/jsonl")
	defer out.Close()
	arguments, err := queryArguments(r.URL.Query())
	if err != nil {
		refuse(w, err)
		return
	}
	identify, ok := r.Context().Value(identifyKey{}).(func(context.Context) (Caller, error))
	if !ok {
		identify = func(ctx context.Context) (Caller, error) { return callerIn(ctx), nil }
	}
	err = s.Follow(out.Context, identify, r.PathValue("cmdlet"), arguments,
		func(result *Result) error { return out.value(result) }, func(o Object) error { return out.value(o) },
		func(p Progress) { _ = out.value(told{Progress: &p}) }) // who is gone ends the context
	switch {
	case err == nil && out.Begun() && out.Context.Err() == nil:
		out.value(followed{true}) // to whoever is still there
	case err == nil:
	case !out.Begun():
		refuse(w, err)
	default:
		out.value(map[string]Fault{"error": FaultOf(err)}) // to whoever is still there
	}
}

// followed is the line behind the last object of something that ends by itself.
type followed struct {
	End bool `json:"end"`
}

// queryArguments makes a JSON object of a query: each parameter is a text.
func queryArguments(query url.Values) ([]byte, error) {
	arguments := map[string]string{}
	for name, values := range query {
		if len(values) > 1 {
			return nil, wrong(name, "%s is given twice", name)
		}
		arguments[name] = values[0]
	}
	text, err := json.Marshal(arguments)
	return text, mail.Wrap(mail.KindServerBug, err)
}

// Follow follows a cmdlet on the server until ctx or what is followed ends, which is no error, the server
// ends, which is KindUnavailable, or begin or each gives an error. Parameters are
// texts. begin, each and progress are called as by Server.Follow.
func (c *Client) Follow(ctx context.Context, name string, parameters map[string]string, begin func(*Result) error, each func(Object) error, progress func(Progress)) error {
	query := url.Values{}
	for name, value := range parameters {
		query.Set(name, value)
	}
	request, err := c.request(ctx, http.MethodGet, "/follow/"+name, nil)
	if err != nil {
		return err
	}
	request.URL.RawQuery = query.Encode()
	response, err := c.endless().Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return c.explain(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxFollowLine)
	for begun := false; lines.Scan(); {
		line := lines.Bytes()
		if len(line) == 0 {
			continue
		}
		var refused struct{ Error Fault }
		if bytes.HasPrefix(line, []byte(`{"error":{`)) && json.Unmarshal(line, &refused) == nil && refused.Error.Kind != "" {
			return &CallError{refused.Error, mail.Errorf(kindNamed(refused.Error.Kind), "%s", refused.Error.Text)}
		}
		var last followed
		if bytes.HasPrefix(line, []byte(`{"end":`)) && json.Unmarshal(line, &last) == nil && last.End {
			return nil
		}
		if response.StatusCode != http.StatusOK {
			return mail.Errorf(mail.KindUnavailable, "the server answered %s", response.Status)
		}
		var far told
		if bytes.HasPrefix(line, []byte(`{"progress":{`)) && json.Unmarshal(line, &far) == nil && far.Progress != nil {
			if progress != nil {
				progress(*far.Progress)
			}
			continue
		}
		if !begun {
			begun = true
			result := &Result{}
			if err := json.Unmarshal(line, result); err != nil {
				return &mail.Error{Kind: mail.KindUnavailable, Text: "the server's answer cannot be read", Cause: err}
			}
			if err := begin(result); err != nil {
				return err
			}
			continue
		}
		var o Object
		if err := json.Unmarshal(line, &o); err != nil {
			return &mail.Error{Kind: mail.KindUnavailable, Text: "the server's answer cannot be read", Cause: err}
		}
		if err := each(o); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return c.explain(err)
	}
	return mail.Errorf(mail.KindUnavailable, "the server has ended")
}
