package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// mbsync keeps the Maildir folder/mail and alice's mail the same.
type mbsync struct {
	t      *testing.T
	s      *server.Server
	folder string
}

// run writes a configuration and syncs; it gives the output and the exit code.
func (m mbsync) run(connection, mechanism string, password string) (string, int) {
	m.t.Helper()
	kind := map[string]string{clear: "None", startTLS: "STARTTLS", implicit: "IMAPS"}[connection]
	path := write(m.t, filepath.Join(m.folder, "mbsyncrc"), fmt.Sprintf(`IMAPStore far
Host localhost
Port %s
User %s
Pass "%s"
SSLType %s
CertificateFile %s
SystemCertificates no
AuthMechs %s
Timeout 40

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
CopyArrivalDate yes
`, server.Port(addressOf(m.s, "imap", connection)), alice.Name, password, kind, m.s.Certificate, mechanism, m.folder, m.folder))
	if err := os.MkdirAll(filepath.Join(m.folder, "mail"), 0o700); err != nil {
		m.t.Fatal(err)
	}
	return server.Run(m.t, limit, m.folder, []string{"HOME=" + m.folder}, "", server.Program(m.t, "mbsync", "isync"), "-c", path, "-V", "all")
}

func (m mbsync) must(connection, mechanism string) {
	m.t.Helper()
	if out, code := m.run(connection, mechanism, alice.Password); code != 0 {
		m.t.Fatalf("mbsync: exit code %d\n%s", code, out)
	}
}

// near gives path and text of each message of a Maildir, by subject.
func (m mbsync) near(mailbox string) map[string]maildirFile {
	m.t.Helper()
	files := map[string]maildirFile{}
	for _, sub := range []string{"cur", "new"} {
		list, err := filepath.Glob(filepath.Join(m.folder, "mail", mailbox, sub, "*"))
		if err != nil {
			m.t.Fatal(err)
		}
		for _, path := range list {
			text, err := os.ReadFile(path)
			if err != nil {
				m.t.Fatal(err)
			}
			f := maildirFile{path: path, text: string(text)}
			if _, flags, ok := strings.Cut(filepath.Base(path), ":2,"); ok {
				f.flags = flags
			}
			files[subjectOf(f.text)] = f
		}
	}
	return files
}

type maildirFile struct{ path, text, flags string }

// setFlags is what a mail program does to a message in a Maildir.
func (f maildirFile) setFlags(t *testing.T, flags string) {
	t.Helper()
	base, _, _ := strings.Cut(filepath.Base(f.path), ":2,")
	cur := filepath.Join(filepath.Dir(filepath.Dir(f.path)), "cur")
	if err := os.Rename(f.path, filepath.Join(cur, base+":2,"+flags)); err != nil {
		t.Fatal(err)
	}
}

