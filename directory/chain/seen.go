package chain

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// seen remembers what an external directory said, for the time in which it does not
// answer: who a name means, and which passwords were right, as digests with a key
// that this process made and never stores. It knows nothing wrong and no one-time
// secrets: tokens never come here. Whatever the directory says later replaces it at
// once.
type seen struct {
	ttl time.Duration
	now func() time.Time
	key []byte

	mu    sync.Mutex
	names map[string]*list.Element // of *sight, also by alias
	byID  map[string][]string      // names of a person
	in    map[string]membership    // groups by identifier, at most maxSeen
	order list.List                // the latest in front
}

// sight is what was said of a name.
type sight struct {
	name   string
	person directory.Person
	when   time.Time
	proofs []proof
}

type proof struct {
	digest [sha256.Size]byte
	when   time.Time
}

// membership is what was said of somebody's groups.
type membership struct {
	groups []string
	when   time.Time
}

// Bounds of what is remembered of one directory: names, and passwords of one name.
const (
	maxSeen   = 1 << 16
	maxProofs = 4
)

func newSeen(ttl time.Duration, now func() time.Time) *seen {
	s := &seen{ttl: ttl, now: now, key: make([]byte, 32), names: map[string]*list.Element{}, byID: map[string][]string{}, in: map[string]membership{}}
	rand.Read(s.key) // never fails (crypto/rand)
	return s
}

// person takes what the directory said of name now. What was proved of an older
// password, or of somebody else with that name, is forgotten.
func (s *seen) person(name string, p *directory.Person) {
	if s.ttl <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(name, p)
}

func (s *seen) put(name string, p *directory.Person) *sight {
	if e := s.names[name]; e != nil {
		old := e.Value.(*sight)
		if old.person.ID != p.ID || !old.person.PasswordChanged.Equal(p.PasswordChanged) || p.Blocked != "" {
			s.forget(old.person.ID)
		}
	}
	if p.Blocked != "" {
		s.forget(p.ID)
	}
	if e := s.names[name]; e != nil {
		v := e.Value.(*sight)
		v.person, v.when = *p, s.now()
		s.order.MoveToFront(e)
		return v
	}
	for len(s.names) >= maxSeen {
		s.drop(s.order.Back())
	}
	v := &sight{name: name, person: *p, when: s.now()}
	s.names[name] = s.order.PushFront(v)
	s.byID[p.ID] = append(s.byID[p.ID], name)
	return v
}

