package store

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/mail"
)

// messages gives what a snapshot holds, in order.
func (s *Snapshot) messages() []Message {
	var out []Message
	s.EachSeq(s.All(), func(_ uint32, m *Message) bool { out = append(out, *m); return true })
	return out
}

// TestSnapshot plays random changes on a snapshot and on a plain slice, with a
// session that polls now and then, with and without expunges, and checks that what
// it is told turns what it knew into what is there.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 3*chunkSize).Draw(rt, "n")
		var model []Message
		next, seq := mail.UID(1), mail.ModSeq(1)
		add := func(k int) []Message {
			var out []Message
			for range k {
				out = append(out, Message{UID: next, ModSeq: seq})
				next += mail.UID(1 + int(next)%3)
			}
			return out
		}
		model = add(n)
		head := newSnapshot(MailboxRecord{}, slices.Clone(model))
		box := &box{sessions: map[*Mailbox]struct{}{}}
		box.recentFrom.Store(1 << 31)
		session := &Mailbox{box: box, view: head, seen: head}
		known := slices.Clone(model) // what the client believes, by responses alone
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			seq++
			switch rapid.IntRange(0, 3).Draw(rt, "op") {
			case 0:
				more := add(rapid.IntRange(1, chunkSize+5).Draw(rt, "more"))
				model = append(model, more...)
				head = head.appended(MailboxRecord{}, more)
			case 1:
				var removed mail.NumSet
				from := rapid.IntRange(0, len(model)).Draw(rt, "from")
				every := rapid.IntRange(1, 50).Draw(rt, "every")
				left := slices.Clone(model[:from])
				for i := from; i < len(model); i++ {
					if (i-from)%every == 0 {
						removed.Add(uint32(model[i].UID))
					} else {
						left = append(left, model[i])
					}
				}
				model = left
				head = head.edited(MailboxRecord{}, nil, removed)
			case 2:
				var changed []Message
				model = slices.Clone(model)
				every := rapid.IntRange(1, 600).Draw(rt, "every")
				for i := rapid.IntRange(0, 5).Draw(rt, "at"); i < len(model); i += every {
					model[i].Flags ^= mail.Seen
					model[i].ModSeq = seq
					changed = append(changed, model[i])
				}
				head = head.edited(MailboxRecord{}, changed, nil)
			case 3:
				box.published.Store(&boxState{index: head})
				expunge := rapid.Bool().Draw(rt, "expunge")
				c := session.Poll(expunge)
				if !expunge && len(c.Expunged) > 0 {
					rt.Fatal("told of an expunge that it must not hear of")
				}
				for _, e := range c.Expunged {
					known = slices.Delete(known, int(e-1), int(e))
				}
				for i := len(known); i < session.view.Len(); i++ {
					known = append(known, *session.view.At(uint32(i + 1)))
				}
				for _, ch := range c.Changed {
					known[ch-1] = *session.view.At(ch)
				}
				if expunge && !slices.Equal(known, model) {
					rt.Fatalf("the client knows %d messages wrongly, %d are there", len(known), len(model))
				}
				if len(known) != session.view.Len() {
					rt.Fatalf("the client counts %d, the view %d", len(known), session.view.Len())
				}
				for i := range known {
					v := session.view.At(uint32(i + 1))
					if v.UID != known[i].UID || v.Flags != known[i].Flags {
						rt.Fatalf("at %d the client has %v, the view %v", i+1, known[i], *v)
					}
				}
			}
			if !slices.Equal(head.messages(), model) {
				rt.Fatalf("the snapshot differs from the model")
			}
			unseen := 1 + slices.IndexFunc(model, func(m Message) bool { return m.Flags&mail.Seen == 0 })
			if got := head.FirstUnseen(); int(got) != unseen {
				rt.Fatalf("FirstUnseen() = %d, is %d", got, unseen)
			}
			since := mail.ModSeq(rapid.IntRange(0, int(seq)).Draw(rt, "since"))
			var news []Message
			head.EachSince(since, func(n uint32, m *Message) bool {
				if head.At(n) != m {
					rt.Fatalf("EachSince says that %d has the number %d", m.UID, n)
				}
				news = append(news, *m)
				return true
			})
			if want := slices.DeleteFunc(slices.Clone(model), func(m Message) bool { return m.ModSeq <= since }); !slices.Equal(news, want) {
				rt.Fatalf("EachSince(%d) gives %d of %d messages", since, len(news), len(want))
			}
			for range 5 {
				uid := mail.UID(rapid.Uint32Range(1, uint32(next)).Draw(rt, "uid"))
				i, ok := slices.BinarySearchFunc(model, uid, func(m Message, u mail.UID) int { return int(m.UID) - int(u) })
				s, found := head.Seq(uid)
				if ok != found || ok && int(s) != i+1 {
					rt.Fatalf("Seq(%d) = %d, %v; is at %d, %v", uid, s, found, i+1, ok)
				}
			}
		}
		a := rapid.Uint32Range(1, uint32(next)).Draw(rt, "a")
		b := rapid.Uint32Range(1, uint32(next)).Draw(rt, "b")
		var set mail.NumSet
		set.AddRange(a, b)
		set.AddRange(a/2+1, a/2+1)
		var want mail.NumSet
		for _, m := range model {
			if set.Contains(uint32(m.UID)) {
				want.Add(uint32(m.UID))
			}
		}
		if got := head.UIDs(set); !slices.Equal(got, want) {
			rt.Fatalf("UIDs(%v) = %v, want %v", set, got, want)
		}
		if got := head.without(set); !slices.Equal(got, set.Subtract(want)) {
			rt.Fatalf("without(%v) = %v", set, got)
		}
		if got := head.UIDsOf(head.Seqs(set)); !slices.Equal(got, want) {
			rt.Fatalf("UIDsOf(Seqs(%v)) = %v, want %v", set, got, want)
		}
	})
}
