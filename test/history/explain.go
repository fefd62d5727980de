package history

import (
	"slices"
)

// names follows the mailboxes that come and go. One client alone makes, renames and
// deletes them, so what there is follows from its answers in their order.
func (c *checker) names() {
	at := map[string]uint32{}     // UIDVALIDITY by name; 0: not known
	doubtful := map[string]bool{} // names of operations that were not answered
	var all []uint32              // mailboxes that are there under some name
	events := []any{}
	for _, o := range c.log {
		if o.kind == Create || o.kind == Delete || o.kind == Rename {
			events = append(events, o)
		}
	}
	for _, t := range c.told {
		if t.client == namer {
			events = append(events, t)
		}
	}
	began := func(e any) int64 {
		if o, ok := e.(*op); ok {
			return o.start
		}
		return e.(told).start
	}
	slices.SortFunc(events, func(x, y any) int { return int(began(x) - began(y)) })
	for name, b := range c.base.boxes {
		at[name] = b.validity
	}
	for _, e := range events {
		if t, ok := e.(told); ok {
			switch box, exists := at[t.name]; {
			case doubtful[t.name]:
				if o := c.dead[t.box]; o != nil && o.outcome == Unanswered {
					delete(c.dead, t.box)
				}
			case exists && box == 0 && c.used[t.box]:
				c.faulty("UIDVALIDITY", c.naming(t.name), "%s was made with UIDVALIDITY %d, which was another's", t.name, t.box)
			case !exists:
				c.faulty("mailbox", c.naming(t.name), "%s is there, which was deleted or renamed", t.name)
			case box != 0 && box != t.box:
				c.faulty("UIDVALIDITY", c.naming(t.name), "%s had UIDVALIDITY %d and has %d", t.name, box, t.box)
			}
			at[t.name] = t.box
			c.used[t.box] = true
			continue
		}
		o := e.(*op)
		if o.outcome == Refused {
			continue
		}
		if o.outcome == Unanswered {
			doubtful[o.name] = true
			if o.kind == Rename {
				doubtful[o.newName] = true
			}
			if box := at[o.name]; o.kind == Delete && box != 0 {
				c.dead[box] = o
			}
			continue
		}
		switch o.kind {
		case Create:
			if _, exists := at[o.name]; exists && !doubtful[o.name] {
				c.faulty("mailbox", c.naming(o.name), "%s was created, and is there already", o.name)
			}
			at[o.name] = 0
		case Delete:
			if box := at[o.name]; box != 0 {
				c.dead[box] = o
			}
			delete(at, o.name)
		case Rename:
			at[o.newName] = at[o.name]
			delete(at, o.name)
		}
		delete(doubtful, o.name)
		delete(doubtful, o.newName)
	}
	for name, box := range at {
		if box != 0 && c.dead[box] == nil {
			all = append(all, box)
		}
		b := c.state.boxes[name]
		switch {
		case doubtful[name]:
		case b == nil:
			c.faulty("mailbox", c.naming(name), "%s is not there", name)
		case box != 0 && b.validity != box:
			c.faulty("UIDVALIDITY", c.naming(name), "%s had UIDVALIDITY %d and has %d", name, box, b.validity)
		}
	}
	for name, b := range c.state.boxes {
		if _, exists := at[name]; !exists && !doubtful[name] {
			c.faulty("mailbox", c.naming(name), "%s is there", name)
		}
		if !slices.Contains(all, b.validity) && c.used[b.validity] && !doubtful[name] {
			c.faulty("UIDVALIDITY", c.naming(name), "%s was made with UIDVALIDITY %d, which was another's", name, b.validity)
		}
		c.used[b.validity] = true
		c.calls(b.validity, b.objectID)
		for other, o := range c.state.boxes {
			if other < name && o.validity == b.validity {
				c.faulty("UIDVALIDITY", nil, "%s and %s have UIDVALIDITY %d both", name, other, b.validity)
			}
			if other < name && b.objectID != "" && o.objectID == b.objectID {
				c.faulty("MAILBOXID", nil, "%s and %s have MAILBOXID %s both", name, other, b.objectID)
			}
		}
	}
	// A mailbox that was renamed, or perhaps, has one of the two names.
	for _, box := range all {
		found := false
		for _, b := range c.state.boxes {
			found = found || b.validity == box
		}
		if !found {
			c.faulty("lost", nil, "the mailbox with UIDVALIDITY %d is gone", box)
		}
	}

}

