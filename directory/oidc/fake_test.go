package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// object is a JSON object.
type object = map[string]any

// fake is a provider on loopback that says what a test wants.
type fake struct {
	*httptest.Server
	fetched, asked atomic.Int32 // key sets and introspections that were answered

	mu       sync.Mutex
	keys     []jose.JSONWebKey
	tokens   map[string]object // what introspection says; active is added
	describe func(object)      // changes the description
	serve    func(w http.ResponseWriter, q *http.Request) bool
}

func newFake(t testing.TB, keys ...jose.JSONWebKey) *fake {
	f := &fake{keys: keys, tokens: map[string]object{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.answer))
	t.Cleanup(f.Close)
	return f
}

// set changes what it says.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) answer(w http.ResponseWriter, q *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serve != nil && f.serve(w, q) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch q.URL.Path {
	case "/.well-known/openid-configuration":
		d := object{"issuer": f.URL, "jwks_uri": f.URL + "/keys", "introspection_endpoint": f.URL + "/introspect"}
		if f.describe != nil {
			f.describe(d)
		}
		json.NewEncoder(w).Encode(d)
	case "/keys":
		f.fetched.Add(1)
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: f.keys})
	case "/introspect":
		f.asked.Add(1)
		id, secret, _ := q.BasicAuth()
		if id == "" {
			id, secret = q.FormValue("client_id"), q.FormValue("client_secret")
		}
		if id != "mail%3Aserver" && id != "mail:server" || secret != "s3cret%2F" && secret != "s3cret/" {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		answer := object{"active": false}
		if c, ok := f.tokens[q.FormValue("token")]; ok {
			answer = maps.Clone(c)
			if _, said := answer["active"]; !said {
				answer["active"] = true
			}
		}
		json.NewEncoder(w).Encode(answer)
	default:
		http.NotFound(w, q)
	}
}

// options are those of a directory of f.
func (f *fake) options(t testing.TB) Options {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{
		Issuer: f.URL, Audience: []string{"postern", "imap://mail"}, ClientID: "mail:server", ClientSecretFile: secret, AllowHTTPOnLoopback: true, Timeout: "00:00:03",
	}
}

// directory opens one of f with a clock that the test moves.
func (f *fake) directory(t testing.TB, change func(*Options)) *Source {
	o := f.options(t)
	if change != nil {
		change(&o)
	}
	r, err := o.check()
	if err != nil {
		t.Fatal(err)
	}
	s := build(r, slog.New(slog.DiscardHandler), clock.now)
	pause := s.provider.pause
	s.provider.pause = func(failures int) time.Duration { return pause(failures) / 20 }
	s.provider.start()
	t.Cleanup(func() { s.Close() })
	return s
}

// clock is the time of all tests, which run one after the other.
var clock = &hands{}

type hands struct{ ahead atomic.Int64 }

func (h *hands) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// advance moves the clock until the test ends.
func advance(t testing.TB, by time.Duration) {
	clock.ahead.Add(int64(by))
	t.Cleanup(func() { clock.ahead.Add(-int64(by)) })
}

// Keys of the tests: one of each kind, made once.
var (
	rsaKey, otherKey = newRSA(2048), newRSA(2048)
	ecKey            = newEC(elliptic.P256())
	ec384            = newEC(elliptic.P384())
	edPublic, edKey  = newEd()
)

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func newEC(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func newEd() (ed25519.PublicKey, ed25519.PrivateKey) {
	p, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return p, k
}

// public is a key of the set.
func public(id string, k crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public(), KeyID: id, Use: "sig"}
}

func fourKeys() []jose.JSONWebKey {
	return []jose.JSONWebKey{public("r", rsaKey), public("e", ecKey), public("e3", ec384), public("ed", edKey)}
}

// claimsOf are those of a right token of anna.
func (f *fake) claimsOf() object {
	now := clock.now().Unix()
	return object{
		"iss": f.URL, "aud": "postern", "sub": "0001", "exp": now + 300, "iat": now, "client_id": "thunderbird", "jti": "1", "scope": "openid mail",
		"email": "anna@example.org", "email_verified": true, "name": "Anna Ä.",
	}
}

// sign makes a JWT.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, header object, payload any) string {
	t.Helper()
	text, ok := payload.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(payload); err != nil {
			t.Fatal(err)
		}
	}
	o := &jose.SignerOptions{}
	for name, v := range header {
		o = o.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var atJWT = object{"kid": "r", "typ": "at+jwt"}

// right is a right token whose claims were changed.
func (f *fake) right(t testing.TB, change func(object)) string {
	c := f.claimsOf()
	if change != nil {
		change(c)
	}
	return sign(t, jose.RS256, rsaKey, atJWT, c)
}

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
