package oidc

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/stopwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	for _, way := range []string{"JWT", "opaque"} {
		t.Run(way, func(t *testing.T) {
			directorytest.RunTokenSource(t, directorytest.TokenTest{Open: func(t *testing.T) (directory.TokenSource, func(name string) string) {
				f := newFake(t, fourKeys()...)
				return f.directory(t, nil), func(name string) string {
					change := func(c object) { c["email"], c["sub"] = name, "id-of-"+name }
					if way == "JWT" {
						return f.right(t, change)
					}
					c := f.claimsOf()
					change(c)
					c["token_type"] = "Bearer"
					f.set(func() { f.tokens["opaque-"+b64(name)] = c })
					return "opaque-" + b64(name)
				}
			}})
		})
	}
}

// refusedWith tells that a token is refused with a kind and a cause.
func refusedWith(t *testing.T, p *directory.Person, err error, kind mail.Kind, cause string) {
	t.Helper()
	if err == nil {
		t.Fatalf("taken: %+v", p)
	}
	if p != nil || mail.KindOf(err) != kind || !strings.Contains(err.Error(), cause) {
		t.Fatalf("%v, %v; want %s with %q", p, err, kind, cause)
	}
}

// TestForged plays tokens that must not be taken: each is a right one with one thing
// wrong.
func TestForged(t *testing.T) {
	f := newFake(t, fourKeys()...)
	plain := f.directory(t, nil)
	strict := f.directory(t, func(o *Options) {
		o.Clients, o.Scopes, o.OnlyATJWT, o.Domain, o.ClientID, o.ClientSecretFile = []string{"thunderbird"}, []string{"mail"}, true, "example.org", "", ""
	})
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	publicJWK, _ := json.Marshal(public("r", rsaKey))
	text := func(c object) string { b, _ := json.Marshal(c); return string(b) }
	with := func(name string, v any) string {
		return f.right(t, func(c object) {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		})
	}
	hs := func(secret []byte) string {
		body := b64(`{"alg":"HS256","typ":"at+jwt","kid":"r"}`) + "." + b64(text(f.claimsOf()))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(body))
		return body + "." + b64(string(mac.Sum(nil)))
	}
	rs := func(header, payload string) string {
		body := b64(header) + "." + b64(payload)
		sum := sha256.Sum256([]byte(body))
		sig, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return body + "." + b64(string(sig))
	}
	now := clock.now().Unix()
	right := f.right(t, nil)
	cut := strings.Split(right, ".")
	const failed, notOurs = mail.KindAuthenticationFailed, mail.KindNotFound
	claims := text(f.claimsOf())
	for _, c := range []struct {
		what, token string
		kind        mail.Kind
		cause       string
	}{
		{"empty", "", failed, "octets"},
		{"blank", right + " ", failed, "octets"},
		{"line break", right + "\r\n", failed, "octets"},
		{"NUL", right + "\x00", failed, "octets"},
		{"only =", "===", failed, "octets"},
		{"huge", strings.Repeat("a", MaxToken+1), failed, "octets"},
		{"huge JWT", f.right(t, func(c object) { c["x"] = strings.Repeat("x", MaxToken) }), failed, "octets"},
		{"alg none", b64(`{"alg":"none","typ":"at+jwt"}`) + "." + cut[1] + ".", failed, "algorithm"},
		{"alg None", b64(`{"alg":"None","typ":"at+jwt"}`) + "." + cut[1] + "." + cut[2], failed, "algorithm"},
		{"alg empty", b64(`{"alg":"","typ":"at+jwt"}`) + "." + cut[1] + "." + cut[2], failed, "algorithm"},
		{"alg a number", b64(`{"alg":1,"typ":"at+jwt"}`) + "." + cut[1] + "." + cut[2], failed, "algorithm"},
		{"HS256 with the public key as PEM", hs(publicPEM), failed, "algorithm"},
		{"HS256 with the public key as DER", hs(der), failed, "algorithm"},
		{"HS256 with the public key as JWK", hs(publicJWK), failed, "algorithm"},
		{"HS256 with an empty key", hs(nil), failed, "algorithm"},
		{"no signature", cut[0] + "." + cut[1] + ".", failed, "signature"},
		{"signature with trailing bits", right[:len(right)-1] + string(right[len(right)-1]+1), failed, "base64url"},
		{"another's signature", sign(t, jose.RS256, otherKey, atJWT, f.claimsOf()), failed, "signature"},
		{"claims changed", cut[0] + "." + b64(strings.Replace(claims, "anna", "bert", 1)) + "." + cut[2], failed, "signature"},
		{"kid of a key of another kind", sign(t, jose.RS256, rsaKey, object{"kid": "e", "typ": "at+jwt"}, f.claimsOf()), mail.KindUnavailable, "not known"},
		{"kid a path", sign(t, jose.RS256, otherKey, object{"kid": "../../../../dev/null", "typ": "at+jwt"}, f.claimsOf()), mail.KindUnavailable, "not known"},
		{"kid SQL", sign(t, jose.RS256, otherKey, object{"kid": "r' or '1'='1", "typ": "at+jwt"}, f.claimsOf()), mail.KindUnavailable, "not known"},
		{"kid a number", rs(`{"alg":"RS256","typ":"at+jwt","kid":1}`, claims), failed, "kid"},
		{"its own key in jwk", sign(t, jose.RS256, otherKey, object{"typ": "at+jwt", "kid": "r", "jwk": public("r", otherKey)}, f.claimsOf()), failed, "signature"},
		{"a key at an address (jku)", sign(t, jose.RS256, otherKey, object{"typ": "at+jwt", "kid": "r", "jku": f.URL + "/keys"}, f.claimsOf()), failed, "signature"},
		{"ES256 by a key of P-384's name", sign(t, jose.ES256, ecKey, object{"kid": "e3", "typ": "at+jwt"}, f.claimsOf()), mail.KindUnavailable, "not known"},
		{"crit", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r","crit":["x"],"x":1}`, claims), failed, "crit"},
		{"b64", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r","crit":["b64"],"b64":false}`, claims), failed, "crit"},
		{"two algorithms", rs(`{"alg":"RS256","alg":"none","typ":"at+jwt","kid":"r"}`, claims), failed, "once"},
		{"an ID token by its type", sign(t, jose.RS256, rsaKey, object{"kid": "r", "typ": "logout+jwt"}, f.claimsOf()), failed, "type"},
		{"typ dpop+jwt", sign(t, jose.RS256, rsaKey, object{"kid": "r", "typ": "dpop+jwt"}, f.claimsOf()), failed, "type"},
		{"typ a list", rs(`{"alg":"RS256","typ":["at+jwt"],"kid":"r"}`, claims), failed, "typ"},

		{"claims no object", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, `["iss"]`), failed, "object"},
		{"claims null", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, `null`), failed, "object"},
		{"claims cut off", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, claims[:len(claims)-1]), failed, "object"},
		{"claims and more", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, claims+"{}"), failed, "object"},
		{"claims not UTF-8", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, strings.Replace(claims, "anna", "ann\xff", 1)), failed, "object"},
		{"claims base64 with trailing bits", cut[0] + "." + cut[1][:len(cut[1])-1] + "_" + "." + cut[2], failed, ""},
		{"deep", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, `{"a":`+strings.Repeat("[", 5000)), failed, "object"},
		{"a claim twice", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, strings.Replace(claims, "{", `{"email":"bert@example.org",`, 1)), failed, "once"},
		{"a claim twice, escaped", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, strings.Replace(claims, "{", `{"e\u006dail":"bert@example.org",`, 1)), failed, "once"},
		{"a claim in other letters", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, strings.Replace(claims, `"email"`, `"Email"`, 1)), failed, `no "email"`},

		{"another issuer", with("iss", "https://evil.example"), notOurs, ""},
		{"no issuer", with("iss", nil), notOurs, ""},
		{"issuer with a slash", with("iss", f.URL+"/"), notOurs, ""},
		{"issuer a list", with("iss", []string{f.URL}), notOurs, ""},
		{"another audience", with("aud", "webmail"), failed, "not for this server"},
		{"no audience", with("aud", nil), failed, "not for this server"},
		{"empty audience", with("aud", ""), failed, "not for this server"},
		{"audience in other letters", with("aud", "Postern"), failed, "not for this server"},
		{"audience that contains ours", with("aud", "postern2"), failed, "not for this server"},
		{"audience a number", with("aud", 1), failed, "aud"},
		{"audience an object", with("aud", object{"postern": true}), failed, "aud"},
		{"too many audiences", with("aud", strings.Split(strings.Repeat("postern,", 300), ",")), failed, "aud"},
		{"expired", with("exp", now-61), failed, "ended"},
		{"no end", with("exp", nil), failed, "when it ends"},
		{"end as text", with("exp", fmt.Sprint(now+300)), failed, "not a time"},
		{"end negative", with("exp", -1), failed, "not a time"},
		{"end huge", with("exp", 1e300), failed, "not a time"},
		{"end too large for numbers", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, strings.Replace(claims, `"exp":`, `"exp":1e999,"x":`, 1)), failed, ""},
		{"not yet", with("nbf", now+120), failed, "not valid yet"},
		{"nbf as text", with("nbf", "0"), failed, "not a time"},
		{"issued in the future", with("iat", now+120), failed, "not valid yet"},
		{"no subject", with("sub", nil), failed, "sub"},
		{"empty subject", with("sub", ""), failed, "sub"},
		{"subject a number", with("sub", 1), failed, "sub"},
		{"subject with blanks", with("sub", "a b"), failed, "sub"},
		{"subject with a line break", with("sub", "a\nb"), failed, "sub"},
		{"subject half a character", rs(`{"alg":"RS256","typ":"at+jwt","kid":"r"}`, strings.Replace(claims, `"0001"`, `"\ud800"`, 1)), failed, "sub"},
		{"subject long", with("sub", strings.Repeat("s", 256)), failed, "sub"},
		{"no name", with("email", nil), failed, `no "email"`},
		{"name a list", with("email", []string{"anna@example.org"}), failed, "email"},
		{"name with blanks", with("email", "anna @example.org"), failed, "not a name"},
		{"name with NUL", with("email", "anna\x00@example.org"), failed, "not a name"},
		{"address not verified", with("email_verified", false), failed, "not verified"},
		{"address verified by text", with("email_verified", "true"), failed, "not verified"},
		{"address verified by nobody", with("email_verified", nil), failed, "not verified"},
		{"bound to a certificate", with("cnf", object{"x5t#S256": "x"}), failed, "cnf"},
		{"bound to a certificate that nobody showed", with("cnf", object{"x5t#S256": strings.Repeat("A", 43)}), failed, "showed none"},
		{"bound to a certificate and a key", with("cnf", object{"x5t#S256": strings.Repeat("A", 43), "jkt": "x"}), failed, "cnf"},
		{"bound to a DPoP key", with("cnf", object{"jkt": "x"}), failed, "cnf"},
		{"bound to something", with("cnf", object{}), failed, "cnf"},
		{"bound by text", with("cnf", "x"), failed, "cnf"},
		{"Keycloak's ID token", with("typ", "ID"), failed, "access"},
		{"Keycloak's refresh token", with("typ", "Refresh"), failed, "access"},
		{"Keycloak's DPoP token", with("typ", "DPoP"), failed, "access"},
		{"Cognito's ID token", with("token_use", "id"), failed, "access"},
		{"an ID token by its claims", with("at_hash", "x"), failed, "at_hash"},
		{"a logout token", with("events", object{"http://schemas.openid.net/event/backchannel-logout": object{}}), failed, "events"},
		{"a program's own", with("client_id", "0001"), failed, "program's own"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, _, err := plain.CheckToken(t.Context(), "", c.token)
			refusedWith(t, p, err, c.kind, c.cause)
			if err := err.(*mail.Error); c.kind == failed && err.Text != "" {
				t.Errorf("the client is told %q", err.Text)
			}
		})
	}
	if f.asked.Load() != 0 {
		t.Errorf("JWTs were introspected %d times", f.asked.Load())
	}
	for _, c := range []struct {
		what, token string
		kind        mail.Kind
		cause       string
	}{
		{"no JWT", "opaque", notOurs, ""},
		{"five parts", "a.b.c.d.e", notOurs, ""},
		{"three parts of nothing", "a.b.c", notOurs, ""},
		{"plain JWT", sign(t, jose.RS256, rsaKey, object{"kid": "r", "typ": "JWT"}, f.claimsOf()), failed, "type"},
		{"no scope", with("scope", nil), failed, `scope "mail"`},
		{"another scope", with("scope", "mailbox mail2 xmail"), failed, `scope "mail"`},
		{"another program", with("client_id", "evil"), failed, "evil"},
		{"another authorized party", with("azp", "evil"), failed, "evil"},
		{"no program", with("client_id", nil), failed, "which program"},
		{"another domain", with("email", "anna@example.com"), failed, "domain"},
		{"a domain below", with("email", "anna@x.example.org"), failed, "domain"},
	} {
		t.Run("strict/"+c.what, func(t *testing.T) {
			p, _, err := strict.CheckToken(t.Context(), "", c.token)
			refusedWith(t, p, err, c.kind, c.cause)
		})
	}
	p, until, err := strict.CheckToken(t.Context(), "anna", right)
	if err != nil || p.Name != "anna@example.org" || p.ID != "0001" || p.DisplayName != "Anna Ä." || until.Unix() < now+300 || until.Unix() > now+362 {
		t.Errorf("the right token: %+v, %v, %v", p, until, err)
	}
	p, _, err = strict.CheckToken(t.Context(), "bert@example.org", right)
	refusedWith(t, p, err, failed, "bert@example.org")
}

