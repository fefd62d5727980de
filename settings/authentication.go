package settings

import (
	"slices"
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
			Help: "Without TLS only challenge-response (SCRAM, Kerberos); a password that the server can read needs TLS."},
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

// AuthMechanisms are the SASL mechanisms that the service may offer, in the order of
// the table.
var AuthMechanisms = some(Row{
	Name: "AuthMechanisms", Noun: "Settings", Page: Authentication, Type: "mechanism list", Services: both,
	Help: "The SASL mechanisms that the service may offer; on each connection it offers those that LoginType and ExtendedProtectionPolicy accept there and that it has the means for. Without PLAIN also the commands USER and PASS of POP3 and LOGIN of IMAP4 are refused.",
	Choices: []Choice{
		{Name: "EXTERNAL", Help: "A client certificate; there when ClientCertificateAuthorities names who issues them."},
		{Name: "GS2-KRB5-PLUS", Help: "A Kerberos ticket, bound to the TLS connection; there when a directory accepts tickets."},
		{Name: "SCRAM-SHA-512-PLUS", Help: "A proof of the password, bound to the TLS connection."},
		{Name: "SCRAM-SHA-256-PLUS", Help: "A proof of the password, bound to the TLS connection."},
		{Name: "SCRAM-SHA-1-PLUS", Help: "A proof of the password, bound to the TLS connection."},
		{Name: "GS2-KRB5", Help: "A Kerberos ticket; there when a directory accepts tickets."},
		{Name: "GSSAPI", Help: "A Kerberos ticket, as most clients send it: bound to the TLS connection or not; there when a directory accepts tickets."},
		{Name: "GSS-SPNEGO", Help: "A Kerberos ticket, as Windows sends it: bound to the TLS connection or not; there when a directory accepts tickets."},
		{Name: "SCRAM-SHA-512", Help: "A proof of the password; the password itself is never sent."},
		{Name: "SCRAM-SHA-256", Help: "A proof of the password; the password itself is never sent."},
		{Name: "SCRAM-SHA-1", Help: "A proof of the password; the password itself is never sent."},
		{Name: "OAUTHBEARER", Help: "A token that an OpenID provider gave; there when a directory checks tokens."},
		{Name: "XOAUTH2", Help: "A token that an OpenID provider gave, for clients that do not know OAUTHBEARER."},
		{Name: "PLAIN", Help: "The password itself."},
		{Name: "LOGIN", Help: "The password itself, for old clients."},
		{Name: "CRAM-MD5", Help: "A weak proof, for old clients; it needs a password that the server can read, and Set-CASMailbox -LegacyMechanisms."},
		{Name: "APOP", Service: POP3, Help: "POP3's old command with a weak proof; it needs a password that the server can read, and Set-CASMailbox -LegacyMechanisms."},
		{Name: "NTLM", Help: "The proof of Windows domains, which is weak; it needs Samba's helper, named in the settings file, and Set-CASMailbox -LegacyMechanisms."},
	},
	warn: func(v any) string {
		var weak []string
		for _, name := range v.([]string) {
			if LegacyMechanism(name) {
				weak = append(weak, name)
			}
		}
		if weak == nil {
			return ""
		}
		return "AuthMechanisms has " + strings.Join(weak, ", ") + ": such proofs are weak, whoever reads one along can guess the password at leisure, and they need secrets that are stored weak or readable."
	},
}, LegacyMechanism)

// LegacyMechanism tells whether a mechanism of AuthMechanisms is there only when an
// administrator names it.
func LegacyMechanism(name string) bool {
	return slices.Contains([]string{"CRAM-MD5", "APOP", "NTLM"}, name)
}

// ExtendedProtection says what channel binding is asked for.
type ExtendedProtection int

// The policies, with Exchange's numbers.
const (
	NoProtection ExtendedProtection = iota
	AllowProtection
	RequireProtection
)

// String gives the policy's name.
func (p ExtendedProtection) String() string { return ExtendedProtectionPolicy.name(int(p)) }

