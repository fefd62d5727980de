package imap

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/store/memory"
)

// connected gives a client who has logged in.
func (ts *testServer) connected(t testing.TB, mode, user string) *testClient {
	conn, err := ts.dial(mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := newClient(t, conn)
	c.must("LOGIN " + user + " secret")
	return c
}

// expectLine wants a line that begins so.
func (c *testClient) expectLine(t testing.TB, begin string) {
	t.Helper()
	if l := c.line(); !strings.HasPrefix(l, begin) {
		t.Fatalf("said %q, not %q", l, begin)
	}
}

// TestNotifyParked: sessions that wait without a goroutine are told at once, in the clear,
// over TLS and compressed, and go on.
func TestNotifyParked(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.service.ParkAfter = 5 * time.Millisecond
	ts.listen(t)
	for _, mode := range []string{"", "ssl"} {
		for _, compressed := range []bool{false, true} {
			writer, c := ts.connected(t, "", "alice"), ts.connected(t, mode, "alice")
			if compressed {
				c.compress()
			}
			c.must("SELECT Drafts")
			c.must("NOTIFY SET (selected (MessageNew (UID) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge))")
			for range 3 {
				time.Sleep(30 * time.Millisecond)
				writer.must("APPEND Trash {14}", "Subject: one\r\n\r\n")
				c.expectLine(t, "* STATUS Trash ")
				time.Sleep(30 * time.Millisecond)
				writer.must("APPEND Drafts {14}", "Subject: one\r\n\r\n")
				c.expectLine(t, "* ")
				c.expectLine(t, "* ")
				if l := c.line(); !strings.Contains(l, " FETCH (UID ") {
					t.Fatal(l)
				}
				time.Sleep(30 * time.Millisecond)
				if compressed {
					c.must("NOOP")
					continue
				}
				// A command of which a part has come is not interrupted.
				io.WriteString(c.conn, "n NO")
				time.Sleep(10 * time.Millisecond)
				writer.must("APPEND Trash {14}", "Subject: one\r\n\r\n")
				io.WriteString(c.conn, "OP\r\n")
				c.expectLine(t, "* STATUS Trash ")
				c.expectLine(t, "n OK ")
			}
			c.conn.Close()
		}
	}
}

// TestNotifyKnown: who is told at once of a change, and later of the removal before it, hears
// up to where it knows every change: its connection may break in between (RFC 7162, 3.2).
func TestNotifyKnown(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	writer, c := ts.connected(t, "", "alice"), ts.connected(t, "", "alice")
	for range 2 {
		writer.must("APPEND Drafts {14}", "Subject: one\r\n\r\n")
	}
	writer.must("SELECT Drafts")
	writer.must("STORE 1 +FLAGS.SILENT (\\Deleted)")
	c.must("ENABLE QRESYNC")
	io.WriteString(c.conn, "s SELECT Drafts\r\n")
	known := ""
	for line := ""; !strings.HasPrefix(line, "s OK "); line = c.line() {
		if strings.HasPrefix(line, "* OK [HIGHESTMODSEQ ") {
			known, _, _ = strings.Cut(line, "]")
		}
	}
	c.must("NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))")
	writer.must("EXPUNGE")
	writer.must("STORE 1 +FLAGS.SILENT (\\Flagged)")
	line := c.line()
	for !strings.HasPrefix(line, "* 2 FETCH (UID 2 FLAGS (\\Flagged") {
		if line != known+"] Known." {
			t.Fatal(line)
		}
		line = c.line()
	}
	c.expectLine(t, known+"] Known.")
}

// TestNotifyOverflow: who does not take what is told hears no more, and knows it.
func TestNotifyOverflow(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	writer, c := ts.connected(t, "", "alice"), ts.connected(t, "", "alice")
	c.must("NOTIFY SET (personal (SubscriptionChange MessageNew MessageExpunge))")
	io.WriteString(c.conn, "x APPEND INBOX {14}\r\n")
	c.expectLine(t, "+ ")
	for i := range 1100 {
		writer.must(fmt.Sprint("SUBSCRIBE many", i))
	}
	io.WriteString(c.conn, "Subject: one\r\n\r\n")
	c.expectLine(t, "* OK [NOTIFICATIONOVERFLOW] ")
	c.expectLine(t, "x OK ")
	writer.must("SUBSCRIBE more")
	writer.must("APPEND INBOX {14}", "Subject: one\r\n\r\n")
	if c.must("NOOP"); len(c.lines) > 0 {
		t.Errorf("told %q", c.lines)
	}
	c.must("NOTIFY SET (personal (SubscriptionChange))")
	writer.must("UNSUBSCRIBE more")
	c.expectLine(t, `* LIST (\NonExistent) "/" more`)
}

// TestNotifyBounds: a NOTIFY names no more than is bearable.
func TestNotifyBounds(t *testing.T) {
	ts := newServer(t, memory.New())
	conn, done := ts.pipe()
	c := newClient(t, conn)
	c.must("LOGIN alice secret")
	for _, b := range []struct{ command, want string }{
		{"NOTIFY SET" + strings.Repeat(" (personal (MailboxName))", 50), "OK "},
		{"NOTIFY SET" + strings.Repeat(" (personal (MailboxName))", 51), "NO [NOTIFICATIONOVERFLOW] "},
		{"NOTIFY SET (mailboxes (" + strings.Repeat("a ", 999) + "a) (MailboxName))", "OK "},
		{"NOTIFY SET (mailboxes (" + strings.Repeat("a ", 1000) + "a) (MailboxName))", "BAD [LIMIT] "},
	} {
		if a := c.do(b.command); !strings.HasPrefix(a, b.want) {
			t.Errorf("%.60s…: %s", b.command, a)
		}
	}
	conn.Close()
	<-done
}

// settledMemory is memoryInUse once it does not fall any more, as it does while sessions park.
func settledMemory() int64 {
	last := memoryInUse()
	for {
		time.Sleep(50 * time.Millisecond)
		now := memoryInUse()
		if now >= last {
			return now
		}
		last = now
	}
}

// TestNotifyMemory: a session that is told of all its mailboxes holds little more than
// another one while nothing happens.
func TestNotifyMemory(t *testing.T) {
	const sessions = 200
	ts := newServer(t, memory.New())
	if err := ts.set("MaxConnectionsPerUser", "1000"); err != nil {
		t.Fatal(err)
	}
	ts.service.ParkAfter = time.Millisecond
	ts.listen(t)
	clients := make([]*testClient, sessions)
	for i := range clients {
		clients[i] = ts.connected(t, "", "alice")
		clients[i].must("SELECT INBOX")
	}
	before := settledMemory()
	for _, c := range clients {
		c.must("NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (From To Subject)]) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName))")
	}
	const most = 4 << 10
	each := (settledMemory() - before) / sessions
	for end := time.Now().Add(patience / 2); each > most && time.Now().Before(end); { // not all are parked
		each = (settledMemory() - before) / sessions
	}
	t.Logf("NOTIFY takes %d bytes a session", each)
	if each > most {
		t.Errorf("NOTIFY takes %d bytes a session", each)
	}
	writer := ts.connected(t, "", "alice")
	writer.must("APPEND Trash {14}", "Subject: one\r\n\r\n")
	for _, c := range clients {
		c.expectLine(t, "* STATUS Trash (UIDNEXT 2 MESSAGES 1 UNSEEN 1)")
	}
}
