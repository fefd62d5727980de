package imap

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/test/imapview"
)

// faultyEngine gives what reads should give and sometimes do not.
type faultyEngine struct {
	store.Engine
	body    func(mail.EmailID) error
	summary func(id mail.EmailID, summary []byte) []byte
	streams bool // bodies do not give Bytes
}

func (e *faultyEngine) Body(ctx context.Context, id mail.AccountID, email mail.EmailID) (store.Body, error) {
	if e.body != nil {
		if err := e.body(email); err != nil {
			return nil, err
		}
	}
	b, err := e.Engine.Body(ctx, id, email)
	if err == nil && e.streams {
		b = streamed{b}
	}
	return b, err
}

func (e *faultyEngine) Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return e.Engine.Summaries(ctx, id, ids, func(i int, b []byte) error {
		if e.summary != nil {
			b = e.summary(ids[i], b)
		}
		return each(i, b)
	})
}

type streamed struct{ store.Body }

func (streamed) Bytes() []byte { return nil }

func untagged(r imapview.Reply) string { return string(bytes.Join(r.Untagged, []byte("\n"))) }

// TestFetchFaults has reads fail: other messages are answered, the client learns of
// \Seen all the same, and the answer says what was wrong.
func TestFetchFaults(t *testing.T) {
	e := &faultyEngine{Engine: engines["memory"](t)}
	ts := newServer(t, e)
	ts.deliver(t, ts.note(1), ts.note(2), ts.note(3))
	c := ts.session(t)
	must(t, c, "SELECT INBOX")
	if err := c.Learn(); err != nil {
		t.Fatal(err)
	}
	do := func(command string) imapview.Reply {
		t.Helper()
		r, err := c.Do(command)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	second := func(err error) func(mail.EmailID) error {
		return func(id mail.EmailID) error {
			if id == 2 {
				return err
			}
			return nil
		}
	}
	e.body = second(mail.Errorf(mail.KindCorrupt, "damaged"))
	if r := do("FETCH 1:3 BODY[]"); r.Condition != "NO" || r.Code != "CORRUPTION" || strings.Count(untagged(r), "This is note") != 2 {
		t.Errorf("corrupt: %+v\n%s", r, untagged(r))
	}
	if err := c.Verify(); err != nil {
		t.Errorf("after a corrupt message: %v", err)
	}
	e.body = second(mail.Errorf(mail.KindExpunged, "gone"))
	if r := do("FETCH 1:3 BODY.PEEK[]"); r.Condition != "NO" || r.Code != "EXPUNGEISSUED" || strings.Count(untagged(r), "This is note") != 2 {
		t.Errorf("gone: %+v", r)
	}
	if r := do("UID FETCH 1:3 BODY.PEEK[]"); r.Condition != "OK" {
		t.Errorf("gone, by UID: %+v", r)
	}
	must(t, c, `STORE 1:3 -FLAGS.SILENT (\Seen)`)
	for n := 1; n <= 3; n++ {
		c.View.SetFlags(n, func(flags []string) []string {
			return slices.DeleteFunc(flags, func(f string) bool { return f == `\seen` })
		})
	}
	e.body = second(mail.Errorf(mail.KindUnavailable, "down"))
	if r := do("FETCH 1:3 BODY[]"); r.Condition != "NO" || r.Code != "UNAVAILABLE" || strings.Count(untagged(r), "This is note") != 1 {
		t.Errorf("down: %+v", r)
	}
	if err := c.Verify(); err != nil {
		t.Errorf("after the store was down: %v", err)
	}
	e.body = nil

	whole := untagged(must(t, c, "FETCH 1:3 (ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject)] PREVIEW)"))
	e.summary = func(id mail.EmailID, b []byte) []byte {
		if id == 2 && b != nil {
			b = bytes.Clone(b)
			b[1] = 99 // another version
		}
		return b
	}
	if again := untagged(must(t, c, "FETCH 1:3 (ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject)] PREVIEW)")); again != whole {
		t.Errorf("from a summary that is made anew:\n%s\nwant\n%s", again, whole)
	}
	if r := must(t, c, "SEARCH SUBJECT note"); untagged(r) != "* SEARCH 1 2 3" {
		t.Errorf("search without a summary: %s", untagged(r))
	}
	e.summary = func(id mail.EmailID, b []byte) []byte {
		if id == 2 {
			return nil
		}
		return b
	}
	if r := do("FETCH 1:3 ENVELOPE"); r.Condition != "NO" || r.Code != "EXPUNGEISSUED" || len(r.Untagged) != 2 {
		t.Errorf("no summary: %+v", r)
	}
	if r := must(t, c, "SEARCH SUBJECT note"); untagged(r) != "* SEARCH 1 3" {
		t.Errorf("search of what is gone: %s", untagged(r))
	}
}

// TestStreamedBodies reads bodies that an engine does not have in one piece.
func TestStreamedBodies(t *testing.T) {
	ts := newServer(t, &faultyEngine{Engine: engines["memory"](t), streams: true})
	names, messages := oddMessages(t)
	for _, m := range messages {
		ts.deliver(t, store.Arrival{Prepared: ts.Store.Prepare(m)})
	}
	c := ts.session(t)
	must(t, c, "SELECT INBOX")
	for i, m := range messages {
		checkSections(t, c, names[i], i+1, m)
	}
}

// TestFetchEndsWithClient shows that a large FETCH does not go on for a client that
// is gone, nor read ahead of one that is slow.
func TestFetchEndsWithClient(t *testing.T) {
	opened := 0
	e := &faultyEngine{Engine: engines["memory"](t)}
	e.body = func(mail.EmailID) error { opened++; return nil }
	ts := newServer(t, e)
	large := ts.Store.Prepare(append([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("0123456789abcdef\r\n"), 4<<10)...))
	var arrivals []store.Arrival
	for range 1000 {
		arrivals = append(arrivals, store.Arrival{Prepared: large})
	}
	ts.deliver(t, arrivals...)
	ts.listen(t)
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := imapview.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "LOGIN alice secret")
	must(t, c, "SELECT INBOX")
	c.Send("FETCH 1:* BODY.PEEK[]")
	time.Sleep(50 * time.Millisecond)
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	end := time.Now().Add(patience)
	for len(ts.service.Conns()) > 0 {
		if time.Now().After(end) {
			t.Fatal("the session is still there")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if opened > 500 {
		t.Errorf("%d messages were opened for a client that reads none", opened)
	}
}
