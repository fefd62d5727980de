package policy

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// A change of LoginType acts on connections that are open: on what they are offered,
// and on their next attempt. Who has logged in stays.
func TestLiveChange(t *testing.T) {
	r := start(t, 1)
	name := address(anna, 0)
	for _, protocol := range protocols {
		pop := protocol == "POP3"
		login := map[string]string{"POP3": "USER " + name, "IMAP4": "LOGIN " + name + " " + password}[protocol]
		refusal := map[string]string{"POP3": "-ERR [AUTH]", "IMAP4": "NO [PRIVACYREQUIRED]"}[protocol]
		sasl := map[string]string{"POP3": "AUTH", "IMAP4": "AUTHENTICATE"}[protocol]
		plain := encode("\x00" + name + "\x00" + password)
		say := func(c *client, text string) string {
			t.Helper()
			answer, err := c.command(text)
			if err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			return answer
		}
		open := func() *client {
			t.Helper()
			c, err := r.dial(protocol, way{"clear", 0})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.close)
			return c
		}
		offersPassword := func(c *client) bool {
			t.Helper()
			names, _, err := c.capabilities()
			if err != nil {
				t.Fatal(err)
			}
			return pop && names["USER"] || !pop && !names["LOGINDISABLED"]
		}

		r.login(t, mail.SecureLogin)
		c := open()
		for _, step := range []struct {
			login mail.LoginType
			ok    bool
		}{{mail.SecureLogin, false}, {mail.PlainTextAuthentication, false}, {mail.SecureLogin, false}, {mail.PlainTextLogin, true}} {
			r.login(t, step.login)
			if offersPassword(c) != step.ok {
				t.Errorf("%s under %s offers a password: %v", protocol, step.login, !step.ok)
			}
			r.asked.take(0)
			answer := say(c, login)
			if pop && good(answer) {
				answer = say(c, "PASS "+password)
			}
			if good(answer) != step.ok || !step.ok && !strings.HasPrefix(answer, refusal) {
				t.Errorf("%s under %s: %s", protocol, step.login, answer)
			}
			if n := r.asked.take(0); n > 0 != step.ok {
				t.Errorf("%s under %s: the directory was asked %d times", protocol, step.login, n)
			}
		}
		r.login(t, mail.SecureLogin)
		if in, err := c.authenticated(); !in || err != nil {
			t.Errorf("%s: the change ended a session: %v", protocol, err)
		}
		if err := c.quit(); err != nil {
			t.Error(err)
		}

		// The policy becomes stricter while a client is about to log in.
		r.login(t, mail.PlainTextLogin)
		c = open()
		if pop {
			if answer := say(c, "USER "+name); !good(answer) {
				t.Fatal(answer)
			}
		}
		r.login(t, mail.SecureLogin)
		r.asked.take(0)
		for _, text := range []string{
			map[bool]string{true: "PASS " + password, false: login}[pop],
			sasl + " PLAIN " + plain, sasl + " PLAIN", sasl + " LOGIN", sasl + " SCRAM-SHA-256",
		} {
			if answer := say(c, text); !strings.HasPrefix(answer, refusal) {
				t.Errorf("%s: the answer to %s after the change is %q", protocol, text, answer)
			}
		}
		if n := r.asked.take(0); n > 0 {
			t.Errorf("%s: the directory was asked %d times after the change", protocol, n)
		}
		// On this connection the way is TLS.
		if err := c.startTLS(insecure()); err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if answer := say(c, sasl+" PLAIN "+plain); !good(answer) {
			t.Errorf("%s under TLS: %s", protocol, answer)
		}
		if err := c.quit(); err != nil {
			t.Error(err)
		}
	}
}
