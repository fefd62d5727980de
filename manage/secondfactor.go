package manage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/totp"
)

// Bounds of second factors.
const (
	secondFactorKind = "secondfactor"
	setUpTime        = 30 * time.Minute // from New- to Enable-SecondFactor
	recoveryCodes    = 10
	recoveryLength   = 16 // characters of 32: 80 random bits
	codesFree        = 5  // wrong ones before the account waits
	codeDelay        = 30 * time.Second
	maxCodeDelay     = time.Hour
)

// secondFactor is the record of an account's second factor, whose key is the account.
// Each change of it is computed from what it was, so that of two who send the same code
// at once one is told that it was used.
type secondFactor struct {
	Secret  []byte    `json:"secret"` // of totp, sealed for the account
	Created time.Time `json:"created"`
	Enabled time.Time `json:"enabled,omitzero"` // zero: its first code has not come yet
	// Step is that of the latest code that was accepted: it and those before it are
	// accepted no more.
	Step     int64    `json:"step,omitempty"`
	Recovery []string `json:"recovery,omitempty"` // digests of the codes that are left
	// Wrong counts the wrong codes since the last right one.
	Wrong     int       `json:"wrong,omitempty"`
	WrongLast time.Time `json:"wrongLast,omitzero"`

	record store.Record
}

// secondFactor gives an account's, also one that is not enabled yet; nil for none.
func (s *Server) secondFactor(ctx context.Context, account mail.AccountID) (*secondFactor, error) {
	list, err := keptUnder(ctx, s.Records, secondFactorKind, account.String(), func(f *secondFactor, r store.Record) any {
		f.record = r
		return f
	})
	for i := range list {
		if list[i].record.Key == account.String() {
			return &list[i], nil
		}
	}
	return nil, err
}

func (s *Server) keepSecondFactor(ctx context.Context, f *secondFactor) error {
	value, err := json.Marshal(f)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	f.record.Value = value
	return s.Records.PutRecords(ctx, []store.Record{f.record})
}

// changeSecondFactor lets change compute what becomes of an account's, again when
// somebody else was faster. What change did is kept also when it gives
// KindAuthenticationFailed: a wrong code counts.
func (s *Server) changeSecondFactor(ctx context.Context, account mail.AccountID, change func(*secondFactor) error) (*secondFactor, error) {
	for try := 1; ; try++ {
		f, err := s.secondFactor(ctx, account)
		if err != nil {
			return nil, err
		}
		if f == nil {
			return nil, errNoSecondFactor()
		}
		said := change(f)
		if said != nil && mail.KindOf(said) != mail.KindAuthenticationFailed {
			return nil, said
		}
		err = s.keepSecondFactor(ctx, f)
		switch {
		case err == nil:
			return f, said
		case mail.KindOf(err) != mail.KindConflict || try == keptTries:
			return nil, err
		}
	}
}

// dropSecondFactor removes an account's, if it has one. With was not nil only that one,
// and not after it was enabled meanwhile: KindConflict.
func (s *Server) dropSecondFactor(ctx context.Context, account mail.AccountID, was *secondFactor) error {
	for try := 1; ; try++ {
		f, err := s.secondFactor(ctx, account)
		if err != nil || f == nil {
			return err
		}
		if was != nil && !f.Enabled.Equal(was.Enabled) {
			return mail.Errorf(mail.KindConflict, "somebody else has changed it meanwhile")
		}
		f.record.Value = nil
		err = s.Records.PutRecords(ctx, []store.Record{f.record})
		if err == nil || mail.KindOf(err) != mail.KindConflict || try == keptTries {
			return err
		}
	}
}

func errNoSecondFactor() error {
	return mail.Errorf(mail.KindNotFound, "no second factor is set up")
}

func errWrongCode() error {
	return mail.Errorf(mail.KindAuthenticationFailed, "The code is wrong, or was used already.")
}

// sealedFor is what a secret is sealed about.
func sealedFor(account mail.AccountID) string { return "second factor of account " + account.String() }

