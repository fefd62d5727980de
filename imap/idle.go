package imap

import (
	"bytes"
	"errors"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/listener"
)

// maxDone is how long the line that ends IDLE may be, in bytes.
const maxDone = 64

// idle is IDLE (RFC 2177), also without a mailbox. Whoever changes the mailbox wakes the
// session; while nothing happens it holds no buffer, and soon no goroutine.
//
//	idle = "IDLE" CRLF "DONE" CRLF
func (s *session) idle(*request) error {
	d := s.dec
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	s.enc.Continue("idling")
	s.tellAll(true)
	if s.ending != nil {
		return s.ending
	}
	if s.enc.Flush() != nil {
		return s.enc.Err()
	}
	s.idling = true
	if d.Buffered() == 0 {
		s.conn.Phase(listener.Idle)
		if s.mailbox != nil {
			s.mailbox.OnChange(s.conn.Wake)
		}
		if n := s.notify; n != nil && n.watch != nil {
			n.watch.OnChange(s.conn.Wake)
		}
	}
	return s.await()
}

// await sends updates as they come and ends IDLE with the client's DONE. The error may
// be listener.ErrPark: then it is to be called again.
func (s *session) await() error {
	d := s.dec
	s.waiting = true
	err := d.Wait()
	for errors.Is(err, listener.ErrWoken) {
		if err := s.woken(true); err != nil {
			s.conn.End(err)
		}
		err = d.Wait()
	}
	s.waiting = false
	if errors.Is(err, listener.ErrPark) {
		return err
	}
	s.idling = false
	if s.mailbox != nil {
		s.mailbox.OnChange(nil)
	}
	if n := s.notify; n != nil && n.watch != nil {
		n.watch.OnChange(nil)
	}
	if err != nil {
		return err
	}
	s.conn.Phase(listener.Command)
	if line := d.Line(maxDone); d.Err() == nil && !bytes.EqualFold(line, []byte("DONE")) {
		return &wire.SyntaxError{Text: "IDLE ends with DONE."}
	}
	return d.Err()
}
