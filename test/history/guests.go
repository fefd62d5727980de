package history

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/imapview"
)

// Each account shares a mailbox with the next one. One client of the owner's gives rights
// and takes them away; guests do there what they may, or may no longer, and take messages
// into their own account. What they do is the owner's history; what arrives, their own.

// sharedBox is the mailbox that is shared.
const sharedBox = "S"

// foreign tells whether a name is in another account.
func foreign(name string) bool {
	return strings.HasPrefix(name, others) || strings.HasPrefix(name, "Shared/")
}

// The rights that a guest gets: none, to read, or to do everything but delete the mailbox.
var givenRights = []string{"", "lr", "lr", "lrswite", "lrswite", "lrswite"}

// commonFlags are the flags that the owner and guests share. Others each has for itself.
const commonFlags = answered | flagged | draft | deleted

// heir is who has rights in the account's shared mailbox.
func (a *account) heir() *account { return a.h.accounts[(a.number+1)%len(a.h.accounts)] }

// wire writes a mailbox's name as the session has to.
func (x *session) wire(name string) string {
	if x.guest == nil {
		return name
	}
	return fmt.Sprintf("%q", others+x.a.Name+"/"+name)
}

// flags are those that the session's clients use together.
func (x *session) flags() flags {
	if x.guest != nil {
		return commonFlags
	}
	return allFlags
}

// asGuest says which right an operation needs.
func (x *session) asGuest(o *op, right string) {
	if x.guest != nil {
		o.needs = right
	}
}

// enter is do for SELECT and EXAMINE.
func (x *session) enter(command string) (imapview.Reply, error) {
	if x.guest == nil {
		return x.do(command)
	}
	o := &op{kind: Enter, client: x.name, name: sharedBox, needs: "r"}
	x.a.send(o)
	reply, err := x.do(command)
	if err != nil {
		return reply, err
	}
	outcome := Refused
	if reply.Condition == "OK" {
		outcome = Done
	}
	x.a.answer(o, outcome, func() { o.denied = outcome == Refused })
	return reply, nil
}

// playGrants gives rights and takes them away. Nobody else does.
func (a *account) playGrants(ctx context.Context, rng *rand.Rand, _ func()) {
	for more := true; more; more = again(ctx, rng) {
		x, err := a.login(rng, "grants", &slot{caches: map[string]*cache{}})
		if err != nil {
			continue
		}
		for err == nil && ctx.Err() == nil {
			rights := givenRights[rng.IntN(len(givenRights))]
			command := fmt.Sprintf("SETACL %s %s %s", sharedBox, a.heir().Name, rights)
			if rights == "" {
				command = fmt.Sprintf("DELETEACL %s %s", sharedBox, a.heir().Name)
			}
			if _, err = x.act(&op{kind: Grant, name: sharedBox, values: map[string]string{rightsKey: rights}}, command, nil); err != nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rng.IntN(40)) * time.Millisecond):
			}
		}
		if err != nil && !broken(err) {
			x.fault("session", "%v", err)
		}
		x.close()
	}
}

// readRights reads what the guest may do.
func (x *session) readRights() (string, error) {
	reply, err := x.must("GETACL " + sharedBox)
	if err != nil {
		return "", err
	}
	for _, u := range reply.Untagged {
		rest, ok := bytes.CutPrefix(u, []byte("* ACL "))
		if !ok {
			continue
		}
		values, err := imapview.ParseValues(rest)
		if err != nil {
			return "", err
		}
		for i := 1; i+1 < len(values); i += 2 {
			if values[i].Text != x.a.heir().Name {
				continue
			}
			for _, known := range givenRights {
				if sameRights(known, values[i+1].Text) {
					return known, nil
				}
			}
			return values[i+1].Text, nil
		}
	}
	return "", nil
}

// sameRights compares rights in any order, without those that stand for others (RFC 4314,
// 2.1.1).
func sameRights(a, b string) bool {
	sorted := func(s string) string {
		letters := slices.DeleteFunc([]byte(s), func(c byte) bool { return c == 'c' || c == 'd' })
		slices.Sort(letters)
		return string(letters)
	}
	return sorted(a) == sorted(b)
}