func subjectOf(text string) string {
	for _, line := range strings.Split(text, "\n") {
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

// picture describes both sides of a mailbox, for comparison: a line a message
// with subject and flags.
func (m mbsync) picture(c *server.Talk, mailbox string) (near, far []string) {
	m.t.Helper()
	names := map[string]string{`\Draft`: "D", `\Flagged`: "F", `\Answered`: "R", `\Seen`: "S", `\Deleted`: "T"}
	for s, f := range m.near(mailbox) {
		near = append(near, s+" "+f.flags)
	}
	list := subjects(m.t, c, mailbox)
	n := 0
	if len(list) > 0 {
		for _, line := range c.MustIMAP("FETCH 1:* (FLAGS)") {
			_, rest, ok := strings.Cut(line, "FETCH (FLAGS (")
			if !ok {
				continue
			}
			rest, _, _ = strings.Cut(rest, ")")
			var flags []string
			for _, f := range strings.Fields(rest) {
				if letter := names[f]; letter != "" {
					flags = append(flags, letter)
				}
			}
			slices.Sort(flags)
			far = append(far, list[n]+" "+strings.Join(flags, ""))
			n++
		}
	}
	slices.Sort(near)
	slices.Sort(far)
	return near, far
}

func (m mbsync) wantSame(c *server.Talk, mailbox string, want ...string) {
	m.t.Helper()
	near, far := m.picture(c, mailbox)
	slices.Sort(want)
	if !slices.Equal(near, want) {
		m.t.Errorf("%s near: %q\nwant %q", mailbox, near, want)
	}
	if !slices.Equal(far, want) {
		m.t.Errorf("%s far: %q\nwant %q", mailbox, far, want)
	}
}

// snapshot lists every file of the Maildirs with what is in it, and what the
// server says of its mailboxes.
func (m mbsync) snapshot(c *server.Talk) string {
	m.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join(m.folder, "mail"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %d\n", path, len(text))
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, line := range c.MustIMAP(`LIST "" * RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ SIZE))`) {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// TestMbsync syncs both ways under each LoginType and kind of connection, with
// changes on both sides in between; a second run finds nothing to do.
func TestMbsync(t *testing.T) {
	long(t)
	for _, how := range []struct{ loginType, connection, mechanism string }{
		{"PlainTextLogin", clear, "LOGIN"},
		{"PlainTextAuthentication", clear, "SCRAM-SHA-256"},
		{"SecureLogin", startTLS, "PLAIN"},
		{"SecureLogin", implicit, "LOGIN"},
	} {
		t.Run(how.loginType+"/"+how.connection+"/"+how.mechanism, func(t *testing.T) {
			t.Parallel()
			s := serve(t, 6)
			s.SetLoginType(how.loginType)
			c := s.Login(t, alice)
			m := mbsync{t, s, s.Folder}
			sync := func() {
				t.Helper()
				m.must(how.connection, how.mechanism)
				before := m.snapshot(c)
				m.must(how.connection, how.mechanism)
				if after := m.snapshot(c); after != before {
					t.Errorf("the second run changed something; before:\n%s\nafter:\n%s", before, after)
				}
			}
			c.MustIMAP("CREATE Work")
			c.Append("Work", `(\Seen)`, message(20))
			sync()
			m.wantSame(c, "INBOX", subject(0)+" ", subject(1)+" ", subject(2)+" ", subject(3)+" ", subject(4)+" ", subject(5)+" ")
			m.wantSame(c, "Work", subject(20)+" S")
			// X-TUID is what mbsync itself adds to find its own messages again.
			if got := strings.ReplaceAll(m.near("Work")[subject(20)].text, "\r\n", "\n"); withoutTUID(got) != strings.ReplaceAll(message(20), "\r\n", "\n") {
				t.Errorf("the message came as\n%s", got)
			}

			// Far: flags, a deletion, an expunge, a new message. Near the same, of
			// others, and a new mailbox.
			c.MustIMAP("SELECT INBOX")
			c.MustIMAP(`STORE 1 +FLAGS (\Seen \Flagged)`)
			c.MustIMAP(`STORE 2 +FLAGS (\Deleted)`)
			c.MustIMAP("EXPUNGE")
			c.MustIMAP(`STORE 2 +FLAGS (\Answered)`) // message 2
			c.MustIMAP("UNSELECT")
			s.MustDeliver(t, message(6), alice.Name)
			near := m.near("INBOX")
			near[subject(2)].setFlags(t, "S")
			near[subject(3)].setFlags(t, "FR")
			near[subject(4)].setFlags(t, "T")
			if err := os.Remove(near[subject(5)].path); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(s.Folder, "mail/INBOX/new/1.new.host"), strings.ReplaceAll(message(7), "\r\n", "\n"))
			write(t, filepath.Join(s.Folder, "mail/Sent Mail/cur/1.sent.host:2,S"), strings.ReplaceAll(message(30), "\r\n", "\n"))
			for _, dir := range []string{"new", "tmp"} {
				if err := os.MkdirAll(filepath.Join(s.Folder, "mail/Sent Mail", dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			sync()
			m.wantSame(c, "INBOX", subject(0)+" FS", subject(2)+" RS", subject(3)+" FR", subject(6)+" ", subject(7)+" ")
			m.wantSame(c, "Work", subject(20)+" S")
			m.wantSame(c, "Sent Mail", subject(30)+" S")

			// A flag taken away on each side; a move on the far side.
			c.MustIMAP("SELECT INBOX")
			c.MustIMAP(`STORE 1 -FLAGS (\Flagged)`)
			c.MustIMAP(`UID MOVE %d Work`, 7)
			c.MustIMAP("UNSELECT")
			m.near("INBOX")[subject(3)].setFlags(t, "F")
			sync()
			m.wantSame(c, "INBOX", subject(0)+" S", subject(2)+" RS", subject(3)+" F", subject(7)+" ")
			m.wantSame(c, "Work", subject(20)+" S", subject(6)+" ")
		})
	}
}

func withoutTUID(text string) string {
	lines := strings.Split(text, "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "X-TUID: ") })
	return strings.Join(lines, "\n")
}

// TestMbsyncRefused tries what the policy forbids; nothing is synced.
func TestMbsyncRefused(t *testing.T) {
	s := serve(t, 1)
	for _, loginType := range loginTypes {
		s.SetLoginType(loginType)
		for _, mechanism := range []string{"LOGIN", "PLAIN", "SCRAM-SHA-256"} {
			for _, connection := range connections {
				t.Run(loginType+"/"+connection+"/"+mechanism, func(t *testing.T) {
					m := mbsync{t, s, t.TempDir()}
					out, code := m.run(connection, mechanism, alice.Password)
					got := len(m.near("INBOX"))
					if permitted(loginType, connection, mechanism == "SCRAM-SHA-256") {
						if code != 0 || got != 1 {
							t.Errorf("exit code %d, %d messages:\n%s", code, got, out)
						}
						return
					}
					// mbsync sees LOGINDISABLED and AUTH= and does not even try.
					if code == 0 || got != 0 || !strings.Contains(out, "server supports no acceptable authentication mechanism") {
						t.Errorf("exit code %d, %d messages, want a refusal with the reason:\n%s", code, got, out)
					}
				})
			}
		}
	}
}

// TestMbsyncOldMail: mail with 8-bit in its header is brought in, and taken away again,
// byte by byte, by a program that does not say ENABLE UTF8=ACCEPT.
func TestMbsyncOldMail(t *testing.T) {
	old := []string{
		"From: Hans M\xfcller <hans@example.org>\nSubject: Gr\xfc\xdfe\n\nLatin-1\n",
		"From: Jürgen <jürgen@exämple.org>\nTo: bob@example.org\nSubject: Grüße\nX-Note: ü\n\nUTF-8\n",
		"From: ivan@example.org\nSubject: \xf0\xd2\xc9\xd7\xc5\xd4\n\nKOI8-R\n",
	}
	s := serve(t, 0)
	s.SetLoginType("PlainTextLogin")
	for _, dir := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.Folder, "mail/INBOX", dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range old {
		write(t, filepath.Join(s.Folder, fmt.Sprintf("mail/INBOX/new/%d.old.host", i)), text)
	}
	mbsync{t, s, s.Folder}.must(clear, "LOGIN")
	away := mbsync{t, s, filepath.Join(s.Folder, "away")}
	if err := os.MkdirAll(away.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	away.must(clear, "LOGIN")
	var got []string
	for _, f := range away.near("INBOX") {
		got = append(got, withoutTUID(strings.ReplaceAll(f.text, "\r\n", "\n")))
	}
	slices.Sort(got)
	slices.Sort(old)
	if !slices.Equal(got, old) {
		t.Errorf("came back\n%q\nand not\n%q", got, old)
	}
}
