// Package chain makes one directory of several: Postern's own and external ones,
// asked in an order, each for the names of its domains. What external directories
// do not keep it keeps as records: which account belongs to whom, by an identifier
// that outlives a change of name. While an external directory does not answer, those
// may go on for a while who were seen before, if its settings say so.
package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Link is one directory of a chain.
type Link struct {
	Name string // unique: small letters, digits, hyphens
	// Domains are whose names are asked for, "" for names without a domain; empty is
	// every name.
	Domains []string
	// Own is Postern's own directory, at most one of a chain; else Source is set.
	Own    directory.Writable
	Source directory.Source
	// People are the directories whose people Source proves, by their names there:
	// "any" for whichever knows the name first. Then Source says nothing of who exists.
	// Empty: Source has people of its own.
	People []string
	// Provision makes accounts for people of Source without an administrator.
	Provision bool
	// Cache is how long what Source said of somebody, a right password too, serves
	// while it does not answer; 0 not at all.
	Cache time.Duration
}

// Accounts is what a chain needs of the mail store. Limits of 0 are none.
type Accounts interface {
	CreateAccount(ctx context.Context, quotaBytes, quotaMessages int64) (mail.AccountID, error)
	RemoveAccount(ctx context.Context, id mail.AccountID) error
	Quota(ctx context.Context, id mail.AccountID) (bytes, messages int64, err error)
	SetQuota(ctx context.Context, id mail.AccountID, bytes, messages int64) error
}

// Records is what a chain needs of a store.Engine.
type Records interface {
	Records(ctx context.Context, kind, prefix string) ([]store.Record, error)
	PutRecords(ctx context.Context, records []store.Record) error
}

// Options are the parts of a chain.
type Options struct {
	Links    []Link
	Accounts Accounts
	Records  Records
	Log      *slog.Logger
	// Secret and ScramIterations make the SCRAM keys that nobody can match
	// (directory.UnmatchableScramKeys): those of our own directory, so that all look
	// alike.
	Secret          []byte
	ScramIterations int
	Now             func() time.Time // nil is time.Now
}

// AnyPeople in Link.People are those of every directory.
const AnyPeople = "any"

// Directory is a directory.Writable and directory.Linker. Its methods are called
// from many goroutines; it has none of its own.
type Directory struct {
	links    []*link
	own      directory.Writable // nil when there is none
	accounts Accounts
	log      *slog.Logger
	now      func() time.Time
	wait     func(ctx context.Context, d time.Duration)

	secret     []byte // of SCRAM keys of nobody
	iterations int
	records    Records
	people     people
}

// link is a Link with what is remembered of its people.
type link struct {
	Link
	seen *seen
	// judges tells whether it proves the passwords of other directories' people.
	judges bool
	gate   *directory.Gate // of the proofs that Source is asked for
}

// Bounds of how many proofs an external directory is asked for at once, so that one
// that is slow keeps nobody of the others waiting: see directory.GateLimits.
const (
	proofsAtOnce    = 32
	proofsStrangers = 24
)

var (
	_ directory.Writable = (*Directory)(nil)
	_ directory.Linker   = (*Directory)(nil)
	_ directory.Grouped  = (*Directory)(nil)
	_ directory.Readable = (*Directory)(nil)
)

// Open reads who has an account. It asks no external directory. KindUnavailable,
// KindCorrupt.
func Open(ctx context.Context, o Options) (*Directory, error) {
	d := &Directory{accounts: o.Accounts, log: o.Log, secret: o.Secret, iterations: o.ScramIterations, now: o.Now, wait: pause}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	for _, l := range o.Links {
		if l.Own != nil {
			d.own = l.Own
		}
		// Whether a source proves passwords at all it says without asking anybody.
		judges := false
		if len(l.People) > 0 {
			_, err := l.Source.CheckPassword(ctx, "nobody", "")
			judges = mail.KindOf(err) != mail.KindCannot
		}
		d.links = append(d.links, &link{l, newSeen(l.Cache, d.now), judges, directory.NewGate(directory.GateLimits{AtOnce: proofsAtOnce, Strangers: proofsStrangers})})
	}
	d.records, d.people.records = o.Records, o.Records
	return d, d.people.refresh(ctx)
}