// playGuest visits the mailbox that another account shares.
func (a *account) playGuest(ctx context.Context, rng *rand.Rand, rest func()) {
	guest := a.heir()
	s := &slot{caches: map[string]*cache{}}
	for more := true; more; more = again(ctx, rng) {
		x, err := guest.login(rng, "guest "+guest.Name, s)
		if err != nil {
			if !broken(err) {
				a.fault("session", "%v", err)
			}
			continue
		}
		x.a, x.guest = a, guest
		if err := x.visit(ctx, rest); err != nil && !broken(err) {
			x.fault("session", "%v", err)
		}
		x.end()
	}
}

// visit does random things in the mailbox until the session ends, as when rights are lost,
// or ctx does.
func (x *session) visit(ctx context.Context, rest func()) error {
	if err := x.begin(); err != nil {
		return err
	}
	if err := x.open(sharedBox); err != nil {
		return err
	}
	for range 10 + x.rng.IntN(60) {
		if ctx.Err() != nil {
			rest()
			return x.verify()
		}
		if err := x.stepGuest(); err != nil {
			return err
		}
		x.a.h.pause(ctx, x.rng)
	}
	_, err := x.do("LOGOUT")
	return err
}

func (x *session) stepGuest() error {
	switch n := x.rng.IntN(20); {
	case n < 4:
		return x.storeFlags()
	case n < 8:
		return x.append(1 + x.rng.IntN(2))
	case n < 10:
		return x.transfer(Copy)
	case n < 14:
		return x.take()
	case n < 15:
		return x.remove()
	case n < 18:
		return x.peek()
	case n < 19:
		return x.fetchFlags()
	}
	_, err := x.do("NOOP")
	return err
}

// peek reads a message.
func (x *session) peek() error {
	uids := x.some(1)
	if len(uids) == 0 {
		return nil
	}
	id := x.ids[uids[0]]
	o := &op{kind: Peek, client: x.name, box: x.box, needs: "r"}
	x.a.send(o)
	reply, err := x.do(fmt.Sprintf("UID FETCH %d (BODY.PEEK[])", uids[0]))
	if err != nil {
		return err
	}
	outcome := Refused
	for _, u := range reply.Untagged {
		if m := readMessage(u); m.body != "" && id != "" {
			outcome = Done
			x.a.compare(id, m.body, fmt.Sprintf("FETCH of %d/%d by a guest", x.box, uids[0]))
		}
	}
	x.a.answer(o, outcome, func() { o.denied = reply.Code == "NOPERM" })
	return nil
}

// take moves messages into the guest's own account.
func (x *session) take() error {
	uids := x.some(3)
	if len(uids) == 0 || x.readOnly || !x.can["MOVE"] || slices.ContainsFunc(uids, func(uid uint32) bool { return x.ids[uid] == "" }) {
		return nil
	}
	name := x.guest.stable[x.rng.IntN(len(x.guest.stable))]
	leave := &op{kind: Leave, uids: uids, name: name, needs: "e"}
	arrive := &op{kind: Arrive, client: x.name, name: name, twin: leave, count: int64(len(uids))}
	for _, uid := range uids {
		arrive.ids = append(arrive.ids, x.ids[uid])
	}
	arrive.bytes = x.guest.adopt(x.a, arrive.ids)
	x.guest.send(arrive)
	var moved op
	command, _ := x.named("MOVE", uids, " "+name)
	reply, err := x.act(leave, command, func(reply imapview.Reply) {
		moved.moved(untaggedCode(reply, "COPYUID"))
		leave.uids = moved.uids // those that were there still
	})
	if reply.Condition == "" {
		return err // not answered
	}
	outcome := Refused
	if reply.Condition == "OK" {
		outcome = Done
	}
	x.a.mu.Lock()
	full := leave.full
	leave.full = false // it is the other account that is
	x.a.mu.Unlock()
	x.guest.answer(arrive, outcome, func() {
		arrive.full = full
		if outcome != Done {
			return
		}
		arrive.to, arrive.toUIDs = moved.to, moved.toUIDs
		arrive.ids, arrive.bytes, arrive.count = nil, 0, int64(len(moved.uids))
		for _, uid := range moved.uids {
			arrive.ids, arrive.bytes = append(arrive.ids, x.ids[uid]), arrive.bytes+int64(x.guest.texts[x.ids[uid]].size)
		}
	})
	return err
}

