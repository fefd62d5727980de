package imap

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/store/memory"
)

// TestAnnouncedMessages: clients that announce the largest messages and do not send
// them leave the memory to those who do.
func TestAnnouncedMessages(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	login := func(name string) (net.Conn, *bufio.Reader) {
		conn, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		r := bufio.NewReader(conn)
		line(t, r)
		say(t, conn, "a LOGIN "+name+" secret\r\n")
		line(t, r)
		return conn, r
	}
	for range 20 {
		conn, r := login("bob")
		say(t, conn, fmt.Sprintf("b APPEND INBOX {%d}\r\n", ts.Store.MaxMessage()))
		if got := line(t, r); !strings.HasPrefix(got, "+ ") {
			t.Fatal(got)
		}
		say(t, conn, strings.Repeat("x", firstPiece-1))
	}
	conn, r := login("alice")
	for _, size := range []int{1, firstPiece - 1, firstPiece, firstPiece + 1, 3*firstPiece + 7, 20 << 20} {
		message := "X: " + strings.Repeat("0123456789\r\n ", size/13+1)
		message = message[:size]
		say(t, conn, fmt.Sprintf("b APPEND INBOX {%d}\r\n", size))
		line(t, r)
		say(t, conn, message+"\r\n")
		if got := line(t, r); !strings.HasPrefix(got, "b OK ") {
			t.Fatalf("%d bytes: %s", size, got)
		}
	}
	say(t, conn, "c SELECT INBOX\r\nd FETCH 1:* RFC822.SIZE\r\n")
	for i := 1; ; {
		got := line(t, r)
		if strings.HasPrefix(got, "d ") {
			break
		}
		if strings.Contains(got, "RFC822.SIZE") {
			want := []int{1, firstPiece - 1, firstPiece, firstPiece + 1, 3*firstPiece + 7, 20 << 20}[i-1]
			if got != fmt.Sprintf("* %d FETCH (RFC822.SIZE %d)", i, want) {
				t.Error(got)
			}
			i++
		}
	}
	const size = 3*firstPiece + 7
	say(t, conn, "e FETCH 5 BODY.PEEK[]\r\n")
	if got := line(t, r); got != fmt.Sprintf("* 5 FETCH (BODY[] {%d}", size) {
		t.Fatal(got)
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != ("X: " + strings.Repeat("0123456789\r\n ", size/13+1))[:size] {
		t.Error("the message came back as another", err)
	}
}

// TestManyMessages: one APPEND brings no more than maxArrivals messages, and what is
// refused leaves nothing.
func TestManyMessages(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	line(t, r)
	say(t, conn, "a LOGIN alice secret\r\n")
	line(t, r)
	many := func(n int) string { return "b APPEND INBOX" + strings.Repeat(" {6+}\r\nX: y\r\n", n) + "\r\n" }
	for _, c := range []struct {
		n    int
		want string
	}{
		{maxArrivals + 1, "b NO [LIMIT] At most 1000 messages can be appended at once."},
		{maxArrivals, "b OK [APPENDUID "},
		{3 * maxArrivals, "b NO [LIMIT] "},
	} {
		say(t, conn, many(c.n))
		if got := line(t, r); !strings.HasPrefix(got, c.want) {
			t.Errorf("%d messages: %s", c.n, got)
		}
	}
	if err := ts.set("MaxMessagesPerCopy", "5000"); err != nil {
		t.Fatal(err)
	}
	say(t, conn, many(maxArrivals+1))
	if got := line(t, r); !strings.HasPrefix(got, "b NO [MESSAGELIMIT 1000] ") {
		t.Errorf("with a limit: %s", got)
	}
	say(t, conn, "c STATUS INBOX (MESSAGES UIDNEXT)\r\n")
	if got := line(t, r); got != "* STATUS INBOX (MESSAGES 1000 UIDNEXT 1001)" {
		t.Error(got)
	}
}
