// Package passwd is a directory in a file: one line a person, in the form of
// Dovecot's passwd-file. The file is read again when it changes, and never written.
package passwd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/crypt"
	"github.com/postern-mail/postern/mail"
)

// Options are a directory's keys in the settings file. File is needed.
type Options struct {
	// File is the absolute path of the file.
	File string `toml:"file"`
	// Scheme is how passwords are stored that do not say it; CRYPT when it is left
	// out.
	Scheme string `toml:"scheme"`
	// Domain is what is added to names that have none.
	Domain string `toml:"domain"`
	// FirstUID leaves out lines with a lower user number; lines without one have 0.
	FirstUID int `toml:"first_uid"`

	crypt.KeyOptions

	Keeper crypt.Keeper     `toml:"-"` // where KeyOptions.Upgrade keeps keys
	Log    *slog.Logger     `toml:"-"` // nil tells nobody
	Now    func() time.Time `toml:"-"` // nil is time.Now
}

// Bounds of a file: octets of it and of a line, and damaged lines that are logged one
// by one.
const (
	maxFile    = 256 << 20
	maxLine    = 8 << 10
	maxDamaged = 50
)

// settle is how long a file must have been left alone before it counts: whoever
// writes it in place is done then. What was read before serves as long.
const settle = time.Second

// Source is a directory.Source and directory.Lister. It has no goroutine.
type Source struct {
	o       Options
	checker *crypt.Checker
	keys    *crypt.Keys

	mu      sync.Mutex
	table   *table      // nil before the first reading
	pending os.FileInfo // what is waited for to settle, since then
	since   time.Time
	failing bool      // the file could not be read the last time
	stamp   time.Time // of the last reading's new passwords
}

// keyed is a Source that offers SCRAM.
type keyed struct{ *Source }

var (
	_ directory.Lister    = (*Source)(nil)
	_ directory.KeySource = keyed{}
)

// table is what a reading gave.
type table struct {
	of     os.FileInfo // nil when the file was too new to be sure of it
	people []*person
	names  map[string][]*person // by name and alias
}

// Open reads the file for the first time; one that is not there yet is not an error.
// KindBadArgument for options that cannot be meant.
func Open(ctx context.Context, o Options) (directory.Source, error) {
	if !filepath.IsAbs(o.File) {
		return nil, mail.Errorf(mail.KindBadArgument, "file: %q is not an absolute path.", o.File)
	}
	if o.Scheme == "" {
		o.Scheme = "CRYPT"
	}
	if err := crypt.CheckScheme(o.Scheme); err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "scheme: %s", mail.TextOf(err))
	}
	if o.Domain != "" {
		if _, err := directory.PrepareName("x@" + o.Domain); err != nil {
			return nil, mail.Errorf(mail.KindBadArgument, "domain: %q is not a domain.", o.Domain)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Source{o: o, checker: crypt.NewChecker(), keys: crypt.NewKeys(o.KeyOptions, o.Keeper)}
	s.current(ctx) // what is wrong it logs
	if o.Scram {
		return keyed{s}, nil
	}
	return s, nil
}

// Forget is part of directory.Forgetter.
func (s *Source) Forget(ctx context.Context, id string) { s.keys.Forget(ctx, id) }

// Close is part of directory.Source.
func (s *Source) Close() error { return nil }

// Find is part of directory.Source.
func (s *Source) Find(ctx context.Context, name string) (*directory.Person, error) {
	p, err := s.person(ctx, name)
	if err != nil {
		return nil, err
	}
	return p.copy(), nil
}

// CheckPassword is part of directory.Source.
func (s *Source) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	p, err := s.person(ctx, name)
	if err != nil {
		return nil, err
	}
	if p.hash == nil {
		return nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: fmt.Errorf("line %d: %s", p.line, p.locked)}
	}
	ok, err := s.checker.Matches(ctx, p.hash, password)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	s.keys.Proved(ctx, p.ID, p.stored, p.hash, password)
	return p.copy(), nil
}

