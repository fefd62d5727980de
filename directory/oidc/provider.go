package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// What the provider says of itself is fetched every freshFor, and when a token names
// a key that is not known, at most every spacing. It serves for keep when the
// provider does not answer; until then it is asked again after firstPause, and after
// twice as long each time, up to spacing.
const (
	freshFor   = 15 * time.Minute
	keep       = 24 * time.Hour
	spacing    = 10 * time.Second
	firstPause = time.Second
)

// Bounds of what the provider says, in octets, and of its keys.
const (
	maxDescription = 128 << 10
	maxKeySet      = 512 << 10
	maxKeys        = 64
	minRSA, maxRSA = 2048, 8192 // bits
)

// known is what the provider said of itself. It is never changed.
type known struct {
	when       time.Time // when it was fetched
	keys       []key
	introspect string // the address, "" when there is none
	post       bool   // the secret goes into the form, not into the header
}

// key is a public key with the algorithms whose signatures it may check.
type key struct {
	id         string
	algorithms []jose.SignatureAlgorithm
	public     any
}

// candidates are the keys that may have made a signature: that of the name, or every
// one when the token names none.
func (k *known) candidates(kid string, alg jose.SignatureAlgorithm) []key {
	var list []key
	for _, key := range k.keys {
		if (kid == "" || key.id == kid) && slices.Contains(key.algorithms, alg) {
			list = append(list, key)
		}
	}
	return list
}

// provider knows the keys and addresses of an OpenID provider. One goroutine fetches
// them; everybody else reads.
type provider struct {
	rules  *rules
	client *http.Client
	log    *slog.Logger
	now    func() time.Time
	pause  func(failures int) time.Duration // until it is asked again
	space  time.Duration

	want chan struct{} // a token needs newer keys; holds one
	end  context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	known *known        // the last that was right, nil before
	busy  bool          // a try is wanted or under way
	tried time.Time     // when the last one was wanted, or began
	err   error         // why the last one failed, nil when it did not
	round chan struct{} // closed when the one ends that is under way or comes next
}

func newProvider(r *rules, client *http.Client, log *slog.Logger, now func() time.Time) *provider {
	return &provider{
		rules: r, client: client, log: log, now: now, space: spacing,
		pause: func(failures int) time.Duration {
			if failures == 0 {
				return freshFor
			}
			return min(firstPause<<min(failures-1, 10), spacing)
		},
		want: make(chan struct{}, 1), done: make(chan struct{}), round: make(chan struct{}),
	}
}

// start begins to fetch.
func (p *provider) start() {
	ctx, end := context.WithCancel(context.Background())
	p.end = end
	go p.run(ctx)
}

// close ends what is under way, and waits for it.
func (p *provider) close() {
	p.end()
	<-p.done
	p.client.CloseIdleConnections()
}

