package imap

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/test/imapview"
)

// session logs a client in over a pipe.
func (ts *testServer) session(t testing.TB) *imapview.Client {
	t.Helper()
	conn, done := ts.pipe()
	conn.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	c, err := imapview.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "LOGIN alice secret")
	return c
}

// must has a command done and answered with OK.
func must(t testing.TB, c *imapview.Client, format string, args ...any) imapview.Reply {
	t.Helper()
	r, err := c.Must(fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// deliver puts messages into alice's INBOX.
func (ts *testServer) deliver(t testing.TB, arrivals ...store.Arrival) {
	t.Helper()
	a, err := ts.Store.Account(t.Context(), ts.alice)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Append(t.Context(), store.Inbox, arrivals...); err != nil {
		t.Fatal(err)
	}
}

// note is a small message.
func (ts *testServer) note(i int) store.Arrival {
	return store.Arrival{Prepared: ts.Store.Prepare(fmt.Appendf(nil,
		"From: a%d@example.org\r\nSubject: note %d\r\nDate: Mon, 2 Feb 2026 10:00:00 +0000\r\n\r\nThis is note %d.\r\n", i, i, i))}
}

// TestSessionsAgree has several sessions change one mailbox at the same time, each
// with a view that follows every response; when they rest all views are the same.
func TestSessionsAgree(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			ts := newServer(t, open(t))
			var arrivals []store.Arrival
			for i := range 60 {
				arrivals = append(arrivals, ts.note(i))
			}
			ts.deliver(t, arrivals...)
			clients := make([]*imapview.Client, 4)
			for i := range clients {
				clients[i] = ts.session(t)
				if i%2 == 1 {
					must(t, clients[i], "ENABLE QRESYNC")
				}
				must(t, clients[i], "SELECT INBOX")
				if err := clients[i].Learn(); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for i, c := range clients {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), 7))
					for range 120 {
						if err := step(r, c); err != nil {
							t.Errorf("session %d: %v", i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			for i, c := range clients {
				if err := c.Verify(); err != nil {
					t.Errorf("session %d: %v", i, err)
				}
			}
			if t.Failed() {
				return
			}
			for i, c := range clients[1:] {
				for n, m := range c.View.Messages {
					if other := clients[0].View.Messages[n]; m.UID != other.UID || m.Flags != other.Flags {
						t.Fatalf("sessions 0 and %d differ about message %d", i+1, n+1)
					}
				}
			}
		})
	}
}

// step has c do something at random.
func step(r *rand.Rand, c *imapview.Client) error {
	n := len(c.View.Messages)
	if n == 0 {
		_, err := c.Must("APPEND INBOX {3+}\r\na\r\n")
		return err
	}
	seq := 1 + r.IntN(n)
	flag := []string{`\Seen`, `\Flagged`, `\Answered`, "$One", "$Two", `\Deleted`}[r.IntN(6)]
	sign := []string{"+", "-", ""}[r.IntN(3)]
	if c.View.Messages[seq-1].UID == 0 {
		_, err := c.Do(fmt.Sprintf("FETCH %d:* (UID FLAGS)", seq))
		return err
	}
	uid := c.View.Messages[seq-1].UID
	var command string
	switch r.IntN(17) {
	case 0, 1:
		command = fmt.Sprintf("STORE %d %sFLAGS (%s)", seq, sign, flag)
	case 2:
		command = fmt.Sprintf("UID STORE %d:%d %sFLAGS (%s)", uid, uid+3, sign, flag)
	case 3, 4:
		// The client computes the flags itself. What was told during the command
		// is newer than what it computes.
		reply, err := c.Do(fmt.Sprintf("UID STORE %d %sFLAGS.SILENT (%s)", uid, sign, flag))
		if err != nil || reply.Condition != "OK" {
			return err
		}
		if at := c.View.Seq(uid); at > 0 && !c.View.Told(at) {
			c.View.SetFlags(at, func(flags []string) []string {
				var out []string
				if sign != "" {
					for _, f := range flags {
						if f != strings.ToLower(flag) {
							out = append(out, f)
						}
					}
				}
				if sign != "-" {
					out = append(out, strings.ToLower(flag))
				}
				return out
			})
		}
		return nil
	case 5:
		command = "EXPUNGE"
	case 6:
		command = fmt.Sprintf("UID EXPUNGE %d:%d", uid, uid+5)
	case 7:
		command = fmt.Sprintf("APPEND INBOX (%s) {12+}\r\nSubject: x\r\n", flag)
	case 8:
		command = fmt.Sprintf("FETCH %d BODY[TEXT]", seq)
	case 14:
		command = fmt.Sprintf("UID FETCH %d:* BODY[TEXT]<0.4>", uid)
	case 15:
		command = fmt.Sprintf("UID SEARCH %d SEEN", seq)
	case 16:
		command = fmt.Sprintf("UID STORE 1:* (UNCHANGEDSINCE %d) %sFLAGS (%s)", 1+r.IntN(300), sign, flag)
	case 9:
		command = fmt.Sprintf("COPY %d INBOX", seq)
	case 10:
		command = fmt.Sprintf("UID MOVE %d INBOX", uid)
	case 11:
		command = "SEARCH UNSEEN"
	case 12:
		command = "NOOP"
	default:
		command = fmt.Sprintf("UID FETCH %d:* (FLAGS) (CHANGEDSINCE 20)", uid)
	}
	reply, err := c.Do(command)
	if err == nil && reply.Condition == "BAD" {
		err = fmt.Errorf("%q: %s", command, reply.Text)
	}
	return err
}

// TestIdleTells shows that a session in IDLE is told at once.
func TestIdleTells(t *testing.T) {
	ts := newServer(t, engines["memory"](t))
	ts.deliver(t, ts.note(1), ts.note(2), ts.note(3))
	watcher, actor := ts.session(t), ts.session(t)
	for _, c := range []*imapview.Client{watcher, actor} {
		must(t, c, "SELECT INBOX")
		if err := c.Learn(); err != nil {
			t.Fatal(err)
		}
	}
	idle := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		first := true
		_, err := watcher.Idle(func() bool {
			if first {
				first = false
				close(idle)
			}
			return len(watcher.View.Messages) != 2
		})
		ended <- err
	}()
	<-idle
	must(t, actor, `STORE 2 +FLAGS (\Deleted)`)
	must(t, actor, "EXPUNGE")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := watcher.Verify(); err != nil {
		t.Error(err)
	}
}

// TestFetchTooMuch shows the bound on items, and that the same item twice is one.
func TestFetchTooMuch(t *testing.T) {
	ts := newServer(t, engines["memory"](t))
	ts.deliver(t, ts.note(1))
	c := ts.session(t)
	must(t, c, "SELECT INBOX")
	if r := must(t, c, "FETCH 1 (%s)", strings.Repeat("UID BODY.PEEK[TEXT]<0.5> ", 300)+"FLAGS"); len(r.Untagged) != 1 ||
		strings.Count(string(r.Untagged[0]), "BODY[TEXT]") != 1 {
		t.Errorf("got %q", r.Untagged)
	}
	var many []string
	for i := range maxFetchItems + 1 {
		many = append(many, fmt.Sprintf("BODY.PEEK[]<%d.1>", i))
	}
	r, err := c.Do("FETCH 1 (" + strings.Join(many, " ") + ")")
	if err != nil || r.Condition == "OK" || r.Code != mail.KindLimit.Answer().IMAP {
		t.Errorf("101 items: %+v, %v", r, err)
	}
}
