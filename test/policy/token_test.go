package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
)

// TestTokenExpires: a session ends with its token, and is told before.
func TestTokenExpires(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.SecureLogin)
	name := address(anna, 0)
	for _, protocol := range protocols {
		for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
			var c *client
			for life := time.Second; ; life *= 4 {
				var err error
				if c, err = r.dial(protocol, ways[4]); err != nil {
					t.Fatal(err)
				}
				defer c.close()
				until := time.Now().Add(life)
				r.asked.mu.Lock()
				r.asked.until = until
				r.asked.mu.Unlock()
				o := exchange(t, c, mechanism, tokenMessage(mechanism, name, tokenOf(name, password), ""))
				if o.in {
					break
				}
				if time.Now().Before(until) || life > 3*time.Second { // else a busy machine has let it expire
					t.Fatalf("%s %s: %s", protocol, mechanism, o.status)
				}
			}
			line, err := c.line()
			if want := map[string]string{"POP3": "-ERR [AUTH] ", "IMAP4": "* BYE [AUTHENTICATIONFAILED] "}[protocol]; err != nil || !strings.HasPrefix(line, want) {
				t.Errorf("%s: the session ends with %q, %v", protocol, line, err)
			}
			if line, err := c.line(); err == nil {
				t.Errorf("%s: it goes on with %q", protocol, line)
			}
			// One that is over already lets nobody in.
			c, err = r.dial(protocol, ways[4])
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			o := exchange(t, c, mechanism, tokenMessage(mechanism, name, tokenOf(name, password), ""), fixed("AQ=="))
			if o.in || !strings.HasPrefix(o.status, failedLogin[protocol]) {
				t.Errorf("%s: an expired token: %s", protocol, o.status)
			}
		}
	}
}
