package imap

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store/memory"
)

// TestMasks: every capability can be switched off but those that have settings of
// their own, what can be switched off means something, and the table names commands that
// there are.
func TestMasks(t *testing.T) {
	known := map[string]bool{}
	for _, name := range settings.Capabilities(settings.IMAP4) {
		known[name] = true
	}
	for _, c := range capabilities {
		family, _, _ := strings.Cut(c.name, "=")
		switch c.name {
		case "IMAP4rev1", "STARTTLS", "LOGINDISABLED", "AUTH=":
			continue
		}
		if !known[c.name] && !known[family] {
			t.Errorf("%s is not in settings/capabilities.go", c.name)
		}
	}
	for _, m := range masks {
		if !known[m.capability] {
			t.Errorf("%s is not in settings/capabilities.go", m.capability)
		}
		for _, name := range m.commands {
			if commands[name] == nil {
				t.Errorf("%s: there is no command %s", m.capability, name)
			}
		}
	}
	list := func(masked string) string {
		s := &session{}
		if masked != "" {
			s.masked = map[string]bool{masked: true}
		}
		var names []string
		for _, c := range capabilities {
			if !s.off(c.name) {
				names = append(names, c.name)
			}
		}
		return strings.Join(names, " ")
	}
	for name := range known {
		if list(name) == list("") {
			t.Errorf("%s can be switched off, and nothing becomes of it", name)
		}
	}
}

// TestMaskOfMailbox: what is switched off for a mailbox is so once it is signed in,
// and for no other.
func TestMaskOfMailbox(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.people.entries["alice"].DisabledCapabilities = []string{"IDLE", "LANG"}
	for user, want := range map[string]string{"alice": "BAD", "bob": "NO"} {
		conn, done := ts.pipe()
		c := newClient(t, conn)
		c.must("LOGIN " + user + " secret")
		c.must("CAPABILITY")
		if named := strings.Contains(c.lines[0], " IDLE"); named != (user == "bob") {
			t.Errorf("%s: %q", user, c.lines)
		}
		// Of bob it is known, and what stands behind it is wrong.
		if a := c.do("IDLE x"); !strings.HasPrefix(a, "BAD "+map[string]string{"BAD": "This command", "NO": "Unexpected"}[want]) {
			t.Errorf("%s: %s", user, a)
		}
		c.do("LOGOUT")
		conn.Close()
		<-done
	}
}
