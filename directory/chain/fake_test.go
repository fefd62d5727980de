package chain

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
)

// outside is an external directory of few people.
type outside struct {
	mu     sync.Mutex
	people []directorytest.Someone
	err    error // what every call gives while it is set
	calls  int
	closed bool
}

func (o *outside) set(change func(*outside)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *outside) find(ctx context.Context, name string) (*directorytest.Someone, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	if o.err != nil {
		return nil, o.err
	}
	for _, s := range o.people {
		if s.Name == name || slices.Contains(s.Aliases, name) {
			s.Aliases = slices.Clone(s.Aliases)
			return &s, nil
		}
	}
	return nil, mail.Errorf(mail.KindNotFound, "")
}

func (o *outside) Find(ctx context.Context, name string) (*directory.Person, error) {
	s, err := o.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return &s.Person, nil
}

func (o *outside) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	s, err := o.find(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case password == "" || s.Password != password:
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return &s.Person, nil
}

func (o *outside) Close() error {
	o.set(func(o *outside) { o.closed = true })
	return nil
}

// The fake is a Source like any other.
func TestOutside(t *testing.T) {
	directorytest.RunSource(t, directorytest.SourceTest{Open: func(t *testing.T, people []directorytest.Someone) directory.Source {
		for i := range people {
			people[i].ID = people[i].Name
		}
		return &outside{people: people}
	}})
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
