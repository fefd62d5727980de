package imap

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/postern-mail/postern/store"
)

// benchMessages is how many messages the benchmarks' mailbox has.
const benchMessages = 10000

// benchSession gives a client of a mailbox of benchMessages.
func benchSession(b *testing.B, engine store.Engine) net.Conn {
	ts := newServer(b, engine)
	body := bytes.Repeat([]byte("This is a line of some text that a person wrote.\r\n"), 40)
	var batch []store.Arrival
	for i := range benchMessages {
		batch = append(batch, store.Arrival{Prepared: ts.Store.Prepare(fmt.Appendf(nil,
			"Return-Path: <fred%d@example.org>\r\nReceived: from a.example by b.example; Mon, 2 Feb 2026 10:00:00 +0000\r\n"+
				"From: Fred Foobar <fred%d@example.org>\r\nTo: alice@example.net, Bob <bob@example.net>\r\nSubject: About the thing %d\r\n"+
				"Date: Mon, 2 Feb 2026 10:00:00 +0100\r\nMessage-ID: <%d.abc@example.org>\r\nMIME-Version: 1.0\r\n"+
				"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n--x\r\n"+
				"Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--x--\r\n", i, i, i, i, body))})
		if len(batch) == 1000 {
			ts.deliver(b, batch...)
			batch = nil
		}
	}
	ts.listen(b)
	conn, err := ts.dial("")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	answered(b, conn, "", "* OK")
	answered(b, conn, "a LOGIN alice secret\r\n", "a OK")
	answered(b, conn, "a SELECT INBOX\r\n", "a OK")
	return conn
}

var benchBuffer [256 << 10]byte

// answered sends command and reads until the last line begins with want, and gives
// how many bytes came.
func answered(b *testing.B, conn net.Conn, command, want string) int {
	if _, err := io.WriteString(conn, command); err != nil {
		b.Fatal(err)
	}
	total := 0
	keep := 0
	for {
		n, err := conn.Read(benchBuffer[keep:])
		if err != nil {
			b.Fatal(err)
		}
		total += n
		n += keep
		if benchBuffer[n-1] == '\n' {
			last := bytes.LastIndexByte(benchBuffer[:n-1], '\n') + 1
			if bytes.HasPrefix(benchBuffer[last:n], []byte(want)) {
				return total
			}
		}
		keep = min(n, 512)
		copy(benchBuffer[:], benchBuffer[n-keep:n])
	}
}

// BenchmarkCommands measures commands over a TCP connection, for each message of the
// mailbox: time and allocations of the whole process.
func BenchmarkCommands(b *testing.B) {
	commands := []struct{ name, command string }{
		{"flags", "FETCH 1:* (FLAGS)"},
		{"index", "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ)"},
		{"list", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"},
		{"fields", "UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References)])"},
		{"bodies", "UID FETCH 1:* (BODY.PEEK[])"},
		{"store", "STORE 1:* +FLAGS.SILENT (\\Seen)"},
		{"search/flags", "SEARCH UNSEEN UNDELETED"},
		{"search/subject", "SEARCH SUBJECT nothing"},
		{"search/sent", "SEARCH SENTSINCE 3-Feb-2026"},
		{"search/body", "SEARCH BODY nothing"},
	}
	for _, engine := range []string{"memory", "embedded"} {
		b.Run(engine, func(b *testing.B) {
			conn := benchSession(b, engines[engine](b))
			for _, c := range commands {
				b.Run(c.name, func(b *testing.B) {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					n := 0
					for b.Loop() {
						n += answered(b, conn, "b "+c.command+"\r\n", "b OK")
					}
					runtime.ReadMemStats(&after)
					messages := float64(b.N) * benchMessages
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/messages, "ns/message")
					b.ReportMetric(float64(after.Mallocs-before.Mallocs)/messages, "allocs/message")
					b.ReportMetric(float64(n)/messages, "B/message")
				})
			}
		})
	}
}
