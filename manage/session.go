package manage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"os/user"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Bounds of sessions and one-time links.
const (
	maxSession         = 12 * time.Hour // from sign-in
	maxSessions        = 4096
	sessionsOfIdentity = 20 // the longest idle one ends for a new one
	linkLife           = 10 * time.Minute
	maxLinks           = 256
	linksOfIdentity    = 5               // the oldest one ends for a new one
	maxWaiting         = 5 * time.Minute // for the second factor
	maxWrongCodes      = 5               // of one sign-in
)

// secretSum is what is kept of a secret that we made: it has 256 random bits, so
// nothing slower than SHA-256 is needed.
type secretSum [sha256.Size]byte

func sumOf(secret string) secretSum { return sha256.Sum256([]byte(secret)) }

// newSecret makes a secret of 256 random bits, in base64url.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// session is one sign-in at the console.
type session struct {
	identity string
	from     string
	proof    proof
	began    time.Time
	used     time.Time
	// waiting: the password was right and the second factor is due. It is no session
	// yet: its token is of use to Confirm alone.
	waiting bool
	wrong   int // codes, while it waits
}

// proof is what a mailbox looked like when its password was proved: another
// account of the same name, another password or another second factor ends what was
// built on it. The zero proof is that of an operating-system user.
type proof struct {
	account mail.AccountID
	changed time.Time
	factor  time.Time // secondFactor.Enabled of the one that was proved, zero for none
}

// sessions are the sign-ins and links of one part of the console that live now: the
// administrators', or the pages of people's own accounts. A token of one is nothing at
// the other. They are kept in memory only: after a restart everybody signs in again.
type sessions struct {
	way   Way // of its callers
	mu    sync.Mutex
	rows  map[secretSum]*session
	links map[secretSum]link
}

// link lets one identity sign in once.
type link struct {
	identity string
	until    time.Time
}

// errNoSession answers every token that is not, or no longer, one.
func errNoSession() error {
	return mail.Errorf(mail.KindAuthenticationFailed, "You are not signed in, or your session has ended: sign in again.")
}

// SignIn checks a name and password and begins a session at the console for an
// administrator. remote is the client's address. The token is a secret: put it in
// a cookie that only this server gets, and make a new one at each sign-in.
//
// Errors: KindAuthenticationFailed for whatever is wrong with name and password;
// only after they were right KindDisabled, and KindNoPermission for somebody who
// holds no role; KindLimit after too many failures from remote's network, with
// the time to wait in its text; KindUnavailable. It may take some seconds.
func (s *Server) SignIn(ctx context.Context, name string, password Secret, remote netip.AddrPort) (token string, err error) {
	return s.signIn(ctx, &s.sessions, s.Authenticate, name, password, remote)
}

func (s *Server) signIn(ctx context.Context, v *sessions, authenticate Authenticate, name string, password Secret, remote netip.AddrPort) (token string, err error) {
	done, err := s.beginGuess(ctx, name, remote)
	if err != nil {
		return "", s.refusedSignIn(ctx, v, "password", name, remote, err)
	}
	e, err := authenticate(ctx, name, string(password), remote)
	wrong := err != nil && mail.KindOf(err) == mail.KindAuthenticationFailed
	done(!wrong)
	if wrong {
		err = &mail.Error{Kind: mail.KindAuthenticationFailed, Text: "The name or the password is wrong.", Cause: err}
	}
	if err == nil {
		err = reserved(e.Name)
	}
	if err != nil {
		return "", s.refusedSignIn(ctx, v, "password", name, remote, err)
	}
	return s.begin(ctx, v, session{identity: e.Name, proof: proof{account: e.Account, changed: e.PasswordChanged}}, remote, "password")
}

