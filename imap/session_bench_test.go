package imap

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/store/memory"
)

// benchClient is logged in and has INBOX selected.
func benchClient(b *testing.B) *testClient {
	ts := newServer(b, memory.New())
	ts.listen(b)
	conn, err := ts.dial("")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	c := newClient(b, conn)
	c.must("LOGIN alice secret")
	c.must("SELECT INBOX")
	conn.SetDeadline(time.Time{})
	return c
}

// BenchmarkPipelined is the command loop itself: many small commands together.
func BenchmarkPipelined(b *testing.B) {
	c := benchClient(b)
	const together = 100
	commands := []byte(strings.Repeat("a1 NOOP\r\n", together))
	answer := len("a1 OK NOOP completed.\r\n") * together
	b.ReportAllocs()
	for i := 0; i < b.N; i += together {
		c.conn.Write(commands)
		if _, err := io.CopyN(io.Discard, c.r, int64(answer)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend appends small messages one after the other.
func BenchmarkAppend(b *testing.B) {
	c := benchClient(b)
	message := append(bytes.Repeat([]byte("X-Header: something\r\n"), 20), "\r\ntext\r\n"...)
	command := append([]byte("a1 APPEND Sent {428+}\r\n"), message...)
	command = append(command, "\r\n"...)
	b.ReportAllocs()
	for b.Loop() {
		c.conn.Write(command)
		if line, err := c.r.ReadSlice('\n'); err != nil || !bytes.HasPrefix(line, []byte("a1 OK")) {
			b.Fatalf("%s %v", line, err)
		}
	}
}

// BenchmarkSession connects, logs in, selects and logs out.
func BenchmarkSession(b *testing.B) {
	ts := newServer(b, memory.New())
	ts.listen(b)
	for b.Loop() {
		conn, err := ts.dial("")
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(conn)
		io.WriteString(conn, "a1 LOGIN alice secret\r\na2 SELECT INBOX\r\na3 LOGOUT\r\n")
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}
