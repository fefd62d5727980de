package auth

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// LoginRule narrows who may sign in how, on top of the services' LoginType. It holds
// for a sign-in that all its conditions fit; one that is empty fits every sign-in.
// It can only forbid: see Effective.
type LoginRule struct {
	Name string `json:"name"`

	// Users are sign-in names, Groups groups of them: it is enough to be in either.
	// With both empty the rule is for everyone, and holds before the name is known.
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// From are the clients' networks, ExceptFrom those that it does not hold for. An
	// address that is not known is in no network.
	From       []netip.Prefix `json:"from,omitempty"`
	ExceptFrom []netip.Prefix `json:"exceptFrom,omitempty"`
	// Services it holds for; empty is POP3 and IMAP4. The console has no rules, so that
	// none keeps the administrators out who could change it.
	Services []settings.Service `json:"services,omitempty"`

	// LoginType forbids what a service of this LoginType would; 0 nothing.
	LoginType mail.LoginType `json:"loginType,omitempty"`
	// Mechanisms are all that may be used, by their SASL names; empty is every one.
	// The commands LOGIN of IMAP and USER of POP3 are PLAIN here.
	Mechanisms []string `json:"mechanisms,omitempty"`
	// Hours are all in which one may sign in; empty is always.
	Hours []Hours `json:"hours,omitempty"`
	// AppPasswordsOnly forbids the mailbox's own password, sent or proved: what is left
	// are app passwords, tokens, tickets and certificates.
	AppPasswordsOnly bool `json:"appPasswordsOnly,omitempty"`
	// Block forbids everything.
	Block bool `json:"block,omitempty"`
}

// Secret is what a sign-in proved, or could prove.
type Secret int

// The secrets. The zero Secret is one that is not known yet.
const (
	UnknownSecret   Secret = iota
	AccountPassword        // the mailbox's own password, or a proof that it is known
	AppSecret              // an app password
	OtherSecret            // a token, a ticket or a certificate
)

// String gives the secret in words.
func (s Secret) String() string {
	return [...]string{"any secret", "the mailbox's password", "an app password", "a token, ticket or certificate"}[s]
}

// secretOf gives the secrets that a method can prove. One that nobody thought of
// counts as the mailbox's password, which rules may forbid.
func secretOf(method string) []Secret {
	switch asMechanism(method) {
	case "PLAIN", "LOGIN":
		return []Secret{AccountPassword, AppSecret}
	case "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "GSSAPI", "GS2-KRB5", "GS2-KRB5-PLUS", "GSS-SPNEGO":
		return []Secret{OtherSecret}
	case "CRAM-MD5", "APOP", "NTLM":
		// Proofs of the password, as SCRAM's: NTLM's of the one that the domain keeps.
		return []Secret{AccountPassword}
	}
	return []Secret{AccountPassword}
}

// ProvedBy gives what a sign-in by a method has proved; app says that it was an app
// password.
func ProvedBy(method string, app bool) Secret {
	if app {
		return AppSecret
	}
	return secretOf(method)[0]
}

// asMechanism gives the SASL name that stands for a method in rules.
func asMechanism(method string) string {
	if strings.HasSuffix(method, " command") {
		return "PLAIN"
	}
	return method
}

// Wanted is a sign-in that Effective decides about, as far as it is known.
type Wanted struct {
	Service   settings.Service
	LoginType mail.LoginType // of the service
	// Mechanisms are the service's AuthMechanisms, nil for every one of the table that is
	// no legacy one; Protection is its ExtendedProtectionPolicy.
	Mechanisms []string
	Protection settings.ExtendedProtection
	TLS        bool
	From       netip.Addr // the zero Addr when it is not known
	At         time.Time  // its location says what hour it is

	// Method is a SASL name or a command as in Identity.Mechanism, Class its class.
	Method string
	Class  sasl.Class

	// User is the sign-in name of the mailbox, "" before it is known: then only rules
	// for everyone hold. Groups are those that the user is in.
	User   string
	Groups []string
	Secret Secret
	// Legacy are the legacy mechanisms that are switched on for User.
	Legacy []string

	// For is the sign-in name of the mailbox for which User acts, "" for its own, and
	// ForGroups its groups: a rule that holds for either may forbid.
	For       string
	ForGroups []string
}

