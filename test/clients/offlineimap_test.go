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

// collided tells whether imaplib2 lost a TLS 1.3 connection at its start, as it does now and
// then: one thread reads the server's session tickets from the SSL object while another writes
// the first command to it, which OpenSSL does not allow and Python did not guard before 2025
// (https://github.com/python/cpython/pull/134724). Either OpenSSL says so, or the command never
// leaves the client (2 of 100 connections; seen from between client and server). It meets
// every server that sends tickets. Who runs OfflineIMAP runs it again, and so does the test.
func collided(out string) bool {
	return strings.Contains(out, "[SSL] internal error") || strings.Contains(out, "command: CAPABILITY => no response")
}

// TestOfflineIMAP syncs a Maildir both ways with OfflineIMAP, compressed, over TLS from the
// first byte and after STARTTLS, with changes on both sides in between.
func TestOfflineIMAP(t *testing.T) {
	long(t)
	for _, connection := range []string{implicit, startTLS} {
		t.Run(connection, func(t *testing.T) {
			t.Parallel()
			s := serve(t, 5)
			ssl, tls := "yes", "no"
			if connection == startTLS {
				ssl, tls = "no", "yes"
			}
			rc := write(t, filepath.Join(s.Folder, "offlineimaprc"), fmt.Sprintf(`[general]
accounts = test
metadata = %[1]s/offline
ui = basic
socktimeout = 20

[Account test]
localrepository = near
remoterepository = far
utf8foldernames = yes

[Repository near]
type = Maildir
localfolders = %[1]s/mail
sep = /

[Repository far]
type = IMAP
remotehost = localhost
remoteport = %[2]s
remoteuser = %[3]s
remotepass = %[4]s
auth_mechanisms = PLAIN
ssl = %[5]s
starttls = %[6]s
sslcacertfile = %[7]s
usecompression = yes
expunge = yes
`, s.Folder, server.Port(addressOf(s, "imap", connection)), alice.Name, alice.Password, ssl, tls, s.Certificate))
			m := mbsync{t, s, s.Folder}
			c := s.Login(t, alice)
			sync := func() {
				t.Helper()
				for done, again := 0, 0; done < 2; {
					out, code := server.Run(t, 2*limit, s.Folder, []string{"HOME=" + s.Folder, "LC_ALL=C.UTF-8"}, "", server.Program(t, "offlineimap", "offlineimap3"), "-o", "-c", rc)
					switch {
					case collided(out) && again < 3:
						again++
						t.Logf("its threads collided in OpenSSL; once more")
					case code != 0 || strings.Contains(out, "ERROR"):
						t.Fatalf("exit code %d\n%s", code, out)
					default:
						done++
					}
				}
			}
			c.MustIMAP("CREATE Work")
			c.Append("Work", `(\Seen)`, message(20))
			c.MustIMAP("CREATE %q", "Gr&APw-n/Tee")
			c.Append(`"Gr&APw-n/Tee"`, "", message(21))
			fill(t, s, alice, "Many", 500)
			sync()
			m.wantSame(c, "INBOX", subject(0)+" ", subject(1)+" ", subject(2)+" ", subject(3)+" ", subject(4)+" ")
			m.wantSame(c, "Work", subject(20)+" S")
			if near := m.near("Grün/Tee"); len(near) != 1 {
				t.Errorf("Grün/Tee near has %d messages", len(near))
			}
			if near := m.near("Many"); len(near) != 500 {
				t.Errorf("Many near has %d messages", len(near))
			}

			c.MustIMAP("SELECT INBOX")
			c.MustIMAP(`UID STORE 1 +FLAGS (\Seen \Flagged)`)
			c.MustIMAP(`UID STORE 2 +FLAGS (\Deleted)`)
			c.MustIMAP("EXPUNGE")
			c.MustIMAP("UNSELECT")
			s.MustDeliver(t, message(6), alice.Name)
			near := m.near("INBOX")
			near[subject(2)].setFlags(t, "RS")
			if err := os.Remove(near[subject(3)].path); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(s.Folder, "mail/INBOX/new/1.new.host"), strings.ReplaceAll(message(7), "\r\n", "\n"))
			for _, dir := range []string{"new", "tmp", "cur"} {
				if err := os.MkdirAll(filepath.Join(s.Folder, "mail/Küche", dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			write(t, filepath.Join(s.Folder, "mail/Küche/cur/1.k.host:2,F"), strings.ReplaceAll(message(8), "\r\n", "\n"))
			sync()
			m.wantSame(c, "INBOX", subject(0)+" FS", subject(2)+" RS", subject(4)+" ", subject(6)+" ", subject(7)+" ")
			if list := subjects(t, c, "K&APw-che"); !slices.Equal(list, []string{subject(8)}) {
				t.Errorf("Küche far has %q", list)
			}
		})
	}
}
