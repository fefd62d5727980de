package listener

import (
	"bytes"
	"io"

	"github.com/postern-mail/postern/mail"
)

// ErrLineTooLong: the line was longer than asked for and has been skipped.
var ErrLineTooLong = mail.Errorf(mail.KindTooBig, "The command line is too long.")

const (
	// lineBuffer is the size of an ordinary input buffer.
	lineBuffer = 4 << 10
	// outBuffer is how much is sent at once: a TLS record (RFC 8446, 5.1).
	outBuffer = 16 << 10
	// maxSkip is how much of an over-long line is skipped; a client that sends
	// more without a line break does not speak the protocol.
	maxSkip = 1 << 20
)

// Lines reads lines and writes answers on a connection, for protocols in which
// every command is a line. What is written is sent when it is much, and before
// the connection is waited for: pipelined commands are answered in one piece. A
// connection that waits for its next command has no buffers. One goroutine uses
// it.
type Lines struct {
	conn       *Conn
	in         []byte // nil when nothing is buffered and nothing is being read
	start, end int    // in[start:end] is unread
	out        []byte
	busy       bool // the last read brought much: the next has a whole buffer
	first      [128]byte
}

// NewLines begins to read and write on c. After StartTLS a new one is needed.
func NewLines(c *Conn) *Lines { return &Lines{conn: c} }

// Buffered is how many bytes were received and not yet read.
func (l *Lines) Buffered() int { return l.end - l.start }

// Unsent is how many bytes were written and wait for Flush.
func (l *Lines) Unsent() int { return len(l.out) }

// Next says that a command is read next: Phase Idle, or Command when it has begun
// already behind the last one.
func (l *Lines) Next() {
	if l.Buffered() > 0 {
		l.conn.Phase(Command)
	} else {
		l.conn.Phase(Idle)
	}
}

// Line reads a line of at most max bytes, and gives it without CRLF (or LF). It is
// valid until the next call. ErrLineTooLong means that the line is skipped and the
// next can be read; other errors are those of Conn.Read and of writing.
func (l *Lines) Line(max int) ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(l.in[l.start+scanned:l.end], '\n'); i >= 0 {
			line := l.in[l.start : l.start+scanned+i]
			l.start += len(line) + 1
			line = bytes.TrimSuffix(line, []byte{'\r'})
			if len(line) > max {
				return nil, ErrLineTooLong
			}
			return line, nil
		}
		scanned = l.Buffered()
		if scanned > max+1 { // with a CR that belongs to the line's end
			return nil, l.skip()
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// skip reads to the end of an over-long line.
func (l *Lines) skip() error {
	for skipped := 0; skipped < maxSkip; {
		if i := bytes.IndexByte(l.in[l.start:l.end], '\n'); i >= 0 {
			l.start += i + 1
			return ErrLineTooLong
		}
		skipped += l.Buffered()
		l.start, l.end = 0, 0
		if err := l.fill(); err != nil {
			return err
		}
	}
	return mail.Errorf(mail.KindTooBig, "The client does not send lines.")
}

// fill reads once from the connection, behind what is unread.
func (l *Lines) fill() error {
	if err := l.Flush(); err != nil {
		return err
	}
	if l.Buffered() == 0 {
		if l.busy {
			if len(l.in) < lineBuffer {
				l.in = l.conn.service.buffer()
			}
			clear(l.in[:l.end]) // a password does not wait with us
			n, err := l.conn.Read(l.in)
			if l.start, l.end, l.busy = 0, n, n > len(l.first); n == 0 {
				l.release()
			}
			return err
		}
		l.release()
		n, err := l.conn.Read(l.first[:])
		if err != nil {
			return err
		}
		l.in = l.conn.service.buffer()
		l.start, l.end, l.busy = 0, copy(l.in, l.first[:n]), n == len(l.first)
		clear(l.first[:n])
		return nil
	}
	if l.end == len(l.in) {
		if l.start > 0 {
			l.end = copy(l.in, l.in[l.start:l.end])
			l.start = 0
		} else {
			grown := make([]byte, 2*len(l.in)) // bounded by Line's max
			l.end = copy(grown, l.in[:l.end])
			clear(l.in)
			l.in = grown
		}
	}
	n, err := l.conn.Read(l.in[l.end:])
	l.end += n
	return err
}

// release gives the empty input buffer back, wiped: it may have held a password.
func (l *Lines) release() {
	clear(l.in)
	if len(l.in) == lineBuffer {
		l.conn.service.buffers.Put((*[lineBuffer]byte)(l.in))
	}
	l.in, l.start, l.end = nil, 0, 0
}

func (s *Service) buffer() []byte {
	if b, ok := s.buffers.Get().(*[lineBuffer]byte); ok {
		return b[:]
	}
	return make([]byte, lineBuffer)
}

// Read reads what follows the last line, straight into p once nothing is
// buffered.
func (l *Lines) Read(p []byte) (int, error) {
	if l.Buffered() > 0 {
		n := copy(p, l.in[l.start:l.end])
		l.start += n
		return n, nil
	}
	if err := l.Flush(); err != nil {
		return 0, err
	}
	return l.conn.Read(p)
}

// Unread puts bytes that Read gave back before what is buffered.
func (l *Lines) Unread(p []byte) {
	if len(p) == 0 {
		return
	}
	in := append(bytes.Clone(p), l.in[l.start:l.end]...)
	l.release()
	l.in, l.end = in, len(in)
}

// Write takes p to be sent; large pieces go out at once.
func (l *Lines) Write(p []byte) (int, error) {
	n := len(p)
	if len(l.out)+len(p) > outBuffer {
		// What is taken goes with the beginning of p, the rest without copying.
		fill := 0
		if len(l.out) > 0 {
			fill = outBuffer - len(l.out)
			l.out = append(l.out, p[:fill]...)
			if err := l.send(); err != nil {
				return 0, err
			}
		}
		if p = p[fill:]; len(p) >= outBuffer {
			if m, err := l.conn.Write(p); err != nil {
				return fill + m, err
			}
			return n, nil
		}
	}
	l.room()
	l.out = append(l.out, p...)
	return n, nil
}

// WriteString is Write for a string.
func (l *Lines) WriteString(s string) (int, error) {
	if len(l.out)+len(s) > outBuffer {
		return l.Write([]byte(s))
	}
	l.room()
	l.out = append(l.out, s...)
	return len(s), nil
}

func (l *Lines) room() {
	if l.out != nil {
		return
	}
	if b, ok := l.conn.service.outs.Get().(*[outBuffer]byte); ok {
		l.out = b[:0]
		return
	}
	l.out = make([]byte, 0, outBuffer)
}

// send writes what is taken and keeps the buffer.
func (l *Lines) send() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.conn.Write(l.out)
	l.out = l.out[:0]
	return err
}

// Flush sends what is taken.
func (l *Lines) Flush() error {
	err := l.send()
	if l.out != nil {
		l.conn.service.outs.Put((*[outBuffer]byte)(l.out[:outBuffer]))
		l.out = nil
	}
	return err
}

var (
	_ io.Reader       = (*Lines)(nil)
	_ io.Writer       = (*Lines)(nil)
	_ io.StringWriter = (*Lines)(nil)
)
