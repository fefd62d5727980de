package imap

import (
	"errors"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/sasl"
)

// startTLS is STARTTLS (RFC 3501, 6.2.1; RFC 8314). Whatever was said before it is
// forgotten, and whatever was sent behind it ends the connection.
func (s *session) startTLS(r *request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	if s.conn.TLS() != nil {
		return &wire.SyntaxError{Text: "TLS is active already."}
	}
	if !s.conn.CanStartTLS() {
		return mail.Errorf(mail.KindCannot, "TLS is not available here.")
	}
	r.done = true
	if err := s.enc.Flush(); err != nil {
		s.over = true
		return err
	}
	if err := s.conn.StartTLS(s.ctx, r.tag+" OK Begin TLS negotiation now.\r\n", s.dec.Buffered()+len(s.spare)); err != nil {
		s.over = true
		r.outcome.Detail = "TLS failed"
		return nil
	}
	r.answered(wire.OK, "")
	r.outcome.Detail = s.conn.TLSDetail()
	s.dec.Reset(input{s})
	s.enc.Reset(s.conn)
	s.tag, s.faults, s.first = nil, 0, true
	s.conn.SetClient("", "") // said before TLS, by whomever
	s.language = languages[0]
	s.enc.SetUTF8Text(false)
	s.mask()
	return nil
}

// login is LOGIN (RFC 3501, 6.2.3). The policy is asked before the arguments are
// read, so no literal with a password is ever called for in vain.
//
//	login = "LOGIN" SP userid SP password
func (s *session) login(r *request) error {
	d := s.dec
	r.logged = protolog.Masked
	if err := s.server.Auth.RefusePassword(s.ctx, s.authConn()); err != nil {
		d.Fail(err)
		return d.Err()
	}
	d.SP()
	user := d.AString()
	d.SP()
	password := d.AString()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	ctx, done := s.conn.Attend(s.ctx)
	id, err := s.server.Auth.Password(ctx, s.authConn(), user, password)
	done()
	if err != nil {
		return err
	}
	return s.loggedIn(r, id)
}

// authenticate is AUTHENTICATE (RFC 3501, 6.2.2; RFC 4959). A mechanism that is not
// available is refused before the client is asked for anything.
//
//	authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp] CRLF *(base64 CRLF)
func (s *session) authenticate(r *request) error {
	d := s.dec
	d.SP()
	name := string(d.Word())
	if err := d.Err(); err != nil {
		return err
	}
	if m, known := sasl.Find(name); known {
		r.logged = m.Name
	}
	x, err := s.server.Auth.Begin(s.ctx, s.authConn(), name)
	if err != nil {
		d.Fail(err)
		return d.Err()
	}
	defer x.Close()
	var response []byte
	if d.TrySP() {
		if response = d.Base64(); response == nil {
			response = []byte{} // "=": empty, and given
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return s.aborted(x, err)
	}
	for {
		ctx, done := s.conn.Attend(s.ctx)
		challenge, id, err := x.Next(ctx, response)
		done()
		if errors.Is(err, sasl.ErrInitialResponse) {
			return &wire.SyntaxError{Text: mail.TextOf(err)} // RFC 4959, 3
		}
		if err != nil {
			return err
		}
		if id != nil {
			return s.loggedIn(r, id)
		}
		s.enc.Challenge(challenge)
		s.conn.Phase(listener.SASL)
		var cancelled bool
		response, cancelled = d.SASLLine()
		if err := d.Err(); err != nil {
			return s.aborted(x, err)
		}
		if cancelled {
			return s.aborted(x, &wire.SyntaxError{Text: "The authentication is cancelled."})
		}
	}
}

// aborted ends an exchange because of what the client sent, which is err's fault. A
// connection that is gone is nobody's.
func (s *session) aborted(x *auth.Exchange, err error) error {
	if !s.dec.Fatal() {
		x.Abort(s.ctx, err)
	}
	return err
}

// loggedIn opens the account of who has proved to be id.
func (s *session) loggedIn(r *request, id *auth.Identity) error {
	if url := id.Entry.ImapReferralURL; url != "" {
		s.disabled = id.Entry.DisabledCapabilities
		s.mask()
		err := s.movedAway(id.Entry.Name, url)
		s.disabled = nil
		s.mask()
		return err
	}
	account, err := s.server.Store.Account(s.ctx, id.Entry.Account)
	if err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	if err := s.conn.SetUser(id.Entry.Account, id.Entry.Name); err != nil {
		account.Close()
		return err
	}
	s.account, s.readOnly, s.name = account, id.ReadOnly, id.Entry.Name
	s.conn.SetMechanism(id.Mechanism, id.AppPassword)
	s.conn.SetActedBy(id.ActedBy)
	s.lent = id.AppPassword != "" || id.ActedBy != ""
	s.conn.Expire(id.Expires)
	s.conn.SetState("Authenticated", "")
	s.enc.SetSmall(false)
	s.applyLimits()
	s.disabled = id.Entry.DisabledCapabilities
	s.mask()
	s.dec.TakeUTF8(!s.off("UTF8=ACCEPT"))
	r.code = "CAPABILITY " + s.capabilityList()
	r.text = "Logged in."
	return nil
}
