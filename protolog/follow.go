package protolog

import (
	"context"
	"sync/atomic"

	"github.com/postern-mail/postern/mail"
)

const (
	// maxFollowers bounds who follows one log at once.
	maxFollowers = 16
	// maxBehind is how many records a follower may be behind; beyond it some are
	// missed.
	maxBehind = 1024
)

// follower is one who is shown what is written.
type follower struct {
	filter Filter
	into   chan Record
	missed *atomic.Int64
}

// show gives a record to those who want it. It never waits.
func (l *Log) show(r *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers {
		if !f.filter.wants(r) {
			continue
		}
		select {
		case f.into <- *r:
		default:
			f.missed.Add(1)
		}
	}
}

func (l *Log) follow(f *follower) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.followers) >= maxFollowers {
		return mail.Errorf(mail.KindLimit, "the protocol log of %s is followed by %d already", l.service, maxFollowers)
	}
	l.followers[f] = struct{}{}
	l.followed.Store(true)
	return nil
}

func (l *Log) unfollow(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
	l.followed.Store(len(l.followers) > 0)
}

// Follow calls ready once it follows, and then each for every record of the logs that is wanted, as it comes, until
// ctx ends, which is no error, or one of them gives an error. missed is how many were left
// out before this one because each was too slow. KindLimit when too many follow.
func Follow(ctx context.Context, logs []*Log, filter Filter, ready func() error, each func(r Record, missed int64) error) error {
	var missed atomic.Int64
	f := &follower{filter, make(chan Record, maxBehind), &missed}
	for _, l := range logs {
		if err := l.follow(f); err != nil {
			return err
		}
		defer l.unfollow(f)
	}
	if err := ready(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-f.into:
			if err := each(r, missed.Swap(0)); err != nil {
				return err
			}
		}
	}
}
