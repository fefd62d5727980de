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
	// Our own changes that are still on their way would be published too early. One that
	// failed may have happened or not: the engine knows.
	failed := false
	if a.last != nil {
		<-a.last.done
		failed = a.last.err != nil
	}
	st, err := a.store.engine.Account(ctx, a.id)
	if err != nil {
		if mail.KindOf(err) != mail.KindNotFound {
			return err
		}
		a.removed = true
		var news []Event
		for _, b := range a.boxes {
			b.publish(b.gone(a.head.ModSeq + 1))
			news = append(news, a.lost(b))
		}
		a.tell(ctx, func() []Event { return news })
		return err
	}
	if st.Account.ModSeq == a.head.ModSeq && !failed {
		return nil
	}
	again := failed || st.Account.ModSeq < a.head.ModSeq // the head has what may not be there
	next := make(map[mail.MailboxID]*Snapshot, len(st.Mailboxes))
	marked := map[mail.MailboxID]map[mail.AccountID]*marks{}
	for _, r := range st.Mailboxes {
		if b := a.boxes[r.ID]; b != nil && b.index != nil {
			if next[r.ID], err = a.catchUp(ctx, b, r, again); err != nil {
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
	watched := !a.watched.empty() || !a.store.watched.empty()
	var news []Event
	for _, r := range st.Mailboxes {
		there[r.ID] = true
		b := a.boxes[r.ID]
		if b == nil {
			a.boxes[r.ID] = newBox(r, seq)
			news = append(news, Event{What: MailboxCreated, Account: a.id, Mailbox: r.ID, Name: r.Name, After: r.Grants})
			continue
		}
		if watched {
			news = append(news, a.difference(&b.record, &r)...)
		}
		b.record, b.index, b.marks, b.latest = r, next[r.ID], marked[r.ID], nil
		b.publish(b.state(seq))
	}
	for id, b := range a.boxes {
		if !there[id] {
			b.deleted = true
			delete(a.boxes, id)
			b.publish(b.gone(seq))
			news = append(news, a.lost(b))
		}
	}
	for _, name := range onlyIn(a.subscriptions, st.Subscriptions) {
		news = append(news, Event{What: SubscriptionChanged, Account: a.id, Name: name})
	}
	a.head, a.subscriptions, a.last = st.Account, st.Subscriptions, nil
	a.publishTree(a.buildTree())
	a.tell(ctx, func() []Event { return withoutBelow(news) })
	return nil
}

// lost is the event of a mailbox that is gone.
func (a *Account) lost(b *box) Event {
	return Event{What: MailboxDeleted, Account: a.id, Mailbox: b.id, Name: b.record.Name, Before: b.record.Grants}
}

// onlyIn gives the names that stand in one of two ascending lists and not in the other.
func onlyIn(a, b []string) (names []string) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			names, a = append(names, a[0]), a[1:]
		case len(a) == 0 || b[0] < a[0]:
			names, b = append(names, b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return names
}

// catchUp gives b's index as of r, or a little later: other servers go on while it
// reads, so what it reads may be known already from the last time. A change that
// is computed from a state that is later than its head is refused by the engine
// (Batch.Expect) and computed again. With again all of it is read.
func (a *Account) catchUp(ctx context.Context, b *box, r MailboxRecord, again bool) (*Snapshot, error) {
	since := b.record.HighestModSeq
	gone, complete, err := a.store.engine.Vanished(ctx, a.id, b.id, since)
	if err != nil {
		return nil, err
	}
	if !complete || again {
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
