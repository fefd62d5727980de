package imap

import (
	"context"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// NOTIFY (RFC 5465): the client says which events in which mailboxes it wants to hear of,
// and hears of them at any time, also between its commands. The selected mailbox is told
// as in IDLE; of all others a store.Watch gathers what happens. A session that waits for
// events waits as every idle one does, without buffers and soon without a goroutine.

const (
	// maxEventGroups bounds the groups of one NOTIFY.
	maxEventGroups = 50
	// maxWatched bounds the accounts of others that one session watches.
	maxWatched = 100
	// maxBarred bounds the mailboxes of which it is noted that they were told as \NoAccess.
	maxBarred = 1000

	// overflow is the response code for what is too much (RFC 5465, 5.8).
	overflow = "NOTIFICATIONOVERFLOW"
)

// eventSet is a set of the events of RFC 5465, 5.
type eventSet uint8

const (
	onMessageNew eventSet = 1 << iota
	onMessageExpunge
	onFlagChange
	onAnnotation
	onMailboxName
	onSubscription
	onMetadata
	onServerMetadata

	onArrivals = onMessageNew | onMessageExpunge // MessageNew and MessageExpunge stand together
	onChanges  = onFlagChange | onAnnotation     // which say nothing alone
	onMessages = onArrivals | onChanges
)

// notifyEvent is a row of the table of events. Without its capability an event is not
// supported.
type notifyEvent struct {
	name       string
	event      eventSet
	capability string
}

// notifyEvents lists them.
var notifyEvents = []notifyEvent{
	{"MessageNew", onMessageNew, "NOTIFY"},
	{"MessageExpunge", onMessageExpunge, "NOTIFY"},
	{"FlagChange", onFlagChange, "NOTIFY"},
	{"AnnotationChange", onAnnotation, "ANNOTATE-EXPERIMENT-1"},
	{"MailboxName", onMailboxName, "NOTIFY"},
	{"SubscriptionChange", onSubscription, "NOTIFY"},
	{"MailboxMetadataChange", onMetadata, "METADATA"},
	{"ServerMetadataChange", onServerMetadata, "METADATA"},
}

// eventsOf gives the events that what happens is told for.
func eventsOf(what store.Happening) (events eventSet) {
	for _, row := range []struct {
		what   store.Happening
		events eventSet
	}{
		{store.MessagesCame, onArrivals},
		{store.MessagesWent, onArrivals},
		{store.FlagsChanged, onChanges},
		{store.UnseenChanged, onFlagChange},
		// A new UIDVALIDITY is told to who asks for FlagChange (RFC 5465, 5.1).
		{store.MailboxCreated | store.MailboxRenamed, onMailboxName | onFlagChange},
		{store.MailboxDeleted, onMailboxName},
		{store.RightsChanged, onMessages | onMailboxName | onMetadata},
		{store.SubscriptionChanged, onSubscription},
		{store.MetadataChanged, onMetadata | onServerMetadata},
	} {
		if what&row.what != 0 {
			events |= row.events
		}
	}
	return events
}

// notifying is what a session is to be told of. All but barred stays as it is.
type notifying struct {
	asked    bool     // by NOTIFY, which then decides about the selected mailbox, too; else by ENABLE METADATA
	selected eventSet // of the selected mailbox
	delayed  bool     // its EXPUNGE waits for a command that permits it
	fetch    *fetch   // of its new messages; nil: only that they are there

	groups []eventGroup // of other mailboxes
	own    mail.AccountID
	watch  *store.Watch    // of groups; nil without any
	before context.Context // the session's, without the watch

	barred map[string]bool // mailboxes that were told as \NoAccess
}

// eventGroup are events in some mailboxes.
type eventGroup struct {
	in     sources
	events eventSet
}

// on gives the events that are wanted of a name; hidden tells whether lists leave it out.
func (n *notifying) on(name string, foreign, subscribed, hidden bool) (events eventSet) {
	for i := range n.groups {
		if g := &n.groups[i]; g.in.hasName(name, foreign, subscribed) && (!hidden || slices.Contains(g.in.mailboxes, name)) {
			events |= g.events
		}
	}
	return events
}

// wants is the watch's. It may say yes to more than is told.
func (n *notifying) wants(e *store.Event) bool {
	wanted := eventsOf(e.What)
	for i := range n.groups {
		g := &n.groups[i]
		switch {
		case e.What == store.SubscriptionChanged && g.in.subscribed:
			return true
		case g.events&wanted == 0, e.What == store.RightsChanged && e.Account == n.own:
		case e.Account != n.own, e.Mailbox == 0, g.in.subscribed, g.in.hasName(e.Name, false, false):
			return true
		case e.What == store.MailboxRenamed && g.in.hasName(e.OldName, false, false):
			return true
		case e.What&(store.MailboxCreated|store.MailboxDeleted) != 0 && g.in.hasName(above(e.Name), false, false):
			return true
		}
	}
	return false
}

// beyond tells whether mailboxes of others may be among those that are watched, now that
// these names are subscribed.
func (n *notifying) beyond(subscriptions []string) bool {
	for i := range n.groups {
		in := &n.groups[i].in
		if slices.ContainsFunc(in.mailboxes, inNamespace) || slices.ContainsFunc(in.subtrees, inNamespace) ||
			in.subscribed && slices.ContainsFunc(subscriptions, inNamespace) {
			return true
		}
	}
	return false
}

// reaches tells whether a name that begins with prefix may be among those.
func (n *notifying) reaches(prefix string, subscriptions []string) bool {
	begins := func(name string) bool { return strings.HasPrefix(name, prefix) }
	for i := range n.groups {
		in := &n.groups[i].in
		if slices.ContainsFunc(in.mailboxes, begins) || in.subscribed && slices.ContainsFunc(subscriptions, begins) ||
			slices.ContainsFunc(in.subtrees, func(name string) bool {
				return begins(name+store.Delimiter) || strings.HasPrefix(prefix, name+store.Delimiter)
			}) {
			return true
		}
	}
	return false
}

// close ends the watch.
func (n *notifying) close() {
	if n != nil && n.watch != nil {
		n.watch.Close()
	}
}

// errUnknownEvent is in place of a NOTIFY that names an event which is none here.
var errUnknownEvent = mail.Errorf(mail.KindCannot, "Not all of these events are told here.")

// notifyReader reads a NOTIFY.
type notifyReader struct {
	s       *session
	n       *notifying
	chosen  bool // SELECTED or SELECTED-DELAYED was given
	names   int
	unknown bool // an event is not known
}

// readNotify reads the arguments of NOTIFY.
//
//	notify           = "NOTIFY" SP (notify-set / notify-none)
//	notify-set       = "SET" [status-indicator] SP event-groups
//	notify-none      = "NONE"
//	status-indicator = SP "STATUS"
//	event-groups     = event-group *(SP event-group)
func (s *session) readNotify() (n *notifying, set, status bool, err error) {
	d := s.dec
	p := &notifyReader{s: s, n: &notifying{asked: true, own: s.account.ID()}}
	d.SP()
	switch string(d.Word()) {
	case "NONE":
	case "SET":
		set = true
		d.SP()
		if status = d.TryWord("STATUS"); status {
			d.SP()
		}
		for groups := 1; ; groups++ {
			if groups > maxEventGroups {
				d.Fail(withCode(overflow, mail.Errorf(mail.KindLimit, "A NOTIFY has at most %d groups of events.", maxEventGroups)))
			}
			p.group()
			if d.Err() != nil || !d.TrySP() {
				break
			}
		}
	default:
		d.Bad("SET or NONE is expected.")
	}
	d.End()
	if err = d.Err(); err == nil && p.unknown {
		err = withCode("BADEVENT ("+s.supportedEvents()+")", errUnknownEvent)
	}
	return p.n, set, status, err
}

// supportedEvents names the events that are told here.
func (s *session) supportedEvents() string {
	var names []string
	for _, row := range notifyEvents {
		if !s.off(row.capability) {
			names = append(names, row.name)
		}
	}
	return strings.Join(names, " ")
}

// group reads a group.
//
//	event-group      = "(" filter-mailboxes SP events ")"
//	filter-mailboxes = "selected" / "selected-delayed" / "inboxes" / "personal" / "subscribed" /
//	                   ("subtree" / "mailboxes") SP one-or-more-mailbox
//	events           = ("(" event *(SP event) ")") / "NONE"
func (p *notifyReader) group() {
	d := p.s.dec
	var g eventGroup
	d.Open()
	word := string(d.Word())
	selected := word == "SELECTED" || word == "SELECTED-DELAYED"
	switch {
	case selected:
		if p.chosen {
			d.Bad("the selected mailbox stands there twice")
		}
		p.chosen, p.n.delayed = true, word == "SELECTED-DELAYED"
	case word == "SUBTREE-ONE", !p.s.readSource(&g.in, word, &p.names):
		d.Bad("unknown mailboxes of NOTIFY")
	}
	d.SP()
	var fetch *fetch
	if !d.TryWord("NONE") {
		g.events, fetch = p.events()
	}
	d.Close()
	switch all := g.events & onArrivals; {
	case p.unknown:
	case all != 0 && all != onArrivals:
		d.Bad("MessageNew and MessageExpunge stand together")
	case g.events&onChanges != 0 && all == 0:
		d.Bad("FlagChange and AnnotationChange need MessageNew and MessageExpunge")
	case selected && g.events&^onMessages != 0:
		d.Bad("these events are none of the selected mailbox")
	case !selected && fetch != nil:
		d.Bad("only of the selected mailbox messages are fetched")
	}
	switch {
	case selected:
		p.n.selected, p.n.fetch = g.events, fetch
	case g.events != 0:
		p.n.groups = append(p.n.groups, g)
	}
}

// events reads a list of events.
//
//	event         = message-event / mailbox-event / user-event / event-ext
//	message-event = ("MessageNew" [SP "(" fetch-att *(SP fetch-att) ")"]) / "MessageExpunge" /
//	                "FlagChange" / "AnnotationChange"
//	mailbox-event = "MailboxName" / "SubscriptionChange" / "MailboxMetadataChange"
//	user-event    = "ServerMetadataChange"
//	event-ext     = atom
func (p *notifyReader) events() (events eventSet, items *fetch) {
	d := p.s.dec
	d.Open()
	for d.Err() == nil {
		name := string(d.Word())
		i := slices.IndexFunc(notifyEvents, func(row notifyEvent) bool {
			return strings.EqualFold(row.name, name) && !p.s.off(row.capability)
		})
		if i >= 0 {
			events |= notifyEvents[i].event
		} else {
			p.unknown = true
		}
		more := d.TrySP()
		if more && name == "MESSAGENEW" && d.Peek() == '(' {
			items = &fetch{}
			items.readItems(d)
			more = d.TrySP()
		}
		if !more {
			break
		}
	}
	d.Close()
	return events, items
}

// notifyCommand is NOTIFY (RFC 5465, 3.1).
//
// DEVIATES: RFC 5465, 5.2: a FETCH that a new message is told with never sets \Seen, also
// where its items would: that nobody has looked at the message yet is what is told.
func (s *session) notifyCommand(*request) error {
	n, set, status, err := s.readNotify()
	if err != nil {
		return err
	}
	if set {
		// Like NOOP it tells what happened until now, also what was not asked for.
		before := s.notify
		s.notify = nil
		s.update(true, nil)
		if s.notify = before; s.ending != nil {
			return s.ending
		}
	}
	if n.fetch != nil && n.fetch.has(itemModSeq) {
		s.enableCondstore()
	}
	if err = s.watch(n); err == nil {
		err = s.tellWatched(n, status)
	}
	if err != nil {
		n.close()
		return err
	}
	s.notifyOf(n)
	return nil
}

// enableMetadata is what ENABLE METADATA does (RFC 5464, 4.1): others' changes of entries
// are told while a command is under way. NOTIFY, once it was used, decides alone.
func (s *session) enableMetadata() {
	if s.notify != nil {
		return
	}
	n := &notifying{own: s.account.ID(), groups: []eventGroup{{
		sources{personal: true, subtrees: []string{strings.TrimSuffix(othersNamespace, store.Delimiter), strings.TrimSuffix(sharedNamespace, store.Delimiter)}},
		onMetadata | onServerMetadata,
	}}}
	// With too many to watch, or none that can be found now, it is those there are.
	s.watch(n)
	s.notifyOf(n)
}

// notifyOf makes n what the session is told of; nil is the beginning.
func (s *session) notifyOf(n *notifying) {
	if old := s.notify; old != nil {
		s.ctx = old.before
		old.close()
	}
	if s.notify = n; n == nil {
		return
	}
	n.before = s.ctx
	if n.watch != nil {
		s.ctx = n.watch.Context(s.ctx)
	}
}

// watch begins to gather what n asks for.
func (s *session) watch(n *notifying) error {
	if len(n.groups) == 0 {
		return nil
	}
	n.watch = s.account.NewWatch(n.wants)
	return s.watchOthers(n)
}

// watchOthers has the accounts of others watched that n asks for and that share something
// with the client.
func (s *session) watchOthers(n *notifying) error {
	subscriptions := s.account.Subscriptions()
	if !n.beyond(subscriptions) {
		return nil
	}
	n.watch.Everywhere()
	return s.owners(func(owner string, id mail.AccountID) (bool, error) {
		if n.watch.Watches(id) || !n.reaches(othersNamespace+owner+store.Delimiter, subscriptions) &&
			!n.reaches(sharedNamespace+owner+store.Delimiter, subscriptions) {
			return true, nil
		}
		return true, s.watchAccount(n, id)
	})
}

// watchAccount has another account watched.
func (s *session) watchAccount(n *notifying, id mail.AccountID) error {
	if n.watch.Accounts() > maxWatched {
		return withCode(overflow, mail.Errorf(mail.KindLimit, "The mailboxes of at most %d others can be watched.", maxWatched))
	}
	v, err := s.visit(id)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			return nil // removed at this moment
		}
		return err
	}
	n.watch.Add(v.Account())
	return nil
}

