package settings

import (
	"strings"

	"github.com/postern-mail/postern/mail"
)

// LoginType is the service's authentication option; auth.Permits says what it allows.
var LoginType = choice(Row{
	Name: "LoginType", Noun: "Settings", Page: Authentication, Type: "LoginType", Services: both,
	Help: "What a client may do to authenticate before its connection is encrypted. Under TLS every mechanism is accepted. A change acts on new logins at once.",
	Choices: []Choice{
		{Name: "PlainTextLogin", Number: 1, Label: "Plain text logon (Basic authentication)",
			Help: "No TLS needed: user name and password may cross the network in the clear."},
		{Name: "PlainTextAuthentication", Number: 2, Label: "Plain text authentication logon (Integrated Windows authentication)",
			Help: "Without TLS only challenge-response (SCRAM); a password that the server can read needs TLS."},
		{Name: "SecureLogin", Number: 3, Label: "Secure logon",
			Help: "No authentication before TLS."},
	},
	warn: func(v any) string {
		switch v {
		case mail.PlainTextLogin:
			return "LoginType PlainTextLogin lets user names and passwords cross the network unencrypted."
		case mail.PlainTextAuthentication:
			return "LoginType PlainTextAuthentication lets clients authenticate, and read mail, over unencrypted connections."
		}
		return ""
	},
}, mail.SecureLogin)

// X509CertificateName is the host name whose certificate the service shows.
var X509CertificateName = text(Row{
	Name: "X509CertificateName", Noun: "Settings", Page: Authentication, Type: "host name", Services: Services,
	Help: "The host name in the certificate that the service shows to a client that names none itself (SNI). It is checked against the certificates present; wildcard and subject-alternative names match.",
}, "at most 253 characters", func(_ Service, server string) string {
	return strings.ToLower(server)
}, func(_ Service, name string) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !hostName(name) {
		return "", mail.Errorf(mail.KindBadArgument, "is a host name such as mail.example.org")
	}
	return name, nil
})

// hostName tells whether s is letters, digits and hyphens between dots.
func hostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
