// Package auth says who may log in, and how: the login policy, the checking of
// credentials, the brakes against guessing, and why a login was refused. POP3 and
// IMAP ask it everything that has to do with signing in; the mechanisms' messages
// are package sasl's, the users a directory's.
package auth

import (
	"fmt"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Decision is the policy's answer.
type Decision struct {
	OK   bool
	Rule Rule
	// Policy is the name of the LoginRule that forbids, "" when none does.
	Policy string
	// Text says to the client what to do when OK is false; it is set by the
	// methods that know the connection, not by Permits.
	Text string
}

// Rule is the one sentence of the policy that decided.
type Rule int

// The rules. The zero Rule is the default: no.
const (
	// RuleDefault: no rule permits it.
	RuleDefault Rule = iota
	// RuleTLS: the connection is encrypted, every mechanism is accepted.
	RuleTLS
	// RulePlainTextLogin: PlainTextLogin permits readable passwords and proofs in
	// the clear.
	RulePlainTextLogin
	// RulePlainTextAuthentication: PlainTextAuthentication permits proofs in the
	// clear.
	RulePlainTextAuthentication
	// RulePasswordNeedsTLS: PlainTextAuthentication permits a readable password
	// under TLS only.
	RulePasswordNeedsTLS
	// RuleMechanismNeedsTLS: the mechanism means nothing without TLS.
	RuleMechanismNeedsTLS
	// RuleSecureLogin: SecureLogin permits no authentication before TLS.
	RuleSecureLogin
	// RuleNotNamed: AuthMechanisms does not name it.
	RuleNotNamed
	// RuleNotSwitchedOn: the mechanism is a legacy one, and not switched on for the
	// mailbox.
	RuleNotSwitchedOn
	// RuleBound: it is bound to the TLS connection, or need not be.
	RuleBound
	// RuleNoBinding: ExtendedProtectionPolicy is None, nothing is bound.
	RuleNoBinding
	// RuleBindingNeedsTLS: what ExtendedProtectionPolicy requires is there under TLS
	// only.
	RuleBindingNeedsTLS
	// RuleBindingRequired: ExtendedProtectionPolicy requires what is bound to the TLS
	// connection, and this is not.
	RuleBindingRequired
	// RuleBlock: a LoginRule forbids every sign-in.
	RuleBlock
	// RuleMechanism: a LoginRule forbids the mechanism.
	RuleMechanism
	// RuleHours: a LoginRule forbids this hour.
	RuleHours
	// RuleAppPasswordsOnly: a LoginRule forbids the mailbox's own password.
	RuleAppPasswordsOnly
	// RuleOwnMailbox: an app password opens its own mailbox alone.
	RuleOwnMailbox
)

// String gives the rule in words.
func (r Rule) String() string {
	switch r {
	case RuleTLS:
		return "the connection is encrypted: every mechanism is accepted"
	case RulePlainTextLogin:
		return "PlainTextLogin permits it without TLS"
	case RulePlainTextAuthentication:
		return "PlainTextAuthentication permits challenge-response without TLS"
	case RulePasswordNeedsTLS:
		return "PlainTextAuthentication permits a readable password under TLS only"
	case RuleMechanismNeedsTLS:
		return "the mechanism is accepted under TLS only"
	case RuleSecureLogin:
		return "SecureLogin permits no authentication before TLS"
	case RuleNotNamed:
		return "AuthMechanisms does not name it"
	case RuleNotSwitchedOn:
		return "it is a legacy mechanism that is not switched on for the mailbox"
	case RuleBound:
		return "ExtendedProtectionPolicy accepts it"
	case RuleNoBinding:
		return "ExtendedProtectionPolicy None offers no channel binding"
	case RuleBindingNeedsTLS:
		return "ExtendedProtectionPolicy requires what there is under TLS only"
	case RuleBindingRequired:
		return "ExtendedProtectionPolicy requires what is bound to the TLS connection"
	case RuleBlock:
		return "nobody that it means may sign in"
	case RuleMechanism:
		return "the mechanism is not among those that it permits"
	case RuleHours:
		return "it permits no sign-in at this hour"
	case RuleAppPasswordsOnly:
		return "it permits app passwords, tokens, tickets and certificates only"
	case RuleOwnMailbox:
		return "an app password opens its own mailbox alone"
	}
	return "no rule permits it"
}

// Permits is the login policy: may a method of class be used on a connection that
// is (tls) or is not encrypted, under the service's LoginType? Rules only forbid more
// (Effective). The commands USER
// and PASS of POP3 and LOGIN of IMAP are of sasl.Password. There is no exemption
// for any address. It reads nothing but its arguments, and everything that offers
// or accepts a login asks it through Effective.
func Permits(t mail.LoginType, class sasl.Class, tls bool) Decision {
	known := class == sasl.Password || class == sasl.Challenge || class == sasl.TLSOnly
	switch {
	case !known:
		return Decision{}
	case tls:
		return Decision{OK: true, Rule: RuleTLS}
	case t == mail.SecureLogin:
		return Decision{Rule: RuleSecureLogin}
	case class == sasl.TLSOnly:
		return Decision{Rule: RuleMechanismNeedsTLS}
	case t == mail.PlainTextLogin:
		return Decision{OK: true, Rule: RulePlainTextLogin}
	case t == mail.PlainTextAuthentication && class == sasl.Challenge:
		return Decision{OK: true, Rule: RulePlainTextAuthentication}
	case t == mail.PlainTextAuthentication:
		return Decision{Rule: RulePasswordNeedsTLS}
	}
	return Decision{}
}

// Protects asks ExtendedProtectionPolicy of what Permits permits. bound tells that a
// method proves somebody on this TLS connection alone, plus that it is a -PLUS mechanism.
// It reads nothing but its arguments.
func Protects(p settings.ExtendedProtection, bound, plus, tls bool) Decision {
	switch {
	case p == settings.NoProtection && plus:
		return Decision{Rule: RuleNoBinding}
	case p == settings.NoProtection, p == settings.AllowProtection:
		return Decision{OK: true, Rule: RuleBound}
	case p == settings.RequireProtection && !tls:
		return Decision{Rule: RuleBindingNeedsTLS}
	case p == settings.RequireProtection && bound:
		return Decision{OK: true, Rule: RuleBound}
	case p == settings.RequireProtection:
		return Decision{Rule: RuleBindingRequired}
	}
	return Decision{}
}

// needsTLS tells whether encryption is what is missing.
func (r Rule) needsTLS() bool {
	return r == RuleSecureLogin || r == RulePasswordNeedsTLS || r == RuleMechanismNeedsTLS || r == RuleBindingNeedsTLS
}

// Why gives the rule in words, and the login policy that it is of.
func (d Decision) Why() string {
	if d.Policy == "" {
		return d.Rule.String()
	}
	return fmt.Sprintf("login policy %q: %s", d.Policy, d.Rule)
}

// Err is nil when OK, else KindPrivacyRequired with the text that says what to do,
// or KindCannot when it is forbidden with TLS, too.
func (d Decision) Err() error {
	if d.OK {
		return nil
	}
	kind := mail.KindPrivacyRequired
	if d.Rule != RuleDefault && !d.Rule.needsTLS() {
		kind = mail.KindCannot
	}
	return &mail.Error{Kind: kind, Text: d.Text, Cause: d.cause()}
}

// cause is for the log.
func (d Decision) cause() error { return ruleCause(d.Why()) }

type ruleCause string

func (r ruleCause) Error() string { return string(r) }
