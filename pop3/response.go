package pop3

import (
	"strconv"

	"github.com/postern-mail/postern/mail"
)

// Every response goes through this file, and text from outside through
// appendText: it can never put CR or LF into a response.

// ok writes a positive response.
func (x *session) ok(text string) { x.respond(appendText([]byte("+OK "), text)) }

// fail writes a negative response with the response code of the error's kind.
func (x *session) fail(err error) {
	x.failed, x.code = true, responseCode(err)
	x.respond(negative(err))
}

// fault answers what the client did wrong, and ends the session when that is
// often.
func (x *session) fault(text string) {
	x.faulty = true
	if x.faults++; x.faults >= maxFaults {
		text += "; too many faults"
		x.over = true
	}
	x.refuse(text)
}

// refuse writes a negative response without a response code.
func (x *session) refuse(text string) {
	x.failed = true
	x.respond(appendText([]byte("-ERR "), text))
}

func (x *session) respond(line []byte) {
	if _, err := x.lines.Write(line); err != nil {
		x.over = true
	}
}

// numbers writes two numbers, as STAT and LIST have them, behind prefix.
func (x *session) numbers(prefix string, a, b int64) {
	line := strconv.AppendInt([]byte(prefix), a, 10)
	line = strconv.AppendInt(append(line, ' '), b, 10)
	x.respond(append(line, '\r', '\n'))
}

// responseCode gives the response code of an error, without brackets; "" for none.
func responseCode(err error) string {
	if err == errLoginDelay {
		return "LOGIN-DELAY"
	}
	return mail.KindOf(err).Answer().POP3
}

// negative is the response to an error (RFC 2449, 8; RFC 3206).
func negative(err error) []byte {
	line := []byte("-ERR ")
	if code := responseCode(err); code != "" {
		line = append(append(append(line, '['), code...), "] "...)
	}
	return appendText(line, mail.TextOf(err))
}

// appendText appends text as it may stand in a response, printable ASCII
// (RFC 1939, 3), and CRLF. A text cannot begin a response code by itself.
func appendText(line []byte, text string) []byte {
	if len(text) > 0 && text[0] == '[' {
		line = append(line, ' ')
	}
	for _, r := range text {
		if len(line) >= maxResponse {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		line = append(line, byte(r))
	}
	return append(line, '\r', '\n')
}
