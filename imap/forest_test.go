package imap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/test/stopwatch"
)

// threadLetter is a message of a test.
type threadLetter struct {
	id, subject string
	references  []string
	sent        int // minutes
	arrived     int
}

func (l threadLetter) bytes() []byte {
	var b strings.Builder
	if l.id != "" {
		fmt.Fprintf(&b, "Message-ID: <%s@x>\r\n", l.id)
	}
	if len(l.references) > 0 {
		fmt.Fprintf(&b, "References: <%s@x>\r\n", strings.Join(l.references, "@x>\r\n <"))
	}
	fmt.Fprintf(&b, "Subject: %s\r\nDate: %s\r\n\r\nx\r\n", l.subject, time.Unix(1e9+int64(l.sent)*60, 0).UTC().Format(time.RFC1123Z))
	return []byte(b.String())
}

// sessionWith gives a session in a mailbox with these messages.
func sessionWith(t testing.TB, letters []threadLetter) *session {
	t.Helper()
	st, err := store.Open(memory.New(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	id, err := st.CreateAccount(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := st.Account(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	for some := range slices.Chunk(letters, 1000) {
		var arrivals []store.Arrival
		for _, l := range some {
			arrivals = append(arrivals, store.Arrival{Prepared: st.Prepare(l.bytes()), InternalDate: time.Unix(2e9+int64(l.arrived)*60, 0)})
		}
		if _, err := a.Append(t.Context(), store.Inbox, arrivals...); err != nil {
			t.Fatal(err)
		}
	}
	m, err := a.Select(t.Context(), store.Inbox, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &session{visitor: visitor{ctx: t.Context(), server: &Server{Store: st}, account: a}, mailbox: m, collation: collationOrder{comparator: comparators[0]}}
}

// threads gives what THREAD answers.
func (s *session) threads(t testing.TB, algorithm string) string {
	t.Helper()
	for _, a := range threadAlgorithms {
		if a.name != algorithm {
			continue
		}
		var messages []*store.Message
		s.mailbox.View().EachSeq(s.mailbox.View().All(), func(_ uint32, m *store.Message) bool {
			messages = append(messages, m)
			return true
		})
		columns, err := s.mailbox.Columns(s.ctx, messages, a.fields...)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		e := wire.NewEncoder(&out)
		a.grow(s, messages, columns).write(e, func(i int32) uint32 { return uint32(i) + 1 })
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	t.Fatal("no such algorithm")
	return ""
}

// plain is a message or a dummy as the RFC describes threads, step by step.
type plain struct {
	seq      int // 0 for a dummy
	l        *threadLetter
	parent   *plain
	children []*plain
}

func (p *plain) within(top *plain) bool {
	for ; p != nil; p = p.parent {
		if p == top {
			return true
		}
	}
	return false
}

func (p *plain) leave() {
	if p.parent != nil {
		i := slices.Index(p.parent.children, p)
		p.parent.children = slices.Delete(p.parent.children, i, i+1)
		p.parent = nil
	}
}

func (p *plain) join(parent *plain) {
	p.leave()
	p.parent = parent
	parent.children = append(parent.children, p)
}

func (p *plain) link(parent *plain) {
	if !parent.within(p) {
		p.join(parent)
	}
}

// first is what a node is sorted by, and has its subject from.
func (p *plain) first() *plain {
	if p.seq == 0 {
		return p.children[0]
	}
	return p
}

func (p *plain) sort() {
	slices.SortStableFunc(p.children, func(a, b *plain) int {
		x, y := a.first(), b.first()
		if x.l.sent != y.l.sent {
			return x.l.sent - y.l.sent
		}
		return x.seq - y.seq
	})
}

func (p *plain) sortAll() {
	for _, c := range p.children {
		c.sortAll()
	}
	p.sort()
}

func (p *plain) write(b *strings.Builder) {
	if p.seq > 0 {
		fmt.Fprint(b, p.seq)
	}
	if len(p.children) == 1 {
		b.WriteByte(' ')
		p.children[0].write(b)
		return
	}
	for i, c := range p.children {
		if i == 0 && p.seq > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('(')
		c.write(b)
		b.WriteByte(')')
	}
}

// prune is step 3.
func (p *plain) prune(top bool) {
	for i := 0; i < len(p.children); i++ {
		c := p.children[i]
		c.prune(false)
		if c.seq == 0 && (len(c.children) == 0 || !top || len(c.children) == 1) {
			for _, g := range slices.Clone(c.children) {
				g.parent = p
			}
			p.children = slices.Replace(p.children, i, i+1, c.children...)
			i += len(c.children) - 1
		}
	}
}

// byTheBook is REFERENCES as RFC 5256 has it, without care for time.
func byTheBook(letters []threadLetter) string {
	table := map[string]*plain{}
	nodes := make([]*plain, len(letters))
	for i := range letters {
		nodes[i] = &plain{seq: i + 1, l: &letters[i]}
		if id := letters[i].id; id != "" && table[id] == nil {
			table[id] = nodes[i]
		}
	}
	var dummies []*plain
	for _, n := range nodes {
		var last *plain
		for _, ref := range n.l.references {
			r := table[ref]
			if r == nil {
				r = &plain{}
				dummies = append(dummies, r)
				table[ref] = r
			}
			if last != nil && r.parent == nil {
				r.link(last)
			}
			last = r
		}
		if last == nil || n.parent != last {
			n.leave()
			if last != nil {
				n.link(last)
			}
		}
	}
	root := &plain{}
	for _, n := range append(nodes, dummies...) {
		if n.parent == nil {
			root.children = append(root.children, n)
			n.parent = root
		}
	}
	root.prune(true)
	for _, c := range root.children {
		if c.seq == 0 {
			c.sort()
		}
	}
	root.sort()
	subject := func(p *plain) (string, bool) {
		s := p.first().l.subject
		base, reply := strings.CutPrefix(s, "Re: ")
		return base, reply
	}
	subjects := map[string]*plain{}
	for _, c := range root.children {
		s, reply := subject(c)
		if s == "" {
			continue
		}
		t := subjects[s]
		if t == nil {
			subjects[s] = c
			continue
		}
		if _, tr := subject(t); t.seq != 0 && (c.seq == 0 || tr && !reply) {
			subjects[s] = c
		}
	}
	for _, c := range slices.Clone(root.children) {
		s, reply := subject(c)
		t := subjects[s]
		if s == "" || t == c {
			continue
		}
		_, tr := subject(t)
		switch {
		case t.seq == 0 && c.seq == 0:
			for _, g := range slices.Clone(c.children) {
				g.join(t)
			}
			c.leave()
		case t.seq == 0, reply && !tr:
			c.join(t)
		default:
			d := &plain{}
			d.join(root)
			t.join(d)
			c.join(d)
			subjects[s] = d
		}
	}
	root.sortAll()
	var b strings.Builder
	for _, c := range root.children {
		b.WriteByte('(')
		c.write(&b)
		b.WriteByte(')')
	}
	return b.String()
}

// tangled makes messages whose references make little sense.
func tangled(n int) []threadLetter {
	letters := make([]threadLetter, n)
	name := func() string { return fmt.Sprint(rand.IntN(n + n/3)) }
	for i := range letters {
		l := &letters[i]
		*l = threadLetter{id: fmt.Sprint(i), subject: fmt.Sprint("s", rand.IntN(n)), sent: rand.IntN(n), arrived: i}
		if rand.IntN(8) == 0 {
			l.id = []string{"", name()}[rand.IntN(2)]
		}
		for range rand.IntN(4) {
			l.references = append(l.references, name())
		}
		switch rand.IntN(6) {
		case 0:
			l.subject = ""
		case 1, 2:
			l.subject = "Re: " + l.subject
		}
	}
	return letters
}

func TestReferences(t *testing.T) {
	for range 300 {
		letters := tangled(1 + rand.IntN(40))
		if got, want := sessionWith(t, letters).threads(t, "REFERENCES"), byTheBook(letters); got != want {
			for i, l := range letters {
				t.Logf("%d: %+v", i+1, l)
			}
			t.Fatalf("\n got %s\nwant %s", got, want)
		}
	}
}

// members gives the numbers of a THREAD response in ascending order, and how deep it
// nests.
func members(text string) (numbers []int, depth int) {
	open := 0
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '(':
			open++
			depth = max(depth, open)
		case ')':
			open--
		}
		return r < '0' || r > '9'
	}) {
		n := 0
		fmt.Sscan(word, &n)
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, depth
}

// TestHostileThreads threads mailboxes that are made to cost much. Each message must
// be in the answer once.
func TestHostileThreads(t *testing.T) {
	const n = 20000
	hostileLetters := func(make func(i int) threadLetter) []threadLetter {
		out := []threadLetter{}
		for i := range n {
			out = append(out, make(i))
		}
		return out
	}
	id := func(i int) string { return fmt.Sprint("m", i) }
	for name, hostile := range map[string][]threadLetter{
		"one subject":     hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), subject: "the same", sent: -i} }),
		"replies of one":  hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), subject: "Re: the same"} }),
		"circle":          hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), references: []string{id((i + 1) % n)}} }),
		"chain":           hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), references: []string{id(i - 1)}, sent: -i} }),
		"chain backwards": hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), references: []string{id(i + 1)}} }),
		"comb":            hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), references: []string{id(i - i%2 - 2)}} }),
		"themselves":      hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), references: []string{id(i), id(i)}} }),
		"one Message-ID":  hostileLetters(func(i int) threadLetter { return threadLetter{id: "same", references: []string{"same"}} }),
		"children first":  hostileLetters(func(i int) threadLetter { return threadLetter{id: id(i), references: []string{id(n - i), id(i / 2)}} }),
		"dummies": hostileLetters(func(i int) threadLetter {
			return threadLetter{references: []string{fmt.Sprint("d", i), fmt.Sprint("d", i+1)}}
		}),
		"broken links again": hostileLetters(func(i int) threadLetter {
			return threadLetter{id: id(i / 2), references: []string{id(rand.IntN(n)), id(i / 2), id(rand.IntN(n))}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			s := sessionWith(t, hostile)
			for _, a := range threadAlgorithms {
				s.threads(t, a.name) // the columns
				text := ""
				stopwatch.Within(t, 5*time.Second, a.name, func() { text = s.threads(t, a.name) })
				numbers, depth := members(text)
				if len(numbers) != n || numbers[0] != 1 || numbers[n-1] != n || len(slices.Compact(numbers)) != n {
					t.Errorf("%s: %d of %d messages", a.name, len(numbers), n)
				}
				if depth > maxThreadNesting+1 {
					t.Errorf("%s nests %d deep", a.name, depth)
				}
			}
		})
	}
}

// TestRefs: subjects do not count, the thread where something arrived last is the last.
func TestRefs(t *testing.T) {
	s := sessionWith(t, []threadLetter{
		{id: "a", subject: "x", sent: 5, arrived: 1},
		{id: "b", subject: "x", sent: 9, arrived: 2},
		{id: "c", subject: "Re: x", sent: 7, arrived: 3, references: []string{"a"}},
		{id: "d", subject: "y", sent: 6, arrived: 4, references: []string{"a"}},
		{id: "e", sent: 1, arrived: 0, references: []string{"none"}},
		{id: "f", sent: 0, arrived: 9, references: []string{"none"}},
	})
	if got, want := s.threads(t, "REFS"), "(2)(1 (4)(3))((6)(5))"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := s.threads(t, "ORDEREDSUBJECT"), "(6 5)(1 (3)(2))(4)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
