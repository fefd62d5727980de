// Package saslauthd has passwords proved by Cyrus SASL's daemon of that name, which
// asks PAM (or LDAP, Kerberos, another IMAP server) in processes of its own. It says
// whether a password is right and nothing else; who exists may come from another
// directory.Source.
package saslauthd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Options are a directory's keys in the settings file.
type Options struct {
	// Socket is saslauthd's; /run/saslauthd/mux when it is left out.
	Socket string `toml:"socket"`
	// Service is the name by which PAM finds its rules, /etc/pam.d/<service>; postern
	// when it is left out.
	Service string `toml:"service"`
	// Domain is the domain of all names: "anna" is who signs in as anna@domain.
	// Without it names have none.
	Domain string `toml:"domain"`
	// Timeout is a time span: the longest that one question takes; 00:00:10 when it
	// is left out.
	Timeout string `toml:"timeout"`
	// Connections bounds the questions at a time; 8 when it is 0.
	Connections int `toml:"connections"`

	// People says who exists; nil is that nobody does before a first sign-in. Close
	// closes it.
	People directory.Source `toml:"-"`
}

// MaxPassword is the longest password that saslauthd takes, in octets.
const MaxPassword = 256

const (
	defaultTimeout     = 10 * time.Second
	maxTimeout         = time.Minute
	defaultConnections = 8
	maxConnections     = 256
	maxAnswer          = 1024 // octets
)

// Source is a directory.Source. It has no goroutine.
type Source struct {
	o       Options
	timeout time.Duration
	turns   chan struct{} // full when as many ask as may
}

// Open makes a directory of options; it does not wait for the daemon.
// KindBadArgument for options that cannot be meant.
func Open(o Options) (*Source, error) {
	bad := func(format string, args ...any) (*Source, error) {
		return nil, mail.Errorf(mail.KindBadArgument, format, args...)
	}
	if o.Socket == "" {
		o.Socket = "/run/saslauthd/mux"
	}
	if !filepath.IsAbs(o.Socket) || len(o.Socket) > 107 {
		return bad("socket: %q is not an absolute path of at most 107 octets.", o.Socket)
	}
	if o.Service == "" {
		o.Service = "postern"
	}
	if len(o.Service) > 64 || strings.ContainsAny(o.Service, "/\x00") {
		return bad("service: %q is not a name of at most 64 octets without a slash.", o.Service)
	}
	if o.Domain != "" {
		name, err := directory.PrepareName("x@" + o.Domain)
		if err != nil {
			return bad("domain: %q is not a domain.", o.Domain)
		}
		o.Domain = strings.TrimPrefix(name, "x@")
	}
	s := &Source{o: o, timeout: defaultTimeout}
	if o.Timeout != "" {
		var err error
		if s.timeout, err = settings.ParseSpan(o.Timeout); err != nil {
			return bad("timeout: %s", mail.TextOf(err))
		}
	}
	if s.timeout <= 0 || s.timeout > maxTimeout {
		return bad("timeout: more than nothing, at most %s.", settings.FormatSpan(maxTimeout))
	}
	if o.Connections == 0 {
		o.Connections = defaultConnections
	}
	if o.Connections < 1 || o.Connections > maxConnections {
		return bad("connections: 1 to %d.", maxConnections)
	}
	s.turns = make(chan struct{}, o.Connections)
	return s, nil
}

// Close is part of directory.Source.
func (s *Source) Close() error {
	if s.o.People == nil {
		return nil
	}
	return s.o.People.Close()
}

// Find is part of directory.Source.
func (s *Source) Find(ctx context.Context, name string) (*directory.Person, error) {
	if s.o.People != nil {
		return s.o.People.Find(ctx, name)
	}
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	if _, ok := s.login(name); !ok {
		return nil, mail.Errorf(mail.KindNotFound, "")
	}
	return nil, mail.Errorf(mail.KindCannot, "saslauthd does not say who exists.")
}

// CheckPassword is part of directory.Source.
func (s *Source) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	p := &directory.Person{ID: name, Name: name}
	if s.o.People != nil {
		var err error
		if p, err = s.o.People.Find(ctx, name); err != nil {
			return nil, err
		}
		// PAM judges the password, whatever the other one knows of it.
		p.PasswordChanged = time.Time{}
	}
	login, ok := s.login(p.Name)
	if !ok {
		return nil, mail.Errorf(mail.KindNotFound, "")
	}
	if password == "" || len(password) > MaxPassword || strings.ContainsRune(password, 0) {
		return nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: errors.New("saslauthd takes no such password")}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, mail.Wrap(mail.KindUnavailable, ctx.Err())
	}
	right, err := s.ask(ctx, login, password)
	if err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, fmt.Errorf("saslauthd: %w", err))
	}
	if !right {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return p, nil
}

// login gives the name as the daemon is to see it, and whether it is asked at all.
func (s *Source) login(name string) (string, bool) {
	if prepared, err := directory.PrepareName(name); err != nil || prepared != name {
		return "", false
	}
	login, domain := name, ""
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		login, domain = name[:at], name[at+1:]
	}
	return login, domain == s.o.Domain && login != ""
}

// ask asks once, over a connection of its own as the daemon wants it.
func (s *Source) ask(ctx context.Context, login, password string) (bool, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", s.o.Socket)
	if err != nil {
		return false, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var question []byte
	for _, part := range []string{login, password, s.o.Service, s.o.Domain} {
		question = binary.BigEndian.AppendUint16(question, uint16(len(part)))
		question = append(question, part...)
	}
	if _, err := c.Write(question); err != nil {
		return false, err
	}
	return readAnswer(c)
}

// readAnswer reads the size and "OK" or "NO", with more behind a blank.
func readAnswer(r io.Reader) (bool, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return false, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < 2 || n > maxAnswer {
		return false, fmt.Errorf("an answer of %d octets", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return false, err
	}
	word, _, _ := strings.Cut(strings.TrimRight(string(text), "\x00"), " ")
	switch word {
	case "OK":
		return true, nil
	case "NO":
		return false, nil
	}
	return false, fmt.Errorf("the answer %.40q", text)
}
