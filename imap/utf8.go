package imap

import (
	"bytes"

	"github.com/postern-mail/postern/mail"
)

// UTF8=ACCEPT (RFC 9755, which replaces RFC 6855): quoted strings, mailbox names and
// message headers are UTF-8 once the client enabled it. What a client writes in
// quotes may be so before, too (3).
//
// DEVIATES: RFC 9755, 8: a message with UTF-8 in its header is sent as it is to a
// client that enabled nothing, in a literal, and not downgraded (RFC 6857, RFC 6858).

// enableUTF8 is what ENABLE UTF8=ACCEPT does.
func (s *session) enableUTF8() {
	s.utf8 = true
	s.acceptUTF8()
}

// refuseWide gives an error for a message that has 8-bit in its header fields, from a
// client that has not enabled that (RFC 9755, 4). IMAP4rev2 permits it (RFC 9051, 4.3.1).
func (s *session) refuseWide(message []byte) error {
	if s.utf8 || s.rev2 || s.off("UTF8=ACCEPT") {
		return nil
	}
	for line := range bytes.Lines(message) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		for _, c := range line {
			if c >= 0x80 {
				return mail.Errorf(mail.KindCannot, "The message has 8-bit characters in its header; ENABLE UTF8=ACCEPT comes before.")
			}
		}
	}
	return nil
}
