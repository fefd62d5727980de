package clients

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// interimap keeps the mailboxes of two accounts the same, with QRESYNC.
type interimap struct {
	t    *testing.T
	s    *server.Server
	rc   string
	args []string
}

// newInterimap writes the configuration: one account over TLS from the first byte, the other one
// after STARTTLS, compressed or not.
func newInterimap(t *testing.T, s *server.Server, near, far server.Account, compress string) interimap {
	t.Helper()
	part := func(name, kind, port string, who server.Account) string {
		return fmt.Sprintf("[%s]\ntype = %s\nhost = localhost\nport = %s\nusername = %s\npassword = %s\nauth = PLAIN\nSTARTTLS = YES\ncompress = %s\nSSL_CAfile = %s\nSSL_verify = YES\n\n",
			name, kind, port, who.Name, who.Password, compress, s.Certificate)
	}
	rc := write(t, filepath.Join(s.Folder, "interimap.conf"), fmt.Sprintf("database = %s\n\n", filepath.Join(s.Folder, "interimap.db"))+
		part("local", "imaps", server.Port(s.IMAPS), near)+part("remote", "imap", server.Port(s.IMAP), far))
	return interimap{t, s, rc, nil}
}

func (i interimap) run(args ...string) (string, int) {
	i.t.Helper()
	return server.Run(i.t, 2*limit, i.s.Folder, []string{"HOME=" + i.s.Folder, "XDG_CONFIG_HOME=" + i.s.Folder, "XDG_DATA_HOME=" + i.s.Folder}, "",
		server.Program(i.t, "interimap", "interimap"), append([]string{"--config=" + i.rc}, args...)...)
}

func (i interimap) must(args ...string) string {
	i.t.Helper()
	out, code := i.run(args...)
	if code != 0 || strings.Contains(out, "WARNING") {
		i.t.Fatalf("interimap %q: exit code %d\n%s", args, code, out)
	}
	return out
}

// holds describes an account: for each mailbox its subscription, and a line a message with
// subject, flags, keywords and size.
func holds(t *testing.T, s *server.Server, who server.Account) string {
	t.Helper()
	c := s.Login(t, who)
	defer c.Conn.Close()
	var out strings.Builder
	c.MustIMAP("ENABLE UTF8=ACCEPT")
	for _, line := range c.MustIMAP(`LIST "" * RETURN (SUBSCRIBED)`) {
		attributes, name, _ := strings.Cut(line, `"/" `)
		fmt.Fprintf(&out, "%s %v\n", name, strings.Contains(attributes, `\Subscribed`))
		if strings.Contains(attributes, `\Noselect`) {
			continue
		}
		c.MustIMAP("EXAMINE %s", name)
		var messages []string
		subject := ""
		for _, line := range c.MustIMAP("UID FETCH 1:* (RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)] FLAGS)") {
			switch {
			case strings.HasPrefix(line, "* "):
				_, subject, _ = strings.Cut(line, "RFC822.SIZE ")
				subject, _, _ = strings.Cut(subject, " ")
			case strings.HasPrefix(line, "Subject: "):
				subject = strings.TrimPrefix(line, "Subject: ") + " " + subject
			case strings.Contains(line, "FLAGS ("):
				_, flags, _ := strings.Cut(line, "FLAGS (")
				flags, _, _ = strings.Cut(flags, ")")
				list := slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return f == `\Recent` })
				slices.Sort(list)
				messages = append(messages, subject+" "+strings.Join(list, " "))
			}
		}
		slices.Sort(messages)
		for _, m := range messages {
			fmt.Fprintf(&out, "\t%s\n", m)
		}
	}
	return out.String()
}

// TestInterimap syncs two accounts both ways with changes on both ends in between: flags,
// keywords, expunges, new messages, new mailboxes with names in UTF-8, subscriptions, a rename
// and a removal, and a mailbox of 2,000 messages; a second run finds nothing to do.
func TestInterimap(t *testing.T) {
	long(t)
	const many = 2000
	bob := server.Account{Name: "bob@test.example", Password: "battery staple 8"}
	for _, compress := range []string{"NO", "YES"} {
		t.Run("compress "+compress, func(t *testing.T) {
			t.Parallel()
			s := server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
			i := newInterimap(t, s, alice, bob, compress)
			near, far := s.Login(t, alice), s.Login(t, bob)
			sync := func(what string) {
				t.Helper()
				i.must()
				a, b := holds(t, s, alice), holds(t, s, bob)
				if a != b {
					t.Fatalf("%s: the accounts differ:\n%.3000s\nand\n%.3000s", what, a, b)
				}
				before := statuses(near) + statuses(far)
				i.must()
				if after := statuses(near) + statuses(far); after != before {
					t.Errorf("%s: the second run changed something; before:\n%s\nafter:\n%s", what, before, after)
				}
			}
			for n := range 6 {
				near.Append("INBOX", `(\Seen)`, message(n))
				far.Append("INBOX", `(\Flagged $Label)`, message(10+n))
			}
			near.MustIMAP("CREATE %q", "Gr&APwA3w-e/2026")
			near.MustIMAP("SUBSCRIBE %q", "Gr&APwA3w-e/2026")
			near.Append(`"Gr&APwA3w-e/2026"`, "", message(20))
			fill(t, s, bob, "Many", many)
			sync("at first")

			// Changes on both ends.
			near.MustIMAP("SELECT INBOX")
			near.MustIMAP(`UID STORE 1:2 -FLAGS (\Seen)`)
			near.MustIMAP(`UID STORE 3 +FLAGS (\Deleted)`)
			near.MustIMAP("EXPUNGE")
			near.MustIMAP("UNSELECT")
			far.MustIMAP("SELECT INBOX")
			far.MustIMAP(`UID STORE 1:2 +FLAGS ($Forwarded \Answered)`)
			far.MustIMAP(`UID STORE 4:5 +FLAGS (\Deleted)`)
			far.MustIMAP("UID EXPUNGE 4:5")
			far.MustIMAP("UID MOVE 6 Archive")
			far.MustIMAP("SELECT Many")
			far.MustIMAP(`UID STORE 1:1000 +FLAGS (\Seen)`)
			far.MustIMAP(`UID STORE 500:600 +FLAGS (\Deleted)`)
			far.MustIMAP("EXPUNGE")
			far.MustIMAP("UNSELECT")
			s.MustDeliver(t, message(30), alice.Name)
			s.MustDeliver(t, message(31), bob.Name)
			far.MustIMAP("CREATE Lists")
			far.MustIMAP("SUBSCRIBE Lists")
			near.MustIMAP("UNSUBSCRIBE Junk")
			sync("after changes on both ends")
			if got := holds(t, s, alice); strings.Count(got, "\n") < many-101 || !strings.Contains(got, `"Lists" true`) && !strings.Contains(got, `Lists true`) {
				t.Errorf("alice has\n%.2000s", got)
			}

			// A rename, with what stands below, and a removal, on both ends at once.
			i.must("--rename", "Gr&APwA3w-e", "Sp&AOQ-ter")
			near.Append(`"Sp&AOQ-ter/2026"`, `(\Draft)`, message(40))
			i.must("--delete", "--target=local,remote,database", "Lists")
			sync("after a rename and a removal")
			if got := holds(t, s, bob); !strings.Contains(got, "Später/2026") || strings.Contains(got, "Lists") {
				t.Errorf("bob has\n%.2000s", got)
			}
		})
	}
}

// statuses tells what would change with any change of an account.
func statuses(c *server.Talk) string {
	return strings.Join(c.MustIMAP(`LIST "" * RETURN (SUBSCRIBED STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ SIZE))`), "\n")
}
