// Package store keeps the mail: accounts, their mailboxes, messages and what
// happens to them. It holds mail's rules (names, UIDs, MODSEQs, flags, quota,
// who is told what) over a small Engine that keeps records durably.
//
// The way of a change: an operation takes the account's lock, computes from the
// account's head a Batch with the next MODSEQ, commits it, moves the head on and
// gives the lock back; it then waits until the batch is durable, without the
// lock, so that concurrent changes share one sync; only then it publishes what
// changed to the sessions and returns. So nobody is ever told of a change that a
// power cut could take back, and an OK means that the data is on disk.
//
// The way of a read: a session's Mailbox holds an immutable Snapshot, which all
// sessions that know the same state share. Poll moves it to the newest published
// one and says what differs.
package store
