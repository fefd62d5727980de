package imap

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// maxFaults is how many commands in a row may be refused with BAD before login;
// then whoever speaks there is no IMAP client.
const maxFaults = 10

// maxLogins is how many logins may fail on one connection.
const maxLogins = 10

// session is one client's conversation. One goroutine at a time touches it; while the
// client is idle for long there is none (see Conn.Park).
type session struct {
	conn *listener.Conn
	dec  *wire.Decoder
	enc  *wire.Encoder

	// Set at login.
	visitor
	readOnly bool // it may only read, whatever it asks for
	lent     bool // it signed in with an app password, or acts for another

	rights mail.Rights // on the selected mailbox, as the client was told

	// Changed by SELECT, EXAMINE, CLOSE, UNSELECT.
	mailbox   *store.Mailbox // nil unless selected
	mailboxAs string         // the name that it was selected by
	saved     mail.NumSet    // result of SEARCH that "$" stands for (RFC 5182, 2.1): UIDs
	recent    int            // the number that the last RECENT told
	// contexts are the searches whose results the client follows, oldest first.
	contexts  []*searchContext
	converted []converted // by CONVERT, the last one used last
	// held is up to where the client knows every change while removals are kept for
	// later, 0 while none are.
	held     mail.ModSeq
	vanished bool        // VANISHED was written for the command under way
	made     mail.NumSet // UIDs of messages that the session itself put there since the last update
	annotate bool        // SELECT asked to be told of annotations that others change (RFC 5257, 4.2)
	// annotated is the change of annotations that was the client's own, and the last.
	annotated mail.ModSeq

	// Enabled by the client, for the rest of the session.
	condstore bool            // RFC 7162, 3.1
	qresync   bool            // RFC 7162, 3.2.3
	rev2      bool            // RFC 9051; see rev2.go
	utf8      bool            // RFC 9755; see utf8.go
	uidOnly   bool            // RFC 9586; see uidonly.go
	enabled   map[string]bool // what ENABLE named

	notify *notifying // what the client is told of besides; nil: nothing

	// masked are the capabilities that are switched off for this client, nil for none;
	// see masks.go. disabled are those of the account.
	masked   map[string]bool
	disabled []string
	// Chosen by the client.
	language  *language      // of texts for people
	collation collationOrder // of SEARCH, SORT and THREAD

	// The conversation.
	request request
	tag     []byte // of the command under way; the decoder's
	first   bool   // no command came yet, of this TLS session when there is one
	faults  int    // BADs in a row
	logins  int    // that failed; a new TLS session does not make them undone
	over    bool   // no further command is read
	idling  bool   // in IDLE, whose DONE has not come
	parked  bool   // the goroutine is to go, by Conn.Park
	waited  bool   // for the next command, before it was parked
	waiting bool   // for a command's first byte
	claimed int64  // bytes of memory, by claim
	tapped  bool   // the decoder's lines are heard, for the protocol log
	// spare came behind a compression that ended, and is read before what else comes.
	spare []byte
	// compressed is the layer between the grammar and the connection; nil for none.
	compressed *compression
	// ending: why the session ends after the answer: the selected mailbox is gone, or
	// closed to it.
	ending error
}

func newSession(ctx context.Context, server *Server, conn *listener.Conn) *session {
	s := &session{visitor: visitor{ctx: store.By(ctx, conn.Actor), server: server}, conn: conn, first: true, language: languages[0], collation: collationOrder{comparator: comparators[0]}}
	s.enc = wire.NewEncoder(conn)
	s.enc.SetSmall(true)
	s.dec = wire.NewDecoder(input{s}, func() error {
		s.conn.Phase(listener.Literal)
		s.enc.Continue("Ready.")
		return s.enc.Flush()
	})
	s.conn.SetState("Not authenticated", "")
	s.applyLimits()
	s.mask()
	return s
}

// input is what the decoder reads from. Before it waits for the client all
// responses are sent, so commands that come together are answered together.
type input struct{ s *session }

func (in input) Read(p []byte) (int, error) {
	if spare := in.s.spare; len(spare) > 0 {
		n := copy(p, spare)
		if in.s.spare = spare[n:]; n == len(spare) {
			in.s.spare = nil
		}
		return n, nil
	}
	if err := in.s.enc.Flush(); err != nil {
		return 0, err
	}
	if in.s.waiting {
		in.s.conn.Still()
	}
	return in.s.conn.Read(p)
}

// applyLimits sets the bounds of the next command.
func (s *session) applyLimits() {
	most := settings.MaxCommandSize.Of(s.server.settings())
	l := wire.LimitsBeforeLogin()
	if s.account != nil {
		l = wire.LimitsAfterLogin()
		l.Line = most
	}
	l.Line = min(l.Line, most)
	s.dec.SetLimits(l)
}

// state gives the one state that the session is in.
func (s *session) state() state {
	switch {
	case s.account == nil:
		return notAuthenticated
	case s.mailbox == nil:
		return authenticated
	}
	return selected
}

