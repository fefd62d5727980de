// Package large works on a mailbox of 100,000 messages in the real server: it is
// selected, listed and searched, and five sessions change it at once.
package large

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/test/imapview"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

const size = 100_000

var account = server.Account{Name: "big@large.example", Password: "pass-large-1"}

// fill makes a data folder with the large mailbox, below the server: what is
// tested is not how mail comes in.
func fill(t *testing.T) (dir string) {
	dir = t.TempDir()
	ctx := context.Background()
	c := role.DefaultConfig()
	c.Data, c.Name, c.Socket, c.LMTP = dir, "localhost", filepath.Join(t.TempDir(), "s"), []string{filepath.Join(t.TempDir(), "l")}
	s, err := role.Open(ctx, c, role.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	id, err := s.Store().CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	entry := directory.Entry{Name: account.Name, Account: id, Enabled: true, ImapEnabled: true, PopEnabled: true}
	if err := s.Directory().Create(ctx, entry, account.Password); err != nil {
		t.Fatal(err)
	}
	a, err := s.Store().Account(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for n := 0; n < size; {
		var batch []store.Arrival
		for range 1000 {
			n++
			flags := mail.Flags(0)
			if n%3 == 0 {
				flags = mail.Seen
			}
			text := fmt.Sprintf("From: p%d@large.example\r\nTo: big@large.example\r\nSubject: number %d\r\nDate: Mon, 02 Nov 2026 10:%02d:%02d +0000\r\nMessage-ID: <%d@large.example>\r\n\r\nThis is message %d, and its word is w%05d.\r\n", n%100, n, n/60%60, n%60, n, n, n)
			batch = append(batch, store.Arrival{Prepared: s.Store().Prepare([]byte(text)), Flags: flags})
		}
		if _, err := a.Append(ctx, "INBOX", batch...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, s *server.Server) *imapview.Client {
	t.Helper()
	c, err := net.Dial("tcp", s.IMAP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(3 * time.Minute))
	client, err := imapview.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	must(t, client, "LOGIN "+account.Name+" "+account.Password)
	return client
}

func must(t *testing.T, c *imapview.Client, command string) imapview.Reply {
	t.Helper()
	r, err := c.Must(command)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func untagged(r imapview.Reply, word string) string {
	for _, u := range r.Untagged {
		if strings.Contains(string(u), word) {
			return string(u)
		}
	}
	return ""
}

func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 100,000 messages")
	}
	s := server.Serve(t, server.Options{Data: fill(t)})
	s.SetLoginType("PlainTextLogin")

	c := open(t, s)
	r := must(t, c, "SELECT INBOX")
	if got := untagged(r, "EXISTS"); got != "* 100000 EXISTS" {
		t.Fatal(got)
	}
	r = must(t, c, "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
	if len(r.Untagged) != size {
		t.Fatal(len(r.Untagged), "messages were listed")
	}
	if got := untagged(r, "number 77777\""); !strings.HasPrefix(got, "* 77777 FETCH (UID 77777 ") {
		t.Fatal(got)
	}
	for command, want := range map[string]string{
		`UID SEARCH SUBJECT "number 99999"`:   "* SEARCH 99999",
		`UID SEARCH BODY "w00042."`:           "* SEARCH 42",
		`UID SEARCH TEXT "nobody wrote this"`: "* SEARCH",
		`UID SEARCH UID 5:9 UNSEEN`:           "* SEARCH 5 7 8",
	} {
		if got := untagged(must(t, c, command), "SEARCH"); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if got := untagged(must(t, c, "UID SEARCH RETURN (MIN MAX COUNT) SEEN"), "ESEARCH"); !strings.HasSuffix(got, "UID MIN 3 MAX 99999 COUNT 33333") {
		t.Error(got)
	}

	t.Run("five sessions", func(t *testing.T) { sessions(t, s) })
}

// sessions lets five clients work on the mailbox at once; each follows every
// untagged response, and all end with the same, true view.
func sessions(t *testing.T, s *server.Server) {
	clients := make([]*imapview.Client, 5)
	for i := range clients {
		clients[i] = open(t, s)
		if i == 1 {
			must(t, clients[i], "ENABLE QRESYNC")
		}
		must(t, clients[i], "SELECT INBOX")
		if err := clients[i].Learn(); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Add(8 * time.Second)
	// The idler only looks up when it is told something: the first session goes on
	// appending until it has.
	idled := make(chan struct{})
	over := func(i int) bool {
		if i != 0 {
			return time.Now().After(end)
		}
		select {
		case <-idled:
			return true
		default:
			return false
		}
	}
	var wg sync.WaitGroup
	for i, c := range clients {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			if i == 4 {
				defer close(idled)
			}
			var count int
			for !over(i) && !t.Failed() {
				n := len(c.View.Messages)
				var err error
				pick := func(k int) string { // a small range of sequence numbers
					from := 1 + r.IntN(max(1, n-k))
					return fmt.Sprintf("%d:%d", from, from+r.IntN(k))
				}
				switch i {
				case 0: // appends
					text := fmt.Sprintf("Subject: new %d\r\n\r\nnew\r\n", count)
					_, err = c.Must(fmt.Sprintf("APPEND INBOX (\\Seen) {%d+}\r\n%s", len(text), text))
				case 1: // expunges, told by VANISHED
					if _, err = c.Must("STORE " + pick(5) + ` +FLAGS (\Deleted)`); err == nil {
						_, err = c.Must("EXPUNGE")
					}
				case 2: // flags, by sequence number
					_, err = c.Must("STORE " + pick(40) + []string{` +FLAGS (\Flagged)`, ` -FLAGS (\Flagged)`, ` FLAGS (\Answered work)`}[r.IntN(3)])
				case 3: // reads, copies, moves away and searches
					switch r.IntN(4) {
					case 0:
						_, err = c.Must("FETCH " + pick(30) + " (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])")
					case 1:
						_, err = c.Must("UID SEARCH UNSEEN SUBJECT 4242")
					case 2:
						// What came since it learned the UIDs has none that it knows.
						if uid := c.View.Messages[r.IntN(n)].UID; uid != 0 {
							_, err = c.Must(fmt.Sprintf("UID MOVE %d Trash", uid))
						}
					case 3:
						_, err = c.Must("NOOP")
					}
				case 4: // idles
					var until int
					_, err = c.Idle(func() bool {
						until++
						return until < 20 && time.Now().Before(end)
					})
				}
				// RFC 2180, 4.2.3: somebody else removed what was named by number.
				if err != nil && strings.Contains(err.Error(), "EXPUNGEISSUED") {
					err = nil
				}
				if err != nil {
					t.Errorf("session %d after %d rounds: %v", i, count, err)
					return
				}
				count++
			}
			t.Logf("session %d: %d rounds", i, count)
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, c := range clients {
		if err := c.Verify(); err != nil {
			t.Errorf("session %d: %v", i, err)
		}
		if a, b := len(c.View.Messages), len(clients[0].View.Messages); a != b {
			t.Errorf("session %d counts %d, session 0 %d", i, a, b)
		}
	}
}