// TestTaken plays tokens that are right.
func TestTaken(t *testing.T) {
	f := newFake(t, fourKeys()...)
	s := f.directory(t, func(o *Options) { o.Scopes, o.Clients = []string{"mail"}, []string{"thunderbird", "k9"} })
	with := func(name string, v any) string { return f.right(t, func(c object) { c[name] = v }) }
	now := clock.now().Unix()
	type pair = struct{ what, token string }
	cases := []pair{
		{"two audiences", with("aud", []string{"webmail", "imap://mail"})},
		{"ended within the leeway", with("exp", now-30)},
		{"begins within the leeway", with("nbf", now+30)},
		{"parts of seconds", with("exp", float64(now)+120.5)},
		{"a program by azp", f.right(t, func(c object) { delete(c, "client_id"); c["azp"] = "k9" })},
		{"Entra's scopes", f.right(t, func(c object) { delete(c, "scope"); c["scp"] = "mail x" })},
		{"a list of scopes", with("scope", []string{"openid", "mail"})},
		{"Keycloak's access token", with("typ", "Bearer")},
		{"cnf null", with("cnf", nil)},
		{"plain JWT", sign(t, jose.RS256, rsaKey, object{"kid": "r", "typ": "JWT"}, f.claimsOf())},
		{"no type", sign(t, jose.RS256, rsaKey, object{"kid": "r"}, f.claimsOf())},
		{"long type", sign(t, jose.RS256, rsaKey, object{"kid": "r", "typ": "application/at+JWT"}, f.claimsOf())},
		{"no kid", sign(t, jose.RS256, rsaKey, object{"typ": "at+jwt"}, f.claimsOf())},
	}
	for _, a := range []struct {
		alg jose.SignatureAlgorithm
		kid string
		key any
	}{
		{jose.RS256, "r", rsaKey}, {jose.RS384, "r", rsaKey}, {jose.RS512, "r", rsaKey}, {jose.PS256, "r", rsaKey}, {jose.PS384, "r", rsaKey}, {jose.PS512, "r", rsaKey},
		{jose.ES256, "e", ecKey}, {jose.ES384, "e3", ec384}, {jose.EdDSA, "ed", edKey},
	} {
		cases = append(cases, pair{string(a.alg), sign(t, a.alg, a.key, object{"kid": a.kid, "typ": "at+jwt"}, f.claimsOf())})
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			p, until, err := s.CheckToken(t.Context(), "anna@example.org", c.token)
			if err != nil || p.Name != "anna@example.org" || p.ID != "0001" || !until.After(clock.now()) {
				t.Errorf("%+v, %v, %v", p, until, err)
			}
		})
	}
	_, until, err := s.CheckToken(t.Context(), "", with("exp", now+1<<30))
	if err != nil || until.After(clock.now().Add(maxProof)) {
		t.Errorf("a token for 34 years is a proof until %v, %v", until, err)
	}
}

