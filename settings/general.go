package settings

import (
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Startup says when a service starts.
type Startup int

// The start-up types.
const (
	Automatic Startup = iota // with the server
	Manual                   // by Start-Service
	Disabled                 // not at all
)

// String gives the start-up type's name.
func (s Startup) String() string { return StartupType.name(int(s)) }

// StartupType says when the service starts.
var StartupType = choice(Row{
	Name: "StartupType", Noun: "Service", Page: General, Type: "Startup", Services: Services,
	Help: "When the service starts: with the server, only by Start-Service, or not at all.",
	Choices: []Choice{
		{Name: "Automatic", Number: 0, Help: "The service starts with the server."},
		{Name: "Manual", Number: 1, Help: "The service starts when Start-Service asks for it."},
		{Name: "Disabled", Number: 2, Help: "The service does not start, Start-Service is refused."},
	},
}, Automatic)

// maxBanner keeps the whole greeting within a POP3 response (RFC 2449, 4).
const maxBanner = 400

// Banner is the text of the greeting.
var Banner = text(Row{
	Name: "Banner", Noun: "Settings", Page: General, Type: "text", Services: both,
	Help: "The text that greets a client. It gives no version away unless you write one.",
}, "1 to 400 printable ASCII characters", func(s Service, _ string) string {
	return "The Postern " + string(s) + " service is ready."
}, func(s Service, banner string) (string, error) {
	if banner == "" || len(banner) > maxBanner {
		return "", mail.Errorf(mail.KindBadArgument, "has 1 to %d characters", maxBanner)
	}
	for _, c := range []byte(banner) {
		if c < ' ' || c > '~' {
			return "", mail.Errorf(mail.KindBadArgument, "is printable ASCII text without line breaks")
		}
	}
	// "[" would begin a response code (RFC 9051, 7.1; RFC 2449, 8), "<" in a POP3
	// greeting the time stamp of APOP (RFC 1939, 7).
	if banner[0] == '[' {
		return "", mail.Errorf(mail.KindBadArgument, `does not begin with "[": a client would take it for a response code`)
	}
	if s == POP3 && strings.Contains(banner, "<") {
		return "", mail.Errorf(mail.KindBadArgument, `does not contain "<": a POP3 client would take it for an APOP time stamp`)
	}
	return banner, nil
})
