package store

import (
	"context"

	"github.com/postern-mail/postern/mail"
)

// refresh takes over what other servers changed up to seq (0: anything).
func (a *Account) refresh(ctx context.Context, seq mail.ModSeq) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.loaded || a.removed || seq != 0 && a.head.ModSeq >= seq {
		return nil
	}
	return a.reload(ctx)
}

// reload brings the head up to what the engine holds and publishes it; a.mu is
// held. What another server committed is durable already. An account that is
// gone is marked as removed.
func (a *Account) reload(ctx context.Context) error {
	// Our own changes that are still on their way would be published too early.
	if a.last != nil {
		<-a.last.done
	}
	st, err := a.store.engine.Account(ctx, a.id)
	if err != nil {
		if mail.KindOf(err) != mail.KindNotFound {
			return err
		}
		a.removed = true
		for _, b := range a.boxes {
			b.publish(b.gone(a.head.ModSeq + 1))
		}
		return err
	}
	if st.Account.ModSeq == a.head.ModSeq {
		return nil
	}
	next := make(map[mail.MailboxID]*Snapshot, len(st.Mailboxes))
	marked := map[mail.MailboxID]map[mail.AccountID]*marks{}
	for _, r := range st.Mailboxes {
		if b := a.boxes[r.ID]; b != nil && b.index != nil {
			if next[r.ID], err = a.catchUp(ctx, b, r); err != nil {
				return err
			}
			for guest := range b.marks {
				// Its own copy: the head stays as it is if a later read fails.
				fresh := &box{id: b.id, marks: marked[b.id]}
				if _, err := a.marksIn(ctx, fresh, guest); err != nil {
					return err
				}
				marked[b.id] = fresh.marks
			}
		}
	}
	// Nothing can fail from here on.
	seq := st.Account.ModSeq
	there := map[mail.MailboxID]bool{}
	for _, r := range st.Mailboxes {
		there[r.ID] = true
		b := a.boxes[r.ID]
		if b == nil {
			a.boxes[r.ID] = newBox(r, seq)
			continue
		}
		b.record, b.index, b.marks = r, next[r.ID], marked[r.ID]
		b.publish(b.state(seq))
	}
	for id, b := range a.boxes {
		if !there[id] {
			b.deleted = true
			delete(a.boxes, id)
			b.publish(b.gone(seq))
		}
	}
	a.head, a.subscriptions = st.Account, st.Subscriptions
	a.publishTree(a.buildTree())
	return nil
}

// catchUp gives b's index as of r, or a little later: other servers go on while it
// reads, so what it reads may be known already from the last time. A change that
// is computed from a state that is later than its head is refused by the engine
// (Batch.Expect) and computed again.
func (a *Account) catchUp(ctx context.Context, b *box, r MailboxRecord) (*Snapshot, error) {
	since := b.record.HighestModSeq
	gone, complete, err := a.store.engine.Vanished(ctx, a.id, b.id, since)
	if err != nil {
		return nil, err
	}
	if !complete {
		all, err := a.store.engine.Messages(ctx, a.id, b.id, 0)
		if err != nil {
			return nil, err
		}
		return newSnapshot(r, all), nil
	}
	news, err := a.store.engine.Messages(ctx, a.id, b.id, since)
	if err != nil {
		return nil, err
	}
	var last mail.UID
	if n := b.index.Len(); n > 0 {
		last = b.index.at(n - 1).UID
	}
	var changed, arrived []Message
	for _, m := range news {
		if m.UID > last {
			arrived = append(arrived, m)
		} else if _, known := b.index.Seq(m.UID); known {
			changed = append(changed, m)
		}
	}
	return b.index.edited(r, changed, b.index.UIDs(gone)).appended(r, arrived), nil
}
