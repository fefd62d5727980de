package imap

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// turnTime is how long a turn lasts while others wait.
const turnTime = 20 * time.Millisecond

// errSearchTurn refuses a search that others leave no room for.
var errSearchTurn = mail.Errorf(mail.KindUnavailable, "Too many others search at the moment; please try again later.")

// turns bound how many searches look into messages at the same moment: with hundreds that
// all want the processor, whoever only wants the flags of a message would come after each
// of them. Who waits longest is next. The zero value is ready for use.
type turns struct {
	once  sync.Once
	taken chan struct{}
}

// spell is what is left of a search's time: of that for its work, and of that in which it
// waits for turns, which is no work.
type spell struct {
	work, wait time.Duration
}

// spellOf gives a search so much time for its work, and as much to wait for turns.
func spellOf(most time.Duration) *spell { return &spell{work: most, wait: most} }

// turn is that of one search; its owner begins and ends it, between start and what start gives.
type turn struct {
	of    *turns
	held  bool
	until time.Time

	spell *spell
	works time.Time   // since when it works, and does not wait
	over  *time.Timer // ends the work
}

// start begins the work: ctx ends with errSearchTime when the spell's time for it is over. done
// ends it, and the turn; the spell has then what is left.
func (t *turn) start(ctx context.Context, s *spell) (_ context.Context, done func()) {
	// More than there are processors: some wait for the disk.
	t.of.once.Do(func() { t.of.taken = make(chan struct{}, 2*runtime.GOMAXPROCS(0)) })
	ctx, cancel := context.WithCancelCause(ctx)
	t.spell, t.works = s, time.Now()
	t.over = time.AfterFunc(s.work, func() { cancel(errSearchTime) })
	return ctx, func() {
		t.end()
		t.over.Stop()
		s.work -= time.Since(t.works)
		cancel(nil)
	}
}

// begin waits for a turn until ctx ends, and for no longer than the spell says.
func (t *turn) begin(ctx context.Context) error {
	select {
	case t.of.taken <- struct{}{}: // nobody waits
	default:
		if err := t.await(ctx); err != nil {
			return err
		}
	}
	t.held, t.until = true, time.Now().Add(turnTime)
	return nil
}

// await waits for a turn while the time for work stands still.
func (t *turn) await(ctx context.Context) error {
	began := time.Now()
	t.over.Stop()
	t.spell.work -= began.Sub(t.works)
	enough := time.NewTimer(t.spell.wait)
	defer func() {
		enough.Stop()
		t.works = time.Now()
		t.spell.wait -= t.works.Sub(began)
		t.over.Reset(t.spell.work)
	}()
	select {
	case t.of.taken <- struct{}{}:
		return nil
	case <-enough.C:
		return errSearchTurn
	case <-ctx.Done():
		return mail.Wrap(mail.KindUnavailable, ctx.Err())
	}
}

// goOn lets others have a turn first when this one has lasted long enough.
func (t *turn) goOn(ctx context.Context) error {
	if time.Now().Before(t.until) {
		return nil
	}
	t.end()
	return t.begin(ctx)
}

func (t *turn) end() {
	if t.held {
		<-t.of.taken
		t.held = false
	}
}
