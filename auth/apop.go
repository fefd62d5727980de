package auth

import (
	"context"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
)

// apop is the row of APOP.
func apop() sasl.Mechanism {
	m, _ := sasl.Find("APOP")
	return m
}

// Timestamp makes what the greeting of a POP3 connection ends with (RFC 1939, 7): "" when
// APOP would not be accepted on it. It is for one answer.
func (a *Authenticator) Timestamp(c Conn) string {
	c.Timestamp = "<>"
	server := a.server(c)
	if !a.offers(c, apop(), server) {
		return ""
	}
	t, err := sasl.Timestamp(server)
	if err != nil {
		return ""
	}
	return t
}

// APOP signs in with the arguments of POP3's command, a name and a digest; c.Timestamp
// is what it answers. Errors as of Password, and KindCannot when there is nothing to
// answer.
func (a *Authenticator) APOP(ctx context.Context, c Conn, arguments string) (*Identity, error) {
	began, m, server := a.now(), apop(), a.server(c)
	err := a.decide(c, m.Name, m.Class).Err()
	if err == nil && !a.offers(c, m, server) {
		err = mail.Errorf(mail.KindCannot, "APOP cannot be used on this connection now.")
	}
	if err != nil {
		a.decided(ctx, c, Attempt{Mechanism: m.Name, Class: m.Class, Err: err}, began)
		return nil, err
	}
	x := a.exchange(c, m, server)
	defer x.Close()
	_, id, err := x.Next(ctx, []byte(arguments))
	return id, err
}
