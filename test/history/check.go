package history

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Check reads all that the server holds, says what no order of the operations since the
// last Check explains, and takes what is there as the beginning of the next life. The error
// says that it cannot be read.
func (h *History) Check(ctx context.Context) ([]Fault, error) {
	var checkers []*checker
	for _, a := range h.accounts {
		c, err := a.examine(ctx)
		if err != nil {
			return nil, err
		}
		checkers = append(checkers, c)
	}
	h.across(checkers)
	var faults []Fault
	for _, c := range checkers {
		faults = append(faults, c.finish()...)
	}
	return faults, nil
}

// examine is Check of one account; finish gives the faults.
func (a *account) examine(ctx context.Context) (*checker, error) {
	state, err := a.read(ctx)
	if err == nil {
		err = a.resync(state)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name, err)
	}
	return a.check(state), nil
}

// check decides whether the operations explain what the account holds.
func (a *account) check(state *accountState) *checker {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := newChecker(a, state)
	c.names()
	c.births()
	c.attach()
	c.writers()
	c.removals()
	c.present()
	c.copies()
	c.flags()
	c.order()
	c.drop()
	c.counters()
	c.values()
	c.rights()
	c.counts()
	c.quota()
	return c
}

// finish begins the next life, and gives the faults.
func (c *checker) finish() []Fault {
	a, state := c.account, c.state
	a.mu.Lock()
	defer a.mu.Unlock()
	a.base = state
	ids := map[string]bool{}
	for _, b := range state.boxes {
		for _, m := range b.messages {
			m.body = ""
			ids[m.id] = true
		}
	}
	maps.DeleteFunc(a.texts, func(id string, _ text) bool { return !ids[id] })
	maps.DeleteFunc(a.repeated, func(id string, _ bool) bool { return !ids[id] })
	maps.DeleteFunc(a.emails, func(id string, given identity) bool { return !ids[id] })
	maps.DeleteFunc(a.owners, func(_, id string) bool { return !ids[id] })
	maps.DeleteFunc(a.drops, func(unique string, _ string) bool { return !slices.Contains(state.listing, unique) })
	maps.DeleteFunc(a.spots, func(p place, _ string) bool { return c.instances[p] == nil || c.instances[p].now == nil })
	if len(a.quit) > 10000 {
		clear(a.quit)
	}
	a.forget()
	faults := a.faults
	a.faults = nil
	return faults
}

// checker is one check.
type checker struct {
	*account
	state *accountState
	end   int64

	instances map[place]*instance
	loose     []*birth // whose place is not known
	dead      map[uint32]*op
	registers map[string]*register
}

// instance is one copy of a message.
type instance struct {
	place
	id     string
	before *message // when the life began
	now    *message
	birth  *birth
	births int // how many operations claim it
	// Where nobody was told its place, all by which it may have come: of two operations that
	// were not answered one may have happened, and of two copies one may be gone again. By
	// its id nobody can tell which.
	origins []*birth

	writes   []write
	removals []removal

	// See span.
	spanned     bool
	mayGo, gone int64
}

// birth is one message that one operation brings.
type birth struct {
	op   *op
	i    int // which of them
	id   string
	box  uint32    // 0: not known
	from *instance // of COPY and MOVE
	inst *instance // nil: not found
}

func (b *birth) sure() bool { return b.op.outcome == Done }

// write is a change of flags.
type write struct {
	op         *op // nil: when the life began
	start, end int64
	set, clear flags
	from       *instance // the flags are those that it had then
	sure       bool
	birth      bool // by it the instance came
}

// removal is a reason for a message to be gone.
type removal struct {
	op     *op
	sure   bool
	marked bool // if it had \Deleted
}

func newChecker(a *account, state *accountState) *checker {
	c := &checker{account: a, state: state, end: a.h.tick(), instances: map[place]*instance{}, dead: map[uint32]*op{}, registers: map[string]*register{}}
	for _, b := range a.base.boxes {
		for _, m := range b.messages {
			i := c.at(place{b.validity, m.uid})
			i.id, i.before = m.id, m
			i.writes = append(i.writes, write{start: a.h.began, end: a.h.began, set: m.flags, clear: allFlags &^ m.flags, sure: true})
		}
	}
	for _, b := range state.boxes {
		for _, m := range b.messages {
			i := c.at(place{b.validity, m.uid})
			if i.before != nil && i.id != m.id {
				c.say("UID reused", i, "%v was message %s and is %s", i.place, i.id, m.id)
			}
			i.id, i.now = m.id, m
			c.compareLocked(m.id, m.body, fmt.Sprintf("%s, UID %d", b.name, m.uid))
			c.named(m.id, m.given)
			if m.modSeq != 0 {
				c.account.at(i.place, m.modSeq, m.flags)
			}
		}
	}
	for p, id := range a.seen {
		i := c.at(p)
		if i.id != "" && i.id != id {
			c.say("UID reused", i, "%v was message %s and is %s", p, id, i.id)
		}
		i.id = id
	}
	return c
}

