package imap

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// guests gives clients of alice and of bob, who has her INBOX selected by a group's right.
func guests(t *testing.T) (ts *testServer, alice, bob *testClient) {
	return guestsOf(t, memory.New())
}

func guestsOf(t *testing.T, engine store.Engine) (ts *testServer, alice, bob *testClient) {
	ts = newServer(t, engine)
	ts.listen(t)
	ts.group("bob")
	connect := func(name string) *testClient {
		conn, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := newClient(t, conn)
		c.must("LOGIN " + name + " secret")
		return c
	}
	alice, bob = connect("alice"), connect("bob")
	alice.must("SETACL INBOX group:team lrs")
	return ts, alice, bob
}

// group says who is in the group team.
func (ts *testServer) group(members ...string) {
	ts.Auth.SetPolicy(&auth.Policy{Groups: map[string][]string{"team": members}})
}

const herInbox = `"Other Users/alice/INBOX"`

// TestIdleOutOfTheGroup: who is taken out of a group while in IDLE hears of no message
// that comes then.
func TestIdleOutOfTheGroup(t *testing.T) {
	ts, alice, bob := guests(t)
	bob.must("SELECT " + herInbox)
	bob.conn.Write([]byte("i IDLE\r\n"))
	if line := bob.line(); line != "+ idling" {
		t.Fatal(line)
	}
	ts.group("carol")
	alice.must("APPEND INBOX {14}", "Subject: one\r\n\r\n")
	if line := bob.line(); !strings.HasPrefix(line, "* BYE ") {
		t.Errorf("said %q", line)
	}
}

// TestFetchWithoutRight: a FETCH that goes on for long, at the pace of the client, ends
// when the right r is taken away.
func TestFetchWithoutRight(t *testing.T) {
	_, alice, bob := guests(t)
	const messages = 128
	fill(alice, messages)
	bob.must("EXAMINE " + herInbox)
	bob.conn.Write([]byte("f FETCH 1:* BODY.PEEK[]\r\n"))
	first := bob.line()
	if !strings.HasPrefix(first, "* 1 FETCH (BODY[] {") {
		t.Fatal(first)
	}
	alice.must("DELETEACL INBOX group:team")
	told, refused := 1, false
	for line := bob.line(); !strings.HasPrefix(line, "* BYE"); line = bob.line() {
		if strings.Contains(line, " FETCH (BODY[] {") {
			told++
		}
		refused = refused || strings.HasPrefix(line, "f NO ")
		if strings.HasPrefix(line, "f OK") {
			break
		}
	}
	if told == messages || !refused {
		t.Errorf("told of %d messages of %d, refused: %v", told, messages, refused)
	}
}

// fill puts so many large messages into alice's INBOX, a power of 2.
func fill(alice *testClient, messages int) {
	const size = 200 << 10
	alice.must("APPEND INBOX {"+formatUint(size+16)+"}", "Subject: one\r\n\r\n"+strings.Repeat("0123456789abcd\r\n", size/16)+"\r\n")
	alice.must("SELECT INBOX")
	for n := 1; n < messages; n *= 2 {
		alice.must("COPY 1:* INBOX")
	}
	alice.must("UNSELECT")
}

// TestKnownAtTheEnd: a guest who loses the mailbox during a command, which told a MODSEQ above
// that of a removal that was kept for later, is told up to where it knows every change: it
// hears of the removal when it comes back, and not before (RFC 7162, 3.2).
func TestKnownAtTheEnd(t *testing.T) {
	_, alice, bob := guests(t)
	fill(alice, 128)
	bob.must("ENABLE QRESYNC")
	bob.must("EXAMINE " + herInbox)
	alice.must("SELECT INBOX")
	alice.must("STORE 128 +FLAGS.SILENT (\\Deleted)")
	alice.must("EXPUNGE")
	alice.must("STORE 1 +FLAGS.SILENT (\\Answered)")
	code := func(line string) string {
		_, code, _ := strings.Cut(line, "[HIGHESTMODSEQ ")
		code, _, _ = strings.Cut(code, "]")
		return code
	}
	bob.conn.Write([]byte("k FETCH 2 FLAGS\r\n"))
	known := ""
	for line := ""; !strings.HasPrefix(line, "k "); known = code(line) {
		line = bob.line()
	}
	if known == "" {
		t.Fatal("the removal was kept for later, and nothing says so")
	}
	bob.conn.Write([]byte("f FETCH 1:* (MODSEQ BODY.PEEK[])\r\n"))
	if first := bob.line(); !strings.HasPrefix(first, "* 1 FETCH (") {
		t.Fatal(first)
	}
	alice.must("DELETEACL INBOX group:team")
	said := ""
	for line := ""; !strings.HasPrefix(line, "* BYE"); {
		if line = bob.line(); code(line) != "" {
			said = code(line)
		}
	}
	if said != known {
		t.Errorf("it knows every change up to %s, and was told %q", known, said)
	}
}

// atMove is an engine that calls between when a message that is moved is in the other
// account, and still in its own.
type atMove struct {
	store.Engine
	between func()
}

func (e *atMove) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	for _, r := range b.Records {
		if r.Kind == "move" && r.Value != nil {
			e.between()
		}
	}
	return e.Engine.Commit(ctx, b)
}

// TestKnownTooFar: a guest who loses the mailbox during a MOVE out of it is not told to
// know what the MOVE removed: it hears of no removal any more, and would miss this one
// when it may read again (RFC 7162, 3.1.2.1).
func TestKnownTooFar(t *testing.T) {
	e := &atMove{Engine: memory.New()}
	_, alice, bob := guestsOf(t, e)
	alice.must("SETACL INBOX group:team lrste")
	for range 2 {
		alice.must("APPEND INBOX {14}", "Subject: one\r\n\r\n")
	}
	taken := 0
	e.between = func() {
		taken++
		alice.must("DELETEACL INBOX group:team")
	}
	bob.must("ENABLE QRESYNC")
	var known string
	bob.conn.Write([]byte("s SELECT " + herInbox + "\r\n"))
	for line := bob.line(); !strings.HasPrefix(line, "s OK "); line = bob.line() {
		if code, ok := strings.CutPrefix(line, "* OK [HIGHESTMODSEQ "); ok {
			known, _, _ = strings.Cut(code, "]")
		}
	}
	bob.conn.Write([]byte("m MOVE 1 INBOX\r\n"))
	for line := bob.line(); !strings.HasPrefix(line, "* BYE "); line = bob.line() {
		_, code, ok := strings.Cut(line, "[HIGHESTMODSEQ ")
		if ok && !strings.HasPrefix(code, known+"]") || strings.HasPrefix(line, "* VANISHED") {
			t.Errorf("said %q, having told of changes up to %s", line, known)
		}
	}
	if taken != 1 {
		t.Fatalf("the right was taken away %d times", taken)
	}
}