// adopt has messages of another account be known in this one, and gives their size.
func (a *account) adopt(from *account, ids []string) (size int64) {
	var list []text
	from.mu.Lock()
	for _, id := range ids {
		list = append(list, from.texts[id])
	}
	from.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, id := range ids {
		a.texts[id], a.repeated[id] = list[n], true
		size += int64(list[n].size)
	}
	return size
}

// rights asks whether guests did what they may, and nothing else.
func (c *checker) rights() {
	if c.h.options.Guests == 0 {
		return
	}
	for _, o := range c.log {
		if o.needs == "" || o.outcome == Unanswered {
			continue
		}
		may, known := c.mayBe(rightsKey, o.start, o.end, 0)
		if !known {
			continue
		}
		with, without := false, false
		for rights := range may {
			if strings.Contains(rights, o.needs) {
				with = true
			} else {
				without = true
			}
		}
		c.h.counts.visits.Add(1)
		grants := func() (out []*op) {
			for _, g := range c.log {
				if g.kind == Grant {
					out = append(out, g)
				}
			}
			return append(out, o)
		}
		switch {
		case o.outcome == Done && !with && o.changes():
			c.faulty("rights", grants(), "a guest did what it had no right to: %v", o)
		case o.outcome == Refused && o.denied && !without:
			c.faulty("rights", grants(), "a guest was refused what it had the right to: %v", o)
		}
	}
}

// changes tells that an answer of OK says that something was done or told.
func (o *op) changes() bool {
	switch o.kind {
	case Expunge, UIDExpunge:
		return len(o.sure) > 0
	case Copy, Leave:
		return len(o.uids) > 0
	}
	return true
}

// across decides about moves between accounts that were not answered: each message is in one
// of them, whenever the server ended.
func (h *History) across(checkers []*checker) {
	for _, to := range checkers {
		to.mu.Lock()
		for _, o := range to.log {
			if o.kind == Arrive && o.outcome == Unanswered {
				h.halfMoved(checkers[(to.number+len(checkers)-1)%len(checkers)], to, o)
			}
		}
		to.mu.Unlock()
	}
}

// halfMoved decides about one of them. It holds the lock of to; nobody else works.
func (h *History) halfMoved(from, to *checker, o *op) {
	for n, uid := range o.twin.uids {
		source, id := from.instances[place{o.twin.box, uid}], o.ids[n]
		if source == nil {
			continue
		}
		// Only where this operation alone can have brought it is it clear.
		births, there := 0, false
		for _, b := range to.loose {
			if b.id == id {
				births++
			}
		}
		for _, i := range to.instances {
			if i.id != id {
				continue
			}
			there = there || i.now != nil
			if i.before != nil || i.birth != nil && i.birth.op != o || len(i.removals) > 0 || i.now == nil {
				births = 2
			}
		}
		copies := 0
		for _, i := range from.instances {
			if i.id == id {
				copies++
			}
		}
		if births != 1 || copies != 1 {
			continue
		}
		alone := !slices.ContainsFunc(source.removals, func(r removal) bool { return r.op != o.twin && from.possiblyRemoves(source, r) })
		_, marked := from.possible(source, deleted, o.start, o.end)
		taken := slices.ContainsFunc(to.log, func(q *op) bool {
			return q.kind == Quit && slices.Contains(q.ids, id) || q.kind == Delete && q.name == o.name
		})
		switch {
		case source.now != nil && there:
			to.faulty("duplicate", []*op{o.twin, o}, "message %s is at %v of %s, and where a MOVE into another account put it, too", id, source.place, from.Name)
		case source.now == nil && !there && alone && !marked && !taken:
			to.faulty("lost", []*op{o.twin, o}, "message %s left %v of %s by a MOVE into another account that was not answered, and did not arrive", id, source.place, from.Name)
		}
	}
}