// RedeemLink begins a session with a one-time link of New-ConsoleLink; the link
// is used up. Errors as of SignIn.
func (s *Server) RedeemLink(ctx context.Context, secret string, remote netip.AddrPort) (token string, err error) {
	now := s.Now()
	s.sessions.mu.Lock()
	l, ok := s.sessions.links[sumOf(secret)]
	delete(s.sessions.links, sumOf(secret))
	s.sessions.mu.Unlock()
	if ok && now.Before(l.until) {
		return s.begin(ctx, &s.sessions, session{identity: l.identity}, remote, "link")
	}
	// Only what is wrong counts: nobody guesses 256 bits, and whoever fails on purpose
	// in the same network must not keep out who has a link.
	_, err = s.guesses.begin("link", remote.Addr(), now)
	if err == nil {
		err = hinted(mail.Errorf(mail.KindAuthenticationFailed, "This link was used already, or is too old."), "On the server, run: postern console.")
	}
	return "", s.refusedSignIn(ctx, &s.sessions, "link", "", remote, err)
}

// refusedSignIn records who could not prove to be anybody, and passes err on.
func (s *Server) refusedSignIn(ctx context.Context, v *sessions, method, name string, remote netip.AddrPort, err error) error {
	parameters := map[string]string{"Method": method}
	if name != "" {
		parameters["Name"] = argumentText(name)
	}
	s.recordAction(ctx, Caller{Name: "unknown", From: fromAddress(remote), Way: v.way}, audit.SignIn, parameters, err)
	return err
}

// fromAddress gives Caller.From of a client on the network.
func fromAddress(remote netip.AddrPort) string { return remote.Addr().Unmap().String() }

// beginGuess is guesses.begin for a password. Who guesses in the network of somebody must
// not keep that one out: where the name signed in before, the delays of package auth
// alone hold.
func (s *Server) beginGuess(ctx context.Context, name string, remote netip.AddrPort) (done func(ok bool), err error) {
	if s.Auth.Known(ctx, name, remote) {
		return func(bool) {}, nil
	}
	return s.guesses.begin("sign-in", remote.Addr(), s.Now())
}

// begin makes a session of row for a proved identity, which in the administrators' part
// holds a role. method says in the audit how it was proved. When a second factor is due
// the session waits for it, and nothing is recorded yet.
func (s *Server) begin(ctx context.Context, v *sessions, row session, remote netip.AddrPort, method string) (token string, err error) {
	row.from = fromAddress(remote)
	c := Caller{Name: row.identity, From: row.from, Way: v.way}
	if v.way == WaySession {
		if c, err = s.CallerOf(ctx, row.identity, row.from, v.way); err != nil {
			return "", err
		}
		if len(c.Roles) == 0 {
			err = hinted(mail.Errorf(mail.KindNoPermission, "%s holds no administrator's role", row.identity),
				"An Organization Administrator gives one: Add-Administrator -Identity "+row.identity+" -Role 'View-Only Administrator'.")
		}
	}
	if err == nil && row.proof.factor.IsZero() {
		row.waiting, err = s.secondFactorDue(ctx, v, row.proof.account)
	}
	if err == nil && v.way == WayAccount && !row.waiting {
		err = s.pace.admit(row.proof.account, s.Now())
	}
	if err == nil {
		token, err = v.add(row, s.over, s.Now())
	}
	if err != nil || !row.waiting {
		s.recordAction(ctx, c, audit.SignIn, map[string]string{"Method": method}, err)
	}
	return token, err
}

// secondFactorDue tells whether who signs in to an account has to prove a second factor.
// KindNoPermission for an administrator who has to, and has none.
func (s *Server) secondFactorDue(ctx context.Context, v *sessions, account mail.AccountID) (bool, error) {
	if account == 0 {
		return false, nil // an operating-system user
	}
	f, err := s.secondFactor(ctx, account)
	switch {
	case err != nil:
		return false, err
	case f != nil && !f.Enabled.IsZero():
		return true, nil
	case v.way == WaySession && s.requiresSecondFactor():
		return false, hinted(mail.Errorf(mail.KindNoPermission, "administrators sign in here with a second factor, and none is set up for you"), "Set it up at "+s.AccountURL()+".")
	}
	return false, nil
}

func (s *Server) requiresSecondFactor() bool {
	return settings.RequireSecondFactor.Of(s.Settings.Current(settings.Console))
}

// Awaits tells whether a token that SignIn gave waits for Confirm.
func (s *Server) Awaits(token string) bool { return s.awaits(&s.sessions, token) }