func (p *provider) run(ctx context.Context) {
	defer close(p.done)
	for failures := 0; ; {
		p.mu.Lock()
		p.busy, p.tried = true, p.now()
		select {
		case <-p.want: // this is the try that is wanted
		default:
		}
		p.mu.Unlock()
		k, err := p.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil && failures > 0:
			p.log.InfoContext(ctx, "the OpenID provider answers again", "issuer", p.rules.Issuer)
		case err != nil && failures == 0:
			p.log.WarnContext(ctx, "the OpenID provider does not say its keys", "issuer", p.rules.Issuer, "error", err)
		}
		if failures++; err == nil {
			failures = 0
		}
		p.mu.Lock()
		if p.busy, p.err = false, err; err == nil {
			p.known = k
		}
		close(p.round)
		p.round = make(chan struct{})
		p.mu.Unlock()
		t := time.NewTimer(p.pause(failures))
		select {
		case <-t.C:
		case <-p.want:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// current gives what is known, if it is not too old. It waits for the first try only.
func (p *provider) current(ctx context.Context) (*known, error) {
	p.mu.Lock()
	k, err, round := p.known, p.err, p.round
	p.mu.Unlock()
	if k == nil && err == nil {
		if err := p.wait(ctx, round); err != nil {
			return nil, err
		}
		p.mu.Lock()
		k, err = p.known, p.err
		p.mu.Unlock()
	}
	switch {
	case k == nil:
		return nil, unavailable("%w", err)
	case p.now().After(k.when.Add(keep)):
		return nil, unavailable("what it said of its keys is older than %s: %w", keep, err)
	}
	return k, nil
}

// newer gives what the provider says after k. When it was asked a moment ago, nothing
// can be said of a key that nobody knows: KindUnavailable.
func (p *provider) newer(ctx context.Context, k *known) (*known, error) {
	p.mu.Lock()
	now, since, round := p.known, p.now().Sub(p.tried), p.round
	limited := !p.busy && since < p.space
	if now == k && !p.busy && !limited {
		p.busy, p.tried = true, p.now()
		p.want <- struct{}{}
	}
	p.mu.Unlock()
	switch {
	case now != k:
		return now, nil
	case limited:
		return nil, unavailable("a token names a key that is not known, and the keys were asked for %s ago", since.Round(time.Millisecond))
	}
	if err := p.wait(ctx, round); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == k {
		return nil, unavailable("%w", p.err)
	}
	return p.known, nil
}

func (p *provider) wait(ctx context.Context, round <-chan struct{}) error {
	select {
	case <-round:
		return nil
	case <-p.done:
		return unavailable("the directory is closed")
	case <-ctx.Done():
		return unavailable("%w", ctx.Err())
	}
}

// description is what is used of the provider's own (OpenID Connect Discovery 1.0, 3).
type description struct {
	Issuer     string   `json:"issuer"`
	Keys       string   `json:"jwks_uri"`
	Introspect string   `json:"introspection_endpoint"`
	Methods    []string `json:"introspection_endpoint_auth_methods_supported"`
}

// fetch asks the provider for its description and its keys.
func (p *provider) fetch(ctx context.Context) (*known, error) {
	text, err := p.get(ctx, p.rules.description(), maxDescription)
	if err != nil {
		return nil, err
	}
	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("its description is not JSON: %w", err)
	}
	if d.Issuer != p.rules.Issuer {
		return nil, fmt.Errorf("it calls itself %.200q, not %q", d.Issuer, p.rules.Issuer)
	}
	if err := p.rules.address(d.Keys); err != nil {
		return nil, fmt.Errorf("the address of its keys (jwks_uri): %w", err)
	}
	k := &known{when: p.now(), introspect: d.Introspect}
	if d.Introspect != "" {
		if err := p.rules.address(d.Introspect); err != nil {
			return nil, fmt.Errorf("the address of its introspection_endpoint: %w", err)
		}
		k.post = len(d.Methods) > 0 && !slices.Contains(d.Methods, "client_secret_basic")
		if k.post && !slices.Contains(d.Methods, "client_secret_post") && p.rules.ClientID != "" {
			return nil, fmt.Errorf("its introspection takes no client secret but %.200q", d.Methods)
		}
	}
	if text, err = p.get(ctx, d.Keys, maxKeySet); err != nil {
		return nil, err
	}
	k.keys, err = readKeys(text)
	return k, err
}

// readKeys reads a JWK set (RFC 7517, 5). Keys that are not for signatures, or that
// nobody should use, are left out.
func readKeys(text []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("its keys are not JSON: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var list []key
	for _, raw := range set.Keys {
		var j jose.JSONWebKey
		if json.Unmarshal(raw, &j) != nil || j.Use != "" && j.Use != "sig" {
			continue
		}
		algs := algorithmsOf(j.Key)
		if j.Algorithm != "" {
			algs = slices.DeleteFunc(algs, func(a jose.SignatureAlgorithm) bool { return string(a) != j.Algorithm })
		}
		if len(algs) > 0 {
			list = append(list, key{j.KeyID, algs, j.Key})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it has no key for signatures")
	}
	return list, nil
}

// algorithmsOf are those that fit a public key; none for anything else, such as a
// secret that everybody could read in the set.
func algorithmsOf(public any) []jose.SignatureAlgorithm {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= minRSA && bits <= maxRSA {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

func (p *provider) get(ctx context.Context, address string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.rules.timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return ask(p.client, q, limit)
}

// ask sends a request and gives the answer of a 200, of at most limit octets.
func ask(client *http.Client, q *http.Request, limit int64) ([]byte, error) {
	q.Header.Set("Accept", "application/json")
	a, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", q.URL.Redacted(), a.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(a.Body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("%s answers with more than %d octets", q.URL.Redacted(), limit)
	}
	return text, nil
}