// proved takes that a password was right.
func (s *seen) proved(name, password string, p *directory.Person) {
	if s.ttl <= 0 {
		return
	}
	d := directory.Digest(s.key, name, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.put(name, p)
	v.proofs = slices.DeleteFunc(v.proofs, func(p proof) bool { return p.digest == d })
	if len(v.proofs) == maxProofs {
		v.proofs = v.proofs[1:]
	}
	v.proofs = append(v.proofs, proof{d, s.now()})
}

// refuted takes that a password is wrong: whoever had it before has it no more, by
// none of the names.
func (s *seen) refuted(name, password string) {
	if s.ttl <= 0 {
		return
	}
	d := directory.Digest(s.key, name, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.names[name]
	if e == nil {
		return
	}
	v := e.Value.(*sight)
	if slices.ContainsFunc(v.proofs, func(p proof) bool { return p.digest == d }) {
		s.forget(v.person.ID)
	}
}

// unknown takes that nobody has the name.
func (s *seen) unknown(name string) {
	if s.ttl <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.names[name]; e != nil {
		s.forget(e.Value.(*sight).person.ID)
	}
}

// inGroups takes what the directory said of somebody's groups now.
func (s *seen) inGroups(id string, groups []string) {
	if s.ttl <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.in) >= maxSeen {
		clear(s.in)
	}
	s.in[id] = membership{slices.Clone(groups), s.now()}
}

// groupsOf gives what was said of somebody's groups within the time.
func (s *seen) groupsOf(id string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.in[id]
	return m.groups, ok && s.now().Before(m.when.Add(s.ttl))
}

// gone takes that a person is not there any more.
func (s *seen) gone(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
}

// forget drops a person with all their names.
func (s *seen) forget(id string) {
	delete(s.in, id)
	for _, name := range slices.Clone(s.byID[id]) {
		if e := s.names[name]; e != nil {
			s.drop(e)
		}
	}
}

func (s *seen) drop(e *list.Element) {
	v := s.order.Remove(e).(*sight)
	delete(s.names, v.name)
	left := slices.DeleteFunc(s.byID[v.person.ID], func(name string) bool { return name == v.name })
	if len(left) == 0 {
		delete(s.byID, v.person.ID)
	} else {
		s.byID[v.person.ID] = left
	}
}

// last gives what was said of name within the time, nil when there is nothing.
func (s *seen) last(name string) *directory.Person {
	if s.ttl <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.names[name]
	if e == nil || !s.now().Before(e.Value.(*sight).when.Add(s.ttl)) {
		return nil
	}
	p := e.Value.(*sight).person
	p.Aliases = slices.Clone(p.Aliases)
	return &p
}

// was tells whether password was name's within the time.
func (s *seen) was(name, password string) *directory.Person {
	p := s.last(name)
	if p == nil {
		return nil
	}
	d := directory.Digest(s.key, name, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.names[name]
	if e == nil || !slices.ContainsFunc(e.Value.(*sight).proofs, func(p proof) bool {
		return hmac.Equal(p.digest[:], d[:]) && s.now().Before(p.when.Add(s.ttl))
	}) {
		return nil
	}
	return p
}

// find asks the source who a name means, and what is remembered while it does not
// answer.
func (l *link) find(ctx context.Context, name string) (*directory.Person, error) {
	p, err := l.Source.Find(ctx, name)
	if err == nil {
		err = l.check(p)
	}
	if err == nil {
		l.seen.person(name, p)
		return p, nil
	}
	switch mail.KindOf(err) {
	case mail.KindNotFound:
		l.seen.unknown(name)
		return nil, errNotFound
	case mail.KindCannot:
		return nil, err
	}
	if p := l.seen.last(name); p != nil && ctx.Err() == nil {
		return p, nil
	}
	return nil, l.unavailable(err)
}

func (l *link) checkPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	done, err := l.gate.Enter(ctx, 0)
	var p *directory.Person
	if err == nil {
		p, err = l.Source.CheckPassword(ctx, name, password)
		done()
	}
	if err == nil {
		err = l.check(p)
	}
	if err == nil {
		l.seen.proved(name, password, p)
		return p, nil
	}
	switch mail.KindOf(err) {
	case mail.KindNotFound:
		l.seen.unknown(name)
		return nil, errNotFound
	case mail.KindAuthenticationFailed:
		l.seen.refuted(name, password)
		return nil, err
	case mail.KindCannot:
		return nil, err
	}
	if p := l.seen.was(name, password); p != nil && ctx.Err() == nil {
		return p, nil
	}
	return nil, l.unavailable(err)
}

// unavailable is what becomes of every other error of a source: its cause names the
// directory, for the log.
func (l *link) unavailable(err error) error {
	return &mail.Error{Kind: mail.KindUnavailable, Cause: fmt.Errorf("directory %s: %w", l.Name, err)}
}

// check refuses what no Source may say.
func (l *link) check(p *directory.Person) error {
	if p == nil {
		return l.unavailable(fmt.Errorf("it gave nobody"))
	}
	if err := directory.CheckID(p.ID); err != nil {
		return l.unavailable(err)
	}
	for _, name := range append([]string{p.Name}, p.Aliases...) {
		if prepared, err := directory.PrepareName(name); err != nil || prepared != name {
			return l.unavailable(fmt.Errorf("it gave the name %q, which is not prepared", name))
		}
	}
	return nil
}
