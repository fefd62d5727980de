// Package sasl plays the server's side of SASL (RFC 4422): one table of mechanisms
// in mechanisms.go, one file a mechanism. It knows neither protocols nor
// directories: what a mechanism must know comes through Server, what it sends and
// receives are plain octets, and POP3 (RFC 5034) and IMAP (RFC 9051, 6.2.2; RFC
// 4959) wrap the same rows.
package sasl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"strings"
	"time"

	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
)

// MaxResponse bounds one decoded client response in octets: what fits into a line of
// 12288 octets in base64. RFC 5034, 4 and RFC 9051, 6.2.2 leave the bound to us.
const MaxResponse = 12288 / 4 * 3

// Class says what crosses the network in a mechanism; the login policy speaks of
// classes, not of mechanisms.
type Class int

// The classes. The zero Class is none and nothing permits it.
const (
	// Password: the server reads the password (PLAIN, LOGIN; also the commands
	// USER and PASS of POP3 and LOGIN of IMAP).
	Password Class = iota + 1
	// Challenge: a proof that an eavesdropper cannot use again (SCRAM-*, Kerberos).
	Challenge
	// TLSOnly: means nothing without TLS: every -PLUS, bearer tokens, certificates.
	TLSOnly
)

// Classes lists the classes.
var Classes = []Class{Password, Challenge, TLSOnly}

// String gives the class's name.
func (c Class) String() string {
	switch c {
	case Password:
		return "Password"
	case Challenge:
		return "Challenge"
	case TLSOnly:
		return "TLSOnly"
	}
	return "Class(none)"
}

// Exchange is the server's side of one authentication. It is used by one
// goroutine; after done or an error it is used no more, and dropping it at any
// point cancels it.
type Exchange interface {
	// Next takes the client's response and gives the next challenge, which may be
	// empty. The first call takes the initial response: nil when the client sent
	// none, not nil and empty when it sent an empty one ("=" on the wire).
	//
	// done means that the client is authenticated; challenge is then empty,
	// because IMAP and POP3 cannot carry data with success. The server's last
	// word of SCRAM (v=…) is therefore a challenge, done false, to which the
	// client answers with an empty response (RFC 4422, 5: "success data" as an
	// extra exchange); only the call after that is done.
	//
	// Errors are *mail.Error: KindAuthenticationFailed (also for a response that
	// does not follow the mechanism's grammar), or what Credentials gave.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
}

// Keys are a user's stored secrets for SCRAM with one hash (RFC 5802, 3).
type Keys struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Credentials is what a mechanism asks the server about users. A value belongs to
// one exchange and to its goroutine. Names and passwords are as the client sent
// them: preparing, comparing, throttling and recording are Credentials' work.
type Credentials interface {
	// Password proves name by a readable password.
	Password(ctx context.Context, name, password string) error

	// Keys gives name's keys for a hash named as in Hashes. For an unknown name
	// it gives keys that no proof matches and no error.
	Keys(ctx context.Context, name, hash string) (Keys, error)

	// Token proves somebody by a bearer token (RFC 6750) and gives whom; authzid is
	// the name that the client said, "" for none.
	Token(ctx context.Context, authzid, token string) (name string, err error)

	// Certificate gives who the client's certificate says it is; authzid chooses among
	// several names, "" is the first.
	Certificate(ctx context.Context, authzid string) (name string, err error)

	// Ticket proves somebody by a Kerberos ticket for the service and gives whom, and what
	// is shared with them: token is a client's first one (krb5.Acceptor.Accept). The
	// channel binding is the mechanism's to compare.
	Ticket(ctx context.Context, token []byte) (name string, shared *krb5.Context, err error)

	// Answer proves name by an answer to a challenge. right is asked once, with the
	// password, which it may neither keep nor change; for a name that has no readable
	// one with a password that nobody knows.
	Answer(ctx context.Context, name string, right func(password []byte) bool) error

	// NTLMChallenge gives what answers the client's first message of NTLM. It is asked
	// once.
	NTLMChallenge(ctx context.Context, negotiate []byte) (challenge []byte, err error)

	// NTLMProof proves somebody by the client's second message, and gives whom. account is
	// who it says it is, as DOMAIN\user.
	NTLMProof(ctx context.Context, account string, answer []byte) (name string, err error)

	// Authorize is the last step after a proof: may name act as authzid ("" is
	// name itself), and is it allowed in at all? A mechanism that is done without
	// having asked is refused by auth.
	Authorize(ctx context.Context, name, authzid string) error
}

// Server is what one exchange may use.
type Server struct {
	Credentials Credentials

	// TLS is nil on a connection without TLS.
	TLS *tls.ConnectionState
	// Certificate is the one that this server showed on this connection, nil when
	// it is not known: then there is no tls-server-end-point binding.
	Certificate *x509.Certificate
	// PlusOffered tells whether this connection was offered any -PLUS mechanism of the
	// exchange's kind:
	// a client that says it supports channel binding and saw none was tampered
	// with (RFC 5802, 6).
	PlusOffered bool
	// Protection says what is done about a channel binding that the client may leave out.
	Protection Protection

	// Issuer tells a client whose token is not taken where it gets one: the address of
	// the provider's description, and the scope to ask for, "" for what is not known;
	// authzid is the name that the client said. nil knows nobody.
	Issuer func(authzid string) (configuration, scope string)
	// Host is the server's name in timestamps.
	Host string
	// Timestamp is the one of POP3's greeting, as long as nobody has answered it.
	Timestamp string

	// Rand is read for nonces; nil means crypto/rand.
	Rand io.Reader
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// failed is the one refusal that a client hears, whatever the cause; the cause is
// for the log.
func failed(cause string) error {
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: reason(cause)}
}

// reason is a cause without more behind it.
type reason string

func (r reason) Error() string { return string(r) }

// Find gives the mechanism of a name in any case.
func Find(name string) (Mechanism, bool) {
	for _, m := range Mechanisms {
		if strings.EqualFold(m.Name, name) {
			return m, true
		}
	}
	return Mechanism{}, false
}
