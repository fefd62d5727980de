// Package stateful has random or fuzzed scripts choose what sessions of IMAP, POP3 and LMTP
// do, one thing after the other and in every state, on a whole server in one process, and
// asks package history whether it can be.
package stateful
