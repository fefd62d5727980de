// Package differential has Postern and Debian's Dovecot answer the same commands
// and compares what they say, and Debian's Cyrus where only that has an extension; random
// sessions have all three. A script in testdata is a conversation of one or
// more sessions of one account that is made anew for it. Its lines name a session,
// say how (":" a command, "!" bytes as they are, with Go's escapes) and what:
//
//	fill: INBOX plain.eml     messages of message/testdata, by APPEND
//	1: SELECT INBOX
//	1:~syntax CLOSE x
//	n1! a1 NOOP\r\n
//
// Sessions log in by themselves unless their name begins with "n"; those that
// begin with "p" speak POP3. Where the answers differ the line names the row of
// docs/differences.md that says why: a difference without one fails the test, and
// so does a row without a difference.
package differential
