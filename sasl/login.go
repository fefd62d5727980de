package sasl

import (
	"bytes"
	"context"
	"unicode/utf8"
)

// LOGIN asks twice and has no grammar (draft-murchison-sasl-login-00). Its prompts
// are fixed because clients compare them.

type login struct {
	server Server
	asked  bool   // for the name
	name   []byte // nil until given
}

func newLogin(s Server) Exchange { return &login{server: s} }

func (l *login) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !l.asked && l.name == nil {
		l.asked = true
		return []byte("Username:"), false, nil
	}
	if len(response) > MaxResponse || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return nil, false, failed("LOGIN: the response is too long, not UTF-8 or has a NUL")
	}
	if l.name == nil {
		l.name = append([]byte{}, response...)
		return []byte("Password:"), false, nil
	}
	name := string(l.name)
	if err := l.server.Credentials.Password(ctx, name, string(response)); err != nil {
		return nil, false, err
	}
	if err := l.server.Credentials.Authorize(ctx, name, ""); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