// Refresh reads the records again: what an announcement of another server's change
// asks for.
func (d *Directory) Refresh(ctx context.Context) error { return d.people.refresh(ctx) }

// Close closes the external directories.
func (d *Directory) Close() error {
	var all []error
	for _, l := range d.links {
		if l.Source != nil {
			all = append(all, l.Source.Close())
		}
	}
	return errors.Join(all...)
}

// covers tells whether the directory is asked for name.
func (l *link) covers(name string) bool {
	if len(l.Domains) == 0 {
		return true
	}
	domain := ""
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		domain = name[at+1:]
	}
	return slices.Contains(l.Domains, domain)
}

// has tells whether the directory may have somebody of that name.
func (l *link) has(name string) bool { return len(l.People) == 0 && l.covers(name) }

// Lookup is part of directory.Directory. Nobody else's answer counts when a
// directory does not answer that could know the name: KindUnavailable.
func (d *Directory) Lookup(ctx context.Context, name string) (*directory.Entry, error) {
	e, _, err := d.first(ctx, name)
	if mail.KindOf(err) == mail.KindNotFound {
		return d.gone(name)
	}
	return e, err
}

// first gives who has a name, and the directory that knows it first.
func (d *Directory) first(ctx context.Context, name string) (*directory.Entry, *link, error) {
	for _, l := range d.links {
		if !l.has(name) {
			continue
		}
		e, err := d.lookup(ctx, l, name)
		if err == nil || mail.KindOf(err) != mail.KindNotFound {
			return e, l, err
		}
	}
	return nil, nil, errNotFound
}

// lookup asks one directory.
func (d *Directory) lookup(ctx context.Context, l *link, name string) (*directory.Entry, error) {
	if l.Own != nil {
		return l.Own.Lookup(ctx, name)
	}
	p, err := l.find(ctx, name)
	switch {
	case err == nil:
		return d.entry(ctx, l, p)
	case mail.KindOf(err) == mail.KindNotFound:
		if r := d.people.named(l.Name, name); r != nil && r.Name == name {
			l.forget(ctx, r.id)
		}
	case mail.KindOf(err) == mail.KindCannot:
		// It learns of people from what proves them: the record knows who was there.
		if r := d.people.named(l.Name, name); r != nil {
			e := r.entry()
			return &e, nil
		}
		return nil, errNotFound
	}
	return nil, err
}

var errNotFound = &mail.Error{Kind: mail.KindNotFound, Text: "There is no such mailbox."}

// forget removes what is remembered of somebody who is gone, and what the source keeps.
func (l *link) forget(ctx context.Context, id string) {
	l.seen.gone(id)
	if f, ok := l.Source.(directory.Forgetter); ok {
		f.Forget(ctx, id)
	}
}

// gone gives the mailbox of somebody whom no directory knows any more.
func (d *Directory) gone(name string) (*directory.Entry, error) {
	r := d.people.named("", name)
	if r == nil {
		return nil, errNotFound
	}
	e := r.entry()
	e.Enabled, e.Gone = false, true
	return &e, nil
}

// CheckPassword is part of directory.Directory: the first directory that knows the
// name judges the password.
func (d *Directory) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	began, outside := d.now(), false
	e, err := d.checkPassword(ctx, name, password, &outside)
	if outside && err != nil && mail.KindOf(err) == mail.KindAuthenticationFailed {
		d.evenly(ctx, began)
	}
	return e, err
}

// evenly waits: other servers answer unknown names faster than wrong passwords, and
// what fails takes a whole number of steps.
func (d *Directory) evenly(ctx context.Context, began time.Time) {
	took := d.now().Sub(began)
	d.wait(ctx, failureStep-took%failureStep)
}

// failureStep is what every refused password takes at least once an external
// directory was asked, and a multiple of what it takes then.
const failureStep = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// ownKnows tells whether Postern's own directory knows a name.
func (l *link) ownKnows(ctx context.Context, name string) (bool, error) {
	_, err := l.Own.Lookup(ctx, name)
	if mail.KindOf(err) == mail.KindNotFound {
		return false, nil
	}
	return err == nil, err
}

