package storetest

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

func (s *suite) deleteMailbox() {
	l, m := s.start(1)
	n := l.Mailbox("Next")
	l.Deliver(n, 5)
	for range 600 {
		l.Deliver(m, 5)
	}
	s.commit(l.Batch())
	l.Expunge(m, 1, 2)
	s.commit(l.Batch())
	l.Copy(m, 3, n)
	s.commit(l.Batch())
	l.Delete(m)
	s.commit(l.Batch())
	_, err := s.e.Messages(background, 1, m, 0)
	s.refused(mail.KindNotFound, err)
	_, _, err = s.e.Vanished(background, 1, m, 0)
	s.refused(mail.KindNotFound, err)
	s.equal(len(s.account(1).Mailboxes), 1)
	s.expectIndex(l, n, 0)
	for id, gone := range map[mail.EmailID]bool{1: false, 2: true, 4: false, 5: true, 601: true} {
		if _, err := readBody(s.e, 1, id); (err != nil) != gone {
			s.Fatalf("email %v: %v", id, err)
		}
	}
}

func (s *suite) removeAccount() {
	var ledgers []*Ledger
	for _, id := range []mail.AccountID{1, 2, 3} {
		l, m := s.start(id)
		for range 50 {
			l.Deliver(m, 300)
		}
		l.Subscribe("x", true)
		s.commit(l.Batch())
		ledgers = append(ledgers, l)
	}
	kept, err := Everything(s.e, 3)
	s.equal(err, nil)
	s.commit(&store.Batch{Remove: true, Expect: ledgers[1].Head.ModSeq, Account: store.AccountRecord{ID: 2}})
	_, err = s.e.Account(background, 2)
	s.refused(mail.KindNotFound, err)
	_, err = s.e.Body(background, 2, 1)
	s.refused(mail.KindExpunged, err)
	ids, err := s.e.Accounts(background)
	s.equal(err, nil)
	s.equal(ids, []mail.AccountID{1, 3})
	got, err := Everything(s.e, 3)
	s.equal(err, nil)
	s.equal(got, kept)
	s.refused(mail.KindNotFound, commit(s.e, &store.Batch{Remove: true, Expect: ledgers[1].Head.ModSeq, Account: store.AccountRecord{ID: 2}}))
	l, m := s.start(2)
	l.Deliver(m, 1)
	s.commit(l.Batch())
	s.expectIndex(l, m, 0)
	s.equal(len(s.account(2).Subscriptions), 0)
	t, err := s.e.Threads(background, 2, []store.ThreadKey{key(40)})
	s.equal(err, nil)
	s.equal(t, []mail.ThreadID{0})
}

func (s *suite) manyAccountsAtOnce() {
	const accounts, changes = 16, 30
	ledgers := make([]*Ledger, accounts)
	var work sync.WaitGroup
	for i := range ledgers {
		l := NewLedger(mail.AccountID(i + 1))
		ledgers[i] = l
		work.Go(func() {
			m := l.Mailbox("INBOX")
			for n := range changes {
				l.Deliver(m, 500+n)
				if n%4 == 3 {
					l.Expunge(m, l.UIDs(m)[0])
				}
				if err := commit(s.e, l.Batch()); err != nil {
					s.Error(err)
					return
				}
				// What a Commit made is visible when it returned.
				if list, err := s.e.Messages(background, l.Head.ID, m, l.Head.ModSeq-1); err != nil || len(list) != 1 {
					s.Error(len(list), err)
					return
				}
			}
		})
	}
	work.Wait()
	for _, l := range ledgers {
		s.expectIndex(l, 1, 0)
	}
}

func (s *suite) oneOfManyWins() {
	l, m := s.start(1)
	for range 20 {
		l.Deliver(m, 10)
		b := l.Batch()
		var won, lost atomic.Int32
		var work sync.WaitGroup
		for range 8 {
			work.Go(func() {
				switch err := commit(s.e, b); {
				case err == nil:
					won.Add(1)
				case mail.KindOf(err) == mail.KindConflict:
					lost.Add(1)
				default:
					s.Error(err)
				}
			})
		}
		work.Wait()
		if won.Load() != 1 || lost.Load() != 7 {
			s.Fatal(won.Load(), lost.Load())
		}
	}
	s.expectIndex(l, m, 0)
	record := store.Record{Kind: "k", Key: "k", Value: []byte{}}
	for range 10 {
		var won atomic.Int32
		var work sync.WaitGroup
		for range 4 {
			work.Go(func() {
				if err := s.e.PutRecords(background, []store.Record{record}); err == nil {
					won.Add(1)
				} else if mail.KindOf(err) != mail.KindConflict {
					s.Error(err)
				}
			})
		}
		work.Wait()
		s.equal(won.Load(), int32(1))
		record.Revision++
	}
}

