package imap

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// INPROGRESS (RFC 9585): who waits for a long command is told from time to time that it
// is under way, and how far. The session does not write meanwhile, so that a timer's
// goroutine can.

const (
	// progressEvery is after which time, again and again, a client that waits is told
	// (RFC 9585, 4: 10 to 15 seconds).
	progressEvery = 10 * time.Second
	// progressFrom is how many messages a command works on that can take so long; what
	// works on fewer has no timer.
	progressFrom = 1000
)

// progress is the work of a command on which a client waits. A nil progress is that of
// work that is quick.
type progress struct {
	s    *session
	r    *request
	goal uint32 // messages; 0: not known
	done atomic.Uint32

	mu    sync.Mutex // guards what follows, and that one alone writes
	timer *time.Timer
	over  bool
}

// toil begins work on goal messages, 0 for a number that is not known, during which the
// session writes nothing: until stop. It is nil when goal says that the work is quick.
func (s *session) toil(r *request, goal uint64) *progress {
	if goal > 0 && goal < progressFrom || s.off("INPROGRESS") {
		return nil
	}
	p := &progress{s: s, r: r, goal: uint32(goal)}
	if r.told.IsZero() {
		r.told = r.began
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(max(0, progressEvery-time.Since(r.told)), p.tell)
	return p
}

// reached notes how many messages are done.
func (p *progress) reached(n uint32) {
	if p != nil {
		p.done.Store(n)
	}
}

// stop ends it; after it nothing is told any more.
func (p *progress) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
}

// tell is called by the timer.
//
//	resp-text-code =/ "INPROGRESS" [SP "(" inprogress-tag SP inprogress-state ")"]
//	inprogress-tag = quoted / nil
//	inprogress-state = nil SP nil / number SP nil / number SP nz-number
func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	e, done := p.s.enc, p.done.Load()
	e.Untagged().Const("OK [INPROGRESS (")
	if strings.Contains(p.r.tag, "]") {
		e.Nil()
	} else {
		e.String(p.r.tag)
	}
	e.SP()
	switch {
	case done == 0:
		e.Nil().SP().Nil()
	case p.goal == 0:
		e.Number(uint64(done)).SP().Nil()
	default:
		e.Number(uint64(min(done, p.goal-1))).SP().Number(uint64(p.goal))
	}
	e.Const(")] ").RawString(p.s.language.say("Still at work.")).CRLF()
	if e.Flush() == nil {
		p.r.told = time.Now()
		p.timer.Reset(progressEvery)
	}
}
