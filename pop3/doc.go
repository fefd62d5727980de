// Package pop3 speaks POP3: RFC 1939 without APOP, CAPA and response codes
// (RFC 2449, RFC 3206), STLS (RFC 2595), AUTH (RFC 5034), UTF8 and LANG
// (RFC 6856). The maildrop is the account's INBOX.
//
// What a session sees of the maildrop is fixed when it opens. A message is sent
// byte by byte as it is stored, with dots stuffed where a line begins; a line ends
// in CRLF and only so. A message that does not end in CRLF gets one on the wire,
// which its size in LIST does not count.
//
// RETR marks a message \Seen for IMAP, in one change at the end of the session.
// Messages go at QUIT and then all or none; a session that ends otherwise removes
// nothing.
package pop3
