package sasl

import (
	"context"
	"crypto/md5"
	"crypto/subtle"
)

// apop is what POP3's command APOP says (RFC 1939, 7): an answer to the timestamp of
// the greeting. It is no SASL mechanism: only that command begins it. The server must
// be able to read the password.
type apop struct{ server Server }

func newAPOP(s Server) Exchange { return &apop{s} }

func (x *apop) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	name, digest, err := nameAndDigest(response)
	if err != nil {
		return nil, false, failed("APOP: " + err.Error())
	}
	if x.server.Timestamp == "" {
		return nil, false, failed("APOP: there is no timestamp to answer")
	}
	err = x.server.Credentials.Answer(ctx, name, func(password []byte) bool {
		sum := md5.Sum(append([]byte(x.server.Timestamp), password...))
		return subtle.ConstantTimeCompare(sum[:], digest) == 1
	})
	if err == nil {
		err = x.server.Credentials.Authorize(ctx, name, "")
	}
	return nil, err == nil, err
}

// Timestamp makes what a POP3 server's greeting ends with, for one answer of APOP.
func Timestamp(s Server) (string, error) { return s.timestamp() }
