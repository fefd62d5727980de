package store

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/postern-mail/postern/mail"
)

// What was given out between the moment that an engine was put back to and the one when
// that was done is not known any more, and clients and people know it. By so much the
// counters are raised that nothing of it is given out again.
const (
	// emailGap is by how many messages of an account.
	emailGap = 1 << 32
	// mailboxGap is by how many mailboxes of an account, with their ids.
	mailboxGap = 1 << 16
	// emailsASecond is how many messages an account never gets in a second. Counters do not
	// only grow, they are at least what this gives for the time: an engine that is put back to
	// the same moment twice would give out the second time what it gave out after the first.
	emailsASecond = 1 << 24
)

// Reissue makes an engine that was put back to what it was at a former moment one that
// can be served: no UID, UIDVALIDITY, MAILBOXID, EMAILID or THREADID that was given out
// after that moment means another thing from now on. Every mailbox gets a UIDVALIDITY
// that it never had, so clients read it anew, and the counters of ids are raised.
// Nobody else uses the engine meanwhile, and nothing is served before it returned
// nil. progress, which may be nil, is told of accounts.
//
// A UIDVALIDITY is a number of seconds at first (nextUIDValidity) and grows by one with
// each mailbox that is made, so what was given out after that moment is below now plus
// the mailboxes that an account made in it, of which mailboxGap are allowed for. Ids of
// mailboxes and messages go by the time, too, from the first Reissue on.
func Reissue(ctx context.Context, e Engine, now time.Time, progress func(done, all int)) error {
	ids, err := e.Accounts(ctx)
	if err != nil {
		return err
	}
	seconds := mail.UIDValidity(min(max(now.Unix(), 1), math.MaxUint32-1<<24))
	most := seconds
	var last func() error
	for i, id := range ids {
		st, err := e.Account(ctx, id)
		if err != nil {
			return err
		}
		b, err := reissued(st, seconds)
		if err != nil {
			return err
		}
		most = max(most, b.Account.NextUIDValidity)
		// They share syncs: what is durable is durable with all before it.
		if last, err = e.Commit(ctx, b); err != nil {
			return err
		}
		if progress != nil {
			progress(i+1, len(ids))
		}
	}
	if last != nil {
		if err := last(); err != nil {
			return err
		}
	}
	return raiseUIDValidity(ctx, e, most)
}

// reissued gives the change of one account.
func reissued(st AccountState, seconds mail.UIDValidity) (*Batch, error) {
	b := &Batch{Expect: st.Account.ModSeq, Account: st.Account}
	a := &b.Account
	a.ModSeq++
	a.NextEmail = max(a.NextEmail+emailGap, mail.EmailID(seconds)*emailsASecond)
	next := uint64(max(a.NextUIDValidity, seconds)) + mailboxGap
	boxes := max(uint64(a.NextMailbox)+mailboxGap, uint64(seconds))
	if next+uint64(len(st.Mailboxes)) > math.MaxUint32 || boxes > math.MaxUint32 {
		return nil, mail.Errorf(mail.KindLimit, "The account %v has used up its UIDVALIDITYs or mailbox ids.", a.ID)
	}
	a.NextMailbox = mail.MailboxID(boxes)
	for _, r := range st.Mailboxes {
		r.UIDValidity, r.HighestModSeq = mail.UIDValidity(next), a.ModSeq
		next++
		b.Mailboxes = append(b.Mailboxes, r)
	}
	a.NextUIDValidity = mail.UIDValidity(next)
	return b, nil
}

// raiseUIDValidity lets accounts that are made from now on begin with at least next.
func raiseUIDValidity(ctx context.Context, e Engine, next mail.UIDValidity) error {
	r, used, err := readUIDValidity(ctx, e)
	if err != nil || used >= next {
		return err
	}
	r.Value = strconv.AppendUint(nil, uint64(next), 10)
	return e.PutRecords(ctx, []Record{r})
}
