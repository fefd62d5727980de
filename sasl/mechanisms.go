package sasl

import (
	"slices"
	"strings"
)

// Mechanism is a row of the table.
type Mechanism struct {
	Name  string
	Class Class
	// Bound: who it proves is proved on this TLS connection alone, so that nobody in
	// between can pass the proof on. Where a client may also leave the binding out
	// (GSSAPI, GSS-SPNEGO), Server.Protection says whether it may.
	Bound bool
	// Needs is what the server must have on a connection: without it the mechanism is
	// neither offered nor accepted.
	Needs Means
	// New starts an exchange.
	New func(Server) Exchange
}

// Mechanisms is the table, the strongest first. It is never changed.
//
// Every one takes an initial response: LOGIN is a server-first mechanism on paper
// (draft-murchison-sasl-login-00), but clients with SASL-IR (curl, JavaMail) send
// the name in it.
var Mechanisms = []Mechanism{
	{"EXTERNAL", TLSOnly, true, NeedsCertificate, newExternal},
	{"GS2-KRB5-PLUS", TLSOnly, true, NeedsTickets | NeedsBinding, newGS2(true)},
	{"SCRAM-SHA-512-PLUS", TLSOnly, true, NeedsKeys | NeedsBinding, newScram("SHA-512", true)},
	{"SCRAM-SHA-256-PLUS", TLSOnly, true, NeedsKeys | NeedsBinding, newScram("SHA-256", true)},
	{"SCRAM-SHA-1-PLUS", TLSOnly, true, NeedsKeys | NeedsBinding, newScram("SHA-1", true)},
	{"GS2-KRB5", Challenge, false, NeedsTickets, newGS2(false)},
	{"GSSAPI", Challenge, true, NeedsTickets, newGSSAPI},
	{"GSS-SPNEGO", Challenge, true, NeedsTickets, newSPNEGO},
	{"SCRAM-SHA-512", Challenge, false, NeedsKeys, newScram("SHA-512", false)},
	{"SCRAM-SHA-256", Challenge, false, NeedsKeys, newScram("SHA-256", false)},
	{"SCRAM-SHA-1", Challenge, false, NeedsKeys, newScram("SHA-1", false)},
	{"OAUTHBEARER", TLSOnly, false, NeedsTokens, newOAuthBearer},
	{"XOAUTH2", TLSOnly, false, NeedsTokens, newXOAuth2},
	{"PLAIN", Password, false, 0, newPlain},
	{"LOGIN", Password, false, 0, newLogin},
	{"CRAM-MD5", Challenge, false, NeedsReadable, newCramMD5},
	{"APOP", Challenge, false, NeedsReadable | NeedsTimestamp, newAPOP},
	{"NTLM", Challenge, false, NeedsNTLM, newNTLM},
}

// Means are what a mechanism needs beside passwords.
type Means int

// The means.
const (
	NeedsKeys        Means = 1 << iota // a directory that has SCRAM keys
	NeedsTokens                        // a directory that proves bearer tokens
	NeedsCertificate                   // a client that showed a certificate of an authority that the service trusts
	NeedsBinding                       // a TLS connection with a channel binding, see Binds
	NeedsTickets                       // a directory that accepts Kerberos tickets for the service
	NeedsReadable                      // a directory that keeps passwords that it can read
	NeedsTimestamp                     // a greeting with a timestamp that nobody has answered
	NeedsNTLM                          // a helper that checks NTLM
)

// Legacy tells whether it needs secrets that are stored weak or readable. Such a
// mechanism is off unless an administrator names it for the service and switches it on
// for the mailbox.
func (m Mechanism) Legacy() bool { return m.Needs&(NeedsReadable|NeedsNTLM) != 0 }

// Command tells whether it is a command of POP3's own, which AUTH and AUTHENTICATE do
// not know.
func (m Mechanism) Command() bool { return m.Needs&NeedsTimestamp != 0 }

// Legacy lists the mechanisms that are off unless they are switched on, see
// Mechanism.Legacy.
func Legacy() []string {
	var names []string
	for _, m := range Mechanisms {
		if m.Legacy() {
			names = append(names, m.Name)
		}
	}
	return names
}

// NeedReadable tells whether any of the mechanisms needs the password itself.
func NeedReadable(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		m, _ := Find(name)
		return m.Needs&NeedsReadable != 0
	})
}

// Plus tells whether the name is that of a -PLUS mechanism, whose messages carry a
// channel binding (RFC 5801, 3).
func (m Mechanism) Plus() bool { return strings.HasSuffix(m.Name, "-PLUS") }

// Kin tells whether two mechanisms are of one kind, SCRAM or GS2: a client of one of
// them knows the others.
func (m Mechanism) Kin(other Mechanism) bool {
	kind, _, _ := strings.Cut(m.Name, "-")
	return strings.HasPrefix(other.Name, kind+"-")
}
