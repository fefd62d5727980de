package sasl

import (
	"bytes"
	"context"
	"unicode/utf8"
)

// EXTERNAL (RFC 4422, A): who the client is was proved below SASL, by its certificate;
// what it sends is only as whom it wants to act, or nothing.
type external struct {
	server Server
	asked  bool
}

func newExternal(s Server) Exchange { return &external{server: s} }

func (x *external) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !x.asked {
		x.asked = true
		return nil, false, nil
	}
	if len(response) > MaxResponse || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return nil, false, failed("EXTERNAL: the response is too long, not UTF-8 or has a NUL")
	}
	authzid := string(response)
	name, err := x.server.Credentials.Certificate(ctx, authzid)
	if err != nil {
		return nil, false, err
	}
	if err := x.server.Credentials.Authorize(ctx, name, authzid); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
