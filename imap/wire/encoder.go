package wire

import (
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// constant is the type of text that stands in the source. Since it is not
// exported, other packages can hand only constants to what takes it: no text from
// outside gets there by mistake.
type constant string

// Encoder writes responses. Each method says by its type what it writes, so that a
// string from outside cannot bring a CR or LF into a response; only Raw and the
// content of literals are written as they are. Methods return the Encoder, to be
// chained:
//
//	e.Untagged().Number(23).SP().Const("EXISTS").CRLF()
//
// The first error of the writer stays: later calls write nothing, and Flush gives
// it. A buffer of 16 KiB, or 4 (see SetSmall), is held from the first byte to Flush. An
// Encoder belongs to one goroutine.
type Encoder struct {
	w        io.Writer
	buf      []byte // borrowed, or nil
	small    bool   // the next one borrowed
	err      error
	utf8     bool
	utf8Text bool // texts for people alone
}

// piece is how many bytes of a string or a stream are copied at once.
const piece = 4 << 10

// longestQuoted is from how many bytes on a string is sent as a literal: clients
// bound their lines, and a literal needs no escapes.
const longestQuoted = 1 << 10

// NewEncoder gives an Encoder that writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// SetUTF8 says whether quoted strings, mailbox names and texts may be UTF-8: after
// ENABLE UTF8=ACCEPT (RFC 6855, 3) or IMAP4rev2 (RFC 9051, 5.1).
func (e *Encoder) SetUTF8(on bool) { e.utf8 = on }

// SetUTF8Text says whether texts for people may be UTF-8, whatever else may: after
// LANGUAGE (RFC 5255, 3.5).
func (e *Encoder) SetUTF8Text(on bool) { e.utf8Text = on }

// SetSmall says whether a buffer of 4 KiB is enough: for who has not logged in, and may
// ask for much without reading any of it.
func (e *Encoder) SetSmall(on bool) { e.small = on }

// Reset goes on with w, after STARTTLS or COMPRESS; call Flush before. A sticky
// error is forgotten.
func (e *Encoder) Reset(w io.Writer) {
	e.release()
	e.w, e.err = w, nil
}

// Err gives the first error of the writer, a *mail.Error of KindUnavailable.
func (e *Encoder) Err() error { return e.err }

// Buffered is how many bytes wait for Flush.
func (e *Encoder) Buffered() int { return len(e.buf) }

// Flush writes what is buffered and gives the buffer back.
func (e *Encoder) Flush() error {
	e.drain()
	e.release()
	return e.err
}

func (e *Encoder) release() {
	if e.buf != nil {
		giveBack(e.buf[:cap(e.buf)], len(e.buf))
		e.buf = nil
	}
}

// drain writes what is buffered and keeps the buffer.
func (e *Encoder) drain() {
	if len(e.buf) == 0 {
		return
	}
	if e.err == nil {
		if _, err := e.w.Write(e.buf); err != nil {
			e.fail(err)
		}
	}
	used := len(e.buf)
	clear(e.buf[:used])
	e.buf = e.buf[:0]
}

func (e *Encoder) fail(err error) {
	if e.err == nil {
		e.err = mail.Wrap(mail.KindUnavailable, err)
	}
}

// room makes sure that n more bytes, at most mediumBuffer, fit into the buffer.
func (e *Encoder) room(n int) {
	if cap(e.buf)-len(e.buf) >= n {
		return
	}
	e.drain()
	if cap(e.buf) >= n {
		return
	}
	e.release()
	if !e.small {
		n = max(n, mediumBuffer)
	}
	e.buf = borrow(n)[:0]
}

// add appends a string of any length.
func (e *Encoder) add(s string) {
	for {
		e.room(min(len(s), piece))
		n := copy(e.buf[len(e.buf):cap(e.buf)], s)
		e.buf = e.buf[:len(e.buf)+n]
		if s = s[n:]; s == "" {
			return
		}
	}
}

// send appends bytes of any length. Of a large piece only what fills the buffer
// is copied, so that no small write goes before it; the rest goes out from where
// it stands.
func (e *Encoder) send(b []byte) {
	e.room(1)
	n := copy(e.buf[len(e.buf):cap(e.buf)], b)
	e.buf = e.buf[:len(e.buf)+n]
	if b = b[n:]; len(b) == 0 {
		return
	}
	e.drain()
	if len(b) < cap(e.buf) {
		e.buf = append(e.buf, b...)
		return
	}
	if e.err == nil {
		if _, err := e.w.Write(b); err != nil {
			e.fail(err)
		}
	}
}

func (e *Encoder) put(c byte) *Encoder {
	e.room(1)
	e.buf = append(e.buf, c)
	return e
}

// SP writes a space.
func (e *Encoder) SP() *Encoder { return e.put(' ') }

// Open writes "(".
func (e *Encoder) Open() *Encoder { return e.put('(') }

// Close writes ")".
func (e *Encoder) Close() *Encoder { return e.put(')') }

// CRLF ends a response.
func (e *Encoder) CRLF() *Encoder {
	e.room(2)
	e.buf = append(e.buf, '\r', '\n')
	return e
}

// Const writes text that stands in the source, such as "FETCH (".
func (e *Encoder) Const(s constant) *Encoder {
	e.add(string(s))
	return e
}

// Raw writes bytes as they are: what was prepared at delivery in the form of the
// protocol, literals included. Never bytes that a client or a message chose.
func (e *Encoder) Raw(b []byte) *Encoder {
	e.send(b)
	return e
}

// RawString is Raw of a string.
func (e *Encoder) RawString(s string) *Encoder {
	e.add(s)
	return e
}

// Number writes a number.
func (e *Encoder) Number(n uint64) *Encoder {
	e.room(20)
	e.buf = strconv.AppendUint(e.buf, n, 10)
	return e
}

// Atom writes s as an atom. What is not one is written as a quoted string or a
// literal, which is at least no other response.
func (e *Encoder) Atom(s string) *Encoder {
	if !validAtom(s) {
		return e.String(s)
	}
	e.add(s)
	return e
}

// Nil writes NIL.
func (e *Encoder) Nil() *Encoder { return e.Const("NIL") }

// String writes a string: quoted if it is short and ASCII (UTF-8, see SetUTF8)
// without CR and LF, otherwise a literal. A string cannot hold a NUL (RFC 9051, 9
// CHAR8): it becomes "?".
func (e *Encoder) String(s string) *Encoder {
	var eight byte
	quote := len(s) <= longestQuoted
	for i := 0; i < len(s) && quote; i++ {
		c := s[i]
		eight |= c
		quote = c != '\r' && c != '\n' && c != 0
	}
	if !quote || eight >= utf8.RuneSelf && (!e.utf8 || !utf8.ValidString(s)) {
		return e.literalString(s)
	}
	e.room(2*len(s) + 2)
	e.buf = append(e.buf, '"')
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' {
			e.buf = append(e.buf, '\\')
		}
		e.buf = append(e.buf, s[i])
	}
	e.buf = append(e.buf, '"')
	return e
}

