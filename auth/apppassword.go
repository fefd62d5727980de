package auth

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// AppPassword is what is kept of a password that was generated for one program of one
// mailbox, beside a digest of it.
type AppPassword struct {
	Name string `json:"name"`
	// Services it is for; empty is POP3 and IMAP4. It never signs in at the console.
	Services []settings.Service `json:"services,omitempty"`
	From     []netip.Prefix     `json:"from,omitempty"` // the clients' networks; empty is everywhere
	// ReadOnly: a session that it begins changes nothing.
	ReadOnly bool      `json:"readOnly,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"` // zero is never
	Used     time.Time `json:"used,omitzero"`    // coarsely; zero is never
}

// Refuses says why a sign-in is outside of what it is for, "" when it is not.
func (p AppPassword) Refuses(w Wanted) string {
	switch {
	case w.Service != settings.POP3 && w.Service != settings.IMAP4, len(p.Services) > 0 && !slices.Contains(p.Services, w.Service):
		return "it is not for " + string(w.Service)
	case len(p.From) > 0 && !settings.Within(p.From, w.From):
		return "it is not for the client's network"
	case !p.Expires.IsZero() && !w.At.Before(p.Expires):
		return "its time is up"
	}
	return ""
}

// AppPasswords finds app passwords; a manage.Server.
type AppPasswords interface {
	// AppPassword gives the one of an account that secret is, nil when there is none,
	// and notes its use when it does not refuse w. secret is as AppPasswordSecret gives
	// it. The errors are the store's.
	AppPassword(ctx context.Context, account mail.AccountID, secret string, w Wanted) (*AppPassword, error)
	// AppPasswordsOf gives all of an account, by name.
	AppPasswordsOf(ctx context.Context, account mail.AccountID) ([]AppPassword, error)
}

// The form of app passwords: six groups of four characters, each one of 32 that are
// not mistaken for another: 120 random bits. With so many a digest needs no slow hash.
const (
	appAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	appLength   = 24
	appGroup    = 4
)

// NewAppPassword makes an app password as it is shown.
func NewAppPassword() string {
	var random [appLength]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%appGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(appAlphabet[r%byte(len(appAlphabet))]) // 256 is a multiple
	}
	return b.String()
}

// AppPasswordSecret gives the characters of what has the form of an app password,
// typed with or without hyphens and blanks, in any case; "" for anything else.
func AppPasswordSecret(password string) string {
	if len(password) > 2*appLength {
		return ""
	}
	var secret [appLength]byte
	n := 0
	for i := range len(password) {
		c := password[i]
		if c == '-' || c == ' ' {
			continue
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if n == appLength || strings.IndexByte(appAlphabet, c) < 0 {
			return ""
		}
		secret[n] = c
		n++
	}
	if n < appLength {
		return ""
	}
	return string(secret[:])
}

// appPassword tries a password as an app password: it gives the entry whose it is, nil
// when it is none. One that is used for what it is not for is a wrong password.
func (s *signIn) appPassword(ctx context.Context, password string) (*directory.Entry, error) {
	secret := AppPasswordSecret(password)
	if s.a.appPasswords == nil || secret == "" || s.conn.Service != settings.POP3 && s.conn.Service != settings.IMAP4 {
		return nil, nil
	}
	e, err := s.a.directory.Lookup(ctx, s.name)
	switch {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		return nil, nil
	case err != nil:
		return nil, refused(err)
	case e.Account == 0:
		return nil, nil // nobody has signed in yet
	}
	w := s.a.wanted(s.conn, s.mechanism, s.class)
	p, err := s.a.appPasswords.AppPassword(ctx, e.Account, secret, w)
	if err != nil {
		return nil, refused(err)
	}
	if p == nil {
		return nil, nil
	}
	if why := p.Refuses(w); why != "" {
		return nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: ruleCause("app password " + p.Name + ": " + why)}
	}
	s.secret, s.app, s.readOnly, s.until = AppSecret, p.Name, p.ReadOnly, p.Expires
	return e, nil
}
