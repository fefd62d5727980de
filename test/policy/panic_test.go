package policy

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// TestPanicTellsNothing: the directory panics while it has somebody's password. The
// connection ends, the log has the stack and not the password (see journal), and others
// sign in afterwards.
func TestPanicTellsNothing(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	name := address(anna, 0)
	attempts := func(ends bool) {
		t.Helper()
		for _, protocol := range protocols {
			for _, opening := range map[string][]string{
				"IMAP4": {"a LOGIN " + name + " " + password, "a AUTHENTICATE PLAIN " + encode("\x00"+name+"\x00"+password)},
				"POP3":  {"USER " + name + "\r\nPASS " + password, "AUTH PLAIN " + encode("\x00"+name+"\x00"+password)},
			}[protocol] {
				c, err := r.dial(protocol, way{"clear", 0})
				if err == nil {
					err = c.send(opening + "\r\n" + map[string]string{"IMAP4": "a LOGOUT\r\n", "POP3": "QUIT\r\n"}[protocol])
				}
				if err != nil {
					t.Fatal(err)
				}
				for err == nil {
					_, err = c.line()
				}
				c.close()
				heard := strings.Join(c.heard, "\n")
				if strings.Contains(heard, password) || (strings.Contains(heard, "a OK LOGOUT") || strings.Contains(heard, "Goodbye")) == ends {
					t.Errorf("%s, %.20s: %q", protocol, opening, c.heard)
				}
			}
		}
	}
	r.asked.panics.Store(true)
	attempts(true)
	r.asked.panics.Store(false)
	attempts(false)
}
