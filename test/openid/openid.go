// Package openid starts a real OpenID provider for tests, npm's oidc-provider, on
// loopback, behind a server that can make it fail. It ends with the test.
package openid

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-mail/postern/test/server"
)

// What the provider knows: a program that asks for tokens, and this server's own
// name and secret, for introspection. Resources whose name ends in "jwt" get JWTs.
const (
	Program, programSecret = "thunderbird", "thunder"
	ClientID, ClientSecret = "postern", "p/st:rn +"
	JWT, Opaque            = "urn:postern:jwt", "urn:postern:opaque"
)

// Anna, Bert and Carl are people's identifiers (sub): anna@example.org and so on.
// Carl's address is not verified; Dora's is of example.com.
const Anna, Bert, Carl, Dora = "1001", "1002", "1003", "1004"

// Fault answers in the provider's place; false leaves the request to it.
type Fault = func(w http.ResponseWriter, q *http.Request) bool

// Provider is a running one.
type Provider struct {
	Issuer string
	Back   string // host:port of the provider itself, for what takes the place of Issuer's

	t       testing.TB
	process *server.Process
	state   string
	front   http.Handler
	addr    string

	mu    sync.Mutex
	up    *http.Server // nil while nothing listens
	fault Fault
	keys  int
}

// Start starts a provider. Without it the test is skipped, and fails in CI.
func Start(t testing.TB) *Provider {
	t.Helper()
	folder := filepath.Join(server.Root(), ".tools", "openid")
	_, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(folder, "node_modules", "oidc-provider")); err != nil || missing != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("node or oidc-provider is missing: scripts/test-packages installs them")
		}
		t.Skip("node or oidc-provider is missing: scripts/test-packages installs them")
	}
	script, err := os.ReadFile(filepath.Join(server.Root(), "test", "openid", "provider", "provider.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, addr: server.FreeAddress(t), state: filepath.Join(t.TempDir(), "state.json")}
	p.Issuer = "http://" + p.addr
	p.newKey()
	back := server.FreeAddress(t)
	p.Back = back
	_, port, _ := net.SplitHostPort(back)
	// Modules are found from where a script is.
	here := filepath.Join(folder, fmt.Sprintf("provider-%s.mjs", port))
	if err := os.WriteFile(here, script, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(here) })
	p.process = server.Begin(t, folder, nil, "node", here, port, p.Issuer, p.state)
	p.process.Within(t, time.Minute, "the OpenID provider", func() bool { return strings.Contains(p.process.Output(), "listening") })
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: back})
			r.Out.Host = p.addr
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	p.front = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		p.mu.Lock()
		fault := p.fault
		p.mu.Unlock()
		if fault == nil || !fault(w, q) {
			proxy.ServeHTTP(w, q)
		}
	})
	p.Up()
	t.Cleanup(p.Down)
	return p
}

// Up lets it be reached again.
func (p *Provider) Up() {
	p.t.Helper()
	l, err := net.Listen("tcp4", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = &http.Server{Handler: p.front, ErrorLog: log.New(io.Discard, "", 0)}
	go p.up.Serve(l)
}

// Down ends all its connections and takes no more.
func (p *Provider) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up != nil {
		p.up.Close()
		p.up = nil
	}
}

// Fail lets fault answer; nil ends that.
func (p *Provider) Fail(fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// newKey writes a state with one new key.
func (p *Provider) newKey() {
	p.t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	p.keys++
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k, KeyID: fmt.Sprint("key-", p.keys), Use: "sig", Algorithm: "RS256"}}})
	if err == nil {
		err = os.WriteFile(p.state, text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Rotate replaces its key.
func (p *Provider) Rotate() {
	p.t.Helper()
	p.newKey()
	if err := syscall.Kill(p.process.PID(), syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	p.process.Within(p.t, 60*time.Second, "a new key", func() bool { return strings.Count(p.process.Output(), "rotated") == p.keys-1 })
}

// Token gives a token of somebody for a resource; more are further parameters, in
// pairs.
func (p *Provider) Token(sub, resource string, more ...string) string {
	p.t.Helper()
	return p.ask("/token", Program, programSecret, append([]string{"grant_type", "test", "person", sub, "resource", resource, "scope", "mail"}, more...))
}

// ProgramToken gives the program's own token.
func (p *Provider) ProgramToken(resource string) string {
	p.t.Helper()
	return p.ask("/token", Program, programSecret, []string{"grant_type", "client_credentials", "resource", resource, "scope", "mail"})
}

// Revoke ends a token before its time.
func (p *Provider) Revoke(token string) {
	p.t.Helper()
	p.ask("/token/revocation", Program, programSecret, []string{"token", token})
}

func (p *Provider) ask(path, id, secret string, pairs []string) string {
	p.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	q, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.SetBasicAuth(id, secret)
	a, err := (&http.Client{Timeout: 20 * time.Second}).Do(q)
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	var answer struct {
		Token string `json:"access_token"`
	}
	json.Unmarshal(text, &answer)
	if a.StatusCode != http.StatusOK || path == "/token" && answer.Token == "" {
		p.t.Fatalf("%s %s: %d %s\n%s", path, form, a.StatusCode, text, p.process.Output())
	}
	return answer.Token
}