func (s *Server) awaits(v *sessions, token string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	row, ok := v.rows[sumOf(token)]
	return ok && row.waiting && !s.over(row, s.Now())
}

// Confirm takes the code of the second factor, or a recovery code, and makes a session
// of a sign-in that waits for it; its token is another one. Errors:
// KindAuthenticationFailed for a wrong code, and for a sign-in that waits no more, which
// has to be begun again; KindLimit after too many wrong codes, with the time to wait in
// its text; KindUnavailable.
func (s *Server) Confirm(ctx context.Context, token string, code Secret, remote netip.AddrPort) (string, error) {
	return s.confirm(ctx, &s.sessions, token, code, remote)
}

func (s *Server) confirm(ctx context.Context, v *sessions, token string, code Secret, remote netip.AddrPort) (string, error) {
	v.mu.Lock()
	waiting, ok := v.rows[sumOf(token)]
	var row session
	if ok = ok && waiting.waiting && !s.over(waiting, s.Now()); ok {
		row = *waiting
	}
	v.mu.Unlock()
	if !ok {
		return "", errNoSession()
	}
	done, err := s.guesses.begin("code", remote.Addr(), s.Now())
	if err != nil {
		return "", s.refusedSignIn(ctx, v, "second factor", row.identity, remote, err)
	}
	f, method, err := s.proveSecondFactor(ctx, row.proof.account, row.identity, string(code))
	wrong := err != nil && mail.KindOf(err) == mail.KindAuthenticationFailed
	done(!wrong)
	if wrong {
		v.mu.Lock()
		if waiting.wrong++; waiting.wrong >= maxWrongCodes {
			delete(v.rows, sumOf(token))
		}
		v.mu.Unlock()
	}
	if err != nil {
		return "", s.refusedSignIn(ctx, v, "second factor", row.identity, remote, err)
	}
	v.mu.Lock()
	_, ok = v.rows[sumOf(token)]
	delete(v.rows, sumOf(token))
	v.mu.Unlock()
	if !ok {
		return "", errNoSession()
	}
	row.waiting, row.proof.factor = false, f.Enabled
	return s.begin(ctx, v, row, remote, "password and "+method)
}

// add makes a session; over tells whose time is up. When an identity has too many,
// the longest idle one ends.
func (v *sessions) add(row session, over func(*session, time.Time) bool, now time.Time) (token string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var oldest secretSum
	count := 0
	for sum, other := range v.rows {
		if over(other, now) {
			delete(v.rows, sum)
			continue
		}
		// Who knows the password alone does not end sessions.
		if other.identity == row.identity && other.waiting == row.waiting {
			if count++; count == 1 || other.used.Before(v.rows[oldest].used) {
				oldest = sum
			}
		}
	}
	if count >= sessionsOfIdentity {
		delete(v.rows, oldest)
	}
	if len(v.rows) >= maxSessions {
		return "", mail.Errorf(mail.KindLimit, "Too many people are signed in.")
	}
	token = newSecret()
	row.began, row.used = now, now
	v.rows[sumOf(token)] = &row
	return token, nil
}

// over tells whether a session's time is up.
func (s *Server) over(row *session, now time.Time) bool {
	idle := settings.SessionTimeout.Of(s.Settings.Current(settings.Console))
	return now.Sub(row.used) >= idle || now.Sub(row.began) >= maxSession || row.waiting && now.Sub(row.began) >= maxWaiting
}

// SessionCaller gives the caller of a session, with what it may do now, and counts
// as use of the session. KindAuthenticationFailed when the session is over: its
// time is up, the mailbox is disabled, gone or has another password, or the last
// role was taken away.
func (s *Server) SessionCaller(ctx context.Context, token string) (Caller, error) {
	return s.sessionCaller(ctx, &s.sessions, token, true)
}

// WatchSession is SessionCaller for what a page asks without its reader's doing:
// it does not keep the session alive.
func (s *Server) WatchSession(ctx context.Context, token string) (Caller, error) {
	return s.sessionCaller(ctx, &s.sessions, token, false)
}

