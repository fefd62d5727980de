// Package history has clients do random things to a running server, all at once and over
// IMAP, POP3 and LMTP, writes down what was sent, what was answered and in which order, and
// then decides whether some order of the operations explains what the server holds. It
// shares no code with a server and works with any: it runs over Postern, and over Dovecot to
// prove that it is fair.
//
//	h := history.New(history.Target{IMAP: …, POP3: …, LMTP: …, Accounts: …}, history.Options{Seed: 1})
//	err := h.Begin(ctx)
//	for each life of the server {
//		h.Play(ctx)               // until ctx ends; the server may be killed meanwhile
//		…                         // start it again
//		faults, err := h.Check(ctx) // reads everything; what it explains is the next life's beginning
//	}
//
// What a server promises, and Check therefore asks:
//
//   - a delivery, an APPEND (of one message or several), a COPY, a MOVE or a REPLACE that was
//     acknowledged is there exactly once; one that was refused, not at all; one that was not
//     answered at most once, and of several messages all or none. MOVE neither duplicates
//     nor loses. What is gone was removed by somebody who was permitted to;
//   - what was removed, and what a client was told to be gone, stays gone;
//   - flags are those of the last acknowledged writer; of writers at the same time any's;
//     UNCHANGEDSINCE lets no change be overwritten that the client did not know;
//   - UIDs ascend in the order in which the answers came, and mean one message for ever, as
//     do UIDVALIDITY, MAILBOXID, EMAILID, THREADID and POP3's unique-ids what they name;
//   - UIDNEXT, HIGHESTMODSEQ and MODSEQ never fall, and flags do not change without MODSEQ;
//   - a session is told of what happens when it may be (imapview), and of all of it: its
//     view at rest is what FETCH says; a client that resynchronises by QRESYNC knows as
//     much as one that reads everything;
//   - QUIT of POP3 removes all that was marked or, unanswered, perhaps nothing; a line that
//     breaks before, nothing;
//   - the counters of STATUS, of LIST-STATUS and the quota are those of what is there, and
//     when they are told while others work, of some moment in between;
//   - what is refused for the quota would not fit at some moment; what was taken fits;
//   - entries of METADATA, annotations and access control lists have the value of the last
//     acknowledged writer; what was read once is not older the next time; of several
//     entries that were not answered all or none are written; annotations go along with COPY
//     and MOVE;
//   - a guest in another's mailbox does what it may at that moment, and nothing else. A MOVE
//     into its own account brings each message into one of the two, whenever the server ends;
//   - one POP3 session at a time has the maildrop;
//   - nobody is sent away as idle who is not;
//   - who hears by NOTIFY alone knows at rest which mailboxes there are, and how they stand.
//
// Clients try again what was not answered, blindly or after a look whether it happened.
//
// Every message has a field X-History with a name of its own, by which it is known wherever
// it goes. Several COPYs of one message are told apart by UID.
package history