// TestClaims names mailboxes by other claims.
func TestClaims(t *testing.T) {
	f := newFake(t, fourKeys()...)
	for _, c := range []struct{ claim, domain, value, name string }{
		{"preferred_username", "example.org", "Anna", "anna@example.org"},
		{"preferred_username", "bücher.example", "anna@XN--bcher-kva.example", "anna@bücher.example"},
		{"preferred_username", "", "anna", "anna"},
		{"upn", "example.org", "ANNA@Example.ORG", "anna@example.org"},
		{"sub", "example.org", "0001", "0001@example.org"},
		{"sub", "", "0001", "0001"},
		{"preferred_username", "example.org", "@example.org", ""},
		{"preferred_username", "example.org", "anna@example.org@example.org", "anna@example.org@example.org"},
	} {
		s := f.directory(t, func(o *Options) { o.Claim, o.Domain = c.claim, c.domain })
		p, _, err := s.CheckToken(t.Context(), "", f.right(t, func(o object) { o[c.claim] = c.value; delete(o, "email") }))
		switch {
		case c.name == "" && err == nil:
			t.Errorf("%s %q: %v", c.claim, c.value, p)
		case c.name != "" && c.claim != "" && (err != nil || p.Name != c.name):
			t.Errorf("%s %q: %v, %v; want %s", c.claim, c.value, p, err, c.name)
		}
	}
}

