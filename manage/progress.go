package manage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Progress is how far a cmdlet is that takes long.
type Progress struct {
	Activity string `json:"activity"` // what is done, in a few words
	Done     int64  `json:"done"`
	All      int64  `json:"all"`            // 0: not known
	Unit     string `json:"unit,omitempty"` // "bytes", or things
}

// progressEvery is how often who waits is told at most.
const progressEvery = 200 * time.Millisecond

// Progress tells who waits for the call, if somebody wants to know, how far it is.
func (c *Call) Progress(p Progress) {
	if c.told == nil {
		return
	}
	now := time.Now()
	if p.Activity == c.lastActivity && p.Done < p.All && now.Sub(c.lastTold) < progressEvery {
		return
	}
	c.lastTold, c.lastActivity = now, p.Activity
	c.told(p)
}

// progress makes what tells of bytes or things that are done.
func (c *Call) progress(activity, unit string) func(done, all int64) {
	return func(done, all int64) { c.Progress(Progress{activity, done, all, unit}) }
}

// counted makes what tells of things that are done.
func (c *Call) counted(activity string) func(done, all int) {
	return func(done, all int) { c.Progress(Progress{Activity: activity, Done: int64(done), All: int64(all)}) }
}

// RunTold is Run that tells meanwhile how far it is, from its own goroutine.
func (s *Server) RunTold(ctx context.Context, caller Caller, name string, arguments []byte, told func(Progress)) (*Result, error) {
	cmdlet := s.Cmdlet(name)
	if cmdlet == nil {
		return nil, hinted(mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", name), "Get-Command lists the cmdlets.")
	}
	began := time.Now()
	result, err := s.run(ctx, caller, cmdlet, arguments, told)
	if s.Observe != nil {
		s.Observe(cmdlet.Name, began, err)
	}
	return result, err
}

// linesType is the media type of an answer that goes on.
const linesType = "application/jsonl"

// told is a line of an answer that goes on: one of them.
type told struct {
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
	Error    *Fault    `json:"error,omitempty"`
}

// runLongHTTP runs a cmdlet that may take hours. It ends when the caller goes or the server
// stops. Who accepts JSON lines hears how far it is, and gets the result, or the error,
// as the last line.
func (s *Server) runLongHTTP(w http.ResponseWriter, r *http.Request, body []byte) {
	if !s.long.enter() {
		refuse(w, mail.Errorf(mail.KindLimit, "%d calls that take long are under way already", maxFollowing))
		return
	}
	defer s.long.leave()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // one that cannot be set is a test's
	_ = control.SetWriteDeadline(time.Time{})
	out := OpenLines(w, r, linesType)
	defer out.Close()
	run := func(told func(Progress)) (*Result, error) {
		return s.RunTold(out.Context, callerIn(r.Context()), r.PathValue("name"), body, told)
	}
	if !strings.Contains(r.Header.Get("Accept"), linesType) {
		result, err := run(nil)
		_ = control.SetWriteDeadline(time.Now().Add(runTimeout)) // as above
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, result)
		return
	}
	result, err := run(func(p Progress) { _ = out.value(told{Progress: &p}) }) // who is gone ends the context
	switch {
	case err == nil:
		_ = out.value(told{Result: result})
	case !out.Begun():
		refuse(w, err)
	default:
		fault := FaultOf(err)
		_ = out.value(told{Error: &fault})
	}
}

// RunLong is Run for a cmdlet with Long: it takes as long as it takes, and each is told
// how far it is.
func (c *Client) RunLong(ctx context.Context, name string, parameters map[string]any, each func(Progress)) (*Result, error) {
	if parameters == nil {
		parameters = map[string]any{}
	}
	body, err := json.Marshal(parameters)
	if err != nil {
		return nil, mail.Wrap(mail.KindBadArgument, err)
	}
	request, err := c.request(ctx, http.MethodPost, "/cmdlet/"+name, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", linesType+", application/json")
	ended := mail.Errorf(mail.KindUnavailable, "it was ended before it was done")
	response, err := c.endless().Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ended
		}
		return nil, c.explain(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxAnswer)
	var result *Result
	for lines.Scan() {
		if len(lines.Bytes()) == 0 || result != nil {
			continue // to the end, so that the connection is good for the next call
		}
		var x told
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber() // sizes stay whole
		if d.Decode(&x) != nil {
			return nil, mail.Errorf(mail.KindUnavailable, "the server answered %s", response.Status)
		}
		switch {
		case x.Error != nil:
			return nil, &CallError{*x.Error, mail.Errorf(kindNamed(x.Error.Kind), "%s", x.Error.Text)}
		case x.Result != nil:
			result = x.Result
		case x.Progress != nil && each != nil:
			each(*x.Progress)
		}
	}
	if result != nil {
		return result, nil
	}
	if ctx.Err() != nil {
		return nil, ended
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, mail.Errorf(mail.KindTooBig, "it was done, and what it gave is more than %d MB, which are read at most", maxAnswer>>20)
	} else if err != nil {
		return nil, c.explain(err)
	}
	return nil, mail.Errorf(mail.KindUnavailable, "the server has ended")
}
