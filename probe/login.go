package probe

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strconv"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/sasl"
)

// exchange is the client's side of a SASL mechanism.
type exchange struct {
	mechanism string
	next      func(challenge []byte) ([]byte, error)
	valid     func() bool // whether the server proved itself, once it accepted
}

// errClear: the password could be read on the way.
var errClear = errors.New("the server offers no way to sign in here that keeps the password secret; it is not sent unencrypted to another host")

// choose gives the strongest of the offered mechanisms, one that is bound to the TLS
// connection before all others. It is nil when only commands of the protocol are left.
func (r *run) choose(offered []string) (*exchange, error) {
	x, err := r.strongest(offered)
	if x != nil {
		r.mechanism = x.mechanism
	}
	return x, err
}

func (r *run) strongest(offered []string) (*exchange, error) {
	binding := r.binding()
	for _, plus := range []string{"-PLUS", ""} {
		for _, hash := range sasl.Hashes {
			if name := "SCRAM-" + hash + plus; slices.Contains(offered, name) && (plus == "" || binding.IsSupported()) {
				return r.scram(name, hash, plus != "", binding)
			}
		}
	}
	if slices.Contains(offered, "PLAIN") && r.private() {
		return &exchange{"PLAIN", func([]byte) ([]byte, error) { return []byte("\x00" + r.Name + "\x00" + r.Password), nil }, func() bool { return true }}, nil
	}
	return nil, nil
}

// binding is what a sign-in is bound to: the TLS connection itself (RFC 9266), or the
// server's certificate (RFC 5929, 4) where TLS 1.2 is all that the server knows.
func (r *run) binding() scram.ChannelBinding {
	conn, ok := r.conn.(*tls.Conn)
	if !ok {
		return scram.ChannelBinding{}
	}
	state := conn.ConnectionState()
	b, err := scram.NewTLSExporterBinding(&state)
	if err != nil || state.Version < tls.VersionTLS13 {
		b, err = scram.NewTLSServerEndpointBinding(&state)
	}
	if err != nil {
		return scram.ChannelBinding{}
	}
	return b
}

// noneKnown says that nothing is left that this side could do.
func (r *run) noneKnown() error {
	if r.secure {
		return errors.New("the server offers no mechanism that this test knows")
	}
	return errors.New("the server offers no mechanism that can be used on this connection: it wants TLS")
}

// maxIterations bounds what a server can have this side compute.
const maxIterations = 1_000_000

var iterations = regexp.MustCompile(`(?:^|,)i=([0-9]+)`)

func (r *run) scram(name, hash string, plus bool, binding scram.ChannelBinding) (*exchange, error) {
	generator := map[string]scram.HashGeneratorFcn{"SHA-512": scram.SHA512, "SHA-256": scram.SHA256, "SHA-1": scram.SHA1}[hash]
	c, err := generator.NewClient(r.Name, r.Password, "")
	if err != nil {
		return nil, errors.New("the name or password cannot be used with SCRAM")
	}
	talk := c.NewConversation()
	switch {
	case plus:
		talk = c.NewConversationWithChannelBinding(binding)
	case binding.IsSupported(): // whoever took -PLUS out of the server's offer is found out (RFC 5802, 6)
		talk = c.NewConversationAdvertisingChannelBinding()
	}
	return &exchange{name, func(challenge []byte) ([]byte, error) {
		if talk.Done() {
			return nil, nil
		}
		if m := iterations.FindSubmatch(challenge); m != nil {
			if n, err := strconv.Atoi(string(m[1])); err != nil || n > maxIterations {
				return nil, errors.New("the server asks for too many iterations")
			}
		}
		answer, err := talk.Step(string(challenge))
		return []byte(answer), err
	}, talk.Valid}, nil
}

// answer gives the line that answers a challenge in base64.
func (x *exchange) answer(challenge string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "", errors.New("the server sent a challenge that is not base64")
	}
	out, err := x.next(raw)
	return base64.StdEncoding.EncodeToString(out), err
}

// accepted is called when the server says that the sign-in succeeded.
func (x *exchange) accepted() error {
	if !x.valid() {
		return errors.New("the server accepted the sign-in, and did not prove that it knows the password")
	}
	return nil
}
