package mail

import (
	"fmt"
	"strings"
)

// LoginType is a service's authentication option. It governs connections that
// are not encrypted; under TLS every mechanism is accepted. See auth.Permits.
type LoginType int

// The three options, with the numbers that administrators know.
const (
	// PlainTextLogin permits a readable password on an unencrypted connection.
	PlainTextLogin LoginType = 1
	// PlainTextAuthentication permits challenge-response on an unencrypted
	// connection, but a readable password only under TLS.
	PlainTextAuthentication LoginType = 2
	// SecureLogin, the default, permits no authentication at all before TLS.
	SecureLogin LoginType = 3
)

// LoginTypes lists the options in the order of their numbers.
var LoginTypes = []LoginType{PlainTextLogin, PlainTextAuthentication, SecureLogin}

// String gives the option's name.
func (t LoginType) String() string {
	switch t {
	case PlainTextLogin:
		return "PlainTextLogin"
	case PlainTextAuthentication:
		return "PlainTextAuthentication"
	case SecureLogin:
		return "SecureLogin"
	}
	return fmt.Sprintf("LoginType(%d)", int(t))
}

// ParseLoginType reads a name in any case, or the number.
func ParseLoginType(s string) (LoginType, error) {
	for _, t := range LoginTypes {
		if strings.EqualFold(s, t.String()) || s == fmt.Sprint(int(t)) {
			return t, nil
		}
	}
	return 0, Errorf(KindBadArgument, "LoginType is PlainTextLogin (1), PlainTextAuthentication (2) or SecureLogin (3), not %q", s)
}