func TestGroups(t *testing.T) {
	f := newFake(t, fourKeys()...)
	s := f.directory(t, func(o *Options) { o.GroupsClaim = "groups" })
	for _, c := range []struct {
		change func(object)
		groups string // "-": the token is not taken
	}{
		{func(o object) {}, ""},
		{func(o object) { o["groups"] = []string{"Staff", " night shift ", "staff"} }, "night shift|staff"},
		{func(o object) { o["groups"] = "Staff" }, "staff"},
		{func(o object) { o["groups"] = 7 }, "-"},
		{func(o object) { o["groups"] = make([]string, 1000) }, "-"},
		{func(o object) { o["hasgroups"] = true }, "-"},
		{func(o object) { o["_claim_names"] = object{"groups": "src1"} }, "-"},
		{func(o object) { o["_claim_names"] = 7 }, "-"},
		{func(o object) { o["_claim_names"] = object{"address": "src1"}; o["groups"] = "staff" }, "staff"},
	} {
		p, _, err := s.CheckToken(t.Context(), "", f.right(t, c.change))
		if (err != nil) != (c.groups == "-") || err == nil && strings.Join(p.Groups, "|") != c.groups {
			t.Errorf("%+v, %v; want %q", p, err, c.groups)
		}
	}
}

// TestRotation: a new key is fetched when a token names it, seldom, and a key that is
// withdrawn is gone.
func TestRotation(t *testing.T) {
	f := newFake(t, public("r", rsaKey))
	s := f.directory(t, nil)
	fresh := sign(t, jose.RS256, otherKey, object{"kid": "r2", "typ": "at+jwt"}, f.claimsOf())
	check := func(token string) error { _, _, err := s.CheckToken(t.Context(), "", token); return err }
	if err := check(f.right(t, nil)); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.keys = []jose.JSONWebKey{public("r2", otherKey)} })
	if err := check(fresh); err == nil || mail.KindOf(err) != mail.KindUnavailable {
		t.Fatalf("a new key a moment after the keys were fetched: %v", err)
	}
	advance(t, spacing)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := check(fresh); err != nil {
				t.Errorf("the new key: %v", err)
			}
		})
	}
	all.Wait()
	if n := f.fetched.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times, not twice", n)
	}
	if err := check(f.right(t, nil)); err == nil {
		t.Error("a key that was withdrawn is taken")
	}
	// Names that nobody knows make it ask once each spacing.
	for i := range 50 {
		check(sign(t, jose.RS256, otherKey, object{"kid": fmt.Sprint("forged", i), "typ": "at+jwt"}, f.claimsOf()))
	}
	if n := f.fetched.Load(); n != 2 {
		t.Errorf("50 forged names: the keys were fetched %d times", n)
	}
	advance(t, spacing)
	err := check(sign(t, jose.RS256, rsaKey, object{"kid": "forged", "typ": "at+jwt"}, f.claimsOf()))
	if err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed || f.fetched.Load() != 3 {
		t.Errorf("a name that the provider does not know: %v, %d fetched", err, f.fetched.Load())
	}
}

