package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// counted are records that count what is asked of them, and fail when they shall.
type counted struct {
	engine        Records
	mu            sync.Mutex
	reads, writes int
	err           error
}

func (c *counted) count(n *int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
	return c.err
}

func (c *counted) Records(ctx context.Context, kind, prefix string) ([]store.Record, error) {
	if err := c.count(&c.reads); err != nil {
		return nil, err
	}
	return c.engine.Records(ctx, kind, prefix)
}

func (c *counted) PutRecords(ctx context.Context, records []store.Record) error {
	if err := c.count(&c.writes); err != nil {
		return err
	}
	return c.engine.PutRecords(ctx, records)
}

func network(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// What is known outlives the process, is written once a day, and ages.
func TestKnownNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &counted{engine: memory.New()}
		k := NewKnownNetworks(kept, nil)
		ctx, home := t.Context(), network("198.51.100.7/32")
		known := func(name string, n netip.Prefix, want bool) {
			t.Helper()
			for what, k := range map[string]*KnownNetworks{"now": k, "after a restart": NewKnownNetworks(kept, nil)} {
				if got, err := k.Known(ctx, name, n); got != want || err != nil {
					t.Errorf("%s, %s at %s: %v, %v", what, name, n, got, err)
				}
			}
		}
		add := func(account mail.AccountID, name string, n netip.Prefix, wantFirst bool) {
			t.Helper()
			if first, err := k.Add(ctx, account, name, n); first != wantFirst || err != nil {
				t.Errorf("%s at %s: %v, %v", name, n, first, err)
			}
		}
		known("anna", home, false)
		add(1, "anna", home, false) // there is nothing that it would differ from
		known("anna", home, true)
		known("ann", home, false)
		known("anna", network("198.51.100.8/32"), false)
		known("", home, false)
		known("anna", netip.Prefix{}, false)
		add(1, "anna", home, false)
		if kept.writes != 1 {
			t.Errorf("%d writes", kept.writes)
		}
		reads := kept.reads
		for range 10 {
			k.Known(ctx, "anna", home)
		}
		if kept.reads != reads {
			t.Errorf("%d reads", kept.reads-reads)
		}
		time.Sleep(24 * time.Hour)
		add(1, "anna", home, false)
		add(1, "anna", home, false)
		if kept.writes != 2 {
			t.Errorf("%d writes", kept.writes)
		}
		add(1, "anna", network("2001:db8::/64"), true)
		known("anna", network("2001:db8::/64"), true)

		// 16 of a name: the one that was not used for longest goes.
		time.Sleep(24 * time.Hour)
		add(1, "anna", network("2001:db8::/64"), false)
		for i := range 15 {
			add(1, "anna", network(fmt.Sprintf("10.0.0.%d/32", i)), true)
		}
		known("anna", home, false)
		known("anna", network("2001:db8::/64"), true)
		if list, err := k.Of(ctx, 1, "anna"); len(list) != MaxKnownNetworks || err != nil || list[0].Last.Before(list[15].Last) {
			t.Errorf("%d: %v %v", len(list), list, err)
		}

		// 90 days after the last login it is a stranger's.
		time.Sleep(KnownFor)
		known("anna", network("2001:db8::/64"), false)
		if list, _ := k.Of(ctx, 1, "anna"); len(list) != 0 {
			t.Errorf("%v", list)
		}
		add(1, "anna", home, false)
		if list, _ := k.Of(ctx, 1, "anna"); len(list) != 1 {
			t.Errorf("%v", list)
		}

		// Who has the name next does not inherit them.
		if list, _ := k.Of(ctx, 2, "anna"); len(list) != 0 {
			t.Errorf("%v", list)
		}
		add(2, "anna", network("192.0.2.1/32"), false)
		known("anna", home, false)

		if had, err := k.Remove(ctx, "anna", home); had || err != nil {
			t.Errorf("removed %v, %v", had, err)
		}
		if had, err := k.Remove(ctx, "anna", network("192.0.2.1/32")); !had || err != nil {
			t.Errorf("removed %v, %v", had, err)
		}
		known("anna", network("192.0.2.1/32"), false)
		if records, _ := kept.Records(ctx, KnownNetworkKind, ""); len(records) != 0 {
			t.Errorf("left behind: %v", records)
		}
		add(2, "anna", home, false)
		known("anna", home, true)
		if had, _ := k.Remove(ctx, "anna", netip.Prefix{}); !had {
			t.Error("all were not removed")
		}
	})
}

// Several logins at once, on several servers, lose nothing; memory is bounded.
func TestKnownNetworksTogether(t *testing.T) {
	records := memory.New()
	servers := []*KnownNetworks{NewKnownNetworks(records, nil), NewKnownNetworks(records, nil)}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for try := 0; ; try++ {
				_, err := servers[i%2].Add(t.Context(), 1, "anna", network(fmt.Sprintf("10.0.0.%d/32", i)))
				if err == nil {
					return
				}
				if mail.KindOf(err) != mail.KindConflict || try > 20 {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if list, err := NewKnownNetworks(records, nil).Of(t.Context(), 1, "anna"); len(list) != 8 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	k := servers[0]
	for i := range maxKnown + 100 {
		k.Known(t.Context(), fmt.Sprint(i), network("10.0.0.1/32"))
	}
	if n := len(k.names.rows) + k.names.order.Len(); n != 2*maxKnown {
		t.Errorf("%d rows and links", n)
	}
}

// Without the store nobody gets in, and none is told that a password was wrong.
func TestKnownNetworksUnavailable(t *testing.T) {
	kept := &counted{engine: memory.New(), err: errors.New("gone")}
	a := New(Options{Directory: newPeople(), Records: kept})
	_, err := a.Password(t.Context(), clear("192.0.2.1:1"), "anna@example.org", "secret")
	wantKind(t, "unreadable", err, mail.KindUnavailable)
	kept.err = nil
	if _, err := a.Password(t.Context(), clear("192.0.2.1:1"), "anna@example.org", "secret"); err != nil {
		t.Error(err)
	}
	// One that cannot be kept stops no login.
	kept.err = errors.New("full")
	if _, err := a.Password(t.Context(), clear("192.0.2.2:1"), "anna@example.org", "secret"); err != nil {
		t.Error(err)
	}
}
