package imap

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// maxContexts is how many searches of a session are followed at once.
	maxContexts = 8
	// maxFollowed is of how many runs of messages the results of all of them may be:
	// each is 8 bytes, for as long as the mailbox is selected.
	maxFollowed = 1 << 17
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
	ranking *ranking    // of SORT, the order of results
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

// follow makes a search that was answered a context, or says that there are too many
// and gives nil.
func (s *session) follow(r *request, q *searching, found *findings, from *origin) *searchContext {
	if len(s.contexts) >= maxContexts {
		s.refuseUpdates(r.tag, "Too many searches are followed.")
		return nil
	}
	results := found.numbers(found.set(), true)
	runs := len(results)
	for _, c := range s.contexts {
		runs += len(c.results)
	}
	if runs > maxFollowed {
		s.refuseUpdates(r.tag, "Too many results are followed.")
		return nil
	}
	// Sequence numbers, and the saved result, mean the messages of now.
	q.key.walk(func(k *searchKey) {
		if k.op == opSeqs && (!k.uids || k.set.Saved) {
			k.set, k.uids = wire.SeqSet{Set: found.view.UIDsOf(k.seqs)}, true
		}
	})
	c := &searchContext{
		tag: r.tag, uid: r.uid, from: from, q: q, results: results, aged: s.server.Store.Now().Unix(),
	}
	s.contexts = append(s.contexts, c)
	return c
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
		gone := c.results.Intersect(vanished)
		if c.ranking == nil {
			c.tell(s.enc, before, gone, nil)
			continue
		}
		c.results = c.results.Subtract(gone)
		c.tellRanked(s.enc, before, c.ranking.remove(gone), nil)
	}
}

// tellContexts tells what changed in the results, after the client was told of the
// changes in the mailbox, of which before is what it knew.
func (s *session) tellContexts(before *store.Snapshot, changes store.Changes) {
	view := s.mailbox.View()
	now := s.server.Store.Now()
	var news []contextNews
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
		if err := s.server.find(s.ctx, s.mailbox, c.q, seqs, found, spellOf(maxFollowTime)); err != nil {
			s.giveUp(c, err)
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
		n := contextNews{searchContext: c, gone: gone, come: come}
		if c.ranking != nil {
			n.left = c.ranking.remove(gone)
			var err error
			if n.added, err = s.addRanked(c.ranking, come, found); err != nil {
				s.giveUp(c, err)
				continue
			}
		}
		news = append(news, n)
	}
	// RFC 5465, 7: FETCH before ESEARCH. What NOTIFY asked for comes behind it, with what
	// UPDATE asked for of the same messages (5.2).
	late := s.notify != nil && s.notify.fetch != nil
	if !late {
		s.fetchNew(before, news)
	}
	for _, n := range news {
		if n.ranking == nil {
			n.tell(s.enc, view, n.gone, n.come)
			continue
		}
		n.results = n.results.Subtract(n.gone).Union(n.come)
		n.tellRanked(s.enc, view, n.left, n.added)
	}
	if late {
		s.fetchNew(before, news)
	}
}

// contextNews are UIDs that left the results of a context, or came.
type contextNews struct {
	*searchContext
	gone, come  mail.NumSet
	left, added []placed // of a SORT, the same with their places
}

// fetchNew writes the FETCH responses that a client wants of messages that came since
// before: those that NOTIFY asks for, and of new results those that UPDATE asks for, of
// each message in one. It leaves out what the session brought itself.
func (s *session) fetchNew(before *store.Snapshot, news []contextNews) {
	view := s.mailbox.View()
	wanted := s.notify != nil && s.notify.fetch != nil || slices.ContainsFunc(news, func(n contextNews) bool { return n.q.results.fetch != nil })
	if !wanted || view.Mailbox.UIDNext <= before.Mailbox.UIDNext {
		return
	}
	came := mail.NumSet{{First: uint32(before.Mailbox.UIDNext), Last: uint32(view.Mailbox.UIDNext) - 1}}.Subtract(s.made)
	// The messages that are told with the same items follow each other.
	var run mail.NumSet
	var with int // bit i: news[i] has them
	write := func() bool {
		items := s.itemsOf(news, with)
		seqs := run
		run = nil
		if len(seqs) == 0 || len(items.items) == 0 {
			return true
		}
		w := &fetching{s: s, fetch: items, uid: s.tellsUID(), retells: s.retells(items), view: view, keywords: s.mailbox.Record().Keywords}
		err := w.writeAll(seqs)
		if err != nil {
			s.conn.Log().Warn("new messages are not told", "error", err)
		}
		return err == nil && s.enc.Err() == nil
	}
	view.EachUID(came, func(seq uint32, m *store.Message) bool {
		in := 0
		for i := range news {
			if news[i].q.results.fetch != nil && news[i].come.Contains(uint32(m.UID)) {
				in |= 1 << i
			}
		}
		if in != with && !write() {
			return false
		}
		with = in
		run.Add(seq)
		return true
	})
	write()
}

// itemsOf gives what is fetched of new messages that came into some of the contexts.
func (s *session) itemsOf(news []contextNews, with int) *fetch {
	f := &fetch{}
	join := func(g *fetch) {
		for i := range g.items {
			if f.find(&g.items[i]) < 0 {
				f.items = append(f.items, g.items[i])
			}
		}
	}
	if s.notify != nil && s.notify.fetch != nil {
		join(s.notify.fetch)
	}
	for i := range news {
		if with&(1<<i) != 0 {
			join(news[i].q.results.fetch)
		}
	}
	if s.condstore && len(f.items) > 0 {
		join(&fetch{items: []fetchItem{{kind: itemModSeq, label: "MODSEQ "}}}) // RFC 7162, 3.1
	}
	return f
}

// giveUp ends a context whose changes could not be found.
func (s *session) giveUp(c *searchContext, err error) {
	s.refuseUpdates(c.tag, "The search is no longer followed: "+mail.TextOf(err))
	s.endContext(c.tag) // a new slice
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
