package lmtp

import (
	"strings"
	"testing"
)

// TestPanic: a delivery that breaks down is told to the client as one that may be
// tried again, and the other recipients have their mail.
func TestPanic(t *testing.T) {
	f := newFixture(t, 0)
	f.broken.panics.Store(true)
	f.broken.account.Store(uint64(f.people.all["alice"].Account))
	for _, to := range [][]string{{"alice", "bob", "emil"}, {"alice"}} {
		say := "LHLO x\r\nMAIL FROM:<>\r\n"
		for _, name := range to {
			say += "RCPT TO:<" + name + "@test.example>\r\n"
		}
		said := f.converse(say + "DATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n")
		lines := strings.Split(strings.TrimSpace(said), "\r\n")
		answers := lines[len(lines)-1-len(to):]
		if !strings.HasPrefix(answers[0], "451 4.3.0 <alice@test.example> ") || strings.Contains(said, "panic") {
			t.Errorf("%v: %q", to, answers[0])
		}
		for _, a := range answers[1:] {
			if !strings.HasPrefix(a, "250 ") && !strings.HasPrefix(a, "221 ") {
				t.Errorf("%v: %q", to, a)
			}
		}
	}
	if n := len(f.messages("bob", "INBOX")); n != 1 {
		t.Errorf("bob has %d messages", n)
	}
}
