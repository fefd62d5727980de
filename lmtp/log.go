package lmtp

import (
	"strconv"

	"github.com/postern-mail/postern/protolog"
)

// What goes to the protocol log: the verb from the table, and its arguments once the
// command was understood; never the message.

// replies are what a command was answered, more than once where there are several
// recipients.
type replies struct {
	good, bad int // final ones
	worst     int // the highest code
}

func (r *replies) count(code int) {
	switch {
	case code >= 400:
		r.bad++
	case code < 300:
		r.good++
	default:
		return // go on
	}
	r.worst = max(r.worst, code)
}

// outcome gives them as the log has them.
func (r *replies) outcome() protolog.Outcome {
	if r.worst == 0 {
		return protolog.Outcome{Result: "250"} // LHLO writes lines of its own
	}
	o := protolog.Outcome{Result: strconv.Itoa(r.worst)}
	if r.good > 0 && r.bad > 0 || r.good+r.bad > 1 {
		o.Detail = "Accepted=" + strconv.Itoa(r.good) + ";Refused=" + strconv.Itoa(r.bad)
	}
	return o
}

// beginLog notes that a command has come, before which so many bytes were consumed.
func (x *session) beginLog(before int64) {
	_, sent := x.traffic()
	x.conn.ProtocolLog().Begin(before, sent)
	x.faulty, x.replies, x.detail = false, replies{}, ""
}

// traffic counts the bytes that were consumed and answered so far.
func (x *session) traffic() (received, sent int64) {
	received, sent = x.conn.Bytes()
	return received - int64(x.lines.Buffered()), sent + int64(x.lines.Unsent())
}

// endLog writes the record of a command that is over; c is nil when it is not known.
func (x *session) endLog(c *command, args string) {
	log := x.conn.ProtocolLog()
	if !log.Logging() {
		return
	}
	name := "Unknown"
	if c != nil {
		name = c.name
	}
	if c != nil && !x.faulty {
		log.ReplaceString(args)
	}
	o := x.replies.outcome()
	if x.failed && x.replies.worst == 0 {
		o.Result = "" // the connection broke
	}
	if x.detail != "" {
		o.Detail = x.detail
	}
	received, sent := x.traffic()
	log.End(name, o, received, sent)
}
