package imap

import (
	"bytes"
	"fmt"
	"runtime/debug"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// maxDone is how long the line that ends IDLE may be, in bytes.
const maxDone = 64

// idle is IDLE (RFC 2177), also without a mailbox. The session's goroutine waits
// for the client; meanwhile another one sends what happens in the mailbox. Neither
// holds a buffer while nothing happens.
//
//	idle = "IDLE" CRLF "DONE" CRLF
func (s *session) idle(*request) error {
	d := s.dec
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	s.enc.Continue("idling")
	s.update(true, nil)
	if s.ending != nil {
		return s.ending
	}
	if s.enc.Flush() != nil {
		return s.enc.Err()
	}
	if d.Buffered() == 0 {
		s.conn.Phase(listener.Idle)
		stop := s.push()
		err := d.Wait()
		stop()
		if err != nil {
			return err
		}
	}
	s.conn.Phase(listener.Command)
	if line := d.Line(maxDone); d.Err() == nil && !bytes.EqualFold(line, []byte("DONE")) {
		return &wire.SyntaxError{Text: "IDLE ends with DONE."}
	}
	return d.Err()
}

// push sends updates as they come until stop is called: from then on the session
// is its own goroutine's again. If the client cannot be written to, or the mailbox
// is gone, the connection's Read ends.
func (s *session) push() (stop func()) {
	if s.mailbox == nil {
		return func() {}
	}
	s.idling = true
	enough, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			// As the listener does for the session's own goroutine.
			if p := recover(); p != nil {
				s.conn.Log().Error("a session failed", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.conn.End(mail.Errorf(mail.KindServerBug, "Internal error."))
			}
		}()
		for {
			select {
			case <-enough:
				return
			case <-s.mailbox.Notify():
			}
			s.update(true, nil)
			switch {
			case s.ending != nil:
				s.conn.End(s.ending)
				return
			case s.enc.Flush() != nil:
				s.conn.End(s.enc.Err())
				return
			}
		}
	}()
	return func() {
		close(enough)
		<-ended
		s.idling = false
	}
}
