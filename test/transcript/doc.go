// Package transcript plays conversations in the notation of the RFCs against a
// server:
//
//	What this shows, in prose.
//
//	S: +OK {{*}}
//	C: USER alice
//	C: PASS secret
//	S: +OK
//	S: +OK 2 messages
//
// A line that begins (after blanks) with C: is sent with CRLF, one with S: is
// expected. C2: and S2: are a second client, and so on; a client connects when it
// is first named. C lines that follow each other go out in one write. C= sends a
// Go string literal as it stands, without CRLF. What is expected may come only
// after what stands before it, and nothing else may come.
//
// In a line, {{name}} stands for a value: an unknown one takes what is there
// (without blanks, brackets and parentheses), from then on it must be the same
// and is sent in C lines; {{name:regexp}} says what it may be, {{*}} is anything,
// and {{base64 "a\x00b"}} is the base64 of a Go string literal. {{apop t "secret"}} and
// {{cram-md5 c "user" "secret"}} are what APOP and CRAM-MD5 answer to the values t and c.
// Bytes that are
// not printable are written \x00, blanks at the end of a line \x20; a line that
// ends in a bare LF ends in \x0A.
//
// A line in brackets is a directive: [starttls] begins TLS, [connect ssl] opens
// a connection in a way that the test's Dial knows, [close] closes it, [closed]
// expects that the server does; with [C2 starttls] the second client does so.
// Others are given by the test. Every other line is prose.
package transcript
