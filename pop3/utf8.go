package pop3

import (
	"context"
	"strings"
)

// utf8Mode = "UTF8" (RFC 6856, 2.1)
//
// DEVIATES: RFC 6856, 2.1: a message whose header has bytes outside ASCII is sent
// as it is stored also without UTF8. Nearly all of them are old 8-bit mail that
// every client has always been given; refusing them, or giving another message
// in their place, would hide mail.
func (x *session) utf8Mode(context.Context, string) {
	x.utf8 = true
	x.ok("UTF-8 mode is on")
}

// lang = "LANG" [ SP language-range ] (RFC 6856, 3). There is one language.
func (x *session) lang(_ context.Context, args string) {
	const tag = "en"
	switch {
	case args == "":
		x.ok("Language listing follows")
		x.respond([]byte(tag + " English\r\n.\r\n"))
	case args == "*" || strings.EqualFold(args, tag) || strings.EqualFold(args, "i-default"):
		x.ok(tag + " Responses are in English")
	default:
		x.fault("That language is not supported")
	}
}