// serve holds the conversation.
func (s *session) serve() {
	s.conn.Parks()
	s.greet()
	s.converse()
}

// converse reads and answers until the session is over or parked; resume is that of a
// session that was.
func (s *session) converse() {
	defer func() {
		if !s.parked {
			s.end()
		}
	}()
	for !s.over && s.next() {
	}
}

// resume goes on with a session that was parked.
func (s *session) resume() {
	s.parked = false
	s.converse()
}

// park has the session go on without its goroutine; the error of a Read said so.
func (s *session) park() {
	s.parked, s.converted = true, nil
	s.conn.Park(s.resume)
}

// leaveAccount gives back what belongs to who is logged in.
func (s *session) leaveAccount() {
	s.leaveMailbox()
	s.leaveVisited()
	s.notifyOf(nil)
	s.release()
	if s.account != nil {
		s.account.Close()
		s.account = nil
	}
}

// end gives everything back.
func (s *session) end() {
	s.leaveAccount()
	s.enc.Flush()
	s.compressed.close()
}

// next reads one command, runs it and answers it, or goes on with IDLE; false when the
// session is over or parked.
func (s *session) next() bool {
	r := &s.request
	var err error
	if s.idling {
		err = s.await()
	} else {
		if !s.wait() {
			return false
		}
		s.beginLog()
		s.applyLimits()
		s.request = request{began: time.Now(), known: s.account != nil}
		r.row, err = s.readName(r)
		if err == nil && r.row == nil {
			return false // not an IMAP client
		}
		if err == nil {
			s.conn.Doing(r.fullName(r.row))
			err = r.row.run(s, r)
		}
	}
	if errors.Is(err, listener.ErrPark) {
		s.park()
		return false
	}
	s.leaveVisited()
	s.release()
	s.conn.Doing(nil)
	row := r.row
	if s.dec.Fatal() {
		s.leave(s.dec.Err())
		s.endLog(r, row, r.known)
		return false
	}
	if !r.done {
		if !r.bare {
			if s.ending == nil {
				s.tellAll(row != nil && (!row.holds || r.uid) && !r.holds)
			}
			s.tellKnown(r, err)
			s.tellLimit(r, err)
		}
		s.answer(r, err)
		if err != nil && row != nil && row.login {
			s.failedLogin(err)
		}
		if s.ending != nil {
			s.leave(s.ending)
		}
	}
	s.endLog(r, row, r.known)
	s.conn.Command(r.name, r.began, err == nil)
	return s.enc.Err() == nil
}

// wait waits for a command; false when the session is over or parked.
func (s *session) wait() bool {
	if !s.waited {
		// What is left of a command that was refused is no wait for the next.
		s.conn.Phase(listener.Command)
		if err := s.dec.Skip(); err != nil {
			s.leave(err)
			return false
		}
		if s.dec.Buffered()+len(s.spare) == 0 {
			s.conn.Phase(listener.Idle)
			s.listen()
		}
	}
	s.waiting = true
	err := s.dec.Next()
	for errors.Is(err, listener.ErrWoken) {
		if n := s.notify; n != nil && n.asked {
			if err := s.woken(!n.delayed); err != nil {
				s.leave(err)
				return false
			}
		}
		err = s.dec.Next()
	}
	s.waiting, s.waited = false, false
	switch {
	case err == nil:
		return true
	case errors.Is(err, listener.ErrPark):
		s.waited = true
		s.park()
	default:
		s.leave(err)
	}
	return false
}

// readName reads a command as far as its name. Without row and error the session
// is to be closed without a word.
//
//	command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF
func (s *session) readName(r *request) (*command, error) {
	d := s.dec
	s.tag = d.Tag()
	r.tag = string(s.tag)
	d.SP()
	if s.first {
		s.first = false
		if d.Err() == nil && listener.HTTPRequest(r.tag+" "+string(rune(d.Peek()))) {
			return nil, nil
		}
	}
	name := d.Word()
	uid := string(name) == "UID"
	if uid {
		d.SP()
		name = d.Word()
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	row := commands[string(name)]
	if row != nil {
		r.name, r.uid = row.name, uid
	}
	switch {
	case row == nil, uid && !row.uid, s.commandOff(row.name, uid):
		d.Bad("This command is not known here.")
	case s.uidOnly && row.uid && !uid && row.name != "EXPUNGE" && row.states&s.state() != 0:
		d.Fail(errUIDRequired)
	case row.states&s.state() == 0:
		d.Bad(wrongState(s.state(), row.states))
	case row.changes && s.readOnly:
		d.Fail(mail.Errorf(mail.KindNoPermission, "This password is for reading only."))
	case row.name != "LOGOUT":
		if err := s.admit(); err != nil {
			d.Fail(err)
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return row, nil
}

// wrongState says why a command cannot be used now.
func wrongState(now, needed state) string {
	switch {
	case now == notAuthenticated:
		return "Please log in first."
	case needed == notAuthenticated:
		return "This command is for before login."
	}
	return "Please select a mailbox first."
}