// wait is how long no code is looked at.
func (f *secondFactor) wait(now time.Time) time.Duration {
	if f.Wrong < codesFree {
		return 0
	}
	delay := maxCodeDelay
	if more := f.Wrong - codesFree; more < 7 {
		delay = min(codeDelay<<more, maxCodeDelay)
	}
	if now.Before(f.WrongLast) {
		return 0 // the clock was set back: nobody waits for it to come there again
	}
	return f.WrongLast.Add(delay).Sub(now)
}

// take looks at a code, and notes that it was used, or was wrong. recovery tells that it
// was a recovery code.
func (f *secondFactor) take(secret []byte, code string, now time.Time) (recovery bool, err error) {
	if wait := f.wait(now); wait > 0 {
		return false, mail.Errorf(mail.KindLimit, "Too many wrong codes; try again in %d seconds.", int((wait+time.Second-1)/time.Second))
	}
	if step, ok := totp.Check(secret, code, now, f.Step); ok {
		f.Step, f.Wrong = step, 0
		return false, nil
	}
	if i := slices.Index(f.Recovery, recoverySum(code)); i >= 0 {
		f.Recovery, f.Wrong = slices.Delete(f.Recovery, i, i+1), 0
		return true, nil
	}
	f.Wrong, f.WrongLast = f.Wrong+1, now.UTC()
	return false, errWrongCode()
}

// proveSecondFactor takes a code for an account's second factor; method is what it was.
// Errors: KindAuthenticationFailed for a wrong one, KindLimit, those of the store.
func (s *Server) proveSecondFactor(ctx context.Context, account mail.AccountID, name, code string) (f *secondFactor, method string, err error) {
	method = "code"
	f, err = s.changeSecondFactor(ctx, account, func(f *secondFactor) error {
		if f.Enabled.IsZero() {
			return errNoSecondFactor()
		}
		secret, err := s.Sealed.Open(f.Secret, sealedFor(account))
		if err != nil {
			return err
		}
		recovery, err := f.take(secret, code, s.Now())
		if recovery {
			method = "recovery code"
		}
		return err
	})
	if err != nil && mail.KindOf(err) == mail.KindAuthenticationFailed && f != nil && f.Wrong == codesFree {
		event.WrongCodes.Log(ctx, s.Log, "user", name)
	}
	if err != nil && mail.KindOf(err) == mail.KindNotFound {
		err = errNoSession() // it was taken away meanwhile
	}
	return f, method, err
}

// newRecoveryCodes makes codes as they are shown, and what is kept of them.
func newRecoveryCodes() (shown, sums []string) {
	for range recoveryCodes {
		var random [recoveryLength]byte
		rand.Read(random[:]) // never fails (crypto/rand)
		var b strings.Builder
		for i, r := range random {
			if i > 0 && i%4 == 0 {
				b.WriteByte('-')
			}
			b.WriteByte(recoveryAlphabet[r%byte(len(recoveryAlphabet))]) // 256 is a multiple
		}
		shown, sums = append(shown, b.String()), append(sums, recoverySum(b.String()))
	}
	return shown, sums
}

const recoveryAlphabet = "abcdefghijkmnpqrstuvwxyz23456789" // 32 that are not mistaken for another

// recoverySum is the digest of a recovery code, typed with or without hyphens and blanks,
// in any case.
func recoverySum(code string) string {
	if len(code) > 4*recoveryLength {
		return ""
	}
	sum := sumOf("recovery code " + strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(code)))
	return hex.EncodeToString(sum[:])
}

// needsFactor refuses an owner who has a second factor and has not proved it.
func (c *Call) needsFactor(ctx context.Context, account mail.AccountID) error {
	if !c.own() || c.Caller.owner.factor {
		return nil
	}
	f, err := c.secondFactor(ctx, account)
	if err == nil && f != nil && !f.Enabled.IsZero() {
		return mail.Errorf(mail.KindNoPermission, "sign in with your second factor first")
	}
	return err
}

// getSecondFactor shows one object, without the secret.
func getSecondFactor(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.secondFactor(ctx, e.Account)
	if err != nil {
		return nil, err
	}
	status, used := "None", time.Time{}
	switch {
	case f == nil:
		f = &secondFactor{}
	case !f.Enabled.IsZero():
		status, used = "Enabled", time.Unix(f.Step*int64(totp.Period/time.Second), 0)
	case c.Now().Sub(f.Created) < setUpTime:
		status = "Pending"
	}
	c.Add(Object{{"Mailbox", e.Name}, {"Status", status}, {"WhenEnabled", moment(f.Enabled)}, {"RecoveryCodes", int64(len(f.Recovery))}, {"LastUsed", moment(used)}})
	return nil, nil
}

