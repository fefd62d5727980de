package sasl

import (
	"context"
	"crypto/pbkdf2"
	"crypto/subtle"
	"hash"
	"strings"
	"testing"

	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
)

// users is Credentials with names and their passwords; it notes what it was asked.
type users struct {
	passwords  map[string]string
	calls      int
	name       string
	authzid    string
	authorized bool
	refuse     error // of Authorize
	down       bool  // nothing can be said of tokens
	acceptor   krb5.Acceptor
}

func anna() *users { return &users{passwords: map[string]string{"anna": "secret", "a,n=n": "secret"}} }

func (u *users) Password(_ context.Context, name, password string) error {
	u.calls++
	u.name = name
	if want, ok := u.passwords[name]; !ok || subtle.ConstantTimeCompare([]byte(want), []byte(password)) != 1 {
		return failed("wrong password")
	}
	return nil
}

func (u *users) Keys(_ context.Context, name, hash string) (Keys, error) {
	u.calls++
	u.name = name
	n := newHash(hash)
	if password, ok := u.passwords[name]; ok {
		return keysOf(n, password, []byte("salt of sixteen!"), 4096), nil
	}
	return Keys{Salt: []byte("fake of sixteen!"), Iterations: 4096, StoredKey: make([]byte, n().Size()), ServerKey: make([]byte, n().Size())}, nil
}

func (u *users) Token(_ context.Context, _, token string) (string, error) {
	u.calls++
	name, ok := strings.CutPrefix(token, "token-of-")
	if u.down {
		return "", mail.Errorf(mail.KindUnavailable, "")
	}
	if _, known := u.passwords[name]; !ok || !known {
		return "", failed("wrong token")
	}
	return name, nil
}

// Certificate: anna's.
func (u *users) Certificate(context.Context, string) (string, error) {
	u.calls++
	return "anna", nil
}

// Ticket: of whoever u.acceptor accepts.
func (u *users) Ticket(_ context.Context, token []byte) (string, *krb5.Context, error) {
	u.calls++
	shared, err := u.acceptor.Accept("imap", token)
	if err != nil {
		return "", nil, err
	}
	return shared.Client.Components[0], shared, nil
}

func (u *users) Authorize(_ context.Context, name, authzid string) error {
	if u.refuse != nil {
		return u.refuse
	}
	u.name, u.authzid, u.authorized = name, authzid, true
	return nil
}

func keysOf(n func() hash.Hash, password string, salt []byte, iterations int) Keys {
	salted, err := pbkdf2.Key(n, password, salt, iterations, n().Size())
	if err != nil {
		panic(err)
	}
	s := &scram{new: n}
	h := n()
	h.Write(s.mac(salted, "Client Key"))
	return Keys{Salt: salt, Iterations: iterations, StoredKey: h.Sum(nil), ServerKey: s.mac(salted, "Server Key")}
}

func begin(t testing.TB, name string, s Server) Exchange {
	t.Helper()
	m, ok := Find(name)
	if !ok {
		t.Fatalf("no mechanism %s", name)
	}
	return m.New(s)
}

func wantFailed(t *testing.T, what string, done bool, err error) {
	t.Helper()
	if done || err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("%s: done %v, %v; want AuthenticationFailed", what, done, err)
	}
}

func (u *users) Answer(_ context.Context, name string, right func([]byte) bool) error {
	u.calls++
	u.name = name
	password, ok := u.passwords[name]
	if !right([]byte(password)) || !ok {
		return failed("wrong answer")
	}
	return nil
}

// NTLMChallenge answers with a message of the second type.
func (u *users) NTLMChallenge(context.Context, []byte) ([]byte, error) {
	u.calls++
	return []byte("NTLMSSP\x00\x02\x00\x00\x00"), nil
}

// NTLMProof takes who DOMAIN\anna says she is.
func (u *users) NTLMProof(_ context.Context, account string, _ []byte) (string, error) {
	u.calls++
	u.name = account
	if account != `DOMAIN\anna` {
		return "", failed("wrong proof")
	}
	return "anna", nil
}
