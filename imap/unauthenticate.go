package imap

import (
	"github.com/postern-mail/postern/deflate"
	"github.com/postern-mail/postern/listener"
)

// unauthenticate is UNAUTHENTICATE (RFC 8437, 3): the session is as it was before the
// login, but for TLS, what the client said with ID, and how many logins have failed.
// Nothing of the account outlives it: the session is made anew, not field by field.
// There is no NO; what cannot be reset ends the connection.
//
//	command-auth =/ "UNAUTHENTICATE"
func (s *session) unauthenticate(r *request) error {
	d := s.dec
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	s.leaveAccount()
	s.conn.ClearUser()
	s.conn.SetState("Not authenticated", "")
	r.text = "Logged out; the connection stays."
	s.answer(r, nil)
	if err := s.enc.Flush(); err != nil {
		s.over = true
		return err
	}
	if z := s.compressed; z != nil {
		if err := s.decompress(z); err != nil {
			s.leave(err)
			return nil
		}
	}
	*s = session{
		visitor: visitor{ctx: s.ctx, server: s.server}, conn: s.conn, dec: s.dec, enc: s.enc,
		request: s.request, tag: s.tag, logins: s.logins, tapped: s.tapped, spare: s.spare,
		language: languages[0], collation: collationOrder{comparator: comparators[0]},
	}
	s.enc.SetSmall(true)
	s.enc.SetUTF8Text(false)
	s.enc.SetUTF8(false)
	d.SetUTF8(false)
	d.TakeUTF8(false)
	s.applyLimits()
	s.mask()
	return nil
}

// decompress ends the compression (RFC 8437, 4.1): the client's ended behind its
// command, the server's behind the answer.
func (s *session) decompress(z *compression) error {
	if s.dec.Buffered() > 0 {
		return deflate.ErrCorrupt // more was compressed
	}
	s.conn.Phase(listener.Command)
	rest, err := z.r.End()
	if err != nil {
		return err
	}
	z.close()
	s.compressed = nil
	s.spare = rest
	s.dec.Reset(input{s})
	s.enc.Reset(s.conn)
	s.tag = nil
	return nil
}
