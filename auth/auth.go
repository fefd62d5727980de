package auth

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Options are the parts of an Authenticator. Only Directory is needed.
type Options struct {
	Directory directory.Directory
	Limits    Limits
	// AppPasswords are asked before the directory; nil: there are none.
	AppPasswords AppPasswords
	// AccountURL gives where people change their passwords, "" when they cannot
	// themselves; nil is "".
	AccountURL func() string
	// Delegation says who may act for others; nil: nobody.
	Delegation Delegation
	// NTLM checks NTLM; nil: it is not there.
	NTLM NTLM
	// Host is the server's name in the challenges of CRAM-MD5 and APOP; what is no host
	// name there is "localhost".
	Host string
	// Records keep from where accounts signed in; nil: it is forgotten with the process.
	Records Records
	// Log is told of every login, of every refused one and why, and of what Run says;
	// nil tells nobody.
	Log *slog.Logger
	// Observe is called once for every decided attempt, for audit and metrics, from
	// the goroutine that made it.
	Observe func(Attempt)
	// Now is the clock; nil is time.Now. Waits use timers. Hours of rules are those of
	// its location.
	Now func() time.Time
}

// Limits bound the work and slow guessing down. A zero field takes its default.
type Limits struct {
	// FirstDelay is what an attempt waits after one failure of the same account or
	// network; every further failure doubles it up to MaxDelay. Defaults 250 ms
	// and 8 s. A negative FirstDelay switches delays off.
	FirstDelay, MaxDelay time.Duration
	// Forget takes one failure away each time it passes; default 1 min.
	Forget time.Duration
	// NetworkFailures is how many failures of a network are free, because many
	// people can share one; default 10.
	NetworkFailures int
	// AccountWaiting is how many attempts at one account may be under way at once while
	// it is slowed down, Waiting how many of one network, or with one password; then
	// KindUnavailable. Defaults 8 and 16: with MaxDelay one and two guesses a second.
	AccountWaiting, Waiting int
	// PasswordAccounts is for how many accounts a password may be wrong within
	// PasswordWindow before the next one waits, because people have several accounts;
	// defaults 4 and 1 h.
	PasswordAccounts int
	PasswordWindow   time.Duration
	// Entries bounds each table (accounts, networks, known networks that failed), and
	// Passwords that of passwords; defaults 65,536 and 16,384. The longest unused go
	// first.
	Entries, Passwords int

	// Verified is how long a password that was right is remembered, in a form from
	// which it cannot be read; default 5 min, negative never.
	Verified time.Duration
	// VerifiedEntries bounds them; default 65,536.
	VerifiedEntries int
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	span := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	span(&l.FirstDelay, 250*time.Millisecond)
	span(&l.MaxDelay, 8*time.Second)
	span(&l.Forget, time.Minute)
	def(&l.NetworkFailures, 10)
	def(&l.AccountWaiting, 8)
	def(&l.Waiting, 16)
	def(&l.PasswordAccounts, 4)
	span(&l.PasswordWindow, time.Hour)
	def(&l.Entries, 1<<16)
	def(&l.Passwords, 1<<14)
	span(&l.Verified, 5*time.Minute)
	def(&l.VerifiedEntries, 1<<16)
	return l
}

// Authenticator checks who wants in. One serves all services; its methods are
// called from many goroutines. It has no goroutine of its own; Run needs one.
type Authenticator struct {
	directory directory.Directory

	appPasswords AppPasswords
	accountURL   func() string
	delegation   Delegation
	ntlm         NTLM
	host         string

	log     *slog.Logger
	observe func(Attempt)
	now     func() time.Time

	throttle *throttle
	networks *KnownNetworks
	verified *verified
	key      []byte // of digests of passwords that were wrong; another one than verified's

	newNetworks newNetworks
	policy      atomic.Pointer[Policy]
}

// New makes an Authenticator.
func New(o Options) *Authenticator {
	l := o.Limits.withDefaults()
	a := &Authenticator{directory: o.Directory, appPasswords: o.AppPasswords, accountURL: o.AccountURL, delegation: o.Delegation, ntlm: o.NTLM, host: o.Host, log: o.Log, observe: o.Observe, now: o.Now}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.host == "" || len(a.host) > 255 || strings.Trim(a.host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
		a.host = "localhost"
	}
	key := make([]byte, 32)
	a.key = make([]byte, 32)
	rand.Read(key) // never fails (crypto/rand)
	rand.Read(a.key)
	a.throttle = newThrottle(l, a.now)
	a.networks = NewKnownNetworks(o.Records, a.now)
	a.verified = newVerified(l, key, a.now)
	a.policy.Store(&Policy{})
	return a
}

// Throttled counts the attempts that were refused so far because too many of the
// same account or network waited.
func (a *Authenticator) Throttled() int64 { return a.throttle.refused.Load() }

// Networks are from where accounts signed in.
func (a *Authenticator) Networks() *KnownNetworks { return a.networks }

// Known tells whether a name, as a client gave it, signed in from the network of an
// address lately; false when that cannot be told now.
func (a *Authenticator) Known(ctx context.Context, name string, from netip.AddrPort) bool {
	prepared, err := directory.PrepareName(name)
	if err != nil {
		return false
	}
	known, err := a.networks.Known(ctx, prepared, Conn{Remote: from}.network())
	return known && err == nil
}

