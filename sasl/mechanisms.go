package sasl

// Mechanism is a row of the table.
type Mechanism struct {
	Name  string
	Class Class
	// Binding: the mechanism binds to the TLS channel and is there only when the
	// connection has a binding (see Binds).
	Binding bool
	// New starts an exchange.
	New func(Server) Exchange
}

// Mechanisms is the table, the strongest first. It is never changed.
//
// Every one takes an initial response: LOGIN is a server-first mechanism on paper
// (draft-murchison-sasl-login-00), but clients with SASL-IR (curl, JavaMail) send
// the name in it.
var Mechanisms = []Mechanism{
	{"SCRAM-SHA-512-PLUS", TLSOnly, true, newScram("SHA-512", true)},
	{"SCRAM-SHA-256-PLUS", TLSOnly, true, newScram("SHA-256", true)},
	{"SCRAM-SHA-1-PLUS", TLSOnly, true, newScram("SHA-1", true)},
	{"SCRAM-SHA-512", Challenge, false, newScram("SHA-512", false)},
	{"SCRAM-SHA-256", Challenge, false, newScram("SHA-256", false)},
	{"SCRAM-SHA-1", Challenge, false, newScram("SHA-1", false)},
	{"PLAIN", Password, false, newPlain},
	{"LOGIN", Password, false, newLogin},
}
