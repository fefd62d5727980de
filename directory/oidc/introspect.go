package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// What the provider said of a token is remembered for a moment: of one that is right
// at most until it ends.
const (
	rememberRight = time.Minute
	rememberWrong = 5 * time.Second
	maxRemembered = 4096 // tokens
	maxAnswer     = 64 << 10
)

// introspection asks the provider about tokens (RFC 7662).
type introspection struct {
	rules    *rules
	client   *http.Client
	provider *provider
	now      func() time.Time
	secret   []byte // keys the digests

	mu    sync.Mutex
	known map[[sha256.Size]byte]verdict // by a digest of the token
}

// verdict is what the provider said of a token.
type verdict struct {
	proof *proof
	err   error     // why the token is not taken
	until time.Time // when it is to be asked again
}

func newIntrospection(r *rules, client *http.Client, p *provider, now func() time.Time) *introspection {
	i := &introspection{rules: r, client: client, provider: p, now: now, secret: make([]byte, 32), known: map[[sha256.Size]byte]verdict{}}
	rand.Read(i.secret)
	return i
}

// check tells what a token proves: KindNotFound when the provider does not know it or
// it is over, KindUnavailable when the provider does not answer.
func (i *introspection) check(ctx context.Context, token string) (*proof, error) {
	mac := hmac.New(sha256.New, i.secret)
	mac.Write([]byte(token))
	digest := [sha256.Size]byte(mac.Sum(nil))
	i.mu.Lock()
	v, ok := i.known[digest]
	i.mu.Unlock()
	if ok && i.now().Before(v.until) {
		return v.proof, v.err
	}
	text, err := i.ask(ctx, token)
	if err != nil {
		return nil, err
	}
	now := i.now()
	proof, end, err := i.rules.judgeAnswer(text, now)
	if err != nil && mail.KindOf(err) == mail.KindUnavailable {
		return nil, err
	}
	if v = (verdict{proof, err, now.Add(rememberRight)}); err != nil {
		v.until = now.Add(rememberWrong)
	} else if end.Before(v.until) {
		v.until = end
	}
	i.remember(digest, v)
	return proof, err
}

func (i *introspection) remember(digest [sha256.Size]byte, v verdict) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.known) >= maxRemembered {
		now := i.now()
		for d, old := range i.known {
			if !now.Before(old.until) {
				delete(i.known, d)
			}
		}
		for d := range i.known {
			if len(i.known) < maxRemembered {
				break
			}
			delete(i.known, d)
		}
	}
	i.known[digest] = v
}

// judgeAnswer reads what the provider says of a token, and until when it may be
// remembered.
func (r *rules) judgeAnswer(text []byte, now time.Time) (*proof, time.Time, error) {
	c, err := readClaims(text)
	if err != nil {
		return nil, time.Time{}, unavailable("its answer to an introspection: %w", err)
	}
	switch string(c["active"]) {
	case "true":
	case "false":
		return nil, time.Time{}, errNotOurs
	default:
		return nil, time.Time{}, unavailable(`its answer to an introspection does not say whether the token is "active"`)
	}
	p, err := r.judge(c, now, true)
	if err != nil {
		return nil, time.Time{}, err
	}
	end, ok, err := c.when("exp")
	if !ok {
		end = p.until
	}
	return p, end, err
}

// ask asks the provider.
func (i *introspection) ask(ctx context.Context, token string) ([]byte, error) {
	k, err := i.provider.current(ctx)
	if err != nil {
		return nil, err
	}
	if k.introspect == "" {
		return nil, unavailable("it has no introspection_endpoint, and client_id is there for one")
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if k.post {
		form.Set("client_id", i.rules.ClientID)
		form.Set("client_secret", i.rules.secret)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, k.introspect, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, unavailable("%w", err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !k.post {
		// RFC 6749, 2.3.1: both are form-encoded first.
		q.SetBasicAuth(url.QueryEscape(i.rules.ClientID), url.QueryEscape(i.rules.secret))
	}
	text, err := ask(i.client, q, maxAnswer)
	if err != nil {
		return nil, unavailable("%w", err)
	}
	return text, nil
}