// TestOutage: what is known serves for a while.
func TestOutage(t *testing.T) {
	f := newFake(t, public("r", rsaKey))
	s := f.directory(t, nil)
	check := func() error { _, _, err := s.CheckToken(t.Context(), "", f.right(t, nil)); return err }
	if err := check(); err != nil {
		t.Fatal(err)
	}
	f.set(func() {
		f.serve = func(w http.ResponseWriter, q *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	advance(t, keep/2)
	if err := check(); err != nil {
		t.Errorf("after half of the time: %v", err)
	}
	unknown := sign(t, jose.RS256, otherKey, object{"kid": "r2", "typ": "at+jwt"}, f.claimsOf())
	if _, _, err := s.CheckToken(t.Context(), "", unknown); err == nil || mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("a key that the provider may know: %v", err)
	}
	advance(t, keep)
	if err := check(); err == nil || mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("after the time: %v", err)
	}
}

// TestLies: a provider that says what is not right proves nobody, refuses nobody, and
// is asked again.
func TestLies(t *testing.T) {
	small := public("s", newRSA(1024))
	for _, c := range []struct {
		what string
		lie  func(f *fake)
	}{
		{"another issuer", func(f *fake) { f.describe = func(d object) { d["issuer"] = "https://evil.example" } }},
		{"no issuer", func(f *fake) { f.describe = func(d object) { delete(d, "issuer") } }},
		{"keys elsewhere, readable on the way", func(f *fake) { f.describe = func(d object) { d["jwks_uri"] = "http://login.example.org/keys" } }},
		{"keys in a file", func(f *fake) { f.describe = func(d object) { d["jwks_uri"] = "file:///etc/passwd" } }},
		{"no keys' address", func(f *fake) { f.describe = func(d object) { delete(d, "jwks_uri") } }},
		{"introspection readable on the way", func(f *fake) {
			f.describe = func(d object) { d["introspection_endpoint"] = "http://login.example.org/" }
		}},
		{"introspection without a secret", func(f *fake) {
			f.describe = func(d object) { d["introspection_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }
		}},
		{"no keys", func(f *fake) { f.keys = nil }},
		{"too many keys", func(f *fake) {
			for i := range 100 {
				f.keys = append(f.keys, public(fmt.Sprint(i), ecKey))
			}
		}},
		{"a small key", func(f *fake) { f.keys = []jose.JSONWebKey{small} }},
		{"a secret among the keys", func(f *fake) { f.keys = []jose.JSONWebKey{{Key: []byte(strings.Repeat("k", 32)), KeyID: "r"}} }},
		{"a private key among the keys", func(f *fake) { f.keys = []jose.JSONWebKey{{Key: rsaKey, KeyID: "r"}} }},
		{"a key for encryption", func(f *fake) { k := public("r", rsaKey); k.Use = "enc"; f.keys = []jose.JSONWebKey{k} }},
		{"a key for another algorithm", func(f *fake) { k := public("r", rsaKey); k.Algorithm = "RSA-OAEP"; f.keys = []jose.JSONWebKey{k} }},
		{"HTML", func(f *fake) {
			f.serve = func(w http.ResponseWriter, q *http.Request) bool { fmt.Fprint(w, "<html>Welcome</html>"); return true }
		}},
		{"endless", func(f *fake) {
			f.serve = func(w http.ResponseWriter, q *http.Request) bool {
				for range 100 {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						break
					}
				}
				return true
			}
		}},
		{"elsewhere", func(f *fake) {
			f.serve = func(w http.ResponseWriter, q *http.Request) bool {
				if strings.HasSuffix(q.URL.Path, "2") {
					q.URL.Path = strings.TrimSuffix(q.URL.Path, "2")
					return false
				}
				http.Redirect(w, q, f.URL+q.URL.Path+"2", http.StatusFound)
				return true
			}
		}},
		{"cut off", func(f *fake) {
			f.serve = func(w http.ResponseWriter, q *http.Request) bool {
				w.Header().Set("Content-Length", "1000")
				fmt.Fprint(w, `{"issuer":`)
				return true
			}
		}},
		{"an error", func(f *fake) {
			f.serve = func(w http.ResponseWriter, q *http.Request) bool { w.WriteHeader(500); return true }
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, public("r", rsaKey))
			f.set(func() { c.lie(f) })
			s := f.directory(t, nil)
			p, _, err := s.CheckToken(t.Context(), "", f.right(t, nil))
			refusedWith(t, p, err, mail.KindUnavailable, "OpenID provider")
			p, _, err = s.CheckToken(t.Context(), "", "opaque")
			refusedWith(t, p, err, mail.KindUnavailable, "OpenID provider")
			f.set(func() { f.serve, f.describe, f.keys = nil, nil, []jose.JSONWebKey{public("r", rsaKey)} })
			end := time.Now().Add(30 * time.Second)
			for err != nil && time.Now().Before(end) {
				time.Sleep(20 * time.Millisecond)
				_, _, err = s.CheckToken(t.Context(), "", f.right(t, nil))
			}
			if err != nil {
				t.Errorf("it does not recover: %v", err)
			}
		})
	}
}

// TestSlow: nobody waits longer than the time-out, and closing does not wait at all.
func TestSlow(t *testing.T) {
	f := newFake(t, public("r", rsaKey))
	hang := make(chan struct{})
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		select {
		case <-hang:
		case <-q.Context().Done():
		}
	})
	defer close(hang)
	slow := func(o *Options) { o.Timeout = "00:00:01" }
	token := f.right(t, nil)
	stopwatch.Within(t, 1500*time.Millisecond, "a token", func() {
		p, _, err := f.directory(t, slow).CheckToken(t.Context(), "", token)
		refusedWith(t, p, err, mail.KindUnavailable, "")
	})
	stopwatch.Within(t, 550*time.Millisecond, "a client that goes, and closing", func() {
		s := f.directory(t, slow)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		p, _, err := s.CheckToken(ctx, "", token)
		refusedWith(t, p, err, mail.KindUnavailable, "")
		s.Close()
	})
}

