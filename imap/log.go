package imap

import (
	"bytes"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/protolog"
)

// What goes to the protocol log: the command's name from the table, and its
// arguments without literals once it was understood from a client that has logged
// in. Before that, and in what is not understood, anything may be a password that was
// sent to the wrong place: of those only the size is logged.

// beginLog notes that a command has come; nothing of it is consumed yet.
func (s *session) beginLog() {
	if s.conn.ProtocolLog().Begin(s.traffic()) && !s.tapped {
		s.tapped = true
		s.dec.Tap(s.heard)
	}
}

// traffic counts the bytes that were consumed and answered so far.
func (s *session) traffic() (received, sent int64) {
	received, sent = s.conn.Bytes()
	received -= int64(len(s.spare))
	if z := s.compressed; z != nil {
		// As the client said and heard it.
		received, sent = z.received+z.r.Given(), z.sent+z.w.Taken()
	}
	return received - int64(s.dec.Buffered()), sent + int64(s.enc.Buffered())
}

// heard is the decoder's tap.
func (s *session) heard(line []byte) { s.conn.ProtocolLog().Add(line) }

// endLog writes the record of a command that is over. row is nil when it cannot be
// used; known tells whether the client had logged in before it.
func (s *session) endLog(r *request, row *command, known bool) {
	log := s.conn.ProtocolLog()
	if !log.Logging() {
		return
	}
	switch {
	case r.logged != "":
		log.ReplaceString(r.logged)
	case row == nil, row.quiet, !known, r.outcome.Result != "OK" && r.outcome.Result != "NO":
		log.Replace(nil)
	default:
		log.Replace(arguments(log.Added(), r.uid))
	}
	name := "Unknown"
	if row != nil {
		name = *r.fullName(row)
	} else if r.name != "" {
		name = r.name
	}
	received, sent := s.traffic()
	log.End(name, r.outcome, received, sent)
}

// fullName is the name that a command is shown by; it stays as it is.
func (r *request) fullName(row *command) *string {
	if r.uid {
		return &row.uidName
	}
	return &row.name
}

// arguments gives what stands behind the command's tag and name.
func arguments(line []byte, uid bool) []byte {
	words := 2
	if uid {
		words++
	}
	for range words {
		i := bytes.IndexByte(line, ' ')
		if i < 0 {
			return nil
		}
		line = line[i+1:]
	}
	return line
}

// answered notes the tagged answer.
func (r *request) answered(c wire.Condition, code string) {
	r.outcome.Result = c.String()
	r.outcome.Code, _, _ = strings.Cut(code, " ")
}

// clientName is what an ID command says of the client, for those who look at it.
func clientName(name, version string) string {
	return protolog.Printable(strings.TrimSpace(name+" "+version), 200)
}
