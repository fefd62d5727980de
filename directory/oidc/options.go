package oidc

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Options are a directory's keys in the settings file. Issuer and Audience are
// needed.
type Options struct {
	// Issuer is the provider's issuer identifier, an https URL, exactly as its tokens
	// say it.
	Issuer string `toml:"issuer"`
	// Audience are the names under which the provider knows this server: a token is
	// for it when its "aud" has one of them.
	Audience []string `toml:"audience"`
	// Scopes must all be in a token's "scope" (or "scp").
	Scopes []string `toml:"scopes"`
	// Clients are the programs ("client_id", "azp") whose tokens are taken; every one
	// when it is left out.
	Clients []string `toml:"clients"`
	// OnlyATJWT takes JWTs of the type "at+jwt" (RFC 9068) only. Without it plain JWTs
	// are taken, too, which Keycloak and Entra ID give.
	OnlyATJWT bool `toml:"only_at_jwt"`

	// Claim names the mailbox; "email" when it is left out, which counts only with
	// "email_verified".
	Claim string `toml:"claim"`
	// GroupsClaim names the claim with a person's groups, a text or a list; none when it
	// is left out.
	GroupsClaim string `toml:"groups_claim"`
	// Domain is added to names that have none; names of another domain are refused
	// then.
	Domain string `toml:"domain"`

	// ClientID and the secret in ClientSecretFile are this server's own at the
	// provider. With them tokens that are no JWTs are taken: the provider is asked
	// (RFC 7662).
	ClientID         string `toml:"client_id"`
	ClientSecretFile string `toml:"client_secret_file"`

	// CAFile has the certificates (PEM) that the provider's certificate must lead to;
	// the system's when it is left out.
	CAFile string `toml:"ca_file"`
	// Timeout is a time span: the longest that one question takes; 00:00:05 when it is
	// left out, at most a minute.
	Timeout string `toml:"timeout"`
	// AllowHTTPOnLoopback takes http:// for a provider on this machine.
	AllowHTTPOnLoopback bool `toml:"allow_http_on_loopback"`
}

// Bounds of what the settings file says.
const (
	maxListed  = 64      // of one list
	maxSetting = 1024    // octets of one value
	maxSecret  = 1024    // octets of a client's secret
	maxCAFile  = 1 << 20 // octets
	maxTimeout = time.Minute
)

// rules are Options as they are used.
type rules struct {
	Options
	timeout time.Duration
	secret  string
	roots   *x509.CertPool // nil is the system's
}

func bad(format string, args ...any) error {
	return mail.Errorf(mail.KindBadArgument, format, args...)
}

// check reads what the settings file says.
func (o Options) check() (*rules, error) {
	r := &rules{Options: o, timeout: 5 * time.Second}
	if o.Issuer == "" {
		return nil, bad("issuer is needed: the provider's address, exactly as its tokens say it.")
	}
	if err := r.address(o.Issuer); err != nil {
		return nil, bad("issuer: %s", mail.TextOf(err))
	}
	if strings.ContainsAny(o.Issuer, "?#") {
		return nil, bad("issuer: %s has a query or a fragment, which no issuer has.", o.Issuer)
	}
	if len(o.Audience) == 0 {
		return nil, bad("audience is needed: without it tokens that were given for other servers would be taken.")
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"audience", o.Audience}, {"scopes", o.Scopes}, {"clients", o.Clients}} {
		if len(list.values) > maxListed {
			return nil, bad("%s: at most %d values.", list.key, maxListed)
		}
		for _, v := range list.values {
			if v == "" || len(v) > maxSetting {
				return nil, bad("%s: a value has 1 to %d octets.", list.key, maxSetting)
			}
		}
	}
	if r.Claim == "" {
		r.Claim = emailClaim
	}
	if len(r.Claim) > maxSetting {
		return nil, bad("claim: at most %d octets.", maxSetting)
	}
	if o.Domain != "" {
		name, err := directory.PrepareName("x@" + o.Domain)
		if err != nil {
			return nil, bad("domain: %q is not a domain.", o.Domain)
		}
		r.Domain = strings.TrimPrefix(name, "x@")
	}
	if (o.ClientID == "") != (o.ClientSecretFile == "") {
		return nil, bad("client_id and client_secret_file go together.")
	}
	if o.ClientSecretFile != "" {
		text, err := readFile(o.ClientSecretFile, maxSecret)
		if err != nil {
			return nil, bad("client_secret_file: %s", mail.TextOf(err))
		}
		r.secret = strings.TrimRight(string(text), "\r\n")
		if r.secret == "" || strings.ContainsAny(r.secret, "\r\n") {
			return nil, bad("client_secret_file: %s does not have one line, the secret.", o.ClientSecretFile)
		}
	}
	if o.CAFile != "" {
		text, err := readFile(o.CAFile, maxCAFile)
		if err != nil {
			return nil, bad("ca_file: %s", mail.TextOf(err))
		}
		r.roots = x509.NewCertPool()
		if !r.roots.AppendCertsFromPEM(text) {
			return nil, bad("ca_file: %s has no certificate.", o.CAFile)
		}
	}
	if o.Timeout != "" {
		span, err := settings.ParseSpan(o.Timeout)
		if err != nil {
			return nil, bad("timeout: %s", mail.TextOf(err))
		}
		if span < time.Second || span > maxTimeout {
			return nil, bad("timeout: from %s to %s.", settings.FormatSpan(time.Second), settings.FormatSpan(maxTimeout))
		}
		r.timeout = span
	}
	return r, nil
}

// readFile reads a file of at most limit octets.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bad("%v.", err)
	}
	defer f.Close()
	var b bytes.Buffer
	if n, err := io.Copy(&b, io.LimitReader(f, limit+1)); err != nil {
		return nil, bad("%v.", err)
	} else if n > limit {
		return nil, bad("%s is longer than %d octets.", path, limit)
	}
	return b.Bytes(), nil
}

// address tells whether the provider may be asked at an address: what it says is
// believed, so nobody may stand between.
func (r *rules) address(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > maxSetting:
		return bad("%q is not an address such as https://login.example.org.", text)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && r.AllowHTTPOnLoopback && onLoopback(u.Hostname()):
		return nil
	}
	return bad("%s does not begin with https://.", text)
}

func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// client asks the provider. It follows no redirections: a token or a secret goes
// where the provider's own description says, and nowhere else.
func (r *rules) client() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.roots},
			ForceAttemptHTTP2:      true,
			DialContext:            (&net.Dialer{Timeout: r.timeout}).DialContext,
			TLSHandshakeTimeout:    r.timeout,
			ResponseHeaderTimeout:  r.timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    4,
			MaxConnsPerHost:        16,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true, // what is small packed may be huge
		},
	}
}

// has tells whether list has one of values.
func has(list, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return slices.Contains(list, v) })
}

// description is where the provider describes itself (OpenID Connect Discovery, 4).
func (r *rules) description() string {
	return strings.TrimSuffix(r.Issuer, "/") + "/.well-known/openid-configuration"
}
