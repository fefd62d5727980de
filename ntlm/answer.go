package ntlm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// answer is a line of a helper: TT (a challenge), AF (let in, and who), NA (refused), BH
// (the helper is broken).
type answer struct{ word, rest string }

func parse(line string) (answer, error) {
	word, rest, _ := strings.Cut(line, " ")
	if !slices.Contains([]string{"TT", "AF", "NA", "BH"}, word) || strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return answer{}, fmt.Errorf("an answer of %d octets that is none", len(line))
	}
	return answer{word, strings.TrimSpace(rest)}, nil
}

var statusCode = regexp.MustCompile(`NT_STATUS_[A-Z0-9_]+`)

// denials are status codes that say something of the client: the password is wrong, the
// account cannot be used, the message is none.
var denials = []string{
	"NT_STATUS_LOGON_FAILURE", "NT_STATUS_WRONG_PASSWORD", "NT_STATUS_NO_SUCH_USER", "NT_STATUS_ACCOUNT_DISABLED", "NT_STATUS_ACCOUNT_LOCKED_OUT",
	"NT_STATUS_ACCOUNT_EXPIRED", "NT_STATUS_ACCOUNT_RESTRICTION", "NT_STATUS_PASSWORD_EXPIRED", "NT_STATUS_PASSWORD_MUST_CHANGE", "NT_STATUS_INVALID_LOGON_HOURS",
	"NT_STATUS_INVALID_WORKSTATION", "NT_STATUS_LOGON_TYPE_NOT_GRANTED", "NT_STATUS_INVALID_PARAMETER", "NT_STATUS_NTLM_BLOCKED", "NT_STATUS_AUTHENTICATION_FIREWALL_FAILED",
}

// troubles are parts of status codes that say that nobody could judge.
var troubles = []string{
	"NO_LOGON_SERVERS", "DOMAIN_CONTROLLER_NOT_FOUND", "TIMEOUT", "CANT_ACCESS_DOMAIN_INFO", "TRUST", "NETLOGON", "UNREACHABLE", "CONNECTION", "RPC", "PIPE", "RESOURCES",
	"NO_MEMORY", "ACCESS_DENIED", "INVALID_HANDLE", "INVALID_SERVER_STATE", "INTERNAL", "UNSUCCESSFUL", "NOT_FOUND", "NO_SUCH_DOMAIN",
}

// refusal is the error of an answer that lets nobody in. What no one could judge is never
// taken for a wrong password.
func (a answer) refusal() error {
	status := statusCode.FindString(a.rest)
	kind := mail.KindUnavailable
	if slices.Contains(denials, status) || a.word == "NA" && !slices.ContainsFunc(troubles, func(part string) bool { return strings.Contains(status, part) }) {
		kind = mail.KindAuthenticationFailed
	}
	return &mail.Error{Kind: kind, Cause: fmt.Errorf("the helper for NTLM says %s %s", a.word, a.rest)}
}
