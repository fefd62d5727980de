package imap

import (
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

const (
	maxIDFields = 30   // RFC 2971, 3.3
	maxIDField  = 30   // bytes of a field's name
	maxIDValue  = 1024 // bytes of a field's value
)

// greet writes the greeting (RFC 3501, 7.1.1).
func (s *session) greet() {
	s.enc.Status(wire.OK, "CAPABILITY "+s.firstCapabilities(), settings.Banner.Of(s.server.settings()))
}

// noop is NOOP and CHECK: nothing needs to be written down, every answer of OK
// stands for what is durable (RFC 3501, 6.1.2 and 6.4.1).
func (s *session) noop(*request) error {
	s.dec.End()
	return s.dec.Err()
}

// logout is LOGOUT (RFC 3501, 6.1.3).
func (s *session) logout(r *request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	s.enc.Status(wire.BYE, "", s.language.say("Until next time."))
	s.answer(r, nil)
	s.over = true
	s.conn.Part(s.dec.Buffered())
	return nil
}

// id is ID (RFC 2971). The answer names no version: that would help an attacker
// more than a client. What the client says of itself goes to the log.
//
//	id             = "ID" SP id-params-list
//	id-params-list = "(" [string SP nstring *(SP string SP nstring)] ")" / nil
func (s *session) id(r *request) error {
	d := s.dec
	var client, version string
	var from forwarding
	d.SP()
	if d.Peek() == '(' {
		fields := 0
		d.List(func() {
			field := d.String()
			d.SP()
			value, _ := d.NString()
			fields++
			if fields > maxIDFields || len(field) > maxIDField || len(value) > maxIDValue {
				d.Fail(mail.Errorf(mail.KindLimit, "The identification is too long."))
			}
			switch {
			case strings.EqualFold(field, "name"):
				client = value
			case strings.EqualFold(field, "version"):
				version = value
			default:
				from.field(field, value)
			}
		})
	} else if !d.TryWord("NIL") {
		d.Bad("A list or NIL is expected.")
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if err := s.forward(r, from); err != nil {
		return err
	}
	r.logged = clientName(client, version)
	s.conn.SetClient(client, version)
	s.mask()
	if client != "" {
		s.conn.Log().Debug("client identified itself", "client", client)
	}
	s.enc.Untagged().Const(`ID ("name" "Postern")`).CRLF()
	return nil
}
