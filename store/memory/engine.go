// Package memory is the engine that keeps everything in RAM: for tests, and for a
// server that may forget. One memory can be shared by several Stores as if they
// were several servers on one database; see Engine.Server.
//
// Besides what every engine does it checks what the contract asks of the caller
// (an expunged UID exists, a reference points to an email, …) and answers a
// Batch that breaks it with KindServerBug, unchanged.
package memory

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// maxVanished is how many Expunged a mailbox remembers.
	maxVanished = 4096
	// maxRecordValue bounds Record.Value, in bytes.
	maxRecordValue = 1 << 20
	// announcements is how many Announcements a face holds for a slow listener;
	// one more and they become a single Announcement{All: true}.
	announcements = 256
)

// Engine is one server's face of a memory. It is safe for concurrent use.
type Engine struct {
	shared *shared
	closed atomic.Bool
	heard  chan store.Announcement // nil in New's face; sent to and closed under shared.mu
}

var _ store.Engine = (*Engine)(nil)

// shared is what all faces of one memory have in common.
type shared struct {
	mu       sync.RWMutex
	accounts map[mail.AccountID]*account
	records  map[recordKey]store.Record
	faces    []*Engine // those that listen
}

type recordKey struct{ kind, key string }

// New gives an empty memory. Its Announcements is nil: it is the face for one
// process alone.
func New() *Engine {
	return &Engine{shared: &shared{
		accounts: map[mail.AccountID]*account{},
		records:  map[recordKey]store.Record{},
	}}
}

// Server gives a further face of the same memory, as if of another server: its
// Announcements hears of what all other faces commit, and is closed by Close.
// Closing a face leaves the memory and the other faces as they are.
func (e *Engine) Server() store.Engine {
	f := &Engine{shared: e.shared, heard: make(chan store.Announcement, announcements)}
	e.shared.mu.Lock()
	defer e.shared.mu.Unlock()
	e.shared.faces = append(e.shared.faces, f)
	return f
}

// Announcements is nil in New's face; see Server.
func (e *Engine) Announcements() <-chan store.Announcement {
	if e.heard == nil {
		return nil
	}
	return e.heard
}

// Close makes this face answer KindUnavailable from now on.
func (e *Engine) Close() error {
	s := e.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.closed.Swap(true) && e.heard != nil {
		s.faces = slices.DeleteFunc(s.faces, func(f *Engine) bool { return f == e })
		close(e.heard)
	}
	return nil
}

// announce tells a to all faces but e. shared.mu is held.
func (e *Engine) announce(a store.Announcement) {
	for _, f := range e.shared.faces {
		if f == e {
			continue
		}
		select {
		case f.heard <- a:
		default:
			for len(f.heard) > 0 {
				select {
				case <-f.heard:
				default:
				}
			}
			f.heard <- store.Announcement{All: true}
		}
	}
}

// ready is asked first by every method.
func (e *Engine) ready(ctx context.Context) error {
	if e.closed.Load() {
		return mail.Errorf(mail.KindUnavailable, "the memory engine is closed")
	}
	return mail.Wrap(mail.KindUnavailable, ctx.Err())
}

func notFound(id mail.AccountID) error {
	return mail.Errorf(mail.KindNotFound, "there is no account %v", id)
}

