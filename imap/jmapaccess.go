package imap

import (
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/settings"
)

// offersJMAP tells whether the client may take its credentials to a JMAP server and finds
// the same mail there under the same ids (RFC 9698, 3). An app password is for this
// server alone, and who acts for another has that one's mailbox only here.
func offersJMAP(s *session) bool {
	return afterLogin(s) && !s.lent && settings.JmapSessionUrl.Of(s.server.settings()) != ""
}

// jmapAccess is GETJMAPACCESS (RFC 9698, 4).
//
//	command-auth    =/ "GETJMAPACCESS"
//	resp-jmapaccess = "JMAPACCESS" SP quoted
func (s *session) jmapAccess(*request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	if !offersJMAP(s) {
		return &wire.SyntaxError{Text: "No JMAP server is known here for this sign-in."}
	}
	s.enc.Untagged().Const("JMAPACCESS ").String(settings.JmapSessionUrl.Of(s.server.settings())).CRLF()
	return nil
}
