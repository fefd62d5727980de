package conformance

import (
	"io"
	"net"
	"testing"
	"time"
)

// Canned starts a server for the tests of the runners: to each client it says greeting, once it has
// heard something answers, and then ends.
func Canned(t testing.TB, greeting, answers string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(30 * time.Second))
			io.WriteString(c, greeting)
			// A client that waits has nothing to say.
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			c.Read(make([]byte, 1024))
			io.WriteString(c, answers)
			// What the client still says is heard: else it might never read the answers.
			c.(*net.TCPConn).CloseWrite()
			c.SetReadDeadline(time.Now().Add(30 * time.Second))
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	return &Server{Address: l.Addr().String(), Timeout: 20 * time.Second, Accounts: []Account{{"user", "password"}}}
}
