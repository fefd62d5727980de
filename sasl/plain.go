package sasl

import (
	"context"
	"strings"
	"unicode/utf8"
)

// message   = [authzid] UTF8NUL authcid UTF8NUL passwd   ; RFC 4616, 2
// authzid, authcid, passwd are 1 to 255 octets of UTF-8 without NUL there; the
// bounds are Credentials' here.

type plain struct {
	server Server
	asked  bool
}

func newPlain(s Server) Exchange { return &plain{server: s} }

func (p *plain) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !p.asked {
		p.asked = true
		return nil, false, nil
	}
	if len(response) > MaxResponse || !utf8.Valid(response) {
		return nil, false, failed("PLAIN: the response is too long or not UTF-8")
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 {
		return nil, false, failed("PLAIN: the response does not have two NULs")
	}
	authzid, authcid, password := parts[0], parts[1], parts[2]
	if err := p.server.Credentials.Password(ctx, authcid, password); err != nil {
		return nil, false, err
	}
	if err := p.server.Credentials.Authorize(ctx, authcid, authzid); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
