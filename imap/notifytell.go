package imap

import (
	"slices"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// What NOTIFY (RFC 5465, 4 and 5) sends; notify.go says of what.

// The items of a STATUS that nobody asked for.
const (
	statusUIDValidity = 1 << iota
	statusUIDNext
	statusMessages
	statusUnseen
	statusModSeq
)

// tellStatus writes a STATUS response for a mailbox that may be gone.
func (s *session) tellStatus(in place, name string, items int) error {
	var list []*statusItem
	for i, item := range []string{"UIDVALIDITY", "UIDNEXT", "MESSAGES", "UNSEEN", "HIGHESTMODSEQ"} {
		if items&(1<<i) != 0 {
			at := slices.IndexFunc(statusItems, func(row statusItem) bool { return row.name == item })
			list = append(list, &statusItems[at])
		}
	}
	err := s.writeStatus(in, name, list)
	if err != nil && passedOver(err) {
		return nil
	}
	return err
}

// listen has what the client asked for with NOTIFY wake the session while it waits for
// a command.
func (s *session) listen() {
	n := s.notify
	if n == nil || !n.asked {
		return
	}
	if s.mailbox != nil && n.selected != 0 {
		s.mailbox.OnChange(s.conn.Wake)
	}
	if n.watch != nil {
		n.watch.OnChange(s.conn.Wake)
	}
}

// woken tells what the session was woken for. On error it is to end.
func (s *session) woken(expunge bool) error {
	// It may have waited for long: who was taken out of a group meanwhile hears no more.
	// When that cannot be found out, it is said to the next command.
	if s.admit() == nil {
		s.tellAll(expunge)
	}
	if s.ending != nil {
		return s.ending
	}
	if s.qresync && s.held != 0 {
		// As tellKnown, for there may be no next command.
		s.enc.Status(wire.OK, highestModSeq(s.held), "Known.")
	}
	return s.enc.Flush()
}

// tellAll tells the client what happened: in the selected mailbox, unless it asked for
// nothing there, and elsewhere, if it asked for it.
func (s *session) tellAll(expunge bool) {
	defer s.release()
	if n := s.notify; n == nil || !n.asked || n.selected != 0 {
		s.update(expunge, nil)
	} else if s.mailbox != nil && !s.lost() && s.mailbox.Deleted() {
		// What it knows stays as it is, as long as that can be (RFC 5465, 5).
		s.ending = errMailboxDeleted
	}
	if s.ending == nil {
		s.tellNews()
	}
}

// tellNews tells what the watch gathered.
func (s *session) tellNews() {
	n := s.notify
	if n == nil || n.watch == nil {
		return
	}
	events, lost := n.watch.Take()
	if len(events) == 0 && !lost {
		return
	}
	defer s.leaveVisited()
	t := &telling{s: s, n: n}
	for i := range events {
		if err := t.tell(&events[i]); err != nil && mail.KindOf(err) != mail.KindNotFound {
			lost = true
			s.conn.Log().Warn("events are not told", "error", err)
			break
		}
	}
	if lost && n.asked {
		s.enc.Status(wire.OK, overflow, s.language.say("Not all events could be told; no more will be."))
		s.notifyOf(&notifying{asked: true})
		return
	}
	t.tellParents()
}

// telling tells what was gathered at one time. Names are told as they are now.
type telling struct {
	s       *session
	n       *notifying
	tree    *tree           // nil: not made yet
	shared  bool            // others' mailboxes are in it
	listed  map[string]bool // names that were told
	parents []string        // of what was created or deleted
}

// tell tells of one event. KindNotFound says that there is nothing to tell.
func (t *telling) tell(e *store.Event) error {
	switch {
	case e.What == store.SubscriptionChanged:
		return t.subscription(e.Name)
	case e.What == store.RightsChanged:
		return t.rights(e)
	case e.What == store.MetadataChanged && e.Mailbox == 0:
		t.serverMetadata(e.Entries)
		return nil
	}
	v, prefix, err := t.s.accountOf(e.Account)
	if err != nil {
		return err
	}
	switch e.What {
	case store.MetadataChanged:
		return t.metadata(v, prefix, e)
	case store.MailboxCreated, store.MailboxDeleted, store.MailboxRenamed:
		return t.name(v, prefix, e)
	}
	return t.state(v, prefix, e)
}

// on gives the events that are wanted of a name.
func (t *telling) on(name string, foreign bool) eventSet {
	return t.s.wanted(t.n, name, foreign, t.s.isSubscribed(name))
}

// list writes the LIST response for a name as it is now.
func (t *telling) list(name, old string, barred bool) error {
	if foreign := inNamespace(name); t.tree == nil || foreign && !t.shared {
		var err error
		if t.tree, err = t.s.mailboxTree(true, foreign); err != nil {
			return err
		}
		t.shared = foreign
	}
	if t.listed == nil {
		t.listed = map[string]bool{}
	}
	t.listed[name] = true
	t.s.writeNode(t.s.nodeNamed(t.tree, name), name, old, barred)
	return nil
}

// tellParents tells of the names right above those that were created or deleted, which
// are affected, too (RFC 5465, 5.4).
func (t *telling) tellParents() {
	for _, name := range t.parents {
		if name != "" && !t.listed[name] && t.on(name, inNamespace(name))&onMailboxName != 0 {
			t.list(name, name, false)
		}
	}
}

// name tells of a mailbox that was created, deleted or renamed (RFC 5465, 5.4).
func (t *telling) name(v store.Visit, prefix string, e *store.Event) error {
	name, old := prefix+e.Name, prefix+e.Name
	events, rights := t.on(name, v.Foreign()), v.RightsIn(e.After)
	switch e.What {
	case store.MailboxDeleted:
		rights = v.RightsIn(e.Before)
	case store.MailboxRenamed:
		old = prefix + e.OldName
		events |= t.on(old, v.Foreign())
	}
	if !rights.Has(mail.RightLookup) {
		return nil
	}
	if e.What != store.MailboxRenamed {
		t.parents = append(t.parents, above(name))
	}
	if events&onMailboxName != 0 {
		if err := t.list(name, old, e.What != store.MailboxDeleted && !rights.Has(mail.RightRead)); err != nil {
			return err
		}
	}
	if e.What != store.MailboxDeleted && events&onFlagChange != 0 && rights.Has(mail.RightRead) {
		return t.stand(place{v, e.Name}, name)
	}
	return nil
}

// stand tells how a mailbox stands that the client does not know, or no longer.
func (t *telling) stand(in place, name string) error {
	items := statusUIDValidity | statusUIDNext | statusMessages | statusUnseen
	if t.s.condstore {
		items |= statusModSeq
	}
	return t.s.tellStatus(in, name, items)
}

// state tells of a mailbox whose messages are others, by a STATUS response (RFC 5465, 5.1
// to 5.3). The selected one is told otherwise, or not at all.
func (t *telling) state(v store.Visit, prefix string, e *store.Event) error {
	s := t.s
	if s.mailbox != nil && s.mailbox.Account() == v.Account() && s.mailbox.Record().ID == e.Mailbox {
		return nil
	}
	own := e.Name
	record, rights, ok := v.Mailbox(own)
	if !ok || record.ID != e.Mailbox {
		// It has another name by now.
		if own, ok = v.Named(e.Mailbox); !ok {
			return nil
		}
		_, rights, _ = v.Mailbox(own)
	}
	if !rights.Has(mail.RightLookup | mail.RightRead) {
		return nil
	}
	events, items := t.on(prefix+own, v.Foreign()), 0
	if events&onArrivals != 0 && e.What&(store.MessagesCame|store.MessagesWent) != 0 {
		items |= statusUIDNext | statusMessages | statusUnseen
		if s.condstore {
			items |= statusModSeq
		}
	}
	if events&onChanges != 0 && e.What&(store.FlagsChanged|store.UnseenChanged) != 0 {
		if events&onFlagChange != 0 && e.What&store.UnseenChanged != 0 {
			items |= statusUIDValidity | statusUnseen
		}
		if s.condstore {
			items |= statusUIDValidity | statusModSeq
		}
	}
	if items == 0 {
		return nil
	}
	return s.tellStatus(place{v, own}, prefix+own, items)
}

// subscription tells of a name that is subscribed, or no longer (RFC 5465, 5.5).
func (t *telling) subscription(name string) error {
	foreign := inNamespace(name)
	if foreign && t.n.beyond(t.s.account.Subscriptions()) {
		if err := t.s.watchOthers(t.n); err != nil {
			return err
		}
	}
	// What is no longer subscribed was so: SUBSCRIBED means it until that is told.
	if t.s.wanted(t.n, name, foreign, true)&onSubscription == 0 {
		return nil
	}
	return t.list(name, name, false)
}

// metadata tells of entries of a mailbox that have other values (RFC 5465, 5.6 and 5.7).
func (t *telling) metadata(v store.Visit, prefix string, e *store.Event) error {
	own, ok := v.Named(e.Mailbox)
	if !ok {
		return nil
	}
	_, rights, _ := v.Mailbox(own)
	if rights.Has(mail.RightLookup|mail.RightRead) && t.on(prefix+own, v.Foreign())&onMetadata != 0 {
		t.entries(prefix+own, e.Entries)
	}
	return nil
}

// serverMetadata tells of entries of the server.
func (t *telling) serverMetadata(entries []string) {
	if slices.ContainsFunc(t.n.groups, func(g eventGroup) bool { return g.events&onServerMetadata != 0 }) {
		t.entries("", entries)
	}
}

// entries writes the METADATA response without values.
//
//	metadata-resp = "METADATA" SP mailbox SP entry-list
//	entry-list    = entry *(SP entry)
func (t *telling) entries(mailbox string, entries []string) {
	t.s.beginMetadata(mailbox)
	for _, entry := range entries {
		t.s.enc.SP().AString(entry)
	}
	t.s.enc.CRLF()
}

// rights tells of a mailbox of somebody else that the client may list or read since then,
// or may no longer (RFC 5465, 5.4 and 5.9).
func (t *telling) rights(e *store.Event) error {
	s := t.s
	p, err := s.person()
	if err != nil {
		return err
	}
	const lists, reads = mail.RightLookup, mail.RightLookup | mail.RightRead
	before, after := mail.RightsOf(e.Before, p), mail.RightsOf(e.After, p)
	if before.Has(lists) == after.Has(lists) && before.Has(reads) == after.Has(reads) {
		return nil
	}
	v, prefix, err := s.accountOf(e.Account)
	if err != nil {
		return err
	}
	name := prefix + e.Name
	events := t.on(name, true)
	if events == 0 {
		return nil
	}
	if !t.n.watch.Watches(e.Account) {
		if err := s.watchAccount(t.n, e.Account); err != nil {
			return err
		}
	}
	named := events&onMailboxName != 0
	if named && before.Has(lists) != after.Has(lists) {
		t.parents = append(t.parents, above(name))
	}
	if !after.Has(reads) {
		if !before.Has(reads) && !named {
			return nil
		}
		s.bar(t.n, name)
		return t.list(name, name, true)
	}
	if barred := t.n.barred[name]; barred || named {
		delete(t.n.barred, name)
		if err := t.list(name, name, false); err != nil {
			return err
		}
	}
	if events&onMessages != 0 {
		return t.stand(place{v, e.Name}, name)
	}
	return nil
}

// accountOf finds the account of an event, and how the names of its mailboxes begin for the
// client. KindNotFound when it is gone.
func (s *session) accountOf(id mail.AccountID) (v store.Visit, prefix string, err error) {
	if id == s.account.ID() {
		return s.account.Own(), "", nil
	}
	owner, err := s.server.Auth.NameOf(s.ctx, id)
	if err != nil {
		return v, "", err
	}
	if owner == "" {
		return v, "", errNoMailbox
	}
	if v, err = s.visit(id); err != nil {
		return v, "", err
	}
	return v, prefixOf(v, owner), nil
}
