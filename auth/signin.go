package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Password signs in with a readable password that came in a command: IMAP's LOGIN,
// POP3's USER and PASS. The policy is asked before anything else happens. Errors:
// KindPrivacyRequired, KindAuthenticationFailed, KindDisabled, KindUnavailable. It
// may take as long as the delays of Limits.
func (a *Authenticator) Password(ctx context.Context, c Conn, user, password string) (*Identity, error) {
	began := a.now()
	s := &signIn{a: a, conn: c, mechanism: passwordCommand(c), class: sasl.Password, said: user}
	err := a.PasswordAllowed(c).Err()
	if err == nil {
		err = s.Password(ctx, user, password)
		s.count(err)
	}
	if err == nil {
		err = s.Authorize(ctx, user, "")
	}
	a.decided(ctx, c, s.attempt(err), began)
	if err != nil {
		return nil, err
	}
	return s.identity, nil
}

// Exchange is one SASL authentication of one connection. One goroutine uses it, and
// closes it; that at any point cancels it.
type Exchange struct {
	signIn    *signIn
	mechanism sasl.Mechanism
	inner     sasl.Exchange
	over      bool
}

// Begin starts an exchange. A mechanism that is unknown or not available on c is
// refused with KindCannot, one that the policy forbids with KindPrivacyRequired,
// both before the client was asked for anything.
func (a *Authenticator) Begin(ctx context.Context, c Conn, mechanism string) (*Exchange, error) {
	began := a.now()
	m, found := sasl.Find(mechanism)
	server := a.server(c)
	var err error
	switch {
	case !found || m.Command():
		m, found, mechanism = sasl.Mechanism{}, false, "unknown"
		err = mail.Errorf(mail.KindCannot, "That authentication mechanism is not known here.")
	case !a.decide(c, m.Name, m.Class).OK:
		err = a.decide(c, m.Name, m.Class).Err()
	case !a.offers(c, m, server):
		err = mail.Errorf(mail.KindCannot, "That authentication mechanism cannot be used on this connection.")
	}
	if err != nil {
		if found {
			mechanism = m.Name
		}
		a.decided(ctx, c, Attempt{Mechanism: mechanism, Class: m.Class, Err: err}, began)
		return nil, err
	}
	return a.exchange(c, m, server), nil
}

// exchange starts an exchange that was permitted.
func (a *Authenticator) exchange(c Conn, m sasl.Mechanism, server sasl.Server) *Exchange {
	s := &signIn{a: a, conn: c, mechanism: m.Name, class: m.Class}
	server.Credentials, server.PlusOffered = s, a.offersPlus(c, m, server)
	return &Exchange{signIn: s, mechanism: m, inner: m.New(server)}
}

// Close gives back what the exchange holds, at any point, once or more often.
func (x *Exchange) Close() {
	if !x.over && (x.signIn.ntlm != nil || x.signIn.proofDue) {
		x.signIn.heldOn()
	}
	x.over = true
	x.signIn.closeNTLM()
}

// Mechanism is the row of the table that is played.
func (x *Exchange) Mechanism() sasl.Mechanism { return x.mechanism }

// Next takes the client's response, decoded: nil in the first call when there was
// no initial response, not nil and empty for an empty one. While it gives no
// identity and no error the challenge, which may be empty, goes to the client. With
// an identity the client is authenticated and the challenge is empty. Errors as of
// Authenticator.Password; after one the exchange is over. At the end of an exchange response, which
// may be a password, is wiped.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, id *Identity, err error) {
	if x.over {
		return nil, nil, mail.Errorf(mail.KindAuthenticationFailed, "The authentication is over.")
	}
	s := x.signIn
	began := s.a.now()
	challenge, done, err := x.step(ctx, response)
	switch {
	case err == nil && done && s.identity == nil:
		err = mail.Errorf(mail.KindServerBug, "The mechanism did not ask for authorization.")
	case err == nil && !done:
		return challenge, nil, nil
	}
	x.over = true
	wipe(response)
	s.count(err)
	err = s.acted(ctx, err)
	s.a.decided(ctx, s.conn, s.attempt(err), began)
	if err != nil {
		return nil, nil, err
	}
	return nil, s.identity, nil
}

// wipe forgets what may be a password.
func wipe(b []byte) {
	for i := range b {
		b[i] = 0
	}
}