// naming gives the operations that make, rename or delete the mailbox called name.
func (c *checker) naming(name string) []*op {
	var out []*op
	for _, o := range c.log {
		if (o.kind == Create || o.kind == Delete || o.kind == Rename) && (o.name == name || o.newName == name) {
			out = append(out, o)
		}
	}
	return out
}

// writers enters who changed flags.
func (c *checker) writers() {
	for _, i := range c.instances {
		for _, b := range i.origins {
			w := write{op: b.op, start: b.op.start, end: b.op.end, sure: len(i.origins) == 1, from: b.from, birth: true}
			if b.from == nil {
				w.set, w.clear = b.op.set, b.op.clear
			}
			i.writes = append(i.writes, w)
		}
	}
	for _, o := range c.log {
		switch o.kind {
		case Store, FetchBody:
			for _, uid := range o.uids {
				i := c.at(place{o.box, uid})
				// A refused STORE may have changed some of its messages.
				sure := o.outcome == Done && (o.kind == Store || slices.Contains(o.sure, uid))
				w := write{op: o, start: o.start, end: o.end, set: o.set, clear: o.clear, sure: sure}
				i.writes = append(i.writes, w)
			}
		case Retr:
			for _, i := range c.instances {
				if i.box == c.inbox() && slices.Contains(o.ids, i.id) {
					i.writes = append(i.writes, write{op: o, start: o.start, end: o.end, set: seen})
				}
			}
		}
	}
}

// possible tells which values a flag of an instance may have had between two times.
func (c *checker) possible(i *instance, flag flags, from, to int64) (off, on bool) {
	off, on = c.possibleWithin(i, flag, from, to, map[moment]bool{})
	if !off && !on {
		return true, true // each is perhaps a copy of another
	}
	return off, on
}

// moment is an instance at some time between two.
type moment struct {
	instance *instance
	from, to int64
}

// possibleWithin is possible, of what was not asked: two that may be copies of each other lead
// in a circle, and many of them by more ways than can be gone.
func (c *checker) possibleWithin(i *instance, flag flags, from, to int64, asked map[moment]bool) (off, on bool) {
	if asked[moment{i, from, to}] {
		return false, false
	}
	asked[moment{i, from, to}] = true
	touches := func(w *write) bool {
		return w.from != nil || w.op == nil || w.birth || (w.set|w.clear)&flag != 0
	}
	any := false
	for n := range i.writes {
		w := &i.writes[n]
		if w.start > to || !touches(w) {
			continue
		}
		over := false
		for m := range i.writes {
			v := &i.writes[m]
			if v.sure && v.start > w.end && v.end < from && touches(v) {
				over = true
				break
			}
		}
		if over {
			continue
		}
		any = true
		switch {
		case w.from != nil:
			x, y := c.possibleWithin(w.from, flag, w.start, w.end, asked)
			off, on = off || x, on || y
		case w.set&flag != 0:
			on = true
		case w.clear&flag != 0:
			off = true
		default: // it is not known with which it came
			off, on = true, true
		}
	}
	if !any {
		return true, true // where it came from is not known, which is said elsewhere
	}
	return off, on
}

// present compares what is there with what may be.
func (c *checker) present() {
	for _, p := range sortedPlaces(c.instances) {
		i := c.instances[p]
		_, wasSeen := c.seen[p]
		if i.now == nil {
			if i.before == nil && i.birth == nil && !wasSeen {
				continue // nobody knows whether it ever was
			}
			reason := slices.ContainsFunc(i.removals, func(r removal) bool { return c.possiblyRemoves(i, r) })
			if !reason {
				c.say("lost", i, "message %s at %v is gone, and nobody may have removed it", i.id, p)
			}
			continue
		}
		for _, r := range i.removals {
			if !r.sure {
				continue
			}
			if r.marked {
				if off, _ := c.possible(i, deleted, r.op.start, r.op.end); off {
					continue
				}
			}
			c.say("not removed", i, "message %s at %v is there, and %v was answered", i.id, p, r.op)
		}
		if _, told := c.gone[p]; told {
			c.say("back", i, "message %s at %v is there, and a client was told that it is gone", i.id, p)
		}
	}
}

func (c *checker) possiblyRemoves(i *instance, r removal) bool {
	if r.op.end < i.startOf() {
		return false
	}
	if !r.marked {
		return true
	}
	_, on := c.possible(i, deleted, r.op.start, r.op.end)
	return on
}

