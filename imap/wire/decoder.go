package wire

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/postern-mail/postern/mail"
)

// Decoder reads commands, element by element, as a server does. Its methods
// consume what the grammar names and give its value. After the first fault of a
// command all of them give zero values and consume nothing, so command code
// follows the ABNF without looking at errors, calls End and then Err once; Skip
// (which Next calls too) throws away what is left of a faulty command.
//
// Slices that a Decoder returns are valid until its next method call, unless the
// method says otherwise; strings are copies. A Decoder belongs to one goroutine.
//
// DEVIATES: RFC 9051, 2.2: a line may also end in a bare LF. A quoted string
// cannot contain one, so nothing becomes ambiguous.
type Decoder struct {
	// Set by the session.
	tap    func(line []byte) // may be nil
	deny   func(word string) error
	r      io.Reader
	cont   func() error
	limits Limits
	utf8   bool
	wide   bool // quoted strings and names may be UTF-8, though they need not

	// The connection. buf is d.small or borrowed; unread bytes behind the current
	// line are buf[next:w], and buf[:high] was written to.
	buf           []byte
	next, w, high int

	// The current line, if loaded: its content without CRLF is buf[start:end],
	// consumed up to pos.
	loaded          bool
	start, pos, end int

	// The command.
	over  bool // its last CRLF is consumed, or the client waits for our answer
	err   error
	fatal bool
	lit   Literal
	tag   []byte
	given string // the mailbox name that was consumed last
	line  int    // bytes of its lines so far
	sum   int64  // bytes of its literals so far
	atoms int
	depth int

	small [128]byte
}

// NewDecoder gives a Decoder that reads from r, with LimitsBeforeLogin. cont is
// called when the client waits for leave to send a literal; it writes a command
// continuation request and flushes it.
func NewDecoder(r io.Reader, cont func() error) *Decoder {
	d := &Decoder{r: r, cont: cont, limits: LimitsBeforeLogin(), over: true}
	d.drop()
	return d
}

// Tap has f called with each line of a command, without its CRLF, before anything of
// it is consumed. Literals are not in it, nor lines outside of the grammar (Line,
// SASLLine), nor what Skip throws away. The slice is valid within the call.
func (d *Decoder) Tap(f func(line []byte)) { d.tap = f }

// Deny has f asked of each word that Word, Item and TryWord consume, in upper case; an
// error becomes the command's fault. nil asks nobody.
func (d *Decoder) Deny(f func(word string) error) { d.deny = f }

// SetLimits changes the bounds, from the next element on.
func (d *Decoder) SetLimits(l Limits) { d.limits = l }

// Limits gives the present bounds.
func (d *Decoder) Limits() Limits { return d.limits }

// SetUTF8 says whether quoted strings may hold UTF-8 and mailbox names are UTF-8
// instead of modified UTF-7: after ENABLE UTF8=ACCEPT (RFC 6855, 3) or ENABLE
// IMAP4rev2 (RFC 9051, 5.1).
func (d *Decoder) SetUTF8(on bool) { d.utf8 = on }

// TakeUTF8 says whether quoted strings may hold UTF-8 already before SetUTF8, and
// names with 8-bit be UTF-8: what a server with UTF8=ACCEPT takes of every client
// (RFC 9755, 3).
func (d *Decoder) TakeUTF8(on bool) { d.wide = on }

// Buffered is how many bytes were received behind the current line or literal.
// After the End of STARTTLS it must be zero.
func (d *Decoder) Buffered() int { return d.w - d.next }

// Reset goes on with r, between two commands: after STARTTLS or COMPRESS. Bytes
// that were received but not consumed are dropped, and so is every fault.
func (d *Decoder) Reset(r io.Reader) {
	d.drop()
	d.r, d.loaded, d.over, d.err, d.fatal = r, false, true, nil, false
	d.lit = Literal{}
}

// Unread takes all bytes that were received but not consumed, between two
// commands, in a new slice: to put them before the reader that Reset is given.
func (d *Decoder) Unread() []byte {
	b := bytes.Clone(d.buf[d.next:d.w])
	d.next = d.w
	return b
}

// Release gives the buffer back if nothing is unread in it; Next and Wait do it
// by themselves. Without one a Decoder reads into 128 bytes of its own.
func (d *Decoder) Release() {
	if !d.loaded && d.next == d.w {
		d.drop()
	}
}

// Next ends the previous command (see Skip), waits until a byte of the following
// one is there, and begins it. A read deadline that passes while it waits gives
// an error that wraps os.ErrDeadlineExceeded and Next may be called again; every
// other error is Fatal and lasts. The end of the connection wraps io.EOF.
func (d *Decoder) Next() error {
	if err := d.Skip(); err != nil {
		return err
	}
	if cap(d.tag) > len(d.small) {
		d.tag = nil // an idle connection keeps no tag of kilobytes
	}
	if err := d.Wait(); err != nil {
		return err
	}
	d.over, d.err = false, nil
	d.line, d.sum, d.atoms, d.depth = 0, 0, 0, 0
	d.lit = Literal{}
	return nil
}

