package store

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/mail"
)

// Happening is a set of things that happen to a mailbox, or to an account.
type Happening uint16

// What happens.
const (
	MessagesCame  Happening = 1 << iota
	MessagesWent            // were expunged
	FlagsChanged            // or MODSEQ alone did
	UnseenChanged           // the number of messages without \Seen
	MailboxCreated
	MailboxDeleted
	MailboxRenamed // what stands below it has other names, too, and no events
	RightsChanged
	SubscriptionChanged
	MetadataChanged

	// InMailbox are those that say nothing but that a mailbox has another state.
	InMailbox = MessagesCame | MessagesWent | FlagsChanged | UnseenChanged
)

// Event says what happened. Its slices are not to be changed.
type Event struct {
	What    Happening
	Account mail.AccountID
	Mailbox mail.MailboxID // 0: the account as such
	Name    string         // of the mailbox, or of the subscription, when it happened
	OldName string         // of MailboxRenamed

	// The rights of others before it and after it; what a Watch gives has those that may mean
	// its person.
	Before, After []mail.Grant

	Entries []string       // of MetadataChanged
	Private mail.AccountID // whose alone the entries or flags are; 0: everybody's
}

// weight is about how much of maxWaiting an event takes.
func (e *Event) weight() int { return 1 + len(e.Before) + len(e.After) + len(e.Entries) }

// maxWaiting bounds the events that wait for a session.
const maxWaiting = 1000

// Watch gathers what happens in some accounts for one session (RFC 5465). What becomes of
// the messages of a mailbox is one event until it is taken, however much it is. Nothing is
// gathered that is done under Context. At rest it holds next to nothing.
//
// Its methods are for the session; told and wants are called by whoever changes something,
// and must not wait.
type Watch struct {
	store    *Store
	person   mail.AccountID              // whose private flags and entries count
	wants    func(e *Event) bool         // what is gathered; nothing that it uses changes
	accounts map[mail.AccountID]*Account // those that were added; the session's

	mu      sync.Mutex
	told    func()
	roused  bool             // told was called since Take
	events  []Event          // in the order in which they happened
	states  map[boxKey]Event // InMailbox
	waiting int              // the weight of both
	lost    bool             // there were too many
	closed  bool
}

// boxKey names a mailbox.
type boxKey struct {
	account mail.AccountID
	mailbox mail.MailboxID
}

// watches are those of an account, or of the store.
type watches struct {
	n   atomic.Int32 // how many there are: mostly none
	mu  sync.RWMutex
	all map[*Watch]struct{}
}

func (s *watches) add(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*Watch]struct{}{}
	}
	s.all[w] = struct{}{}
	s.n.Store(int32(len(s.all)))
}

func (s *watches) remove(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
	s.n.Store(int32(len(s.all)))
}

func (s *watches) empty() bool { return s.n.Load() == 0 }

// tell hands an event to all but by, which may be nil.
func (s *watches) tell(e *Event, by *Watch) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for w := range s.all {
		if w != by {
			w.add(e)
		}
	}
}

// NewWatch makes a watch for the session of the person whose account a is. It gathers what
// wants says: of a, of the accounts that Add names, of the rights that Everywhere asks for,
// and of the entries of the server (MetadataChanged without an account). It is to be closed.
func (a *Account) NewWatch(wants func(e *Event) bool) *Watch {
	w := &Watch{store: a.store, person: a.id, wants: wants, accounts: map[mail.AccountID]*Account{}}
	a.store.sessions.add(w)
	w.Add(a)
	return w
}

// Everywhere has the watch gather RightsChanged in all other accounts.
func (w *Watch) Everywhere() {
	w.store.watched.add(w)
}

// Add has the watch gather what happens in a from now on: what is not gathered can be read
// already. The account stays open meanwhile.
func (w *Watch) Add(a *Account) {
	if w.accounts[a.id] != nil {
		return
	}
	w.store.mu.Lock()
	a.uses++
	w.store.mu.Unlock()
	w.accounts[a.id] = a
	a.watched.add(w)
}

