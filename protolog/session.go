package protolog

import (
	"net/netip"
	"time"
)

// Masked stands in a record for what is secret.
const Masked = "*****"

// Peer is the connection that a Session is of.
type Peer interface {
	ID() uint64
	Local() netip.AddrPort
	Remote() netip.AddrPort
}

// Session is a connection's part of its service's log. One goroutine uses it. Where
// the log is off a command costs one atomic load. The zero value logs nothing.
type Session struct {
	log     *Log
	peer    Peer
	user    string
	seq     uint32
	current *entry // the command under way; nil when it is not logged
}

// entry is a record on its way to the writer, and reused.
type entry struct {
	session uint64
	seq     uint32
	server  netip.AddrPort
	client  netip.AddrPort
	user    string
	at      time.Time

	duration          time.Duration
	request, response int64 // while the command is under way: the counts at its beginning
	command           string
	parameters        []byte
	outcome           Outcome
}

// Outcome says how a command ended.
type Outcome struct {
	Result string // "OK", "NO", "250"; "" when it was not answered
	Code   string // the response code, "" for none
	Detail string // what else is to be said, such as "TLS=TLS 1.3", "" for nothing
}

// Session gives the part of a connection. l may be nil.
func (l *Log) Session(p Peer) Session { return Session{log: l, peer: p} }

// User says who has logged in, "" for nobody: for all records that end from now on.
func (s *Session) User(name string) { s.user = name }

// Begin says that a command begins. received and sent count the bytes of the
// conversation so far. It tells whether the command is logged; Add and End do
// nothing when it is not.
func (s *Session) Begin(received, sent int64) bool {
	if !s.On() {
		if s.current != nil {
			s.forget()
		}
		return false
	}
	if s.current == nil {
		s.current = s.log.entry()
	}
	e := s.current
	e.at = s.log.now()
	e.request, e.response = received, sent
	e.parameters = e.parameters[:0]
	return true
}

// On tells whether the log is on.
func (s *Session) On() bool { return s.log != nil && s.log.on.Load() }

// Logging tells whether the command under way is logged.
func (s *Session) Logging() bool { return s.current != nil }

// Add adds to the command's parameters, of which at most MaxParameters bytes and a
// few are kept. Only what is no secret, whatever the client meant by it.
func (s *Session) Add(text []byte) {
	if e := s.current; e != nil {
		e.parameters = append(e.parameters, text[:min(len(text), max(MaxParameters+1-len(e.parameters), 0))]...)
	}
}

// Added gives what Add was given, to be changed by Replace; valid until then.
func (s *Session) Added() []byte {
	if s.current == nil {
		return nil
	}
	return s.current.parameters
}

// Replace makes text, which may be a part of Added, the parameters.
func (s *Session) Replace(text []byte) {
	if e := s.current; e != nil {
		e.parameters = append(e.parameters[:0], text[:min(len(text), MaxParameters+1)]...)
	}
}

// ReplaceString is Replace of a string.
func (s *Session) ReplaceString(text string) {
	if e := s.current; e != nil {
		e.parameters = append(e.parameters[:0], text[:min(len(text), MaxParameters+1)]...)
	}
}

// End says that the command which began is over, and hands it to the log. command
// is a name of the protocol's, never the client's text. It never waits.
func (s *Session) End(command string, o Outcome, received, sent int64) {
	e := s.current
	if e == nil {
		return
	}
	s.current = nil
	now := s.log.now()
	e.duration, e.at = now.Sub(e.at), now
	e.request, e.response = received-e.request, sent-e.response
	e.command, e.outcome = command, o
	s.put(e)
}

// Event logs what is no command: the beginning and the end of a session.
func (s *Session) Event(name string, o Outcome, lasted time.Duration, received, sent int64) {
	if !s.On() {
		return
	}
	s.forget()
	e := s.log.entry()
	e.at, e.duration, e.request, e.response = s.log.now(), lasted, received, sent
	e.command, e.outcome, e.parameters = name, o, e.parameters[:0]
	s.put(e)
}

func (s *Session) put(e *entry) {
	e.session, e.seq, e.user = s.peer.ID(), s.seq, s.user
	e.server, e.client = s.peer.Local(), s.peer.Remote()
	s.seq++
	s.log.put(e)
}

// forget gives an entry back that nobody ended: the log was switched off meanwhile,
// or the command was the last.
func (s *Session) forget() {
	if e := s.current; e != nil {
		s.current = nil
		s.log.entries.Put(e)
	}
}

// record gives the entry's public form.
func (e *entry) record(service string) Record {
	return Record{
		Service: service, Time: e.at.UTC().Truncate(time.Millisecond), Session: SessionID(service, e.session), Seq: e.seq,
		Server: address(e.server), Client: address(e.client), User: Printable(e.user, maxUser),
		Duration: max(e.duration, 0), Request: max(e.request, 0), Response: max(e.response, 0),
		Command: Printable(e.command, maxUser), Parameters: Printable(e.parameters, MaxParameters), Context: Printable(e.outcome.text(), maxContext),
	}
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}

// text gives the outcome as it stands in the column context.
func (o Outcome) text() string {
	text := ""
	if o.Result != "" {
		text = "R=" + o.Result
	}
	if o.Code != "" {
		text += ";Code=" + o.Code
	}
	if o.Detail != "" {
		if text != "" {
			text += ";"
		}
		text += o.Detail
	}
	return text
}
