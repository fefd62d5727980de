package lmtp

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// BenchmarkDelivery is one message of 4 KiB for one recipient, over TCP, into the
// engine in memory.
func BenchmarkDelivery(b *testing.B) {
	f := newFixture(b, 1<<20)
	c := f.dial()
	c.SetDeadline(time.Time{})
	r := bufio.NewReader(c)
	want := func(prefix string) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			if strings.HasPrefix(line, prefix) {
				return
			}
		}
	}
	io.WriteString(c, "LHLO client.test\r\n")
	want("250 SIZE")
	message := "Subject: x\r\nFrom: a@b.example\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50) + ".\r\n"
	for b.Loop() {
		io.WriteString(c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<bob@test.example>\r\nDATA\r\n")
		want("354")
		io.WriteString(c, message)
		want("250 2.0.0")
	}
}
