package sasl

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// oauth is OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's predecessor of it): one message
// with a bearer token. A token that is refused is answered with a challenge in JSON, to
// which the client says something empty, and only then does the exchange fail.
type oauth struct {
	server  Server
	parse   func(message string) (authzid, token string, err error)
	refusal refusal
	asked   bool
	failure error // what the client hears after the challenge
}

// refusal is the challenge after a token that is not taken (RFC 7628, 3.2.2): it says
// where a client gets one.
type refusal struct {
	Status        string `json:"status"`
	Schemes       string `json:"schemes,omitempty"`
	Scope         string `json:"scope,omitempty"`
	Configuration string `json:"openid-configuration,omitempty"`
}

func newOAuthBearer(s Server) Exchange {
	return &oauth{server: s, parse: parseOAuthBearer, refusal: refusal{Status: "invalid_token"}}
}

func newXOAuth2(s Server) Exchange {
	return &oauth{server: s, parse: parseXOAuth2, refusal: refusal{Status: "401", Schemes: "bearer"}}
}

func (o *oauth) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if o.failure != nil {
		return nil, false, o.failure // whatever the client said (RFC 7628, 3.2.3)
	}
	if response == nil && !o.asked {
		o.asked = true
		return nil, false, nil
	}
	if len(response) > MaxResponse || !utf8.Valid(response) || strings.ContainsRune(string(response), 0) {
		return nil, false, failed("OAuth: the response is too long, not UTF-8 or has a NUL")
	}
	authzid, token, err := o.parse(string(response))
	if err != nil {
		return nil, false, err
	}
	if token == "" {
		return o.refuse(authzid, failed("OAuth: no token"))
	}
	name, err := o.server.Credentials.Token(ctx, authzid, token)
	if err != nil {
		if mail.KindOf(err) != mail.KindAuthenticationFailed {
			return nil, false, err // another token would not help
		}
		return o.refuse(authzid, err)
	}
	if err := o.server.Credentials.Authorize(ctx, name, authzid); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// refuse says why and where to get another token; the exchange fails after that.
func (o *oauth) refuse(authzid string, err error) ([]byte, bool, error) {
	o.failure = err
	said := o.refusal
	if o.server.Issuer != nil {
		said.Configuration, said.Scope = o.server.Issuer(authzid)
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.Encode(said) // texts always encode
	return bytes.TrimSpace(text.Bytes()), false, nil
}

// kvsep      = %x01
// key        = 1*(ALPHA)
// value      = *(VCHAR / SP / HTAB / CR / LF )
// kvpair     = key "=" value kvsep
// client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep      ; RFC 7628, 3.1
//
// A client that has no token yet sends "auth=" with nothing behind it to be told where
// to get one (RFC 7628, 4.3).
func parseOAuthBearer(message string) (authzid, token string, err error) {
	header, pairs, ok := strings.Cut(message, "\x01")
	flag, rest, ok1 := strings.Cut(header, ",")
	given, end, ok2 := strings.Cut(rest, ",")
	if !ok || !ok1 || !ok2 || end != "" {
		return "", "", failed("OAUTHBEARER: no GS2 header")
	}
	// There is no OAUTHBEARER-PLUS that could have been taken out, so "y" is as "n".
	if flag != "n" && flag != "y" {
		return "", "", failed("OAUTHBEARER: channel binding in a mechanism without it")
	}
	if given != "" {
		name, ok := strings.CutPrefix(given, "a=")
		if ok {
			authzid, ok = saslname(name)
		}
		if !ok {
			return "", "", failed("OAUTHBEARER: malformed authzid")
		}
	}
	pairs, ok = strings.CutSuffix(pairs, "\x01\x01")
	if !ok {
		return "", "", failed("OAUTHBEARER: the message does not end")
	}
	said := false
	for pair := range strings.SplitSeq(pairs, "\x01") {
		key, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || !letters.MatchString(key):
			return "", "", failed("OAUTHBEARER: malformed key")
		case key != "auth":
		case said:
			return "", "", failed("OAUTHBEARER: two tokens")
		default:
			if said = true; value == "" {
				continue
			}
			if token, err = bearer(value); err != nil {
				return "", "", err
			}
		}
	}
	if !said {
		return "", "", failed("OAUTHBEARER: no token")
	}
	return authzid, token, nil
}

// "user=" user %x01 "auth=Bearer " token %x01 %x01
func parseXOAuth2(message string) (authzid, token string, err error) {
	rest, ok := strings.CutPrefix(message, "user=")
	user, rest, ok1 := strings.Cut(rest, "\x01")
	rest, ok2 := strings.CutPrefix(rest, "auth=")
	rest, ok3 := strings.CutSuffix(rest, "\x01\x01")
	if !ok || !ok1 || !ok2 || !ok3 {
		return "", "", failed("XOAUTH2: malformed message")
	}
	token, err = bearer(rest)
	return user, token, err
}

var (
	letters = regexp.MustCompile(`^[A-Za-z]+$`)
	// b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
	b64token = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

// credentials = "Bearer" 1*SP b64token (RFC 6750, 2.1)
func bearer(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || !b64token.MatchString(token) {
		return "", failed("OAuth: the credentials are not a bearer token")
	}
	return token, nil
}
