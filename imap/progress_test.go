package imap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// waitingEngine takes its time to read texts and to commit.
type waitingEngine struct {
	store.Engine
	texts, commit time.Duration
}

func (e *waitingEngine) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	time.Sleep(e.texts)
	return e.Engine.Texts(ctx, id, ids, each)
}

func (e *waitingEngine) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	time.Sleep(e.commit)
	return e.Engine.Commit(ctx, b)
}

// TestProgress: a client that waits for long is told every ten seconds, with its tag
// and how far the work is, and one that does not is told nothing (RFC 9585).
func TestProgress(t *testing.T) {
	const messages = 2000 // eight batches
	for _, c := range []struct {
		name, command string
		texts, commit time.Duration
		disabled      string
		want          []string
	}{
		{name: "quick", command: "x SEARCH TEXT q", want: []string{"* SEARCH", "x OK SEARCH completed."}},
		{name: "just", command: "x SEARCH TEXT q", texts: 9990 * time.Millisecond / 8, want: []string{"* SEARCH", "x OK SEARCH completed."}},
		{name: "slow", command: "x SEARCH TEXT q", texts: 3 * time.Second, want: []string{
			`* OK [INPROGRESS ("x" 768 2000)] Still at work.`, `* OK [INPROGRESS ("x" 1536 2000)] Still at work.`,
			"* SEARCH", "x OK SEARCH completed."}},
		{name: "bracket", command: "x] SEARCH TEXT q", texts: 1500 * time.Millisecond, want: []string{
			`* OK [INPROGRESS (NIL 1536 2000)] Still at work.`, "* SEARCH", "x] OK SEARCH completed."}},
		{name: "sort", command: "x SORT (SUBJECT) UTF-8 TEXT q", texts: 1500 * time.Millisecond, want: []string{
			`* OK [INPROGRESS ("x" 1536 2000)] Still at work.`, "* SORT", "x OK SORT completed."}},
		{name: "off", command: "x SEARCH TEXT q", texts: 4 * time.Second, disabled: "INPROGRESS", want: []string{"* SEARCH", "x OK SEARCH completed."}},
		{name: "copy", command: "x UID COPY 1:* Archive", commit: 25 * time.Second, want: []string{
			`* OK [INPROGRESS ("x" NIL NIL)] Still at work.`, `* OK [INPROGRESS ("x" NIL NIL)] Still at work.`, "x OK [COPYUID 1772366401 1:2000 1:2000] UID COPY completed."}},
		{name: "few", command: "x UID COPY 1 Archive", commit: 25 * time.Second, want: []string{"x OK [COPYUID 1772366401 1 1] UID COPY completed."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &waitingEngine{Engine: memory.New()}
				ts := newServer(t, e)
				if err := ts.set("DisabledCapabilities", c.disabled); c.disabled != "" && err != nil {
					t.Fatal(err)
				}
				var arrivals []store.Arrival
				for i := range messages {
					arrivals = append(arrivals, ts.note(i))
				}
				ts.deliver(t, arrivals...)
				conn, done := ts.pipe()
				r := bufio.NewReader(conn)
				say := func(command string) (lines []string) {
					tag, _, _ := strings.Cut(command, " ")
					fmt.Fprintf(conn, "%s\r\n", command)
					for {
						line, err := r.ReadString('\n')
						if err != nil {
							t.Fatal(err)
						}
						lines = append(lines, strings.TrimRight(line, "\r\n"))
						if strings.HasPrefix(line, tag+" ") {
							return lines
						}
					}
				}
				r.ReadString('\n')
				say("a LOGIN alice secret")
				say("b SELECT INBOX")
				e.texts, e.commit = c.texts, c.commit
				got := say(c.command)
				e.texts, e.commit = 0, 0
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("said\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
				// The session goes on as ever.
				if got := say("y SEARCH 1"); fmt.Sprint(got) != "[* SEARCH 1 y OK SEARCH completed.]" {
					t.Error(got)
				}
				io.WriteString(conn, "z LOGOUT\r\n")
				io.Copy(io.Discard, r)
				<-done
			})
		})
	}
}

// TestFetchLimit: FETCH takes the newest messages, and says so before another code
// (RFC 9738, 3.1).
func TestFetchLimit(t *testing.T) {
	ts := newServer(t, memory.New())
	if err := ts.set("MaxMessagesPerCommand", "1000"); err != nil {
		t.Fatal(err)
	}
	var arrivals []store.Arrival
	for i := range 1005 {
		arrivals = append(arrivals, ts.note(i))
	}
	ts.deliver(t, arrivals...)
	conn, done := ts.pipe()
	defer func() { conn.Close(); <-done }()
	c := newClient(t, conn)
	c.must("LOGIN alice secret")
	c.must("SELECT INBOX")
	first := regexp.MustCompile(`^\* 6 FETCH \(UID 6 `)
	for _, command := range []string{"UID FETCH 1:* (UID FLAGS)", "FETCH 1:* (UID ENVELOPE)", "UID FETCH 3:* (BODY[TEXT])"} {
		a := c.do(command)
		fetched := 0
		for i, line := range c.lines {
			if strings.Contains(line, " FETCH (") {
				if fetched++; fetched == 1 && !first.MatchString(line) {
					t.Errorf("%s: line %d is %q", command, i, line)
				}
			}
		}
		if fetched != 1000 || !strings.HasPrefix(a, "OK [MESSAGELIMIT 1000 6] ") {
			t.Errorf("%s: %d and %s", command, fetched, a)
		}
	}
	// One that another session removed meanwhile has the tagged answer.
	conn2, done2 := ts.pipe()
	defer func() { conn2.Close(); <-done2 }()
	c2 := newClient(t, conn2)
	c2.must("LOGIN alice secret")
	c2.must("SELECT INBOX")
	c2.must(`UID STORE 1000 +FLAGS.SILENT (\Deleted)`)
	c2.must("EXPUNGE")
	c.must("SEARCH 1") // hears of it, and keeps it
	a := c.do("FETCH 1:* (UID)")
	if last := c.lines[len(c.lines)-1]; !strings.HasPrefix(last, "* NO [MESSAGELIMIT 1000 5] ") || !strings.HasPrefix(a, "NO [EXPUNGEISSUED] ") {
		t.Errorf("%s, %s", last, a)
	}
}