// startOf is when an instance may have come at the earliest.
func (i *instance) startOf() int64 {
	if len(i.origins) == 0 {
		return 0
	}
	start := i.origins[0].op.start
	for _, b := range i.origins[1:] {
		start = min(start, b.op.start)
	}
	return start
}

// class is copies of one message in one mailbox whose places nobody was told.
type class struct {
	id  string
	box uint32
}

// copies decides about what was not answered: of several messages all or none, and of
// MOVE each once.
func (c *checker) copies() {
	perhaps, found := map[class]int{}, map[class]int{}
	for _, b := range c.loose {
		k := class{b.id, b.box}
		perhaps[k]++
		if b.inst != nil {
			found[k]++
		}
	}
	groups := map[*op][]*birth{}
	var order []*op
	for _, b := range c.loose {
		if b.op.outcome != Unanswered || b.op.kind == Arrive { // see across
			continue
		}
		if groups[b.op] == nil {
			order = append(order, b.op)
		}
		groups[b.op] = append(groups[b.op], b)
	}
	for _, o := range order {
		yes, no := 0, 0
		for _, b := range groups[o] {
			k := class{b.id, b.box}
			clear := perhaps[k] == 1 && b.box != 0 && b.id != "" && !c.taken(b)
			if b.from != nil && found[k] == 0 {
				// A copy that is \Deleted goes with the next EXPUNGE, whoever sends it.
				_, marked := c.possible(b.from, deleted, o.start, o.end)
				clear = clear && !marked
			}
			if b.from != nil && clear {
				// Who else may have removed it explains that it was not copied.
				alone := !slices.ContainsFunc(b.from.removals, func(r removal) bool { return r.op != o && c.possiblyRemoves(b.from, r) })
				there := b.from.now != nil
				switch {
				case o.kind == Move && there && found[k] == 1:
					c.say("duplicate", b.from, "message %s is at %v, and where MOVE put it, too", b.id, b.from.place)
				case o.kind == Move && alone && !there && found[k] == 0:
					c.say("lost", b.from, "message %s left %v by a MOVE that was not answered, and did not arrive", b.id, b.from.place)
				}
				clear = alone
			}
			switch {
			case !clear:
			case found[k] > 0:
				yes++
			default:
				no++
			}
		}
		if yes > 0 && no > 0 && !(o.kind == Move && c.h.options.Partial) {
			c.faulty("half done", []*op{o}, "of what was not answered %d messages are there, and %d are not", yes, no)
		}
		if o.kind == Replace && len(o.uids) == 1 && yes+no == 1 {
			from := c.at(place{o.box, o.uids[0]})
			alone := !slices.ContainsFunc(from.removals, func(r removal) bool { return r.op != o && c.possiblyRemoves(from, r) })
			if yes == 1 && from.now != nil || no == 1 && from.now == nil && alone {
				c.say("half done", from, "REPLACE was not answered: the new message is there: %v, the old one: %v", yes == 1, from.now != nil)
			}
		}
	}
}

// flags compares every message's flags with those that its writers may have left.
func (c *checker) flags() {
	for _, p := range sortedPlaces(c.instances) {
		i := c.instances[p]
		if i.now == nil {
			continue
		}
		for bit := flags(1); bit < allFlags; bit <<= 1 {
			off, on := c.possible(i, bit, c.end, c.end)
			if has := i.now.flags&bit != 0; has && !on || !has && !off {
				c.say("flags", i, "message %s at %v has the flags (%v), and %v should be otherwise", i.id, p, i.now.flags, bit)
			}
		}
	}
	// What somebody was told to have changed stops every conditional STORE that begins
	// later and names a lower MODSEQ, of messages that are there.
	changes := map[place][]*op{}
	for _, o := range c.log {
		for uid := range o.told {
			changes[place{o.box, uid}] = append(changes[place{o.box, uid}], o)
		}
	}
	for _, o := range c.log {
		for uid, since := range o.since {
			i := c.at(place{o.box, uid})
			if o.outcome != Done || !slices.Contains(o.uids, uid) || slices.ContainsFunc(i.removals, func(r removal) bool { return r.op.start < o.end && c.possiblyRemoves(i, r) }) {
				continue
			}
			for _, other := range changes[place{o.box, uid}] {
				if at := other.told[uid]; other.end < o.start && at > since {
					c.faulty("UNCHANGEDSINCE", []*op{other, o}, "%d/%d was changed at MODSEQ %d, and then again by who knew it at %d", o.box, uid, at, since)
				}
			}
		}
	}
}