// Account implements store.Engine.
func (e *Engine) Account(ctx context.Context, id mail.AccountID) (store.AccountState, error) {
	if err := e.ready(ctx); err != nil {
		return store.AccountState{}, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	a := e.shared.accounts[id]
	if a == nil {
		return store.AccountState{}, notFound(id)
	}
	return a.state(), nil
}

// Accounts implements store.Engine.
func (e *Engine) Accounts(ctx context.Context) ([]mail.AccountID, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	return sortedKeys(e.shared.accounts), nil
}

// Messages implements store.Engine.
func (e *Engine) Messages(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) ([]store.Message, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	m, err := e.shared.mailbox(id, mailbox)
	if err != nil {
		return nil, err
	}
	if since == 0 {
		return slices.Clone(m.index), nil
	}
	var out []store.Message
	for _, x := range m.index {
		if x.ModSeq > since {
			out = append(out, x)
		}
	}
	return out, nil
}

// Vanished implements store.Engine. The last 4,096 Expunged of a mailbox are
// remembered.
func (e *Engine) Vanished(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (mail.NumSet, bool, error) {
	if err := e.ready(ctx); err != nil {
		return nil, false, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	m, err := e.shared.mailbox(id, mailbox)
	if err != nil {
		return nil, false, err
	}
	var out mail.NumSet
	for _, v := range m.vanished {
		if v.ModSeq > since {
			for _, r := range v.UIDs {
				out.AddRange(r.First, r.Last)
			}
		}
	}
	return out, since >= m.forgotten, nil
}

// mailbox finds a mailbox; KindNotFound.
func (s *shared) mailbox(id mail.AccountID, mailbox mail.MailboxID) (*mailboxIndex, error) {
	a := s.accounts[id]
	if a == nil {
		return nil, notFound(id)
	}
	m := a.mailboxes[mailbox]
	if m == nil {
		return nil, mail.Errorf(mail.KindNotFound, "there is no mailbox %v", mailbox)
	}
	return m, nil
}

// Summaries implements store.Engine.
func (e *Engine) Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, summary []byte) error) error {
	return e.each(ctx, id, ids, each, func(m *email) []byte { return m.summary })
}

// Texts implements store.Engine.
func (e *Engine) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, text []byte) error) error {
	return e.each(ctx, id, ids, each, func(m *email) []byte { return m.text })
}

// Filters implements store.Engine.
func (e *Engine) Filters(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(i int, filter []byte) error) error {
	return e.each(ctx, id, ids, each, func(m *email) []byte { return m.filter })
}

// PutFilters implements store.Engine.
func (e *Engine) PutFilters(ctx context.Context, id mail.AccountID, filters []store.EmailFilter) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	e.shared.mu.Lock()
	defer e.shared.mu.Unlock()
	if a := e.shared.accounts[id]; a != nil {
		for _, f := range filters {
			if m := a.emails[f.Email]; m != nil {
				m.filter = copied(f.Filter)
			}
		}
	}
	return nil
}

func (e *Engine) each(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error, part func(*email) []byte) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	e.shared.mu.RLock()
	parts := make([][]byte, len(ids))
	if a := e.shared.accounts[id]; a != nil {
		for i, m := range ids {
			if m := a.emails[m]; m != nil {
				parts[i] = part(m)
			}
		}
	}
	e.shared.mu.RUnlock()
	for i, p := range parts {
		if err := mail.Wrap(mail.KindUnavailable, ctx.Err()); err != nil {
			return err
		}
		if err := each(i, slices.Clone(p)); err != nil {
			return err
		}
	}
	return nil
}

// Body implements store.Engine.
func (e *Engine) Body(ctx context.Context, id mail.AccountID, m mail.EmailID) (store.Body, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	if a := e.shared.accounts[id]; a != nil {
		if m := a.emails[m]; m != nil {
			return &body{content: m.body}, nil
		}
	}
	return nil, mail.Errorf(mail.KindExpunged, "message %v no longer exists", m)
}

// body reads an email's content, which nobody writes after its Commit.
type body struct {
	content []byte
	closed  bool
}

func (b *body) Size() int64   { return int64(len(b.content)) }
func (b *body) Bytes() []byte { return b.content }