func (s *suite) readersSeeWholeBatches() {
	l, m := s.start(1)
	for range 200 {
		l.Deliver(m, 10)
	}
	s.commit(l.Batch())
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := s.e.Account(background, 1)
				if err != nil || a.Mailboxes[0].HighestModSeq != a.Account.ModSeq {
					s.Error("account", a, err)
					return
				}
				list, err := s.e.Messages(background, 1, m, 0)
				if err != nil || len(list) == 0 || list[0].ModSeq < a.Account.ModSeq {
					s.Error("index", len(list), err)
					return
				}
				for _, x := range list {
					if x.ModSeq != list[0].ModSeq {
						s.Error("half a batch", x, list[0])
						return
					}
				}
			}
		})
	}
	for n := range 60 {
		uids := l.UIDs(m)
		l.Expunge(m, uids[0])
		for _, uid := range uids[1:] {
			l.Flag(m, uid, mail.Flags(n))
		}
		l.Deliver(m, 10)
		s.commit(l.Batch())
	}
	close(stop)
	work.Wait()
}

func (s *suite) cancelled() {
	l, m := s.start(1)
	l.Deliver(m, 10)
	b := l.Batch()
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := s.e.Commit(ctx, b)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Account(ctx, 1)
	s.refused(mail.KindUnavailable, err)
	s.equal(s.account(1).Account.ModSeq, b.Expect)
	ctx, cancel = context.WithCancel(background)
	wait, err := s.e.Commit(ctx, b)
	cancel()
	s.equal(err, nil)
	s.equal(wait(), nil)
	s.equal(wait(), nil)
	s.expectIndex(l, m, 0)
}

func (s *suite) closed() {
	l, m := s.start(1)
	l.Deliver(m, 10)
	s.commit(l.Batch())
	l.Deliver(m, 10)
	s.equal(s.e.Close(), nil)
	_, err := s.e.Account(background, 1)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Accounts(background)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Messages(background, 1, m, 0)
	s.refused(mail.KindUnavailable, err)
	_, _, err = s.e.Vanished(background, 1, m, 0)
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Body(background, 1, 1)
	s.refused(mail.KindUnavailable, err)
	none := func(int, []byte) error { return nil }
	s.refused(mail.KindUnavailable, s.e.Summaries(background, 1, []mail.EmailID{1}, none))
	s.refused(mail.KindUnavailable, s.e.Texts(background, 1, []mail.EmailID{1}, none))
	s.refused(mail.KindUnavailable, s.e.Filters(background, 1, []mail.EmailID{1}, none))
	s.refused(mail.KindUnavailable, s.e.PutFilters(background, 1, []store.EmailFilter{{Email: 1, Filter: []byte("f")}}))
	_, err = s.e.Threads(background, 1, []store.ThreadKey{key(1)})
	s.refused(mail.KindUnavailable, err)
	_, err = s.e.Records(background, "a", "")
	s.refused(mail.KindUnavailable, err)
	s.refused(mail.KindUnavailable, s.e.PutRecords(background, []store.Record{{Kind: "a", Key: "a", Value: []byte{}}}))
	_, err = s.e.Commit(background, l.Batch())
	s.refused(mail.KindUnavailable, err)
}

func (s *suite) reopen() {
	l, m := s.start(1)
	sent := l.Mailbox("Sent")
	for range 600 {
		l.Deliver(m, 100)
	}
	l.Deliver(m, 600_000)
	l.Subscribe("Name", true)
	s.commit(l.Batch())
	l.Copy(m, 601, sent)
	l.Expunge(m, 1, 2)
	s.commit(l.Batch())
	s.equal(s.e.PutRecords(background, []store.Record{{Kind: "a", Key: "k", Value: []byte("v")}}), nil)
	want, err := Everything(s.e, 1)
	s.equal(err, nil)
	for range 2 {
		s.e = s.opt.Reopen(s.T, s.e)
		got, err := Everything(s.e, 1)
		s.equal(err, nil)
		s.equal(got, want)
		records, err := s.e.Records(background, "a", "")
		s.equal(err, nil)
		s.equal(records, []store.Record{{Kind: "a", Key: "k", Value: []byte("v"), Revision: 1}})
	}
	l.Expunge(m, 601)
	s.commit(l.Batch())
	if _, err := readBody(s.e, 1, 601); err != nil {
		s.Fatal("the copy's content went with the original", err)
	}
	l.Expunge(sent, 1)
	s.commit(l.Batch())
	_, err = readBody(s.e, 1, 601)
	s.refused(mail.KindExpunged, err)
}
