package sasl

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/postern-mail/postern/krb5"
)

// gs2 is GS2-KRB5 and GS2-KRB5-PLUS (RFC 5801): the GSS-API's messages with a header
// before the first, which the ticket's checksum protects together with the channel
// binding.
type gs2 struct {
	server  Server
	plus    bool
	asked   bool
	proved  bool
	name    string
	authzid string
}

func newGS2(plus bool) func(Server) Exchange {
	return func(s Server) Exchange { return &gs2{server: s, plus: plus} }
}

func (g *gs2) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case len(response) > MaxResponse:
		return nil, false, failed("GS2: the response is too long")
	case g.proved && len(response) > 0:
		return nil, false, failed("GS2: the client goes on where it has nothing to say")
	case g.proved:
		if err := g.server.Credentials.Authorize(ctx, g.name, g.authzid); err != nil {
			return nil, false, err
		}
		return nil, true, nil
	case response == nil && !g.asked:
		g.asked = true
		return nil, false, nil
	}
	h, token, err := g.header(response)
	if err != nil {
		return nil, false, err
	}
	name, shared, err := g.server.Credentials.Ticket(ctx, token)
	if err != nil {
		return nil, false, err
	}
	// The header is bound always, so that nobody in between changed it (RFC 5801, 5.1).
	if !slices.ContainsFunc(h.bound, func(data []byte) bool { return shared.Binding == krb5.Bind(data) }) {
		return nil, false, failed("GS2: the channel binding is not this connection's, or the header was changed")
	}
	if shared.Reply == nil {
		return nil, false, failed("GS2: the client does not want this server's proof (RFC 5801, 4)")
	}
	g.name, g.authzid, g.proved = name, wanted(h.authzid, shared), true
	return shared.Reply, false, nil
}

// gs2Header is what a client says before its first token.
type gs2Header struct {
	authzid string
	bound   [][]byte // what it may have bound: the header, and the channel's values
}

// gs2-authzid = "a=" saslname
// gs2-nonstd-flag = "F"
// cb-name = 1*(ALPHA / DIGIT / "." / "-")
// gs2-cb-flag = ("p=" cb-name) / "n" / "y"
// gs2-header = [gs2-nonstd-flag ","] gs2-cb-flag "," [gs2-authzid] ","   ; RFC 5801, 4
func (g *gs2) header(response []byte) (h gs2Header, token []byte, err error) {
	if bytes.HasPrefix(response, []byte("F,")) {
		return h, nil, failed("GS2: Kerberos has standard tokens, without the flag F")
	}
	flag, rest, ok1 := bytes.Cut(response, []byte(","))
	given, token, ok2 := bytes.Cut(rest, []byte(","))
	if !ok1 || !ok2 {
		return h, nil, failed("GS2: no header")
	}
	if len(given) > 0 {
		name, ok := strings.CutPrefix(string(given), "a=")
		if ok {
			h.authzid, ok = saslname(name)
		}
		if !ok {
			return h, nil, failed("GS2: malformed authzid")
		}
	}
	said := response[:len(response)-len(token)]
	kind, binds := strings.CutPrefix(string(flag), "p=")
	switch {
	case binds != g.plus:
		return h, nil, failed("GS2: the channel binding flag does not fit the mechanism's name")
	case binds:
		for _, value := range bindings(g.server, kind) {
			h.bound = append(h.bound, slices.Concat(said, value))
		}
		if len(h.bound) == 0 {
			return h, nil, failed("GS2: a channel binding that this connection does not have")
		}
		return h, token, nil
	case kind == "y" && g.server.PlusOffered:
		return h, nil, failed("GS2: the client was not shown the -PLUS mechanisms: somebody is in between")
	case kind != "y" && kind != "n":
		return h, nil, failed("GS2: malformed channel binding flag")
	}
	h.bound = [][]byte{said}
	return h, token, nil
}
