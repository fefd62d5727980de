package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// Hashes names the hash functions of the SCRAM family (RFC 5802, RFC 7677; SHA-512
// after the same pattern), the strongest first.
var Hashes = []string{"SHA-512", "SHA-256", "SHA-1"}

func newHash(name string) func() hash.Hash {
	switch name {
	case "SHA-512":
		return sha512.New
	case "SHA-256":
		return sha256.New
	case "SHA-1":
		return sha1.New
	}
	return nil
}

// maxScram bounds one SCRAM message in octets: a name and an authzid of 255 octets
// with every one written "=2C", two nonces and a binding fit several times over.
const maxScram = 4096

// scram is RFC 5802. Its states are the messages that it waits for.
type scram struct {
	server Server
	hash   string
	new    func() hash.Hash
	plus   bool
	state  int

	gs2Header string // of the client's first message, with both commas
	binding   string // channel binding type, "" for none
	authzid   string
	name      string
	nonce     string // client's and ours
	keys      Keys
	signed    strings.Builder // AuthMessage as far as it is known
}

const (
	scramStart = iota
	scramFirst // asked for by an empty challenge
	scramFinal
	scramAcknowledge // of our v=
	scramOver
)

func newScram(name string, plus bool) func(Server) Exchange {
	return func(s Server) Exchange {
		return &scram{server: s, hash: name, new: newHash(name), plus: plus}
	}
}

func (s *scram) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	state := s.state
	s.state = scramOver // unless the step succeeds
	switch state {
	case scramStart, scramFirst:
		if response == nil && state == scramStart {
			s.state = scramFirst
			return nil, false, nil
		}
		challenge, err := s.first(ctx, response)
		if err != nil {
			return nil, false, err
		}
		s.state = scramFinal
		return challenge, false, nil
	case scramFinal:
		challenge, err := s.final(ctx, response)
		if err != nil {
			return nil, false, err
		}
		s.state = scramAcknowledge
		return challenge, false, nil
	case scramAcknowledge:
		if len(response) != 0 {
			return nil, false, failed("SCRAM: the answer to the server's signature is not empty")
		}
		return nil, true, nil
	}
	return nil, false, failed("SCRAM: the exchange is over")
}

// client-first-message = gs2-header client-first-message-bare
// gs2-header           = gs2-cbind-flag "," [ authzid ] ","
// client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
func (s *scram) first(ctx context.Context, response []byte) ([]byte, error) {
	if len(response) > maxScram || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return nil, failed("SCRAM: the first message is too long, not UTF-8 or has a NUL")
	}
	message := string(response)

	flag, rest, ok1 := strings.Cut(message, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return nil, failed("SCRAM: no GS2 header")
	}
	s.gs2Header = message[:len(message)-len(bare)]

	switch {
	case strings.HasPrefix(flag, "p="):
		if !s.plus {
			return nil, failed("SCRAM: channel binding in a mechanism without -PLUS")
		}
		s.binding = flag[len("p="):]
		if len(bindings(s.server, s.binding)) == 0 {
			return nil, failed("SCRAM: channel binding type is not available")
		}
	case s.plus:
		return nil, failed("SCRAM: -PLUS without channel binding")
	case flag == "y":
		// The client could have bound and did not see -PLUS: somebody between us
		// took it out (RFC 5802, 6).
		if s.server.PlusOffered {
			return nil, failed("SCRAM: the client was not shown the -PLUS mechanisms")
		}
	case flag != "n":
		return nil, failed("SCRAM: unknown channel binding flag")
	}

	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if ok {
			s.authzid, ok = saslname(name)
		}
		if !ok {
			return nil, failed("SCRAM: malformed authzid")
		}
	}

	attributes := strings.Split(bare, ",")
	if len(attributes) < 2 {
		return nil, failed("SCRAM: the first message is incomplete")
	}
	name, ok := strings.CutPrefix(attributes[0], "n=") // m= ends here too
	if ok {
		s.name, ok = saslname(name)
	}
	if !ok {
		return nil, failed("SCRAM: no name, or an extension that is mandatory")
	}
	nonce, ok := strings.CutPrefix(attributes[1], "r=")
	if !ok || !printable(nonce) || !extensions(attributes[2:]) {
		return nil, failed("SCRAM: malformed nonce or extension")
	}

	keys, err := s.server.Credentials.Keys(ctx, s.name, s.hash)
	if err != nil {
		return nil, err
	}
	s.keys = keys

	random := make([]byte, 18)
	source := s.server.Rand
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, random); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	s.nonce = nonce + base64.StdEncoding.EncodeToString(random)

	challenge := "r=" + s.nonce +
		",s=" + base64.StdEncoding.EncodeToString(keys.Salt) +
		",i=" + strconv.Itoa(keys.Iterations)
	s.signed.WriteString(bare + "," + challenge + ",")
	return []byte(challenge), nil
}

