package pop3

import (
	"strconv"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// Every response goes through this file, and text from outside through
// appendText: it can never put CR or LF into a response.

// ok writes a positive response; text is a format when there are args.
func (x *session) ok(text string, args ...any) {
	x.respond(x.text([]byte("+OK "), x.words.Say(text, args...)))
}

// fail writes a negative response with the response code of the error's kind.
func (x *session) fail(err error) {
	x.failed, x.code = true, responseCode(err)
	x.respond(x.text(beforeText(err), x.words.SayError(err)))
}

// fault answers what the client did wrong, and ends the session when that is
// often.
func (x *session) fault(text string) {
	x.faulty = true
	if x.faults++; x.faults >= maxFaults {
		x.over = true
		x.refuse("%s; too many faults", x.words.Say(text))
		return
	}
	x.refuse(text)
}

// refuse writes a negative response without a response code; text is a format when
// there are args.
func (x *session) refuse(text string, args ...any) {
	x.failed = true
	x.respond(x.text([]byte("-ERR "), x.words.Say(text, args...)))
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

// negative is the response to an error (RFC 2449, 8; RFC 3206), in English.
func negative(err error) []byte { return appendText(beforeText(err), mail.TextOf(err), false) }

// beforeText is what stands before the text of the response to an error.
func beforeText(err error) []byte {
	line := []byte("-ERR ")
	if code := responseCode(err); code != "" {
		line = append(append(append(line, '['), code...), "] "...)
	}
	return line
}

// text is appendText in the session's language.
func (x *session) text(line []byte, text string) []byte {
	return appendText(line, text, x.words != nil)
}

// appendText appends text as it may stand in a response, printable ASCII
// (RFC 1939, 3), or UTF-8 once the client chose a language (RFC 6856, 3.2), and CRLF. A
// text cannot begin a response code by itself.
func appendText(line []byte, text string, wide bool) []byte {
	if len(text) > 0 && text[0] == '[' {
		line = append(line, ' ')
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f || r > '~' && !wide || r == utf8.RuneError {
			r = '?'
		}
		if len(line)+utf8.RuneLen(r) > maxResponse {
			break
		}
		line = utf8.AppendRune(line, r)
	}
	return append(line, '\r', '\n')
}
