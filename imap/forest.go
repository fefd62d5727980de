package imap

import (
	"encoding/binary"

	"github.com/postern-mail/postern/store"
)

// none is no node of a forest.
const none int32 = -1

// forest holds messages as threads. The nodes below n are messages, in the order of
// the mailbox; those from n on are dummies, which stand for messages that are not
// there. Nothing here recurses: a thread may be as deep as the mailbox is long.
type forest struct {
	n      int
	order  []uint32 // the messages by sent date
	parent []int32  // of each node; none for roots

	// more claims memory for dummies; nil: it is not bounded. err says why there is none.
	more func(n int64) error
	err  error

	// Set by arrange, siblings by sent date.
	roots       []int32
	child, next []int32 // the first child; the next sibling, of a root none
}

func newForest(n int, order []uint32) *forest {
	f := &forest{n: n, order: order, parent: make([]int32, n, n+n/4)}
	for i := range f.parent {
		f.parent[i] = none
	}
	return f
}

// dummy adds a dummy without a parent.
func (f *forest) dummy() int32 {
	f.parent = append(f.parent, none)
	return int32(len(f.parent) - 1)
}

// link is step 1 of REFERENCES (RFC 5256, 3): messages become children of what they
// refer to. rows has message.SortReferences. It ends where there is no memory: see err.
func (f *forest) link(rows *store.Column) {
	id := func(row []byte) uint64 { return binary.LittleEndian.Uint64(row) }
	nodes := make(map[uint64]int32, f.n+f.n/4) // by Message-ID
	for i := range f.n {
		if row := rows.Row(i); len(row) >= 8 && id(row) != 0 {
			// Of two messages with one Message-ID the first has it.
			if _, ok := nodes[id(row)]; !ok {
				nodes[id(row)] = int32(i)
			}
		}
	}
	t := linkTree{forest: f}
	paid := f.n
	for i := range f.n {
		if f.more != nil && len(f.parent) > paid {
			if f.err = f.more(claimStep * forestMemory); f.err != nil {
				return
			}
			paid += claimStep
		}
		row := rows.Row(i)
		// (A) Each reference is the parent of the next.
		last := none
		for ; len(row) >= 16; row = row[8:] {
			node, ok := nodes[id(row[8:])]
			if !ok {
				node = f.dummy()
				nodes[id(row[8:])] = node
			}
			if last != none && f.parent[node] == none {
				t.link(node, last)
			}
			last = node
		}
		// (B) The last one is the parent of the message.
		if this := int32(i); f.parent[this] != last || last == none {
			t.cut(this)
			if last != none {
				t.link(this, last)
			}
		}
	}
}

// prune is steps 2 and 3 of REFERENCES: messages become children of the nearest
// message above them or, where there is none, of the dummy at the root. A dummy at
// the root with one child gives way to it.
func (f *forest) prune() {
	// nearest gives what a child of node is a child of, and notes it on the way, so
	// that no way is gone twice.
	nearest := func(node int32) int32 {
		top := node
		for int(top) >= f.n && f.parent[top] != none {
			top = f.parent[top]
		}
		for node != top {
			node, f.parent[node] = f.parent[node], top
		}
		return top
	}
	children := make([]int32, len(f.parent)-f.n) // of dummies
	for i := range f.n {
		if up := f.parent[i]; up != none {
			up = nearest(up)
			f.parent[i] = up
			if int(up) >= f.n {
				children[int(up)-f.n]++
			}
		}
	}
	for i := range f.n {
		if up := int(f.parent[i]); up >= f.n && children[up-f.n] == 1 {
			f.parent[i] = none
		}
	}
}

// arrange makes roots, child and next of parent, siblings by sent date; a dummy counts
// as its first child (steps 4 and 6 of REFERENCES). Dummies are roots or not there.
func (f *forest) arrange() {
	nodes := len(f.parent)
	f.child, f.next = make([]int32, nodes), make([]int32, nodes)
	for i := range f.child {
		f.child[i], f.next[i] = none, none
	}
	for k := len(f.order) - 1; k >= 0; k-- {
		i := int32(f.order[k])
		if up := f.parent[i]; up != none {
			f.next[i], f.child[up] = f.child[up], i
		}
	}
	f.roots = f.roots[:0]
	for _, i := range f.order {
		switch up := f.parent[i]; {
		case up == none:
			f.roots = append(f.roots, int32(i))
		case int(up) >= f.n && f.child[up] == int32(i):
			f.roots = append(f.roots, up)
		}
	}
}