// Abort ends an exchange whose client cancelled it, or sent what is not base64 or
// too long. It is recorded, and counted as a failure of the client's network: no
// account was guessed at. cause is for the log and holds nothing that the client
// sent. After the end it does nothing.
func (x *Exchange) Abort(ctx context.Context, cause error) {
	if x.over {
		return
	}
	x.over = true
	s := x.signIn
	if !s.counted {
		s.a.throttle.failed(guess{place: place{network: s.conn.network()}, exempt: s.exempt()})
	}
	s.a.decided(ctx, s.conn, s.attempt(&mail.Error{Kind: mail.KindAuthenticationFailed, Cause: cause}), s.a.now())
}

func (x *Exchange) step(ctx context.Context, response []byte) ([]byte, bool, error) {
	if s := x.signIn; s.proofDue {
		// The response may hold a guess: here a challenge-response attempt waits
		// its turn, where a readable password waits in signIn.Password.
		s.proofDue = false
		release, err := s.wait(ctx, "")
		if err != nil {
			return nil, false, err
		}
		defer release()
	}
	return x.inner.Next(ctx, response)
}

// signIn is the sasl.Credentials of one attempt.
type signIn struct {
	a         *Authenticator
	conn      Conn
	mechanism string
	class     sasl.Class

	said     string           // the name for the record: prepared where that was possible
	name     string           // prepared
	entry    *directory.Entry // whose proof was seen, or is being played
	secret   Secret           // what was proved, or is being proved
	until    time.Time        // how long the proof holds; zero without a bound
	app      string           // the name of the app password that was proved
	readOnly bool             // it is for reading only
	guess    guess            // what waited last
	proofDue bool             // keys were given, the proof comes next
	counted  bool             // this attempt counts as a failure already
	actsFor  string           // for whom it wants to act, for the record; "" for itself
	identity *Identity        // set by Authorize
	ntlm     NTLMConversation // nil until one began
}

// attempt is what is recorded of it, once it is decided.
func (s *signIn) attempt(err error) Attempt {
	t := Attempt{Mechanism: s.mechanism, Class: s.class, Name: s.said, For: s.actsFor, Err: err}
	if err == nil {
		t.User, t.AppPassword = s.entry.Name, s.app
	}
	return t
}

// Password is part of sasl.Credentials.
func (s *signIn) Password(ctx context.Context, name, password string) error {
	if err := s.prepare(name); err != nil {
		return err
	}
	password, err := directory.PreparePassword(password)
	if err != nil {
		return refused(err)
	}
	release, err := s.wait(ctx, password)
	if err != nil {
		return err
	}
	defer release()

	s.entry, err = s.appPassword(ctx, password)
	if err != nil || s.entry != nil {
		return err
	}
	s.secret = AccountPassword
	s.entry, err = s.a.remembered(ctx, s.name, password)
	if err != nil || s.entry != nil {
		return err
	}
	defer s.a.verified.join(ctx, s.name, password, s.guess.known)()
	s.entry, err = s.a.remembered(ctx, s.name, password)
	if err != nil || s.entry != nil {
		return err
	}
	s.entry, err = s.a.directory.CheckPassword(s.prefer(ctx), s.name, password)
	if err != nil {
		s.entry = nil
		return refused(err)
	}
	if !s.entry.PasswordChanged.IsZero() {
		// Else nothing would tell when this password is replaced.
		s.a.verified.remember(s.name, password, s.entry)
	}
	return nil
}

// Keys is part of sasl.Credentials.
func (s *signIn) Keys(ctx context.Context, name, hash string) (sasl.Keys, error) {
	if err := s.prepare(name); err != nil {
		return sasl.Keys{}, err
	}
	release, err := s.waitToLook(ctx)
	if err != nil {
		return sasl.Keys{}, err
	}
	defer release()
	entry, keys, err := s.a.directory.ScramKeys(ctx, s.name, directory.Hash(hash))
	if err != nil {
		return sasl.Keys{}, refused(err)
	}
	s.entry, s.secret, s.proofDue = entry, AccountPassword, true
	return sasl.Keys{Salt: keys.Salt, Iterations: keys.Iterations, StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}, nil
}