func (c *checker) at(p place) *instance {
	i := c.instances[p]
	if i == nil {
		i = &instance{place: p}
		c.instances[p] = i
	}
	return i
}

// say notes a fault about an instance, with all that was done to it.
func (c *checker) say(kind string, i *instance, format string, args ...any) {
	ops := c.about(i.place)
	for _, o := range c.log {
		if slices.Contains(o.ids, i.id) && !slices.Contains(ops, o) {
			ops = append(ops, o)
		}
	}
	for _, b := range i.origins {
		if !slices.Contains(ops, b.op) {
			ops = append(ops, b.op)
		}
	}
	slices.SortFunc(ops, func(x, y *op) int { return int(x.start - y.start) })
	c.faulty(kind, ops, format, args...)
}

// inbox is the INBOX's UIDVALIDITY.
func (c *checker) inbox() uint32 { return c.boxOf("INBOX") }

// boxOf gives the UIDVALIDITY of a mailbox that does not come and go; 0 of others.
func (c *checker) boxOf(name string) uint32 {
	if b := c.base.boxes[name]; b != nil && slices.Contains(c.stable, name) {
		return b.validity
	}
	return 0
}

// births enters what operations brought.
func (c *checker) births() {
	for _, o := range c.log {
		if o.outcome == Refused {
			continue
		}
		switch o.kind {
		case Deliver, Append, Replace, Arrive:
			for i, id := range o.ids {
				b := &birth{op: o, i: i, id: id, box: c.boxOf(o.name)}
				if len(o.toUIDs) == len(o.ids) {
					c.place(b, place{o.to, o.toUIDs[i]})
				} else {
					if len(o.toUIDs) > 0 {
						c.faulty("APPENDUID", []*op{o}, "%d messages came, and it names %d", len(o.ids), len(o.toUIDs))
					}
					c.loose = append(c.loose, b)
				}
			}
		case Copy, Move:
			if o.outcome == Done && len(o.uids) != len(o.toUIDs) {
				c.faulty("COPYUID", []*op{o}, "its sets are not of the same size")
				continue
			}
			for i, uid := range o.uids {
				b := &birth{op: o, i: i, box: c.boxOf(o.name), from: c.at(place{o.box, uid})}
				if o.outcome == Done {
					c.place(b, place{o.to, o.toUIDs[i]})
				} else {
					c.loose = append(c.loose, b)
				}
			}
		}
	}
	// Which message a COPY brought is known from either end.
	for again := true; again; {
		again = false
		for _, i := range c.instances {
			if i.birth == nil || i.birth.from == nil || i.id == i.birth.from.id {
				continue
			}
			switch from := i.birth.from; {
			case i.id == "":
				i.id, again = from.id, true
			case from.id == "":
				from.id, again = i.id, true
			default:
				c.say("content", i, "%v is a copy of %v (message %s) and message %s", i.place, from.place, from.id, i.id)
				from.id = i.id
			}
		}
	}
	for _, b := range c.loose {
		if b.from != nil {
			b.id = b.from.id
		}
	}
}

// place enters a birth whose place was told.
func (c *checker) place(b *birth, p place) {
	i := c.at(p)
	i.births++
	if i.births > 1 || i.before != nil {
		c.say("UID reused", i, "%v was given out again", p)
		return
	}
	if b.id != "" {
		if i.id != "" && i.id != b.id {
			c.say("content", i, "%v is message %s, and not %s as was told", p, i.id, b.id)
		}
		i.id = b.id
	}
	b.inst, i.birth = i, b
	i.origins = []*birth{b}
}