// ScramKeys is part of directory.KeySource.
func (s keyed) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Person, directory.ScramKeys, error) {
	p, err := s.person(ctx, name)
	if err == nil && p.hash == nil {
		err = mail.Errorf(mail.KindNotFound, "")
	}
	if err != nil {
		return nil, directory.ScramKeys{}, err
	}
	keys, err := s.Source.keys.Of(ctx, p.ID, p.stored, p.hash, hash)
	if err != nil {
		return nil, directory.ScramKeys{}, err
	}
	return p.copy(), keys, nil
}

// People is part of directory.Lister.
func (s *Source) People(ctx context.Context, each func(directory.Person) error) error {
	t, err := s.current(ctx)
	if err != nil {
		return err
	}
	for _, p := range t.people {
		if err := ctx.Err(); err != nil {
			return mail.Wrap(mail.KindUnavailable, err)
		}
		if err := each(*p.copy()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) person(ctx context.Context, name string) (*person, error) {
	t, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	switch found := t.names[name]; len(found) {
	case 0:
		return nil, mail.Errorf(mail.KindNotFound, "")
	case 1:
		return found[0], nil
	default:
		return nil, unavailable("the lines %d and %d both have the name %s", found[0].line, found[1].line, name)
	}
}

func unavailable(format string, args ...any) error {
	return mail.Wrap(mail.KindUnavailable, fmt.Errorf(format, args...))
}

// current gives what the file says now, or what it said before while it is being
// written.
func (s *Source) current(ctx context.Context) (*table, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.refresh(ctx)
	if err != nil {
		if !s.failing {
			s.o.Log.ErrorContext(ctx, "the file of a directory cannot be read", "file", s.o.File, "error", err)
		}
		s.failing = true
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	s.failing = false
	return t, nil
}

func (s *Source) refresh(ctx context.Context) (*table, error) {
	is, err := os.Stat(s.o.File)
	if err != nil {
		return nil, err
	}
	if s.table != nil && same(s.table.of, is) {
		s.pending = nil
		return s.table, nil
	}
	now := s.o.Now()
	if !same(s.pending, is) {
		s.pending, s.since = is, now
	}
	// A time in the future says nothing: then it counts how long it was looked at.
	age := now.Sub(is.ModTime())
	settled := age >= settle || now.Sub(s.since) >= settle
	if s.table != nil && !settled {
		return s.table, nil
	}
	text, read, err := readWhole(s.o.File)
	if err != nil {
		return nil, err
	}
	if !same(is, read) {
		if s.table != nil {
			return s.table, nil
		}
		return nil, fmt.Errorf("%s is being written", s.o.File)
	}
	if changed := is.ModTime(); changed.After(s.stamp) {
		s.stamp = changed
	} else {
		s.stamp = s.stamp.Add(time.Nanosecond)
	}
	next := s.parse(ctx, text)
	if settled {
		next.of, s.pending = is, nil
	}
	s.table = next
	return next, nil
}

// same tells whether a file is as it was. A file that is not remembered is another.
func same(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readWhole reads a file that nobody writes meanwhile, and gives what it is; nil when
// somebody did.
func readWhole(path string) (text []byte, is os.FileInfo, err error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if before.Size() > maxFile {
		return nil, nil, fmt.Errorf("%s has more than %d MiB", path, maxFile>>20)
	}
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !same(before, after) || int64(len(text)) != after.Size() {
		return nil, nil, nil
	}
	return text, after, nil
}

// openRegular opens a file and nothing that could keep its reader waiting.
func openRegular(path string) (*os.File, error) {
	is, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !is.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	return os.Open(path)
}

// copy gives a Person that the caller may change.
func (p *person) copy() *directory.Person {
	c := p.Person
	c.Aliases, c.Groups = slices.Clone(c.Aliases), slices.Clone(c.Groups)
	number := func(n *int64) *int64 {
		if n == nil {
			return nil
		}
		v := *n
		return &v
	}
	c.QuotaBytes, c.QuotaMessages = number(c.QuotaBytes), number(c.QuotaMessages)
	return &c
}
