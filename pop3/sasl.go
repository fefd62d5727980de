package pop3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
)

// auth = "AUTH" [ SP mechanism [ SP ( base64 / "=" ) ] ] (RFC 5034, 4)
//
// Without a mechanism it lists them, as clients older than CAPA expect.
func (x *session) auth(ctx context.Context, args string) {
	x.user = ""
	if args == "" {
		x.ok("Mechanisms follow")
		for _, name := range x.Auth.Offered(x.who()) {
			x.respond(appendText(nil, name, false))
		}
		x.respond([]byte(".\r\n"))
		return
	}
	mechanism, initial, given := strings.Cut(args, " ")
	if m, known := sasl.Find(mechanism); known {
		x.logged = m.Name
	}
	exchange, err := x.Auth.Begin(ctx, x.who(), mechanism)
	if err != nil {
		x.failedLogin(err)
		return
	}
	defer exchange.Close()
	var response []byte
	if given {
		if initial == "=" {
			initial = ""
		}
		if response, err = decode([]byte(initial)); err != nil {
			exchange.Abort(ctx, err)
			x.failedLogin(err)
			return
		}
	}
	for {
		challenge, id, err := exchange.Next(ctx, response)
		if err != nil || id != nil {
			x.loggedIn(ctx, id, err)
			return
		}
		x.respond(append(base64.StdEncoding.AppendEncode([]byte("+ "), challenge), '\r', '\n'))
		x.conn.Phase(listener.SASL)
		line, err := x.lines.Line(maxSASLLine)
		if err != nil && !errors.Is(err, listener.ErrLineTooLong) {
			x.over = true
			return
		}
		if err == nil && string(line) == "*" {
			err = mail.Errorf(mail.KindAuthenticationFailed, "The authentication was cancelled.")
			exchange.Abort(ctx, err)
			x.failedLogin(err)
			return
		}
		if err == nil {
			response, err = decode(line)
			clear(line)
		}
		if err != nil {
			exchange.Abort(ctx, err)
			x.failedLogin(err)
			return
		}
	}
}

// decode reads base64 strictly (RFC 4648, 3.5): padded, without trailing bits,
// blanks or line breaks. The result is never nil.
func decode(text []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	if err != nil || bytes.ContainsAny(text, "\r\n") {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "That is not base64.")
	}
	return out[:n], nil
}
