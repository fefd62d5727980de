package pop3

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// BenchmarkRetrieve is one RETR of 4 KiB, pipelined, over TCP, from the engine in
// memory.
func BenchmarkRetrieve(b *testing.B) {
	message := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52)
	f := newFixture(b, message)
	p := f.login()
	p.SetDeadline(time.Time{})
	b.SetBytes(int64(len(message)))
	go func() {
		w := bufio.NewWriter(p.Conn)
		for range b.N + 1 {
			fmt.Fprintf(w, "RETR 1\r\n")
		}
		w.Flush()
	}()
	n := len("+OK  octets\r\n") + len(fmt.Sprint(len(message))) + len(message) + len(".\r\n")
	for range b.N {
		if _, err := io.CopyN(io.Discard, p.r, int64(n)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLogin is a whole session of one command.
func BenchmarkLogin(b *testing.B) {
	f := newFixture(b, messages...)
	for b.Loop() {
		p := f.login()
		p.ask("STAT", "+OK 3")
		p.ask("QUIT", "+OK")
		p.Close()
	}
}