// order compares the UIDs and MODSEQs that were given with the order of the answers.
func (c *checker) order() {
	type birthday struct {
		start, end int64
		first, top uint32
		o          *op
	}
	births := map[uint32][]birthday{}
	for _, o := range c.log {
		if o.outcome != Done || len(o.toUIDs) == 0 {
			continue
		}
		if !slices.IsSorted(o.toUIDs) {
			c.faulty("UID order", []*op{o}, "the UIDs do not ascend")
		}
		births[o.to] = append(births[o.to], birthday{o.start, o.end, slices.Min(o.toUIDs), slices.Max(o.toUIDs), o})
		if d := c.dead[o.to]; d != nil && d.outcome == Done && d.end < o.start {
			c.faulty("mailbox", []*op{d, o}, "messages came into the mailbox with UIDVALIDITY %d, which was deleted", o.to)
		}
	}
	final := map[uint32]*boxState{}
	for _, b := range c.state.boxes {
		final[b.validity] = b
	}
	for _, b := range c.base.boxes {
		for _, x := range births[b.validity] {
			if x.first < b.uidNext {
				c.faulty("UIDNEXT", []*op{x.o}, "UIDNEXT was %d", b.uidNext)
			}
		}
		if now := final[b.validity]; now != nil && (now.uidNext < b.uidNext || now.highest < b.highest) {
			c.faulty("UIDNEXT", nil, "%s: UIDNEXT was %d and is %d, HIGHESTMODSEQ was %d and is %d", now.name, b.uidNext, now.uidNext, b.highest, now.highest)
		}
	}
	for _, list := range births {
		for _, x := range list {
			for _, y := range list {
				if x.end < y.start && x.top >= y.first {
					c.faulty("UID order", []*op{x.o, y.o}, "what came later has a lower UID")
				}
			}
		}
	}
	for n, t := range c.told {
		for _, x := range births[t.box] {
			switch {
			case x.end < t.start && x.top >= t.uidNext:
				c.faulty("UIDNEXT", []*op{x.o}, "%s was told UIDNEXT %d at [%d, %d]", t.name, t.uidNext, t.start, t.end)
			case t.end < x.start && x.first < t.uidNext:
				c.faulty("UIDNEXT", []*op{x.o}, "%s was told UIDNEXT %d at [%d, %d]", t.name, t.uidNext, t.start, t.end)
			}
		}
		for _, u := range c.told[:n] {
			if u.box != t.box {
				continue
			}
			a, b := u, t
			if b.end < a.start {
				a, b = b, a
			}
			if a.end < b.start && (b.uidNext < a.uidNext || a.highest > 0 && b.highest > 0 && b.highest < a.highest) {
				c.faulty("UIDNEXT", nil, "%s: UIDNEXT %d, HIGHESTMODSEQ %d was told at [%d, %d], and %d, %d at [%d, %d]",
					t.name, a.uidNext, a.highest, a.start, a.end, b.uidNext, b.highest, b.start, b.end)
			}
		}
		if now := final[t.box]; now != nil && (now.uidNext < t.uidNext || now.highest < t.highest) {
			c.faulty("UIDNEXT", nil, "%s: UIDNEXT was told as %d and is %d, HIGHESTMODSEQ as %d and is %d", t.name, t.uidNext, now.uidNext, t.highest, now.highest)
		}
	}
	for k := range c.states {
		if now := final[k.box]; now != nil && now.highest > 0 && now.highest < k.modSeq {
			c.faulty("MODSEQ", nil, "%s: HIGHESTMODSEQ is %d, and UID %d was told to have %d", now.name, now.highest, k.uid, k.modSeq)
		}
	}
	for _, b := range c.state.boxes {
		for n, m := range b.messages {
			if n > 0 && m.uid <= b.messages[n-1].uid {
				c.faulty("UID order", nil, "%s: UID %d stands behind %d", b.name, m.uid, b.messages[n-1].uid)
			}
			if m.uid >= b.uidNext {
				c.faulty("UIDNEXT", nil, "%s: UID %d is there, and UIDNEXT is %d", b.name, m.uid, b.uidNext)
			}
			if m.modSeq > b.highest && b.highest > 0 {
				c.faulty("MODSEQ", nil, "%s: UID %d has MODSEQ %d, and HIGHESTMODSEQ is %d", b.name, m.uid, m.modSeq, b.highest)
			}
			i := c.instances[place{b.validity, m.uid}]
			if i == nil || i.birth == nil || m.modSeq == 0 {
				continue
			}
			for _, t := range c.told {
				if t.box == b.validity && t.end < i.startOf() && t.highest >= m.modSeq {
					c.say("MODSEQ", i, "%v has MODSEQ %d, and HIGHESTMODSEQ was %d before it came", i.place, m.modSeq, t.highest)
					break
				}
			}
		}
	}
}