// Identity is who a connection belongs to from now on.
type Identity struct {
	Entry directory.Entry // as it was at the login
	// ActedBy is the sign-in name of who acts for the Entry, "" when it signed in itself.
	ActedBy string
	// Mechanism is the SASL name, or the command: "LOGIN" of IMAP is "LOGIN
	// command", USER and PASS of POP3 are "USER command".
	Mechanism string
	TLS       bool
	// AppPassword is the name of the one that was used, "" for none.
	AppPassword string
	// ReadOnly: the session may change nothing.
	ReadOnly bool
	// Expires is when the proof ends, and the session with it; zero is never.
	Expires time.Time
}

// Attempt is one decided login, for audit and metrics. It holds no secret. Name is
// as the client sent it when it could not be prepared, cut to 255 octets: it may
// hold control characters.
type Attempt struct {
	Service     settings.Service
	Remote      netip.AddrPort // the zero value for a Unix socket
	TLS         bool
	Mechanism   string
	Class       sasl.Class // of the mechanism, 0 for one that is not known
	Name        string     // prepared where that was possible, "" when none was given
	User        string     // directory.Entry.Name of who was let in, "" when nobody was
	For         string     // for whom the client wanted to act, as Name is written; "" for itself
	AppPassword string     // of who was let in with one: its name
	// Took is the time of the deciding step, delays and waits included.
	Took time.Duration
	// Err is nil for a login; else its kind and cause say why.
	Err error
}

// Offered lists the SASL mechanisms for CAPABILITY and CAPA, the strongest first:
// exactly those that Begin accepts on c.
func (a *Authenticator) Offered(c Conn) []string {
	server := a.server(c)
	var names []string
	for _, m := range sasl.Mechanisms {
		if !m.Command() && a.offers(c, m, server) {
			names = append(names, m.Name)
		}
	}
	return names
}

// Usable lists the SASL mechanisms that somebody could use on c, whose TLS connection
// is only imagined: those that the policy accepts and that this server has the means
// for. c.Client tells that there are authorities of client certificates.
func (a *Authenticator) Usable(c Conn) []string {
	has := a.means(c.Service)
	if c.TLS != nil {
		has |= sasl.NeedsBinding
	}
	if c.TLS != nil && c.Client != nil {
		has |= sasl.NeedsCertificate
	}
	var names []string
	for _, m := range sasl.Mechanisms {
		if m.Needs&^has == 0 && a.decide(c, m.Name, m.Class).OK {
			names = append(names, m.Name)
		}
	}
	return names
}

// PasswordAllowed says whether USER and PASS, or the LOGIN command, are accepted
// on c: CAPA's USER and CAPABILITY's LOGINDISABLED follow it.
func (a *Authenticator) PasswordAllowed(c Conn) Decision {
	return a.decide(c, passwordCommand(c), sasl.Password)
}

// RefusePassword is PasswordAllowed as an error, recorded as an attempt: what USER
// asks before a password is on its way. nil means go on.
func (a *Authenticator) RefusePassword(ctx context.Context, c Conn) error {
	err := a.PasswordAllowed(c).Err()
	if err != nil {
		a.decided(ctx, c, Attempt{Mechanism: passwordCommand(c), Class: sasl.Password, Err: err}, a.now())
	}
	return err
}

func passwordCommand(c Conn) string {
	if c.Account {
		return "account sign-in"
	}
	return rowOf(c.Service).password
}

// complete adds to an attempt what is known of its connection.
func (a *Authenticator) complete(c Conn, t Attempt) Attempt {
	t.Name, t.For = t.Name[:min(len(t.Name), directory.MaxName)], t.For[:min(len(t.For), directory.MaxName)]
	t.Service, t.Remote, t.TLS = c.Service, c.Remote, c.TLS != nil
	return t
}

// decided records the end of an attempt that began then.
func (a *Authenticator) decided(ctx context.Context, c Conn, t Attempt, began time.Time) {
	t = a.complete(c, t)
	t.Took = a.now().Sub(began)
	if a.observe != nil {
		a.observe(t)
	}
	what, attributes := event.SignedIn, []slog.Attr{
		slog.Int(event.Key, 0), slog.String("service", string(t.Service)), slog.String("remote", t.Remote.String()), slog.Bool("tls", t.TLS),
		slog.String("mechanism", t.Mechanism), slog.String("name", t.Name),
	}
	if t.For != "" {
		attributes = append(attributes, slog.String("for", t.For))
	}
	if t.AppPassword != "" {
		attributes = append(attributes, slog.String("appPassword", t.AppPassword))
	}
	if t.Err != nil {
		what = event.SignInRefused
		attributes = append(attributes, slog.String("kind", mail.KindOf(t.Err).String()), slog.String("cause", t.Err.Error()))
	}
	attributes[0].Value = slog.IntValue(what.ID)
	if a.log.Enabled(ctx, what.Level) {
		// Without the place in the code, which nobody shows and which costs as much as the rest.
		r := slog.NewRecord(time.Now(), what.Level, what.Text, 0)
		r.AddAttrs(attributes...)
		a.log.Handler().Handle(ctx, r)
	}
}
