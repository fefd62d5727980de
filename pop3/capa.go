package pop3

import (
	"context"
	"strings"

	"github.com/postern-mail/postern/settings"
)

// capabilities is the table of what CAPA tells (RFC 2449, 6): a tag with its
// arguments, and when it is shown; nil is always.
var capabilities = [...]struct {
	tag   string
	shown func(x *session) (arguments string, ok bool)
}{
	{"TOP", nil},
	{"UIDL", nil},
	{"RESP-CODES", nil},
	{"AUTH-RESP-CODE", nil},
	{"LOGIN-DELAY", (*session).loginDelayArgument},
	{"PIPELINING", nil},
	{"EXPIRE NEVER", nil}, // nothing removes messages by their age
	{"UTF8 USER", nil},
	{"LANG", nil},
	{"USER", func(x *session) (string, bool) { return "", x.Auth.PasswordAllowed(x.who()).OK }},
	{"SASL", func(x *session) (string, bool) {
		offered := x.Auth.Offered(x.who())
		return " " + strings.Join(offered, " "), len(offered) > 0
	}},
	{"STLS", func(x *session) (string, bool) { return "", x.state == authorization && x.conn.CanStartTLS() }},
	{"IMPLEMENTATION Postern", nil},
}

// capa = "CAPA" (RFC 2449, 5)
func (x *session) capa(context.Context, string) {
	x.ok("Capability list follows")
	for _, c := range capabilities {
		arguments, ok := "", true
		if c.shown != nil {
			arguments, ok = c.shown(x)
		}
		name, _, _ := strings.Cut(c.tag, " ")
		if ok && !x.masked[name] {
			x.respond(appendText(nil, c.tag+arguments, false))
		}
	}
	x.respond([]byte(".\r\n"))
}

// mask finds out what is switched off for this client: when it connects, and with
// more, those of its mailbox, when it signs in. What is off is not named, and a
// command of that name not known.
func (x *session) mask(more []string) {
	x.masked = settings.MaskedCapabilities(x.Settings(), settings.POP3, x.conn.Remote().Addr(), "", more)
}
