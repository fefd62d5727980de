package storetest_test

import (
	"context"
	"io"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// TestFailingPasses: an engine that never fails is one, wrapped or not.
func TestFailingPasses(t *testing.T) {
	storetest.Run(t, func(testing.TB) store.Engine { return storetest.NewFailing(memory.New(), nil) }, storetest.Options{})
}

func TestFailing(t *testing.T) {
	ctx := context.Background()
	inner := memory.New()
	f := storetest.NewFailing(inner, nil)
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 1000)
	storetest.Commit(t, f, l.Batch())

	unavailable := func(err error) {
		t.Helper()
		if err == nil || mail.KindOf(err) != mail.KindUnavailable {
			t.Fatal(err)
		}
	}
	head := func() mail.ModSeq {
		t.Helper()
		a, err := inner.Account(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		return a.Account.ModSeq
	}
	l.Deliver(m, 10)
	b := l.Batch()
	for _, c := range []struct {
		fault storetest.Fault
		kind  mail.Kind
	}{{storetest.Before, mail.KindUnavailable}, {storetest.Conflict, mail.KindConflict}} {
		f.Plan(storetest.Nth(1, "Commit", c.fault))
		if _, err := f.Commit(ctx, b); mail.KindOf(err) != c.kind || err == nil || head() != b.Expect {
			t.Fatal(err, head())
		}
	}
	f.Plan(storetest.Nth(1, "Commit", storetest.After))
	_, err := f.Commit(ctx, b)
	if unavailable(err); head() != b.Account.ModSeq {
		t.Fatal("After has not done it")
	}
	l.Deliver(m, 10)
	f.Plan(storetest.Nth(1, "Commit", storetest.Wait))
	wait, err := f.Commit(ctx, l.Batch())
	if err != nil {
		t.Fatal(err)
	}
	unavailable(wait())
	l.Deliver(m, 10)
	b = l.Batch()
	_, err = f.Commit(ctx, b)
	unavailable(err)
	unavailable(f.PutRecords(ctx, nil))
	f.Mend()
	storetest.Commit(t, f, b)

	f.Plan(storetest.Nth(2, "Body", storetest.After))
	for n := range 2 {
		body, err := f.Body(ctx, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1000)
		if k, err := body.ReadAt(p, 0); n == 1 && (k != 500 || mail.KindOf(err) != mail.KindUnavailable || body.Bytes() != nil) || n == 0 && err != nil && err != io.EOF {
			t.Fatal(k, err)
		}
	}
	calls := f.Calls()
	f.Plan(storetest.Randomly(1, 1, storetest.Before, storetest.After))
	_, err = f.Account(ctx, 1)
	unavailable(err)
	_, err = f.Accounts(ctx)
	unavailable(err)
	_, err = f.Messages(ctx, 1, m, 0)
	unavailable(err)
	_, _, err = f.Vanished(ctx, 1, m, 0)
	unavailable(err)
	none := func(int, []byte) error { return nil }
	unavailable(f.Summaries(ctx, 1, nil, none))
	unavailable(f.Texts(ctx, 1, nil, none))
	unavailable(f.Filters(ctx, 1, nil, none))
	unavailable(f.PutFilters(ctx, 1, nil))
	_, err = f.Threads(ctx, 1, nil)
	unavailable(err)
	_, err = f.Records(ctx, "a", "")
	unavailable(err)
	unavailable(f.PutRecords(ctx, nil))
	if f.Calls() != calls+11 {
		t.Fatal(f.Calls(), calls)
	}
}
