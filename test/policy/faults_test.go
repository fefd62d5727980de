package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// messageFaults are what a client says instead of a mechanism's message: as it is sent,
// and whether the protocol itself refuses it (IMAP's BAD) or the mechanism does.
var messageFaults = []struct {
	what, line string
	protocol   bool
}{
	{"cancelled", "*", true},
	{"not base64", "not base64!", true},
	{"no padding", "YQ", true},
	{"trailing bits", "YR==", true},
	{"too much padding", "YWJj====", true},
	{"a blank", "YW Jj", true},
	{"base64url", "_-_-", true},
	{"too long", overLong, true},
	{"empty", "", false},
	{"a NUL", encode("\x00"), false},
	{"NULs", encode("\x00\x00\x00\x00"), false},
	{"8 bits", encode("\xff\xfe"), false},
	{"line breaks", encode("a\r\nb"), false},
	{"anything", encode("anything"), false},
	{"long", encode(strings.Repeat("a", 3000)), false},
}

// TestMessageFaults says what is wrong to every mechanism that is offered, the legacy ones
// too, over both protocols, as its first and as its second message: one clean refusal,
// one record, and nobody is in.
func TestMessageFaults(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	r.run(t, "Set-PopSettings", map[string]any{"AuthMechanisms": map[string]any{"Add": []string{"CRAM-MD5", "NTLM"}}})
	r.run(t, "Set-ImapSettings", map[string]any{"AuthMechanisms": map[string]any{"Add": []string{"CRAM-MD5", "NTLM"}}})
	// What begins an exchange that has a second message.
	firsts := func(mechanism string) []string {
		name := address(anna, 0)
		switch {
		case mechanism == "LOGIN":
			return []string{"", name}
		case strings.HasSuffix(mechanism, "-PLUS") && strings.HasPrefix(mechanism, "SCRAM"):
			return []string{"", "p=tls-exporter,,n=" + name + ",r=abcdefgh"}
		case strings.HasPrefix(mechanism, "SCRAM"):
			return []string{"", "n,,n=" + name + ",r=abcdefgh"}
		}
		return []string{""}
	}
	attempts, seen := 0, map[string]bool{}
	for _, protocol := range protocols {
		for _, w := range []way{ways[0], ways[4]} {
			c, err := r.dial(protocol, w)
			if err != nil {
				t.Fatal(err)
			}
			_, offered, err := c.capabilities()
			c.close()
			if err != nil || !slices.Contains(offered, "CRAM-MD5") || !slices.Contains(offered, "NTLM") {
				t.Fatalf("offered are %q, %v", offered, err)
			}
			for _, mechanism := range offered {
				seen[mechanism] = true
				for _, first := range firsts(mechanism) {
					for _, fault := range messageFaults {
						at := fmt.Sprintf("%s, %s, %s, %s after %q", protocol, w, mechanism, fault.what, first)
						c, err := r.dial(protocol, w)
						if err != nil {
							t.Fatal(err)
						}
						d := dialogue{opening: map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[protocol] + mechanism}
						if first != "" {
							d.replies = append(d.replies, fixed(encode(first)))
						}
						d.replies = append(d.replies, fixed(fault.line))
						o, err := c.attempt(d, false)
						attempts++
						begins := "-ERR [AUTH] "
						switch {
						case protocol == "IMAP4" && fault.protocol:
							begins = "BAD "
						case protocol == "IMAP4":
							begins = "NO [AUTHENTICATIONFAILED] "
						case fault.line == overLong:
							begins = "-ERR [SYS/PERM] " // not for what was in it (RFC 3206, 4)
						}
						list := r.journal.take(c)
						switch {
						case err != nil:
							t.Errorf("%s: %v", at, err)
						case o.in || !strings.HasPrefix(o.status, begins):
							t.Errorf("%s: %q, logged in: %v; want %q", at, o.status, o.in, begins)
						case len(list) != 1 || list[0].Mechanism != mechanism || list[0].Kind != mail.KindAuthenticationFailed.String():
							t.Errorf("%s: recorded are %+v", at, list)
						}
						c.close()
					}
				}
			}
		}
	}
	t.Logf("%d attempts with %d mechanisms", attempts, len(seen))
}
