package wire

import (
	"bytes"
	"io"
	"math"

	"github.com/postern-mail/postern/mail"
)

type litState uint8

const (
	litNone     litState = iota
	litOffered           // announced; nobody said yet whether it is wanted
	litAccepted          // its bytes are being read
	litRefused           // its bytes, if they come, are thrown away
)

// Literal is a literal that is consumed as a stream: a message of APPEND. It is
// part of its Decoder and valid until the Decoder's next Literal or Next.
type Literal struct {
	// Size is its length in bytes.
	Size int64
	// Binary: it is a literal8, which may hold NULs (RFC 3516, 4.4).
	Binary bool
	// NonSync: the client does not wait for leave to send it (RFC 7888).
	NonSync bool

	d     *Decoder
	left  int64 // bytes not yet consumed
	state litState
}

// Literal consumes the header of a literal or literal8. Limits.Literal and
// LiteralSum do not apply: the caller looks at Size and calls Accept (or only
// Read), or Refuse. Never nil; after a fault Size is zero and Read gives the
// fault.
func (d *Decoder) Literal() *Literal {
	binary := d.Peek() == '~'
	if binary {
		d.pos++
	}
	if !d.header(binary) {
		// d.lit stays as it is: Skip needs to know what is left of it.
		return &Literal{d: d}
	}
	if l := &d.lit; l.NonSync && d.limits.NonSync > 0 && l.Size > d.limits.NonSync {
		l.Refuse(&mail.Error{Kind: mail.KindTooBig, Text: "The non-synchronizing literal is too large."})
	}
	return &d.lit
}

// Accept lets the client send a synchronizing literal. Calling it again does
// nothing. Its error is the Decoder's Err.
func (l *Literal) Accept() error {
	d := l.d
	if d.err == nil && l.state == litOffered {
		l.state = litAccepted
		if !l.NonSync {
			if err := d.cont(); err != nil {
				d.broken(err)
			}
		}
	}
	return d.err
}

// Refuse makes err (not nil) the command's fault. A synchronizing literal ends
// the command thereby, since the client awaits an answer; another is thrown away
// by Skip, or ends the connection when it is larger than Limits.Discard.
func (l *Literal) Refuse(err error) {
	d := l.d
	if d.err == nil && l.state == litOffered {
		if l.state = litRefused; !l.NonSync {
			l.left = 0
			d.over = true
		}
	}
	d.Fail(err)
}

// Read gives the literal's next bytes and io.EOF behind the last, after which the
// Decoder goes on with the command. The first Read accepts. A NUL in a literal
// that is not Binary is a syntax fault (RFC 9051, 9 CHAR8), and a connection that
// ends too early gives an error that wraps io.ErrUnexpectedEOF.
func (l *Literal) Read(p []byte) (int, error) {
	d := l.d
	if err := l.Accept(); err != nil {
		return 0, err
	}
	if l.left == 0 {
		l.state = litNone
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := d.readLiteral(p)
	if d.err != nil {
		return 0, d.err
	}
	return n, nil
}

// readLiteral puts some of the accepted literal's bytes into p (not empty) and
// gives how many.
func (d *Decoder) readLiteral(p []byte) int {
	l := &d.lit
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n := 0
	if d.next == d.w && len(p) >= smallBuffer {
		// Large pieces do not go through the buffer.
		for range 100 {
			var err error
			if n, err = d.r.Read(p); n > 0 {
				break
			} else if err != nil {
				d.cut(err)
				return 0
			}
		}
		if n <= 0 || n > len(p) {
			d.cut(io.ErrNoProgress)
			return 0
		}
	} else {
		if d.next == d.w {
			d.roomForLiteral()
			if err := d.more(); err != nil {
				d.cut(err)
				return 0
			}
		}
		n = copy(p, d.buf[d.next:d.w])
		d.next += n
	}
	l.left -= int64(n)
	if !l.Binary && bytes.IndexByte(p[:n], 0) >= 0 {
		d.Bad("a literal must not contain NUL")
		return 0
	}
	return n
}

// roomForLiteral takes a larger buffer when much of the literal is to come
// through it. Nothing is unread.
func (d *Decoder) roomForLiteral() {
	if len(d.buf) == len(d.small) && d.lit.left > int64(len(d.small)) {
		d.grow(smallBuffer)
	}
}

// literalBytes consumes a literal that is not a message, within the bounds.
func (d *Decoder) literalBytes(binary bool) []byte {
	if !d.header(binary) {
		return nil
	}
	l := &d.lit
	d.sum += l.Size
	switch {
	case l.Size > d.limits.Literal, d.sum > d.limits.LiteralSum,
		l.NonSync && d.limits.NonSync > 0 && l.Size > d.limits.NonSync:
		l.Refuse(&mail.Error{Kind: mail.KindTooBig, Text: "The literal is too large."})
		return nil
	}
	if l.Accept() != nil {
		return nil
	}
	// Memory follows what has arrived, not what was announced.
	const step = 64 << 10
	b := make([]byte, 0, min(l.Size, step))
	for l.left > 0 {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(l.Size, int64(2*cap(b))))
			copy(grown, b)
			b = grown
		}
		n := d.readLiteral(b[len(b):cap(b)])
		if d.err != nil {
			return nil
		}
		b = b[:len(b)+n]
	}
	l.state = litNone
	return b
}

// header consumes "{" number64 ["+"] "}" CRLF and makes it the offered literal.
func (d *Decoder) header(binary bool) bool {
	if !d.fill() {
		return false
	}
	line := d.buf[d.pos:d.end]
	size, nonSync, ok := announced(line)
	if !ok || line[0] != '{' || bytes.LastIndexByte(line, '{') != 0 {
		d.Bad("expected a literal")
		return false
	}
	if !d.count() {
		return false
	}
	d.lit = Literal{Size: size, Binary: binary, NonSync: nonSync, d: d, left: size, state: litOffered}
	d.loaded = false
	if size == math.MaxInt64 {
		d.lit.Refuse(&mail.Error{Kind: mail.KindTooBig, Text: "The literal is too large."})
		return false
	}
	return true
}

// announced reads the literal header that line ends in, if there is one. A size
// beyond 2^63-2 is given as 2^63-1.
func announced(line []byte) (size int64, nonSync, ok bool) {
	n := len(line)
	if n < 3 || line[n-1] != '}' {
		return 0, false, false
	}
	n--
	if line[n-1] == '+' {
		nonSync = true
		n--
	}
	i := n
	for i > 0 && isDigit(line[i-1]) {
		i--
	}
	if i == n || i == 0 || line[i-1] != '{' {
		return 0, false, false
	}
	for _, c := range line[i:n] {
		if size > (math.MaxInt64-10)/10 {
			return math.MaxInt64, nonSync, true
		}
		size = size*10 + int64(c-'0')
	}
	return size, nonSync, true
}
