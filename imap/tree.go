package imap

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// node is a mailbox name that can be listed.
type node struct {
	name       string
	record     *store.MailboxRecord // nil: it does not exist
	place      place                // of record
	subscribed bool
	remote     bool // it is on another server
	children   bool // an existing mailbox stands below
	closed     bool // it was found that it cannot be selected

	met      bool // meets the selection
	metBelow bool // something below does
	matches  bool // matches a pattern
	untold   bool // something below meets the selection and matches no pattern
}

func (n *node) specialUse() string {
	if n.record == nil {
		return ""
	}
	return n.record.SpecialUse
}

// tree is the account's mailbox names: those of mailboxes, of the levels above them
// that do not exist, and, where asked for, subscribed ones. INBOX comes first, then
// a level before what stands below it.
type tree struct {
	nodes  []*node
	byName map[string]*node

	// more claims memory; err says why there is none.
	more func(n int64) error
	err  error
}

// mailboxTree gives the names that the client may see in a list. A hidden mailbox
// is one of which some level begins with "."; it is left out unless
// ShowHiddenFoldersEnabled is set, and can be opened by its name nevertheless.
// With shared, other accounts' mailboxes that it may list are there too.
func (s *session) mailboxTree(withSubscribed, shared bool) (*tree, error) {
	hidden := !settings.ShowHiddenFoldersEnabled.Of(s.server.settings())
	t := &tree{byName: map[string]*node{}, more: s.claimMore}
	records := s.account.Mailboxes()
	for i := range records {
		name := records[i].Name
		if hidden && isHidden(name) {
			continue
		}
		n := t.add(name)
		n.record, n.place = &records[i], s.own(name)
		t.addAbove(name)
	}
	if shared {
		if err := s.addShared(t, hidden); err != nil {
			return nil, err
		}
	}
	for _, name := range s.account.Subscriptions() {
		if hidden && isHidden(name) {
			continue
		}
		n := t.byName[name]
		if n == nil && withSubscribed {
			n = t.add(name)
			for up := above(name); up != ""; up = above(up) {
				t.add(up)
			}
		}
		if n != nil {
			n.subscribed = true
		}
	}
	if t.err != nil {
		return nil, t.err
	}
	t.sort()
	return t, nil
}

func (t *tree) sort() {
	slices.SortFunc(t.nodes, func(a, b *node) int { return compareNames(a.name, b.name) })
}

// addAbove enters the levels above a mailbox.
func (t *tree) addAbove(name string) {
	for up := above(name); up != ""; up = above(up) {
		t.add(up).children = true
	}
}

func (t *tree) add(name string) *node {
	n := t.byName[name]
	if n == nil {
		n = &node{name: name}
		if t.err != nil {
			return n // of nothing
		}
		if len(t.nodes)%claimStep == claimStep-1 {
			if t.err = t.more(claimStep * nodeMemory); t.err != nil {
				return n
			}
		}
		t.byName[name] = n
		t.nodes = append(t.nodes, n)
	}
	return n
}

// mark says which names meet the selection.
func (t *tree) mark(meets func(n *node) bool) {
	for _, n := range t.nodes {
		if n.met = meets(n); !n.met {
			continue
		}
		for up := above(n.name); up != ""; up = above(up) {
			t.byName[up].metBelow = true
		}
	}
}

// findUntold finds the names for which a name above them must speak because they
// match no pattern (RFC 5258, 3.5). It is called when met and matches are known.
func (t *tree) findUntold() {
	for _, n := range t.nodes {
		if !n.met || n.matches {
			continue
		}
		for up := above(n.name); up != ""; up = above(up) {
			t.byName[up].untold = true
		}
	}
}

// above gives the name of the level above, "" for none.
func above(name string) string {
	i := strings.LastIndex(name, store.Delimiter)
	return name[:max(i, 0)]
}

func isHidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, store.Delimiter+".")
}

// compareNames orders a level before what stands below it, and INBOX first.
func compareNames(a, b string) int {
	ta, tb := rootOf(a) == store.Inbox, rootOf(b) == store.Inbox
	if ta != tb {
		if ta {
			return -1
		}
		return 1
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := a[i], b[i]; x != y {
			// The delimiter sorts before every character.
			if x == store.Delimiter[0] {
				return -1
			}
			if y == store.Delimiter[0] {
				return 1
			}
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func rootOf(name string) string {
	root, _, _ := strings.Cut(name, store.Delimiter)
	return root
}