// Answer is part of sasl.Credentials.
func (s *signIn) Answer(ctx context.Context, name string, right func([]byte) bool) error {
	if err := s.prepare(name); err != nil {
		return err
	}
	release, err := s.wait(ctx, "")
	if err != nil {
		return err
	}
	defer release()
	d, ok := s.a.directory.(directory.Readable)
	if !ok {
		return mail.Errorf(mail.KindCannot, "")
	}
	e, err := d.CheckAnswer(ctx, s.name, right)
	if err != nil {
		return refused(err)
	}
	s.entry, s.secret = e, AccountPassword
	return nil
}

// Token is part of sasl.Credentials.
func (s *signIn) Token(ctx context.Context, authzid, token string) (string, error) {
	name, err := s.token(ctx, authzid, token)
	s.count(err) // the client may go before it hears it
	return name, err
}

func (s *signIn) token(ctx context.Context, authzid, token string) (string, error) {
	if authzid != "" {
		if err := s.prepare(authzid); err != nil {
			return "", err
		}
	}
	release, err := s.wait(ctx, "")
	if err != nil {
		return "", err
	}
	defer release()
	tokens, ok := s.a.directory.(directory.Chained)
	if !ok {
		return "", mail.Errorf(mail.KindCannot, "")
	}
	ctx = directory.WithCertificate(ctx, s.conn.Client)
	e, until, err := tokens.CheckToken(s.prefer(ctx), s.name, token)
	if s.name != "" && s.a.delegation != nil && mail.KindOf(err) == mail.KindAuthenticationFailed {
		// It may be the token of somebody who acts for that name: Authorize tells.
		e, until, err = tokens.CheckToken(s.prefer(ctx), "", token)
	}
	if err != nil {
		return "", refused(err)
	}
	if !until.IsZero() && !until.After(s.a.now()) {
		return "", &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: errors.New("the token has expired")}
	}
	s.entry, s.secret, s.until = e, OtherSecret, until
	s.said, s.name = e.Name, e.Name // from now on it is who was proved
	return e.Name, nil
}

// Certificate is part of sasl.Credentials. Who showed a certificate of an authority that
// the service trusts is whom the first of its names means; authzid may choose another.
func (s *signIn) Certificate(ctx context.Context, authzid string) (string, error) {
	names := namesOf(s.conn.Client)
	if as, err := directory.PrepareName(authzid); err == nil && slices.Contains(names, as) {
		names = []string{as}
	}
	if len(names) == 0 {
		return "", &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: errors.New("the certificate has no name that a mailbox could have")}
	}
	s.said, s.name = names[0], names[0]
	e, err := s.a.directory.Lookup(ctx, s.name)
	if err != nil {
		return "", refused(err)
	}
	s.entry, s.secret, s.until = e, OtherSecret, s.conn.Client.NotAfter
	return s.name, nil
}

// namesOf gives the names of a certificate, prepared: its e-mail addresses, or its
// common name when it has none.
func namesOf(c *x509.Certificate) []string {
	if c == nil {
		return nil
	}
	said := c.EmailAddresses
	if len(said) == 0 {
		said = []string{c.Subject.CommonName}
	}
	var names []string
	for _, name := range said {
		if prepared, err := directory.PrepareName(name); err == nil {
			names = append(names, prepared)
		}
	}
	return names
}