// ExtendedProtectionPolicy says what the service does about channel binding.
var ExtendedProtectionPolicy = choice(Row{
	Name: "ExtendedProtectionPolicy", Noun: "Settings", Page: Authentication, Type: "ExtendedProtection", Services: both,
	Help: "Whether a log-in is bound to the TLS connection on which it is made (channel binding), so that nobody in between can pass it on. A change acts on new log-ins at once.",
	Choices: []Choice{
		{Name: "None", Number: 0, Help: "Channel binding is neither offered nor checked."},
		{Name: "Allow", Number: 1, Help: "Clients that can bind do, and what they bind to is checked; others log in without."},
		{Name: "Require", Number: 2, Help: "Only log-ins that are bound to the TLS connection are accepted: mechanisms whose name ends in -PLUS, client certificates, and Kerberos tickets whose client bound them."},
	},
	warn: func(v any) string {
		if v == NoProtection {
			return "ExtendedProtectionPolicy None lets somebody who stands in a TLS connection pass a log-in on."
		}
		return ""
	},
}, AllowProtection)

// Binds tells whether a mechanism of AuthMechanisms can be bound to the TLS connection,
// so that ExtendedProtectionPolicy Require accepts it.
func Binds(mechanism string) bool {
	return strings.HasSuffix(mechanism, "-PLUS") || mechanism == "EXTERNAL" || mechanism == "GSSAPI" || mechanism == "GSS-SPNEGO"
}

// requiredNeedsBinding: nobody could log in otherwise.
func requiredNeedsBinding(v *Values) error {
	if ExtendedProtectionPolicy.Of(v) == RequireProtection && !slices.ContainsFunc(AuthMechanisms.Of(v), Binds) {
		return ExtendedProtectionPolicy.refuse("Require needs a mechanism in AuthMechanisms that binds, such as SCRAM-SHA-256-PLUS")
	}
	return nil
}

// ClientCertificateAuthorities is the file of those whose client certificates are
// trusted; "" is nobody.
var ClientCertificateAuthorities = text(Row{
	Name: "ClientCertificateAuthorities", Noun: "Settings", Page: Authentication, Type: "file", Services: both,
	Help: "A file on the server with the certificates (PEM) of the authorities whose client certificates prove who a user is (EXTERNAL). TLS then asks each client for a certificate, which it need not have. The mailbox is the one of the e-mail address in the certificate, or of its common name when it has none. ClientCertificateRevocationList says which are revoked. Empty is off.",
}, "an absolute path, or empty", func(Service, string) string { return "" }, absolutePath)

// ClientCertificateRevocationList are the files that say which client certificates are
// revoked; none is that nobody asks.
var ClientCertificateRevocationList = paths(Row{
	Name: "ClientCertificateRevocationList", Noun: "Settings", Page: Authentication, Type: "list of files", Services: both,
	Help: "Files on the server with the revocation lists (CRL, PEM or DER) of those who issue client certificates; a file that has changed is read again. With any, a client certificate counts only while a list of its issuer, whose time is not up, does not name it, and so for those between it and the authority. What cannot be read revokes all. OCSP is not asked. Empty is off.",
}, maxRevocationLists)

// maxRevocationLists bounds the files of one service.
const maxRevocationLists = 16

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

// WeakPasswords says what is done about a weak password.
type WeakPasswords int

// The policies.
const (
	AcceptWeak WeakPasswords = iota
	WarnOfWeak
	RefuseWeak
)

// String gives the policy's name.
func (p WeakPasswords) String() string { return WeakPasswordPolicy.name(int(p)) }

// WeakPasswordPolicy says what New-Mailbox and Set-Mailbox do about a weak password.
var WeakPasswordPolicy = choice(Row{
	Name: "WeakPasswordPolicy", Noun: "Settings", Page: Authentication, Type: "WeakPasswords", Services: []Service{Console},
	Help: "What New-Mailbox and Set-Mailbox do about a password that holds a part of the mailbox's name, or that a program guesses soon. Passwords that are set already stay.",
	Choices: []Choice{
		{Name: "Accept", Number: 0, Help: "Every password is taken."},
		{Name: "Warn", Number: 1, Help: "A weak password is taken with a warning."},
		{Name: "Refuse", Number: 2, Help: "A weak password is not taken."},
	},
}, WarnOfWeak)

// RequireSecondFactor keeps administrators who sign in with a password alone out.
var RequireSecondFactor = yesNo(Row{
	Name: "RequireSecondFactor", Noun: "Settings", Page: Authentication, Services: []Service{Console},
	Help: "$true: an administrator signs in to the console with name, password and a code of an authenticator program, which is set up at /account before. One-time links of postern console and API tokens work as before.",
}, false)
