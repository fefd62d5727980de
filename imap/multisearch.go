package imap

import (
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// maxSources bounds the mailboxes that one ESEARCH or NOTIFY names.
const maxSources = 1000

// sources say which mailboxes an ESEARCH searches (RFC 7377, 2.2).
type sources struct {
	selected   bool
	personal   bool
	subscribed bool
	mailboxes  []string
	subtrees   []string // with all that is below
	parents    []string // with what is one level below
}

// elsewhere tells whether other mailboxes than the selected one are named.
func (x *sources) elsewhere() bool {
	return x.personal || x.subscribed || len(x.mailboxes)+len(x.subtrees)+len(x.parents) > 0
}

// has tells whether an existing mailbox is among them; subscribed is that of the user.
func (x *sources) has(n *node) bool { return x.hasName(n.name, n.place.Foreign(), n.subscribed) }

// hasName tells whether a name is among them: one in another's account, one that the user
// is subscribed to.
func (x *sources) hasName(name string, foreign, subscribed bool) bool {
	for _, m := range x.mailboxes {
		if name == m {
			return true
		}
	}
	for _, top := range x.subtrees {
		if rest, ok := strings.CutPrefix(name, top); ok && (rest == "" || strings.HasPrefix(rest, store.Delimiter)) {
			return true
		}
	}
	for _, top := range x.parents {
		if name == top || above(name) == top {
			return true
		}
	}
	return x.personal && !foreign || x.subscribed && subscribed
}

// join adds those of y.
func (x *sources) join(y *sources) {
	x.personal, x.subscribed = x.personal || y.personal, x.subscribed || y.subscribed
	x.mailboxes = append(x.mailboxes, y.mailboxes...)
	x.subtrees = append(x.subtrees, y.subtrees...)
	x.parents = append(x.parents, y.parents...)
}

// beyond tells whether mailboxes of other accounts may be among them.
func (x *sources) beyond() bool {
	return x.subscribed || slices.ContainsFunc(slices.Concat(x.mailboxes, x.subtrees, x.parents), inNamespace)
}

// readSources reads the source options of ESEARCH, behind "IN".
//
//	esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"
//	source-mbox         = filter-mailboxes *(SP filter-mailboxes)
//	filter-mailboxes    = "selected" / "inboxes" / "personal" / "subscribed" /
//	                      ("subtree" / "subtree-one" / "mailboxes") SP one-or-more-mailbox
//	one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"
//
// No scope option is defined.
func (s *session) readSources() (x sources) {
	d := s.dec
	names := 0
	d.SP()
	d.List(func() {
		switch word := string(d.Word()); {
		case word == "SELECTED":
			x.selected = true
		case !s.readSource(&x, word, &names):
			d.Bad("unknown source of ESEARCH")
		}
	})
	if !x.selected && !x.elsewhere() {
		d.Bad("expected a source")
	}
	return x
}

// readSource reads what follows word, the first of a filter-mailboxes but "selected", and
// adds what it means; names counts the mailboxes that were named. false when there is no
// such word.
func (s *session) readSource(x *sources, word string, names *int) bool {
	d := s.dec
	var list *[]string
	switch word {
	case "INBOXES", "PERSONAL":
		// Messages can be delivered to all of them (RFC 5465, 6.3).
		x.personal = true
		return true
	case "SUBSCRIBED":
		x.subscribed = true
		return true
	case "SUBTREE":
		list = &x.subtrees
	case "SUBTREE-ONE":
		list = &x.parents
	case "MAILBOXES":
		list = &x.mailboxes
	default:
		return false
	}
	one := func() {
		if *names++; *names > maxSources {
			d.Fail(mail.Errorf(mail.KindLimit, "At most %d mailboxes can be named at once.", maxSources))
		}
		*list = append(*list, s.mailboxName())
	}
	d.SP()
	if d.Peek() != '(' {
		one()
		return true
	}
	before := *names
	d.List(one)
	if *names == before {
		d.Bad("expected a mailbox")
	}
	return true
}

// multiSearch is ESEARCH (RFC 7377, 2).
//
//	esearch = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program
func (s *session) multiSearch(r *request) error {
	d := s.dec
	in := sources{selected: true}
	d.SP()
	if d.TryWord("IN") {
		in = s.readSources()
		d.SP()
	}
	q, refused, err := readProgram(d, s.filters())
	if err != nil {
		return err
	}
	if !q.results.extended {
		q.results = searchResults{extended: true, all: true}
	}
	r.uid, r.text = true, "ESEARCH completed." // its numbers are UIDs
	switch o := &q.results; {
	case in.selected && s.mailbox == nil:
		return &wire.SyntaxError{Text: "No mailbox is selected."}
	case o.save && in.elsewhere():
		return &wire.SyntaxError{Text: "SAVE is for the selected mailbox alone."}
	case o.update && s.mailbox == nil:
		return &wire.SyntaxError{Text: "UPDATE needs a selected mailbox."}
	case o.update && s.context(r.tag) != nil:
		return errTagReused
	case q.seqs && s.uidOnly:
		return errUIDRequired
	case q.charset && s.utf8 && !s.rev2:
		return errCharsetNamed
	case refused != nil:
		if o.save {
			s.saved = nil
		}
		return refused
	}
	if q.modSeq {
		s.enableCondstore()
	}
	most := s.searchTime()
	m := &multiSearch{s: s, r: r, q: q, end: time.Now().Add(most), wait: most}
	var here *node
	if s.mailbox != nil {
		if here, err = s.selectedNode(in); err != nil {
			return err
		}
	}
	if err := m.search(in, here); err != nil {
		return err
	}
	switch {
	case in.selected || here != nil && in.has(here):
		name := s.mailboxAs
		if here != nil {
			name = here.name
		}
		return s.lookFor(r, q, nil, func(found *findings) error {
			s.writeFoundIn(r, q, found, name)
			return nil
		})
	case q.results.update:
		s.refuseUpdates(r.tag, "The selected mailbox is not searched.")
	}
	return nil
}

// selectedNode finds the selected mailbox, which may have another name now, among
// those of its account; nil when it is not there.
func (s *session) selectedNode(in sources) (*node, error) {
	in.personal = true
	if s.mailbox.Visit().Foreign() {
		in.subtrees = append(slices.Clone(in.subtrees), s.mailboxAs)
	}
	list, err := s.allMailboxes(in)
	for _, n := range list {
		if s.isSelected(n) {
			return n, err
		}
	}
	return nil, err
}

// isSelected tells whether a node is the selected mailbox.
func (s *session) isSelected(n *node) bool {
	return s.mailbox != nil && n.place.Account() == s.mailbox.Account() && n.record.ID == s.mailbox.Record().ID
}

// multiSearch is an ESEARCH at work in mailboxes that are not selected.
type multiSearch struct {
	s   *session
	r   *request
	q   *searching
	end time.Time // of the work; what is waited for turns puts it off
	// wait is how long turns may still be waited for.
	wait time.Duration
}

// search searches in all of in but skip, which may be nil. Mailboxes that do not
// exist, or that the user may not read, are passed over without a word.
func (m *multiSearch) search(in sources, skip *node) error {
	if !in.elsewhere() {
		return nil
	}
	s := m.s
	ctx, done := s.conn.Attend(s.ctx)
	defer done()
	list, err := s.allMailboxes(in)
	if err != nil {
		return err
	}
	for _, n := range list {
		if skip != nil && s.isSelected(n) {
			continue
		}
		box, err := n.place.Select(ctx, n.place.name, true)
		if err != nil {
			if kind := mail.KindOf(err); kind == mail.KindNotFound || kind == mail.KindNoPermission {
				continue
			}
			return err
		}
		q, found := m.q, newFindings(box.View())
		q.compare(s.collation.comparator)
		q.resolve(box.View(), nil, s.server.Store.Now())
		left := spell{time.Until(m.end), m.wait}
		if err = errSearchTime; left.work > 0 {
			found.progress = s.toil(m.r, uint64(found.view.Len()))
			err = s.server.find(ctx, box, q, found.view.All(), found, &left)
			found.progress.stop()
			m.end, m.wait = m.end.Add(m.wait-left.wait), left.wait
		}
		box.Close()
		if err != nil {
			return err
		}
		s.writeFoundIn(m.r, q, found, n.name)
		if s.enc.Err() != nil {
			return s.enc.Err()
		}
	}
	return nil
}

// allMailboxes gives the existing mailboxes of in, in the order of their names. Those
// that are hidden are found by their own name only.
func (s *session) allMailboxes(in sources) ([]*node, error) {
	var out []*node
	t, err := s.mailboxTree(false, in.beyond())
	if err != nil {
		return nil, err
	}
	for _, n := range t.nodes {
		if n.record != nil && in.has(n) {
			out = append(out, n)
		}
	}
	for _, name := range in.mailboxes {
		if t.byName[name] != nil {
			continue
		}
		p, err := s.place(name)
		if err != nil {
			if mail.KindOf(err) == mail.KindNotFound {
				continue
			}
			return nil, err
		}
		if record, _, ok := p.Mailbox(p.name); ok {
			n := t.add(name)
			n.record, n.place = &record, p
			out = append(out, n)
		}
	}
	return out, nil
}

// writeFoundIn writes what ESEARCH found in a mailbox, which is nothing when nothing
// was found (RFC 7377, 2.1); in the selected one it saves and follows it.
func (s *session) writeFoundIn(r *request, q *searching, f *findings, name string) {
	from := &origin{name, f.view.Mailbox.UIDValidity}
	some, _ := f.ends()
	if some != 0 {
		named := s.writeESearch(r, q, f, from)
		if q.results.save {
			s.saved = f.numbers(named, true)
		}
	} else if q.results.save {
		s.saved = nil
	}
	if q.results.update && s.mailbox != nil && f.view == s.mailbox.View() {
		s.follow(r, q, f, from)
	}
}

// origin is the mailbox of a result, in the answer to ESEARCH.
type origin struct {
	mailbox     string
	uidValidity mail.UIDValidity
}

// writeCorrelator begins an ESEARCH response; from is nil for other commands than
// ESEARCH.
//
//	search-correlator = SP "(" one-correlator *(SP one-correlator) ")"
//	one-correlator    = "TAG" SP tag-string / "MAILBOX" SP astring / "UIDVALIDITY" SP nz-number
func writeCorrelator(e *wire.Encoder, tag string, from *origin, uid bool) {
	e.Untagged().Const("ESEARCH (TAG ").String(tag)
	if from != nil {
		e.Const(" MAILBOX ").Mailbox(from.mailbox).Const(" UIDVALIDITY ").Number(uint64(from.uidValidity))
	}
	e.Close()
	if uid {
		e.Const(" UID")
	}
}