// Wait waits until a byte is there to be read, holding no buffer meanwhile, and
// consumes nothing. It is called between lines: before Next, or before the DONE
// of IDLE (RFC 2177). Its errors are those of Next.
func (d *Decoder) Wait() error {
	if d.fatal {
		return d.err
	}
	if d.next < d.w {
		return nil
	}
	d.loaded = false
	d.drop()
	err := d.more()
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	d.broken(err)
	return d.err
}

// Line reads one line outside of the grammar, up to limit bytes with its CRLF, and
// gives it without CRLF: DONE of IDLE, or a client's part of a SASL exchange. It
// is called after End.
func (d *Decoder) Line(limit int) []byte {
	if d.err != nil {
		return nil
	}
	d.over, d.loaded = false, false
	if !d.loadLine(limit) {
		return nil
	}
	d.loaded, d.over = false, true
	return d.buf[d.start:d.end]
}

// fill makes sure that a line of the command is loaded; false after a fault.
func (d *Decoder) fill() bool {
	return d.err == nil && (d.loaded || d.load())
}

func (d *Decoder) load() bool {
	if d.over {
		d.Bad("unexpected end of the command")
		return false
	}
	if d.lit.left > 0 || d.lit.state == litOffered {
		d.Bad("the literal was not consumed")
		return false
	}
	if !d.loadLine(d.limits.Line - d.line) {
		return false
	}
	if d.tap != nil {
		d.tap(d.buf[d.start:d.end])
	}
	d.line += d.next - d.start
	return true
}

// loadLine reads up to the next LF and makes that the current line, if it has no
// more than limit bytes.
func (d *Decoder) loadLine(limit int) bool {
	scanned := 0
	for {
		unread := d.buf[d.next:d.w]
		if i := bytes.IndexByte(unread[scanned:], '\n'); i >= 0 {
			i += scanned
			if i >= limit {
				break
			}
			d.start, d.pos, d.end = d.next, d.next, d.next+i
			d.next = d.end + 1
			if i > 0 && d.buf[d.end-1] == '\r' {
				d.end--
			}
			d.loaded = true
			return true
		}
		if scanned = len(unread); scanned >= limit {
			break
		}
		if err := d.more(); err != nil {
			d.cut(err)
			return false
		}
	}
	d.limit(mail.KindLimit, "The command line is too long.")
	return false
}

// Skip reads what is left of the command after a fault and throws it away:
// the rest of its line and, as RFC 7888, 3 asks, every non-synchronizing literal
// that a line announces and the line after that. It does nothing when the command
// was read to its End, and waits for nothing that the client will not send. An
// error means that the connection must be closed; it is Err's too.
func (d *Decoder) Skip() error {
	budget := d.limits.Discard
	for !d.over && !d.fatal {
		if !d.discardLiteral(&budget) {
			break
		}
		var tail []byte
		if d.loaded {
			tail, d.loaded = d.buf[d.start:d.end], false
		} else if tail = d.discardLine(&budget); d.fatal {
			break
		}
		size, nonSync, ok := announced(tail)
		if !ok || !nonSync {
			// Behind a synchronizing literal's header the client waits for us.
			d.over = true
			break
		}
		d.lit = Literal{d: d, Size: size, NonSync: true, left: size, state: litRefused}
	}
	if d.fatal {
		return d.err
	}
	return nil
}

// discardLiteral throws away what is left of a literal; false when that is too
// much or fails.
func (d *Decoder) discardLiteral(budget *int64) bool {
	l := &d.lit
	if l.state == litOffered {
		if !l.NonSync {
			d.over = true
			return false
		}
		l.state = litRefused
	}
	// An accepted literal's size was agreed to, so it is read to its end.
	if l.state == litRefused {
		if *budget -= l.left; *budget < 0 {
			d.broken(&mail.Error{Kind: mail.KindTooBig, Text: "The literal is too large to be skipped."})
			return false
		}
	}
	for l.left > 0 {
		if d.next == d.w {
			d.roomForLiteral()
			if err := d.more(); err != nil {
				d.cut(err)
				return false
			}
		}
		n := min(int64(d.w-d.next), l.left)
		d.next += int(n)
		l.left -= n
	}
	l.state = litNone
	return true
}

// discardLine throws the bytes up to the next LF away and gives the last few of
// them, enough to hold a literal's header.
func (d *Decoder) discardLine(budget *int64) []byte {
	const keep = 32
	for {
		unread := d.buf[d.next:d.w]
		i := bytes.IndexByte(unread, '\n')
		n := i + 1
		if i < 0 {
			n = max(len(unread)-keep, 0)
		}
		d.next += n
		*budget -= int64(n)
		if *budget >= 0 && i >= 0 {
			return bytes.TrimSuffix(unread[:i], []byte{'\r'})
		}
		if *budget < 0 {
			d.broken(&mail.Error{Kind: mail.KindLimit, Text: "The line is too long to be skipped."})
			return nil
		}
		if err := d.more(); err != nil {
			d.cut(err)
			return nil
		}
	}
}
