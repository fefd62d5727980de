package pop3

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// rest waits until a session is parked.
func (f *fixture) rest() {
	f.t.Helper()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ".RawRead(") {
			return
		}
	}
	f.t.Fatal("the session is not parked")
}

// TestParked: a session that is silent goes without its goroutine, wherever it stands, and
// goes on as if nothing had been.
func TestParked(t *testing.T) {
	f := newFixture(t, messages...)
	p := f.pop()
	f.rest()
	p.ask("USER alice", "+OK")
	f.rest()
	p.ask("PASS "+password, "+OK")
	f.rest()
	p.ask("DELE 1", "+OK")
	f.rest()
	io.WriteString(p.Conn, "NO") // half a command
	time.Sleep(20 * time.Millisecond)
	p.ask("OP", "+OK")
	f.rest()
	p.Close() // without QUIT: nothing is deleted, and the maildrop is free

	q := f.login()
	q.ask("STAT", "+OK 3 ")
	f.rest()
	q.ask("DELE 1", "+OK")
	q.ask("QUIT", "+OK")
	if got := f.holds(); got != "2 3" {
		t.Errorf("the INBOX holds %s", got)
	}
}