func (d *Directory) checkPassword(ctx context.Context, name, password string, outside *bool) (*directory.Entry, error) {
	if password == "" {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	if judge, e, err := d.judge(ctx, name); err != nil {
		return nil, err
	} else if judge != nil {
		*outside = true
		if e, err := d.judged(ctx, judge, e, password); err == nil || mail.KindOf(err) != mail.KindNotFound {
			return e, err
		}
	}
links:
	for _, l := range d.links {
		if !l.has(name) {
			continue
		}
		if l.Own != nil {
			if known, err := l.ownKnows(ctx, name); err != nil {
				return nil, err
			} else if known {
				return l.Own.CheckPassword(ctx, name, password)
			}
			continue
		}
		*outside = true
		p, err := l.checkPassword(ctx, name, password)
		if err == nil {
			return d.entry(ctx, l, p)
		}
		if mail.KindOf(err) == mail.KindCannot {
			// It proves no passwords. Who is known there has none elsewhere.
			if _, err = d.lookup(ctx, l, name); err == nil {
				break links
			}
		}
		if mail.KindOf(err) != mail.KindNotFound {
			return nil, err
		}
	}
	if d.own != nil {
		// Whatever it says, nobody gets in here: it is the price of a wrong password.
		d.own.CheckPassword(ctx, name, password)
	}
	return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

// ScramKeys is part of directory.Directory.
func (d *Directory) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	none := directory.ScramKeys{}
	if judge, _, err := d.judge(ctx, name); err != nil {
		return nil, none, err
	} else if judge != nil {
		// The password is another directory's to judge.
		return d.nobodysKeys(name, hash)
	}
	for _, l := range d.links {
		if !l.has(name) {
			continue
		}
		if l.Own != nil {
			if known, err := l.ownKnows(ctx, name); err != nil {
				return nil, none, err
			} else if known {
				return l.Own.ScramKeys(ctx, name, hash)
			}
			continue
		}
		if keys, ok := l.Source.(directory.KeySource); ok {
			p, k, err := keys.ScramKeys(ctx, name, hash)
			switch {
			case err == nil:
				if err := l.check(p); err != nil {
					return nil, none, err
				}
				l.seen.person(name, p)
				e, err := d.entry(ctx, l, p)
				return e, k, err
			case mail.KindOf(err) != mail.KindNotFound:
				return nil, none, err
			}
		}
		// Who is known here without keys has none of a later directory either.
		_, err := d.lookup(ctx, l, name)
		switch {
		case err == nil:
			return d.nobodysKeys(name, hash)
		case mail.KindOf(err) != mail.KindNotFound:
			return nil, none, err
		}
	}
	return d.nobodysKeys(name, hash)
}

// HasReadable is part of directory.Readable: our own directory alone keeps readable
// passwords.
func (d *Directory) HasReadable() bool {
	own, ok := d.own.(directory.Readable)
	return ok && own.HasReadable()
}

// CheckAnswer is part of directory.Readable.
func (d *Directory) CheckAnswer(ctx context.Context, name string, right func([]byte) bool) (*directory.Entry, error) {
	own, ok := d.own.(directory.Readable)
	if !ok {
		return nil, mail.Errorf(mail.KindCannot, "This server keeps no passwords that it can read.")
	}
	began, outside := d.now(), false
	judge, _, err := d.judge(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, l := range d.links {
		if judge != nil {
			// The password is another directory's to judge, and what is kept here is none.
			outside = true
			break
		}
		if !l.has(name) {
			continue
		}
		if l.Own != nil {
			known, err := l.ownKnows(ctx, name)
			if err != nil {
				return nil, err
			}
			if known {
				e, err := own.CheckAnswer(ctx, name, right)
				if outside && err != nil {
					d.evenly(ctx, began)
				}
				return e, err
			}
			continue
		}
		// Who is known here has no readable password of a later directory.
		outside = true
		_, err := d.lookup(ctx, l, name)
		if err == nil {
			break
		}
		if mail.KindOf(err) != mail.KindNotFound {
			return nil, err
		}
	}
	// Whatever right says, nobody gets in here.
	own.CheckAnswer(ctx, "", right)
	if outside {
		d.evenly(ctx, began)
	}
	return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

// nobodysKeys are keys that no password matches.
func (d *Directory) nobodysKeys(name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	k, err := directory.UnmatchableScramKeys(hash, name, d.secret, d.iterations)
	return nil, k, err
}

// HasKeys is part of directory.Chained.
func (d *Directory) HasKeys() bool {
	return d.own != nil || slices.ContainsFunc(d.links, func(l *link) bool {
		_, ok := l.Source.(directory.KeySource)
		return ok
	})
}

// HasTokens is part of directory.Chained.
func (d *Directory) HasTokens() bool {
	return slices.ContainsFunc(d.links, func(l *link) bool {
		_, ok := l.Source.(directory.TokenSource)
		return ok
	})
}

// Issuer is part of directory.Chained.
func (d *Directory) Issuer(name string) (configuration, scope string) {
	var first directory.TokenSource
	for _, l := range d.links {
		if source, ok := l.Source.(directory.TokenSource); ok {
			if name == "" || l.covers(name) {
				return source.Issuer()
			}
			if first == nil {
				first = source
			}
		}
	}
	if first == nil {
		return "", ""
	}
	return first.Issuer()
}

// CheckToken is part of directory.Chained.
func (d *Directory) CheckToken(ctx context.Context, name, token string) (*directory.Entry, time.Time, error) {
	for _, l := range d.links {
		source, ok := l.Source.(directory.TokenSource)
		if !ok || name != "" && !l.covers(name) {
			continue
		}
		said := name
		if len(l.People) > 0 {
			said = "" // it is compared with what they are called here
		}
		done, err := l.gate.Enter(ctx, 0)
		if err != nil {
			return nil, time.Time{}, err
		}
		p, until, err := source.CheckToken(ctx, said, token)
		done()
		switch {
		case err == nil:
			e, err := d.proved(ctx, l, p)
			if err == nil && said != name && name != p.Name && !calls(e, name) {
				err = refused("the token is %s's, not %q's", e.Name, name)
			}
			if err != nil {
				return nil, time.Time{}, err
			}
			return e, until, nil
		case mail.KindOf(err) != mail.KindNotFound:
			return nil, time.Time{}, err
		}
	}
	return nil, time.Time{}, mail.Errorf(mail.KindAuthenticationFailed, "")
}

// HasTickets is part of directory.Chained.
func (d *Directory) HasTickets(service string) bool {
	return slices.ContainsFunc(d.links, func(l *link) bool {
		source, ok := l.Source.(directory.TicketSource)
		return ok && source.HasTickets(service)
	})
}

// CheckTicket is part of directory.Chained.
func (d *Directory) CheckTicket(ctx context.Context, service string, token []byte) (*directory.Entry, *krb5.Context, error) {
	for _, l := range d.links {
		source, ok := l.Source.(directory.TicketSource)
		if !ok {
			continue
		}
		done, err := l.gate.Enter(ctx, 0)
		if err != nil {
			return nil, nil, err
		}
		p, shared, err := source.CheckTicket(ctx, service, token)
		done()
		if mail.KindOf(err) == mail.KindNotFound {
			continue
		}
		var e *directory.Entry
		if err == nil {
			e, err = d.proved(ctx, l, p)
		}
		if err != nil {
			return nil, nil, err
		}
		return e, shared, nil
	}
	return nil, nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

// Asked is part of directory.Chained.
func (d *Directory) Asked(ctx context.Context, name string) []directory.Answer {
	var answers []directory.Answer
	for _, l := range d.links {
		text, last := "", false
		switch e, err := d.asked(ctx, l, name); {
		case !l.covers(name):
			text = "is not asked: the name has none of its domains."
		case len(l.People) > 0:
			text = "says nothing of who exists: it proves people of " + strings.Join(l.People, ", ") + "."
		case err == nil && e.Name != name:
			text, last = fmt.Sprintf("knows the name as an alias of %s.", e.Name), true
		case err == nil:
			text, last = "knows the name.", true
		case mail.KindOf(err) == mail.KindNotFound:
			text = "does not know the name."
		default:
			text, last = "does not answer: "+err.Error(), true
		}
		answers = append(answers, directory.Answer{Directory: l.Name, Text: "The directory " + l.Name + " " + text})
		if last {
			break
		}
	}
	return answers
}

func (d *Directory) asked(ctx context.Context, l *link, name string) (*directory.Entry, error) {
	if !l.has(name) {
		return nil, nil
	}
	return d.lookup(ctx, l, name)
}
