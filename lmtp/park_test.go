package lmtp

import (
	"bufio"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestParked: a session that is silent goes without its goroutine, also within a transaction,
// and goes on as if nothing had been.
func TestParked(t *testing.T) {
	f := newFixture(t, 64<<10)
	c := f.dial()
	r := bufio.NewReader(c)
	stacks := make([]byte, 1<<20)
	for _, step := range []struct{ line, answer string }{
		{"", "220 "}, {"LHLO client", "250 "}, {"MAIL FROM:<a@b>", "250 "}, {"RCPT TO:<alice@test.example>", "250 "}, {"NOOP", "250 "},
		{"DATA", "354 "}, {"Subject: parked\r\n\r\nparked\r\n.", "250 "}, {"QUIT", "221 "},
	} {
		if step.line != "" {
			io.WriteString(c, step.line+"\r\n")
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, step.answer) {
				break
			}
			if len(line) < 4 || line[3] != '-' {
				t.Fatalf("%q: %s", step.line, line)
			}
		}
		if step.line == "DATA" || step.line == "QUIT" {
			continue
		}
		for end := time.Now().Add(patience); !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ".RawRead("); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the session is not parked behind %q", step.line)
			}
		}
	}
	if got := f.messages("alice", "INBOX"); len(got) != 1 {
		t.Errorf("%d messages arrived", len(got))
	}
}