// attach finds out where the messages came from of whose arrival nobody was told: they
// belong to deliveries, and to what was not answered.
func (c *checker) attach() {
	// Copies count against births of the same message in the same mailbox; the
	// acknowledged ones first, and what names no mailbox last.
	order := slices.Clone(c.loose)
	slices.SortStableFunc(order, func(x, y *birth) int {
		rank := func(b *birth) int {
			n := 0
			if !b.sure() {
				n = 2
			}
			if b.box == 0 {
				n++
			}
			return n
		}
		return rank(x) - rank(y)
	})
	for _, p := range sortedPlaces(c.instances) {
		i := c.instances[p]
		if i.before != nil || i.birth != nil || i.births > 0 {
			continue
		}
		for _, b := range order {
			if b.inst == nil && b.id == i.id && i.id != "" && (b.box == 0 || b.box == i.box) {
				b.inst, i.birth = i, b
				i.origins = c.origins(b, i.place)
				break
			}
		}
		if i.birth != nil {
			continue
		}
		if _, known := c.texts[i.id]; known {
			c.say("duplicate", i, "message %s is once more at %v, where nothing that was answered or may have happened put it", i.id, i.place)
		} else if i.now != nil {
			c.say("duplicate", i, "message %q at %v was never sent, or was gone", i.id, i.place)
		}
	}
	for _, b := range c.loose {
		if b.inst == nil && b.sure() && !c.taken(b) {
			c.faulty("lost", c.of(b), "message %s was acknowledged and is nowhere", b.id)
		}
	}
}

// origins gives the births that may have brought to a place what b did.
func (c *checker) origins(b *birth, p place) []*birth {
	var out []*birth
	for _, other := range c.loose {
		if other.id == b.id && (other.box == 0 || other.box == p.box) {
			out = append(out, other)
		}
	}
	return out
}

// taken tells whether a message that nobody saw by IMAP may have been removed all the same.
func (c *checker) taken(b *birth) bool {
	for _, o := range c.log {
		if o.outcome != Refused && o.kind == Quit && slices.Contains(o.ids, b.id) {
			return true
		}
		if o.outcome != Refused && o.kind == Delete && o.name == b.op.name {
			return true
		}
	}
	return false
}

// of gives the operations that name a message.
func (c *checker) of(b *birth) []*op {
	var out []*op
	for _, o := range c.log {
		if slices.Contains(o.ids, b.id) {
			out = append(out, o)
		}
	}
	return out
}

func sortedPlaces(m map[place]*instance) []place {
	return slices.SortedFunc(maps.Keys(m), func(x, y place) int {
		if x.box != y.box {
			return int(int64(x.box) - int64(y.box))
		}
		return int(int64(x.uid) - int64(y.uid))
	})
}

// removals enters what may have removed messages, and what has.
func (c *checker) removals() {
	byBox := map[uint32][]*instance{}
	for _, p := range sortedPlaces(c.instances) {
		byBox[p.box] = append(byBox[p.box], c.instances[p])
	}
	for box, o := range c.dead {
		for _, i := range byBox[box] {
			i.removals = append(i.removals, removal{op: o, sure: o.outcome == Done})
		}
	}
	for _, o := range c.log {
		if o.outcome == Refused {
			continue
		}
		done := o.outcome == Done
		switch o.kind {
		case Move, Replace, Leave:
			for _, uid := range o.uids {
				i := c.at(place{o.box, uid})
				for _, r := range i.removals {
					if moves := []Kind{Move, Leave}; done && r.sure && slices.Contains(moves, r.op.kind) && slices.Contains(moves, o.kind) {
						c.say("moved twice", i, "message %s at %v was moved twice", i.id, i.place)
					}
				}
				i.removals = append(i.removals, removal{op: o, sure: done})
			}
		case Expunge, Close, UIDExpunge:
			for _, i := range byBox[o.box] {
				if o.kind == UIDExpunge && !slices.Contains(o.uids, i.uid) {
					continue
				}
				i.removals = append(i.removals, removal{op: o, sure: done && slices.Contains(o.sure, i.uid), marked: true})
			}
		case Quit:
			for n, unique := range o.doomed {
				for _, i := range byBox[c.inbox()] {
					switch spot, known := c.spots[i.place]; {
					case known && spot == unique:
						i.removals = append(i.removals, removal{op: o, sure: done})
					case !known && i.id == o.ids[n]:
						i.removals = append(i.removals, removal{op: o})
					}
				}
			}
		}
	}
}