// drop compares what POP3 lists with the INBOX, and what QUIT removed with both.
func (c *checker) drop() {
	if c.state.listing == nil {
		return
	}
	inbox := c.state.boxes["INBOX"]
	there := map[string]bool{}
	for _, unique := range c.state.listing {
		there[unique] = true
	}
	var want, got []string
	for _, m := range inbox.messages {
		want = append(want, m.id)
	}
	got = slices.Clone(c.state.ids)
	if len(got) > 1 && len(want) == len(got) && got[0] == want[len(want)-1] && got[0] != want[0] {
		slices.Reverse(got) // the newest first
	}
	if !slices.Equal(got, want) {
		c.faulty("POP3", nil, "it lists the messages %v, and the INBOX has %v", got, want)
	} else {
		for n, m := range inbox.messages {
			p := place{inbox.validity, m.uid}
			if old, known := c.spots[p]; known && old != c.state.listing[n] {
				c.faulty("UIDL", nil, "%v had the unique-id %s and has %s", p, old, c.state.listing[n])
			}
			c.spots[p] = c.state.listing[n]
		}
	}
	for _, o := range c.log {
		if o.kind != Quit || o.outcome == Refused {
			continue
		}
		var left, gone []string
		for n, unique := range o.doomed {
			switch {
			case there[unique]:
				left = append(left, unique)
			case !c.elsewhere(o, unique, o.ids[n]):
				gone = append(gone, unique)
			}
		}
		if len(left) > 0 && (o.outcome == Done || len(gone) > 0) {
			c.faulty("POP3", []*op{o}, "QUIT left %v and removed %v", left, gone)
		}
	}
}

// elsewhere tells whether a message may have been removed by somebody else than QUIT.
func (c *checker) elsewhere(quit *op, unique, id string) bool {
	for _, i := range c.instances {
		if i.box != c.inbox() || i.id != id {
			continue
		}
		if spot, known := c.spots[i.place]; known && spot != unique {
			continue
		}
		if slices.ContainsFunc(i.removals, func(r removal) bool { return r.op != quit && c.possiblyRemoves(i, r) }) {
			return true
		}
	}
	return false
}

// counters compares what is counted with what is there.
func (c *checker) counters() {
	messages, bytes := int64(0), int64(0)
	dates := map[string]string{}
	for _, b := range c.state.boxes {
		size, unseen, marked := int64(0), int64(0), int64(0)
		for _, m := range b.messages {
			if m.flags&seen == 0 {
				unseen++
			}
			if m.flags&deleted != 0 {
				marked++
			}
			size += m.size
			if int64(len(m.body)) != m.size {
				c.faulty("content", nil, "%s: UID %d has %d bytes, and RFC822.SIZE is %d", b.name, m.uid, len(m.body), m.size)
			}
			if old, ok := dates[m.id]; ok && old != m.date && !c.repeated[m.id] {
				c.faulty("content", nil, "message %s has INTERNALDATE %s, and a copy has %s", m.id, old, m.date)
			}
			dates[m.id] = m.date
		}
		messages, bytes = messages+int64(len(b.messages)), bytes+size
		for _, count := range []struct {
			name        string
			told, there int64
		}{{"MESSAGES", b.count, int64(len(b.messages))}, {"UNSEEN", b.unseen, unseen}, {"DELETED", b.deleted, marked}, {"SIZE", b.size, size}} {
			if count.told >= 0 && count.told != count.there {
				c.faulty("counters", nil, "%s: STATUS tells %s %d, and %d is there", b.name, count.name, count.told, count.there)
			}
		}
	}
	if n, ok := c.state.quota["MESSAGE"]; ok && n != messages {
		c.faulty("quota", nil, "%d messages are counted, and %d are there", n, messages)
	}
	if n, ok := c.state.quota["STORAGE"]; ok && n != bytes/1024 && n != (bytes+1023)/1024 {
		c.faulty("quota", nil, "%d KiB are counted, and %d bytes are there", n, bytes)
	}
	if n, ok := c.state.quota["MAILBOX"]; ok && n != int64(len(c.state.boxes)) {
		c.faulty("quota", nil, "%d mailboxes are counted, and %d are there", n, len(c.state.boxes))
	}
}
