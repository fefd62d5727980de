package imap

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/store/memory"
)

// TestManyIdlers: every one of many idle sessions is told at once, and what a
// session holds while it idles is little.
func TestManyIdlers(t *testing.T) {
	const idlers, rounds = 200, 5
	ts := newServer(t, memory.New())
	if err := ts.set("MaxConnectionsPerUser", "1000"); err != nil {
		t.Fatal(err)
	}
	ts.listen(t)
	connect := func() *testClient {
		conn, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := newClient(t, conn)
		c.must("LOGIN alice secret")
		c.must("SELECT INBOX")
		return c
	}
	writer := connect()
	clients := make([]*testClient, idlers)
	before := memoryInUse()
	for i := range clients {
		clients[i] = connect()
		clients[i].conn.Write([]byte("i IDLE\r\n"))
		if line := clients[i].line(); line != "+ idling" {
			t.Fatal(line)
		}
	}
	// The client's side, with its reader of 4 KiB, is in it.
	if each := (memoryInUse() - before) / idlers; each > 40<<10 {
		t.Errorf("an idle session holds %d bytes", each)
	} else {
		t.Logf("an idle session and its client hold %d bytes", each)
	}
	for round := 1; round <= rounds; round++ {
		writer.must("APPEND INBOX {14}", "Subject: one\r\n\r\n")
		want := fmt.Sprintf("* %d EXISTS", round)
		var all sync.WaitGroup
		for _, c := range clients {
			all.Go(func() {
				if line := c.line(); line != want {
					t.Errorf("said %q, not %q", line, want)
				}
				if line := c.line(); !strings.HasSuffix(line, " RECENT") {
					t.Errorf("said %q", line)
				}
			})
		}
		all.Wait()
	}
	for _, c := range clients {
		c.conn.Write([]byte("done\r\n"))
		if line := c.line(); line != "i OK IDLE completed." {
			t.Fatal(line)
		}
	}
}

// TestParked: sessions that were parked, in IDLE or between commands, in the clear, over
// TLS and compressed, are told, and go on.
func TestParked(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.service.ParkAfter = 5 * time.Millisecond
	ts.listen(t)
	for _, mode := range []string{"", "ssl"} {
		for _, compressed := range []bool{false, true} {
			connect := func() *testClient {
				conn, err := ts.dial(mode)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				c := newClient(t, conn)
				c.must("LOGIN alice secret")
				c.must("SELECT INBOX")
				return c
			}
			writer, c := connect(), connect()
			if compressed {
				c.compress()
			}
			for range 3 {
				io.WriteString(c.conn, "i IDLE\r\n")
				if l := c.line(); l != "+ idling" {
					t.Fatal(l)
				}
				for range 2 {
					time.Sleep(30 * time.Millisecond)
					writer.must("APPEND INBOX {14}", "Subject: one\r\n\r\n")
					if l := c.line(); !strings.HasSuffix(l, " EXISTS") {
						t.Fatal(l)
					}
					if l := c.line(); !strings.HasSuffix(l, " RECENT") {
						t.Fatal(l)
					}
				}
				time.Sleep(30 * time.Millisecond)
				io.WriteString(c.conn, "DO")
				time.Sleep(30 * time.Millisecond)
				io.WriteString(c.conn, "NE\r\n")
				if l := c.line(); l != "i OK IDLE completed." {
					t.Fatal(l)
				}
				time.Sleep(30 * time.Millisecond)
				c.must("NOOP")
				// A command that is refused has its end later.
				io.WriteString(c.conn, "x APPEND NoSuch/ {20+}\r\nSubject: ")
				time.Sleep(30 * time.Millisecond)
				io.WriteString(c.conn, "two\r\n\r\nBye.\r\n")
				for !strings.HasPrefix(c.line(), "x ") {
				}
			}
			c.must("LOGOUT")
		}
	}
}

// memoryInUse is what goroutines and heap hold.
func memoryInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
