// Package mail holds the nouns that every other package speaks in: account,
// mailbox, UID, modification sequence, flag, number set, login type, and the
// kinds of error with what each protocol answers to them. It does no I/O and
// imports nothing of Postern.
package mail
