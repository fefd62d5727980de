package lmtp

import (
	"bytes"
	"context"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// body is a message that is arriving, in memory that the store has set apart.
type body struct {
	store    *store.Store
	limit    int64 // of the message, without the trace
	buf      []byte
	trace    int // buf[:trace] is the trace
	used     int // buf[:used] is what is kept so far
	releases []func()
	err      error // why it is not kept; what still comes is skipped
}

const (
	firstBuffer = 32 << 10
	// declaredBuffer is how much is set apart at once because a client declared
	// that size.
	declaredBuffer = 1 << 20
	// skipBuffer is for reading what is not kept.
	skipBuffer = 16 << 10
)

func (b *body) release() {
	for _, release := range b.releases {
		release()
	}
	b.releases, b.buf = nil, nil
}

// fail stops keeping what comes.
func (b *body) fail(err error) {
	b.err = err
	b.release()
}

// room makes buf longer than used, and want long if it must grow. It fails when
// there is no memory or the message is too big.
func (b *body) room(ctx context.Context, used, want int) {
	if b.err != nil || len(b.buf) > used {
		return
	}
	want = min(max(2*len(b.buf), firstBuffer, want), int(b.limit)+traceRoom)
	if want <= used {
		b.fail(tooBig())
		return
	}
	release, err := b.store.Reserve(ctx, int64(want-len(b.buf)))
	if err != nil {
		b.fail(err)
		return
	}
	b.releases = append(b.releases, release)
	grown := make([]byte, want)
	copy(grown, b.buf[:used])
	b.buf = grown
}

func tooBig() error { return mail.Errorf(mail.KindTooBig, "The message is too big.") }

// unstuffer undoes dot-stuffing in place (RFC 5321, 4.5.2). A line begins at the
// start and behind CRLF, nowhere else, and only CRLF "." CRLF ends the message.
type unstuffer struct {
	done  int  // buf[:done] is finished
	raw   int  // buf[done:raw] was received and is not looked at
	start bool // done is at the beginning of a line
}

// scan finishes what it can of buf[done:raw] and moves the rest (at most two
// bytes) behind it. rest is what came behind the end of the message.
func (u *unstuffer) scan(buf []byte) (rest []byte, end bool) {
	src, at := buf[u.done:u.raw], 0
	keep := func(n int) {
		if u.raw-len(src)+at != u.done {
			copy(buf[u.done:], src[at:at+n])
		}
		u.done += n
		at += n
	}
	for at < len(src) {
		left := src[at:]
		if u.start && left[0] == '.' {
			if len(left) == 1 || len(left) == 2 && left[1] == '\r' {
				break
			}
			if left[1] == '\r' && left[2] == '\n' {
				return left[3:], true
			}
			at++
			left = left[1:]
		}
		u.start = false
		if i := bytes.Index(left, crlfDot); i >= 0 {
			keep(i + 2)
			u.start = true
			continue
		}
		switch {
		case bytes.HasSuffix(left, crlfDot[:2]):
			keep(len(left))
			u.start = true
			continue
		case left[len(left)-1] == '\r':
			keep(len(left) - 1)
		default:
			keep(len(left))
			continue
		}
		break // a CR whose LF may come
	}
	u.raw = u.done + copy(buf[u.done:], src[at:])
	return nil, false
}

var crlfDot = []byte("\r\n.")
