package wire

import (
	"errors"
	"io"

	"github.com/postern-mail/postern/mail"
)

// SyntaxError says that a command does not follow the grammar; the answer is BAD
// and the session goes on. It counts as a mail.Error of KindBadArgument.
type SyntaxError struct {
	// Text is for the client. It never repeats what the client sent.
	Text string
}

// Error gives the text.
func (e *SyntaxError) Error() string { return "syntax: " + e.Text }

// Unwrap gives the fault as a *mail.Error.
func (e *SyntaxError) Unwrap() error {
	return &mail.Error{Kind: mail.KindBadArgument, Text: e.Text}
}

// IsSyntax tells whether err is (or wraps) a SyntaxError.
func IsSyntax(err error) bool {
	var s *SyntaxError
	return errors.As(err, &s)
}

// Err gives the first fault of this command, nil when there was none:
//   - a *SyntaxError: answer BAD;
//   - a *mail.Error of KindTooBig or KindLimit: a bound of Limits was passed,
//     answer BAD or NO with the kind's code;
//   - what was handed to Fail or Literal.Refuse;
//   - with Fatal true: the connection cannot go on. Either it is gone (a
//     *mail.Error of KindUnavailable that wraps the cause, such as io.EOF), or
//     more would have to be thrown away than Limits.Discard permits (KindTooBig;
//     say BYE).
func (d *Decoder) Err() error { return d.err }

// Fatal tells whether the connection cannot be read any further.
func (d *Decoder) Fatal() bool { return d.fatal }

// Fail makes err the command's fault if it has none yet: all further methods give
// zero values, until Next. A nil err does nothing.
func (d *Decoder) Fail(err error) {
	if d.err == nil && err != nil {
		d.err = err
	}
}

// Bad is Fail with a SyntaxError. The text must not repeat client input.
func (d *Decoder) Bad(text string) {
	if d.err == nil {
		d.err = &SyntaxError{Text: text}
	}
}

func (d *Decoder) limit(kind mail.Kind, text string) {
	if d.err == nil {
		d.err = &mail.Error{Kind: kind, Text: text}
	}
}

// broken records that the connection is gone or cannot be followed any longer; it
// outranks an earlier fault.
func (d *Decoder) broken(err error) {
	if d.fatal {
		return
	}
	d.fatal = true
	var e *mail.Error
	if !errors.As(err, &e) {
		e = &mail.Error{Kind: mail.KindUnavailable, Text: "The connection failed.", Cause: err}
		err = e
	}
	d.err = err
}

// cut is broken for a read in the middle of a command, where an end of file is
// not expected.
func (d *Decoder) cut(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	d.broken(err)
}
