// Package differential has Postern and Debian's Dovecot answer the same commands
// and compares what they say. A script in testdata is a conversation of one or
// more sessions of one account that is made anew for it; testdata/messages are
// filled into both servers by APPEND, together with those of the package message.
//
// Where the answers differ testdata/differences.txt must say so, with the reason:
// a difference that is not in the table fails the test, and so does a row that is
// no longer true. docs/differences.md tells the story for people.
package differential