// tellWatched tells which of the watched mailboxes cannot be watched for want of rights
// and, with status, how the others stand (RFC 5465, 3.1).
func (s *session) tellWatched(n *notifying, status bool) error {
	var all sources
	for i := range n.groups {
		all.join(&n.groups[i].in)
	}
	if !all.elsewhere() {
		return nil
	}
	list, err := s.allMailboxes(all)
	if err != nil {
		return err
	}
	for _, node := range list {
		_, rights, _ := node.place.Mailbox(node.place.name)
		events := s.wanted(n, node.name, node.place.Foreign(), node.subscribed)
		switch {
		case events == 0, !rights.Has(mail.RightLookup):
		case !rights.Has(mail.RightRead):
			s.bar(n, node.name)
			s.writeNode(node, node.name, node.name, true)
		case status && events&onMessages != 0 && !s.isSelected(node):
			items := statusUIDValidity | statusUIDNext | statusMessages | statusUnseen
			if s.condstore || events&onChanges != 0 && !s.off("CONDSTORE") {
				items |= statusModSeq
			}
			if err := s.tellStatus(node.place, node.name, items); err != nil {
				return err
			}
		}
		if s.enc.Err() != nil {
			return s.enc.Err()
		}
	}
	return nil
}

// wanted gives the events that n asks for of a name.
func (s *session) wanted(n *notifying, name string, foreign, subscribed bool) eventSet {
	hidden := isHidden(name) && !settings.ShowHiddenFoldersEnabled.Of(s.server.settings())
	return n.on(name, foreign, subscribed, hidden)
}

func (s *session) isSubscribed(name string) bool {
	_, is := slices.BinarySearch(s.account.Subscriptions(), name)
	return is
}

// bar notes that a mailbox was told as \NoAccess.
func (s *session) bar(n *notifying, name string) {
	if n.barred == nil {
		n.barred = map[string]bool{}
	}
	if len(n.barred) < maxBarred {
		n.barred[name] = true
	}
}