// newSecondFactor makes a secret, in place of one that no code was given of yet.
func newSecondFactor(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.secondFactor(ctx, e.Account)
	switch {
	case err != nil:
		return nil, err
	case f != nil && !f.Enabled.IsZero():
		return nil, hinted(mail.Errorf(mail.KindAlreadyExists, "a second factor is set up already"), "Take it away first.")
	case f == nil:
		f = &secondFactor{record: store.Record{Kind: secondFactorKind, Key: e.Account.String()}}
	}
	c.Change(e.Name, "SecondFactor", nil, "Pending")
	return func(ctx context.Context) error {
		secret := totp.NewSecret()
		next := secondFactor{Created: c.Now().UTC(), record: f.record}
		if next.Secret, err = c.Sealed.Seal(secret, sealedFor(e.Account)); err != nil {
			return err
		}
		if err := c.keepSecondFactor(ctx, &next); err != nil {
			return err
		}
		c.Add(Object{{"Mailbox", e.Name}, {"Secret", totp.Text(secret)}, {"Uri", totp.URI(c.Settings.Server(), e.Name, secret)}})
		return nil
	}, nil
}

// enableSecondFactor takes the first code. It is tried when it is done, not before: the
// number of tries is bounded.
func enableSecondFactor(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.secondFactor(ctx, e.Account)
	switch {
	case err != nil:
		return nil, err
	case f == nil || f.Enabled.IsZero() && c.Now().Sub(f.Created) >= setUpTime:
		return nil, hinted(mail.Errorf(mail.KindNotFound, "no second factor is being set up"), "Begin again.")
	case !f.Enabled.IsZero():
		return nil, mail.Errorf(mail.KindAlreadyExists, "a second factor is set up already")
	}
	c.Change(e.Name, "SecondFactor", "Pending", "Enabled")
	return func(ctx context.Context) error {
		shown, sums := newRecoveryCodes()
		f, err := c.changeSecondFactor(ctx, e.Account, func(f *secondFactor) error {
			if !f.Enabled.IsZero() {
				return mail.Errorf(mail.KindAlreadyExists, "a second factor is set up already")
			}
			secret, err := c.Sealed.Open(f.Secret, sealedFor(e.Account))
			if err == nil {
				_, err = f.take(secret, string(c.Secret("Code")), c.Now())
			}
			if err == nil {
				f.Enabled, f.Recovery = c.Now().UTC(), sums
			}
			return err
		})
		if err != nil {
			return about("Code", err)
		}
		c.renew(func(p *proof) { p.factor = f.Enabled })
		c.Add(Object{{"Mailbox", e.Name}, {"RecoveryCodes", shown}})
		return nil
	}, nil
}

// disableSecondFactor takes it away: people with a code, administrators without.
func disableSecondFactor(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.guardAdministrator(ctx, holderOf(e)); err != nil {
		return nil, err
	}
	if c.Given("Code") && !c.own() {
		return nil, wrong("Code", "Code is for people themselves, at /account of the console")
	}
	f, err := c.secondFactor(ctx, e.Account)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, about("Identity", mail.Errorf(mail.KindNotFound, "%s has no second factor", e.Name))
	}
	was, proved := "Enabled", f
	if f.Enabled.IsZero() {
		was = "Pending"
	}
	if !c.own() {
		proved = nil // whichever it has
	}
	c.Change(e.Name, "SecondFactor", was, nil)
	return func(ctx context.Context) error {
		if c.own() && !f.Enabled.IsZero() {
			if _, _, err := c.proveSecondFactor(ctx, e.Account, e.Name, string(c.Secret("Code"))); err != nil {
				return about("Code", err)
			}
		}
		if err := c.dropSecondFactor(ctx, e.Account, proved); err != nil {
			return err
		}
		c.renew(func(p *proof) { p.factor = time.Time{} })
		return nil
	}, nil
}
