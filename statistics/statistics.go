// Package statistics keeps who signed in how over the last days, and what the
// services did over time: numbers for people to look at. It holds no secret, is
// bounded whatever clients send, and outlives a restart.
package statistics

import (
	"net/netip"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Metric is something of which there is a series.
type Metric string

// The metrics. All but Connections count what happened within a point's step;
// Connections is the most that were open at the end of a minute of it.
const (
	SignIns     Metric = "SignIns"     // logins that were let in
	Refusals    Metric = "Refusals"    // logins that were refused
	Connections Metric = "Connections" // open connections
	Deliveries  Metric = "Deliveries"  // messages put into mailboxes by LMTP
	BytesIn     Metric = "BytesIn"     // bytes from clients, inside TLS
	BytesOut    Metric = "BytesOut"    // bytes to clients, inside TLS
)

// Metrics lists them in the order in which they are shown.
var Metrics = []Metric{SignIns, Refusals, Connections, Deliveries, BytesIn, BytesOut}

// How long, and how finely, a History remembers.
const (
	MinutesKept = 48 * time.Hour      // series by the minute
	HoursKept   = 30 * 24 * time.Hour // series by the hour
	SignInsKept = 8 * 24 * time.Hour  // sign-ins
	// Slot is how finely the times of sign-ins are known, beside each row's First
	// and Last.
	Slot = 6 * time.Hour
	// MaxPoints is the most that Series gives.
	MaxPoints = 3000
)

// Point is one value of a series.
type Point struct {
	Time  time.Time // when its step begins, UTC
	Value float64
	// Known is false for a gap: the server did not run in any part of the step.
	Known bool
}

// SignIn is what sign-ins have in common, and how many there were.
type SignIn struct {
	// User is the sign-in name, or the alias that was used, prepared. For a refused
	// sign-in it is what the client sent, made printable and cut, and may be
	// nobody's name. "" is none, or with Others set: anybody.
	User      string
	Service   settings.Service
	Mechanism string     // as of auth.Identity
	Class     sasl.Class // of the mechanism
	TLS       bool
	// Network is the client's address: a whole IPv4 address or the /64 of an IPv6
	// one. The zero value is a Unix socket, or with Others set: anywhere.
	Network netip.Prefix
	// Client is what the client called itself (ID, RFC 2971), made printable and
	// cut; "" when it did not.
	Client  string
	Outcome string // "OK" or the name of the error's mail.Kind
	// Others: a bound was reached, and this row counts the rest together.
	Others bool

	Count       int64
	First, Last time.Time // within what was asked for; First as finely as Slot
}

// OK is the Outcome of a sign-in that was let in.
const OK = "OK"

// Address gives Network for people: "10.0.0.5", "2001:db8::/64", "local", or
// "others".
func (s SignIn) Address() string {
	switch {
	case s.Others && !s.Network.IsValid():
		return "others"
	case !s.Network.IsValid():
		return "local"
	case s.Network.Addr().Is4():
		return s.Network.Addr().String()
	}
	return s.Network.String()
}

// Filter chooses sign-ins; a zero field chooses all.
type Filter struct {
	User    string // in the prepared form
	Service settings.Service
	OnlyOK  bool
}

// Impact is what a change of LoginType would have refused.
type Impact struct {
	Since   time.Time // what was looked at
	SignIns int64     // would have been refused
	Users   int       // of so many users, those that Others hides not counted
	Others  int64     // of SignIns: those whose user is not known any more
	// Affected says who, the most sign-ins first, one a user, client and address.
	Affected []Affected
}

// Affected is one user's client at one address.
type Affected struct {
	User, Client, Address string
	Count                 int64
	Last                  time.Time
}

// Series gives a metric of a service, "" for all services together, from the step
// that holds from up to but without to, oldest first. step is rounded up to whole
// minutes, to whole hours when from is longer ago than MinutesKept, and as far as
// needed to give at most MaxPoints. Steps begin at whole multiples of step since
// the Unix epoch.
func (h *History) Series(m Metric, s settings.Service, from, to time.Time, step time.Duration) []Point {
	return nil
}

// SignIns gives what is known since then, in steps of Slot, by user, service and
// time, latest first.
func (h *History) SignIns(since time.Time, f Filter) []SignIn { return nil }

// Refused tells which sign-ins of the last window, at most SignInsKept, the login
// policy would have refused under t. Only sign-ins that were let in count.
func (h *History) Refused(s settings.Service, t mail.LoginType, window time.Duration) Impact {
	return Impact{}
}

// Observe is auth.Options.Observe.
func (h *History) Observe(a auth.Attempt) {}

// History keeps it all. Its methods may be called from any goroutine.
type History struct{}