// client-final-message-without-proof = channel-binding "," nonce ["," extensions]
// client-final-message = client-final-message-without-proof "," proof
func (s *scram) final(ctx context.Context, response []byte) ([]byte, error) {
	if len(response) > maxScram || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return nil, failed("SCRAM: the final message is too long, not UTF-8 or has a NUL")
	}
	message := string(response)
	end := strings.LastIndex(message, ",p=")
	if end < 0 {
		return nil, failed("SCRAM: no proof")
	}
	withoutProof := message[:end]
	proof, err := base64.StdEncoding.Strict().DecodeString(message[end+len(",p="):])
	attributes := strings.Split(withoutProof, ",")
	if err != nil || len(proof) != s.new().Size() || len(attributes) < 2 {
		return nil, failed("SCRAM: malformed final message")
	}
	given, ok := strings.CutPrefix(attributes[0], "c=")
	if !ok || !extensions(attributes[2:]) {
		return nil, failed("SCRAM: malformed channel binding or extension")
	}
	input, err := base64.StdEncoding.Strict().DecodeString(given)
	if err != nil || !s.bound(input) {
		return nil, failed("SCRAM: the channel binding is not this connection's")
	}
	if subtle.ConstantTimeCompare([]byte(attributes[1]), []byte("r="+s.nonce)) != 1 {
		return nil, failed("SCRAM: wrong nonce")
	}

	// ClientSignature := HMAC(StoredKey, AuthMessage)
	// ClientKey       := ClientProof XOR ClientSignature
	// H(ClientKey) must be StoredKey
	s.signed.WriteString(withoutProof)
	signed := s.signed.String()
	clientKey := s.mac(s.keys.StoredKey, signed)
	subtle.XORBytes(clientKey, clientKey, proof)
	h := s.new()
	h.Write(clientKey)
	if subtle.ConstantTimeCompare(h.Sum(nil), s.keys.StoredKey) != 1 {
		return nil, failed("SCRAM: wrong proof")
	}
	if err := s.server.Credentials.Authorize(ctx, s.name, s.authzid); err != nil {
		return nil, err
	}
	// ServerSignature := HMAC(ServerKey, AuthMessage)
	return []byte("v=" + base64.StdEncoding.EncodeToString(s.mac(s.keys.ServerKey, signed))), nil
}

// bound compares cbind-input whole: the GS2 header as it was sent, then the
// channel's own value when a binding was named, else nothing.
func (s *scram) bound(input []byte) bool {
	if s.binding == "" {
		return subtle.ConstantTimeCompare(input, []byte(s.gs2Header)) == 1
	}
	equal := 0
	for _, v := range bindings(s.server, s.binding) {
		equal |= subtle.ConstantTimeCompare(input, append([]byte(s.gs2Header), v...))
	}
	return equal == 1
}

func (s *scram) mac(key []byte, message string) []byte {
	m := hmac.New(s.new, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

// saslname = 1*(value-safe-char / "=2C" / "=3D")
func saslname(s string) (string, bool) {
	if s == "" {
		return "", false
	}
	var name strings.Builder
	for {
		before, after, found := strings.Cut(s, "=")
		name.WriteString(before)
		if !found {
			return name.String(), true
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			name.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			name.WriteByte('=')
		default:
			return "", false
		}
		s = after[2:]
	}
}

// printable = %x21-2B / %x2D-7E, at least one and at most 1024.
func printable(s string) bool {
	if s == "" || len(s) > 1024 {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == ',' {
			return false
		}
	}
	return true
}

// extensions = attr-val *("," attr-val): ignored when well-formed, but one that is
// mandatory (m=) fails wherever it stands.
func extensions(attributes []string) bool {
	for _, a := range attributes {
		if len(a) < 3 || a[1] != '=' || a[0] == 'm' ||
			!(a[0] >= 'a' && a[0] <= 'z' || a[0] >= 'A' && a[0] <= 'Z') {
			return false
		}
	}
	return true
}
