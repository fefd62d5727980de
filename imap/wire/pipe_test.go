package wire

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// TestPipe plays the dialogue between a server and a client that really waits for
// "+" before it sends a literal.
func TestPipe(t *testing.T) {
	server, conn := net.Pipe()
	done := make(chan string)
	go func() {
		e := NewEncoder(server)
		d := NewDecoder(server, func() error { return e.Continue("go ahead").Flush() })
		d.SetLimits(LimitsAfterLogin())
		done <- run(d)
	}()
	answers := bufio.NewReader(conn)
	for i, part := range dialogue {
		if i > 0 {
			if line, err := answers.ReadString('\n'); line != "+ go ahead\r\n" || err != nil {
				t.Fatalf("%q %v", line, err)
			}
		}
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != dialogueRead {
		t.Error(got)
	}
}

// TestSmallThings covers what the tables do not reach.
func TestSmallThings(t *testing.T) {
	d, _ := decode(t, "\"\" inbox * \r\n")
	a := d.MailboxOrEmpty()
	d.SP()
	b := d.MailboxOrEmpty()
	d.SP()
	if d.AtEnd() || a != "" || b != Inbox {
		t.Error(a, b)
	}
	d.ListMailbox()
	d.SP()
	if !d.AtEnd() || d.Peek() != 0 || d.TryWord("X") {
		t.Error("not at the end")
	}
	d.End()
	if d.Err() != nil || d.Limits().Line != 64<<10 {
		t.Error(d.Err())
	}
	if d.Atom(); !IsSyntax(d.Err()) || !strings.Contains(d.Err().Error(), "end of the command") {
		t.Error(d.Err())
	}
	d, _ = decode(t, "a b\r\n")
	d.Fail(nil)
	d.Fail(io.ErrShortBuffer)
	d.Bad("later")
	if d.Err() != io.ErrShortBuffer || d.Line(10) != nil {
		t.Error(d.Err())
	}
	// The connection fails while the client is asked for a literal.
	d, _ = decode(t, "a {3}\r\n")
	d.cont = func() error { return io.ErrClosedPipe }
	d.Tag()
	d.SP()
	if s := d.String(); s != "" || !d.Fatal() || d.Skip() == nil {
		t.Error(d.Err())
	}
	var many strings.Builder
	for i := range 57 {
		many.WriteString(" k" + strings.Repeat("x", i))
	}
	d, _ = decode(t, "("+many.String()[1:]+")\r\n")
	if _, k := d.FlagList(); k != nil || d.Err() == nil {
		t.Error("too many keywords are taken")
	}
	if Condition(77).String() != "BAD" || NO.String() != "NO" {
		t.Error("condition")
	}
}
