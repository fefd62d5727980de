package auth

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Ticket is part of sasl.Credentials.
func (s *signIn) Ticket(ctx context.Context, token []byte) (string, *krb5.Context, error) {
	name, shared, err := s.ticket(ctx, token)
	s.count(err) // the client may go before it hears it
	return name, shared, err
}

func (s *signIn) ticket(ctx context.Context, token []byte) (string, *krb5.Context, error) {
	release, err := s.wait(ctx, "")
	if err != nil {
		return "", nil, err
	}
	defer release()
	tickets, ok := s.a.directory.(directory.Chained)
	if !ok {
		return "", nil, mail.Errorf(mail.KindCannot, "")
	}
	e, shared, err := tickets.CheckTicket(s.prefer(ctx), rowOf(s.conn.Service).kerberos, token)
	if err != nil {
		return "", nil, refused(err)
	}
	if !shared.Until.After(s.a.now()) {
		return "", nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: errors.New("the ticket has expired")}
	}
	s.entry, s.secret, s.until = e, OtherSecret, shared.Until
	s.said, s.name = e.Name, e.Name // it is who was proved
	return e.Name, shared, nil
}

// protection is ExtendedProtectionPolicy for a mechanism whose clients may leave the
// channel binding out.
func (c Conn) protection() sasl.Protection {
	switch c.Protection {
	case settings.NoProtection:
		return sasl.IgnoreBinding
	case settings.AllowProtection:
		return sasl.CheckBinding
	}
	return sasl.RequireBinding
}
