package sasl

import "strings"

// Mechanism is a row of the table.
type Mechanism struct {
	Name  string
	Class Class
	// Bound: who it proves is proved on this TLS connection alone, so that nobody in
	// between can pass the proof on.
	Bound bool
	// There tells whether the server has on a connection what the mechanism needs; nil
	// is always. One that is not there is neither offered nor accepted.
	There func(Server) bool
	// New starts an exchange.
	New func(Server) Exchange
}

// Mechanisms is the table, the strongest first. It is never changed.
//
// Every one takes an initial response: LOGIN is a server-first mechanism on paper
// (draft-murchison-sasl-login-00), but clients with SASL-IR (curl, JavaMail) send
// the name in it.
var Mechanisms = []Mechanism{
	{"SCRAM-SHA-512-PLUS", TLSOnly, true, Binds, newScram("SHA-512", true)},
	{"SCRAM-SHA-256-PLUS", TLSOnly, true, Binds, newScram("SHA-256", true)},
	{"SCRAM-SHA-1-PLUS", TLSOnly, true, Binds, newScram("SHA-1", true)},
	{"SCRAM-SHA-512", Challenge, false, nil, newScram("SHA-512", false)},
	{"SCRAM-SHA-256", Challenge, false, nil, newScram("SHA-256", false)},
	{"SCRAM-SHA-1", Challenge, false, nil, newScram("SHA-1", false)},
	{"PLAIN", Password, false, nil, newPlain},
	{"LOGIN", Password, false, nil, newLogin},
}

// Plus tells whether the name is that of a -PLUS mechanism, whose messages carry a
// channel binding (RFC 5801, 3).
func (m Mechanism) Plus() bool { return strings.HasSuffix(m.Name, "-PLUS") }
