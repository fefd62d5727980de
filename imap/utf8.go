package imap

// UTF8=ACCEPT (RFC 9755, which replaces RFC 6855): quoted strings, mailbox names and
// message headers are UTF-8 once the client enabled it. What a client writes in
// quotes may be so before, too (3).
//
// DEVIATES: RFC 9755, 4: APPEND takes a message with 8-bit in its header also from a
// client that enabled nothing. Much old mail is so, and who moves it here with imapsync,
// mbsync or by drawing it into a folder would lose it on the way: such clients pass over
// what is refused, or stop.
//
// DEVIATES: RFC 9755, 8: a message with UTF-8 in its header is sent as it is to a
// client that enabled nothing, in a literal, unless MessageDowngradeEnabled is set
// (docs/decisions/downgrade.md).

// enableUTF8 is what ENABLE UTF8=ACCEPT does.
func (s *session) enableUTF8() {
	s.utf8 = true
	s.acceptUTF8()
}
