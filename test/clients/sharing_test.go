package clients

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// TestSharing: curl finds and reads a mailbox that was shared with its user, whose \Seen
// is the user's own; the right to write is not in the right to read. mbsync brings it to a
// Maildir. Without rights there is no such mailbox any more.
func TestSharing(t *testing.T) {
	long(t)
	owner := server.Account{Name: "office@test.example", Password: "nobody knows this 9"}
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice, owner}})
	s.MustDeliver(t, message(0), owner.Name)
	c := curl{t, s}
	const shared = "Other%20Users/office@test.example/INBOX"
	if out, code := c.run("imaps", shared+";MAILINDEX=1"); code == 0 {
		t.Fatalf("alice reads what is not hers:\n%s", out)
	}
	flags := func(a server.Account, mailbox string) string {
		t.Helper()
		session := s.Login(t, a)
		defer session.Conn.Close()
		session.MustIMAP("EXAMINE %q", mailbox)
		for _, line := range session.MustIMAP("FETCH 1 (FLAGS)") {
			if strings.Contains(line, "FETCH (FLAGS") {
				return line
			}
		}
		return ""
	}
	s.MustShell("Add-MailboxFolderPermission", owner.Name+`:\INBOX`, "-User", alice.Name, "-AccessRights", "Reviewer")
	if out := c.must("imaps", ""); !strings.Contains(out, `"Other Users/office@test.example/INBOX"`) {
		t.Errorf("LIST: %q", out)
	}
	before := flags(owner, "INBOX")
	if got := c.must("imaps", shared+";MAILINDEX=1"); !strings.HasSuffix(got, message(0)) {
		t.Errorf("curl reads\n%s", got)
	}
	if now := flags(alice, "Other Users/office@test.example/INBOX"); !strings.Contains(now, `\Seen`) {
		t.Errorf("alice has read it, and sees %s", now)
	}
	if now := flags(owner, "INBOX"); now != before || strings.Contains(now, `\Seen`) {
		t.Errorf("the owner's flags were %s and are %s", before, now)
	}
	if out, code := c.run("imaps", shared, "-T", write(t, s.Folder+"/up.eml", message(1))); code == 0 {
		t.Errorf("a reviewer appends:\n%s", out)
	}
	if out, code := c.run("imaps", shared, "-X", `STORE 1 +FLAGS (\Deleted)`); code == 0 && strings.Contains(out, `\Deleted`) {
		t.Errorf("a reviewer deletes:\n%s", out)
	}
	if now := flags(owner, "INBOX"); now != before {
		t.Errorf("the owner's flags were %s and are %s", before, now)
	}

	m := mbsync{t, s, s.Folder}
	m.must(implicit, "PLAIN")
	files := m.near(filepath.Join("Other Users", owner.Name, "INBOX"))
	if len(files) != 1 || files[subject(0)].flags != "S" {
		t.Errorf("mbsync brings %v", files)
	}

	session := s.Login(t, owner)
	defer session.Conn.Close()
	session.MustIMAP("SETACL INBOX %s +w", alice.Name)
	session.MustIMAP("SETACL INBOX %s +w", alice.Name) // nothing new
	session.MustIMAP("SETACL INBOX -anyone x")
	for _, part := range []string{
		`owner=office@test.example mailbox=INBOX for=alice@test.example before=lrs after=lrsw`, `for=-anyone before="" after=x`,
	} {
		// The output is read beside the test.
		server.Eventually(t, 60*time.Second, "the log says "+part, func() bool { return strings.Contains(s.Output(), part) })
		if n := strings.Count(s.Output(), part); n != 1 {
			t.Errorf("%q stands %d times in the log", part, n)
		}
	}

	s.MustShell("Remove-MailboxFolderPermission", owner.Name+`:\INBOX`, "-User", alice.Name, "-Confirm:$false")
	if out, code := c.run("imaps", shared+";MAILINDEX=1"); code == 0 {
		t.Errorf("the right was taken away, and alice reads:\n%s", out)
	}
	if out := c.must("imaps", ""); strings.Contains(out, "office") {
		t.Errorf("LIST: %q", out)
	}
}
