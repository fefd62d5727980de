package pop3

import "github.com/postern-mail/postern/protolog"

// What goes to the protocol log: the keyword from the table, and its arguments once
// it was understood from a client that has logged in. Before that, and in what is not
// understood, anything may be a password that was sent to the wrong place: of those
// only the size is logged.

// beginLog notes that a command has come, before which so many bytes were consumed.
func (x *session) beginLog(before int64) {
	_, sent := x.traffic()
	x.conn.ProtocolLog().Begin(before, sent)
	x.faulty, x.code, x.detail, x.logged = false, "", "", ""
}

// traffic counts the bytes that were consumed and answered so far.
func (x *session) traffic() (received, sent int64) {
	received, sent = x.conn.Bytes()
	return received - int64(x.lines.Buffered()), sent + int64(x.lines.Unsent())
}

// endLog writes the record of a command that is over. c is nil when it is not known;
// known tells whether the client had logged in before it.
func (x *session) endLog(c *command, args string, known bool) {
	log := x.conn.ProtocolLog()
	if !log.Logging() {
		return
	}
	o := protolog.Outcome{Result: "OK", Code: x.code, Detail: x.detail}
	if x.failed {
		o.Result = "ERR"
	}
	name := "Unknown"
	if c != nil {
		name = c.name
	}
	switch {
	case x.logged != "":
		log.ReplaceString(x.logged)
	case c != nil && !c.quiet && known && !x.faulty:
		log.ReplaceString(args)
	}
	received, sent := x.traffic()
	log.End(name, o, received, sent)
}
