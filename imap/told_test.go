package imap

import (
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/test/imapview"
)

// between is a client's end that calls do, once armed, after the next Read and before the
// one behind it: the server is then in the midst of what it writes.
type between struct {
	net.Conn
	reads atomic.Int32 // since it was armed; below 0 it is not
	do    func()
}

func (b *between) Read(p []byte) (int, error) {
	if b.reads.Load() >= 0 && b.reads.Add(1) == 2 {
		b.do()
	}
	return b.Conn.Read(p)
}

// TestSilentToldLater: what another session does between a STORE with .SILENT and its tagged
// answer is told before that, and is newer than what the client computes. It does not come of
// the UID command, so the UID need not stand in it.
func TestSilentToldLater(t *testing.T) {
	ts := newServer(t, engines["memory"](t))
	var arrivals []store.Arrival
	for i := range 500 {
		arrivals = append(arrivals, ts.note(i))
	}
	ts.deliver(t, arrivals...)
	other := ts.session(t)
	must(t, other, "SELECT INBOX")
	client, done := ts.pipe()
	client.SetDeadline(time.Now().Add(time.Minute))
	defer func() { client.Close(); <-done }()
	conn := &between{Conn: client}
	conn.reads.Store(-1)
	c, err := imapview.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "LOGIN alice secret")
	must(t, c, "SELECT INBOX")
	if err := c.Learn(); err != nil {
		t.Fatal(err)
	}
	// More than the server buffers, so that it waits for the client.
	must(t, other, "STORE 2:* +FLAGS (%s)", strings.Repeat("k", 100))
	uid := c.View.Messages[0].UID
	conn.do = func() { must(t, other, `STORE 1 -FLAGS (\Seen)`) }
	conn.reads.Store(0)
	r := must(t, c, `UID STORE %d +FLAGS.SILENT (\Seen)`, uid)
	if conn.reads.Load() < 2 {
		t.Fatal("all came in one piece")
	}
	last := r.Untagged[len(r.Untagged)-1]
	if !bytes.HasPrefix(last, []byte("* 1 FETCH (FLAGS (")) || bytes.Contains(last, []byte("Seen")) || !c.View.Told(1) {
		t.Errorf("at last %q was told", last)
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
}

// TestSeenAgain: who reads a message makes it \Seen, also if somebody took that away and the
// client was not told yet (RFC 9051, 6.4.5: "The \Seen flag is implicitly set").
func TestSeenAgain(t *testing.T) {
	ts := newServer(t, engines["memory"](t))
	ts.deliver(t, ts.note(1), ts.note(2))
	reader, other := ts.session(t), ts.session(t)
	for _, c := range []*imapview.Client{reader, other} {
		must(t, c, "SELECT INBOX")
		if err := c.Learn(); err != nil {
			t.Fatal(err)
		}
	}
	must(t, reader, "FETCH 1:2 BODY[]")
	must(t, other, `STORE 1:2 -FLAGS (\Seen)`)
	r := must(t, reader, "UID FETCH 1:* (BODY.PEEK[TEXT] BODY[HEADER])")
	if strings.Count(untagged(r), `FLAGS (\Seen`) != 2 {
		t.Errorf("told %s", untagged(r))
	}
	for _, c := range []*imapview.Client{reader, other} {
		if err := c.Verify(); err != nil {
			t.Error(err)
		}
		if f := c.View.Messages[1].Flags; f != `\seen` {
			t.Errorf("it has the flags (%s)", f)
		}
	}
}
