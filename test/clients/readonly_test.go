package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadOnlyAppPassword: mbsync fetches with an app password for reading only and fails
// to bring its changes; curl reads and changes nothing.
func TestReadOnlyAppPassword(t *testing.T) {
	s := serve(t, 3)
	reader := regexp.MustCompile(`([a-z2-9]{4}-){5}[a-z2-9]{4}`).FindString(s.MustShell("New-AppPassword", alice.Name, "reader", "-ReadOnly"))
	if reader == "" {
		t.Fatal("no app password")
	}
	owner := s.Login(t, alice)
	state := func() string {
		lines := owner.MustIMAP(`LIST "" * RETURN (SUBSCRIBED STATUS (MESSAGES UIDNEXT HIGHESTMODSEQ))`)
		lines = append(lines, owner.MustIMAP("EXAMINE INBOX")...)
		lines = append(lines, owner.MustIMAP("FETCH 1:* FLAGS")...)
		owner.MustIMAP("UNSELECT")
		return strings.Join(lines, "\n")
	}
	before := state()

	m := mbsync{t, s, s.Folder}
	if out, _ := m.run(implicit, "LOGIN", reader); len(m.near("INBOX")) != 3 {
		t.Fatalf("mbsync fetched %d messages\n%s", len(m.near("INBOX")), out)
	}
	for _, f := range m.near("INBOX") {
		f.setFlags(t, "FS") // a change of flags
		break
	}
	write(t, filepath.Join(m.folder, "mail", "INBOX", "new", "1.1.here"), "Subject: from here\n\nHello.\n")
	if err := os.MkdirAll(filepath.Join(m.folder, "mail", "Mine", "cur"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(m.folder, "mail", "Mine", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out, code := m.run(implicit, "LOGIN", reader)
	if code == 0 || !strings.Contains(out, "reading only") && !strings.Contains(out, "NOPERM") {
		t.Errorf("mbsync brought its changes: exit code %d\n%s", code, out)
	}
	if after := state(); after != before {
		t.Errorf("mbsync changed something; before:\n%s\nafter:\n%s", before, after)
	}

	c := curl{t, s}
	as := []string{"-u", alice.Name + ":" + reader}
	if out := c.must("imaps", "INBOX;MAILINDEX=1", as...); !strings.HasSuffix(out, message(0)) {
		t.Errorf("curl read %q", out)
	}
	if out := c.must("pop3s", "1", as...); !strings.HasSuffix(out, message(0)) {
		t.Errorf("curl read %q", out)
	}
	for _, command := range []string{"STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "COPY 1 INBOX"} {
		if out, code := c.run("imaps", "INBOX", append(as, "-X", command)...); code == 0 {
			t.Errorf("%s: %s", command, out)
		}
	}
	if out, code := c.run("pop3s", "1", append(as, "-X", "DELE")...); code == 0 {
		t.Errorf("DELE: %s", out)
	}
	if after := state(); after != before {
		t.Errorf("curl changed something; before:\n%s\nafter:\n%s", before, after)
	}
}
