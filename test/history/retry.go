package history

import (
	"crypto/sha256"
	"slices"

	"github.com/postern-mail/postern/test/imapview"
)

// retry sends an APPEND again whose answer did not come, as clients do: some look first
// whether it has happened.
func (x *session) retry() error {
	o, rest := x.slot.again, x.slot.text
	x.slot.again = nil
	if o == nil || x.guest != nil || x.rng.IntN(3) == 0 {
		return nil
	}
	id := o.ids[0]
	if x.rng.IntN(2) == 0 && slices.Contains(x.a.stable, o.name) {
		if err := x.open(o.name); err != nil {
			return err
		}
		reply, err := x.must("UID SEARCH HEADER X-History " + id)
		if err != nil || len(searched(reply)) > 0 {
			return err
		}
	}
	message := rest[len(rest)-int(o.bytes):]
	x.a.mu.Lock()
	x.a.texts[id], x.a.repeated[id] = text{sha256.Sum256([]byte(message)), len(message)}, true
	x.a.mu.Unlock()
	x.a.h.counts.retried.Add(1)
	next := &op{kind: Append, name: o.name, ids: o.ids, set: o.set, clear: o.clear, bytes: o.bytes, count: 1}
	x.slot.again, x.slot.text = next, rest
	_, err := x.act(next, "APPEND "+x.wire(o.name)+rest, func(reply imapview.Reply) { next.placed(reply.Code) })
	if err == nil {
		x.slot.again = nil
	}
	return err
}
