package protolog

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Fields are the columns of a record, in their order.
const Fields = "dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context"

// timeForm is how dateTime is written, in UTC.
const timeForm = "2006-01-02T15:04:05.000Z"

// Bounds of a record, in bytes.
const (
	// MaxParameters bounds what is kept of a command's parameters.
	MaxParameters = 1024
	maxUser       = 256
	maxContext    = 512
	// maxLine bounds a line of a file that is read: a record whose every character is
	// escaped, with room.
	maxLine = 32 << 10
)

// Record is one line of the log. Its texts are printable: control characters stand
// as \x0a or \u202e, and what is longer than the bounds ends in "…".
type Record struct {
	Service    string        // "IMAP4"
	Time       time.Time     // when it was over, UTC, to the millisecond
	Session    string        // "IMAP4-123": numbers begin anew with each start of the server
	Seq        uint32        // from 0, within the session; a gap is a record that was dropped
	Server     string        // the server's address and port, "unix" for a socket
	Client     string        // the client's
	User       string        // who has logged in, "" before
	Duration   time.Duration // from the command's first byte to its answer
	Request    int64         // bytes of the command, literals and messages included
	Response   int64         // bytes of what was answered
	Command    string        // "UID FETCH"; OpenSession and CloseSession begin and end
	Parameters string        // without literals; "*****" stands for what is secret
	Context    string        // "R=OK", "R=NO;Code=NONEXISTENT", and what else is to be said
}

// SessionID names a session of a service: "IMAP4-123".
func SessionID(service string, id uint64) string {
	return service + "-" + strconv.FormatUint(id, 10)
}

// Printable gives text with control and bidirectional characters and invalid UTF-8
// escaped, cut to about most bytes.
func Printable[T string | []byte](text T, most int) string {
	plain := len(text) <= most
	for i := 0; plain && i < len(text); i++ {
		plain = text[i] >= ' ' && text[i] < 0x7f
	}
	if plain {
		return string(text)
	}
	var b strings.Builder
	rest := string(text)
	for rest != "" {
		r, n := utf8.DecodeRuneInString(rest)
		if b.Len() >= most {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && n == 1, r < 0x100 && !unicode.IsPrint(r):
			b.WriteString(`\x`)
			b.WriteString(hex(uint64(rest[0]), 2))
			if n > 1 { // C1 controls have two bytes
				b.WriteString(`\x`)
				b.WriteString(hex(uint64(rest[1]), 2))
			}
		case !unicode.IsPrint(r): // line separators, bidirectional marks, other spaces
			b.WriteString(`\u`)
			b.WriteString(hex(uint64(r), 4))
		default:
			b.WriteString(rest[:n])
		}
		rest = rest[n:]
	}
	return b.String()
}

func hex(n uint64, digits int) string {
	s := strconv.FormatUint(n, 16)
	if len(s) < digits {
		s = strings.Repeat("0", digits-len(s)) + s
	}
	return s
}