// Authorize is part of sasl.Credentials: what is asked only after the proof, so
// that its answers tell nothing to a guesser.
func (s *signIn) Authorize(ctx context.Context, _, authzid string) error {
	e := s.entry
	if e == nil {
		return mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	if err := s.a.permitted(ctx, s, e); err != nil {
		s.count(err)
		return err
	}
	if err := s.enabled(e); err != nil {
		return err
	}
	if e.ResetPassword && s.secret == AccountPassword && !s.conn.Account {
		return s.a.expired()
	}
	id := &Identity{Mechanism: s.mechanism, TLS: s.conn.TLS != nil, AppPassword: s.app, ReadOnly: s.readOnly, Expires: s.until}
	other, err := s.actFor(ctx, authzid)
	if err != nil {
		return err
	}
	if other != nil {
		if err := s.a.permittedFor(ctx, s, other); err != nil {
			return err
		}
		if err := s.enabled(other); err != nil {
			return err
		}
		id.ActedBy, e = e.Name, other
	}
	if e, err = directory.Provide(ctx, s.a.directory, e); err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	if other == nil {
		s.entry = e // with its account
	}
	s.remember(ctx)
	id.Entry = *e
	s.identity = id
	return nil
}

// enabled tells whether the connection's service is switched on for an entry.
func (s *signIn) enabled(e *directory.Entry) error {
	switch {
	case !e.Enabled:
		return mail.Errorf(mail.KindDisabled, "This account is switched off.")
	case !rowOf(s.conn.Service).enabled(*e):
		return mail.Errorf(mail.KindDisabled, "%s is switched off for this account.", s.conn.Service)
	}
	return nil
}

// expired refuses a right password that must be changed first, and says where.
func (a *Authenticator) expired() error {
	if a.accountURL != nil {
		if at := a.accountURL(); at != "" {
			return mail.Errorf(mail.KindExpired, "This password must be changed before it is accepted again: %s", at)
		}
	}
	return mail.Errorf(mail.KindExpired, "This password must be changed before it is accepted again: ask your administrator.")
}

// wait lets the attempt wait as long as its name, network and password have to; ""
// is a secret that cannot be told from others. release as of throttle.wait.
func (s *signIn) wait(ctx context.Context, password string) (release func(), err error) {
	at := guess{place: place{s.name, s.conn.network()}, exempt: s.exempt()}
	if password != "" {
		d := directory.Digest(s.a.key, "", password)
		copy(at.password[:], d[:])
	}
	if at.known, err = s.a.networks.Known(ctx, at.account, at.network); err != nil {
		return nil, refused(err)
	}
	s.guess = at
	return s.a.throttle.wait(ctx, at)
}

// waitToLook waits like who comes from the same network, whatever the name: a look into a
// directory is work, and who leaves after it (see Close) has guessed at nobody.
func (s *signIn) waitToLook(ctx context.Context) (release func(), err error) {
	at := guess{place: place{network: s.conn.network()}, exempt: s.exempt()}
	if at.known, err = s.a.networks.Known(ctx, s.name, at.network); err != nil {
		return nil, refused(err)
	}
	return s.a.throttle.wait(ctx, at)
}

// exempt tells whether nothing is slowed down here.
func (s *signIn) exempt() bool { return settings.Within(s.conn.Exempt, s.conn.Remote.Addr()) }

// prefer lets the directory's gate prefer who comes from a known network.
func (s *signIn) prefer(ctx context.Context) context.Context {
	if s.guess.known {
		return directory.Prefer(ctx)
	}
	return ctx
}

// remember makes the network known to whose proof was seen there.
func (s *signIn) remember(ctx context.Context) {
	at := place{s.name, s.conn.network()}
	s.a.throttle.succeeded(at)
	if s.exempt() {
		return // its address may be everybody's
	}
	first, err := s.a.networks.Add(ctx, s.entry.Account, at.account, at.network)
	if err != nil {
		s.a.log.WarnContext(ctx, "the network of a sign-in cannot be kept", "name", at.account, "error", err)
	}
	if first {
		s.a.newNetworks.add(newNetwork{s.entry.Name, s.mechanism, s.conn.Service, at.network})
	}
}

func (s *signIn) prepare(name string) error {
	s.said = name
	prepared, err := directory.PrepareName(name)
	if err != nil {
		return refused(err)
	}
	s.said, s.name = prepared, prepared
	return nil
}

// count tells the throttle of a failure, once. A malformed message is one too.
func (s *signIn) count(err error) {
	if err != nil && !s.counted && mail.KindOf(err) == mail.KindAuthenticationFailed {
		s.counted = true
		at := s.guess
		if !at.network.IsValid() { // it was refused before it waited
			at = guess{place: place{s.name, s.conn.network()}, exempt: s.exempt()}
		}
		s.a.throttle.failed(at)
	}
}

// refused turns what preparing or the directory said into what a client may hear:
// it failed, or it cannot be said now. The cause stays for the log.
func refused(err error) error {
	var e *mail.Error
	if !errors.As(err, &e) {
		return &mail.Error{Kind: mail.KindUnavailable, Cause: err}
	}
	switch e.Kind {
	case mail.KindNotFound, mail.KindBadArgument, mail.KindAuthenticationFailed:
		return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: err}
	}
	return &mail.Error{Kind: mail.KindUnavailable, Cause: err}
}
