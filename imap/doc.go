// Package imap speaks IMAP4rev1 (RFC 3501) with its extensions: one table of
// commands (commands.go), one table of capabilities (capabilities.go), one file a
// command or extension. A session is one goroutine over a store.Mailbox; the
// grammar is package wire's, who may log in is package auth's.
//
// A command reads all its arguments, then does its work, then writes. The session
// sends what other sessions changed and the tagged answer; errors become NO or BAD
// in one place, answer.go.
package imap
