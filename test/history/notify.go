package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/imapview"
)

// An observer has no mailbox selected and hears by NOTIFY (RFC 5465) what happens in all of
// them. From that alone it has a picture of which there are and how they stand, which at
// rest is what there is.

// toldWithin is how long what happened may be on its way to an observer, at rest.
const toldWithin = 20 * time.Second

// picture is what an observer knows, by the mailbox's name.
type picture map[string]*boxState

// playNotify observes.
func (a *account) playNotify(ctx context.Context, rng *rand.Rand, rest func()) {
	for more := true; more; more = again(ctx, rng) {
		x, err := a.login(rng, "observer", &slot{caches: map[string]*cache{}})
		if err != nil {
			continue
		}
		if !x.can["NOTIFY"] {
			x.close()
			return
		}
		p := picture{}
		began := a.h.tick()
		if err = x.observe(ctx, p, rest); err != nil && !broken(err) {
			x.fault("NOTIFY", "%v", err)
		}
		x.close()
		// What it was told has happened, and stays so.
		for _, name := range a.stable {
			if b := p[name]; b != nil && b.uidNext != 0 {
				a.hears(told{client: x.name, start: began, end: a.h.tick(), name: name, box: b.validity, uidNext: b.uidNext, highest: b.highest}, "")
			}
		}
	}
}

func (x *session) observe(ctx context.Context, p picture, rest func()) error {
	if x.can["CONDSTORE"] && x.rng.IntN(2) == 0 {
		x.condstore = true
		if _, err := x.must("ENABLE CONDSTORE"); err != nil {
			return err
		}
	}
	reply, err := x.must("NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange MailboxName))")
	for err == nil && ctx.Err() == nil {
		for _, u := range reply.Untagged {
			if err = p.take(u); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(x.rng.IntN(10)) * time.Millisecond):
		}
		reply, err = x.must("NOOP")
	}
	if err != nil {
		return err
	}
	for _, u := range reply.Untagged {
		if err = p.take(u); err != nil {
			return err
		}
	}
	rest()
	return x.comparePicture(p)
}

// comparePicture takes what comes by itself until the picture is what another session reads.
func (x *session) comparePicture(p picture) error {
	y, err := x.a.login(x.rng, "beside", &slot{})
	if err != nil {
		return err
	}
	defer y.conn.Close()
	y.condstore = x.condstore
	x.conn.SetReadDeadline(time.Now().Add(toldWithin))
	for {
		want, err := y.standing()
		if err != nil {
			return err
		}
		differs := p.differs(want, x.condstore)
		if differs == nil {
			x.a.h.counts.observed.Add(1)
			return nil
		}
		told, err := x.c.Next()
		if err != nil {
			if broken(err) {
				return err
			}
			return errors.Join(differs, err)
		}
		if err := p.take(told); err != nil {
			return err
		}
	}
}

// standing reads how all mailboxes stand.
func (x *session) standing() (picture, error) {
	reply, err := x.must(`LIST "" "*"`)
	if err != nil {
		return nil, err
	}
	names, err := listed(reply)
	if err != nil {
		return nil, err
	}
	p := picture{}
	items := "MESSAGES UIDNEXT UIDVALIDITY UNSEEN"
	if x.condstore {
		items += " HIGHESTMODSEQ"
	}
	for _, name := range names {
		if reply, err = x.must(fmt.Sprintf("STATUS %q (%s)", name, items)); err != nil {
			return nil, err
		}
		p[name] = readStatus(reply)
	}
	return p, nil
}

// take takes an untagged response into the picture.
func (p picture) take(u []byte) error {
	switch {
	case bytes.Contains(u, []byte("[NOTIFICATIONOVERFLOW]")):
		return errEnd
	case bytes.HasPrefix(u, []byte("* STATUS ")):
		for _, s := range readStatuses(imapview.Reply{Untagged: [][]byte{u}}) {
			if err := p.status(s); err != nil {
				return err
			}
		}
	case bytes.HasPrefix(u, []byte("* LIST ")):
		return p.list(u)
	}
	return nil
}

// status takes what is told of a mailbox, of which items may be left out.
func (p picture) status(s *boxState) error {
	b := p[s.name]
	if b == nil || s.validity != 0 && s.validity != b.validity {
		b = newStatus(s.name)
		b.validity = s.validity
		p[s.name] = b
	}
	if s.uidNext != 0 {
		if s.uidNext < b.uidNext && !strings.HasPrefix(s.name, volatile) { // which may be another's name by now
			return fmt.Errorf("%s: UIDNEXT was told as %d, and then as %d", s.name, b.uidNext, s.uidNext)
		}
		b.uidNext = s.uidNext
	}
	if s.highest != 0 {
		if s.highest < b.highest && !strings.HasPrefix(s.name, volatile) {
			return fmt.Errorf("%s: HIGHESTMODSEQ was told as %d, and then as %d", s.name, b.highest, s.highest)
		}
		b.highest = s.highest
	}
	if s.count >= 0 {
		b.count = s.count
	}
	if s.unseen >= 0 {
		b.unseen = s.unseen
	}
	return nil
}

// list takes that a mailbox was made, deleted or renamed (RFC 5465, 5.4).
func (p picture) list(u []byte) error {
	values, err := imapview.ParseValues(bytes.TrimPrefix(u, []byte("* LIST ")))
	if err != nil || len(values) < 3 {
		return fmt.Errorf("%q", u)
	}
	name := values[2].Text
	if slices.ContainsFunc(values[0].List, func(v imapview.Value) bool { return strings.EqualFold(v.Text, `\NonExistent`) }) {
		delete(p, name)
		return nil
	}
	if len(values) > 3 {
		for list := values[3].List; len(list) > 1; list = list[2:] {
			if !strings.EqualFold(list[0].Text, "OLDNAME") || len(list[1].List) != 1 {
				continue
			}
			old := list[1].List[0].Text
			if b := p[old]; b != nil && old != name {
				delete(p, old)
				b.name = name
				p[name] = b
			}
		}
	}
	if p[name] == nil {
		p[name] = newStatus(name)
	}
	return nil
}

// differs says what the picture has otherwise.
func (p picture) differs(want picture, condstore bool) error {
	if have, should := slices.Sorted(maps.Keys(p)), slices.Sorted(maps.Keys(want)); !slices.Equal(have, should) {
		return fmt.Errorf("the observer knows of the mailboxes %q, and there are %q", have, should)
	}
	for name, w := range want {
		b := p[name]
		if b.count != w.count || b.unseen != w.unseen || b.uidNext != w.uidNext || condstore && b.highest != w.highest {
			return fmt.Errorf("%s: the observer was told %d messages, %d unseen, UIDNEXT %d, HIGHESTMODSEQ %d, and it is %d, %d, %d, %d",
				name, b.count, b.unseen, b.uidNext, b.highest, w.count, w.unseen, w.uidNext, w.highest)
		}
	}
	return nil
}
