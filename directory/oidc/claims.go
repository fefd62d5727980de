package oidc

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/postern-mail/postern/directory"
)

// emailClaim names the mailbox unless the settings file says otherwise.
const emailClaim = "email"

// claims is a JSON object: what a token, its header or the provider says. The names
// are compared as octets, and each is there once.
type claims map[string]json.RawMessage

// readClaims reads one JSON object and nothing else. Names that are there twice are
// an error: two readers could understand two things.
func readClaims(b []byte) (claims, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("it is not UTF-8")
	}
	var c claims
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("it is not an object")
	}
	return c, nil
}

// there tells whether a claim has a value.
func (c claims) there(name string) bool {
	raw, ok := c[name]
	return ok && string(raw) != "null"
}

// text gives a claim that is text, "" when it is not there.
func (c claims) text(name string) (string, error) {
	var s string
	if c.there(name) && json.Unmarshal(c[name], &s) != nil {
		return "", refused("%q is not text", name)
	}
	return s, nil
}

// list gives a claim that is one text or several.
func (c claims) list(name string) ([]string, error) {
	if !c.there(name) {
		return nil, nil
	}
	var one string
	if json.Unmarshal(c[name], &one) == nil {
		return []string{one}, nil
	}
	var several []string
	if err := json.Unmarshal(c[name], &several); err != nil || len(several) > maxListedAud {
		return nil, refused("%q is neither text nor at most %d texts", name, maxListedAud)
	}
	return several, nil
}

// when gives a claim that is a time (RFC 7519, 2: seconds since 1970), false when it
// is not there.
func (c claims) when(name string) (time.Time, bool, error) {
	if !c.there(name) {
		return time.Time{}, false, nil
	}
	seconds, err := strconv.ParseFloat(string(c[name]), 64)
	if err != nil || !(seconds >= 0 && seconds < 1<<40) {
		return time.Time{}, false, refused("%q is not a time", name)
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true, nil
}

// idTokenClaims are of tokens that tell a client who signed in, or out: they open
// nothing.
var idTokenClaims = []string{"at_hash", "c_hash", "s_hash", "events"}

// accessKinds are what says that a token is for access: Keycloak's "typ", the
// "token_type" of introspection (RFC 7662, 2.2), the "token_use" of Cognito and Hydra.
var accessKinds = map[string][]string{
	"typ":        {"bearer"},
	"token_type": {"bearer", "access_token"},
	"token_use":  {"access", "access_token"},
}

// isAccess refuses what is not a bearer token for access. A provider that is asked
// knows refresh tokens, too, so it must say which it is.
func (c claims) isAccess(introspected bool) error {
	for _, name := range idTokenClaims {
		if c.there(name) {
			return refused("it is not an access token: it has %q", name)
		}
	}
	said := false
	for name, kinds := range accessKinds {
		kind, err := c.text(name)
		switch {
		case err != nil:
			return err
		case kind == "":
		case !slices.Contains(kinds, strings.ToLower(kind)):
			return refused("%q is %.40q: it is not a bearer token for access", name, kind)
		default:
			said = true
		}
	}
	if introspected && !said {
		return refused("the provider does not say that it is an access token (token_type)")
	}
	return nil
}

// judge tells what claims prove, if they are true: those of a JWT, or what the
// provider said of a token (introspected).
func (r *rules) judge(c claims, now time.Time, introspected bool) (*proof, error) {
	if issuer, err := c.text("iss"); err != nil || issuer != r.Issuer && !(introspected && issuer == "") {
		return nil, refused("another issuer gave it: %.200q", issuer)
	}
	audience, err := c.list("aud")
	if err != nil {
		return nil, err
	}
	if !has(audience, r.Audience) {
		return nil, refused("it is not for this server but for %.200q", audience)
	}
	until, err := r.times(c, now, introspected)
	if err != nil {
		return nil, err
	}
	if err := c.isAccess(introspected); err != nil {
		return nil, err
	}
	bound, err := c.bound()
	if err != nil {
		return nil, err
	}
	if err := r.scopes(c); err != nil {
		return nil, err
	}
	if err := r.program(c); err != nil {
		return nil, err
	}
	p, err := r.person(c)
	if err != nil {
		return nil, err
	}
	return &proof{*p, until, bound}, nil
}

// bound gives the thumbprint of the certificate that a token is bound to (RFC 8705, 3.1),
// "" when it is bound to nothing. Bound to anything else it is refused: a mail session
// cannot show a key of DPoP (RFC 9449).
func (c claims) bound() (string, error) {
	if !c.there("cnf") {
		return "", nil
	}
	members, err := readClaims(c["cnf"])
	if err != nil {
		return "", refused("\"cnf\" is not an object")
	}
	const thumbprint = "x5t#S256"
	text, err := members.text(thumbprint)
	if err != nil || len(members) != 1 || len(text) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return "", refused("it is bound to a key of its client (cnf), which a mail session cannot show")
	}
	return text, nil
}

