package history

import "slices"

// grown is how much larger a delivery may make a message by fields of its own.
const grown = 4096

// span finds out when an instance may have gone at the earliest, and when it had at the
// latest.
func (c *checker) span(i *instance) {
	if i.spanned {
		return
	}
	i.spanned, i.mayGo, i.gone = true, forever, forever
	for _, r := range i.removals {
		if !c.possiblyRemoves(i, r) {
			continue
		}
		i.mayGo = min(i.mayGo, r.op.start)
		if !r.sure {
			continue
		}
		if r.marked {
			if off, _ := c.possible(i, deleted, r.op.start, r.op.end); off {
				continue
			}
		}
		i.gone = min(i.gone, r.op.end)
	}
}

// certain tells that an instance was there all the time between two times.
func (c *checker) certain(i *instance, from, to int64) bool {
	if i.before == nil && (i.birth == nil || slices.ContainsFunc(i.origins, func(b *birth) bool { return !b.sure() || b.op.end >= from })) {
		return false
	}
	c.span(i)
	return i.mayGo > to
}

// perhaps tells that an instance may have been there at some time between two.
func (c *checker) perhaps(i *instance, from, to int64) bool {
	if i.startOf() > to {
		return false
	}
	c.span(i)
	return i.gone >= from
}

// size gives how large an instance is at least and at most.
func (c *checker) size(i *instance) (low, high int64) {
	if i.now != nil {
		return i.now.size, i.now.size
	}
	if i.before != nil {
		return i.before.size, i.before.size
	}
	if t, known := c.texts[i.id]; known {
		return int64(t.size), int64(t.size) + grown
	}
	return 0, 64 << 10
}

// counts compares what STATUS told in between with what may have been there then.
func (c *checker) counts() {
	byBox := map[uint32][]*instance{}
	for _, p := range sortedPlaces(c.instances) {
		byBox[p.box] = append(byBox[p.box], c.instances[p])
	}
	for _, t := range c.told {
		if !t.counted || c.dead[t.box] != nil {
			continue
		}
		var least, most, leastUnseen, mostUnseen int64
		for _, i := range byBox[t.box] {
			if !c.perhaps(i, t.start, t.end) {
				continue
			}
			most++
			off, on := c.possible(i, seen, t.start, t.end)
			if off {
				mostUnseen++
			}
			if c.certain(i, t.start, t.end) {
				least++
				if !on {
					leastUnseen++
				}
			}
		}
		for _, b := range c.loose {
			if b.inst == nil && (b.box == 0 || b.box == t.box) && b.op.start <= t.end {
				most, mostUnseen = most+1, mostUnseen+1
			}
		}
		if t.count < least || t.count > most || t.unseen < leastUnseen || t.unseen > mostUnseen {
			c.faulty("counters", nil, "%s: STATUS told %d messages, %d unseen at [%d, %d], and there were %d to %d, %d to %d unseen",
				t.name, t.count, t.unseen, t.start, t.end, least, most, leastUnseen, mostUnseen)
		}
	}
}

// quota asks of each refusal whether the account may have been full, of what was taken
// whether there was room, and of the end whether the quota is kept.
func (c *checker) quota() {
	q := c.h.options.Quotas[c.Name]
	beyond := func(bytes, count int64) bool {
		return q.Bytes > 0 && bytes > q.Bytes || q.Messages > 0 && count > q.Messages
	}
	for _, o := range c.log {
		var needLow, needHigh int64
		count := o.count
		switch o.kind {
		case Copy:
			count = int64(len(o.uids))
			for _, uid := range o.uids {
				low, high := c.size(c.at(place{o.box, uid}))
				needLow, needHigh = needLow+low, needHigh+high
			}
		case Append, Replace, Deliver, Arrive:
			needLow, needHigh = o.bytes, o.bytes
			if o.kind == Deliver || o.kind == Arrive {
				needHigh += grown * max(count, 1)
			}
		default:
			if o.full {
				c.faulty("quota", []*op{o}, "it brings nothing, and was refused for the quota")
			}
			continue
		}
		switch {
		case o.full:
			bytes, messages := needHigh, count
			for _, i := range c.instances {
				if c.perhaps(i, o.start, o.end) {
					_, high := c.size(i)
					bytes, messages = bytes+high, messages+1
				}
			}
			for _, b := range c.loose {
				if b.inst == nil && b.op.start <= o.end {
					bytes, messages = bytes+int64(c.texts[b.id].size)+grown, messages+1
				}
			}
			if !beyond(bytes, messages) {
				c.faulty("quota", []*op{o}, "it was refused for the quota of %+v, and there were at most %d bytes, %d messages with it", q, bytes, messages)
			}
			c.h.counts.overquota.Add(1)
		case o.outcome == Done && o.kind != Replace && (q.Bytes > 0 || q.Messages > 0):
			bytes, messages := needLow, count
			for _, i := range c.instances {
				if c.certain(i, o.start, o.end) {
					low, _ := c.size(i)
					bytes, messages = bytes+low, messages+1
				}
			}
			if beyond(bytes, messages) {
				c.faulty("quota", []*op{o}, "it was taken beyond the quota of %+v: there were at least %d bytes, %d messages with it", q, bytes, messages)
			}
		}
	}
	var bytes, messages int64
	for _, b := range c.state.boxes {
		for _, m := range b.messages {
			bytes, messages = bytes+m.size, messages+1
		}
	}
	if beyond(bytes, messages) {
		c.faulty("quota", nil, "there are %d bytes, %d messages, beyond the quota of %+v", bytes, messages, q)
	}
}