func (e *Encoder) literalString(s string) *Encoder {
	e.header("{", int64(len(s)))
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "?")
	}
	e.add(s)
	return e
}

// NString writes a string, or NIL if ok is false.
func (e *Encoder) NString(s string, ok bool) *Encoder {
	if !ok {
		return e.Nil()
	}
	return e.String(s)
}

// AString writes s without quotes where the grammar permits it, otherwise as
// String.
func (e *Encoder) AString(s string) *Encoder {
	if len(s) > longestQuoted || !plainAString(s) {
		return e.String(s)
	}
	e.add(s)
	return e
}

// Literal writes a literal. b goes out as it is, and a large one is not
// copied; it must not have NULs (see Literal8).
func (e *Encoder) Literal(b []byte) *Encoder {
	e.header("{", int64(len(b)))
	e.send(b)
	return e
}

// Literal8 writes a literal8, which may have NULs (RFC 3516, 4.3).
func (e *Encoder) Literal8(b []byte) *Encoder {
	e.header("~{", int64(len(b)))
	e.send(b)
	return e
}

// Parts gives bytes without copying them: each call the next ones, at least one byte,
// valid until the next call.
type Parts interface{ Part() ([]byte, error) }

// LiteralParts is LiteralFrom for what need not be copied.
func (e *Encoder) LiteralParts(n int64, parts Parts) *Encoder {
	e.header("{", n)
	for n > 0 && e.err == nil {
		p, err := parts.Part()
		if len(p) == 0 {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			e.fail(err)
			break
		}
		p = p[:min(int64(len(p)), n)]
		e.send(p)
		n -= int64(len(p))
	}
	return e
}

// LiteralFrom writes a literal of exactly n bytes from r. If r gives fewer or
// fails, the response cannot be completed: the error stays, and the connection
// must be closed.
func (e *Encoder) LiteralFrom(n int64, r io.Reader) *Encoder { return e.stream("{", n, r) }

// Literal8From is LiteralFrom for a literal8.
func (e *Encoder) Literal8From(n int64, r io.Reader) *Encoder { return e.stream("~{", n, r) }

func (e *Encoder) header(brace string, n int64) {
	e.room(25)
	e.buf = append(e.buf, brace...)
	e.buf = strconv.AppendInt(e.buf, n, 10)
	e.buf = append(e.buf, "}\r\n"...)
}