// times tells until when the claims hold: until the token ends, and where that is
// past by our clock, to the end of the leeway.
func (r *rules) times(c claims, now time.Time, introspected bool) (time.Time, error) {
	for _, name := range []string{"nbf", "iat"} {
		from, ok, err := c.when(name)
		if err != nil {
			return time.Time{}, err
		}
		if ok && from.After(now.Add(leeway)) {
			return time.Time{}, refused("it is not valid yet: %q is %s", name, from.UTC().Format(time.RFC3339))
		}
	}
	exp, ok, err := c.when("exp")
	switch {
	case err != nil:
		return time.Time{}, err
	case !ok && !introspected:
		return time.Time{}, refused("it does not say when it ends")
	case !ok:
		return now.Add(unsaidProof), nil
	case !exp.Add(leeway).After(now):
		return time.Time{}, refused("it ended at %s", exp.UTC().Format(time.RFC3339))
	}
	until := exp
	if !exp.After(now) {
		until = exp.Add(leeway)
	}
	if last := now.Add(maxProof); until.After(last) {
		until = last
	}
	return until, nil
}

// scopes refuses a token that lacks one of the scopes that the settings file wants.
func (r *rules) scopes(c claims) error {
	var given []string
	for _, name := range []string{"scope", "scp"} {
		list, err := c.list(name)
		if err != nil {
			return err
		}
		for _, text := range list {
			given = append(given, strings.Fields(text)...)
		}
	}
	for _, scope := range r.Scopes {
		if !slices.Contains(given, scope) {
			return refused("it has not the scope %q", scope)
		}
	}
	return nil
}

// program refuses tokens that were given to a program that is not wanted, and those
// that a program got for itself.
func (r *rules) program(c claims) error {
	subject, err := c.text("sub")
	if err != nil {
		return err
	}
	named := false
	for _, name := range []string{"client_id", "azp", "appid"} {
		client, err := c.text(name)
		switch {
		case err != nil:
			return err
		case client == "":
			continue
		case client == subject:
			return refused("it is a program's own: no person stands behind it")
		case len(r.Clients) > 0 && !slices.Contains(r.Clients, client):
			return refused("it was given to the program %.100q", client)
		}
		named = true
	}
	if len(r.Clients) > 0 && !named {
		return refused("it does not say to which program it was given")
	}
	return nil
}

// person tells whom the claims mean.
func (r *rules) person(c claims) (*directory.Person, error) {
	subject, err := c.text("sub")
	if err != nil {
		return nil, err
	}
	if directory.CheckID(subject) != nil || strings.ContainsRune(subject, utf8.RuneError) {
		return nil, refused("its subject (sub) is not 1 to %d printable octets", directory.MaxID)
	}
	text, err := c.text(r.Claim)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, refused("it has no %q, which names the mailbox", r.Claim)
	}
	if r.Claim == emailClaim && string(c["email_verified"]) != "true" {
		return nil, refused("its address %.100q is not verified (email_verified)", text)
	}
	name, err := directory.PrepareName(text)
	if err != nil {
		return nil, refused("%q is %.100q, which is not a name", r.Claim, text)
	}
	if at := strings.LastIndexByte(name, '@'); r.Domain != "" && at < 0 {
		if name, err = directory.PrepareName(name + "@" + r.Domain); err != nil {
			return nil, refused("%q is %.100q, which is not a name", r.Claim, text)
		}
	} else if r.Domain != "" && name[at+1:] != r.Domain {
		return nil, refused("%q is %.100q, which is not of the domain %s", r.Claim, text, r.Domain)
	}
	p := &directory.Person{ID: subject, Name: name}
	if p.Groups, err = r.groups(c); err != nil {
		return nil, err
	}
	if display, err := c.text("name"); err == nil && len(display) <= maxDisplayName && !strings.ContainsFunc(display, unicode.IsControl) {
		p.DisplayName = display
	}
	return p, nil
}

// groups reads the groups. A provider that says that there are more than it says
// (Entra ID) has not said them.
func (r *rules) groups(c claims) ([]string, error) {
	if r.GroupsClaim == "" {
		return nil, nil
	}
	var elsewhere map[string]json.RawMessage
	if c.there("_claim_names") && json.Unmarshal(c["_claim_names"], &elsewhere) != nil {
		return nil, refused("\"_claim_names\" is not an object")
	}
	if _, said := elsewhere[r.GroupsClaim]; said || c.there("hasgroups") {
		return nil, refused("there are more %q than the token says", r.GroupsClaim)
	}
	if list, err := c.list(r.GroupsClaim); err != nil {
		return nil, err
	} else if groups, err := directory.PrepareGroups(list); err != nil {
		return nil, refused("%q: %w", r.GroupsClaim, err)
	} else {
		return groups, nil
	}
}

// maxDisplayName bounds a display name in octets; a longer one is left out.
const maxDisplayName = 255
