package imap

import (
	"errors"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// codedError is an error that is answered with a response code of its own.
type codedError struct {
	code string
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// withCode gives err, which is answered with this response code: with NO, or BAD for
// a fault of the syntax.
func withCode(code string, err error) error { return &codedError{code, err} }

// tryCreate gives err with the response code TRYCREATE when it says that a mailbox
// does not exist: for the destination of APPEND, COPY and MOVE (RFC 3501, 7.1).
func tryCreate(err error) error {
	if err != nil && mail.KindOf(err) == mail.KindNotFound {
		return withCode("TRYCREATE", err)
	}
	return err
}

// answer writes the tagged response of a command, OK when err is nil.
func (s *session) answer(r *request, err error) {
	r.done = true
	if err == nil {
		s.faults = 0
		text := s.language.say(r.text)
		if text == "" {
			name := r.name
			if r.uid {
				name = "UID " + name
			}
			text = s.language.say("%s completed.", name)
		}
		s.enc.Tagged(s.tag, wire.OK, r.code, text)
		r.answered(wire.OK, r.code)
		return
	}
	text := s.language.sayError(err)
	var own *codedError
	coded := errors.As(err, &own)
	if wire.IsSyntax(err) {
		code := ""
		if coded {
			code = own.code
		}
		s.enc.Tagged(s.tag, wire.BAD, code, s.language.say(sentence(text)))
		r.answered(wire.BAD, code)
		s.fault()
		return
	}
	kind := mail.KindOf(err)
	code := kind.Answer().IMAP
	if coded {
		code = own.code
	}
	s.report(r, kind, err)
	if err == s.dec.Err() && kind == mail.KindLimit && !coded {
		// The line, its nesting or its elements are too many: a command that was
		// not understood. What was understood has its code.
		s.enc.Tagged(s.tag, wire.BAD, code, text)
		r.answered(wire.BAD, code)
		s.fault()
		return
	}
	s.faults = 0
	s.enc.Tagged(s.tag, wire.NO, code, text)
	r.answered(wire.NO, code)
}

// sentence makes the fault that the grammar found one.
func sentence(text string) string {
	if text == "" || text[len(text)-1] == '.' {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// fault counts a BAD; before login too many in a row end the session.
func (s *session) fault() {
	s.faults++
	if s.account == nil && s.faults >= maxFaults {
		s.enc.Status(wire.BYE, "", s.language.say("Too many commands that are not understood."))
		s.over = true
	}
}

// failedLogin counts a login that failed; whoever fails too often is guessing.
func (s *session) failedLogin(err error) {
	if s.logins++; s.logins >= maxLogins && !s.over {
		s.conn.Log().Warn("too many failed logins; the connection is closed", "last", mail.KindOf(err).String())
		s.enc.Status(wire.BYE, "", s.language.say("Too many failed logins."))
		s.over = true
	}
}

// report writes to the log what is not the client's affair.
func (s *session) report(r *request, kind mail.Kind, err error) {
	switch kind {
	case mail.KindServerBug, mail.KindCorrupt:
		s.conn.Log().Error("command failed", "command", r.name, "error", err)
	case mail.KindUnavailable:
		if s.account == nil {
			return // a login, which auth has recorded
		}
		s.conn.Log().Warn("command failed", "command", r.name, "error", err)
	}
}

// leave says BYE because of err, unless the connection is gone.
func (s *session) leave(err error) {
	s.over = true
	var e *mail.Error
	if !errors.As(err, &e) || e.Cause != nil || s.enc.Err() != nil || e == listener.ErrInjected {
		return
	}
	code := e.Kind.Answer().IMAP
	if e == listener.ErrTimeout || e == errMailboxDeleted || e == errMailboxLost {
		code = ""
	}
	s.enc.Status(wire.BYE, code, s.language.sayError(e))
}
