package storetest

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Fault is how a call fails.
type Fault int

const (
	// Works: it does not.
	Works Fault = iota
	// Before: KindUnavailable, and nothing was done.
	Before
	// After: KindUnavailable, and everything was done without saying so, as when
	// a connection is lost before the answer comes.
	After
	// Wait: Commit works but its wait does not know whether it is durable. Every
	// later Commit is then refused until Mend.
	Wait
	// Conflict: Commit and PutRecords answer KindConflict, as if another server
	// had been quicker. Other calls work.
	Conflict
)

// Call is one call of an engine's method.
type Call struct {
	Number int    // of all calls, from 1
	Method string // such as "Commit"
}

// Failing is an engine whose calls fail as a plan says. It is a real driver: what
// does not fail is done by the engine that it wraps, and each failure is one that
// the contract allows. Announcements and Close never fail. It is safe for
// concurrent use.
type Failing struct {
	engine store.Engine
	calls  atomic.Int64
	lost   atomic.Bool // after Wait

	mu   sync.Mutex // held while plan runs
	plan func(Call) Fault
}

var _ store.Engine = (*Failing)(nil)

// NewFailing wraps e. plan is asked once for each call, one at a time; nil is that
// all work.
func NewFailing(e store.Engine, plan func(Call) Fault) *Failing {
	return &Failing{engine: e, plan: plan}
}

// Nth lets the n-th call of a method fail; "" is any method.
func Nth(n int, method string, fault Fault) func(Call) Fault {
	seen := 0
	return func(c Call) Fault {
		if method == "" || c.Method == method {
			if seen++; seen == n {
				return fault
			}
		}
		return Works
	}
}

// Randomly lets calls fail with probability p, in any of the ways of faults.
func Randomly(seed uint64, p float64, faults ...Fault) func(Call) Fault {
	r := rand.New(rand.NewPCG(seed, 7))
	return func(Call) Fault {
		if r.Float64() < p {
			return faults[r.IntN(len(faults))]
		}
		return Works
	}
}

// Plan replaces the plan.
func (f *Failing) Plan(plan func(Call) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = plan
}

// Mend ends what a failed wait began, as opening the engine again does.
func (f *Failing) Mend() { f.lost.Store(false) }

// Calls is how many calls there were.
func (f *Failing) Calls() int { return int(f.calls.Load()) }

func (f *Failing) fault(method string) Fault {
	n := f.calls.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan == nil {
		return Works
	}
	return f.plan(Call{int(n), method})
}

func failed(method string) error {
	return mail.Errorf(mail.KindUnavailable, "%s was made to fail", method)
}

// call does work as the plan says.
func (f *Failing) call(method string, work func() error) error {
	switch f.fault(method) {
	case Before:
		return failed(method)
	case After:
		if err := work(); err != nil {
			return err
		}
		return failed(method)
	}
	return work()
}

// Account implements store.Engine.
func (f *Failing) Account(ctx context.Context, id mail.AccountID) (s store.AccountState, err error) {
	err = f.call("Account", func() error {
		s, err = f.engine.Account(ctx, id)
		return err
	})
	if err != nil {
		return store.AccountState{}, err
	}
	return s, nil
}

