package imap

import (
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// maxContexts is how many searches of a session are followed at once.
	maxContexts = 8
	// maxFollowTime bounds what finding out the changes of one context may take.
	maxFollowTime = 10 * time.Second
	// agingTime is after how many seconds it is looked anew which messages have
	// become OLDER (RFC 5032, 2).
	agingTime = 60
)

// errTagReused refuses a context with the tag of another one (RFC 5267, 4.3).
var errTagReused = &wire.SyntaxError{Text: "This tag is that of a search that is followed."}

// searchContext is a search whose results the client follows: it asked for UPDATE
// (RFC 5267, 4.3). It lives as long as its mailbox is selected.
type searchContext struct {
	tag     string
	uid     bool    // the client is told UIDs
	from    *origin // of ESEARCH
	q       *searching
	results mail.NumSet // the UIDs that the client knows as results
	aged    int64       // when OLDER and YOUNGER were looked at, in Unix seconds
}

// context finds the context of a tag, nil when there is none.
func (s *session) context(tag string) *searchContext {
	for _, c := range s.contexts {
		if c.tag == tag {
			return c
		}
	}
	return nil
}

// follow makes a search that was answered a context, or says that there are too many.
func (s *session) follow(r *request, q *searching, found *findings, from *origin) {
	if len(s.contexts) >= maxContexts {
		s.refuseUpdates(r.tag, "Too many searches are followed.")
		return
	}
	// Sequence numbers, and the saved result, mean the messages of now.
	q.key.walk(func(k *searchKey) {
		if k.op == opSeqs && (!k.uids || k.set.Saved) {
			k.set, k.uids = wire.SeqSet{Set: found.view.UIDsOf(k.seqs)}, true
		}
	})
	s.contexts = append(s.contexts, &searchContext{
		tag: r.tag, uid: r.uid, from: from, q: q, results: found.numbers(found.set(), true), aged: s.server.Store.Now().Unix(),
	})
}

// refuseUpdates says that a search is not, or no longer, followed.
//
//	resp-text-code =/ "NOUPDATE" SP quoted
func (s *session) refuseUpdates(tag, why string) {
	s.enc.Untagged().Const("NO [NOUPDATE ").String(tag).Const("] ").RawString(why).CRLF()
}

// cancelUpdate is CANCELUPDATE (RFC 5267, 4.3.5). A tag that is not that of a
// context may be of one that the server ended.
//
//	command-select =/ "CANCELUPDATE" 1*(SP quoted)
func (s *session) cancelUpdate(*request) error {
	d := s.dec
	var tags []string
	for {
		d.SP()
		tags = append(tags, d.String())
		if d.AtEnd() {
			break
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	for _, tag := range tags {
		s.endContext(tag)
	}
	return nil
}

func (s *session) endContext(tag string) {
	var left []*searchContext
	for _, c := range s.contexts {
		if c.tag != tag {
			left = append(left, c)
		}
	}
	s.contexts = left
}

// tellRemoved tells of results that are expunged, before the client is told that
// they are; before is what it knows (RFC 5267, 4.3.4).
func (s *session) tellRemoved(before *store.Snapshot, vanished mail.NumSet) {
	for _, c := range s.contexts {
		c.tell(s.enc, before, c.results.Intersect(vanished), nil)
	}
}

// tellContexts tells what changed in the results, after the client was told of the
// changes in the mailbox, of which before is what it knew.
func (s *session) tellContexts(before *store.Snapshot, changes store.Changes) {
	view := s.mailbox.View()
	now := s.server.Store.Now()
	for _, c := range s.contexts {
		old, aged := c.q.ages, c.aged
		if old = old && now.Unix() >= aged+agingTime; old {
			c.aged = now.Unix()
		}
		if view == before && !old {
			continue
		}
		seqs := c.touched(before, view, changes)
		if old {
			seqs = seqs.Union(c.crossed(view, aged, now.Unix()))
		}
		if len(seqs) == 0 {
			continue
		}
		c.q.resolve(view, nil, now)
		found := newFindings(view)
		if err := find(s.ctx, s.mailbox, c.q, seqs, found, maxFollowTime); err != nil {
			s.refuseUpdates(c.tag, "The search is no longer followed: "+mail.TextOf(err))
			s.endContext(c.tag) // a new slice
			continue
		}
		var gone, come mail.NumSet
		view.EachSeq(seqs, func(seq uint32, m *store.Message) bool {
			switch is := found.has(seq); {
			case m.Gone || is == c.results.Contains(uint32(m.UID)):
			case is:
				come.Add(uint32(m.UID))
			default:
				gone.Add(uint32(m.UID))
			}
			return true
		})
		c.tell(s.enc, view, gone, come)
	}
}

// touched gives the sequence numbers of the messages that may have become results or
// ceased to be.
func (c *searchContext) touched(before, view *store.Snapshot, changes store.Changes) (seqs mail.NumSet) {
	if c.q.flags {
		for _, seq := range changes.Changed {
			seqs.Add(seq)
		}
	}
	known, last := lastUID(before), lastUID(view)
	if c.q.star && known != last {
		// What "*" means moved from one to the other.
		seqs = seqs.Union(view.Seqs(mail.UIDSet(known, last)))
	}
	if last > known {
		seqs = seqs.Union(view.Seqs(mail.NumSet{{First: uint32(known) + 1, Last: uint32(last)}}))
	}
	return seqs
}

// crossed gives the sequence numbers of the messages that OLDER or YOUNGER saw
// differently at then than now.
func (c *searchContext) crossed(view *store.Snapshot, then, now int64) (seqs mail.NumSet) {
	var intervals []int64
	c.q.key.walk(func(k *searchKey) {
		if k.op == opOlder || k.op == opYounger {
			intervals = append(intervals, int64(k.number))
		}
	})
	view.EachSeq(view.All(), func(seq uint32, m *store.Message) bool {
		for _, n := range intervals {
			if m.InternalDate >= then-n && m.InternalDate <= now-n {
				seqs.Add(seq)
				break
			}
		}
		return true
	})
	return seqs
}

// tell writes which UIDs of view left the results and which came, and notes it.
//
//	ret-data-removefrom = "REMOVEFROM" SP "(" context-position SP sequence-set ")"
//	ret-data-addto = "ADDTO" SP "(" context-position SP sequence-set ")"
//
// The position is 0: the results are in the order of the mailbox.
func (c *searchContext) tell(e *wire.Encoder, view *store.Snapshot, gone, come mail.NumSet) {
	if len(gone) == 0 && len(come) == 0 {
		return
	}
	c.results = c.results.Subtract(gone).Union(come)
	numbers := func(uids mail.NumSet) mail.NumSet {
		if c.uid {
			return uids
		}
		return view.Seqs(uids)
	}
	writeCorrelator(e, c.tag, c.from, c.uid)
	if len(gone) > 0 {
		e.Const(" REMOVEFROM (0 ").NumSet(numbers(gone)).Close()
	}
	if len(come) > 0 {
		e.Const(" ADDTO (0 ").NumSet(numbers(come)).Close()
	}
	e.CRLF()
}

// lastUID gives the highest UID of a view, 0 when it is empty.
func lastUID(view *store.Snapshot) mail.UID {
	if m := view.At(uint32(view.Len())); m != nil {
		return m.UID
	}
	return 0
}