func (e *Encoder) stream(brace string, n int64, r io.Reader) *Encoder {
	e.header(brace, n)
	for empty := 0; n > 0 && e.err == nil; {
		if cap(e.buf)-len(e.buf) < piece {
			e.drain()
		}
		space := e.buf[len(e.buf):cap(e.buf)]
		if int64(len(space)) > n {
			space = space[:n]
		}
		got, err := r.Read(space)
		if got > 0 && got <= len(space) {
			e.buf = e.buf[:len(e.buf)+got]
			n -= int64(got)
			empty = 0
			continue
		}
		if empty++; err == nil && empty < 100 {
			continue
		}
		if err == nil {
			err = io.ErrNoProgress
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		e.fail(err)
	}
	return e
}

// Mailbox writes a mailbox name that is given in UTF-8, as an astring: in modified
// UTF-7, or UTF-8 after SetUTF8.
func (e *Encoder) Mailbox(name string) *Encoder {
	if !e.utf8 {
		name = EncodeUTF7(name)
	}
	return e.AString(name)
}

// MailboxString writes what Mailbox does, as a string.
func (e *Encoder) MailboxString(name string) *Encoder {
	if !e.utf8 {
		name = EncodeUTF7(name)
	}
	return e.String(name)
}

// Delimiter writes a hierarchy delimiter in quotes, or NIL for 0.
func (e *Encoder) Delimiter(c byte) *Encoder {
	if c == 0 {
		return e.Nil()
	}
	return e.String(string(rune(c & 0x7f)))
}

// Flags writes a flag list with parentheses. keywords is the mailbox's table;
// recent adds \Recent (RFC 3501, 2.3.2).
func (e *Encoder) Flags(f mail.Flags, keywords []string, recent bool) *Encoder {
	// The system flags have at most 41 bytes, a keyword at most MaxKeywordLen.
	e.room(64)
	e.buf = append(e.buf, '(')
	if f&mail.SystemFlags != 0 {
		e.buf = (f & mail.SystemFlags).AppendText(e.buf, nil)
	}
	first := f&mail.SystemFlags == 0
	if recent {
		if !first {
			e.buf = append(e.buf, ' ')
		}
		e.buf = append(e.buf, `\Recent`...)
		first = false
	}
	if f>>mail.KeywordBit != 0 {
		for i, k := range keywords[:min(len(keywords), mail.MaxKeywords)] {
			if f&mail.Keyword(i) == 0 || len(k) > mail.MaxKeywordLen || !validAtom(k) {
				continue
			}
			e.room(len(k) + 2)
			if !first {
				e.buf = append(e.buf, ' ')
			}
			e.buf = append(e.buf, k...)
			first = false
		}
	}
	return e.put(')')
}

// NumSet writes a set, which is not empty, such as 2,4:7,9. MaxNum becomes "*".
func (e *Encoder) NumSet(s mail.NumSet) *Encoder {
	const batch = 64
	for i := 0; i < len(s); i += batch {
		if i > 0 {
			e.put(',')
		}
		e.room(batch * 22)
		e.buf = s[i:min(i+batch, len(s))].AppendText(e.buf)
	}
	return e
}

// DateTime writes a date-time in t's zone, in quotes.
func (e *Encoder) DateTime(t time.Time) *Encoder {
	e.room(28)
	e.buf = AppendDateTime(e.buf, t)
	return e
}

// AppendDateTime appends a date-time such as "17-Jul-1996 02:44:25 -0700", in
// quotes and in t's zone, to dst. Years outside of 0 to 9999, which the grammar
// cannot say, become the nearest.
func AppendDateTime(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	year = min(max(year, 0), 9999)
	_, offset := t.Zone()
	two := func(n int) { dst = append(dst, byte('0'+n/10%10), byte('0'+n%10)) }
	dst = append(dst, '"')
	two(day)
	dst = append(dst, '-')
	dst = append(dst, months[3*month-3:3*month]...)
	dst = append(dst, '-')
	two(year / 100)
	two(year)
	dst = append(dst, ' ')
	two(hour)
	dst = append(dst, ':')
	two(minute)
	dst = append(dst, ':')
	two(sec)
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = append(dst, ' ', sign)
	two(offset / 3600)
	two(offset / 60 % 60)
	return append(dst, '"')
}

// Base64 writes base64 of any length.
func (e *Encoder) Base64(b []byte) *Encoder {
	const step = 3 << 10 // a multiple of 3, so that padding is only at the end
	for len(b) > 0 {
		n := min(len(b), step)
		e.room(base64.StdEncoding.EncodedLen(n))
		e.buf = base64.StdEncoding.AppendEncode(e.buf, b[:n])
		b = b[n:]
	}
	return e
}