// Accounts implements store.Engine.
func (f *Failing) Accounts(ctx context.Context) (ids []mail.AccountID, err error) {
	err = f.call("Accounts", func() error {
		ids, err = f.engine.Accounts(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Messages implements store.Engine.
func (f *Failing) Messages(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (list []store.Message, err error) {
	err = f.call("Messages", func() error {
		list, err = f.engine.Messages(ctx, id, mailbox, since)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Vanished implements store.Engine.
func (f *Failing) Vanished(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (uids mail.NumSet, complete bool, err error) {
	err = f.call("Vanished", func() error {
		uids, complete, err = f.engine.Vanished(ctx, id, mailbox, since)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return uids, complete, nil
}

// Summaries implements store.Engine. After gives all before it fails.
func (f *Failing) Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return f.call("Summaries", func() error { return f.engine.Summaries(ctx, id, ids, each) })
}

// Texts implements store.Engine. After gives all before it fails.
func (f *Failing) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return f.call("Texts", func() error { return f.engine.Texts(ctx, id, ids, each) })
}

// Filters implements store.Engine. After gives all before it fails.
func (f *Failing) Filters(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return f.call("Filters", func() error { return f.engine.Filters(ctx, id, ids, each) })
}

// PutFilters implements store.Engine.
func (f *Failing) PutFilters(ctx context.Context, id mail.AccountID, filters []store.EmailFilter) error {
	return f.call("PutFilters", func() error { return f.engine.PutFilters(ctx, id, filters) })
}

// Body implements store.Engine. Before fails when it is opened, After when it is
// read: Bytes of such a body is nil.
func (f *Failing) Body(ctx context.Context, id mail.AccountID, email mail.EmailID) (store.Body, error) {
	fault := f.fault("Body")
	if fault == Before {
		return nil, failed("Body")
	}
	b, err := f.engine.Body(ctx, id, email)
	if err == nil && fault == After {
		b = unreadable{b}
	}
	return b, err
}

// unreadable is a body whose second half cannot be read.
type unreadable struct{ store.Body }

func (b unreadable) Bytes() []byte { return nil }

func (b unreadable) Part(off int64) ([]byte, error) {
	half := b.Size() / 2
	if off >= half {
		return nil, failed("Part")
	}
	p, err := b.Body.Part(off)
	return p[:min(int64(len(p)), half-off)], err
}

func (b unreadable) ReadAt(p []byte, off int64) (int, error) {
	half := b.Size() / 2
	if off+int64(len(p)) <= half {
		return b.Body.ReadAt(p, off)
	}
	n := 0
	if off < half {
		n, _ = b.Body.ReadAt(p[:half-off], off)
	}
	return n, failed("ReadAt")
}

// Threads implements store.Engine.
func (f *Failing) Threads(ctx context.Context, id mail.AccountID, keys []store.ThreadKey) (threads []mail.ThreadID, err error) {
	err = f.call("Threads", func() error {
		threads, err = f.engine.Threads(ctx, id, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	return threads, nil
}

// References implements store.Engine.
func (f *Failing) References(ctx context.Context, id mail.AccountID) (list []store.Reference, err error) {
	err = f.call("References", func() error {
		list, err = f.engine.References(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Commit implements store.Engine.
func (f *Failing) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	fault := f.fault("Commit")
	switch {
	case f.lost.Load() || fault == Before:
		return nil, failed("Commit")
	case fault == Conflict:
		return nil, mail.Errorf(mail.KindConflict, "Commit was made to conflict")
	}
	wait, err := f.engine.Commit(ctx, b)
	if err != nil {
		return nil, err
	}
	switch fault {
	case After:
		if err := wait(); err != nil {
			return nil, err
		}
		return nil, failed("Commit")
	case Wait:
		f.lost.Store(true)
		return func() error {
			_ = wait()
			return failed("wait")
		}, nil
	}
	return wait, nil
}

// Records implements store.Engine.
func (f *Failing) Records(ctx context.Context, kind, prefix string) (records []store.Record, err error) {
	err = f.call("Records", func() error {
		records, err = f.engine.Records(ctx, kind, prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// PutRecords implements store.Engine.
func (f *Failing) PutRecords(ctx context.Context, records []store.Record) error {
	switch fault := f.fault("PutRecords"); {
	case f.lost.Load() || fault == Before:
		return failed("PutRecords")
	case fault == Conflict:
		return mail.Errorf(mail.KindConflict, "PutRecords was made to conflict")
	case fault == After:
		if err := f.engine.PutRecords(ctx, records); err != nil {
			return err
		}
		return failed("PutRecords")
	}
	return f.engine.PutRecords(ctx, records)
}

// Announcements implements store.Engine.
func (f *Failing) Announcements() <-chan store.Announcement { return f.engine.Announcements() }

// Close implements store.Engine.
func (f *Failing) Close() error { return f.engine.Close() }