func (b *body) Part(off int64) ([]byte, error) {
	switch {
	case b.closed:
		return nil, mail.Errorf(mail.KindServerBug, "read of a closed body")
	case off < 0:
		return nil, mail.Errorf(mail.KindServerBug, "read at a negative offset")
	case off >= int64(len(b.content)):
		return nil, io.EOF
	}
	return b.content[off:], nil
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func (b *body) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case b.closed:
		return 0, mail.Errorf(mail.KindServerBug, "read of a closed body")
	case off < 0:
		return 0, mail.Errorf(mail.KindServerBug, "read at a negative offset")
	case off >= int64(len(b.content)):
		return 0, io.EOF
	}
	n := copy(p, b.content[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// References implements store.Engine.
func (e *Engine) References(ctx context.Context, id mail.AccountID) ([]store.Reference, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	var out []store.Reference
	if a := e.shared.accounts[id]; a != nil {
		for _, m := range sortedKeys(a.emails) {
			out = append(out, store.Reference{Email: m, Delta: a.emails[m].references})
		}
	}
	return out, nil
}

// Threads implements store.Engine.
func (e *Engine) Threads(ctx context.Context, id mail.AccountID, keys []store.ThreadKey) ([]mail.ThreadID, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	out := make([]mail.ThreadID, len(keys))
	if a := e.shared.accounts[id]; a != nil {
		for i, k := range keys {
			out[i] = a.threads[k]
		}
	}
	return out, nil
}

// Records implements store.Engine.
func (e *Engine) Records(ctx context.Context, kind, prefix string) ([]store.Record, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	e.shared.mu.RLock()
	defer e.shared.mu.RUnlock()
	var out []store.Record
	for k, r := range e.shared.records {
		if k.kind == kind && strings.HasPrefix(k.key, prefix) {
			r.Value = copied(r.Value)
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// PutRecords implements store.Engine. KindBadArgument when a record is named
// twice, has no kind or a NUL in it; KindTooBig beyond 1 MiB.
func (e *Engine) PutRecords(ctx context.Context, records []store.Record) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	e.shared.mu.Lock()
	defer e.shared.mu.Unlock()
	seen := map[recordKey]bool{}
	for _, r := range records {
		k := recordKey{r.Kind, r.Key}
		switch {
		case r.Kind == "" || strings.IndexByte(r.Kind, 0) >= 0 || seen[k]:
			return mail.Errorf(mail.KindBadArgument, "record %q %q cannot be written so", r.Kind, r.Key)
		case len(r.Value) > maxRecordValue:
			return mail.Errorf(mail.KindTooBig, "record %q %q is larger than 1 MiB", r.Kind, r.Key)
		case e.shared.records[k].Revision != r.Revision:
			return mail.Errorf(mail.KindConflict, "record %q %q was changed meanwhile", r.Kind, r.Key)
		}
		seen[k] = true
	}
	var kinds []string
	for _, r := range records {
		k := recordKey{r.Kind, r.Key}
		if r.Value == nil {
			delete(e.shared.records, k)
		} else {
			r.Value = copied(r.Value)
			r.Revision++
			e.shared.records[k] = r
		}
		if !slices.Contains(kinds, r.Kind) {
			kinds = append(kinds, r.Kind)
		}
	}
	for _, k := range kinds {
		e.announce(store.Announcement{Kind: k})
	}
	return nil
}

// Commit implements store.Engine. Memory is as durable as it gets, so wait
// returns nil at once.
func (e *Engine) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	s := e.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	id := b.Account.ID
	a := s.accounts[id]
	switch {
	case b.Create && a != nil:
		return nil, mail.Errorf(mail.KindAlreadyExists, "account %v exists", id)
	case b.Create:
		a = newAccount()
	case a == nil:
		return nil, notFound(id)
	case a.head.ModSeq != b.Expect:
		return nil, mail.Errorf(mail.KindConflict, "account %v was changed meanwhile", id)
	}
	if err := checkRecords(b.Records); err != nil {
		return nil, err
	}
	if b.Remove {
		delete(s.accounts, id)
	} else {
		if err := a.check(b); err != nil {
			return nil, err
		}
		a.apply(b)
		s.accounts[id] = a
	}
	for _, r := range b.Records {
		k := recordKey{r.Kind, r.Key}
		if r.Value == nil {
			delete(s.records, k)
			continue
		}
		r.Value, r.Revision = copied(r.Value), 1
		s.records[k] = r
	}
	e.announce(store.Announcement{Account: id, ModSeq: b.Account.ModSeq})
	return func() error { return nil }, nil
}
