package pop3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/store"
)

// retr = "RETR" SP msg (RFC 1939, 5)
func (x *session) retr(ctx context.Context, args string) {
	_, m := x.message(args)
	if m == nil {
		return
	}
	if x.send(ctx, m, -1) {
		x.drop.read.Add(uint32(m.UID))
	}
}

// top = "TOP" SP msg SP n (RFC 1939, 7): the header, the line between, and n lines
// of the body. A line ends in LF here, with or without CR. It does not count as
// reading.
func (x *session) top(ctx context.Context, args string) {
	number, lines, _ := strings.Cut(strings.TrimSpace(args), " ")
	n, err := strconv.ParseUint(strings.TrimSpace(lines), 10, 31)
	if err != nil {
		x.fault("TOP needs a message number and a number of lines")
		return
	}
	if _, m := x.message(number); m != nil {
		x.send(ctx, m, int(n))
	}
}

// send writes a message, of its body only the first lines (all when negative). It
// tells whether all was sent.
func (x *session) send(ctx context.Context, m *store.Message, lines int) bool {
	body, err := x.drop.mailbox.Body(ctx, m.Email)
	if err != nil {
		x.fail(err)
		return false
	}
	defer body.Close()
	text, done, err := x.downgraded(ctx, m, body)
	if err != nil {
		x.fail(err)
		return false
	}
	defer done()
	out := stuffer{w: x.lines}
	end := topEnd{lines: lines}
	if text != nil {
		x.ok("%d octets", len(text))
		out.write(end.cut(text))
		return x.sent(&out, &end)
	}
	x.ok("%d octets", body.Size())
	for at := int64(0); at < body.Size() && !end.done && out.err == nil; {
		p, err := body.Part(at)
		if len(p) == 0 {
			// +OK was said: only a connection that breaks off tells the client.
			if !errors.Is(err, io.EOF) {
				x.conn.Log().Error("a message cannot be read", "uid", m.UID, "error", err)
			}
			x.over = true
			return false
		}
		out.write(withoutNUL(end.cut(p)))
		at += int64(len(p))
	}
	return x.sent(&out, &end)
}

// sent ends the answer, and tells whether all of the message was in it.
func (x *session) sent(out *stuffer, end *topEnd) bool {
	if out.end(); out.err != nil {
		x.over = true
		return false
	}
	return !end.done
}

// withoutNUL gives p with each NUL as byte 128; p stays as it is.
//
// DEVIATES: RFC 1939, 5: a NUL, which a message cannot have (RFC 5322, 2.1), is not given as
// it is stored: Outlook waits for ever behind one (docs/compatibility.md).
func withoutNUL(p []byte) []byte {
	if bytes.IndexByte(p, 0) < 0 {
		return p
	}
	return bytes.ReplaceAll(p, []byte{0}, []byte{0x80})
}

// stuffer writes a message as a multi-line response (RFC 1939, 3), in large
// pieces.
type stuffer struct {
	w    io.Writer
	last [2]byte // what was written last
	any  bool
	err  error
}

var (
	crlfDot = []byte("\r\n.")
	dot     = []byte(".")
)

func (s *stuffer) put(p []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
}

// write takes the next piece of the message.
func (s *stuffer) write(p []byte) {
	if len(p) == 0 {
		return
	}
	// A line may begin where this piece does, or the CRLF before it be cut.
	if begins := !s.any || s.last == [2]byte{'\r', '\n'}; begins && p[0] == '.' {
		s.put(dot)
	} else if s.any && s.last[1] == '\r' && len(p) > 1 && p[0] == '\n' && p[1] == '.' {
		s.put(p[:1])
		s.put(dot)
		s.remember(p[:1])
		p = p[1:]
	}
	s.remember(p)
	for s.err == nil {
		i := bytes.Index(p, crlfDot)
		if i < 0 {
			break
		}
		s.put(p[:i+2])
		s.put(dot)
		p = p[i+2:]
	}
	s.put(p)
}

func (s *stuffer) remember(p []byte) {
	s.any = true
	if len(p) >= 2 {
		s.last = [2]byte(p[len(p)-2:])
	} else {
		s.last = [2]byte{s.last[1], p[0]}
	}
}

// end writes the end of the response.
func (s *stuffer) end() {
	if s.any && s.last != [2]byte{'\r', '\n'} {
		s.put(crlfDot[:2])
	}
	s.put([]byte(".\r\n"))
}

// topEnd finds where TOP's part of a message ends.
type topEnd struct {
	lines int // of the body, still to come; negative: the whole message
	body  bool
	have  int  // bytes of the line that is being read, without LF
	cr    bool // the last of them is CR
	done  bool // the end was found before the message's own
}

// cut gives the part of the next piece that belongs to the answer.
func (t *topEnd) cut(p []byte) []byte {
	if t.lines < 0 {
		return p
	}
	if t.body && t.lines == 0 {
		t.done = len(p) > 0
		return nil
	}
	for at := 0; at < len(p); {
		i := bytes.IndexByte(p[at:], '\n')
		line := p[at:]
		if i >= 0 {
			line = p[at : at+i]
		}
		if t.have += len(line); len(line) > 0 {
			t.cr = line[len(line)-1] == '\r'
		}
		if i < 0 {
			break
		}
		at += i + 1
		switch {
		case t.body:
			t.lines--
		case t.have == 0 || t.have == 1 && t.cr:
			t.body = true
		}
		t.have = 0
		if t.body && t.lines == 0 {
			t.done = at < len(p)
			return p[:at]
		}
	}
	return p
}