// TestIntrospection asks the provider about tokens that are no JWTs.
func TestIntrospection(t *testing.T) {
	f := newFake(t, public("r", rsaKey))
	base := func(change func(object)) object {
		c := f.claimsOf()
		c["token_type"] = "Bearer"
		if change != nil {
			change(c)
		}
		return c
	}
	drop := func(name string) object { return base(func(c object) { delete(c, name) }) }
	with := func(name string, v any) object { return base(func(c object) { c[name] = v }) }
	now := clock.now().Unix()
	const failed, notOurs, unavailable = mail.KindAuthenticationFailed, mail.KindNotFound, mail.KindUnavailable
	const taken = mail.Kind(-1)
	for _, post := range []bool{false, true} {
		if post {
			f.set(func() {
				f.describe = func(d object) { d["introspection_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }
			})
		}
		s := f.directory(t, nil)
		for i, c := range []struct {
			what   string
			answer object
			kind   mail.Kind
		}{
			{"right", base(nil), taken},
			{"no issuer", drop("iss"), taken},
			{"no end", drop("exp"), taken},
			{"Keycloak", base(func(c object) { delete(c, "token_type"); c["typ"] = "Bearer" }), taken},
			{"Hydra", base(func(c object) { c["token_use"] = "access_token" }), taken},
			{"unknown", nil, notOurs},
			{"inactive", with("active", false), notOurs},
			{"active as text", with("active", "true"), unavailable},
			{"active a number", with("active", 1), unavailable},
			{"active null", with("active", nil), unavailable},
			{"another issuer", with("iss", "https://evil.example"), failed},
			{"no audience", drop("aud"), failed},
			{"another audience", with("aud", "webmail"), failed},
			{"over", with("exp", now-120), failed},
			{"not yet", with("nbf", now+120), failed},
			{"no subject", drop("sub"), failed},
			{"a refresh token", drop("token_type"), failed},
			{"Hydra's refresh token", with("token_use", "refresh_token"), failed},
			{"DPoP", with("token_type", "DPoP"), failed},
			{"bound", with("cnf", object{"jkt": "x"}), failed},
			{"bound to something", with("cnf", object{}), failed},
			{"address not verified", with("email_verified", false), failed},
		} {
			token := fmt.Sprintf("opaque-%d-%t", i, post)
			if c.answer != nil {
				f.set(func() { f.tokens[token] = c.answer })
			}
			p, until, err := s.CheckToken(t.Context(), "anna@example.org", token)
			switch {
			case c.kind == taken && (err != nil || p.Name != "anna@example.org" || !until.After(clock.now())):
				t.Errorf("%s: %v, %v, %v", c.what, p, until, err)
			case c.kind != taken && (err == nil || mail.KindOf(err) != c.kind):
				t.Errorf("%s: %v, %v; want %s", c.what, p, err, c.kind)
			}
		}
		for _, raw := range []string{"", "null", "[]", "<html>", `{"active":true`, `{"active":true,"active":true}`, `{"active":true}{}`, strings.Repeat(" ", maxAnswer) + "{}"} {
			f.set(func() {
				f.serve = func(w http.ResponseWriter, q *http.Request) bool {
					if q.URL.Path != "/introspect" {
						return false
					}
					fmt.Fprint(w, raw)
					return true
				}
			})
			p, _, err := s.CheckToken(t.Context(), "", "opaque-lie")
			if err == nil || mail.KindOf(err) != unavailable {
				t.Errorf("the answer %.20q: %v, %v", raw, p, err)
			}
		}
		for _, status := range []int{204, 302, 400, 401, 403, 429, 500} {
			f.set(func() {
				f.serve = func(w http.ResponseWriter, q *http.Request) bool {
					if q.URL.Path != "/introspect" {
						return false
					}
					w.Header().Set("Location", f.URL+"/elsewhere")
					w.WriteHeader(status)
					return true
				}
			})
			p, _, err := s.CheckToken(t.Context(), "", "opaque-status")
			if err == nil || mail.KindOf(err) != unavailable {
				t.Errorf("the status %d: %v, %v", status, p, err)
			}
		}
		f.set(func() { f.serve = nil })
	}
	wrong := f.directory(t, func(o *Options) { o.ClientID = "other" })
	p, _, err := wrong.CheckToken(t.Context(), "", "opaque-0-false")
	refusedWith(t, p, err, unavailable, "401")
}

// TestRemembered: an answer serves for a moment, never longer than the token.
func TestRemembered(t *testing.T) {
	f := newFake(t, public("r", rsaKey))
	s := f.directory(t, nil)
	c := f.claimsOf()
	c["token_type"], c["exp"] = "Bearer", clock.now().Unix()+20
	f.set(func() { f.tokens["opaque"] = c })
	check := func(name, token string, asked int32, ok bool) {
		t.Helper()
		if _, _, err := s.CheckToken(t.Context(), name, token); (err == nil) != ok {
			t.Errorf("%v", err)
		}
		if n := f.asked.Load(); n != asked {
			t.Errorf("asked %d times, not %d", n, asked)
		}
	}
	check("anna@example.org", "opaque", 1, true)
	check("anna@example.org", "opaque", 1, true)
	check("bert@example.org", "opaque", 1, false)
	check("", "unknown", 2, false)
	check("", "unknown", 2, false)
	advance(t, rememberWrong)
	check("", "unknown", 3, false)
	f.set(func() { delete(f.tokens, "opaque") })
	check("", "opaque", 3, true)
	advance(t, 16*time.Second)
	check("", "opaque", 4, false)
	for i := range maxRemembered + 100 {
		s.asked.remember([32]byte{byte(i), byte(i >> 8), 1}, verdict{until: clock.now().Add(time.Minute)})
	}
	if n := len(s.asked.known); n != maxRemembered {
		t.Errorf("%d tokens are remembered, not %d", n, maxRemembered)
	}
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := Options{Issuer: "https://login.example.org/realms/mail", Audience: []string{"postern"}}
	for _, c := range []struct {
		what   string
		change func(*Options)
		text   string
	}{
		{"right", func(*Options) {}, ""},
		{"no issuer", func(o *Options) { o.Issuer = "" }, "issuer"},
		{"http", func(o *Options) { o.Issuer = "http://login.example.org" }, "https"},
		{"http on loopback", func(o *Options) { o.Issuer = "http://127.0.0.1:80" }, "https"},
		{"http on loopback, allowed", func(o *Options) { o.Issuer, o.AllowHTTPOnLoopback = "http://127.0.0.1:80", true }, ""},
		{"http elsewhere, allowed on loopback", func(o *Options) { o.Issuer, o.AllowHTTPOnLoopback = "http://127.0.0.1.example.org", true }, "https"},
		{"a name in it", func(o *Options) { o.Issuer = "https://a:b@login.example.org" }, "address"},
		{"query", func(o *Options) { o.Issuer = "https://login.example.org?x=y" }, "query"},
		{"no audience", func(o *Options) { o.Audience = nil }, "audience is needed"},
		{"empty audience", func(o *Options) { o.Audience = []string{""} }, "audience"},
		{"no secret", func(o *Options) { o.ClientID = "x" }, "together"},
		{"no client", func(o *Options) { o.ClientSecretFile = write("s", "x") }, "together"},
		{"no such file", func(o *Options) { o.ClientID, o.ClientSecretFile = "x", filepath.Join(dir, "none") }, "client_secret_file"},
		{"empty secret", func(o *Options) { o.ClientID, o.ClientSecretFile = "x", write("e", "\n") }, "one line"},
		{"two lines", func(o *Options) { o.ClientID, o.ClientSecretFile = "x", write("t", "a\nb\n") }, "one line"},
		{"huge secret", func(o *Options) { o.ClientID, o.ClientSecretFile = "x", write("h", strings.Repeat("x", maxSecret+1)) }, "longer"},
		{"no certificate", func(o *Options) { o.CAFile = write("c", "x") }, "certificate"},
		{"domain", func(o *Options) { o.Domain = "a b" }, "domain"},
		{"time-out", func(o *Options) { o.Timeout = "1h" }, "timeout"},
		{"long time-out", func(o *Options) { o.Timeout = "00:02:00" }, "timeout"},
	} {
		o := right
		c.change(&o)
		_, err := o.check()
		if c.text == "" && err != nil || c.text != "" && (err == nil || mail.KindOf(err) != mail.KindBadArgument || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.text)
		}
	}
	if _, err := Open(Options{}, "x", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no options are taken")
	}
}

// FuzzToken: no token that a provider did not sign is taken, whatever it looks like.
func FuzzToken(f *testing.F) {
	p := newFake(f, fourKeys()...)
	s := p.directory(f, nil)
	right := p.right(f, nil)
	for _, seed := range []string{right, "opaque", "a.b.c", b64(`{"alg":"none"}`) + "." + strings.Split(right, ".")[1] + ".", "====", b64(`{"alg":"RS256","kid":"r"}`) + "." + b64(`{"iss":"`+p.URL+`"}`) + ".AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		who, until, err := s.CheckToken(t.Context(), "", token)
		switch {
		case err == nil && token != right:
			t.Fatalf("%q is taken: %v until %v", token, who, until)
		case err != nil && who != nil:
			t.Fatal("an error and somebody")
		}
	})
}

