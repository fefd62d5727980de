package sasl

import (
	"context"
	"unicode/utf8"

	"github.com/postern-mail/postern/krb5"
)

// gssapi is GSSAPI (RFC 4752): the GSS-API with Kerberos 5, and then, in wrapped
// messages, what protects the session and as whom the client wants to act.
type gssapi struct {
	server Server
	// next takes what the client says next.
	next   func(ctx context.Context, response []byte) ([]byte, bool, error)
	asked  bool
	name   string // who was proved
	shared *krb5.Context
}

func newGSSAPI(s Server) Exchange {
	g := &gssapi{server: s}
	g.next = g.first
	return g
}

func (g *gssapi) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > MaxResponse {
		return nil, false, failed("GSSAPI: the response is too long")
	}
	return g.next(ctx, response)
}

// first takes the client's ticket (RFC 4752, 3.1).
func (g *gssapi) first(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !g.asked {
		g.asked = true
		return nil, false, nil
	}
	token, ok := krb5.Unframe(krb5.Mechanism, response)
	if !ok {
		return nil, false, failed("GSSAPI: the response is not a token of Kerberos")
	}
	var err error
	if g.name, g.shared, err = g.server.ticket(ctx, token); err != nil {
		return nil, false, err
	}
	if g.shared.Reply == nil {
		return g.offer()
	}
	g.next = g.replied
	return g.shared.Reply, false, nil
}

// replied: the client has this server's proof.
func (g *gssapi) replied(_ context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > 0 {
		return nil, false, failed("GSSAPI: the client goes on where it has nothing to say")
	}
	return g.offer()
}

// noLayer is the only security layer that there is: none. TLS protects the session.
//
// DEVIATES: RFC 4752, 3.2: integrity and confidentiality of the GSS-API's own are not
// offered; TLS is.
const noLayer = 1

// offer says what could protect the session, in an octet of bits and three of the size
// of its messages, 0 without any (RFC 4752, 3.2).
func (g *gssapi) offer() ([]byte, bool, error) {
	token, err := g.shared.Wrap([]byte{noLayer, 0, 0, 0})
	g.next = g.chosen
	return token, false, err
}

// chosen takes what the client chose, in the same form, with an authzid behind it.
func (g *gssapi) chosen(ctx context.Context, response []byte) ([]byte, bool, error) {
	message, err := g.shared.Unwrap(response)
	if err != nil {
		return nil, false, err
	}
	if len(message) < 4 || message[0] != noLayer {
		return nil, false, failed("GSSAPI: the client chose a security layer that was not offered")
	}
	authzid := message[4:]
	if !utf8.Valid(authzid) {
		return nil, false, failed("GSSAPI: the authzid is not UTF-8")
	}
	if err := g.server.Credentials.Authorize(ctx, g.name, wanted(string(authzid), g.shared)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// ticket has the client's ticket proved, and its channel binding where one is given.
func (s Server) ticket(ctx context.Context, token []byte) (name string, shared *krb5.Context, err error) {
	if name, shared, err = s.Credentials.Ticket(ctx, token); err == nil {
		err = s.checkBinding(shared.Binding)
	}
	return name, shared, err
}

// wanted is as whom the owner of a ticket wants to act. Many clients say whose ticket it
// is, with or without the realm: then it is themselves, whatever they are called here.
func wanted(authzid string, shared *krb5.Context) string {
	if c := shared.Client; len(c.Components) == 1 && (authzid == c.Components[0] || authzid == c.String()) {
		return ""
	}
	return authzid
}
