// Package kerberos is a directory that proves Kerberos tickets with a keytab, and
// passwords by asking a realm's key distribution centre (KDC). It cannot be asked who
// exists: it learns of people from their tickets and passwords, or proves those whom
// another directory knows.
package kerberos

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
)

// Source is a directory.TicketSource. Its methods are called from many goroutines; it
// has none of its own.
type Source struct {
	rules   *rules
	log     *slog.Logger
	now     func() time.Time
	replays *krb5.Replays

	mu     sync.Mutex
	keys   *krb5.Keytab
	seen   stamp     // of the file that keys are of
	looked time.Time // when the file was looked at last
}

// stamp tells one state of a file from another.
type stamp struct {
	when time.Time
	size int64
}

// lookEvery is how often the keytab is looked at.
const lookEvery = time.Second

var _ directory.TicketSource = (*Source)(nil)

// Open starts a directory; log is for what happens later. It asks nobody.
// KindBadArgument when the options are wrong, or the keytab cannot be read or has no
// key for a service of a mail server.
func Open(o Options, log *slog.Logger) (*Source, error) { return open(o, log, time.Now) }

func open(o Options, log *slog.Logger, now func() time.Time) (*Source, error) {
	r, err := o.check()
	if err != nil {
		return nil, err
	}
	s := &Source{rules: r, log: log, now: now, replays: krb5.NewReplays(r.skew, now)}
	s.seen, s.looked = stampOf(r.Keytab), now()
	if s.keys, err = s.read(); err != nil {
		return nil, bad("keytab: %s", mail.TextOf(err))
	}
	return s, nil
}

// services are the first parts of the principals of a mail server's services.
var services = []string{"imap", "pop"}

// read reads the keytab.
func (s *Source) read() (*krb5.Keytab, error) {
	keys, err := krb5.ReadKeytab(s.rules.Keytab, s.rules.AllowRC4)
	if err != nil {
		return nil, err
	}
	for _, service := range services {
		if s.own(keys, service, "") != nil {
			return keys, nil
		}
	}
	return nil, bad("%s has no key for imap/HOST or pop/HOST of this server.", s.rules.Keytab)
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// keytab gives the keys, those of a changed file once it can be read.
func (s *Source) keytab() *krb5.Keytab {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.looked).Abs() < lookEvery {
		return s.keys
	}
	s.looked = now
	is := stampOf(s.rules.Keytab)
	if is == s.seen {
		return s.keys
	}
	s.seen = is
	if keys, err := s.read(); err != nil {
		s.log.Error("the keytab cannot be read; the keys that were read before are used", "error", err)
	} else {
		s.keys = keys
		s.log.Info("the keytab was read again", "file", s.rules.Keytab)
	}
	return s.keys
}

// own gives the principal of a service of this server, in a realm unless it is "", nil
// when there is none.
func (s *Source) own(keys *krb5.Keytab, service, realm string) *krb5.Principal {
	for _, p := range keys.Owners() {
		if len(p.Components) == 2 && strings.EqualFold(p.Components[0], service) && s.host(p.Components[1]) && (realm == "" || p.Realm == realm) {
			return &p
		}
	}
	return nil
}

func (s *Source) host(name string) bool {
	for _, h := range s.rules.Hosts {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return len(s.rules.Hosts) == 0
}

// Close is part of directory.Source.
func (s *Source) Close() error { return nil }

// Check tells whether the keytab can be read now, with the keys that are needed.
func (s *Source) Check() error {
	_, err := s.read()
	return err
}

// Find is part of directory.Source: KindCannot for names that principals may have, as a
// KDC says nothing of who exists that could be believed.
func (s *Source) Find(ctx context.Context, name string) (*directory.Person, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	if _, ok := s.principal(name); !ok {
		return nil, errUnknown
	}
	return nil, mail.Errorf(mail.KindCannot, "Kerberos does not say who exists.")
}

var errUnknown = &mail.Error{Kind: mail.KindNotFound, Text: "No principal of Kerberos has that name."}

// principal gives whose name it is, and whether it can be anybody's.
func (s *Source) principal(name string) (krb5.Principal, bool) {
	local, domain := name, ""
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		local, domain = name[:at], name[at+1:]
	}
	realm, known := s.rules.realms[domain]
	if prepared, err := directory.PrepareName(name); !known || err != nil || prepared != name || !single(local) {
		return krb5.Principal{}, false
	}
	return krb5.Principal{Components: []string{local}, Realm: realm}, true
}

// single tells whether a name is a person's: neither a service's nor an instance
// (anna/admin), nor a computer's of Active Directory (PC$).
func single(name string) bool { return name != "" && !strings.ContainsAny(name, "/@\\$") }

// person gives who a principal is.
func (s *Source) person(p krb5.Principal) (*directory.Person, error) {
	refused := func(why string) error {
		return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: causeText("the ticket of " + p.String() + ": " + why)}
	}
	domain, known := s.rules.domains[p.Realm]
	switch {
	case !known:
		return nil, refused("the realm is not one of this directory")
	case len(p.Components) != 1 || !single(p.Components[0]):
		return nil, refused("it is not a person's")
	}
	said := p.Components[0]
	if domain != "" {
		said += "@" + domain
	}
	name, err := directory.PrepareName(said)
	switch {
	case err != nil:
		return nil, refused("no mailbox can have the name")
	case name != said && !s.rules.IgnoreCase:
		// Another principal may be written as the mailbox is.
		return nil, refused("the mailbox's name would be written otherwise, and ignore_case is off")
	}
	return &directory.Person{ID: name, Name: name}, nil
}

// causeText is a cause for the log without more behind it.
type causeText string

func (c causeText) Error() string { return string(c) }

// CheckPassword is part of directory.Source.
func (s *Source) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	if s.rules.Passwords != nil && !*s.rules.Passwords {
		return nil, mail.Errorf(mail.KindCannot, "Passwords are not checked with Kerberos here.")
	}
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	client, ok := s.principal(name)
	if !ok {
		return nil, errUnknown
	}
	if password == "" || strings.ContainsRune(password, 0) {
		return nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: causeText("Kerberos takes no such password")}
	}
	keys := s.keytab()
	var service *krb5.Principal
	for _, name := range services {
		if service == nil {
			service = s.own(keys, name, client.Realm)
		}
	}
	if service == nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Cause: causeText("the keytab has no service of the realm " + client.Realm + ", which a password is checked with")}
	}
	kdc := krb5.KDC{Realm: client.Realm, Addresses: s.rules.KDCs, Timeout: s.rules.timeout, Now: s.now}
	if err := kdc.CheckPassword(ctx, client, password, *service, keys); err != nil {
		return nil, err
	}
	return s.person(client)
}

// HasTickets is part of directory.TicketSource.
func (s *Source) HasTickets(service string) bool {
	return service != "" && s.own(s.keytab(), service, "") != nil
}

// CheckTicket is part of directory.TicketSource.
func (s *Source) CheckTicket(ctx context.Context, service string, token []byte) (*directory.Person, *krb5.Context, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, mail.Wrap(mail.KindUnavailable, err)
	}
	a := krb5.Acceptor{Keys: s.keytab(), Hosts: s.rules.Hosts, Skew: s.rules.skew, Replays: s.replays, Now: s.now}
	shared, err := a.Accept(service, token)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.person(shared.Client)
	if err != nil {
		return nil, nil, err
	}
	return p, shared, nil
}