// mergeSubjects is step 5 of REFERENCES: threads with the same base subject become
// one.
func (f *forest) mergeSubjects(subjects *subjects) {
	first := func(node int32) int32 { // what tells the subject of a thread
		if int(node) >= f.n {
			return f.child[node]
		}
		return node
	}
	isDummy := func(node int32) bool { return int(node) >= f.n }
	reply := func(node int32) bool { return subjects.reply(first(node)) }

	// (B) The one thread of each subject that the others join.
	table := make(map[uint64]int32, len(f.roots))
	of := make([]uint64, len(f.roots))
	for n, node := range f.roots {
		of[n] = subjects.of(first(node))
		if of[n] == 0 {
			continue
		}
		there, ok := table[of[n]]
		if !ok || !isDummy(there) && (isDummy(node) || reply(there) && !reply(node)) {
			table[of[n]] = node
		}
	}
	// (C)
	for n, node := range f.roots {
		if of[n] == 0 || table[of[n]] == node {
			continue
		}
		switch there := table[of[n]]; {
		case isDummy(there) && isDummy(node):
			for child := f.child[node]; child != none; child = f.next[child] {
				f.parent[child] = there
			}
		case isDummy(there), reply(node) && !reply(there):
			f.parent[node] = there
		default:
			both := f.dummy()
			f.parent[there], f.parent[node] = both, both
			table[of[n]] = both
		}
	}
}

// linkTree keeps a forest's parents so that a link that would make a loop is found in
// logarithmic time however deep threads are: a link/cut tree (Sleator and Tarjan),
// whose nodes stand in splay trees by depth, one for each path.
type linkTree struct {
	*forest
	left, right, up []int32 // up also leads from a path to the node above it
	children        []int32 // how many
}

// grow makes room for the forest's nodes.
func (t *linkTree) grow() {
	for len(t.up) < len(t.parent) {
		t.left, t.right, t.up = append(t.left, none), append(t.right, none), append(t.up, none)
		t.children = append(t.children, 0)
	}
}

// link makes node, which has no parent, a child of parent, unless that is a
// descendant of it or the node itself.
func (t *linkTree) link(node, parent int32) {
	t.grow()
	if node == parent || t.children[node] > 0 && t.above(node, parent) {
		return
	}
	t.splay(node) // the root of its tree: nothing is above it
	t.up[node] = parent
	t.forest.parent[node] = parent
	t.children[parent]++
}

// cut takes node from its parent, if it has one.
func (t *linkTree) cut(node int32) {
	parent := t.forest.parent[node]
	if parent == none {
		return
	}
	t.grow()
	t.access(node)
	t.up[t.left[node]] = none
	t.left[node] = none
	t.forest.parent[node] = none
	t.children[parent]--
}

// above tells whether a is an ancestor of b, another node.
func (t *linkTree) above(a, b int32) bool {
	t.access(b)
	t.splay(a)
	// b was the root of the path from the top to it; a has taken its place if it is
	// on that path.
	return t.up[b] != none
}

// access makes the way from the top to node a path of its own, with node as the root
// of its splay tree.
func (t *linkTree) access(node int32) {
	below := none
	for at := node; at != none; at = t.up[at] {
		t.splay(at)
		t.right[at] = below
		below = at
	}
	t.splay(node)
}

// top tells whether node is the root of its splay tree.
func (t *linkTree) top(node int32) bool {
	up := t.up[node]
	return up == none || t.left[up] != node && t.right[up] != node
}

func (t *linkTree) splay(node int32) {
	for !t.top(node) {
		up := t.up[node]
		if !t.top(up) {
			if over := t.up[up]; (t.left[up] == node) == (t.left[over] == up) {
				t.rotate(up)
			} else {
				t.rotate(node)
			}
		}
		t.rotate(node)
	}
}

// rotate puts node into the place of the one above it.
func (t *linkTree) rotate(node int32) {
	up := t.up[node]
	over := t.up[up]
	if !t.top(up) {
		if t.left[over] == up {
			t.left[over] = node
		} else {
			t.right[over] = node
		}
	}
	var inner int32
	if t.left[up] == node {
		inner = t.right[node]
		t.left[up], t.right[node] = inner, up
	} else {
		inner = t.left[node]
		t.right[up], t.left[node] = inner, up
	}
	if inner != none {
		t.up[inner] = up
	}
	t.up[up], t.up[node] = node, over
}