// Watches tells whether it watches an account.
func (w *Watch) Watches(id mail.AccountID) bool { return w.accounts[id] != nil }

// Accounts is how many it watches.
func (w *Watch) Accounts() int { return len(w.accounts) }

// Close ends it. When it returns nobody is told any more.
func (w *Watch) Close() {
	w.store.sessions.remove(w)
	w.store.watched.remove(w)
	for id, a := range w.accounts {
		a.watched.remove(w)
		a.Close()
		delete(w.accounts, id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told, w.events, w.states, w.closed = nil, nil, nil, true
}

// OnChange has told called when Take may have something to give: at once if that is so
// already, then once after each Take. nil is nobody; when OnChange returns, the function
// of before is not called any more.
func (w *Watch) OnChange(told func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told, w.roused = told, false
	if w.waiting > 0 || w.lost {
		w.rouse()
	}
}

// rouse tells the session; mu is held.
func (w *Watch) rouse() {
	if !w.roused && w.told != nil {
		w.roused = true
		w.told()
	}
}

// add gathers an event.
func (w *Watch) add(e *Event) {
	what := e.What
	if e.Account != w.person && e.Private == 0 {
		what &^= UnseenChanged // a guest has its own \Seen
	}
	if what == 0 || e.Private != 0 && e.Private != w.person || !w.wants(e) {
		return
	}
	if len(e.Before)+len(e.After) > 0 {
		// The rights of others are nothing to it, and must not take the room of what is: they
		// may be many, and somebody may change them often.
		own := *e
		own.Before, own.After = w.concerning(e.Account, e.Before), w.concerning(e.Account, e.After)
		if e = &own; what == RightsChanged && slices.Equal(e.Before, e.After) {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.lost {
		return
	}
	if e.What&^InMailbox == 0 {
		key := boxKey{e.Account, e.Mailbox}
		was, there := w.states[key]
		if !there {
			w.waiting++
		}
		if w.states == nil {
			w.states = map[boxKey]Event{}
		}
		merged := *e
		merged.What = what | was.What
		w.states[key] = merged
	} else {
		w.waiting += e.weight()
		w.events = append(w.events, *e)
	}
	if w.waiting > maxWaiting {
		w.events, w.states, w.waiting, w.lost = nil, nil, 0, true
	}
	w.rouse()
}

// concerning gives those of the grants on a mailbox that may mean the person; an owner needs
// none.
func (w *Watch) concerning(owner mail.AccountID, grants []mail.Grant) (list []mail.Grant) {
	for _, g := range grants {
		if owner != w.person && (g.Account == 0 || g.Account == w.person) {
			list = append(list, g)
		}
	}
	return list
}

// Take gives what was gathered since the last time: first what happened to mailboxes and
// accounts, in that order, then the mailboxes whose messages are others, by account and
// name. lost says that it was too much to keep, and nothing is given.
func (w *Watch) Take() (events []Event, lost bool) {
	w.mu.Lock()
	events, states := w.events, w.states
	lost = w.lost
	w.events, w.states, w.waiting, w.lost, w.roused = nil, nil, 0, false, false
	w.mu.Unlock()
	if len(states) == 0 {
		return events, lost
	}
	return append(events, slices.SortedFunc(maps.Values(states), func(x, y Event) int {
		if x.Account != y.Account {
			if x.Account < y.Account {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Name, y.Name)
	})...), lost
}

// watchKey is the key of Context's value.
type watchKey struct{}

// Context gives a context for what the session does itself.
func (w *Watch) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, watchKey{}, w)
}

// tell hands events, which are durable and published, to who watches the account, but not
// to who made them.
func (a *Account) tell(ctx context.Context, events func() []Event) {
	if a.watched.empty() && a.store.watched.empty() {
		return
	}
	by, _ := ctx.Value(watchKey{}).(*Watch)
	for _, e := range events() {
		if e.What == RightsChanged {
			a.store.watched.tell(&e, by)
		} else {
			a.watched.tell(&e, by)
		}
	}
}

// was is what a mailbox was before a change.
type was struct {
	name   string
	unseen uint32
	grants []mail.Grant
}

func wasOf(r *MailboxRecord) was { return was{r.Name, r.Unseen, r.Grants} }

// events says what a change did.
func (c *change) events() []Event {
	list := c.news
	for _, bc := range c.boxes {
		e := Event{Account: c.a.id, Mailbox: bc.record.ID, Name: bc.record.Name, Before: bc.was.grants, After: bc.record.Grants}
		var what Happening
		if len(bc.appended) > 0 {
			what |= MessagesCame
		}
		if len(bc.removed) > 0 {
			what |= MessagesWent
		}
		if len(bc.changed) > 0 {
			what |= FlagsChanged
		}
		if bc.record.Unseen != bc.was.unseen {
			what |= UnseenChanged
		}
		switch {
		case bc.created && bc.deleted:
			continue
		case bc.created && bc.instead != "":
			e.What, e.OldName = MailboxRenamed, bc.instead
		case bc.created:
			e.What, e.Before = MailboxCreated, nil
		case bc.deleted:
			e.What, e.Name, what = MailboxDeleted, bc.was.name, 0
		case bc.record.Name != bc.was.name:
			e.What, e.OldName = MailboxRenamed, bc.was.name
		}
		list = e.into(list, what)
		if bc.marks != nil {
			list = append(list, Event{What: FlagsChanged | UnseenChanged, Account: c.a.id, Mailbox: bc.record.ID, Name: bc.record.Name, Private: bc.guest})
		}
	}
	return withoutBelow(list)
}

// into appends e, if it says anything, and what else happened to its mailbox.
func (e Event) into(list []Event, what Happening) []Event {
	if e.What != 0 {
		list = append(list, e)
	}
	if e.What&(MailboxCreated|MailboxDeleted) == 0 && !slices.Equal(e.Before, e.After) {
		e.What = RightsChanged
		list = append(list, e)
	}
	if what != 0 {
		list = append(list, Event{What: what, Account: e.Account, Mailbox: e.Mailbox, Name: e.Name})
	}
	return list
}

// withoutBelow leaves out the renaming of what stands below another mailbox that is
// renamed at once.
func withoutBelow(list []Event) []Event {
	renamed := map[string]string{}
	for _, e := range list {
		if e.What == MailboxRenamed {
			renamed[e.OldName] = e.Name
		}
	}
	if len(renamed) < 2 {
		return list
	}
	return slices.DeleteFunc(list, func(e Event) bool {
		if e.What != MailboxRenamed {
			return false
		}
		for i := range e.OldName {
			if e.OldName[i:i+1] != Delimiter {
				continue
			}
			if to, ok := renamed[e.OldName[:i]]; ok && e.Name == to+e.OldName[i:] {
				return true
			}
		}
		return false
	})
}

// difference says what another server did to a mailbox.
func (a *Account) difference(before, after *MailboxRecord) []Event {
	e := Event{Account: a.id, Mailbox: after.ID, Name: after.Name, Before: before.Grants, After: after.Grants}
	if after.Name != before.Name {
		e.What, e.OldName = MailboxRenamed, before.Name
	}
	var what Happening
	if after.UIDNext > before.UIDNext {
		what |= MessagesCame
	}
	if after.Messages < before.Messages+uint32(after.UIDNext-before.UIDNext) {
		what |= MessagesWent
	}
	if after.HighestModSeq > before.HighestModSeq && what == 0 {
		what |= FlagsChanged // which may be so with the others, too, and is told with them
	}
	if after.Unseen != before.Unseen {
		what |= UnseenChanged
	}
	return e.into(nil, what)
}
