package oidc

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are those of signatures that are taken: none that a public key could
// forge (HS256), and not "none".
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// jwt is a JWS in its compact form whose signature nobody has checked yet.
type jwt struct {
	token  string
	header claims
	claims claims // nil when they cannot be read
}

// readJWT gives token as a JWT, nil when it is none: three parts, of which the first
// is a JSON object that names an algorithm.
func readJWT(token string) *jwt {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	header, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil || len(header) == 0 || header[0] != '{' {
		return nil
	}
	j := &jwt{token: token}
	if j.header, err = readClaims(header); err != nil {
		// A header that names something twice, say. It is a JWT, and a wrong one.
		j.header = nil
		return j
	}
	if _, ok := j.header["alg"]; !ok {
		return nil
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if _, wrong := base64.RawURLEncoding.Strict().DecodeString(parts[2]); err == nil && wrong == nil {
		j.claims, _ = readClaims(payload)
	}
	return j
}

// checkJWT tells what a JWT proves. What it says is looked at first, as that costs
// nothing; nothing of it counts until the signature is right.
func (s *Source) checkJWT(ctx context.Context, j *jwt) (*proof, error) {
	if j.header == nil || j.claims == nil {
		return nil, refused("its header or its claims are not a JSON object that names each thing once, in base64url")
	}
	if issuer, err := j.claims.text("iss"); err != nil || issuer != s.rules.Issuer {
		return nil, errNotOurs
	}
	kid, err := s.checkHeader(j.header)
	if err != nil {
		return nil, err
	}
	p, err := s.rules.judge(j.claims, s.now(), false)
	if err != nil {
		return nil, err
	}
	if err := s.checkSignature(ctx, j.token, kid); err != nil {
		return nil, err
	}
	return p, nil
}

// checkHeader refuses what is not an access token, or what is not understood. The
// header names a key, and nothing that it brings along (jwk, jku, x5c) is one.
func (s *Source) checkHeader(header claims) (kid string, err error) {
	kind, err := header.text("typ")
	if err != nil {
		return "", err
	}
	switch kind = strings.TrimPrefix(strings.ToLower(kind), "application/"); {
	case kind == "at+jwt":
	case (kind == "jwt" || kind == "") && !s.rules.OnlyATJWT:
	default:
		return "", refused("its type is %.40q, not an access token's", kind)
	}
	if _, ok := header["crit"]; ok {
		return "", refused("its header has extensions that must be understood (crit)")
	}
	return header.text("kid")
}

// checkSignature compares the signature with the provider's keys, which are fetched
// anew, seldom enough, when none of them is the one.
func (s *Source) checkSignature(ctx context.Context, token, kid string) error {
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return refused("it is not signed with an algorithm that is taken: %.200v", err)
	}
	alg := jose.SignatureAlgorithm(jws.Signatures[0].Protected.Algorithm)
	k, err := s.provider.current(ctx)
	if err != nil {
		return err
	}
	for again := false; ; again = true {
		candidates := k.candidates(kid, alg)
		for _, key := range candidates {
			if _, err := jws.Verify(key.public); err == nil {
				return nil
			}
		}
		switch {
		case kid != "" && len(candidates) > 0:
			return refused("the signature is not the one of the key %.100q", kid)
		case again:
			return refused("none of the provider's keys made the signature (key %.100q, %s)", kid, alg)
		}
		if k, err = s.provider.newer(ctx, k); err != nil {
			return err
		}
	}
}