// Effective is the whole login policy: what the service names, the mailbox has switched
// on where that is needed, and Permits permits, Protects and then every rule that holds may still forbid. So a further rule never allows more. The first rule that forbids is
// named in the Decision. It reads nothing but its arguments.
func Effective(rules []LoginRule, w Wanted) Decision {
	m, _ := sasl.Find(asMechanism(w.Method))
	if named := slices.Contains(w.Mechanisms, asMechanism(w.Method)) || w.Mechanisms == nil && !m.Legacy(); !named {
		return Decision{Rule: RuleNotNamed}
	}
	if m.Legacy() && w.User != "" && !slices.Contains(w.Legacy, m.Name) {
		return Decision{Rule: RuleNotSwitchedOn}
	}
	d := Permits(w.LoginType, w.Class, w.TLS)
	if d.OK {
		if p := Protects(w.Protection, m.Bound, m.Plus(), w.TLS); !p.OK {
			d = p
		}
	}
	if d.OK && w.For != "" && w.Secret == AppSecret {
		return Decision{Rule: RuleOwnMailbox}
	}
	for _, r := range rules {
		if !d.OK {
			break
		}
		if r.holds(w) {
			if forbidden, by := r.forbids(w); forbidden {
				d = Decision{Rule: by, Policy: r.Name}
			}
		}
	}
	return d
}

// holds tells whether all conditions of the rule fit.
func (r LoginRule) holds(w Wanted) bool {
	services := r.Services
	if len(services) == 0 {
		services = []settings.Service{settings.POP3, settings.IMAP4}
	}
	return slices.Contains(services, w.Service) && (r.means(w.User, w.Groups) || w.For != "" && r.means(w.For, w.ForGroups)) &&
		(len(r.From) == 0 || settings.Within(r.From, w.From)) && !settings.Within(r.ExceptFrom, w.From)
}

// means tells whether the rule is for a user.
func (r LoginRule) means(user string, groups []string) bool {
	if len(r.Users)+len(r.Groups) == 0 {
		return true
	}
	return user != "" && (slices.Contains(r.Users, user) || slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(groups, g) }))
}

// Everyone tells whether the rule is for all users.
func (r LoginRule) Everyone() bool { return r.means("", nil) }

func (r LoginRule) forbids(w Wanted) (bool, Rule) {
	switch {
	case r.Block:
		return true, RuleBlock
	case len(r.Hours) > 0 && !slices.ContainsFunc(r.Hours, func(h Hours) bool { return h.Contain(w.At) }):
		return true, RuleHours
	case r.LoginType != 0 && !Permits(r.LoginType, w.Class, w.TLS).OK:
		return true, Permits(r.LoginType, w.Class, w.TLS).Rule
	case len(r.Mechanisms) > 0 && !slices.Contains(r.Mechanisms, asMechanism(w.Method)):
		return true, RuleMechanism
	case r.AppPasswordsOnly && !r.otherThanPassword(w):
		return true, RuleAppPasswordsOnly
	}
	return false, 0
}

// otherThanPassword tells whether a sign-in proves, or still can, something else than
// the mailbox's own password.
func (r LoginRule) otherThanPassword(w Wanted) bool {
	secrets := secretOf(w.Method)
	if w.Secret != UnknownSecret {
		secrets = []Secret{w.Secret}
	}
	return slices.ContainsFunc(secrets, func(s Secret) bool { return s != AccountPassword })
}

// Narrows tells whether the rule forbids anything at all.
func (r LoginRule) Narrows() bool {
	return r.Block || r.AppPasswordsOnly || r.LoginType != 0 || len(r.Mechanisms) > 0 || len(r.Hours) > 0
}

// Policy is the rules, in the order in which they are asked, and who is in the groups
// that they name.
type Policy struct {
	Rules  []LoginRule
	Groups map[string][]string // sign-in names by the name of the group
}

// GroupsOf gives the groups that a user is in, sorted.
func (p *Policy) GroupsOf(user string) []string {
	var groups []string
	for name, members := range p.Groups {
		if slices.Contains(members, user) {
			groups = append(groups, name)
		}
	}
	slices.Sort(groups)
	return groups
}

// NamesDirectories tells whether a rule is for a group of an external directory,
// directory\group.
func (p *Policy) NamesDirectories() bool {
	return slices.ContainsFunc(p.Rules, func(r LoginRule) bool {
		return slices.ContainsFunc(r.Groups, func(g string) bool { return strings.Contains(g, `\`) })
	})
}

// Decide is Effective under this policy; it adds its groups to those of external
// directories that w has.
func (p *Policy) Decide(w Wanted) Decision {
	if w.User != "" {
		w.Groups = append(p.GroupsOf(w.User), w.Groups...)
	}
	if w.For != "" {
		w.ForGroups = append(p.GroupsOf(w.For), w.ForGroups...)
	}
	return Effective(p.Rules, w)
}