func (s *Server) sessionCaller(ctx context.Context, v *sessions, token string, use bool) (Caller, error) {
	sum, now := sumOf(token), s.Now()
	v.mu.Lock()
	row, ok := v.rows[sum]
	if ok && s.over(row, now) {
		delete(v.rows, sum)
		ok = false
	}
	ok = ok && !row.waiting
	var found session
	if ok {
		if use {
			row.used = now
		}
		found = *row
	}
	v.mu.Unlock()
	if !ok {
		return Caller{}, errNoSession()
	}
	who, same, err := s.unchanged(ctx, found.identity, found.proof)
	if err == nil && same {
		same, err = s.sameFactor(ctx, v, found.proof)
	}
	if err != nil {
		return Caller{}, err
	}
	c := Caller{Name: found.identity, From: found.from, Way: v.way}
	if v.way == WayAccount {
		c.owner = &owner{account: found.proof.account, session: sum, factor: !found.proof.factor.IsZero()}
	} else if c, err = s.callerAs(ctx, who, found.from, v.way); err != nil {
		return Caller{}, err
	} else if len(c.Roles) == 0 {
		same = false
	}
	if !same {
		s.end(ctx, v, token, c, "the right to it is gone")
		return Caller{}, errNoSession()
	}
	makeKnown(ctx)
	return c, nil
}

// sameFactor tells whether an account's second factor is the one that was proved, or
// that there is none and none is required.
func (s *Server) sameFactor(ctx context.Context, v *sessions, p proof) (bool, error) {
	if p.account == 0 {
		return true, nil
	}
	f, err := s.secondFactor(ctx, p.account)
	if err != nil {
		return false, err
	}
	if f == nil || f.Enabled.IsZero() {
		return p.factor.IsZero() && !(v.way == WaySession && s.requiresSecondFactor()), nil
	}
	return f.Enabled.Equal(p.factor), nil
}

// makeKnown keeps the connection that a request came on from making room for those of
// strangers.
func makeKnown(ctx context.Context) {
	if conn := listener.ConnOf(ctx); conn != nil {
		conn.Known()
	}
}

// unchanged tells who an identity is, whether a mailbox is what it was when p was
// made, and whether there still is an operating-system user.
func (s *Server) unchanged(ctx context.Context, identity string, p proof) (who Holder, same bool, err error) {
	if name, isUser := strings.CutPrefix(identity, unixPrefix); isUser {
		who := Holder{Identity: identity}
		if strings.HasPrefix(name, "#") {
			return who, true, nil // a number that never had a name
		}
		_, err := user.Lookup(name)
		return who, !errors.As(err, new(user.UnknownUserError)), nil
	}
	e, err := s.Directory.Lookup(ctx, identity)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			return Holder{Identity: identity}, false, nil
		}
		return Holder{}, false, err
	}
	return holderOf(e), e.Enabled && e.Name == identity && e.Account == p.account && (p.changed.IsZero() || e.PasswordChanged.Equal(p.changed)), nil
}

// SignOut ends a session, also while it cannot be read whose it is; one that is
// over is no error.
func (s *Server) SignOut(ctx context.Context, token string) { s.signOut(ctx, &s.sessions, token) }

func (s *Server) signOut(ctx context.Context, v *sessions, token string) {
	v.mu.Lock()
	row, ok := v.rows[sumOf(token)]
	ok = ok && !row.waiting && !s.over(row, s.Now())
	delete(v.rows, sumOf(token))
	v.mu.Unlock()
	if !ok {
		return
	}
	c := Caller{Name: row.identity, From: row.from, Way: v.way}
	if v.way == WaySession {
		if known, err := s.CallerOf(ctx, row.identity, row.from, v.way); err == nil {
			c = known
		}
	}
	s.end(ctx, v, token, c, "signed out")
}

func (s *Server) end(ctx context.Context, v *sessions, token string, c Caller, why string) {
	v.mu.Lock()
	delete(v.rows, sumOf(token))
	v.mu.Unlock()
	s.recordAction(ctx, c, audit.SignOut, map[string]string{"Reason": why}, nil)
}