// FuzzClaims: whatever a provider says, a proof has a right name and identifier and
// ends.
func FuzzClaims(f *testing.F) {
	r, err := Options{Issuer: "https://x", Audience: []string{"postern"}}.check()
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1<<30, 0)
	f.Add([]byte(`{"active":true,"iss":"https://x","aud":["postern"],"sub":"1","exp":1073741900,"token_type":"Bearer","email":"a@b","email_verified":true,"name":"A"}`))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(`{"active":true,"aud":"postern","sub":"1","typ":"Bearer","email":"a@b","email_verified":true,"exp":1e12}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, end, err := r.judgeAnswer(text, now)
		if err != nil {
			return
		}
		if prepared, err := directory.PrepareName(p.person.Name); err != nil || prepared != p.person.Name {
			t.Errorf("the name %q", p.person.Name)
		}
		if err := directory.CheckID(p.person.ID); err != nil {
			t.Error(err)
		}
		if !p.until.After(now) || p.until.After(now.Add(maxProof)) {
			t.Errorf("until %v, remembered until %v", p.until, end)
		}
	})
}

// FuzzKeys: whatever a provider's key set says, no key in it is a secret or too small.
func FuzzKeys(f *testing.F) {
	for _, k := range fourKeys() {
		text, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
		f.Add(text)
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := readKeys(text)
		if err == nil && (len(list) == 0 || len(list) > maxKeys) {
			t.Errorf("%d keys", len(list))
		}
		for _, k := range list {
			if len(algorithmsOf(k.public)) == 0 || len(k.algorithms) == 0 {
				t.Errorf("%+v", k)
			}
		}
	})
}
